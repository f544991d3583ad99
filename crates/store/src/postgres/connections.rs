//! Asking: some threads with a connection each, and two queues before them, one of reads and one of
//! writes. Writes have fewer threads than there are: a commit may have to wait for a standby, and
//! reads go on meanwhile.
//!
//! A thread drives its connection itself. So an answer of the server wakes the thread that waits for
//! it, and no other; on the threads of a shared runtime it is passed on twice, and a question has
//! many answers.

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

/// How many questions of each kind may wait. Beyond that the answer is "busy" at once.
const QUEUE: usize = 4096;

/// Of how many connections one is kept for reads.
const READS: usize = 8;

/// What a question does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Read,
    Write,
}

/// The threads, of which there are as many as were ever needed at once.
pub(super) struct Connections {
    pool: Arc<Pool>,
    /// How long a question waits until a thread begins it.
    queue_timeout: Duration,
    /// Ends when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// Where questions queue up.
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
    /// The number of the next question.
    next: u64,
    /// How many threads write.
    writing: usize,
    threads: usize,
    /// How many threads sleep, those included that have been called and are not up yet.
    idle: usize,
    /// Each thread has a clone. `None` once closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

/// A question with its number, by which the older one comes first.
struct QueuedJob {
    number: u64,
    job: Arc<Job>,
}

impl JobQueue {
    /// How many questions wait for nothing but a thread.
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

/// A question. Whoever takes it out has it: a thread, or who asked it and does not wait any longer.
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
    /// Connects when it is asked something.
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

    /// Works on one of the threads. Once begun it is carried through, whether or not somebody waits.
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

    /// Takes no more questions, and waits until those that were asked are answered.
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
                Err(error) => warn!(%error, "a thread for one more connection cannot be had"),
            }
        }
        drop(queue);
        self.woken.notify_one();
        Ok(())
    }

    /// One more thread, which ends when there is nothing more to do.
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

    /// The next question, or `None` at the end of the day. Sleeps meanwhile.
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

/// What begins and ends transactions.
type Transactions = <Conn as Connection>::TransactionManager;

/// A thread's place, with its connection if it has one.
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
    /// Does something on the connection, which is had anew if it was lost.
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

    /// Does something in a transaction, which an error undoes.
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
                    // What went wrong first is what is told; the connection is dropped if this fails.
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

    /// What acknowledged changes have to say about codes.
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

    /// Gives up the connection; the next question gets another one.
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

/// Drops a connection, and lets what drives it say goodbye.
fn part(conn: Conn) {
    drop::<AsyncPgConnection>(conn.into_inner());
    Driver.block_on(async {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    });
    wire::end();
}
