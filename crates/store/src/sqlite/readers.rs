//! Reader threads, each with a read-only connection, and one queue of jobs for them.
//!
//! Waking a thread costs more than most jobs. So one reader runs all queued jobs, and another one is
//! woken only for a job that has not started in time: behind a slow job, or when one reader does not
//! keep up.
//!
//! The jobs that are queued when a reader starts share one read transaction, because beginning one
//! costs more than most jobs, too. The snapshot is never older than a job, so a job sees everything
//! that was committed before it was queued.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, sql_query};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::open::{Failure, File};
use crate::StoreError;
use crate::error::QueryError;
use crate::prepared::prepared;

/// The most jobs that may wait. Further ones fail with `Busy` at once.
const QUEUE: usize = 4096;
/// How long a job waits before another reader is woken for it.
const WAKE_AFTER: Duration = Duration::from_millis(2);

/// The readers. With a WAL, readers and the writer do not block each other.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Arc<JobQueue>,
    queue_timeout: Duration,
    /// Disconnects when every thread has closed its connection. `None` once closed.
    ended: Mutex<Option<mpsc::Receiver<Never>>>,
}

/// Nothing is ever sent.
#[derive(Debug)]
enum Never {}

/// The queue, and what its readers share.
struct JobQueue {
    /// How many readers there are.
    readers: usize,
    state: Mutex<QueueState>,
    woken: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// How many jobs have left the queue.
    begun: u64,
    /// How many readers sleep, and have not been woken_up.
    asleep: usize,
    /// How many have been woken_up, and are not up yet.
    woken_up: usize,
    closed: bool,
}

/// Runs on a connection, or reports why there is none.
type Job = Box<dyn FnOnce(Result<&mut SqliteConnection, StoreError>) + Send>;

impl std::fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("JobQueue")
            .field("readers", &self.readers)
            .field("asleep", &state.asleep)
            .field("waiting", &state.jobs.len())
            .finish()
    }
}

impl Readers {
    /// Connects all of them, so that no read needs another file descriptor later.
    pub(super) fn start(file: &File, count: u32) -> Result<Self, Failure> {
        let (alive, ended) = mpsc::channel();
        // Created before the threads: if one cannot start, dropping this ends the others.
        let this = Self {
            queue: Arc::new(JobQueue {
                readers: count.max(1) as usize,
                state: Mutex::default(),
                woken: Condvar::new(),
            }),
            queue_timeout: file.busy_timeout,
            ended: Mutex::new(Some(ended)),
        };
        for _ in 0..this.queue.readers {
            let (queue, file, conn) = (Arc::clone(&this.queue), file.clone(), connect(file)?);
            let alive: mpsc::Sender<Never> = alive.clone();
            thread::Builder::new()
                .name("arklow-reader".to_owned())
                .spawn(move || {
                    // Dropped after the connection, also by a panic.
                    let _alive = alive;
                    queue.work(&file, Some(conn));
                })
                .map_err(Failure::Thread)?;
        }
        Ok(this)
    }

    /// Runs a job on the connection of a reader.
    pub(super) async fn run<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, mut answer) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        self.queue.put(Box::new(move |conn| {
            // The caller no longer waits.
            if reply.is_closed() {
                return;
            }
            begins.store(true, Ordering::Relaxed);
            // Sound: a connection that only reads has nothing to leave half done, and Diesel
            // resets its statements.
            let result = conn.and_then(|conn| {
                let result = catch_unwind(AssertUnwindSafe(|| job(conn)));
                result.map_or(Err(StoreError::Panicked), |answer| {
                    answer.map_err(StoreError::from)
                })
            });
            // The caller may have stopped waiting.
            drop(reply.send(result));
        }))?;
        let closed = |_| StoreError::Closed;
        if let Ok(answer) = tokio::time::timeout(WAKE_AFTER, &mut answer).await {
            return answer.map_err(closed)?;
        }
        if !begun.load(Ordering::Relaxed) {
            self.queue.wake_another();
            let rest = self.queue_timeout.saturating_sub(WAKE_AFTER);
            if let Ok(answer) = tokio::time::timeout(rest, &mut answer).await {
                return answer.map_err(closed)?;
            }
            if !begun.load(Ordering::Relaxed) {
                return Err(StoreError::Busy);
            }
        }
        answer.await.map_err(closed)?
    }

    /// Rejects new jobs. Queued ones still run.
    fn refuse(&self) {
        self.queue.state().closed = true;
        self.queue.woken.notify_all();
    }

    /// Rejects new jobs, runs the queued ones, and waits until the connections are
    /// closed: the WAL cannot be emptied before. The wait is bounded by the busy timeout.
    pub(super) async fn close(&self) {
        self.refuse();
        let ended = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(ended) = ended else { return };
        let queue_timeout = self.queue_timeout;
        let waiting = tokio::task::spawn_blocking(move || ended.recv_timeout(queue_timeout));
        if let Ok(Err(RecvTimeoutError::Timeout)) = waiting.await {
            warn!(
                "a read is still running after {queue_timeout:?}; closing the database without it"
            );
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.refuse();
    }
}

fn connect(file: &File) -> Result<SqliteConnection, Failure> {
    let mut conn = SqliteConnection::establish(file.url()).map_err(Failure::Connect)?;
    file.make_reader(&mut conn)?;
    file.open_wal(&mut conn)?;
    Ok(conn)
}

impl JobQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.jobs.len() >= QUEUE {
            return Err(StoreError::Busy);
        }
        state.jobs.push_back(job);
        if state.asleep == self.readers {
            self.wake(state);
        }
        Ok(())
    }

    /// Wakes another reader, if one sleeps.
    fn wake_another(&self) {
        let state = self.state();
        if state.asleep > 0 {
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, QueueState>) {
        state.asleep -= 1;
        state.woken_up += 1;
        drop(state);
        self.woken.notify_one();
    }

    /// The loop of a reader thread.
    fn work(&self, file: &File, mut conn: Option<SqliteConnection>) {
        while let Some((job, last)) = self.next() {
            let mut conn_in_snapshot = match conn.take().map_or_else(|| connect(file), Ok) {
                Ok(conn) => conn,
                Err(failure) => {
                    error!(error = %failure, "a reader cannot connect");
                    job(Err(failure.into()));
                    continue;
                }
            };
            // If this fails, the job fails too and reports the error.
            let begun = prepared!(sql_query("BEGIN")).run(&mut conn_in_snapshot);
            job(Ok(&mut conn_in_snapshot));
            while let Some(job) = self.next_until(last) {
                job(Ok(&mut conn_in_snapshot));
            }
            let ended =
                begun.and_then(|()| prepared!(sql_query("COMMIT")).run(&mut conn_in_snapshot));
            match ended {
                Ok(()) => conn = Some(conn_in_snapshot),
                Err(error) => error!(%error, "a reader could not read, and reconnects"),
            }
        }
    }

    /// Waits for the next job. Returns it with the number of the newest queued job; `None` once the
    /// queue is closed and empty.
    fn next(&self) -> Option<(Job, u64)> {
        let mut state = self.state();
        loop {
            let last = state.begun + state.jobs.len() as u64;
            if let Some(job) = state.pop() {
                return Some((job, last));
            }
            if state.closed {
                return None;
            }
            state.asleep += 1;
            while state.woken_up == 0 && !state.closed {
                let slept = self.woken.wait(state);
                state = slept.unwrap_or_else(PoisonError::into_inner);
            }
            state.woken_up = state.woken_up.saturating_sub(1);
        }
    }

    /// The next job, if its number is at most `last`.
    fn next_until(&self, last: u64) -> Option<Job> {
        let mut state = self.state();
        if state.begun < last {
            state.pop()
        } else {
            None
        }
    }
}

impl QueueState {
    fn pop(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.begun += 1;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use diesel::RunQueryDsl as _;
    use diesel::connection::SimpleConnection as _;

    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    fn readers(count: u32) -> (tempfile::TempDir, Readers) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let busy_timeout = Duration::from_millis(200);
        let options = Options {
            busy_timeout,
            ..Options::default()
        };
        let (file, _writer) = open::open(&path, &options).unwrap();
        let readers = Readers::start(&file, count).unwrap();
        (directory, readers)
    }

    #[tokio::test]
    async fn question_that_no_reader_begins_in_time_is_busy() {
        let (_directory, readers) = readers(1);
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
        let long = readers.run(move |_| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
            Ok(())
        });
        let short = async {
            inside.await.unwrap();
            let answer = readers.run(|_| Ok(())).await;
            go_on.send(()).unwrap();
            answer
        };
        let (long, short) = tokio::join!(long, short);
        assert!(matches!(short, Err(StoreError::Busy)), "{short:?}");
        assert!(long.is_ok(), "{long:?}");
        assert!(readers.run(|_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn question_behind_a_slow_one_gets_another_reader() {
        let (_directory, readers) = readers(2);
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
        let long = readers.run(move |_| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
            Ok(1)
        });
        let short = async {
            inside.await.unwrap();
            for _ in 0..20 {
                assert!(readers.run(|_| Ok(2)).await.is_ok());
            }
            go_on.send(()).unwrap();
        };
        let (long, ()) = tokio::join!(long, short);
        assert!(matches!(long, Ok(1)), "{long:?}");
    }

    #[tokio::test]
    async fn question_sees_what_was_committed_before_it_was_asked() {
        let (directory, readers) = readers(1);
        let options = Options::default();
        let (_, mut writer) = open::open(&directory.path().join("arklow.db"), &options).unwrap();
        let version = |conn: &mut SqliteConnection| {
            #[derive(diesel::QueryableByName)]
            struct Version {
                #[diesel(sql_type = diesel::sql_types::Integer)]
                user_version: i32,
            }
            let version: Version =
                sql_query("SELECT user_version FROM pragma_user_version").get_result(conn)?;
            Ok(version.user_version)
        };
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
        let before = readers.run(move |conn| {
            let version = version(conn);
            entered.send(()).unwrap();
            wait.recv().unwrap();
            version
        });
        let after = async {
            inside.await.unwrap();
            writer.batch_execute("PRAGMA user_version = 7").unwrap();
            let result = readers.run(version);
            let go_on = async { go_on.send(()).unwrap() };
            tokio::join!(biased; result, go_on).0
        };
        let (before, after) = tokio::join!(before, after);
        assert!(matches!(before, Ok(0)), "{before:?}");
        assert!(matches!(after, Ok(7)), "{after:?}");
    }

    #[tokio::test]
    async fn panicking_question_is_an_error_and_the_next_one_works() {
        let (_directory, readers) = readers(1);
        let answer = readers
            .run(|_| -> Result<(), QueryError> { panic!("on purpose") })
            .await;
        assert!(matches!(answer, Err(StoreError::Panicked)), "{answer:?}");
        assert!(readers.run(|_| Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn closing_waits_until_every_connection_is_closed() {
        let (directory, readers) = readers(3);
        let descriptors = |name: &str| {
            let file = directory.path().join(name);
            let open = std::fs::read_dir("/proc/self/fd").unwrap();
            let targets = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
            targets.filter(|target| *target == file).count()
        };
        assert!(descriptors("arklow.db") >= 3, "every reader is connected");
        assert!(descriptors("arklow.db-wal") >= 3, "and has opened the WAL");
        readers.close().await;
        assert_eq!(descriptors("arklow.db"), 0);
    }

    #[tokio::test]
    async fn closing_does_not_wait_for_a_read_that_hangs() {
        let (_directory, readers) = readers(1);
        let (go_on, wait) = channel::<()>();
        let (entered, inside) = oneshot::channel();
        let long = readers.run(move |_| {
            entered.send(()).unwrap();
            wait.recv().unwrap();
            Ok(7)
        });
        let close = async {
            inside.await.unwrap();
            readers.close().await;
            go_on.send(()).unwrap();
        };
        let (answer, ()) = tokio::join!(long, close);
        assert!(matches!(answer, Ok(7)), "{answer:?}");
    }

    #[tokio::test]
    async fn closed_readers_answer_what_was_asked_and_nothing_more() {
        let (_directory, readers) = readers(1);
        let result = readers.run(|_| Ok(7));
        let close = async { readers.refuse() };
        let (answer, ()) = tokio::join!(biased; result, close);
        assert!(matches!(answer, Ok(7)), "{answer:?}");
        let late = readers.run(|_| Ok(())).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    }
}
