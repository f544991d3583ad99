//! An SQLite file: one writer and several readers in this process; other processes may use the file too.

pub(crate) mod backup;
pub(crate) mod copy;
mod disk;
pub(crate) mod locks;
mod open;
mod readers;
mod writer;

#[path = "../statements/mod.rs"]
pub(crate) mod statements;

use std::path::PathBuf;
use std::sync::Arc;

use diesel::sqlite::SqliteConnection;

use crate::error::QueryError;
use crate::{Load, MigrationState, OpenError, Options, StoreError};
use disk::DiskState;
pub(crate) use open::MIGRATIONS;
use readers::Readers;
use writer::Writer;

/// What statements run on.
pub(crate) type Conn = SqliteConnection;
/// The dialect of the statements.
pub(crate) type Db = diesel::sqlite::Sqlite;

/// Its clock, in microseconds since 1970.
pub(crate) const NOW: &str = "SELECT CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) AS now";

/// Takes note of an audit record: nothing to do, for a file does not lose what is committed.
pub(crate) fn written(_id: i64, _at: i64) {}

/// An open SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Writer,
    readers: Readers,
    disk: DiskState,
    wal: PathBuf,
}

impl Sqlite {
    /// See [`Store::open`](crate::Store::open).
    pub(crate) async fn open(path: PathBuf, options: Options) -> Result<Self, OpenError> {
        let opening = tokio::task::spawn_blocking(move || {
            let (file, writer) = open::open(&path, &options)?;
            let readers =
                Readers::start(&file, options.readers).map_err(|failure| failure.explain(&path))?;
            let disk = DiskState::new();
            let writer = Writer::start(file, writer, disk.clone())
                .map_err(|failure| failure.explain(&path))?;
            let mut wal = path.into_os_string();
            wal.push("-wal");
            Ok(Self {
                writer,
                readers,
                disk,
                wal: wal.into(),
            })
        });
        opening
            .await
            .map_err(|cause| OpenError::Database(Arc::new(cause)))?
    }

    /// See [`Store::migrations`](crate::Store::migrations).
    pub(crate) async fn migrations(path: PathBuf) -> Result<MigrationState, OpenError> {
        tokio::task::spawn_blocking(move || open::find_migrations(&path))
            .await
            .map_err(|cause| OpenError::Database(Arc::new(cause)))?
    }

    /// Runs a job that changes something, in its own savepoint: an error rolls all of it back. The
    /// job must not begin transactions itself.
    pub(crate) async fn write<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.writer.run(job).await
    }

    /// Runs a job that may accept a code.
    pub(crate) async fn write_code<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.write(job).await
    }

    /// Runs a job that changes nothing. Every statement sees the database as it is when it
    /// runs, so a job that needs one snapshot is one statement.
    pub(crate) async fn read<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.run(job).await
    }

    /// See [`Store::load`](crate::Store::load).
    pub(crate) fn load(&self) -> Load {
        Load {
            queued_writes: self.writer.queued(),
            wal_bytes: std::fs::metadata(&self.wal).ok().map(|file| file.len()),
            ..self.readers.load()
        }
    }

    /// See [`Store::failed`](crate::Store::failed).
    pub(crate) async fn failed(&self) -> StoreError {
        StoreError::Unavailable(self.disk.failed().await)
    }

    /// See [`Store::failure`](crate::Store::failure).
    pub(crate) fn failure(&self) -> Option<StoreError> {
        let failure = self.disk.failure()?;
        Some(StoreError::Unavailable(failure))
    }

    /// See [`Store::close`](crate::Store::close).
    pub(crate) async fn close(&self) {
        // First, for the writer ends with a checkpoint of everything, which needs to be alone.
        self.readers.close().await;
        self.writer.close().await;
    }
}
