//! Reader threads, each with a read-only connection.
//!
//! Waking a thread costs more than most jobs. So one reader runs all queued jobs, and another one is
//! woken only for a job that has not started in time: behind a slow job, or when one reader does not
//! keep up.
//!
//! The jobs that are queued when a reader starts share one read transaction, because beginning one
//! costs more than most jobs, too. The snapshot is never older than a job, so a job sees everything
//! that was committed before it was queued.

use std::sync::Arc;
use std::time::Duration;

use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryResult, sql_query};
use tracing::{error, warn};

use super::open::{Failure, File};
use crate::error::QueryError;
use crate::job_queue::{JobQueue, Lane, Wake};
use crate::prepared::prepared;
use crate::{Load, StoreError};

/// How long a job waits before another reader is woken for it.
const WAKE_AFTER: Duration = Duration::from_millis(2);

/// The readers. With a WAL, readers and the writer do not block each other.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Arc<JobQueue<Reader>>,
    queue_timeout: Duration,
}

/// What a reader thread works with.
struct Reader {
    file: File,
    /// The connection, or why there is none.
    conn: Result<SqliteConnection, StoreError>,
}

impl Readers {
    /// Connects all of them, so that no read needs another file descriptor later.
    pub(super) fn start(file: &File, count: u32) -> Result<Self, Failure> {
        let count = count.max(1) as usize;
        // Created before the threads: if one cannot start, dropping this ends the others.
        let this = Self {
            queue: Arc::new(JobQueue::new(Wake::IfAllSleep, count, 0)),
            queue_timeout: file.busy_timeout,
        };
        for _ in 0..count {
            let reader = Reader {
                file: file.clone(),
                conn: Ok(connect(file)?),
            };
            this.queue
                .spawn("arklow-reader", |queue| reader.work(queue))
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
        let mut queued = self.queue.put(Lane::Read, |reader| {
            let conn = reader.conn.as_mut().map_err(|error| error.clone())?;
            job(conn).map_err(StoreError::from)
        })?;
        if let Some(result) = queued.within(WAKE_AFTER).await {
            return result?;
        }
        if !queued.has_started() {
            self.queue.wake();
        }
        let rest = self.queue_timeout.saturating_sub(WAKE_AFTER);
        queued.started_within(rest).await?
    }

    pub(super) fn load(&self) -> Load {
        self.queue.load()
    }

    /// Rejects new jobs, runs the queued ones, and waits until the connections are
    /// closed: the WAL cannot be emptied before. The wait is bounded by the busy timeout.
    pub(super) async fn close(&self) {
        let limit = self.queue_timeout;
        if tokio::time::timeout(limit, self.queue.close())
            .await
            .is_err()
        {
            warn!("a read is still running after {limit:?}; closing the database without it");
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.reject_new();
    }
}

fn connect(file: &File) -> Result<SqliteConnection, Failure> {
    let mut conn = SqliteConnection::establish(file.url()).map_err(Failure::Connect)?;
    file.make_reader(&mut conn)?;
    file.open_wal(&mut conn)?;
    Ok(conn)
}

impl Reader {
    fn work(mut self, queue: &JobQueue<Self>) {
        while let Some(first) = queue.take() {
            let next = first.next;
            // If this fails, the jobs fail too and report the error.
            let begun = self.begin();
            first.run(&mut self);
            while let Some(job) = queue.take_read_before(next) {
                job.run(&mut self);
            }
            self.end(begun);
        }
    }

    /// Begins the read transaction; reconnects first if the connection was lost.
    fn begin(&mut self) -> QueryResult<()> {
        if self.conn.is_err() {
            self.conn = connect(&self.file).map_err(StoreError::from);
        }
        match &mut self.conn {
            Ok(conn) => prepared!(sql_query("BEGIN")).run(conn),
            Err(_) => Ok(()),
        }
    }

    /// Ends the read transaction; drops the connection if that fails.
    fn end(&mut self, begun: QueryResult<()>) {
        let ended = match &mut self.conn {
            Ok(conn) => begun
                .and_then(|()| prepared!(sql_query("COMMIT")).run(conn))
                .map_err(|error| StoreError::from(QueryError::from(error))),
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = ended {
            error!(%error, "a reader cannot read; it reconnects for the next job");
            self.conn = Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use diesel::RunQueryDsl as _;
    use diesel::connection::SimpleConnection as _;
    use tokio::sync::oneshot;

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
    async fn job_that_no_reader_starts_in_time_is_busy() {
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
    async fn job_behind_a_slow_one_gets_another_reader() {
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
    async fn job_sees_what_was_committed_before_it_was_queued() {
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
    async fn closed_readers_run_queued_jobs_and_reject_new_ones() {
        let (_directory, readers) = readers(1);
        let result = readers.run(|_| Ok(7));
        let close = async { readers.queue.reject_new() };
        let (answer, ()) = tokio::join!(biased; result, close);
        assert!(matches!(answer, Ok(7)), "{answer:?}");
        let late = readers.run(|_| Ok(())).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    }
}
