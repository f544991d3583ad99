//! The health of the database and its load, for operators.
//!
//! Counters and histograms go to the `metrics` facade, which costs nothing while no recorder is installed.

use std::time::Duration;

use arklow_domain::KeyId;
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{Backend, Store, StoreError};

/// How many jobs a commit of SQLite made durable.
pub const BATCH_JOBS: &str = "arklow_store_batch_jobs";
/// How long a sync of the WAL took, in seconds.
pub const SYNC_SECONDS: &str = "arklow_store_sync_seconds";

/// What a store is busy with at this moment. Reading it uses no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Reads that wait for a thread.
    pub queued_reads: usize,
    /// Changes that wait for a thread.
    pub queued_writes: usize,
    /// Threads with a connection: readers of SQLite, or workers of PostgreSQL.
    pub threads: usize,
    /// How many of them have nothing to do.
    pub idle: usize,
    /// The size of the WAL in bytes; `None` on PostgreSQL.
    pub wal_bytes: Option<u64>,
}

/// What a healthy database answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The numbers of the migrations that the program knows and the database lacks. An open database lacks none, until
    /// another program takes one back.
    pub pending: Vec<String>,
    /// When the oldest message that waits in the outbox was written; `None` if none waits. Dead letters do not wait.
    pub oldest_message: Option<DateTime<Utc>>,
    /// When each key was first used, without the retired ones.
    pub keys: Vec<(KeyId, DateTime<Utc>)>,
}

impl Store {
    /// What waits for the database, and for what.
    pub fn load(&self) -> Load {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.load(),
            Backend::Postgres(postgres) => postgres.load(),
        }
    }

    /// The time of the database's machine.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn database_time(&self) -> Result<DateTime<Utc>, StoreError> {
        dispatch!(self.read(health::time()))
    }

    /// Reads from the database whether it can be worked with.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Busy`] if it does not answer within `limit`.
    pub async fn health(&self, limit: Duration) -> Result<Health, StoreError> {
        let known = self.known_migrations();
        let reading = async { dispatch!(self.read(health::read(&known))) };
        let answer = tokio::time::timeout(limit, reading).await;
        answer.unwrap_or(Err(StoreError::Busy))
    }
}
