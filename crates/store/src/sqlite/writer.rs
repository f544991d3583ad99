//! One thread owns the only connection that writes, and another one syncs the WAL. A third thread
//! checkpoints: see `checkpoint`.
//!
//! The writer thread runs the queued jobs as one transaction, each job in its own savepoint. SQLite does
//! not sync its commits: the other thread syncs the WAL, and the callers get their results only after
//! that. One sync serves the whole batch, and the next transaction runs meanwhile.
//!
//! SQLite's own `synchronous = FULL` would not need the second thread. It reduces throughput by a tenth on
//! a slow disk and by a quarter on a fast one: see `docs/performance.md`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use diesel::sql_query;
use diesel::sqlite::SqliteConnection;
use tokio::sync::oneshot;
use tracing::warn;

use super::checkpoint::{Checkpointer, checkpoint};
use super::disk::{DiskFailure, DiskState, Wal};
use super::open::{Failure, File};
use crate::StoreError;
use crate::error::{QueryError, is_busy, is_io_error};
use crate::prepared::prepared;

/// The most jobs that may wait. Further ones fail with `Busy` at once.
const QUEUE: usize = 4096;
/// The most jobs that share a commit.
const BATCH: usize = 128;
/// The pages of the WAL, 64 MiB, after which the writer thread waits for the rest of a checkpoint, so that
/// SQLite restarts the WAL. With 16 MiB one request in a hundred met such a pause.
const LONG_WAL: i32 = 16_384;
/// The most times that a transaction is begun while SQLite reports "busy" without waiting.
const MAX_BEGINS: usize = 3;

/// The handle of the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once closed.
    queue: Mutex<Option<SyncSender<Message>>>,
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
        let syncer = Syncer::start(
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
        let sent = queue.try_send(Message::Job(job));
        sent.map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
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
    syncer: Syncer,
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

fn begin_and_commit(
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
            Err(error) if begun => return Err(StoreError::Database(Arc::new(error))),
            Err(error) if !is_busy(&error) => return Err(QueryError::from(error).into()),
            Err(_) if started.elapsed() >= file.busy_timeout => break,
            Err(_) => {}
        }
    }
    Err(StoreError::Busy)
}

/// The messages of the thread, and the state that follows from them.
struct Inbox {
    messages: Receiver<Message>,
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
            Message::Job(job) => return Some(job),
            Message::Synced => {}
            Message::CatchUp => self.is_to_catch_up = true,
            Message::Close => self.is_closed = true,
        }
        None
    }
}

/// The thread that syncs the WAL and then sends the results.
struct Syncer {
    /// `None` at the end.
    committed: Option<SyncSender<Vec<Box<dyn Job>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    fn start(
        mut sync: impl FnMut() -> Result<(), DiskFailure> + Send + 'static,
        disk: DiskState,
        writer: SyncSender<Message>,
        syncing: Arc<AtomicUsize>,
    ) -> io::Result<Self> {
        // While the disk hangs, two batches wait for it; all other jobs wait in the queue, which is bounded.
        let (committed, batches) = mpsc::sync_channel::<Vec<Box<dyn Job>>>(1);
        let thread = thread::Builder::new().name("arklow-sync".to_owned());
        let thread = thread.spawn(move || {
            while let Ok(first) = batches.recv() {
                let mut done = vec![first];
                done.extend(batches.try_iter());
                // A second sync could succeed although the first one lost pages.
                let failure = disk
                    .failure()
                    .or_else(|| sync().err().map(|failure| disk.fail(failure)));
                // Before the results: the writer thread may wait for this. If the queue is full, it does not wait.
                syncing.fetch_sub(done.len(), Ordering::SeqCst);
                drop(writer.try_send(Message::Synced));
                let result = match failure {
                    None => Ok(()),
                    Some(failure) => Err(StoreError::Unknown(failure)),
                };
                for job in done.into_iter().flatten() {
                    job.answer(result.clone());
                }
            }
        })?;
        Ok(Self {
            committed: Some(committed),
            thread: Some(thread),
        })
    }

    /// Syncs a committed batch and then sends its results. Waits while two other batches are being
    /// synced.
    fn sync(&self, batch: Vec<Box<dyn Job>>) {
        if let Some(committed) = &self.committed {
            // If the thread is gone, the callers get `Unknown`.
            drop(committed.send(batch));
        }
    }

    /// Waits until all results are sent.
    fn end(&mut self) {
        drop(self.committed.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            warn!("the syncing thread panicked");
        }
    }
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

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Query(error) => QueryError::from(error).into(),
            other => Self::Database(Arc::new(other)),
        }
    }
}

/// A queued job, independent of its result type.
trait Job: Send {
    /// Whether the caller no longer waits.
    fn is_abandoned(&self) -> bool;

    /// Runs the job. `false` means that its savepoint must be rolled back.
    fn run(&mut self, conn: &mut SqliteConnection) -> bool;

    /// Sends the result, once the commit's result is known.
    fn answer(self: Box<Self>, commit: Result<(), StoreError>);
}

struct TypedJob<A, T> {
    /// `None` once run.
    work: Option<A>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
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

#[cfg(test)]
mod tests {
    //! The effects of one job on the others of its batch, with jobs that no store runs.

    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use diesel::connection::SimpleConnection as _;
    use diesel::prelude::*;
    use diesel::sql_types::BigInt;
    use tempfile::TempDir;

    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    /// Longer than anything here takes, so that a hang is a failure.
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    fn writer() -> (TempDir, File, Writer) {
        prepared(|file, conn| Writer::start(file, conn, DiskState::new()))
    }

    /// With a sync that does nothing but this.
    fn writer_on(
        disk: &DiskState,
        mut sync: impl FnMut() -> io::Result<()> + Send + 'static,
    ) -> (TempDir, File, Writer) {
        let sync = move |_: &Wal| sync().map_err(DiskFailure::Sync);
        prepared(|file, conn| Writer::start_on(file, conn, disk.clone(), sync))
    }

    fn prepared(
        start: impl FnOnce(File, SqliteConnection) -> Result<Writer, Failure>,
    ) -> (TempDir, File, Writer) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let (file, mut conn) = open::open(&path, &Options::default()).unwrap();
        conn.batch_execute(
            "CREATE TABLE blobs (data BLOB);
             CREATE TABLE parents (id INTEGER PRIMARY KEY);
             CREATE TABLE notes (
                 id INTEGER PRIMARY KEY,
                 parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED
             );",
        )
        .unwrap();
        let writer = start(file.clone(), conn).unwrap();
        (directory, file, writer)
    }

    fn note(conn: &mut SqliteConnection, id: i64) -> Result<i64, QueryError> {
        diesel::sql_query("INSERT INTO notes (id) VALUES (?)")
            .bind::<BigInt, _>(id)
            .execute(conn)?;
        Ok(id)
    }

    fn notes(file: &File) -> Vec<i64> {
        #[derive(QueryableByName)]
        struct Note {
            #[diesel(sql_type = BigInt)]
            id: i64,
        }

        let mut conn = file.connect_writer().unwrap();
        let notes: Vec<Note> = diesel::sql_query("SELECT id FROM notes ORDER BY id")
            .load(&mut conn)
            .unwrap();
        notes.into_iter().map(|note| note.id).collect()
    }

    /// Queues a job and returns the receiver of its result.
    fn put<A, T>(writer: &Writer, job: A) -> oneshot::Receiver<Result<T, StoreError>>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        writer
            .enqueue(Box::new(TypedJob {
                work: Some(job),
                outcome: None,
                reply,
            }))
            .unwrap();
        answer
    }

    /// Keeps the thread busy, so that what is put in the queue meanwhile becomes one batch.
    struct Gate {
        open: Sender<()>,
        passed: oneshot::Receiver<Result<(), StoreError>>,
    }

    impl Gate {
        fn shut(writer: &Writer) -> Self {
            let (open, wait): (_, Receiver<()>) = channel();
            let (entered, inside) = channel();
            let passed = put(writer, move |_| {
                entered.send(()).unwrap();
                wait.recv_timeout(TEST_TIMEOUT).unwrap();
                Ok(())
            });
            inside.recv_timeout(TEST_TIMEOUT).unwrap();
            Self { open, passed }
        }

        fn open(self) {
            self.open.send(()).unwrap();
            self.passed.blocking_recv().unwrap().unwrap();
        }
    }

    #[test]
    fn failing_and_panicking_jobs_undo_only_their_own_changes() {
        let (_directory, file, writer) = writer();
        let gate = Gate::shut(&writer);
        let before = put(&writer, |conn| note(conn, 1));
        let failing = put(&writer, |conn| {
            note(conn, 2)?;
            Err::<(), _>(QueryError::Inconsistent {
                table: "notes",
                column: "id",
            })
        });
        let between = put(&writer, |conn| note(conn, 3));
        let panicking = put(&writer, |conn| -> Result<(), QueryError> {
            note(conn, 4)?;
            panic!("on purpose");
        });
        let refused = put(&writer, |conn| {
            note(conn, 5)?;
            note(conn, 1)
        });
        let after = put(&writer, |conn| note(conn, 6));
        gate.open();

        assert_eq!(before.blocking_recv().unwrap().unwrap(), 1);
        let failed = failing.blocking_recv().unwrap();
        assert!(
            matches!(failed, Err(StoreError::Inconsistent { .. })),
            "{failed:?}"
        );
        assert_eq!(between.blocking_recv().unwrap().unwrap(), 3);
        let panicked = panicking.blocking_recv().unwrap();
        assert!(
            matches!(panicked, Err(StoreError::Panicked)),
            "{panicked:?}"
        );
        let refused = refused.blocking_recv().unwrap();
        assert!(
            matches!(refused, Err(StoreError::Database(_))),
            "{refused:?}"
        );
        assert_eq!(after.blocking_recv().unwrap().unwrap(), 6);
        assert_eq!(notes(&file), [1, 3, 6]);
    }

    #[test]
    fn no_result_is_sent_before_the_commit() {
        let (_directory, file, writer) = writer();
        let gate = Gate::shut(&writer);
        let mut first = put(&writer, |conn| note(conn, 1));
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = channel();
        let second = put(&writer, move |conn| {
            entered.send(()).unwrap();
            wait.recv_timeout(TEST_TIMEOUT).unwrap();
            note(conn, 2)
        });
        gate.open();

        inside.recv_timeout(TEST_TIMEOUT).unwrap();
        assert!(
            first.try_recv().is_err(),
            "the first was answered while its batch is open"
        );
        assert_eq!(notes(&file), []);
        go_on.send(()).unwrap();
        assert_eq!(second.blocking_recv().unwrap().unwrap(), 2);
        assert_eq!(first.try_recv().unwrap().unwrap(), 1);
        assert_eq!(notes(&file), [1, 2]);
    }

    #[test]
    fn no_result_is_sent_before_the_sync_and_the_next_batch_runs_meanwhile() {
        let (flushing, flushes) = channel();
        let (go_on, wait) = channel();
        let (_directory, file, writer) = writer_on(&DiskState::new(), move || {
            flushing.send(()).unwrap();
            wait.recv_timeout(TEST_TIMEOUT).unwrap()
        });
        let mut first = put(&writer, |conn| note(conn, 1));
        flushes.recv_timeout(TEST_TIMEOUT).unwrap();
        assert_eq!(notes(&file), [1], "committed");
        let (entered, inside) = channel();
        let mut second = put(&writer, move |conn| {
            entered.send(()).unwrap();
            note(conn, 2)
        });
        inside.recv_timeout(TEST_TIMEOUT).unwrap();
        assert!(first.try_recv().is_err(), "answered before the flush ended");
        assert_eq!(
            notes(&file),
            [1],
            "the batch is open while the disk is busy"
        );
        go_on.send(Ok(())).unwrap();
        assert_eq!(first.blocking_recv().unwrap().unwrap(), 1);
        flushes.recv_timeout(TEST_TIMEOUT).unwrap();
        assert!(second.try_recv().is_err(), "answered by an older flush");
        go_on.send(Ok(())).unwrap();
        assert_eq!(second.blocking_recv().unwrap().unwrap(), 2);
    }

    #[test]
    fn sync_that_failed_once_is_not_repeated_and_its_change_is_unknown() {
        let mut syncs = 0;
        let disk = DiskState::new();
        let (_directory, file, writer) = writer_on(&disk, move || {
            syncs += 1;
            match syncs {
                2 => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => Ok(()),
            }
        });
        let fine = put(&writer, |conn| note(conn, 1));
        fine.blocking_recv().unwrap().unwrap();
        assert!(disk.failure().is_none());
        let lost = put(&writer, |conn| note(conn, 2));
        let answer = lost.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Unknown(_))), "{answer:?}");
        assert!(disk.failure().is_some());
        let next = put(&writer, |conn| note(conn, 3));
        let answer = next.blocking_recv().unwrap();
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
        assert!(!notes(&file).contains(&3), "nothing is changed any more");
    }

    #[test]
    fn own_failure_of_a_job_is_known_also_when_the_sync_fails() {
        let (syncing, syncs) = channel();
        let (fail, wait) = channel::<()>();
        let (_directory, _file, writer) = writer_on(&DiskState::new(), move || {
            syncing.send(()).unwrap();
            wait.recv_timeout(TEST_TIMEOUT).unwrap();
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        let first = put(&writer, |conn| note(conn, 1));
        syncs.recv_timeout(TEST_TIMEOUT).unwrap();
        // The sync must not fail before the next batch has begun: nothing of a later one runs.
        let (entered, inside) = channel();
        let refused = put(&writer, move |conn| {
            entered.send(()).unwrap();
            note(conn, 1)
        });
        inside.recv_timeout(TEST_TIMEOUT).unwrap();
        let neighbor = put(&writer, |conn| note(conn, 2));
        fail.send(()).unwrap();

        let answer = refused.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Database(_))), "{answer:?}");
        let answer = first.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Unknown(_))), "{answer:?}");
        let answer = neighbor.blocking_recv().unwrap();
        assert!(answer.is_err(), "{answer:?}");
    }

    #[tokio::test]
    async fn wal_stays_as_it_is_after_a_failed_sync() {
        let disk = DiskState::new();
        let (_directory, file, writer) =
            writer_on(&disk, || Err(io::Error::from(io::ErrorKind::StorageFull)));
        let lost = writer.run(|conn| note(conn, 1)).await;
        assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
        let (before, size) = (std::fs::read(file.wal()).unwrap(), file_size(&file));
        writer.close().await;
        assert!(
            std::fs::read(file.wal()).unwrap() == before,
            "no checkpoint"
        );
        assert_eq!(file_size(&file), size);
    }

    #[tokio::test]
    async fn closing_leaves_no_wal() {
        let (_directory, file, writer) = writer();
        writer.run(|conn| note(conn, 1)).await.unwrap();
        assert!(file.wal().exists());
        writer.close().await;
        assert!(!file.wal().exists());
        assert_eq!(notes(&file), [1]);
    }

    #[tokio::test]
    async fn wal_that_is_in_use_by_another_connection_stays_when_closing() {
        let (_directory, file, writer) = writer();
        let mut other = file.connect_writer().unwrap();
        other
            .batch_execute("BEGIN; SELECT count(*) FROM notes;")
            .unwrap();
        writer.run(|conn| note(conn, 1)).await.unwrap();
        writer.close().await;
        assert!(file.wal().exists());
        other.batch_execute("COMMIT;").unwrap();
        assert_eq!(notes(&file), [1]);
    }

    #[tokio::test]
    async fn change_after_the_wal_was_renamed_is_unknown_and_the_last_one() {
        for victim in [File::wal, File::path] {
            let disk = DiskState::new();
            let (_directory, file, writer) =
                prepared(|file, conn| Writer::start(file, conn, disk.clone()));
            writer.run(|conn| note(conn, 1)).await.unwrap();
            let elsewhere = victim(&file).with_extension("elsewhere");
            std::fs::rename(victim(&file), &elsewhere).unwrap();
            let lost = writer.run(|conn| note(conn, 2)).await;
            assert!(matches!(lost, Err(StoreError::Unknown(_))), "{lost:?}");
            // Also when another one is in its place.
            std::fs::copy(&elsewhere, victim(&file)).unwrap();
            let next = writer.run(|conn| note(conn, 3)).await;
            assert!(matches!(next, Err(StoreError::Unavailable(_))), "{next:?}");
            let failure = disk.failure().unwrap();
            assert!(matches!(*failure, DiskFailure::Replaced(_)), "{failure:?}");
        }
    }

    fn file_size(file: &File) -> u64 {
        std::fs::metadata(file.path()).unwrap().len()
    }

    #[test]
    fn jobs_wait_in_the_queue_while_the_disk_hangs() {
        let (go_on, wait) = channel::<()>();
        let (_directory, file, writer) = writer_on(&DiskState::new(), move || {
            // An error means that the disk works again.
            wait.recv().ok();
            Ok(())
        });
        let first = put(&writer, |conn| note(conn, 0));
        let more = (1..).map_while(|id| {
            let (reply, answer) = oneshot::channel();
            let sent = writer.enqueue(Box::new(TypedJob {
                work: Some(move |conn: &mut SqliteConnection| note(conn, id)),
                outcome: None,
                reply,
            }));
            sent.ok().map(|()| answer)
        });
        let more: Vec<_> = more.take(2 * QUEUE).collect();
        assert!(more.len() < QUEUE + 4 * BATCH, "{} were taken", more.len());
        drop(go_on);
        let taken = more.len();
        for answer in std::iter::once(first).chain(more) {
            answer.blocking_recv().unwrap().unwrap();
        }
        assert_eq!(notes(&file).len(), taken + 1);
    }

    #[test]
    fn wal_is_found_where_a_link_leads_to() {
        let (directory, file, _writer) = writer();
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(directory.path().join("arklow.db"), &link).unwrap();
        let (linked, _) = open::open(&link, &Options::default()).unwrap();
        assert_eq!(linked.wal(), file.wal());
        assert!(linked.wal().exists());
    }

    #[test]
    fn wal_restarts_while_jobs_arrive_without_a_pause() {
        const PAGES: u64 = 4;
        let (_directory, file, writer) = writer();
        let questions = 4 * LONG_WAL.unsigned_abs() as usize / PAGES as usize;
        let mut waiting = std::collections::VecDeque::new();
        for _ in 0..questions {
            waiting.push_back(put(&writer, move |conn| {
                diesel::sql_query("INSERT INTO blobs VALUES (zeroblob(?))")
                    .bind::<BigInt, _>(4096 * PAGES.cast_signed())
                    .execute(conn)?;
                Ok(())
            }));
            if waiting.len() > BATCH {
                waiting
                    .pop_front()
                    .unwrap()
                    .blocking_recv()
                    .unwrap()
                    .unwrap();
            }
        }
        let log = std::fs::metadata(file.wal()).unwrap().len();
        let limit = 2 * 4096 * u64::from(LONG_WAL.unsigned_abs());
        assert!(log < limit, "{log} bytes");
    }

    #[test]
    fn commit_that_fails_is_an_error_for_all_and_the_next_one_works() {
        let (_directory, file, writer) = writer();
        let gate = Gate::shut(&writer);
        let fine = put(&writer, |conn| note(conn, 1));
        // Noticed at the commit only.
        let orphan = put(&writer, |conn| {
            diesel::sql_query("INSERT INTO notes (id, parent) VALUES (2, 99)").execute(conn)?;
            Ok(())
        });
        gate.open();
        let answer = fine.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Database(_))), "{answer:?}");
        let answer = orphan.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Database(_))), "{answer:?}");
        assert_eq!(notes(&file), []);

        let next = put(&writer, |conn| note(conn, 3));
        assert_eq!(next.blocking_recv().unwrap().unwrap(), 3);
        assert_eq!(notes(&file), [3]);
    }

    #[test]
    fn transaction_that_sqlite_gives_up_is_an_error_for_all_and_the_next_one_works() {
        let (_directory, file, writer) = writer();
        let gate = Gate::shut(&writer);
        let before = put(&writer, |conn| note(conn, 1));
        // What a full disk does.
        let given_up = put(&writer, |conn| {
            diesel::sql_query("INSERT OR ROLLBACK INTO notes (id) VALUES (1)").execute(conn)?;
            Ok(())
        });
        let after = put(&writer, |conn| note(conn, 2));
        gate.open();
        for neighbor in [before, after] {
            let answer = neighbor.blocking_recv().unwrap();
            assert!(matches!(answer, Err(StoreError::Database(_))), "{answer:?}");
        }
        let Err(StoreError::Database(cause)) = given_up.blocking_recv().unwrap() else {
            panic!("the question that did it was answered");
        };
        assert_eq!(cause.to_string(), "UNIQUE constraint failed: notes.id");
        assert_eq!(notes(&file), []);

        let next = put(&writer, |conn| note(conn, 3));
        assert_eq!(next.blocking_recv().unwrap().unwrap(), 3);
        assert_eq!(notes(&file), [3]);
    }

    #[test]
    fn connection_that_is_left_in_a_transaction_is_replaced() {
        let (_directory, file, writer) = writer();
        let mess = put(&writer, |conn| -> Result<(), QueryError> {
            // A job must not do this: Diesel does not notice that the transaction never ends.
            conn.transaction(|conn| {
                note(conn, 1)?;
                panic!("on purpose");
            })
        });
        let answer = mess.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Panicked)), "{answer:?}");
        let next = put(&writer, |conn| note(conn, 2));
        assert_eq!(next.blocking_recv().unwrap().unwrap(), 2);
        assert_eq!(notes(&file), [2]);
    }

    #[test]
    fn abandoned_job_is_not_run() {
        let (_directory, file, writer) = writer();
        let gate = Gate::shut(&writer);
        drop(put(&writer, |conn| note(conn, 1)));
        let kept = put(&writer, |conn| note(conn, 2));
        gate.open();
        kept.blocking_recv().unwrap().unwrap();
        assert_eq!(notes(&file), [2]);
    }

    #[test]
    fn full_queue_is_busy_at_once() {
        let (_directory, _file, writer) = writer();
        let gate = Gate::shut(&writer);
        let waiting: Vec<_> = (0..QUEUE).map(|_| put(&writer, |_| Ok(()))).collect();
        let (reply, _answer) = oneshot::channel::<Result<(), StoreError>>();
        let job = |_: &mut SqliteConnection| Ok(());
        let refused = writer.enqueue(Box::new(TypedJob {
            work: Some(job),
            outcome: None,
            reply,
        }));
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        gate.open();
        for answer in waiting {
            answer.blocking_recv().unwrap().unwrap();
        }
    }
}
