//! One thread owns the only connection that writes, and another one syncs the WAL. A third thread
//! checkpoints.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the queue and the loop of the writer thread |
//! | `batch` | the transaction of a batch, and its jobs |
//! | `sync` | the thread that syncs the WAL |
//! | `checkpoint` | the thread that checkpoints |
//!
//! The writer thread runs the queued jobs as one transaction, each job in its own savepoint. SQLite does
//! not sync its commits: the other thread syncs the WAL, and the callers get their results only after
//! that. One sync serves the whole batch, and the next transaction runs meanwhile.
//!
//! SQLite's own `synchronous = FULL` would not need the second thread. It reduces throughput by a tenth on
//! a slow disk and by a quarter on a fast one: see `docs/performance.md`.

mod batch;
mod checkpoint;
mod sync;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use diesel::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use tracing::warn;

use self::batch::{Job, TypedJob, begin_and_commit};
use self::checkpoint::{Checkpointer, checkpoint};
use self::sync::WalSyncer;
use super::disk::{DiskFailure, DiskState, Wal};
use super::open::{Failure, File};
use crate::StoreError;
use crate::error::QueryError;
use crate::health::BATCH_JOBS;

/// The most jobs that may wait. Further ones fail with `Busy` at once.
const QUEUE: usize = 4096;
/// The pages of the WAL, 64 MiB, after which the writer thread waits for the rest of a checkpoint, so that
/// SQLite restarts the WAL. With 16 MiB one request in a hundred met such a pause.
const LONG_WAL: i32 = 16_384;

/// The handle of the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once closed.
    queue: Mutex<Option<SyncSender<Message>>>,
    /// How many jobs the thread has not taken yet.
    queued: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A message for the writer thread.
enum Message {
    Job(Box<dyn Job>),
    /// A batch is synced.
    Synced,
    /// The WAL is long, and nearly all of it is checkpointed.
    CatchUp,
    /// The last message.
    Close,
}

impl Writer {
    /// Starts the threads on `conn`; `file` is for when the connection breaks.
    pub(super) fn start(
        file: File,
        conn: SqliteConnection,
        disk: DiskState,
    ) -> Result<Self, Failure> {
        Self::start_on(file, conn, disk, Wal::sync)
    }

    /// `sync` brings all that was committed to the disk.
    fn start_on(
        file: File,
        mut conn: SqliteConnection,
        disk: DiskState,
        mut sync: impl FnMut(&Wal) -> Result<(), DiskFailure> + Send + 'static,
    ) -> Result<Self, Failure> {
        file.defer_wal_sync(&mut conn).map_err(Failure::Query)?;
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let catch_up = queue.clone();
        let on_length = move |pages| {
            if pages > LONG_WAL {
                drop(catch_up.send(Message::CatchUp));
            }
        };
        // Before the WAL is looked for: from here on nothing of SQLite's deletes it.
        let checkpointer = Checkpointer::start(&file, disk.clone(), on_length)?;
        let wal = Wal::open(&file).map_err(Failure::Wal)?;
        let syncing = Arc::default();
        let queued = Arc::new(AtomicUsize::new(0));
        let syncer = WalSyncer::start(
            move || sync(&wal),
            disk.clone(),
            queue.clone(),
            Arc::clone(&syncing),
        );
        let writing = Thread {
            file,
            conn: Some(conn),
            checkpointer,
            syncer: syncer.map_err(Failure::Thread)?,
            disk,
            inbox: Inbox {
                messages,
                queued: Arc::clone(&queued),
                syncing,
                is_to_catch_up: false,
                is_closed: false,
            },
        };
        let thread = thread::Builder::new()
            .name("arklow-writer".to_owned())
            .spawn(move || writing.run())
            .map_err(Failure::Thread)?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            queued,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs a job and waits until its commit is on the disk.
    pub(super) async fn run<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Box::new(TypedJob {
            work: Some(job),
            outcome: None,
            reply,
        }))?;
        // Only a panic of a thread of this module drops a job.
        answer
            .await
            .unwrap_or_else(|dropped| Err(StoreError::Unknown(Arc::new(dropped))))
    }

    /// Rejects new jobs, waits until the queued ones are done, and disconnects.
    pub(super) async fn close(&self) {
        let queue = lock(&self.queue).take();
        let thread = lock(&self.thread).take();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(queue) = queue {
                drop(queue.send(Message::Close));
            }
            thread.map_or(Ok(()), JoinHandle::join)
        });
        if !matches!(closing.await, Ok(Ok(()))) {
            warn!("the writer thread panicked");
        }
    }

    fn enqueue(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let queue = lock(&self.queue);
        let queue = queue.as_ref().ok_or(StoreError::Closed)?;
        // Before: the thread may take it at once.
        self.queued.fetch_add(1, Ordering::Relaxed);
        let sent = queue.try_send(Message::Job(job));
        sent.map_err(|refused| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => StoreError::Closed,
            }
        })
    }

    /// How many jobs wait for the thread.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(queue) = lock(&self.queue).take() {
            drop(queue.send(Message::Close));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of the writer thread.
struct Thread {
    file: File,
    /// `None` after it failed, until it is needed again.
    conn: Option<SqliteConnection>,
    syncer: WalSyncer,
    checkpointer: Checkpointer,
    disk: DiskState,
    inbox: Inbox,
}

impl Thread {
    fn run(mut self) {
        while let Some(first) = self.inbox.next() {
            let mut batch = vec![first];
            let failure = match self.commit(&mut batch) {
                Ok(()) => {
                    self.inbox.syncing.fetch_add(1, Ordering::SeqCst);
                    if !self.inbox.is_to_catch_up {
                        self.checkpointer.count(batch.len());
                    }
                    metrics::histogram!(BATCH_JOBS).record(batch.len() as f64);
                    self.syncer.sync(batch);
                    if self.inbox.is_to_catch_up
                        && let Some(conn) = &mut self.conn
                    {
                        // Tried again after the next batch if another checkpoint is still running.
                        self.inbox.is_to_catch_up = checkpoint(conn, &self.disk).is_none();
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            if matches!(failure, StoreError::Busy) {
                // The jobs that were queued meanwhile would only wait for the same lock again.
                while let Some(job) = self.inbox.queued() {
                    batch.push(job);
                }
            }
            for job in batch {
                job.answer(Err(failure.clone()));
            }
        }
        self.syncer.end();
        // The checkpointer's connection must be the last one.
        drop(self.conn.take());
        self.checkpointer.end();
    }

    /// Runs `batch` and the jobs that were queued while it waited for the lock, and commits. An
    /// error means that nothing was changed, except for [`StoreError::Unknown`].
    fn commit(&mut self, batch: &mut Vec<Box<dyn Job>>) -> Result<(), StoreError> {
        if let Some(failure) = self.disk.failure() {
            return Err(StoreError::Unavailable(failure));
        }
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reconnect()?,
        };
        let result = begin_and_commit(&mut conn, &self.file, &mut self.inbox, batch);
        // Only "busy" leaves the connection as it was: it never began. After anything else it may
        // be in the middle of something, so the next batch gets a new one.
        if matches!(result, Ok(()) | Err(StoreError::Busy)) {
            self.conn = Some(conn);
        }
        result
    }

    fn reconnect(&self) -> Result<SqliteConnection, StoreError> {
        let mut conn = self.file.connect_writer().map_err(StoreError::from)?;
        self.file
            .defer_wal_sync(&mut conn)
            .map_err(QueryError::from)?;
        Ok(conn)
    }
}

/// The messages of the thread, and the state that follows from them.
struct Inbox {
    messages: Receiver<Message>,
    queued: Arc<AtomicUsize>,
    /// How many batches are not synced yet.
    syncing: Arc<AtomicUsize>,
    is_to_catch_up: bool,
    is_closed: bool,
}

impl Inbox {
    /// Waits for the next job; `None` once closed.
    fn next(&mut self) -> Option<Box<dyn Job>> {
        while !self.is_closed {
            let message = self.messages.recv().ok()?;
            if let Some(job) = self.hear(message) {
                return Some(job);
            }
        }
        None
    }

    /// The next job that arrives before the previous batch is synced. The open batch would have to wait for
    /// that sync anyway.
    fn next_while_syncing(&mut self) -> Option<Box<dyn Job>> {
        while self.syncing.load(Ordering::SeqCst) > 0 && !self.is_closed {
            let message = self.messages.recv().ok()?;
            if let Some(job) = self.hear(message) {
                return Some(job);
            }
        }
        None
    }

    /// The next queued job, without waiting.
    fn queued(&mut self) -> Option<Box<dyn Job>> {
        while !self.is_closed {
            let message = self.messages.try_recv().ok()?;
            if let Some(job) = self.hear(message) {
                return Some(job);
            }
        }
        None
    }

    fn hear(&mut self, message: Message) -> Option<Box<dyn Job>> {
        match message {
            Message::Job(job) => {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                return Some(job);
            }
            Message::Synced => {}
            Message::CatchUp => self.is_to_catch_up = true,
            Message::Close => self.is_closed = true,
        }
        None
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Query(error) => QueryError::from(error).into(),
            other => Self::Database(Arc::new(other)),
        }
    }
}
