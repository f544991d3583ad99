//! The effects of one job on the others of its batch, with jobs that no store runs.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use tempfile::TempDir;

use super::batch::BATCH;
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
    // What some errors do.
    let given_up = put(&writer, |conn| {
        diesel::sql_query("INSERT OR ROLLBACK INTO notes (id) VALUES (1)").execute(conn)?;
        Ok(())
    });
    let after = put(&writer, |conn| note(conn, 2));
    gate.open();
    for neighbor in [before, after] {
        let answer = neighbor.blocking_recv().unwrap();
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
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
fn changes_without_space_are_unavailable_and_later_ones_work() {
    let (_directory, file, writer) = writer();
    let limit = |pages: u32| {
        let set = put(&writer, move |conn| {
            conn.batch_execute(&format!("PRAGMA max_page_count = {pages}"))?;
            Ok(())
        });
        set.blocking_recv().unwrap().unwrap();
    };
    limit(1);
    let gate = Gate::shut(&writer);
    let before = put(&writer, |conn| note(conn, 1));
    let large = put(&writer, |conn| {
        conn.batch_execute("CREATE TABLE large AS SELECT zeroblob(1000000) AS value")?;
        Ok(())
    });
    gate.open();
    let large = large.blocking_recv().unwrap();
    assert!(
        matches!(large, Err(StoreError::Unavailable(_))),
        "{large:?}"
    );
    // It was in the same transaction, or in one before.
    let before = before.blocking_recv().unwrap();
    assert!(
        matches!(before, Ok(1) | Err(StoreError::Unavailable(_))),
        "{before:?}"
    );

    limit(1_000_000);
    let next = put(&writer, |conn| note(conn, 3));
    assert_eq!(next.blocking_recv().unwrap().unwrap(), 3);
    assert!(notes(&file).contains(&3));
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
