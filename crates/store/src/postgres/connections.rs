//! Asking: some threads with a connection each, and two queues before them, one of reads and one of
//! writes.  Writes have fewer threads than there are: a commit may have to wait for a standby, and
//! reads go on meanwhile.
//!
//! A thread drives its connection itself.  So an answer of the server wakes the thread that waits for
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

/// How many questions of each kind may wait.  Beyond that the answer is "busy" at once.
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
    desk: Arc<Desk>,
    /// How long a question waits until a thread begins it.
    patience: Duration,
    /// Ends when the last thread has ended.
    ended: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// Where questions queue up.
struct Desk {
    server: Server,
    /// How many threads there may be.
    most: usize,
    /// How many of them may write at once.
    most_writing: usize,
    line: Mutex<Line>,
    woken: Condvar,
    backoff: BackOff,
    acknowledged: Acknowledged,
}

struct Line {
    reads: VecDeque<Waiting>,
    writes: VecDeque<Waiting>,
    /// The number of the next question.
    next: u64,
    /// How many threads write.
    writing: usize,
    threads: usize,
    /// How many threads sleep, those included that have been called and are not up yet.
    idle: usize,
    /// Each thread has a clone.  `None` once closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

/// A question with its number, by which the older one comes first.
struct Waiting {
    number: u64,
    job: Arc<Job>,
}

impl Line {
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

/// A question.  Whoever takes it out has it: a thread, or who asked it and does not wait any longer.
type Job = Mutex<Option<Box<dyn FnOnce(&mut Seat<'_>) + Send>>>;

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = lock(&self.desk.line);
        f.debug_struct("Connections")
            .field("threads", &line.threads)
            .field("idle", &line.idle)
            .field("reads", &line.reads.len())
            .field("writes", &line.writes.len())
            .finish()
    }
}

impl Connections {
    /// Connects when it is asked something.
    pub(super) fn new(server: Server, most: u32, patience: Duration) -> Self {
        let (alive, ended) = mpsc::channel(1);
        let most = most.max(1) as usize;
        // The only one serves both.
        let kept = (most / READS).max(1);
        Self {
            desk: Arc::new(Desk {
                server,
                most,
                most_writing: (most - kept).max(1),
                line: Mutex::new(Line {
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
            patience,
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Works on one of the threads.  Once begun it is carried through, whether or not somebody waits.
    pub(super) async fn work<W, R>(&self, lane: Lane, work: W) -> Result<R, StoreError>
    where
        W: FnOnce(&mut Seat<'_>) -> R + Send + 'static,
        R: Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let job: Arc<Job> = Arc::new(Mutex::new(Some(Box::new(move |seat: &mut Seat<'_>| {
            if reply.is_closed() {
                return;
            }
            // Sound: a connection in use is dropped by a panic.
            let done = catch_unwind(AssertUnwindSafe(|| work(seat)));
            drop(reply.send(done.map_err(|_| StoreError::Panicked)));
        }))));
        self.desk.put(lane, Arc::clone(&job))?;
        if let Ok(answer) = tokio::time::timeout(self.patience, &mut answer).await {
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
        lock(&self.desk.line).alive = None;
        self.desk.woken.notify_all();
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

impl Desk {
    fn put(self: &Arc<Self>, lane: Lane, job: Arc<Job>) -> Result<(), StoreError> {
        let mut line = lock(&self.line);
        let Some(alive) = line.alive.clone() else {
            return Err(StoreError::Closed);
        };
        let number = line.next;
        line.next += 1;
        let queue = match lane {
            Lane::Read => &mut line.reads,
            Lane::Write => &mut line.writes,
        };
        if queue.len() >= QUEUE {
            return Err(StoreError::Busy);
        }
        queue.push_back(Waiting { number, job });
        if line.idle < line.ready(self.most_writing) && line.threads < self.most {
            match self.hire(alive) {
                Ok(()) => line.threads += 1,
                Err(cause) if line.threads == 0 => {
                    line.reads.clear();
                    line.writes.clear();
                    return Err(StoreError::Database(Arc::new(cause)));
                }
                Err(error) => warn!(%error, "a thread for one more connection cannot be had"),
            }
        }
        drop(line);
        self.woken.notify_one();
        Ok(())
    }

    /// One more thread, which ends when there is nothing more to do.
    fn hire(self: &Arc<Self>, alive: mpsc::Sender<Infallible>) -> io::Result<()> {
        let desk = Arc::clone(self);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let hired = thread::Builder::new().name("arklow-postgres".to_owned());
        hired.spawn(move || {
            let _alive = alive;
            wire::settle(runtime);
            let mut seat = Seat {
                desk: &desk,
                conn: None,
            };
            while let Some((lane, job)) = desk.next() {
                let work = lock(&job).take();
                if let Some(work) = work {
                    work(&mut seat);
                }
                if lane == Lane::Write {
                    lock(&desk.line).writing -= 1;
                }
            }
        })?;
        Ok(())
    }

    /// The next question, or `None` at the end of the day.  Sleeps meanwhile.
    fn next(&self) -> Option<(Lane, Arc<Job>)> {
        let mut line = lock(&self.line);
        loop {
            if let Some(taken) = line.take(self.most_writing) {
                return Some(taken);
            }
            // The writes that are left are those of threads that write now: each takes one after its own.
            line.alive.as_ref()?;
            line.idle += 1;
            let slept = self.woken.wait(line);
            line = slept.unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }
}

/// What begins and ends transactions.
type Transactions = <Conn as Connection>::TransactionManager;

/// A thread's place, with its connection if it has one.
pub(super) struct Seat<'a> {
    desk: &'a Desk,
    conn: Option<Conn>,
}

/// Why a transaction was not made, or may not have been.
pub(super) enum Stopped<E> {
    /// There is no connection for it.  Nothing was changed.
    NoConnection(StoreError),
    /// It could not begin.  Nothing was changed.
    NotBegun(Error),
    /// It ended before it was to be committed, so nothing was changed.
    Undone(E),
    /// It was to be committed, and this came instead of the answer.
    InCommit(Error),
}

impl Seat<'_> {
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
        let (conn, wire) = Driver.block_on(self.desk.server.connect())?;
        wire::hold(Some(wire));
        let mut conn = Conn::from(conn);
        // It may be another server than before.
        if let Err(error) = self.desk.acknowledged.check(&mut conn) {
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
        let desk = self.desk;
        let probe = desk.backoff.enter().map_err(Stopped::NoConnection)?;
        let done = self.with(|conn| {
            if probe.is_some() && desk.backoff.is_stuck(conn).map_err(Stopped::NotBegun)? {
                return Err(Stopped::NoConnection(BackOff::refusal()));
            }
            let begin =
                AnsiTransactionManager::begin_transaction_sql(&mut **conn, desk.server.begin());
            Driver.block_on(begin).map_err(Stopped::NotBegun)?;
            desk.acknowledged.begin();
            match work(conn) {
                Ok(done) => {
                    let limit = desk.server.commit_limit();
                    let committed = wire::limited(limit, || Transactions::commit_transaction(conn));
                    if committed.is_err() && wire::is_mute() {
                        desk.backoff.leave_mute();
                    }
                    committed.map_err(Stopped::InCommit)?;
                    desk.acknowledged.keep();
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
            (Ok(_), Some(probe)) => desk.backoff.leave_well(probe),
            (Err(Stopped::NoConnection(_) | Stopped::NotBegun(_)), Some(probe)) => {
                desk.backoff.leave_stuck(probe);
            }
            _ => {}
        }
        done
    }

    /// Refuses a pool that is not safe; the connection is then the seat's.
    pub(super) fn examine(&mut self) -> Result<(), OpenError> {
        let server = &self.desk.server;
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
        let desk = self.desk;
        self.with(|conn| {
            // Behind a pool another server may be there without a connection of ours that ends.
            if desk.server.is_pooled() && desk.acknowledged.is_due() {
                let checked = desk.acknowledged.check(conn);
                checked.map_err(|error| StoreError::Unavailable(Arc::new(error)))?;
            }
            desk.acknowledged.allows_codes(conn)
        })?
    }

    /// Gives up the connection; the next question gets another one.
    pub(super) fn disconnect(&mut self) {
        if let Some(conn) = self.conn.take() {
            part(conn);
        }
    }
}

impl Drop for Seat<'_> {
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
