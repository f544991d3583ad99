//! One batch: the jobs that share a transaction, each in its own savepoint.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use diesel::sql_query;
use diesel::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::Inbox;
use crate::StoreError;
use crate::error::{QueryError, is_busy, is_full, is_io_error, is_rolled_back};
use crate::prepared::prepared;
use crate::sqlite::open::File;

/// The most jobs that share a commit.
pub(super) const BATCH: usize = 128;
/// The most times that a transaction is begun while SQLite reports "busy" without waiting.
const MAX_BEGINS: usize = 3;

/// Runs `batch` and the jobs that arrive until the transaction commits.
///
/// An error means that nothing was changed, except for [`StoreError::Unknown`].
pub(super) fn begin_and_commit(
    conn: &mut SqliteConnection,
    file: &File,
    inbox: &mut Inbox,
    batch: &mut Vec<Box<dyn Job>>,
) -> Result<(), StoreError> {
    let started = Instant::now();
    for _ in 0..MAX_BEGINS {
        let (mut begun, mut commits) = (false, false);
        let result = conn.immediate_transaction(|conn| {
            begun = true;
            while batch.len() < BATCH
                && let Some(job) = inbox.queued()
            {
                batch.push(job);
            }
            for job in batch.iter_mut() {
                in_savepoint(conn, job.as_mut())?;
            }
            while batch.len() < BATCH
                && let Some(mut job) = inbox.next_while_syncing()
            {
                let result = in_savepoint(conn, job.as_mut());
                batch.push(job);
                result?;
            }
            commits = true;
            Ok(())
        });
        match result {
            Ok(()) => return Ok(()),
            // The commit may be in the WAL, which is all that it takes after a restart.
            Err(error) if commits && is_io_error(&error) => {
                return Err(StoreError::Unknown(Arc::new(error)));
            }
            // Nothing was changed, and later there may be space.
            Err(error) if begun && (is_full(&error) || is_rolled_back(&error)) => {
                return Err(StoreError::Unavailable(Arc::new(error)));
            }
            Err(error) if begun => return Err(StoreError::Database(Arc::new(error))),
            Err(error) if !is_busy(&error) => return Err(QueryError::from(error).into()),
            Err(_) if started.elapsed() >= file.busy_timeout => break,
            Err(_) => {}
        }
    }
    Err(StoreError::Busy)
}

/// Runs one job. An error fails the whole batch: the savepoint is gone because SQLite rolled the
/// transaction back, as on a full disk.
fn in_savepoint(conn: &mut SqliteConnection, job: &mut dyn Job) -> diesel::QueryResult<()> {
    if job.is_abandoned() {
        return Ok(());
    }
    prepared!(sql_query("SAVEPOINT job")).run(conn)?;
    if !job.run(conn) {
        prepared!(sql_query("ROLLBACK TO job")).run(conn)?;
    }
    prepared!(sql_query("RELEASE job")).run(conn)?;
    Ok(())
}

/// A queued job, independent of its result type.
pub(super) trait Job: Send {
    /// Whether the caller no longer waits.
    fn is_abandoned(&self) -> bool;

    /// Runs the job. `false` means that its savepoint must be rolled back.
    fn run(&mut self, conn: &mut SqliteConnection) -> bool;

    /// Sends the result, once the commit's result is known.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

/// A job with its result type.
pub(super) struct TypedJob<A, T> {
    /// `None` once run.
    pub(super) work: Option<A>,
    pub(super) outcome: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<A, T> Job for TypedJob<A, T>
where
    A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send,
    T: Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, conn: &mut SqliteConnection) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // Sound: after a panic the savepoint is rolled back, and Diesel keeps no state of it.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(conn)))
            .map_or(Err(StoreError::Panicked), |answer| {
                answer.map_err(StoreError::from)
            });
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn answer(self: Box<Self>, commit: Result<(), StoreError>) {
        let answer = match (self.outcome, commit) {
            // Its own error is more precise than that of the batch, which it may have caused.
            (Some(Err(own)), _) => Err(own),
            (_, Err(failure)) => Err(failure),
            (Some(answer), Ok(())) => answer,
            // Abandoned: no caller waits.
            (None, Ok(())) => return,
        };
        // The caller may have stopped waiting.
        drop(self.reply.send(answer));
    }
}
