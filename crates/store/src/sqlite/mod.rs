//! An SQLite file: one writer, several readers, all within this process and beside others.

pub(crate) mod backup;
mod checkpoint;
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
use crate::{MigrationState, OpenError, Options, StoreError};
use disk::DiskState;
pub(crate) use open::MIGRATIONS;
use readers::Readers;
use writer::Writer;

/// What statements run on.
pub(crate) type Conn = SqliteConnection;
/// The dialect of the statements.
pub(crate) type Db = diesel::sqlite::Sqlite;

/// Takes note of an audit record: nothing to do, for a file does not lose what is committed.
pub(crate) fn written(_id: i64, _at: i64) {}

/// An open SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Writer,
    readers: Readers,
    disk: DiskState,
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
            Ok(Self {
                writer,
                readers,
                disk,
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

    /// Asks a question that changes something, in a savepoint of its own: an error undoes all of
    /// it. `ask` must not begin transactions itself.
    pub(crate) async fn write<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.writer.ask(ask).await
    }

    /// Asks a question that may accept a code.
    pub(crate) async fn write_code<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.write(ask).await
    }

    /// Asks a question that changes nothing. Every statement sees the database as it is when it
    /// runs, so a question that needs one picture is one statement.
    pub(crate) async fn read<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: FnOnce(&mut SqliteConnection) -> Result<T, QueryError> + Send + 'static,
        T: Send + 'static,
    {
        self.readers.ask(ask).await
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
