//! Rows of users and of their memberships.

use arklow_domain::{CodeSet, Email, User, UserId, UserName};
use chrono::{DateTime, Utc};
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::rows::{DeviceRow, is_disabled};
use super::{Conn, Db, audit, locks, sessions as session_rows};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{devices, memberships, sessions, users};
use crate::{
    AuditEvent, AuditOrigin, CreateUser, DeviceOverview, DisableUser, EnableUser, Membership,
    NewUser, UserFilter, UserOverview, instant,
};

pub(crate) fn create(
    conn: &mut Conn,
    new: &NewUser,
    origin: &AuditOrigin,
) -> Result<CreateUser, QueryError> {
    let inserted = diesel::insert_into(users::table)
        .values((
            users::id.eq(new.id.get()),
            users::name.eq(new.name.as_str()),
            users::email.eq(new.email.as_str()),
            users::email_folded.eq(new.email.folded()),
            users::created_at.eq(instant::store(new.now)),
        ))
        .on_conflict(users::email_folded)
        .do_nothing()
        .execute(conn)?;
    if inserted == 0 {
        return Ok(CreateUser::EmailInUse);
    }
    let record = NewRecord::of(new.id, AuditEvent::UserCreated, new.now, origin);
    audit::record(conn, &record)?;
    Ok(CreateUser::Created)
}

pub(crate) fn disable(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<DisableUser, QueryError> {
    let enabled = users::table
        .find(user.get())
        .filter(users::disabled_at.is_null());
    let updated = diesel::update(enabled)
        .set(users::disabled_at.eq(instant::store(now)))
        .execute(conn)?;
    if updated == 1 {
        let record = NewRecord::of(user, AuditEvent::UserDisabled, now, origin);
        audit::record(conn, &record)?;
        return Ok(DisableUser::Disabled);
    }
    Ok(match is_disabled(conn, user)? {
        Some(_) => DisableUser::AlreadyDisabled,
        None => DisableUser::NoSuchUser,
    })
}

pub(crate) fn enable(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<EnableUser, QueryError> {
    locks::user(conn, user)?;
    let disabled = users::table
        .find(user.get())
        .filter(users::disabled_at.is_not_null());
    let updated = diesel::update(disabled)
        .set(users::disabled_at.eq(None::<i64>))
        .execute(conn)?;
    if updated == 0 {
        return Ok(match is_disabled(conn, user)? {
            Some(_) => EnableUser::AlreadyEnabled,
            None => EnableUser::NoSuchUser,
        });
    }
    // They were over while the user was disabled, and must not come back.
    let unrevoked = sessions::table
        .filter(sessions::user_id.eq(user.get()))
        .filter(sessions::revoked_at.is_null());
    diesel::update(unrevoked)
        .set(sessions::revoked_at.eq(instant::store(now)))
        .execute(conn)?;
    let record = NewRecord::of(user, AuditEvent::UserEnabled, now, origin);
    audit::record(conn, &record)?;
    Ok(EnableUser::Enabled)
}

pub(crate) fn find_id(conn: &mut Conn, email: &Email) -> Result<Option<UserId>, QueryError> {
    let found: Option<i64> = users::table
        .filter(users::email_folded.eq(email.folded()))
        .select(users::id)
        .first(conn)
        .optional()?;
    let wrong = QueryError::Inconsistent {
        table: "users",
        column: "id",
    };
    match found {
        Some(id) => UserId::from_stored(id).map(Some).ok_or(wrong),
        None => Ok(None),
    }
}

pub(crate) fn list(
    conn: &mut Conn,
    filter: &UserFilter,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Vec<User>, QueryError> {
    let record = NewRecord::of_nobody(AuditEvent::UsersListed, now, origin);
    audit::record(conn, &record)?;
    let mut found = users::table
        .filter(users::id.gt(filter.after.map_or(0, UserId::get)))
        .order(users::id)
        .limit(i64::from(filter.limit))
        .select(UserRow::as_select())
        .into_boxed();
    if let Some(search) = &filter.search {
        let pattern = format!("%{}%", escape_like(&search.to_lowercase()));
        found = found.filter(users::email_folded.like(pattern).escape('!'));
    }
    if let Some(since) = filter.disabled_since {
        found = found.filter(users::disabled_at.ge(instant::store(since)));
    }
    let rows: Vec<UserRow> = found.load(conn)?;
    rows.into_iter().map(UserRow::into_user).collect()
}

/// The text as a pattern of `LIKE` that matches it and nothing else, with `!` as the escape.
fn escape_like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern
}

pub(crate) fn show(
    conn: &mut Conn,
    user: UserId,
    limit: u32,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Option<UserOverview>, QueryError> {
    let row: Option<(UserRow, i64, Option<i64>)> = users::table
        .find(user.get())
        .select((
            UserRow::as_select(),
            users::mfa_failures,
            users::mfa_locked_until,
        ))
        .first(conn)
        .optional()?;
    let Some((row, failures, locked_until)) = row else {
        return Ok(None);
    };
    // Read before this is on record itself.
    let records = audit::latest(conn, user, limit)?;
    audit::record(
        conn,
        &NewRecord::of(user, AuditEvent::UserShown, now, origin),
    )?;
    let live = || {
        devices::table
            .filter(devices::user_id.eq(user.get()))
            .filter(devices::removed_at.is_null())
    };
    let device_count: i64 = live().select(count_star()).first(conn)?;
    let rows: Vec<(DeviceRow, DeviceStateRow)> = live()
        .order((devices::created_at.desc(), devices::id.desc()))
        .limit(i64::from(limit))
        .select((DeviceRow::as_select(), DeviceStateRow::as_select()))
        .load(conn)?;
    let devices: Result<_, QueryError> = rows
        .into_iter()
        .map(|(row, state)| state.into_overview(row))
        .collect();
    let (sessions, session_count) = session_rows::list_live(conn, user, limit, now)?;
    Ok(Some(UserOverview {
        user: row.into_user()?,
        failures,
        locked_until: instant::load_optional(locked_until, "users", "mfa_locked_until")?,
        devices: devices?,
        device_count: device_count.cast_unsigned(),
        sessions,
        session_count: session_count.cast_unsigned(),
        records,
    }))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Db))]
struct DeviceStateRow {
    totp_locked_at: Option<i64>,
    codes_locked_at: Option<i64>,
    code_key_id: Option<String>,
    code_used: i32,
}

impl DeviceStateRow {
    fn into_overview(self, row: DeviceRow) -> Result<DeviceOverview, QueryError> {
        let unused = !self.code_used & i32::from(CodeSet::ALL_USED);
        let load = |at, column| instant::load_optional(at, "devices", column);
        Ok(DeviceOverview {
            device: row.into_device()?,
            totp_locked_at: load(self.totp_locked_at, "totp_locked_at")?,
            codes_locked_at: load(self.codes_locked_at, "codes_locked_at")?,
            backup_codes_left: self.code_key_id.map(|_| unused.count_ones()),
        })
    }
}

pub(crate) fn find(conn: &mut Conn, user: UserId) -> Result<Option<User>, QueryError> {
    let user = users::table.find(user.get()).select(UserRow::as_select());
    let row: Option<UserRow> = prepared!(user).get_result(conn).optional()?;
    row.map(UserRow::into_user).transpose()
}

pub(crate) fn list_memberships(
    conn: &mut Conn,
    user: UserId,
) -> Result<Vec<Membership>, QueryError> {
    let rows: Vec<(i64, String)> = memberships::table
        .filter(memberships::user_id.eq(user.get()))
        .order(memberships::org_id)
        .select((memberships::org_id, memberships::permissions))
        .load(conn)?;
    let memberships = rows.into_iter().map(|(org_id, permissions)| Membership {
        org_id,
        permissions: permissions.split_whitespace().map(str::to_owned).collect(),
    });
    Ok(memberships.collect())
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Db))]
struct UserRow {
    id: i64,
    name: String,
    email: String,
    created_at: i64,
    disabled_at: Option<i64>,
}

impl UserRow {
    fn into_user(self) -> Result<User, QueryError> {
        let wrong = |column| QueryError::Inconsistent {
            table: "users",
            column,
        };
        Ok(User {
            id: UserId::from_stored(self.id).ok_or(wrong("id"))?,
            name: UserName::from_stored(&self.name).ok_or(wrong("name"))?,
            email: Email::from_stored(&self.email).ok_or(wrong("email"))?,
            created_at: instant::load(self.created_at, "users", "created_at")?,
            disabled_at: instant::load_optional(self.disabled_at, "users", "disabled_at")?,
        })
    }
}
