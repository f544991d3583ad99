//! Copying a file with SQLite's online backup, judging a copy, and taking a file out of use.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};
use rustix::fs::FlockOperation;

use super::open::{APPLICATION_ID, file_url, find_foreign_wal, find_state, refuse_foreign_wal};
use crate::{BackupContents, BackupError, BackupProgress, OpenError, instant};

/// How many pages are copied per step, 4 MiB; progress is reported after each step.
const STEP: i32 = 1024;
/// How long to wait for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The files that SQLite keeps next to a database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Copies a file as it is at one moment.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    progress: &dyn Fn(BackupProgress),
) -> Result<(), BackupError> {
    match fs::metadata(from) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(OpenError::NotAFile(from.to_owned()).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing(from.to_owned()).into());
        }
        Err(cause) => return Err(failed(from)(cause)),
    }
    refuse_foreign_wal(from)?;
    let source = connect(from, "mode=rw")?;
    let ours = |error| explain(from, error);
    // A backup changes nothing: not at its end either, where the last connection would move the WAL.
    source
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(ours)?;
    source
        .execute_batch("PRAGMA query_only = ON; BEGIN")
        .map_err(ours)?;
    // Begins the read transaction: without one, a change by another process would restart the copy.
    identify(&source, from)?;

    let mut target = connect(to, "mode=rw")?;
    let theirs = |error| explain(to, error);
    // The caller syncs the whole copy once.
    target
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .map_err(theirs)?;
    {
        let backup = Backup::new(&source, &mut target).map_err(theirs)?;
        let mut deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            let step = backup.step(STEP).map_err(theirs)?;
            let pages = backup.progress();
            let count = |pages| u64::try_from(pages).unwrap_or(0);
            match step {
                StepResult::Done => break,
                StepResult::More => deadline = Instant::now() + LOCK_TIMEOUT,
                _ if Instant::now() > deadline => {
                    return Err(OpenError::Busy(from.to_owned()).into());
                }
                // SQLite has waited.
                _ => {}
            }
            progress(BackupProgress {
                done: count(pages.pagecount - pages.remaining),
                total: count(pages.pagecount),
            });
        }
    }
    // The header came with the pages and announces a WAL, which a backup does not have.
    leave_wal(&target).map_err(theirs)?;
    target.close().map_err(|(_, error)| explain(to, error))?;
    refuse_beside(to)
}

/// Has the file hold everything: its WAL is moved into it and removed.
fn leave_wal(conn: &Connection) -> rusqlite::Result<()> {
    let mode = conn.query_row("PRAGMA journal_mode = DELETE", [], |row| {
        row.get::<_, String>(0)
    })?;
    debug_assert!(mode == "delete" || mode == "off", "{mode}");
    Ok(())
}

/// Fails if one of SQLite's files for a database in use exists.
pub(crate) fn refuse_beside(path: &Path) -> Result<(), BackupError> {
    match beside(path).into_iter().find(|file| file.exists()) {
        Some(file) => Err(BackupError::Beside(file)),
        None => Ok(()),
    }
}

fn beside(path: &Path) -> [PathBuf; 3] {
    SIDE_FILES.map(|suffix| {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        PathBuf::from(file)
    })
}

/// Reads all of a copy.
pub(crate) fn examine(path: &Path) -> Result<BackupContents, BackupError> {
    if !path.is_file() {
        return Err(OpenError::Missing(path.to_owned()).into());
    }
    refuse_beside(path)?;
    // Immutable: no process writes the file, and SQLite creates no other files.
    let conn = connect(path, "mode=ro&immutable=1")?;
    let explain = |error| explain(path, error);
    if !identify(&conn, path)? {
        return Err(BackupError::NoTables(path.to_owned()));
    }
    let found: String = conn
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(explain)?;
    if found != "ok" {
        let path = path.to_owned();
        return Err(BackupError::Damaged { path, found });
    }
    let migrations = texts(
        &conn,
        "SELECT version FROM __diesel_schema_migrations ORDER BY 1",
    )
    .map_err(explain)?;
    let made: BTreeSet<String> = migrations.iter().cloned().collect();
    let state = find_state(&made).map_err(|failure| failure.explain(path))?;
    if let Some(migration) = state.unknown.into_iter().next() {
        let path = path.to_owned();
        return Err(OpenError::Newer { path, migration }.into());
    }
    let count = |table| {
        let query = format!("SELECT count(*) FROM {table}");
        conn.query_row(&query, [], |row| row.get(0))
            .map_err(explain)
    };
    // Keys could not be retired before the second migration.
    let retires = "SELECT 1 FROM pragma_table_info('keys') WHERE name = 'retired_at'";
    let retires = conn.query_row(retires, [], |_| Ok(())).optional();
    let condition = match retires.map_err(explain)? {
        Some(()) => "WHERE retired_at IS NULL",
        None => "",
    };
    let keys = texts(
        &conn,
        &format!("SELECT id FROM keys {condition} ORDER BY 1"),
    );
    let wrong = |found: &str| BackupError::Damaged {
        path: path.to_owned(),
        found: found.to_owned(),
    };
    let keys = keys.map_err(explain)?.into_iter();
    let keys = keys.map(|id| id.parse().map_err(|_| wrong("a key id is none")));
    let newest: Option<(i64, i64)> = conn
        .query_row(
            "SELECT id, at FROM audit ORDER BY id DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(explain)?;
    let newest = newest.map(|(id, at)| match instant::load(at, "audit", "at") {
        Ok(at) => Ok((id, at)),
        Err(_) => Err(wrong("an audit record has no time")),
    });
    Ok(BackupContents {
        migrations,
        keys: keys.collect::<Result<_, _>>()?,
        users: count("users")?,
        sessions: count("sessions")?,
        devices: count("devices")?,
        audit_records: count("audit")?,
        newest_audit_record: newest.transpose()?,
    })
}

fn texts(conn: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare(query)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Whether the file has tables; a file of another program is refused.
fn identify(conn: &Connection, path: &Path) -> Result<bool, BackupError> {
    let query =
        "SELECT (SELECT application_id FROM pragma_application_id), count(*) FROM sqlite_schema";
    let found = conn.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)));
    match found.map_err(|error| explain(path, error))? {
        (_, 0_i64) => Ok(false),
        (APPLICATION_ID, _) => Ok(true),
        _ => Err(BackupError::Foreign(path.to_owned())),
    }
}

/// A file that no other process can use until this is dropped.
#[derive(Debug)]
pub struct OutOfUse {
    /// `None` if the file is damaged: SQLite cannot lock it then, and no process can open it.
    _lock: Option<Connection>,
    path: PathBuf,
}

impl OutOfUse {
    /// SQLite's files for it that are left, which happens only for a damaged file.
    pub fn left_beside(&self) -> Vec<PathBuf> {
        let left = beside(&self.path).into_iter();
        left.filter(|file| file.exists()).collect()
    }
}

pub(crate) fn refuse_in_use(path: &Path) -> Result<(), BackupError> {
    // SQLite's own locks, whatever is in the file: a connection that has used a WAL keeps one for as long as
    // it is open. Closed before SQLite opens the file here: closing drops all locks of this process.
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(failed(path))?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(BackupError::InUse(path.to_owned()))
        }
        Err(cause) => Err(failed(path)(cause.into())),
    }
}

pub(crate) fn set_foreign_wal_aside(
    path: &Path,
    now: DateTime<Utc>,
) -> Result<Option<PathBuf>, BackupError> {
    let Some(wal) = find_foreign_wal(path) else {
        return Ok(None);
    };
    refuse_in_use(path)?;
    let mut aside = wal.clone().into_os_string();
    aside.push(now.format(".foreign-%Y%m%dT%H%M%S%6fZ").to_string());
    let aside = PathBuf::from(aside);
    fs::rename(&wal, &aside).map_err(failed(&wal))?;
    // Only an index of the WAL.
    let [_, index, _] = beside(&path.canonicalize().map_err(failed(path))?);
    match fs::remove_file(&index) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&index)(error)),
        _ => {}
    }
    if let Some(directory) = wal.parent() {
        let synced = fs::File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed(directory))?;
    }
    Ok(Some(aside))
}

pub(crate) fn take_out_of_use(path: &Path) -> Result<OutOfUse, BackupError> {
    refuse_in_use(path)?;
    let lock = (|| {
        let conn = connect(path, "mode=rw")?;
        let locked = conn
            .busy_timeout(Duration::ZERO)
            .and_then(|()| conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE"))
            .and_then(|()| leave_wal(&conn))
            .and_then(|()| conn.execute_batch("BEGIN EXCLUSIVE; COMMIT"));
        locked.map_err(|error| explain(path, error))?;
        Ok(conn)
    })();
    let lock = match lock {
        Ok(conn) => Some(conn),
        Err(BackupError::Damaged { .. }) => None,
        Err(BackupError::Open(OpenError::Busy(path))) => return Err(BackupError::InUse(path)),
        Err(error) => return Err(error),
    };
    Ok(OutOfUse {
        _lock: lock,
        path: path.to_owned(),
    })
}

fn connect(path: &Path, parameters: &str) -> Result<Connection, BackupError> {
    let absolute = std::path::absolute(path).map_err(failed(path))?;
    let url = file_url(&absolute);
    let (url, _) = url.split_once('?').unwrap_or((&url, ""));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(format!("{url}?{parameters}"), flags)
        .map_err(|error| explain(path, error))?;
    conn.busy_timeout(LOCK_TIMEOUT)
        .map_err(|error| explain(path, error))?;
    Ok(conn)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |cause| BackupError::Failed {
        path: path.to_owned(),
        cause: Box::new(cause),
    }
}

fn explain(path: &Path, error: rusqlite::Error) -> BackupError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => BackupError::Damaged {
            path,
            found: error.to_string(),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Busy(path).into(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => OpenError::ReadOnly {
            path,
            cause: Arc::new(error),
        }
        .into(),
        _ => BackupError::Failed {
            path,
            cause: Box::new(error),
        },
    }
}
