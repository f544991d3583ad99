//! SQLite: opening files that are there, are not, and are not ours.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use arklow_store::{DatabaseUrl, OpenError, Options, Store};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Database, url_in};

async fn open(path: &Path) -> Result<Store, OpenError> {
    Store::open(&DatabaseUrl::sqlite(path).unwrap(), Options::default()).await
}

#[track_caller]
fn pragma(path: &Path, name: &str) -> String {
    use diesel::dsl::sql;
    use diesel::sql_types::Text;

    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    diesel::select(sql::<Text>(&format!(
        "(SELECT CAST({name} AS TEXT) FROM pragma_{name})"
    )))
    .get_result(&mut conn)
    .unwrap()
}

#[tokio::test]
async fn new_file_is_private_marked_as_ours_and_has_a_write_ahead_log() {
    let db = Database::on_sqlite(Options::default()).await;
    db.db_ada().await;
    for name in ["arklow.db", "arklow.db-wal", "arklow.db-shm"] {
        let mode = fs::metadata(db.directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let path = db.directory.path().join("arklow.db");
    assert_eq!(pragma(&path, "application_id"), 0x4152_4b4c.to_string());
    assert_eq!(pragma(&path, "journal_mode"), "wal");
}

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let db = Database::on_sqlite(Options::default()).await;
    let ada = db.db_user("ada@example.org").await;
    db.store.close().await;
    let again = db.open_again().await;
    assert!(again.user(ada).await.unwrap().is_some());
}

#[tokio::test]
async fn file_name_may_hold_what_means_something_in_a_url() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a b?mode=memory#%41é.db";
    open(&directory.path().join(name))
        .await
        .unwrap()
        .close()
        .await;
    let files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, [name]);
}

#[tokio::test]
async fn missing_file_is_made_only_if_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options {
        create: false,
        ..Options::default()
    };
    let error = Store::open(&url_in(&directory), options())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OpenError::Missing(path) if path.ends_with("arklow.db")),
        "{error:?}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    Store::open(&url_in(&directory), Options::default())
        .await
        .unwrap()
        .close()
        .await;
    Store::open(&url_in(&directory), options()).await.unwrap();
}

#[tokio::test]
async fn missing_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none");
    let error = open(&missing.join("arklow.db")).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::NoDirectory(path) if *path == missing),
        "{error:?}"
    );
    assert!(error.to_string().contains(missing.to_str().unwrap()));

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("arklow.db")).await.unwrap_err();
    assert!(
        matches!(&error, OpenError::NoDirectory(path) if *path == file),
        "{error:?}"
    );
}

#[tokio::test]
async fn directory_is_not_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::NotAFile(_)), "{error:?}");
}

/// The bytes of an SQLite file made by `sql`.
fn file_of(directory: &TempDir, sql: &str) -> Vec<u8> {
    let path = directory.path().join("arklow.db");
    SqliteConnection::establish(path.to_str().unwrap())
        .unwrap()
        .batch_execute(sql)
        .unwrap();
    fs::read(&path).unwrap()
}

#[tokio::test]
async fn database_of_another_program_is_refused_and_left_as_it_is() {
    for sql in [
        "CREATE TABLE theirs (id INTEGER)",
        "PRAGMA application_id = 77",
        "PRAGMA application_id = 77; CREATE TABLE users (id INTEGER)",
        "CREATE TABLE __diesel_schema_migrations (version TEXT PRIMARY KEY, run_on TIMESTAMP)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let before = file_of(&directory, sql);
        let path = directory.path().join("arklow.db");
        let error = open(&path).await.unwrap_err();
        assert!(
            matches!(&error, OpenError::Foreign(named) if *named == path),
            "{sql}: {error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), before, "{sql}");
    }
}

#[tokio::test]
async fn empty_file_becomes_a_database() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("arklow.db"), "").unwrap();
    Store::open(&url_in(&directory), Options::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("arklow.db");
    let text = "arklow-keys-v1\n".repeat(500);
    fs::write(&path, &text).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn damaged_database_is_refused() {
    let db = Database::on_sqlite(Options::default()).await;
    db.db_ada().await;
    db.store.close().await;
    let path = db.directory.path().join("arklow.db");
    let mut bytes = fs::read(&path).unwrap();
    // The header stays; the root page of the schema does not.
    bytes[100..4096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error = open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn database_of_a_newer_version_is_refused_and_names_the_change() {
    let db = Database::on_sqlite(Options::default()).await;
    db.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    let error = open(&db.directory.path().join("arklow.db"))
        .await
        .unwrap_err();
    let OpenError::Newer { migration, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(migration, "29990101000000");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[tokio::test]
async fn locked_database_is_busy_within_the_bound() {
    let db = Database::on_sqlite(Options::default()).await;
    let mut other = db.raw();
    other.lock();
    let options = Options {
        busy_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let url = url_in(&db.directory);
    let opening = Store::open(&url, options);
    let opened = tokio::time::timeout(Duration::from_secs(5), opening)
        .await
        .unwrap();
    assert!(matches!(opened, Err(OpenError::Busy(_))), "{opened:?}");
}

#[tokio::test]
async fn new_file_that_somebody_writes_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("arklow.db");
    let mut other = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    // Ours, and not yet with a write-ahead log: what a program leaves that ended in between.
    other
        .batch_execute("PRAGMA application_id = 0x41524b4c; BEGIN IMMEDIATE")
        .unwrap();

    let opening = tokio::spawn(async move { open(&path).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(
        !opening.is_finished(),
        "the journal mode was changed while a writer was active"
    );
    other.batch_execute("COMMIT").unwrap();
    opening.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn fresh_file_opened_from_everywhere_at_once_is_made_once() {
    const OPENERS: usize = 8;
    const ROUNDS: usize = 25;
    for _ in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let start = Arc::new(Barrier::new(OPENERS));
        let mut running = JoinSet::new();
        for _ in 0..OPENERS {
            let (start, url) = (Arc::clone(&start), url_in(&directory));
            running.spawn(async move {
                start.wait().await;
                Store::open(&url, Options::default()).await
            });
        }
        for opened in running.join_all().await {
            opened.unwrap();
        }
    }
    println!("{OPENERS} opens of a fresh file x {ROUNDS} rounds: all opened it");
}

/// Set in the process that opens a file on behalf of a test; see [`open_as_nobody`].
const CHILD: &str = "ARKLOW_STORE_TEST_OPEN";

/// Opens `path` in a process that permissions bind, and gives the name of what came of it.
///
/// Root may write everywhere, so as root this test binary runs again as an unprivileged user.
fn open_as_nobody(path: &Path) -> String {
    const NOBODY: u32 = 65_534;
    let place = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The build directory need not be open to others.
    let program = place.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            "sqlite_open::child_opens_what_it_is_told",
            "--nocapture",
        ])
        .env(CHILD, path)
        .current_dir("/");
    if fs::metadata(place.path()).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let opened = text.lines().find_map(|line| line.split_once("opened: "));
    opened
        .unwrap_or_else(|| {
            panic!(
                "no answer: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
        .1
        .to_owned()
}

/// The part of [`open_as_nobody`] that runs in the other process; alone it has nothing to do.
#[tokio::test]
async fn child_opens_what_it_is_told() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let answer = match open(Path::new(&path)).await {
        Ok(store) => {
            // The process ends now, and must leave no WAL behind.
            store.close().await;
            "ok"
        }
        Err(OpenError::ReadOnly { .. }) => "read-only",
        Err(other) => panic!("{other:?}"),
    };
    println!("\nopened: {answer}");
}

#[tokio::test]
async fn directory_or_file_that_cannot_be_written_is_read_only() {
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // A place that every user may enter.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let path = directory.path().join("arklow.db");

    mode(directory.path(), 0o777);
    assert_eq!(
        open_as_nobody(&path),
        "ok",
        "the way this test goes works at all"
    );
    fs::remove_file(&path).unwrap();

    mode(directory.path(), 0o555);
    assert_eq!(open_as_nobody(&path), "read-only", "no file can be made");

    mode(directory.path(), 0o777);
    open(&path).await.unwrap().close().await;
    mode(&path, 0o444);
    assert_eq!(
        open_as_nobody(&path),
        "read-only",
        "the file cannot be written"
    );

    mode(&path, 0o666);
    mode(directory.path(), 0o555);
    assert_eq!(open_as_nobody(&path), "read-only", "the log cannot be made");

    mode(&path, 0o000);
    mode(directory.path(), 0o777);
    assert_eq!(
        open_as_nobody(&path),
        "read-only",
        "the file cannot be read"
    );

    mode(directory.path(), 0o000);
    assert_eq!(
        open_as_nobody(&path),
        "read-only",
        "the directory cannot be entered"
    );
    mode(directory.path(), 0o700);
}

#[tokio::test]
async fn place_that_takes_no_files_is_read_only() {
    // Not even root may make a file here.
    let error = open(Path::new("/proc/arklow.db")).await.unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn closed_store_leaves_one_file() {
    let db = Database::on_sqlite(Options::default()).await;
    db.db_ada().await;
    db.store.close().await;
    let files: Vec<_> = std::fs::read_dir(db.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, ["arklow.db"]);
}
