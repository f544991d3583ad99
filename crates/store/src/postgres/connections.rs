//! Asking: some threads with a connection each, and one queue before them.
//!
//! A thread drives its connection itself.  So an answer of the server wakes the thread that waits for
//! it, and no other; on the threads of a shared runtime it is passed on twice, and a question has
//! many answers.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use diesel::connection::TransactionManager as _;
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::BlockOn;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::Conn;
use super::connect::Server;
use crate::StoreError;

/// How many questions may wait.  Beyond that the answer is "busy" at once.
const QUEUE: usize = 4096;

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
    line: Mutex<Line>,
    woken: Condvar,
}

struct Line {
    jobs: VecDeque<Arc<Job>>,
    threads: usize,
    /// How many threads sleep, those included that have been called and are not up yet.
    idle: usize,
    /// Each thread has a clone.  `None` once closed.
    alive: Option<mpsc::Sender<Infallible>>,
}

/// A question.  Whoever takes it out has it: a thread, or who asked it and does not wait any longer.
type Job = Mutex<Option<Box<dyn FnOnce(&mut Seat<'_>) + Send>>>;

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = lock(&self.desk.line);
        f.debug_struct("Connections")
            .field("threads", &line.threads)
            .field("idle", &line.idle)
            .field("waiting", &line.jobs.len())
            .finish()
    }
}

impl Connections {
    /// Connects when it is asked something.
    pub(super) fn new(server: Server, most: u32, patience: Duration) -> Self {
        let (alive, ended) = mpsc::channel(1);
        Self {
            desk: Arc::new(Desk {
                server,
                most: most.max(1) as usize,
                line: Mutex::new(Line {
                    jobs: VecDeque::new(),
                    threads: 0,
                    idle: 0,
                    alive: Some(alive),
                }),
                woken: Condvar::new(),
            }),
            patience,
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    /// Works on one of the threads.  Once begun it is carried through, whether or not somebody waits.
    pub(super) async fn work<W, R>(&self, work: W) -> Result<R, StoreError>
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
        self.desk.put(Arc::clone(&job))?;
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
    fn put(self: &Arc<Self>, job: Arc<Job>) -> Result<(), StoreError> {
        let mut line = lock(&self.line);
        let Some(alive) = line.alive.clone() else {
            return Err(StoreError::Closed);
        };
        if line.jobs.len() >= QUEUE {
            return Err(StoreError::Busy);
        }
        line.jobs.push_back(job);
        if line.idle < line.jobs.len() && line.threads < self.most {
            match self.hire(alive) {
                Ok(()) => line.threads += 1,
                Err(cause) if line.threads == 0 => {
                    line.jobs.clear();
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
            RUNTIME.with(|own| drop(own.set(runtime)));
            let mut seat = Seat {
                server: &desk.server,
                conn: None,
            };
            while let Some(job) = desk.next() {
                let work = lock(&job).take();
                if let Some(work) = work {
                    work(&mut seat);
                }
            }
        })?;
        Ok(())
    }

    /// The next question, or `None` at the end of the day.  Sleeps meanwhile.
    fn next(&self) -> Option<Arc<Job>> {
        let mut line = lock(&self.line);
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            line.alive.as_ref()?;
            line.idle += 1;
            let slept = self.woken.wait(line);
            line = slept.unwrap_or_else(PoisonError::into_inner);
            line.idle -= 1;
        }
    }
}

/// A thread's place, with its connection if it has one.
pub(super) struct Seat<'a> {
    server: &'a Server,
    conn: Option<Conn>,
}

impl Seat<'_> {
    /// Does something on the connection, which is had anew if it was lost.
    pub(super) fn with<R>(&mut self, work: impl FnOnce(&mut Conn) -> R) -> Result<R, StoreError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => Driver.block_on(self.server.connect())?.into(),
        };
        let result = work(&mut conn);
        let is_broken =
            <Conn as diesel::Connection>::TransactionManager::is_broken_transaction_manager;
        if is_broken(&mut conn) {
            part(conn);
        } else {
            self.conn = Some(conn);
        }
        Ok(result)
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
}

thread_local! {
    /// Set before the thread does anything.
    static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
}

/// What drives the connection of a thread: the thread.
#[derive(Debug)]
pub(crate) struct Driver;

impl BlockOn for Driver {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        RUNTIME.with(|own| {
            let runtime = own.get().expect("only a thread of ours has a connection");
            runtime.block_on(future)
        })
    }

    fn get_runtime() -> Self {
        Self
    }
}
