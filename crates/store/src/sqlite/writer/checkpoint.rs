//! The only thread that checkpoints, that is, copies the WAL into the file.
//!
//! SQLite would checkpoint within a commit and whenever the last connection is closed, and ignore the
//! error in both cases. Every connection of ours has the first switched off, and the connection of
//! this thread is open from before the first write until after the last other one is closed, so that
//! none of those is the last. For the same reason no other process deletes the WAL while it is open.

use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::sqlite::SqliteConnection;
use diesel::{QueryResult, RunQueryDsl as _, sql_query};
use tracing::{debug, warn};

use crate::error::is_busy;
use crate::sqlite::disk::{DiskFailure, DiskState};
use crate::sqlite::open::{Failure, File};

/// After how many answers there is a checkpoint; each leaves two to four pages in the WAL.
const CHECKPOINT_AFTER: usize = 256;
/// How often there is a checkpoint without any: other processes may have written.
const INTERVAL: Duration = Duration::from_secs(5);

/// How to reach the thread.
pub(super) struct Checkpointer {
    /// How many answers came since the thread was last called.
    answers: usize,
    /// `None` at the end.
    call: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Connects, and calls `on_length` with the pages of the WAL after each checkpoint.
    pub(super) fn start(
        file: &File,
        disk: DiskState,
        on_length: impl Fn(i32) + Send + 'static,
    ) -> Result<Self, Failure> {
        let mut conn = file.connect_writer()?;
        file.open_wal(&mut conn)?;
        let (call, calls) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("arklow-checkpoint".to_owned());
        let thread = thread.spawn(move || {
            while let Ok(()) | Err(RecvTimeoutError::Timeout) = calls.recv_timeout(INTERVAL) {
                if let Some(length) = checkpoint(&mut conn, &disk) {
                    on_length(length);
                }
            }
            finish(conn, &disk);
        });
        Ok(Self {
            answers: 0,
            call: Some(call),
            thread: Some(thread.map_err(Failure::Thread)?),
        })
    }

    /// Counts answers, and asks for a checkpoint when there were enough.
    pub(super) fn count(&mut self, answers: usize) {
        self.answers += answers;
        if self.answers >= CHECKPOINT_AFTER
            && let Some(call) = &self.call
            // Otherwise it has not even begun with the last call.
            && call.try_send(()).is_ok()
        {
            self.answers = 0;
        }
    }

    /// Moves all of the WAL into the file and removes it, unless another process uses it. No other
    /// connection of this process may be open, or the WAL stays.
    pub(super) fn end(&mut self) {
        drop(self.call.take());
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            warn!("the checkpoint thread panicked");
        }
    }
}

/// Moves what it can without waiting, and returns how many pages the WAL has. Does nothing while another
/// checkpoint runs and after a failure.
pub(super) fn checkpoint(conn: &mut SqliteConnection, disk: &DiskState) -> Option<i32> {
    let done = run(conn, disk, "PASSIVE")?;
    (done.busy == 0).then_some(done.pages)
}

#[derive(Debug, diesel::QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    busy: i32,
    #[diesel(sql_type = diesel::sql_types::Integer, column_name = log)]
    pages: i32,
}

/// `None` after a failure, and while another connection checkpoints.
fn run(conn: &mut SqliteConnection, disk: &DiskState, mode: &str) -> Option<Checkpoint> {
    if disk.failure().is_some() {
        return None;
    }
    let done: QueryResult<Checkpoint> =
        sql_query(format!("PRAGMA wal_checkpoint({mode})")).get_result(conn);
    match done {
        Ok(done) => Some(done),
        Err(error) if is_busy(&error) => {
            debug!(%error, "no checkpoint now");
            None
        }
        Err(error) => {
            disk.fail(DiskFailure::Checkpoint(error));
            None
        }
    }
}

/// The checkpoint before the end of the process. It does not wait for other processes: each
/// checkpoints at its own end.
fn finish(mut conn: SqliteConnection, disk: &DiskState) {
    // First what needs no lock against writers, so that the rest is short.
    checkpoint(&mut conn, disk);
    if let Err(error) = conn.batch_execute("PRAGMA busy_timeout = 0;") {
        debug!(%error, "cannot set the busy timeout");
    }
    match run(&mut conn, disk, "TRUNCATE") {
        Some(Checkpoint { busy: 0, .. }) => {}
        Some(_) | None if disk.failure().is_none() => {
            debug!("the database is in use by others: the WAL stays");
        }
        Some(_) | None => {
            // Closing the last connection would checkpoint.
            std::mem::forget(conn);
            return;
        }
    }
    // Removes the WAL, which is empty, if no other process uses it.
    drop(conn);
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io;

    use super::*;
    use crate::Options;
    use crate::sqlite::open;

    /// A file with something in the WAL, a connection to it, and another one for checkpoints.
    fn file() -> (tempfile::TempDir, File, SqliteConnection, SqliteConnection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let (file, mut writer) = open::open(&path, &Options::default()).unwrap();
        writer
            .batch_execute(
                "CREATE TABLE notes (id INTEGER PRIMARY KEY); INSERT INTO notes VALUES (1);",
            )
            .unwrap();
        let mut conn = file.connect_writer().unwrap();
        conn.batch_execute("SELECT count(*) FROM notes;").unwrap();
        (directory, file, writer, conn)
    }

    /// Makes every checkpoint fail that has to read the WAL.
    fn break_wal(file: &File) -> u64 {
        let wal = OpenOptions::new().write(true).open(file.wal()).unwrap();
        wal.set_len(100).unwrap();
        100
    }

    fn wal_length(file: &File) -> u64 {
        std::fs::metadata(file.wal()).unwrap().len()
    }

    #[test]
    fn commits_never_checkpoint() {
        let (_directory, file, mut writer, _conn) = file();
        let size = std::fs::metadata(file.path()).unwrap().len();
        writer
            .batch_execute(
                "CREATE TABLE blobs (data BLOB); INSERT INTO blobs VALUES (zeroblob(8000000));",
            )
            .unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().len(), size);
        assert!(wal_length(&file) > 8_000_000);
    }

    #[test]
    fn busy_checkpoint_is_no_failure() {
        let (_directory, file, _writer, mut conn) = file();
        let mut other = file.connect_writer().unwrap();
        other
            .batch_execute("BEGIN IMMEDIATE; INSERT INTO notes VALUES (2);")
            .unwrap();
        conn.batch_execute("PRAGMA busy_timeout = 0;").unwrap();
        let disk = DiskState::new();
        let done = run(&mut conn, &disk, "TRUNCATE").unwrap();
        assert_eq!(done.busy, 1);
        assert!(checkpoint(&mut conn, &disk).is_some());
        assert!(disk.failure().is_none());
    }

    #[test]
    fn failed_checkpoint_is_the_last_one_also_at_the_end() {
        let (_directory, file, writer, mut conn) = file();
        let length = break_wal(&file);
        let disk = DiskState::new();
        assert!(checkpoint(&mut conn, &disk).is_none());
        let failure = disk.failure().unwrap();
        assert!(
            matches!(*failure, DiskFailure::Checkpoint(_)),
            "{failure:?}"
        );
        drop(writer);
        finish(conn, &disk);
        assert_eq!(wal_length(&file), length, "it is neither moved nor removed");
    }

    #[test]
    fn failure_at_the_end_is_recorded_and_leaves_the_wal() {
        let (_directory, file, writer, conn) = file();
        let length = break_wal(&file);
        drop(writer);
        let disk = DiskState::new();
        finish(conn, &disk);
        assert!(disk.failure().is_some());
        assert_eq!(wal_length(&file), length);
    }

    #[test]
    fn no_checkpoint_follows_a_failed_sync() {
        let (_directory, file, writer, mut conn) = file();
        let length = wal_length(&file);
        let disk = DiskState::new();
        disk.fail(DiskFailure::Sync(io::Error::other("on purpose")));
        assert!(checkpoint(&mut conn, &disk).is_none());
        drop(writer);
        finish(conn, &disk);
        assert_eq!(wal_length(&file), length);
    }
}
