//! Counting failures, and locking what they lock.

use arklow_domain::{Consequence, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use super::{Conn, audit, locks};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{devices, users};
use crate::{AuditEvent, AuditOrigin, AuditOutcome, UnlockUser, instant};

/// An attempt that is paid for, or not.
pub(crate) enum Charge {
    /// The code may be looked at.
    Paid {
        /// Failures in a row, this attempt included as if it were one.
        failures: i64,
    },
    /// The user is locked until then.
    Locked {
        /// The end of the lock.
        until: DateTime<Utc>,
    },
}

/// Counts the attempt as a failure, unless the user is locked.  A lock that ends later than one that
/// begins at `now` could was begun by a clock that was ahead: it is shortened to `longest`.
pub(crate) fn charge(
    conn: &mut Conn,
    user: UserId,
    longest: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Charge, QueryError> {
    let unlocked = users::table.find(user.get()).filter(
        users::mfa_locked_until
            .is_null()
            .or(users::mfa_locked_until.le(instant::store(now))),
    );
    let update = diesel::update(unlocked)
        .set(users::mfa_failures.eq(users::mfa_failures + 1))
        .returning(users::mfa_failures);
    let failures = prepared!(update).get_result(conn).optional()?;
    if let Some(failures) = failures {
        return Ok(Charge::Paid { failures });
    }
    let until = users::table
        .find(user.get())
        .select(users::mfa_locked_until.assume_not_null());
    let until: i64 = prepared!(until).get_result(conn)?;
    let latest = now + longest;
    if until > instant::store(latest) {
        set_locked_until(conn, user, latest)?;
        return Ok(Charge::Locked { until: latest });
    }
    let until = instant::load(until, "users", "mfa_locked_until")?;
    Ok(Charge::Locked { until })
}

fn set_locked_until(conn: &mut Conn, user: UserId, until: DateTime<Utc>) -> Result<(), QueryError> {
    diesel::update(users::table.find(user.get()))
        .set(users::mfa_locked_until.eq(instant::store(until)))
        .execute(conn)?;
    Ok(())
}

/// Takes the attempt back: no code was looked at.
pub(crate) fn refund(conn: &mut Conn, user: UserId) -> Result<(), QueryError> {
    let update = diesel::update(users::table.find(user.get()))
        .set(users::mfa_failures.eq(users::mfa_failures - 1));
    prepared!(update).run(conn)?;
    Ok(())
}

/// Begins anew after a success.
pub(crate) fn reset(conn: &mut Conn, user: UserId) -> Result<(), QueryError> {
    let update = diesel::update(users::table.find(user.get())).set((
        users::mfa_failures.eq(0),
        users::mfa_locked_until.eq(None::<i64>),
    ));
    prepared!(update).run(conn)?;
    Ok(())
}

/// Opens the factors of the user that were locked, and says how many there were.
pub(crate) fn open_factors(conn: &mut Conn, user: UserId) -> Result<usize, QueryError> {
    let locked = devices::table
        .filter(devices::user_id.eq(user.get()))
        .filter(
            devices::totp_locked_at
                .is_not_null()
                .or(devices::codes_locked_at.is_not_null()),
        );
    let opened = diesel::update(locked)
        .set((
            devices::totp_locked_at.eq(None::<i64>),
            devices::codes_locked_at.eq(None::<i64>),
        ))
        .execute(conn)?;
    Ok(opened)
}

/// Which factor of a device a code is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    Totp,
    BackupCodes,
}

/// Locks what the failure of `attempt` locks, each with its own record.
pub(crate) fn record_failure(
    conn: &mut Conn,
    consequence: Consequence,
    factor: Factor,
    attempt: &NewRecord<'_>,
) -> Result<(), QueryError> {
    let (Some(user), Some(device)) = (attempt.user_id, attempt.device_id) else {
        return Ok(());
    };
    let at = instant::store(attempt.at);
    if let Some(until) = consequence.locked_until {
        set_locked_until(conn, user, until)?;
        audit::record(
            conn,
            &NewRecord {
                event: AuditEvent::UserLocked,
                outcome: AuditOutcome::Success,
                ..*attempt
            },
        )?;
    }
    if consequence.factor_locked {
        let device = devices::table.find(device.get());
        let locked = match factor {
            Factor::Totp => diesel::update(device)
                .set(devices::totp_locked_at.eq(at))
                .execute(conn)?,
            Factor::BackupCodes => diesel::update(device)
                .set(devices::codes_locked_at.eq(at))
                .execute(conn)?,
        };
        debug_assert_eq!(locked, 1, "the device was read before");
        audit::record(
            conn,
            &NewRecord {
                event: AuditEvent::FactorLocked,
                outcome: AuditOutcome::Success,
                ..*attempt
            },
        )?;
    }
    Ok(())
}

pub(crate) fn unlock(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<UnlockUser, QueryError> {
    let before = users::table
        .find(user.get())
        .select((users::mfa_failures, users::mfa_locked_until));
    let before: Option<(i64, Option<i64>)> = locks::holding!(before).first(conn).optional()?;
    let Some((failures, locked_until)) = before else {
        return Ok(UnlockUser::NoSuchUser);
    };
    reset(conn, user)?;
    let opened = open_factors(conn, user)?;
    audit::record(
        conn,
        &NewRecord::of(user, AuditEvent::Unlocked, now, origin),
    )?;
    Ok(UnlockUser::Unlocked {
        was_locked: opened > 0 || locked_until > Some(instant::store(now)),
        failures,
    })
}
