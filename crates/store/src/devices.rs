//! Devices: enrolling them, and replacing and redeeming their backup codes.
//!
//! A set of backup codes is a value in the row of its device, so one `UPDATE` replaces it, and
//! every race between replacing, redeeming and whatever else happens to the row is decided there.

use std::sync::Arc;

use arklow_domain::{
    BackupCode, CODES_PER_SET, CodeMac, CodeSet, Device, DeviceId, DeviceName, DeviceState,
    Keyring, SealedCodes, SealedSeed, SessionId, UserId,
};
use chrono::{DateTime, Utc};
use diesel::dsl::{case_when, exists};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::audit::{self, NewRecord};
use crate::error::Fault;
use crate::schema::{devices, sessions, users};
use crate::sessions::live;
use crate::{AuditEvent, AuditOrigin, Backend, Store, StoreError, instant};

/// The one type of device there is.
const TOTP: &str = "totp";

/// A device to be enrolled.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// A newly drawn id.
    pub id: DeviceId,
    /// Whose device.
    pub user_id: UserId,
    /// What its owner calls it.
    pub name: DeviceName,
    /// Its seed, sealed for this user and device.
    pub seed: SealedSeed,
    /// When its owner showed that it works, if that is done.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The time.
    pub now: DateTime<Utc>,
}

/// What [`Store::create_device`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateDevice {
    /// The device is enrolled.
    Created,
    /// There is no such user.
    NoSuchUser,
    /// The user is disabled.
    UserDisabled,
}

/// A set of backup codes to take the place of whatever a device has.
#[derive(Debug, Clone)]
pub struct ReplaceBackupCodes {
    /// Who wants it.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// For which device.
    pub device_id: DeviceId,
    /// The new set.
    pub codes: SealedCodes,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

/// What [`Store::replace_backup_codes`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceOutcome {
    /// The new set, and only it, is valid.
    Replaced {
        /// The device as it is now.
        device: Device,
        /// How many sets the device has had, this one included.
        generation: i64,
        /// The session's own value, unchanged: replacing codes proves no factor.
        session_mfa_not_after: DateTime<Utc>,
    },
    /// The session is over or not the user's.
    SessionEnded,
    /// The session lives, and the second factor was not shown in it or no longer counts.
    MfaNotFresh,
    /// No such device, another user's, or a removed one; which of them is not told.
    NoSuchDevice,
    /// The user's device, never confirmed.
    DeviceNotConfirmed,
}

/// A backup code that somebody presents.
#[derive(Debug, Clone)]
pub struct RedeemBackupCode {
    /// Who presents it.
    pub user_id: UserId,
    /// As a code of which device.
    pub device_id: DeviceId,
    /// The code.
    pub code: BackupCode,
    /// The time.
    pub now: DateTime<Utc>,
}

impl Store {
    /// Enrols a device, unless the user may not have one.
    ///
    /// # Errors
    /// [`StoreError`]; among others if the id was used before.
    pub async fn create_device(&self, new: NewDevice) -> Result<CreateDevice, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| create(conn, &new)).await,
        }
    }

    /// Replaces the backup codes of a device and writes it into the audit, both or neither.
    ///
    /// One statement checks session, freshness and device and makes the change: nothing can come
    /// between.  All former codes are dead the moment this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_backup_codes(
        &self,
        replace: ReplaceBackupCodes,
    ) -> Result<ReplaceOutcome, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| replace_codes(conn, &replace))
                    .await
            }
        }
    }

    /// Uses up a backup code.  `true` exactly once for each code of the device's current set, in
    /// whatever order and from wherever it is presented.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn redeem_backup_code(
        &self,
        redeem: RedeemBackupCode,
        keyring: Arc<Keyring>,
    ) -> Result<bool, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| redeem_code(conn, &redeem, &keyring))
                    .await
            }
        }
    }

    /// The backup codes of a user's device, unless it has none, is removed or another user's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backup_code_set(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<Option<CodeSet>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .read(move |conn| find_code_set(conn, user, device))
                    .await
            }
        }
    }
}

fn create(conn: &mut SqliteConnection, new: &NewDevice) -> Result<CreateDevice, Fault> {
    let now = instant::store(new.now);
    let inserted = users::table
        .find(new.user_id.get())
        .filter(users::disabled_at.is_null())
        .select((
            new.id.get().into_sql::<BigInt>(),
            users::id,
            new.name.as_str().into_sql::<Text>(),
            TOTP.into_sql::<Text>(),
            new.seed.key_id.to_string().into_sql::<Text>(),
            new.seed.bytes.as_slice().into_sql::<Binary>(),
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
        return Ok(CreateDevice::Created);
    }
    Ok(match crate::users::is_disabled(conn, new.user_id)? {
        Some(_) => CreateDevice::UserDisabled,
        None => CreateDevice::NoSuchUser,
    })
}

fn replace_codes(
    conn: &mut SqliteConnection,
    replace: &ReplaceBackupCodes,
) -> Result<ReplaceOutcome, Fault> {
    let now = instant::store(replace.now);
    let session = live(replace.now)
        .filter(sessions::id.eq(replace.session_id.get()))
        .filter(sessions::user_id.eq(replace.user_id.get()));
    let fresh_session = session.filter(sessions::mfa_not_after.gt(now));
    let device = devices::table
        .find(replace.device_id.get())
        .filter(devices::user_id.eq(replace.user_id.get()))
        .filter(devices::confirmed_at.is_not_null())
        .filter(devices::removed_at.is_null());

    let replaced: Option<(DeviceRow, i64)> = diesel::update(device.filter(exists(fresh_session)))
        .set((
            devices::code_key_id.eq(replace.codes.key_id.to_string()),
            devices::code_macs.eq(replace.codes.macs.map(|mac| *mac.as_bytes()).concat()),
            devices::code_used.eq(0),
            devices::code_generation.eq(devices::code_generation + 1),
            devices::updated_at.eq(later_than_before(now)),
        ))
        .returning((DeviceRow::as_returning(), devices::code_generation))
        .get_result(conn)
        .optional()?;
    let Some((device, generation)) = replaced else {
        return why_not_replaced(conn, replace);
    };

    audit::record(
        conn,
        &NewRecord {
            at: replace.now,
            event: AuditEvent::BackupCodesRegenerated,
            user_id: replace.user_id,
            session_id: Some(replace.session_id),
            device_id: Some(replace.device_id),
            generation: Some(generation),
            origin: &replace.origin,
        },
    )?;
    let not_after: i64 = sessions::table
        .find(replace.session_id.get())
        .select(sessions::mfa_not_after.assume_not_null())
        .first(conn)?;
    Ok(ReplaceOutcome::Replaced {
        device: device.into_device()?,
        generation,
        session_mfa_not_after: instant::load(not_after, "sessions", "mfa_not_after")?,
    })
}

/// The guards of [`replace_codes`] one by one, in the order in which a caller may hear of them:
/// who has not shown a second factor does not learn which devices exist.
fn why_not_replaced(
    conn: &mut SqliteConnection,
    replace: &ReplaceBackupCodes,
) -> Result<ReplaceOutcome, Fault> {
    let session: Option<Option<i64>> = live(replace.now)
        .filter(sessions::id.eq(replace.session_id.get()))
        .filter(sessions::user_id.eq(replace.user_id.get()))
        .select(sessions::mfa_not_after)
        .first(conn)
        .optional()?;
    match session {
        None => return Ok(ReplaceOutcome::SessionEnded),
        Some(not_after) if not_after <= Some(instant::store(replace.now)) => {
            return Ok(ReplaceOutcome::MfaNotFresh);
        }
        Some(_) => {}
    }
    let confirmed: Option<bool> = devices::table
        .find(replace.device_id.get())
        .filter(devices::user_id.eq(replace.user_id.get()))
        .filter(devices::removed_at.is_null())
        .select(devices::confirmed_at.is_not_null())
        .first(conn)
        .optional()?;
    match confirmed {
        None => Ok(ReplaceOutcome::NoSuchDevice),
        Some(false) => Ok(ReplaceOutcome::DeviceNotConfirmed),
        // The statement before this one, in the same transaction, saw it otherwise.
        Some(true) => Err(Fault::Inconsistent {
            table: "devices",
            column: "confirmed_at",
        }),
    }
}

fn redeem_code(
    conn: &mut SqliteConnection,
    redeem: &RedeemBackupCode,
    keyring: &Keyring,
) -> Result<bool, Fault> {
    let Some(set) = find_code_set(conn, redeem.user_id, redeem.device_id)? else {
        return Ok(false);
    };
    let Some(slot) = set.slot_of(keyring, redeem.user_id, &redeem.code) else {
        return Ok(false);
    };

    let now = instant::store(redeem.now);
    let bit = i32::from(slot.bit());
    let unused = devices::table
        .find(redeem.device_id.get())
        .filter(devices::user_id.eq(redeem.user_id.get()))
        .filter(devices::confirmed_at.is_not_null())
        .filter(devices::removed_at.is_null())
        .filter(devices::code_generation.eq(set.generation))
        .filter(bits::And::new(devices::code_used, bit.into_sql::<Integer>()).eq(0));
    let updated = diesel::update(unused)
        .set((
            devices::code_used.eq(bits::Or::new(devices::code_used, bit.into_sql::<Integer>())),
            devices::last_used_at.eq(now),
            devices::updated_at.eq(later_than_before(now)),
        ))
        .execute(conn)?;
    Ok(updated == 1)
}

fn find_code_set(
    conn: &mut SqliteConnection,
    user: UserId,
    device: DeviceId,
) -> Result<Option<CodeSet>, Fault> {
    let row: Option<CodeSetRow> = devices::table
        .find(device.get())
        .filter(devices::user_id.eq(user.get()))
        .filter(devices::removed_at.is_null())
        .select(CodeSetRow::as_select())
        .first(conn)
        .optional()?;
    row.map_or(Ok(None), CodeSetRow::into_code_set)
}

/// `now`, or a microsecond after the last change if the clock stands still or went back: who
/// compares two values of `updated_at` sees every change.
#[diesel::dsl::auto_type(no_type_alias)]
fn later_than_before(now: i64) -> _ {
    case_when(devices::updated_at.lt(now), now.into_sql::<BigInt>())
        .otherwise(devices::updated_at + 1i64)
}

mod bits {
    //! The operators on bits, which Diesel leaves out.

    use diesel::sql_types::Integer;

    diesel::infix_operator!(And, " & ", Integer);
    diesel::infix_operator!(Or, " | ", Integer);
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Sqlite))]
struct DeviceRow {
    id: i64,
    user_id: i64,
    name: String,
    confirmed_at: Option<i64>,
    last_used_at: Option<i64>,
    updated_at: i64,
    removed_at: Option<i64>,
}

impl DeviceRow {
    fn into_device(self) -> Result<Device, Fault> {
        let wrong = |column| Fault::Inconsistent {
            table: "devices",
            column,
        };
        let confirmed_at = instant::load_optional(self.confirmed_at, "devices", "confirmed_at")?;
        let removed_at = instant::load_optional(self.removed_at, "devices", "removed_at")?;
        Ok(Device {
            id: DeviceId::from_stored(self.id).ok_or(wrong("id"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            name: self.name.parse().map_err(|_| wrong("name"))?,
            state: match (confirmed_at, removed_at) {
                (confirmed_at, Some(at)) => DeviceState::Removed { confirmed_at, at },
                (Some(at), None) => DeviceState::Confirmed { at },
                (None, None) => DeviceState::Pending,
            },
            last_used_at: instant::load_optional(self.last_used_at, "devices", "last_used_at")?,
            updated_at: instant::load(self.updated_at, "devices", "updated_at")?,
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Sqlite))]
struct CodeSetRow {
    code_key_id: Option<String>,
    code_macs: Option<Vec<u8>>,
    code_used: i32,
    code_generation: i64,
}

impl CodeSetRow {
    fn into_code_set(self) -> Result<Option<CodeSet>, Fault> {
        let wrong = |column| Fault::Inconsistent {
            table: "devices",
            column,
        };
        let (key_id, macs) = match (self.code_key_id, self.code_macs, self.code_generation) {
            (None, None, 0) => return Ok(None),
            (Some(key_id), Some(macs), 1..) => (key_id, macs),
            _ => return Err(wrong("code_generation")),
        };
        let used = u16::try_from(self.code_used).map_err(|_| wrong("code_used"))?;
        if used & !CodeSet::ALL_USED != 0 {
            return Err(wrong("code_used"));
        }
        Ok(Some(CodeSet {
            key_id: key_id.parse().map_err(|_| wrong("code_key_id"))?,
            generation: self.code_generation,
            macs: split_macs(&macs).ok_or(wrong("code_macs"))?,
            used,
        }))
    }
}

/// Ten MACs that stand one behind the other.
fn split_macs(bytes: &[u8]) -> Option<[CodeMac; CODES_PER_SET]> {
    let (macs, rest) = bytes.as_chunks::<{ CodeMac::LEN }>();
    if !rest.is_empty() {
        return None;
    }
    let macs: Vec<CodeMac> = macs.iter().copied().map(CodeMac::from_stored).collect();
    macs.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(confirmed_at: Option<i64>, removed_at: Option<i64>) -> DeviceRow {
        DeviceRow {
            id: 1,
            user_id: 1,
            name: "phone".to_owned(),
            confirmed_at,
            last_used_at: None,
            updated_at: 0,
            removed_at,
        }
    }

    #[test]
    fn device_stands_where_its_times_say() {
        let at = DateTime::UNIX_EPOCH;
        for (confirmed_at, removed_at, expected) in [
            (None, None, DeviceState::Pending),
            (Some(0), None, DeviceState::Confirmed { at }),
            (
                None,
                Some(0),
                DeviceState::Removed {
                    confirmed_at: None,
                    at,
                },
            ),
            (
                Some(0),
                Some(0),
                DeviceState::Removed {
                    confirmed_at: Some(at),
                    at,
                },
            ),
        ] {
            let device = row(confirmed_at, removed_at).into_device();
            assert_eq!(device.map(|device| device.state).ok(), Some(expected));
        }
    }
}
