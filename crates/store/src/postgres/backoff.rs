//! Waiting before the next change after one that the server did not acknowledge.
//!
//! A commit that waits for a standby goes on waiting on the server when its connection is dropped. If
//! each try left one behind, they would use up the connections that the server has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::Conn;
use crate::StoreError;

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Whether changes are tried.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// Whether there is a pause, so that most callers need no lock.
    is_pausing: AtomicBool,
    pause: Mutex<Option<Pause>>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
    /// Whether a caller is trying now.
    is_probed: bool,
}

/// A change that is tried after a pause; the others wait for what comes of it.
#[derive(Debug)]
pub(super) struct Probe<'a>(&'a BackOff);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(pause) = &mut *self.0.lock() {
            pause.is_probed = false;
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the server does not acknowledge changes: earlier ones still wait there, for a standby or for the \
     server itself"
)]
struct Unacknowledged;

impl BackOff {
    /// What is answered during a pause. Nothing was changed.
    pub(super) fn refusal() -> StoreError {
        StoreError::Unavailable(Arc::new(Unacknowledged))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a change: `None` if there is no pause.
    pub(super) fn enter(&self) -> Result<Option<Probe<'_>>, StoreError> {
        if !self.is_pausing.load(Ordering::Acquire) {
            return Ok(None);
        }
        match &mut *self.lock() {
            None => Ok(None),
            Some(pause) if pause.is_probed || Instant::now() < pause.until => Err(Self::refusal()),
            Some(pause) => {
                pause.is_probed = true;
                Ok(Some(Probe(self)))
            }
        }
    }

    /// A commit was not answered.
    pub(super) fn leave_mute(&self) {
        let mut pause = self.lock();
        let now = Instant::now();
        let length = match *pause {
            // One of several that began together.
            Some(pause) if !pause.is_probed => return,
            Some(pause) => (pause.length * 2).min(LONGEST),
            None => SHORTEST,
        };
        *pause = Some(Pause {
            length,
            until: now + length,
            is_probed: false,
        });
        self.is_pausing.store(true, Ordering::Release);
    }

    /// It is too early.
    pub(super) fn leave_stuck(&self, probe: Probe<'_>) {
        if let Some(pause) = &mut *self.lock() {
            pause.length = (pause.length * 2).min(LONGEST);
            pause.until = Instant::now() + pause.length;
        }
        drop(probe);
    }

    /// A change was made.
    pub(super) fn leave_well(&self, probe: Probe<'_>) {
        *self.lock() = None;
        self.is_pausing.store(false, Ordering::Release);
        drop(probe);
    }

    /// Whether commits of ours have waited for a standby for long. Asked before one more would.
    pub(super) fn is_stuck(&self, conn: &mut Conn) -> QueryResult<bool> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Bool)]
            found: bool,
        }
        let found: Found = diesel::sql_query(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                 WHERE wait_event = 'SyncRep' AND usename = current_user
                     AND datname = current_database()
                     AND state_change < clock_timestamp() - interval '2 seconds') AS found",
        )
        .get_result(conn)?;
        Ok(found.found)
    }
}
