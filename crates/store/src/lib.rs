//! The database of Arklow: everything that is SQL.
//!
//! Each query or change of a [`Store`] is one async method. It takes a small struct and returns what
//! happened. Not found is `Ok(None)`; a denial is [`Judged`]. Where two callers could race, one
//! guarded statement decides.
//!
//! No type of Diesel and no connection leaves this crate, and a database is one arm of an
//! inner enum. The statements are one text, compiled for each.
//!
//! | file | what it holds |
//! |---|---|
//! | `url` | [`DatabaseUrl`]: which database |
//! | `error` | [`OpenError`], [`StoreError`] |
//! | `users`, `sessions`, `devices`, `audit`, `keys` | the queries about each |
//! | `enrollment`, `attempts`, `backup_codes` | starting an enrollment; verifying a code, for any purpose; replacing the codes |
//! | `migrations`, `copy`, `tables` | which changes the tables have; moving from SQLite to PostgreSQL |
//! | `backup` | copying an SQLite file while it is in use, and checking such a copy |
//! | `retention` | deleting rows that have served their purpose |
//! | `outbox` | the messages for users, and who delivers them |
//! | `restore` | invalidating what a restored backup would revive |
//! | `health` | what an operator watches |
//! | `lockout` | failures in a row and their locks |
//! | `statements` | the statements behind each method, in files of the same names |
//! | `prepared` | statements that are prepared once |
//! | `dispatch` | how a job reaches its statements |
//! | `job_queue` | the queue of SQLite's readers and PostgreSQL's workers |
//! | `schema`, `instant` | the tables, and how they store times |
//! | `sqlite` | opening an SQLite file, its one writer and its readers |
//! | `postgres` | connecting to a PostgreSQL server, its migrations and its locks; what holds through pools, mute hosts and failovers |

#![expect(
    clippy::duplicate_mod,
    reason = "the statements are compiled for each database"
)]

mod attempts;
mod audit;
mod backup;
mod backup_codes;
mod copy;
mod devices;
mod dispatch;
mod enrollment;
mod error;
mod health;
mod instant;
mod job_queue;
mod keys;
mod lockout;
mod migrations;
mod outbox;
mod postgres;
mod prepared;
mod restore;
mod retention;
mod schema;
mod sessions;
mod sqlite;
mod tables;
mod url;
mod users;

use std::sync::Arc;
use std::time::Duration;

pub use attempts::{
    Accepted, Attempt, AttemptRules, DeniedAttempts, Goal, PresentedCode, ResetStep, VerifyCode,
};
pub use audit::{
    AuditEvent, AuditFilter, AuditOrder, AuditOrigin, AuditOutcome, AuditReason, AuditRecord,
    OutcomeKind, UnknownWord,
};
pub use backup::{BackupContents, BackupError, BackupProgress, OutOfUse};
pub use backup_codes::{ReplaceBackupCodes, ReplacedCodes};
pub use copy::{Copied, CopyError, CopyProgress};
pub use devices::{CreateDevice, DevicePage, NewDevice, RemoveDevice};
pub use dispatch::TRANSACTION;
pub use enrollment::{AskEnrollment, StartEnrollment};
pub use error::{Judged, OpenError, StoreError};
pub use health::{BATCH_JOBS, Health, Load, SYNC_SECONDS};
pub use keys::{KeyUsage, RecordKey, Reseal, Resealed, RetireKey};
pub use lockout::UnlockUser;
pub use migrations::MigrationState;
pub use outbox::{
    ClaimMessages, Message, MessageEntry, MessageFilter, MessageState, Settle, Settled,
};
pub use restore::{Batch, DeviceBatch, Hold, RestoredRows};
pub use retention::{Prunable, Pruned};
pub use sessions::{CreateSession, NewSession, RevokeSession, SessionEntry};
pub use tables::CopiedTable;
pub use url::{BadDatabaseUrl, DatabaseUrl};
pub use users::{
    CreateUser, DeviceOverview, DisableUser, EnableUser, Membership, NewUser, UserFilter,
    UserOverview,
};

use postgres::Postgres;
use sqlite::Sqlite;
use url::Target;

/// An open database. Cheap to clone; all clones are the same store.
///
/// A job whose future is dropped before it started does not run; one that has started is
/// carried through. Writes are durable, power cut included, once they are answered.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Backend,
}

/// Which database is behind a [`Store`].
#[derive(Debug, Clone)]
enum Backend {
    Sqlite(Arc<Sqlite>),
    Postgres(Arc<Postgres>),
}

impl Backend {
    /// As OpenTelemetry names it.
    fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }
}

/// How a [`Store`] is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether an SQLite file that does not exist is made, and one that an older version made is brought up to
    /// date. Its directory must exist.
    pub create: bool,
    /// How long a job waits for a lock or a free connection before it is
    /// [`StoreError::Busy`].
    pub busy_timeout: Duration,
    /// The most reads that run at once on SQLite.
    pub readers: u32,
    /// How many connections there are to a PostgreSQL server, at most.
    pub connections: u32,
    /// How long connecting to a PostgreSQL server may take.
    pub connect_timeout: Duration,
    /// How long a statement may take on a PostgreSQL server, and how long a transaction may be idle;
    /// `None` for no limit.
    pub statement_timeout: Option<Duration>,
}

impl Options {
    /// For commands that work on many rows: no limit on a statement or on an idle transaction, and no
    /// file is created. Locks are waited for as long as [`Options::busy_timeout`].
    pub fn for_commands() -> Self {
        Self {
            create: false,
            statement_timeout: None,
            ..Self::default()
        }
    }
}

impl Default for Options {
    /// Makes what is missing and what is pending, waits five seconds for a lock, a connection or a server and ten for a
    /// statement; eight readers, or sixteen connections.
    fn default() -> Self {
        Self {
            create: true,
            busy_timeout: Duration::from_secs(5),
            readers: 8,
            connections: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Some(Duration::from_secs(10)),
        }
    }
}

impl Store {
    /// Opens the database.
    ///
    /// An SQLite file is made and brought up to date if the options say so; any other database must be up to
    /// date, see [`Store::migrate`]. Several processes may do so at once, and may use one database
    /// together.
    ///
    /// # Errors
    /// [`OpenError`], with one variant per cause that an operator can act on.
    pub async fn open(url: &DatabaseUrl, options: Options) -> Result<Self, OpenError> {
        match url.target() {
            Target::Sqlite(path) => {
                let sqlite = Sqlite::open(path.clone(), options).await?;
                Ok(Self {
                    backend: Backend::Sqlite(Arc::new(sqlite)),
                })
            }
            Target::Postgres(url) => {
                let postgres = Postgres::open(url, &options).await?;
                Ok(Self {
                    backend: Backend::Postgres(Arc::new(postgres)),
                })
            }
        }
    }

    /// Waits until this process cannot use the database any more, and returns why: its disk failed. What
    /// was being changed is [`StoreError::Unknown`], and later changes are [`StoreError::Unavailable`];
    /// only another process can find out what is there. Never returns for a PostgreSQL database, which
    /// its own server takes care of.
    pub async fn failed(&self) -> StoreError {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.failed().await,
            Backend::Postgres(_) => std::future::pending().await,
        }
    }

    /// What [`Store::failed`] returned, or would return at once.
    pub fn failure(&self) -> Option<StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.failure(),
            Backend::Postgres(_) => None,
        }
    }

    /// Runs the queued jobs and closes the database, for all clones. Later jobs fail with
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}
