//! Worker threads, each with its own connection. Writes may use only a part of the workers: a commit may
//! have to wait for a standby, and reads continue meanwhile.
//!
//! Each worker drives its connection on its own runtime. So an answer of the server wakes only the thread
//! that waits for it; on a shared runtime each answer woke three threads, and a job has eight round trips.
//! A pool library would add nothing but another queue.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use diesel::Connection;
use diesel::connection::TransactionManager as _;
use diesel::result::Error;
use diesel_async::async_connection_wrapper::BlockOn as _;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use super::Conn;
use super::acknowledged::Acknowledged;
use super::backoff::BackOff;
use super::connect::Server;
use super::wire::{self, Driver};
use crate::job_queue::{JobQueue, Lane, Wake};
use crate::{Load, OpenError, StoreError};

/// One of this many connections is kept for reads.
const READS: usize = 8;

/// The workers; as many as were ever needed at once.
pub(super) struct Connections {
    queue: Arc<JobQueue<Worker>>,
    shared: Arc<Shared>,
    /// How long a job waits for a worker.
    queue_timeout: Duration,
}

/// What the workers share.
struct Shared {
    server: Server,
    backoff: BackOff,
    acknowledged: Acknowledged,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.queue.fmt(f)
    }
}

impl Connections {
    /// Connects when the first job arrives.
    pub(super) fn new(server: Server, most: u32, queue_timeout: Duration) -> Self {
        let most = most.max(1) as usize;
        // The only one serves both.
        let kept = (most / READS).max(1);
        Self {
            queue: Arc::new(JobQueue::new(Wake::Always, most, (most - kept).max(1))),
            shared: Arc::new(Shared {
                server,
                backoff: BackOff::default(),
                acknowledged: Acknowledged::default(),
            }),
            queue_timeout,
        }
    }

    /// Runs a job on a worker. Once started, it is finished even if the caller no longer waits.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        job: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let queued = self.queue.put(lane, job)?;
        if self.queue.needs_thread()
            && let Err(error) = self.start_worker()
        {
            if !self.queue.has_threads() {
                return Err(StoreError::Database(Arc::new(error)));
            }
            warn!(%error, "cannot start a thread for another connection");
        }
        queued.started_within(self.queue_timeout).await
    }

    fn start_worker(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let runtime = UnusedRuntime::new()?;
        self.queue.spawn("arklow-postgres", |queue| {
            wire::settle(runtime.take());
            let mut worker = Worker { shared, conn: None };
            while let Some(job) = queue.take() {
                job.run(&mut worker);
            }
        })
    }

    pub(super) fn load(&self) -> Load {
        self.queue.load()
    }

    /// Rejects new jobs, and waits until the queued ones are done.
    pub(super) async fn close(&self) {
        self.queue.close().await;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.queue.reject_new();
    }
}

/// A runtime that no thread has taken yet. Dropping a runtime panics in a future, as where a thread cannot be started or
/// is not needed any more; this does not.
struct UnusedRuntime(Option<Runtime>);

impl UnusedRuntime {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn take(mut self) -> Runtime {
        self.0.take().expect("it is taken once")
    }
}

impl Drop for UnusedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Begins and ends transactions.
type Transactions = <Conn as Connection>::TransactionManager;

/// A worker thread's state: its connection, if it has one.
pub(super) struct Worker {
    shared: Arc<Shared>,
    conn: Option<Conn>,
}

/// Why a transaction was not made, or may not have been.
pub(super) enum Stopped<E> {
    /// There is no connection for it. Nothing was changed.
    NoConnection(StoreError),
    /// It could not begin. Nothing was changed.
    NotBegun(Error),
    /// It ended before it was to be committed, so nothing was changed.
    Undone(E),
    /// It was to be committed, and this came instead of the answer.
    InCommit(Error),
}

impl Worker {
    /// Runs `work` on the connection; reconnects first if it was lost.
    pub(super) fn with<R>(&mut self, work: impl FnOnce(&mut Conn) -> R) -> Result<R, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.connect()?,
        };
        let result = work(&mut conn);
        let is_broken = Transactions::is_broken_transaction_manager(&mut conn);
        self.conn = Some(conn);
        if is_broken {
            self.disconnect();
        }
        Ok(result)
    }

    fn connect(&mut self) -> Result<Conn, StoreError> {
        wire::hold(None);
        let (conn, wire) = Driver.block_on(self.shared.server.connect())?;
        wire::hold(Some(wire));
        let mut conn = Conn::from(conn);
        // It may be another server than before.
        if let Err(error) = self.shared.acknowledged.check(&mut conn) {
            part(conn);
            return Err(StoreError::Unavailable(Arc::new(error)));
        }
        Ok(conn)
    }

    /// Runs `work` in a transaction, which an error rolls back.
    pub(super) fn transaction<T, E>(
        &mut self,
        work: impl FnOnce(&mut Conn) -> Result<T, E>,
    ) -> Result<T, Stopped<E>> {
        let shared = Arc::clone(&self.shared);
        let probe = shared.backoff.enter().map_err(Stopped::NoConnection)?;
        let done = self.with(|conn| {
            if probe.is_some() && shared.backoff.is_stuck(conn).map_err(Stopped::NotBegun)? {
                return Err(Stopped::NoConnection(BackOff::refusal()));
            }
            let begin =
                AnsiTransactionManager::begin_transaction_sql(&mut **conn, shared.server.begin());
            Driver.block_on(begin).map_err(Stopped::NotBegun)?;
            shared.acknowledged.begin();
            match work(conn) {
                Ok(done) => {
                    let limit = shared.server.commit_limit();
                    let committed = wire::limited(limit, || Transactions::commit_transaction(conn));
                    if committed.is_err() && wire::is_mute() {
                        shared.backoff.leave_mute();
                    }
                    committed.map_err(Stopped::InCommit)?;
                    shared.acknowledged.keep();
                    Ok(done)
                }
                Err(error) => {
                    // The first error is the one to report; if the rollback fails, the connection is dropped.
                    drop(Transactions::rollback_transaction(conn));
                    Err(Stopped::Undone(error))
                }
            }
        });
        let done = done.map_err(Stopped::NoConnection).flatten();
        match (&done, probe) {
            (Ok(_), Some(probe)) => shared.backoff.leave_well(probe),
            (Err(Stopped::NoConnection(_) | Stopped::NotBegun(_)), Some(probe)) => {
                shared.backoff.leave_stuck(probe);
            }
            _ => {}
        }
        done
    }

    /// Refuses a pool that is not safe; the connection is then the worker's.
    pub(super) fn examine(&mut self) -> Result<(), OpenError> {
        let server = &self.shared.server;
        let (client, wire) = Driver.block_on(server.examine())?;
        wire::hold(Some(wire));
        let conn = Driver.block_on(server.set_up(client));
        self.conn = Some(
            conn.map_err(|error| OpenError::Unreachable(Arc::new(error)))?
                .into(),
        );
        Ok(())
    }

    /// Fails if acknowledged changes are missing, because used codes could then work again.
    pub(super) fn check_codes(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        self.with(|conn| {
            // Behind a pool another server may be there without a connection of ours that ends.
            if shared.server.is_pooled() && shared.acknowledged.is_due() {
                let checked = shared.acknowledged.check(conn);
                checked.map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
            }
            shared.acknowledged.allows_codes(conn)
        })?
    }

    /// Drops the connection; the next job gets another one.
    pub(super) fn disconnect(&mut self) {
        if let Some(conn) = self.conn.take() {
            part(conn);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// Drops a connection, and lets its driver send the protocol's Terminate message.
fn part(conn: Conn) {
    drop::<AsyncPgConnection>(conn.into_inner());
    Driver.block_on(async {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    });
    wire::end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runtime_that_no_thread_takes_is_dropped_in_a_future() {
        drop(UnusedRuntime::new().unwrap());
        let taken = UnusedRuntime::new().unwrap().take();
        taken.shutdown_background();
    }
}
