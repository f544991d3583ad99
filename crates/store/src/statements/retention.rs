//! Deleting rows that have served their purpose. Each table is walked by its key, so a step costs the same
//! however many rows there are, and no index is needed for it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::Conn;
use crate::error::QueryError;
use crate::instant;
use crate::retention::{Page, Prunable};
use crate::schema::{audit, devices, outbox, sessions};

/// The next `count` rows after `after`; `None` if there are none to look at.
pub(crate) fn find_page(
    conn: &mut Conn,
    what: Prunable,
    before: DateTime<Utc>,
    after: i64,
    count: u32,
) -> Result<Option<Page>, QueryError> {
    let count = i64::from(count);
    macro_rules! ids {
        ($table:ident) => {
            $table::table
                .filter($table::id.gt(after))
                .order($table::id)
                .limit(count)
                .select($table::id)
                .load::<i64>(conn)?
        };
    }
    let ids = match what {
        Prunable::Sessions => ids!(sessions),
        Prunable::Enrollments => ids!(devices),
        Prunable::Messages => ids!(outbox),
        Prunable::Audit => return find_audit_page(conn, before, after, count),
    };
    Ok(ids.last().map(|last| Page {
        last: *last,
        next: Some(*last),
    }))
}

/// As [`find_page`], up to the first record that is to be kept, and never the newest one.
fn find_audit_page(
    conn: &mut Conn,
    before: DateTime<Utc>,
    after: i64,
    count: i64,
) -> Result<Option<Page>, QueryError> {
    let records: Vec<(i64, i64)> = audit::table
        .filter(audit::id.gt(after))
        .order(audit::id)
        .limit(count)
        .select((audit::id, audit::at))
        .load(conn)?;
    let before = instant::store(before);
    let kept = records.iter().position(|(_, at)| *at >= before);
    // Of a page without a record to keep, the last one begins the next page: it may be the newest.
    let deletable = kept.unwrap_or(records.len().saturating_sub(1));
    Ok(deletable.checked_sub(1).map(|last| Page {
        last: records[last].0,
        next: kept.is_none().then_some(records[last].0),
    }))
}

/// Deletes the rows after `after` and up to `last` that ended before `before`.
pub(crate) fn delete(
    conn: &mut Conn,
    what: Prunable,
    before: DateTime<Utc>,
    after: i64,
    last: i64,
) -> Result<usize, QueryError> {
    let before = instant::store(before);
    let deleted = match what {
        Prunable::Sessions => {
            let page = sessions::id.gt(after).and(sessions::id.le(last));
            let ended = sessions::expires_at
                .lt(before)
                .or(sessions::revoked_at.assume_not_null().lt(before));
            diesel::delete(sessions::table.filter(page).filter(ended)).execute(conn)?
        }
        Prunable::Enrollments => {
            let page = devices::id.gt(after).and(devices::id.le(last));
            let pending = devices::confirmed_at
                .is_null()
                .and(devices::removed_at.is_null());
            let old = devices::created_at.lt(before);
            diesel::delete(devices::table.filter(page).filter(pending).filter(old)).execute(conn)?
        }
        Prunable::Messages => {
            let page = outbox::id.gt(after).and(outbox::id.le(last));
            let ended = outbox::delivered_at
                .assume_not_null()
                .lt(before)
                .or(outbox::failed_at.assume_not_null().lt(before));
            diesel::delete(outbox::table.filter(page).filter(ended)).execute(conn)?
        }
        Prunable::Audit => {
            let page = audit::id.gt(after).and(audit::id.le(last));
            diesel::delete(audit::table.filter(page).filter(audit::at.lt(before))).execute(conn)?
        }
    };
    Ok(deleted)
}
