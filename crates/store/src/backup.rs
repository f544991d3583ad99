//! Backups of an SQLite file: taking one while the file is in use, judging one, and taking the database in
//! whose place it is put out of use.
//!
//! Names, modes and manifests of backups are not known here.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arklow_domain::KeyId;
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::sqlite::backup as sqlite;
pub use crate::sqlite::backup::OutOfUse;
use crate::url::Target;
use crate::{DatabaseUrl, OpenError, Store, StoreError};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupContents {
    /// The migrations that its tables have, by number, the oldest first.
    pub migrations: Vec<String>,
    /// The keys that a key file must hold for it, in ascending order.
    pub keys: Vec<KeyId>,
    /// How many users.
    pub users: i64,
    /// How many sessions, ended ones included.
    pub sessions: i64,
    /// How many devices, removed ones included.
    pub devices: i64,
    /// How many audit records.
    pub audit_records: i64,
    /// The id and the time of the newest audit record.
    pub newest_audit_record: Option<(i64, DateTime<Utc>)>,
}

/// How far a backup is, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    /// How many pages were copied.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

/// Why a backup was not taken or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is on a PostgreSQL server.
    #[error("the database is on a PostgreSQL server")]
    OnServer,
    /// The database does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is not an SQLite database, or it is damaged.
    #[error("`{}` is damaged, or no SQLite database: {found}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        found: String,
    },
    /// Another program made the file.
    #[error("`{}` belongs to another program", .0.display())]
    Foreign(PathBuf),
    /// Nothing is in the file.
    #[error("`{}` holds no tables", .0.display())]
    NoTables(PathBuf),
    /// The directory already has a file of an SQLite database with this name.
    #[error("`{}` is next to it", .0.display())]
    Beside(PathBuf),
    /// Another process has the database open.
    #[error("another process has `{}` open", .0.display())]
    InUse(PathBuf),
    /// A file cannot be read, or SQLite failed in another way.
    #[error("cannot use `{}`", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What the system or SQLite said.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl Store {
    /// Copies an SQLite file as it is at one moment into `to`, an empty file, and reads the copy back. Others may
    /// use the database meanwhile; it is not changed, and its migrations may be pending.
    ///
    /// # Errors
    /// [`BackupError`]; `to` may then hold anything.
    pub async fn back_up(
        url: &DatabaseUrl,
        to: PathBuf,
        progress: Arc<dyn Fn(BackupProgress) + Send + Sync>,
    ) -> Result<BackupContents, BackupError> {
        let Target::Sqlite(from) = url.target() else {
            return Err(BackupError::OnServer);
        };
        let from = from.clone();
        blocking(&to.clone(), move || {
            sqlite::copy(&from, &to, progress.as_ref())?;
            sqlite::examine(&to)
        })
        .await
    }

    /// Checks a backup and returns what it holds. Reads only this file, without a lock and without its WAL.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn examine_backup(path: &Path) -> Result<BackupContents, BackupError> {
        let file = path.to_owned();
        blocking(path, move || sqlite::examine(&file)).await
    }

    /// Takes an SQLite file out of use: moves its WAL into it and keeps every other process out until the value
    /// is dropped. The file may be damaged.
    ///
    /// # Errors
    /// [`BackupError::InUse`] if another process has it open, idle or not.
    pub async fn take_out_of_use(path: &Path) -> Result<OutOfUse, BackupError> {
        let file = path.to_owned();
        blocking(path, move || sqlite::take_out_of_use(&file)).await
    }

    /// Fails with [`BackupError::InUse`] if another process has the file open, idle or not. Changes nothing.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn check_not_in_use(path: &Path) -> Result<(), BackupError> {
        let file = path.to_owned();
        blocking(path, move || sqlite::refuse_in_use(&file)).await
    }

    /// Renames the WAL of another database next to an SQLite file, as after a backup was put in its
    /// place by hand. Returns the new name.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn set_foreign_wal_aside(
        url: &DatabaseUrl,
        now: DateTime<Utc>,
    ) -> Result<Option<PathBuf>, BackupError> {
        let Target::Sqlite(path) = url.target() else {
            return Ok(None);
        };
        let file = path.clone();
        blocking(path, move || sqlite::set_foreign_wal_aside(&file, now)).await
    }

    /// Whether the database has neither a user nor an audit record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_empty(&self) -> Result<bool, StoreError> {
        dispatch!(self.read(backup::is_empty()))
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|cause| {
        Err(BackupError::Failed {
            path: path.to_owned(),
            cause: Box::new(cause),
        })
    })
}
