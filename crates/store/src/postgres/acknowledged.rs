//! Noticing that acknowledged changes are gone.
//!
//! After a failover to a standby that lagged, the server may lack changes that were acknowledged to callers.
//! Then used codes would work again. So a process keeps the last audit records that it acknowledged
//! and looks for them on each new connection. It detects only the loss of changes that it made itself. This needs no
//! state outside the process and no round trip per request.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use tracing::{error, info};

use super::Conn;
use crate::StoreError;

/// How many records are kept.
const KEPT: usize = 64;
/// How often a server checks whether `arklow restored` has run.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// An audit record, by its number and time: another server may give the number to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    id: i64,
    at: i64,
}

thread_local! {
    /// What the transaction of this thread has written.
    static WRITTEN: RefCell<Vec<Record>> = const { RefCell::new(Vec::new()) };
}

/// Takes note of an audit record of the transaction.
pub(crate) fn written(id: i64, at: i64) {
    WRITTEN.with_borrow_mut(|written| written.push(Record { id, at }));
}

/// The last acknowledged records, and whether one of them is missing.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    records: Mutex<VecDeque<Record>>,
    is_suspended: AtomicBool,
    lost: Mutex<Option<Lost>>,
    checked: Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Copy)]
struct Lost {
    /// The time of the last record that is gone.
    at: i64,
    looked: Option<Instant>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "acknowledged changes are gone from the database, so used codes could work again: run \
     `arklow restored`"
)]
struct Gone;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Acknowledged {
    /// A transaction begins.
    pub(super) fn begin(&self) {
        WRITTEN.with_borrow_mut(Vec::clear);
    }

    /// The transaction is committed.
    pub(super) fn keep(&self) {
        WRITTEN.with_borrow_mut(|written| {
            if written.is_empty() {
                return;
            }
            let mut records = lock(&self.records);
            records.extend(written.drain(..));
            let surplus = records.len().saturating_sub(KEPT);
            records.drain(..surplus);
        });
    }

    /// Whether it was not looked for some time whether everything is there.
    pub(super) fn is_due(&self) -> bool {
        lock(&self.checked).is_none_or(|checked| checked.elapsed() >= POLL_EVERY)
    }

    /// Looks on a new connection whether everything that was acknowledged is there.
    pub(super) fn check(&self, conn: &mut Conn) -> QueryResult<()> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = BigInt)]
            id: i64,
            #[diesel(sql_type = BigInt)]
            at: i64,
        }
        let mut known = String::new();
        for Record { id, at } in &*lock(&self.records) {
            let comma = if known.is_empty() { "" } else { "," };
            write!(known, "{comma}({id}::bigint,{at}::bigint)").expect("a string takes all");
        }
        *lock(&self.checked) = Some(Instant::now());
        if known.is_empty() {
            return Ok(());
        }
        // Records before the first remaining one were deleted to keep the audit short.
        let missing: Vec<Found> = diesel::sql_query(format!(
            "SELECT known.id, known.at FROM (VALUES {known}) AS known (id, at)
             WHERE NOT EXISTS (SELECT FROM audit WHERE audit.id = known.id AND audit.at = known.at)
                 AND known.id >= (SELECT coalesce(min(id), 0) FROM audit)"
        ))
        .load(conn)?;
        let Some(last) = missing.iter().max_by_key(|record| record.at) else {
            return Ok(());
        };
        let mut lost = lock(&self.lost);
        // They are reported once; from now on only newer records are checked.
        lock(&self.records).retain(|record| {
            let is_missing = |found: &Found| found.id == record.id && found.at == record.at;
            !missing.iter().any(is_missing)
        });
        *lost = Some(Lost {
            at: lost.map_or(last.at, |lost| lost.at.max(last.at)),
            looked: None,
        });
        self.is_suspended.store(true, Ordering::Release);
        error!(
            missing = missing.len(),
            audit.id = last.id,
            "acknowledged changes are gone from the database, the last is audit record {}: codes are \
             answered with 503 until `arklow restored` has run",
            last.id
        );
        Ok(())
    }

    /// Whether codes may be accepted, which they may not between a loss and `arklow restored`.
    pub(super) fn allows_codes(&self, conn: &mut Conn) -> Result<(), StoreError> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Bool)]
            found: bool,
        }
        if !self.is_suspended.load(Ordering::Acquire) {
            return Ok(());
        }
        let gone = || StoreError::Unavailable(Arc::new(Gone));
        let at = {
            let mut lost = lock(&self.lost);
            let Some(lost) = &mut *lost else {
                return Ok(());
            };
            if lost
                .looked
                .is_some_and(|looked| looked.elapsed() < POLL_EVERY)
            {
                return Err(gone());
            }
            lost.looked = Some(Instant::now());
            lost.at
        };
        let found: Found = diesel::sql_query(format!(
            "SELECT EXISTS (SELECT FROM audit
                 WHERE event = '{}' AND outcome = 'success' AND at >= {at}) AS found",
            crate::AuditEvent::Restored.as_str()
        ))
        .get_result(conn)
        .map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
        if !found.found {
            return Err(gone());
        }
        let mut lost = lock(&self.lost);
        if lost.is_some_and(|lost| lost.at == at) {
            *lost = None;
            self.is_suspended.store(false, Ordering::Release);
            info!("`arklow restored` has run: codes are accepted again");
        }
        Ok(())
    }
}
