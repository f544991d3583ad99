//! Killing what a restored backup would revive, some rows at a time in the order of their keys.

use arklow_domain::{CodeSet, DeviceId, SessionId, TotpWindow, UserId};
use chrono::{DateTime, Utc};
use diesel::dsl::count_star;
use diesel::prelude::*;

use super::devices::later_than_before;
use super::{Conn, audit, locks};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::schema::{audit as records, devices, sessions, users};
use crate::{AuditEvent, AuditOrigin, Batch, DeviceBatch, Hold, RestoredRows, instant};

pub(crate) fn begin(
    conn: &mut Conn,
    hold: Hold,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<RestoredRows, QueryError> {
    let (started, ended) = (AuditEvent::RestoreStarted, AuditEvent::Restored);
    let last: Option<String> = records::table
        .filter(records::event.eq_any([started.as_str(), ended.as_str()]))
        .order(records::id.desc())
        .select(records::event)
        .first(conn)
        .optional()?;
    audit::record(conn, &NewRecord::of_nobody(started, now, origin))?;
    if hold == Hold::Everything {
        let record = NewRecord::of_nobody(AuditEvent::UsersHeld, now, origin);
        audit::record(conn, &record)?;
    }
    let [users, sessions, devices]: [i64; 3] = [
        users::table.select(count_star()).first(conn)?,
        sessions::table.select(count_star()).first(conn)?,
        devices::table.select(count_star()).first(conn)?,
    ];
    Ok(RestoredRows {
        users: users.cast_unsigned(),
        sessions: sessions.cast_unsigned(),
        devices: devices.cast_unsigned(),
        interrupted: last.is_some_and(|event| event == started.as_str()),
    })
}

pub(crate) fn end(
    conn: &mut Conn,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<(), QueryError> {
    let record = NewRecord::of_nobody(AuditEvent::Restored, now, origin);
    audit::record(conn, &record)
}

/// The key of the last of the next rows; `None` if there are fewer than `limit`.
macro_rules! last_of_batch {
    ($conn:ident, $table:ident, $after:ident, $limit:ident) => {
        $table::table
            .filter($table::id.gt($after))
            .order($table::id)
            .offset(i64::from($limit.saturating_sub(1)))
            .select($table::id)
            .first::<i64>($conn)
            .optional()?
    };
}

pub(crate) fn hold_users(
    conn: &mut Conn,
    after: Option<UserId>,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<Batch<UserId>, QueryError> {
    locks::everybody(conn)?;
    let after = after.map_or(0, UserId::get);
    let last = last_of_batch!(conn, users, after, limit);
    let enabled = users::table
        .filter(users::id.gt(after))
        .filter(users::id.le(last.unwrap_or(i64::MAX)))
        .filter(users::disabled_at.is_null());
    let changed = diesel::update(enabled)
        .set(users::disabled_at.eq(instant::store(now)))
        .execute(conn)?;
    Ok(Batch {
        changed,
        next: last.and_then(UserId::from_stored),
    })
}

pub(crate) fn end_sessions(
    conn: &mut Conn,
    after: Option<SessionId>,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<Batch<SessionId>, QueryError> {
    // A server that changes several sessions of a user would deadlock with this otherwise.
    locks::everybody(conn)?;
    let after = after.map_or(0, SessionId::get);
    let last = last_of_batch!(conn, sessions, after, limit);
    let unrevoked = sessions::table
        .filter(sessions::id.gt(after))
        .filter(sessions::id.le(last.unwrap_or(i64::MAX)))
        .filter(sessions::revoked_at.is_null());
    let changed = diesel::update(unrevoked)
        .set(sessions::revoked_at.eq(instant::store(now)))
        .execute(conn)?;
    Ok(Batch {
        changed,
        next: last.and_then(SessionId::from_stored),
    })
}

pub(crate) fn invalidate_codes(
    conn: &mut Conn,
    after: Option<DeviceId>,
    limit: u32,
    hold: Hold,
    now: DateTime<Utc>,
) -> Result<DeviceBatch, QueryError> {
    locks::everybody(conn)?;
    let micros = instant::store(now);
    let after = after.map_or(0, DeviceId::get);
    let last = last_of_batch!(conn, devices, after, limit);
    let some = || {
        devices::table
            .filter(devices::id.gt(after))
            .filter(devices::id.le(last.unwrap_or(i64::MAX)))
    };
    let all_used = i32::from(CodeSet::ALL_USED);
    let sets = some()
        .filter(devices::code_macs.is_not_null())
        .filter(devices::code_used.ne(all_used));
    let code_sets = diesel::update(sets)
        .set((
            devices::code_used.eq(all_used),
            devices::updated_at.eq(later_than_before(micros)),
        ))
        .execute(conn)?;
    let shown = TotpWindow::default().last_step(now).get();
    let behind = some().filter(devices::removed_at.is_null()).filter(
        devices::last_step
            .is_null()
            .or(devices::last_step.lt(shown)),
    );
    let changed = diesel::update(behind)
        .set(devices::last_step.eq(shown))
        .execute(conn)?;
    let locked = match hold {
        Hold::Nothing => 0,
        Hold::Everything => {
            let unlocked = some()
                .filter(devices::removed_at.is_null())
                .filter(devices::totp_locked_at.is_null());
            diesel::update(unlocked)
                .set(devices::totp_locked_at.eq(micros))
                .execute(conn)?
        }
    };
    Ok(DeviceBatch {
        code_sets,
        devices: changed,
        locked,
        next: last.and_then(DeviceId::from_stored),
    })
}
