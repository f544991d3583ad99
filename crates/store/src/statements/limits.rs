//! Rate limits per user: they count the successes in the audit within the last period.
//!
//! The audit is shared, so every process counts alike and a restart forgets nothing. A partial index
//! of successes keeps the count fast.

use arklow_domain::{RateLimit, UserId};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;

use super::Conn;
use crate::error::QueryError;
use crate::schema::audit;
use crate::{AuditEvent, AuditOutcome, instant};

/// How far a record may be after `now`, which was read before this transaction waited for its turn: others
/// may have been made since then, also by servers whose clocks are a little ahead.
const CLOCKS_APART: TimeDelta = TimeDelta::minutes(5);

/// The record that leaves no room for another one before it is older than the limit's time; no
/// record if there is room, or no limit.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn last_allowed(
    user: i64,
    event: AuditEvent,
    limit: Option<RateLimit>,
    now: DateTime<Utc>,
) -> _ {
    let (since, others): (i64, i64) = bounds(limit, now);
    let until: i64 = instant::store(now + CLOCKS_APART);
    let event: &'static str = event.as_str();
    let success: &'static str = AuditOutcome::Success.as_str();
    audit::table
        .filter(audit::user_id.eq(user))
        .filter(audit::event.eq(event))
        .filter(audit::outcome.eq(success))
        .filter(audit::at.gt(since))
        // Later records are of a clock that was ahead: they would limit for too long.
        .filter(audit::at.le(until))
        .order(audit::at.desc())
        .select(audit::at)
        .limit(1i64)
        .offset(others)
}

/// When the user may do it again, if not now.
pub(crate) fn until(
    conn: &mut Conn,
    user: UserId,
    event: AuditEvent,
    limit: Option<RateLimit>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, QueryError> {
    let Some(per) = limit.map(|limit| limit.per) else {
        return Ok(None);
    };
    let at: Option<i64> = last_allowed(user.get(), event, limit, now)
        .first(conn)
        .optional()?;
    let at = instant::load_optional(at, "audit", "at")?;
    // A record of a clock that is a little ahead must not make the wait longer than the limit's time.
    Ok(at.map(|at| at.min(now) + per))
}

/// The start of the period, and how many newer records the limit allows.
fn bounds(limit: Option<RateLimit>, now: DateTime<Utc>) -> (i64, i64) {
    match limit {
        // Nothing is on record after the end of time.
        None => (i64::MAX, 0),
        Some(limit) => (
            instant::store(now - limit.per),
            i64::from(limit.count.max(1)) - 1,
        ),
    }
}
