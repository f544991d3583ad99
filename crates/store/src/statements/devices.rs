//! Rows of devices, and what operators do to them.

use arklow_domain::{CodeSet, Device, DeviceId, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::{case_when, count_star};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::rows::{CodeSetRow, DeviceRow, is_disabled};
use super::{Conn, audit, keys, locks};
use crate::audit::NewRecord;
use crate::devices::TOTP;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{devices, sessions, users};
use crate::{AuditEvent, AuditOrigin, CreateDevice, DevicePage, NewDevice, RemoveDevice, instant};

pub(crate) fn create(
    conn: &mut Conn,
    new: &NewDevice,
    origin: &AuditOrigin,
) -> Result<CreateDevice, QueryError> {
    locks::user(conn, new.user_id)?;
    keys::check_usable(conn, new.seed.key_id)?;
    let now = instant::store(new.now);
    let inserted = users::table
        .find(new.user_id.get())
        .filter(users::disabled_at.is_null())
        .select((
            new.id.get().into_sql::<BigInt>(),
            users::id,
            new.name.as_str().into_sql::<Text>(),
            TOTP.into_sql::<Text>(),
            new.seed.key_id.to_string().into_sql::<Nullable<Text>>(),
            new.seed.bytes.as_slice().into_sql::<Nullable<Binary>>(),
            new.confirmed_at
                .map(instant::store)
                .into_sql::<Nullable<BigInt>>(),
            now.into_sql::<BigInt>(),
            now.into_sql::<BigInt>(),
        ))
        .insert_into(devices::table)
        .into_columns((
            devices::id,
            devices::user_id,
            devices::name,
            devices::device_type,
            devices::seed_key_id,
            devices::seed,
            devices::confirmed_at,
            devices::created_at,
            devices::updated_at,
        ))
        .execute(conn)?;
    if inserted == 1 {
        audit::record(
            conn,
            &NewRecord {
                device_id: Some(new.id),
                ..NewRecord::of(new.user_id, AuditEvent::DeviceCreated, new.now, origin)
            },
        )?;
        return Ok(CreateDevice::Created);
    }
    Ok(match is_disabled(conn, new.user_id)? {
        Some(_) => CreateDevice::UserDisabled,
        None => CreateDevice::NoSuchUser,
    })
}

pub(crate) fn list_page(
    conn: &mut Conn,
    user: UserId,
    enrollment: TimeDelta,
    page: std::ops::Range<usize>,
    now: DateTime<Utc>,
) -> Result<DevicePage, QueryError> {
    // All of them, which are few: page and count are of one moment.
    let rows: Vec<(DeviceRow, i64)> = devices::table
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::removed_at.is_null())
        .order((devices::created_at.desc(), devices::id.desc()))
        .select((DeviceRow::as_select(), devices::created_at))
        .load(conn)?;
    let rows: Vec<DeviceRow> = rows
        .into_iter()
        .filter(|(row, created_at)| row.is_confirmed() || is_pending(*created_at, now, enrollment))
        .map(|(row, _)| row)
        .collect();
    Ok(DevicePage {
        count: rows.len(),
        devices: rows
            .into_iter()
            .skip(page.start)
            .take(page.len())
            .map(DeviceRow::into_device)
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn list_all(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Option<Vec<Device>>, QueryError> {
    if is_disabled(conn, user)?.is_none() {
        return Ok(None);
    }
    let record = NewRecord::of(user, AuditEvent::DevicesListed, now, origin);
    audit::record(conn, &record)?;
    let rows: Vec<DeviceRow> = devices::table
        .filter(devices::user_id.eq(user.get()))
        .order((devices::created_at.desc(), devices::id.desc()))
        .select(DeviceRow::as_select())
        .load(conn)?;
    let devices: Result<_, QueryError> = rows.into_iter().map(DeviceRow::into_device).collect();
    devices.map(Some)
}

pub(crate) fn remove(
    conn: &mut Conn,
    device: DeviceId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<RemoveDevice, QueryError> {
    let owner: Option<i64> = devices::table
        .find(device.get())
        .select(devices::user_id)
        .first(conn)
        .optional()?;
    let Some(owner) = owner else {
        return Ok(RemoveDevice::NoSuchDevice);
    };
    let owner = UserId::from_stored(owner).ok_or(QueryError::Inconsistent {
        table: "devices",
        column: "user_id",
    })?;
    locks::user(conn, owner)?;
    let removed = erase(conn, owner, device.get(), now)?;
    let Some((removed, two_factor_enabled)) = removed else {
        return Ok(RemoveDevice::AlreadyRemoved);
    };
    audit::record(
        conn,
        &NewRecord {
            device_id: Some(device),
            ..NewRecord::of(owner, AuditEvent::DeviceRemoved, now, origin)
        },
    )?;
    Ok(RemoveDevice::Removed {
        device: removed,
        two_factor_enabled,
    })
}

/// How many confirmed devices the user has.
pub(crate) fn count_confirmed(conn: &mut Conn, user: UserId) -> Result<i64, QueryError> {
    let count = devices::table
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::confirmed_at.is_not_null())
        .filter(devices::removed_at.is_null())
        .select(count_star());
    Ok(prepared!(count).get_result(conn)?)
}

/// Removes a device with its seed and codes; without another confirmed one, the step-up of all the
/// user's sessions ends. The device as it was last, and whether the user has a confirmed one; `None` if
/// it was removed already.
pub(crate) fn erase(
    conn: &mut Conn,
    user: UserId,
    device: i64,
    now: DateTime<Utc>,
) -> Result<Option<(Device, bool)>, QueryError> {
    let unremoved = devices::table
        .find(device)
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::removed_at.is_null());
    let row: Option<DeviceRow> = diesel::update(unremoved)
        .set((
            ErasedColumns::at(instant::store(now)),
            devices::updated_at.eq(later_than_before(instant::store(now))),
        ))
        .returning(DeviceRow::as_returning())
        .get_result(conn)
        .optional()?;
    let Some(row) = row else {
        return Ok(None);
    };
    let two_factor_enabled = count_confirmed(conn, user)? > 0;
    if !two_factor_enabled {
        diesel::update(sessions::table.filter(sessions::user_id.eq(user.get())))
            .set(sessions::mfa_not_after.eq(None::<i64>))
            .execute(conn)?;
    }
    Ok(Some((row.into_device()?, two_factor_enabled)))
}

/// Whether a device that was created at `created_at` can still be confirmed.
pub(crate) fn is_pending(created_at: i64, now: DateTime<Utc>, enrollment: TimeDelta) -> bool {
    // Without a sum of `created_at`, which may be anything in a broken row.
    created_at > instant::store(now - enrollment)
}

/// The columns that removing a device erases or sets, besides `updated_at`: seed and codes.
#[derive(AsChangeset)]
#[diesel(table_name = devices, treat_none_as_null = true)]
pub(crate) struct ErasedColumns {
    removed_at: i64,
    seed_key_id: Option<String>,
    seed: Option<Vec<u8>>,
    code_key_id: Option<String>,
    code_mac_key: Option<Vec<u8>>,
    code_macs: Option<Vec<u8>>,
    totp_locked_at: Option<i64>,
    codes_locked_at: Option<i64>,
}

impl ErasedColumns {
    pub(crate) fn at(removed_at: i64) -> Self {
        Self {
            removed_at,
            seed_key_id: None,
            seed: None,
            code_key_id: None,
            code_mac_key: None,
            code_macs: None,
            totp_locked_at: None,
            codes_locked_at: None,
        }
    }
}

pub(crate) fn find_code_set(
    conn: &mut Conn,
    user: UserId,
    device: DeviceId,
) -> Result<Option<CodeSet>, QueryError> {
    let device = devices::table
        .find(device.get())
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::removed_at.is_null())
        .select(CodeSetRow::as_select());
    let row: Option<CodeSetRow> = prepared!(device).get_result(conn).optional()?;
    row.map_or(Ok(None), CodeSetRow::into_code_set)
}

/// `now`, or a microsecond after the last change if the clock stands still or went back: who
/// compares two values of `updated_at` sees every change.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn later_than_before(now: i64) -> _ {
    case_when(devices::updated_at.lt(now), now.into_sql::<BigInt>())
        .otherwise(devices::updated_at + 1i64)
}

pub(crate) mod bits {
    //! The operators on bits, which Diesel leaves out.

    use diesel::sql_types::Integer;

    diesel::infix_operator!(And, " & ", Integer);
    diesel::infix_operator!(Or, " | ", Integer);
}
