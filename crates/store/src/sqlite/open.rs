//! Opening the file: is it there, is it ours, is it as new as this program.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::Db;
use crate::error::is_busy;
use crate::{MigrationState, OpenError, Options};

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// `ARKL`, in the header of every file that this program made.
pub(super) const APPLICATION_ID: i64 = 0x4152_4b4c;

/// Closing *any* descriptor of a file drops all locks this process holds on it (POSIX). The
/// descriptor that creates the file is therefore closed before SQLite opens it, in any thread.
static CREATING: Mutex<()> = Mutex::new(());

/// A file that was opened once, and how to connect to it again.
#[derive(Debug, Clone)]
pub(super) struct File {
    url: String,
    /// The file. Its WAL is in the same directory. Symbolic links are resolved, as SQLite does.
    path: PathBuf,
    wal: PathBuf,
    pub(super) busy_timeout: Duration,
}

/// Opens the file; makes it and brings its tables up to date if `options` say so.
///
/// Returns how to connect again, and the connection for the writer.
pub(super) fn open(path: &Path, options: &Options) -> Result<(File, SqliteConnection), OpenError> {
    let absolute =
        std::path::absolute(path).map_err(|cause| OpenError::Database(Arc::new(cause)))?;
    refuse_foreign_wal(&absolute)?;
    find_or_create(&absolute, options.create)?;
    // A file that was just created is looked into no more: closing it would drop the locks of SQLite.
    refuse_foreign_wal(&absolute)?;
    let resolved = absolute.canonicalize();
    let resolved = resolved.map_err(|cause| OpenError::Database(Arc::new(cause)))?;
    let mut wal = resolved.clone().into_os_string();
    wal.push("-wal");
    let file = File {
        url: file_url(&absolute),
        path: resolved,
        wal: wal.into(),
        busy_timeout: options.busy_timeout,
    };
    let conn =
        prepare(&file, &absolute, options.create).map_err(|failure| failure.explain(path))?;
    Ok((file, conn))
}

impl File {
    /// A connection that may write.
    pub(super) fn connect_writer(&self) -> Result<SqliteConnection, Failure> {
        let mut conn = SqliteConnection::establish(&self.url).map_err(Failure::Connect)?;
        self.wait_for_locks(&mut conn)?;
        // FULL: an answered write survives a power cut. No automatic checkpoint: SQLite ignores its errors.
        conn.batch_execute(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA foreign_keys = ON;",
        )?;
        Ok(conn)
    }

    /// Has commits return before they are on the disk: until the WAL is synced, they and all later ones can be
    /// lost.
    pub(super) fn defer_wal_sync(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        conn.batch_execute("PRAGMA synchronous = NORMAL;")
    }

    /// Opens the WAL, which a connection does with its first read: later it needs no other descriptor.
    pub(super) fn open_wal(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        conn.batch_execute("PRAGMA schema_version;")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn wal(&self) -> &Path {
        &self.wal
    }

    /// Makes a connection one that cannot write.
    pub(super) fn make_reader(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        self.wait_for_locks(conn)?;
        conn.batch_execute("PRAGMA query_only = ON;")
    }

    /// For Diesel; the connections are not set up yet.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Must be the first statement: the others may meet a lock.
    fn wait_for_locks(&self, conn: &mut SqliteConnection) -> QueryResult<()> {
        let millis = i32::try_from(self.busy_timeout.as_millis()).unwrap_or(i32::MAX);
        conn.batch_execute(&format!("PRAGMA busy_timeout = {millis};"))
    }
}

/// Why a file could not be opened, before it is an [`OpenError`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no connection to the file")]
    Connect(#[source] ConnectionError),
    #[error("a statement failed")]
    Query(#[from] diesel::result::Error),
    #[error("no thread for a reader")]
    Thread(#[source] io::Error),
    #[error("the WAL cannot be opened")]
    Wal(#[source] io::Error),
    #[error("a migration failed")]
    Migration(#[source] Box<dyn Error + Send + Sync>),
    #[error("the file has no write-ahead log but `{mode}`")]
    NoLog { mode: String },
    #[error("the file belongs to another program")]
    Foreign,
    #[error("the file has an unknown migration `{migration}`")]
    Newer { migration: String },
    #[error("the file lacks {count} migrations, the first is `{first}`")]
    Pending { count: usize, first: String },
    #[error("another file was put in the place of this one while it was opened")]
    Replaced,
}

impl Failure {
    /// The failure as an operator can use it.
    pub(super) fn explain(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Foreign => OpenError::Foreign(path),
            Self::Newer { migration } => OpenError::Newer { path, migration },
            Self::Pending { count, first } => OpenError::Pending { count, first },
            Self::Replaced => OpenError::Busy(path),
            Self::NoLog { mode } => OpenError::NoLog { path, mode },
            // The file is there, so what is missing is a permission.
            Self::Connect(error) => OpenError::ReadOnly {
                path,
                cause: Arc::new(error),
            },
            Self::Query(error) => explain_query(path, error),
            Self::Thread(error) | Self::Wal(error) => OpenError::Database(Arc::new(error)),
            Self::Migration(error) => match error.downcast() {
                Ok(error) => explain_query(path, *error),
                Err(error) => OpenError::Database(Arc::from(error)),
            },
        }
    }
}

/// By the text: Diesel does not pass on SQLite's error codes.
fn explain_query(path: PathBuf, error: diesel::result::Error) -> OpenError {
    if is_busy(&error) {
        return OpenError::Busy(path);
    }
    let message = match &error {
        diesel::result::Error::DatabaseError(_, info) => info.message(),
        _ => "",
    };
    let read_only = [
        "attempt to write a readonly database",
        "unable to open database file",
    ]
    .contains(&message);
    let corrupt = ["file is not a database", "database disk image is malformed"].contains(&message)
        || message.starts_with("malformed database schema");

    let cause = Arc::new(error);
    if read_only {
        OpenError::ReadOnly { path, cause }
    } else if corrupt {
        OpenError::Corrupt { path, cause }
    } else {
        OpenError::Database(cause)
    }
}

/// Makes sure that there is a file, with mode 0600 if it is made here.
fn find_or_create(path: &Path, create: bool) -> Result<(), OpenError> {
    // Before looking: a file that is found may be one that another thread is just making.
    let _alone = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    let not_found = match fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => return Err(OpenError::NotAFile(path.to_owned())),
        Err(error) => error,
    };
    if not_found.kind() == io::ErrorKind::NotFound && !create {
        return Err(OpenError::Missing(path.to_owned()));
    }
    let directory = path.parent().unwrap_or(path);
    if not_found.kind() != io::ErrorKind::PermissionDenied && !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.to_owned()));
    }

    match create_private(path) {
        Ok(()) => Ok(()),
        // Another process was faster, and both open the same file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) if is_refusal(&cause) => Err(OpenError::ReadOnly {
            path: path.to_owned(),
            cause: Arc::new(cause),
        }),
        Err(cause) => Err(OpenError::Database(Arc::new(cause))),
    }
}

/// Whether no file may be made here; the directory is there.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            // What file systems of the kernel say, such as `/proc`.
            | io::ErrorKind::NotFound
    )
}

/// SQLite gives its two other files the mode of this one.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// The files that this process has checked, by device and inode.
static CHECKED_FILES: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// Fails if the WAL next to this file belongs to another file: SQLite would apply it.
pub(super) fn refuse_foreign_wal(path: &Path) -> Result<(), OpenError> {
    match find_foreign_wal(path) {
        Some(wal) => Err(OpenError::ForeignWal {
            path: path.to_owned(),
            wal,
        }),
        None => Ok(()),
    }
}

/// The WAL next to a file whose header shows that it never had one, such as a backup. A file that has had a
/// WAL, such as a plain copy, cannot be distinguished from the file that the WAL belongs to.
pub(super) fn find_foreign_wal(path: &Path) -> Option<PathBuf> {
    /// Where the header has the versions for writing and reading, and what they are without a WAL.
    const VERSIONS: usize = 18;
    const WITHOUT_WAL: [u8; 2] = [1, 1];

    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut wal = resolved.clone().into_os_string();
    wal.push("-wal");
    let wal = PathBuf::from(wal);
    // Once, and before SQLite opens the file in this process: closing it drops all locks on it.
    let mut seen = CHECKED_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    // Before the file: a process that creates a WAL has created the file and its header first.
    let has_wal = fs::metadata(&wal).is_ok_and(|found| found.len() > 0);
    let found = match fs::metadata(&resolved) {
        Ok(found) => (found.dev(), found.ino()),
        Err(_) => return has_wal.then_some(wal),
    };
    if has_wal && !seen.contains(&found) {
        // SQLite says better what is wrong with a file that cannot be read.
        let Ok(mut file) = fs::File::open(&resolved) else {
            return None;
        };
        let mut header = [0; VERSIONS + 2];
        let is_whole = file.read_exact(&mut header).is_ok();
        if !is_whole || header[VERSIONS..] == WITHOUT_WAL {
            return Some(wal);
        }
    }
    seen.insert(found);
    None
}

/// A URL that never creates the file: SQLite would give it the mode of the umask.
pub(super) fn file_url(absolute: &Path) -> String {
    let mut url = String::from("file://");
    for byte in absolute.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                url.push(char::from(*byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url + "?mode=rw"
}

/// Connects, and brings the tables up to date if `migrate` says so. Otherwise a file that is not up to date
/// is refused and left as it is.
fn prepare(file: &File, path: &Path, migrate: bool) -> Result<SqliteConnection, Failure> {
    let inode = || fs::metadata(path).map(|found| found.ino()).ok();
    let named = inode();
    let mut conn = file.connect_writer()?;
    // Before the first write: a file of another program stays as it is.
    conn.transaction(|conn| match identify(conn)? {
        _ if migrate => Ok(()),
        Identity::Empty => refuse_pending(&BTreeSet::new()),
        Identity::Ours => refuse_pending(&read_versions(conn)?),
    })?;
    // The connection holds a lock on the file from now on, which a restore respects. Before that, a restore
    // may have put another file in its place.
    if inode() != named {
        return Err(Failure::Replaced);
    }
    use_write_ahead_log(&mut conn, file.busy_timeout)?;
    // Begins with the lock, so of two programs that start at once the second finds all done.
    conn.immediate_transaction(|conn| {
        if migrate {
            if identify(conn)? == Identity::Empty {
                conn.batch_execute(&format!("PRAGMA application_id = {APPLICATION_ID};"))?;
            }
            run_pending(conn)?;
        }
        // SQLite opens a file without write permission all the same, and even begins an immediate
        // transaction on it. Only a statement that writes is refused, also one that finds nothing.
        conn.batch_execute("DELETE FROM users WHERE false;")?;
        Ok::<_, Failure>(())
    })?;
    Ok(conn)
}

/// Fails if the file lacks a migration, or has one that is not known.
fn refuse_pending(made: &BTreeSet<String>) -> Result<(), Failure> {
    let state = find_state(made)?;
    if let Some(migration) = state.unknown.into_iter().next() {
        return Err(Failure::Newer { migration });
    }
    let count = state.pending.len();
    match state.pending.into_iter().next() {
        Some(first) => Err(Failure::Pending { count, first }),
        None => Ok(()),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Nothing in it yet.
    Empty,
    /// Made by this program.
    Ours,
}

/// Needs a transaction around it: the two reads must see the same moment.
fn identify(conn: &mut SqliteConnection) -> Result<Identity, Failure> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = BigInt)]
        application_id: i64,
        #[diesel(sql_type = BigInt)]
        tables: i64,
    }

    let found: Found = diesel::sql_query(
        "SELECT (SELECT application_id FROM pragma_application_id) AS application_id, \
         (SELECT count(*) FROM sqlite_schema) AS tables",
    )
    .get_result(conn)?;
    match found {
        Found {
            application_id: APPLICATION_ID,
            ..
        } => Ok(Identity::Ours),
        Found {
            application_id: 0,
            tables: 0,
        } => Ok(Identity::Empty),
        Found { .. } => Err(Failure::Foreign),
    }
}

/// SQLite does not wait for another writer when it changes the kind of its log, so the waiting is
/// done by a transaction that needs the same lock.
fn use_write_ahead_log(conn: &mut SqliteConnection, patience: Duration) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct Journal {
        #[diesel(sql_type = Text)]
        journal_mode: String,
    }

    let deadline = Instant::now() + patience;
    loop {
        match diesel::sql_query("PRAGMA journal_mode = WAL").get_result::<Journal>(conn) {
            Ok(Journal { journal_mode: mode }) if mode == "wal" => return Ok(()),
            // Without shared memory, as on a network file system, SQLite stays as it was.
            Ok(Journal { journal_mode: mode }) => return Err(Failure::NoLog { mode }),
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                conn.exclusive_transaction(|_| QueryResult::Ok(()))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Which changes the file has and lacks. Changes nothing.
pub(super) fn find_migrations(path: &Path) -> Result<MigrationState, OpenError> {
    let absolute =
        std::path::absolute(path).map_err(|cause| OpenError::Database(Arc::new(cause)))?;
    refuse_foreign_wal(&absolute)?;
    let made = match absolute.exists() {
        true => read_made(&absolute).map_err(|failure| failure.explain(path))?,
        false => BTreeSet::new(),
    };
    find_state(&made).map_err(|failure| failure.explain(path))
}

pub(super) fn find_state(made: &BTreeSet<String>) -> Result<MigrationState, Failure> {
    MigrationState::of::<Db>(&MIGRATIONS, made).map_err(Failure::Migration)
}

/// The versions that are on record in a file.
fn read_made(path: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut conn = SqliteConnection::establish(&file_url(path)).map_err(Failure::Connect)?;
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON;")?;
    if conn.transaction(identify)? == Identity::Empty {
        return Ok(BTreeSet::new());
    }
    read_versions(&mut conn)
}

fn read_versions(conn: &mut SqliteConnection) -> Result<BTreeSet<String>, Failure> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }

    let versions: Vec<Version> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(versions.into_iter().map(|row| row.version).collect())
}

fn run_pending(conn: &mut SqliteConnection) -> Result<(), Failure> {
    let made = conn.applied_migrations().map_err(Failure::Migration)?;
    let made = made.iter().map(ToString::to_string).collect();
    if let Some(migration) = find_state(&made)?.unknown.into_iter().next() {
        return Err(Failure::Newer { migration });
    }
    conn.run_pending_migrations(MIGRATIONS)
        .map_err(Failure::Migration)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use diesel::dsl::sql;

    use super::*;

    fn new_file() -> (tempfile::TempDir, File, SqliteConnection) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arklow.db");
        let (file, conn) = open(&path, &Options::default()).unwrap();
        (directory, file, conn)
    }

    fn number(conn: &mut SqliteConnection, query: &str) -> i64 {
        diesel::select(sql::<BigInt>(&format!("({query})")))
            .get_result(conn)
            .unwrap()
    }

    #[test]
    fn writer_flushes_every_commit_and_enforces_references() {
        let (_directory, file, opened) = new_file();
        for mut conn in [opened, file.connect_writer().unwrap()] {
            assert_eq!(
                number(&mut conn, "SELECT synchronous FROM pragma_synchronous"),
                2
            );
            assert_eq!(
                number(&mut conn, "SELECT foreign_keys FROM pragma_foreign_keys"),
                1
            );
            assert_eq!(
                number(&mut conn, "SELECT timeout FROM pragma_busy_timeout"),
                5000
            );
        }
    }

    #[test]
    fn reader_cannot_write() {
        let (_directory, file, _writer) = new_file();
        let mut conn = SqliteConnection::establish(file.url()).unwrap();
        file.make_reader(&mut conn).unwrap();
        let error = conn.batch_execute("DELETE FROM users").unwrap_err();
        assert_eq!(error.to_string(), "attempt to write a readonly database");
    }

    #[test]
    fn file_with_migrations_pending_is_opened_only_to_migrate_it() {
        let (directory, _file, mut conn) = new_file();
        let path = directory.path().join("arklow.db");
        conn.revert_last_migration(MIGRATIONS).unwrap();
        drop(conn);
        let before = find_migrations(&path).unwrap();
        let only_open = Options {
            create: false,
            ..Options::default()
        };
        let Err(error) = open(&path, &only_open) else {
            panic!("it was opened");
        };
        assert!(
            matches!(&error, OpenError::Pending { count: 1, first } if *first == before.pending[0]),
            "{error:?}"
        );
        assert_eq!(
            find_migrations(&path).unwrap(),
            before,
            "nothing was changed"
        );
        drop(open(&path, &Options::default()).unwrap());
        assert_eq!(find_migrations(&path).unwrap().pending, [""; 0]);
        drop(open(&path, &only_open).unwrap());
    }

    #[test]
    fn migrations_can_be_undone_and_done_again() {
        const TABLES: &str = "SELECT count(*) FROM pragma_table_list WHERE name NOT LIKE 'sqlite%' AND type = 'table'";
        let (_directory, _file, mut conn) = new_file();
        let all = number(&mut conn, TABLES);
        conn.revert_all_migrations(MIGRATIONS).unwrap();
        assert_eq!(
            number(&mut conn, TABLES),
            1,
            "only the list of migrations is left"
        );
        run_pending(&mut conn).unwrap();
        assert_eq!(number(&mut conn, TABLES), all);
    }

    #[test]
    fn rows_of_a_former_version_are_kept_and_removed_devices_lose_their_secrets() {
        let (_directory, _file, mut conn) = new_file();
        conn.revert_all_migrations(MIGRATIONS).unwrap();
        conn.run_next_migration(MIGRATIONS).unwrap();
        conn.batch_execute(
            "INSERT INTO users VALUES (1, 'Ada', 'ada@example.org', 'ada@example.org', 1, NULL);
             INSERT INTO devices VALUES (2, 1, 'Phone', 'totp', '0123456789abcdef', zeroblob(48),
                 3, 4, 5, 6, NULL, '0123456789abcdef', zeroblob(320), 7, 8);
             INSERT INTO devices VALUES (3, 1, 'Old', 'totp', '0123456789abcdef', zeroblob(48),
                 3, 4, 5, 6, 7, '0123456789abcdef', zeroblob(320), 0, 1);
             INSERT INTO audit VALUES (41, 1, 'mfa.backup_codes.regenerated', 1, 2, 3, 1, NULL,
                 NULL, NULL);",
        )
        .unwrap();
        run_pending(&mut conn).unwrap();
        for (query, expected) in [
            (
                "SELECT count(*) FROM devices WHERE id = 2 AND length(seed) = 48 AND \
                 length(code_macs) = 320 AND code_mac_key IS NULL AND code_used = 7 AND \
                 code_generation = 8 AND updated_at = 6 AND last_step IS NULL",
                1,
            ),
            (
                "SELECT count(*) FROM devices WHERE id = 3 AND removed_at = 7 AND seed IS NULL \
                 AND code_macs IS NULL",
                1,
            ),
            (
                "SELECT count(*) FROM audit WHERE id = 41 AND outcome = 'success'",
                1,
            ),
            ("SELECT count(*) FROM users WHERE mfa_failures = 0", 1),
        ] {
            assert_eq!(number(&mut conn, query), expected, "{query}");
        }
        // The numbers go on where they were.
        conn.batch_execute(
            "DELETE FROM audit; INSERT INTO audit (at, event, outcome) VALUES (1, 'x', 'success')",
        )
        .unwrap();
        assert_eq!(number(&mut conn, "SELECT max(id) FROM audit"), 42);
    }

    #[test]
    fn records_of_a_former_version_stand_for_one_attempt_each() {
        let (_directory, _file, mut conn) = new_file();
        conn.revert_last_migration(MIGRATIONS).unwrap();
        conn.batch_execute(
            "INSERT INTO audit (id, at, event, outcome, reason, user_id, remaining)
                 VALUES (41, 1, 'mfa.verify.totp', 'denied', 'locked', 2, 3)",
        )
        .unwrap();
        run_pending(&mut conn).unwrap();
        let kept = "SELECT count(*) FROM audit WHERE id = 41 AND at = 1 AND reason = 'locked' \
                    AND user_id = 2 AND remaining = 3 AND attempts = 1";
        assert_eq!(number(&mut conn, kept), 1);
        let none = "UPDATE audit SET attempts = 0";
        assert!(conn.batch_execute(none).is_err());
        conn.revert_last_migration(MIGRATIONS).unwrap();
        assert_eq!(number(&mut conn, "SELECT count(*) FROM audit"), 1);
    }

    #[test]
    fn every_table_is_strict_and_indexes_its_references() {
        let (_directory, _file, mut conn) = new_file();
        let ours =
            "type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '\\_\\_%' ESCAPE '\\'";
        let tables = format!("SELECT count(*) FROM pragma_table_list WHERE {ours}");
        assert_eq!(number(&mut conn, &tables), 7);
        assert_eq!(number(&mut conn, &format!("{tables} AND strict")), 7);

        let references = "SELECT count(*) FROM sqlite_schema AS t, pragma_foreign_key_list(t.name) AS r \
                          WHERE t.type = 'table'";
        let indexed = format!(
            "{references} AND EXISTS (SELECT 1 FROM pragma_index_list(t.name) AS i, \
             pragma_index_info(i.name) AS c WHERE c.seqno = 0 AND c.name = r.\"from\")"
        );
        assert_eq!(number(&mut conn, references), 3);
        assert_eq!(number(&mut conn, &indexed), 3);
    }

    #[test]
    fn url_names_exactly_the_file_whatever_its_name_is() {
        assert_eq!(
            file_url(Path::new("/tmp/a b?mode=ro#%41é.db")),
            "file:///tmp/a%20b%3Fmode%3Dro%23%2541%C3%A9.db?mode=rw"
        );
        assert_eq!(
            file_url(Path::new("//tmp/x.db")),
            "file:////tmp/x.db?mode=rw"
        );
    }
}
