//! Worker threads, each with its own connection, and two queues of jobs: reads and writes. Writes may use
//! only a part of the workers: a commit may have to wait for a standby, and reads continue meanwhile.
//!
//! Each worker drives its connection on its own runtime. So an answer of the server wakes only the thread
//! that waits for it; on a shared runtime each answer woke three threads, and a job has eight round trips.
//! A pool library would add nothing but another queue.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use diesel::Connection;
use diesel::connection::TransactionManager as _;
use diesel::result::Error;
use diesel_async::async_connection_wrapper::BlockOn as _;
use diesel_async::{AnsiTransactionManager, AsyncPgConnection};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::Conn;
use super::acknowledged::Acknowledged;
use super::backoff::BackOff;
use super::connect::Server;
use super::wire::{self, Driver};
use crate::{OpenError, StoreError};

/// The most jobs of each kind that may wait. Further ones fail with `Busy` at once.
const QUEUE: usize = 4096;

/// One of this many connections is kept for reads.
const READS: usize = 8;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Read,
    Write,
}

/// The workers; as many as were ever needed at once.
pub(super) struct Connections {
    pool: Arc<Pool>,
    /// How long a job waits for a worker.
    queue_timeout: Duration,
    /// Ends when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// What the workers share.
struct Pool {
    server: Server,
    /// How many threads there may be.
    most: usize,
    /// How many of them may write at once.
    most_writing: usize,
    queue: Mutex<JobQueue>,
    woken: Condvar,
    backoff: BackOff,
    acknowledged: Acknowledged,
}

struct JobQueue {
    reads: VecDeque<QueuedJob>,
    writes: VecDeque<QueuedJob>,
    /// The number of the next job.
    next: u64,
    /// How many threads write.
    writing: usize,
    threads: usize,
    /// How many threads sleep, including those that were woken and do not run yet.
    idle: usize,
    /// Each thread has a clone. `None` once closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

/// A job with its number; the older one runs first.
struct QueuedJob {
    number: u64,
    job: Arc<Job>,
}

impl JobQueue {
    /// How many jobs could run if a worker were free.
    fn ready(&self, most_writing: usize) -> usize {
        let writes = self.writes.len().min(most_writing - self.writing);
        self.reads.len() + writes
    }

    /// The oldest of them, taken out.
    fn take(&mut self, most_writing: usize) -> Option<(Lane, Arc<Job>)> {
        let write = self.writes.front().filter(|_| self.writing < most_writing);
        let is_write = match (self.reads.front(), write) {
            (Some(read), Some(write)) => write.number < read.number,
            (None, write) => write.is_some(),
            (Some(_), None) => false,
        };
        if is_write {
            let write = self.writes.pop_front()?;
            self.writing += 1;
            return Some((Lane::Write, write.job));
        }
        Some((Lane::Read, self.reads.pop_front()?.job))
    }
}

/// A job. It is taken out once: by a worker, or by the caller who no longer waits.
type Job = Mutex<Option<Box<dyn FnOnce(&mut Worker<'_>) + Send>>>;

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let queue = lock(&self.pool.queue);
        f.debug_struct("Connections")
            .field("threads", &queue.threads)
            .field("idle", &queue.idle)
            .field("reads", &queue.reads.len())
            .field("writes", &queue.writes.len())
            .finish()
    }
}

impl Connections {
    /// Connects when the first job arrives.
    pub(super) fn new(server: Server, most: u32, queue_timeout: Duration) -> Self {
        let (alive, ended) = mpsc::channel(1);
        let most = most.max(1) as usize;
        // The only one serves both.
        let kept = (most / READS).max(1);
        Self {
            pool: Arc::new(Pool {
                server,
                most,
                most_writing: (most - kept).max(1),
                queue: Mutex::new(JobQueue {
                    reads: VecDeque::new(),
                    writes: VecDeque::new(),
                    next: 0,
                    writing: 0,
                    threads: 0,
                    idle: 0,
                    alive: Some(alive),
                }),
                woken: Condvar::new(),
                backoff: BackOff::default(),
                acknowledged: Acknowledged::default(),
            }),
            queue_timeout,
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Runs `work` on a worker. Once started, it is finished even if the caller no longer waits.
    pub(super) async fn work<W, R>(&self, lane: Lane, work: W) -> Result<R, StoreError>
    where
        W: FnOnce(&mut Worker<'_>) -> R + Send + 'static,
        R: Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let job: Arc<Job> = Arc::new(Mutex::new(Some(Box::new(
            move |worker: &mut Worker<'_>| {
                if reply.is_closed() {
                    return;
                }
                // Sound: a connection in use is dropped by a panic.
                let done = catch_unwind(AssertUnwindSafe(|| work(worker)));
                drop(reply.send(done.map_err(|_| StoreError::Panicked)));
            },
        ))));
        self.pool.put(lane, Arc::clone(&job))?;
        if let Ok(answer) = tokio::time::timeout(self.queue_timeout, &mut answer).await {
            return answer.unwrap_or(Err(StoreError::Closed));
        }
        if lock(&job).take().is_some() {
            return Err(StoreError::Busy);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Rejects new jobs, and waits until the queued ones are done.
    pub(super) async fn close(&self) {
        self.stop();
        self.ended.lock().await.recv().await;
    }

    fn stop(&self) {
        lock(&self.pool.queue).alive = None;
        self.pool.woken.notify_all();
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn put(self: &Arc<Self>, lane: Lane, job: Arc<Job>) -> Result<(), StoreError> {
        let mut queue = lock(&self.queue);
        let Some(alive) = queue.alive.clone() else {
            return Err(StoreError::Closed);
        };
        let number = queue.next;
        queue.next += 1;
        let jobs = match lane {
            Lane::Read => &mut queue.reads,
            Lane::Write => &mut queue.writes,
        };
        if jobs.len() >= QUEUE {
            return Err(StoreError::Busy);
        }
        jobs.push_back(QueuedJob { number, job });
        if queue.idle < queue.ready(self.most_writing) && queue.threads < self.most {
            match self.spawn(alive) {
                Ok(()) => queue.threads += 1,
                Err(cause) if queue.threads == 0 => {
                    queue.reads.clear();
                    queue.writes.clear();
                    return Err(StoreError::Database(Arc::new(cause)));
                }
                Err(error) => warn!(%error, "cannot start a thread for another connection"),
            }
        }
        drop(queue);
        self.woken.notify_one();
        Ok(())
    }

    /// Starts another worker, which ends when the queue is closed and empty.
    fn spawn(self: &Arc<Self>, alive: mpsc::Sender<Infallible>) -> io::Result<()> {
        let pool = Arc::clone(self);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let spawned = thread::Builder::new().name("arklow-postgres".to_owned());
        spawned.spawn(move || {
            let _alive = alive;
            wire::settle(runtime);
            let mut worker = Worker {
                pool: &pool,
                conn: None,
            };
            while let Some((lane, job)) = pool.next() {
                let work = lock(&job).take();
                if let Some(work) = work {
                    work(&mut worker);
                }
                if lane == Lane::Write {
                    lock(&pool.queue).writing -= 1;
                }
            }
        })?;
        Ok(())
    }

    /// Waits for the next job; `None` once the queue is closed and empty.
    fn next(&self) -> Option<(Lane, Arc<Job>)> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(taken) = queue.take(self.most_writing) {
                return Some(taken);
            }
            // The writes that are left are those of threads that write now: each takes one after its own.
            queue.alive.as_ref()?;
            queue.idle += 1;
            let slept = self.woken.wait(queue);
            queue = slept.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// Begins and ends transactions.
type Transactions = <Conn as Connection>::TransactionManager;

/// A worker thread's state: its connection, if it has one.
pub(super) struct Worker<'a> {
    pool: &'a Pool,
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

impl Worker<'_> {
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
        let (conn, wire) = Driver.block_on(self.pool.server.connect())?;
        wire::hold(Some(wire));
        let mut conn = Conn::from(conn);
        // It may be another server than before.
        if let Err(error) = self.pool.acknowledged.check(&mut conn) {
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
        let pool = self.pool;
        let probe = pool.backoff.enter().map_err(Stopped::NoConnection)?;
        let done = self.with(|conn| {
            if probe.is_some() && pool.backoff.is_stuck(conn).map_err(Stopped::NotBegun)? {
                return Err(Stopped::NoConnection(BackOff::refusal()));
            }
            let begin =
                AnsiTransactionManager::begin_transaction_sql(&mut **conn, pool.server.begin());
            Driver.block_on(begin).map_err(Stopped::NotBegun)?;
            pool.acknowledged.begin();
            match work(conn) {
                Ok(done) => {
                    let limit = pool.server.commit_limit();
                    let committed = wire::limited(limit, || Transactions::commit_transaction(conn));
                    if committed.is_err() && wire::is_mute() {
                        pool.backoff.leave_mute();
                    }
                    committed.map_err(Stopped::InCommit)?;
                    pool.acknowledged.keep();
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
            (Ok(_), Some(probe)) => pool.backoff.leave_well(probe),
            (Err(Stopped::NoConnection(_) | Stopped::NotBegun(_)), Some(probe)) => {
                pool.backoff.leave_stuck(probe);
            }
            _ => {}
        }
        done
    }

    /// Refuses a pool that is not safe; the connection is then the worker's.
    pub(super) fn examine(&mut self) -> Result<(), OpenError> {
        let server = &self.pool.server;
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
        let pool = self.pool;
        self.with(|conn| {
            // Behind a pool another server may be there without a connection of ours that ends.
            if pool.server.is_pooled() && pool.acknowledged.is_due() {
                let checked = pool.acknowledged.check(conn);
                checked.map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
            }
            pool.acknowledged.allows_codes(conn)
        })?
    }

    /// Drops the connection; the next job gets another one.
    pub(super) fn disconnect(&mut self) {
        if let Some(conn) = self.conn.take() {
            part(conn);
        }
    }
}

impl Drop for Worker<'_> {
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
