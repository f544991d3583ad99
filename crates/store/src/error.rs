//! The errors of the store, and the inner error that statements return.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use arklow_domain::{Denial, KeyId, NoEntropy, UnreadableSecret};

/// A cause that several callers receive, as when the commit of a batch fails.
type Cause = Arc<dyn Error + Send + Sync>;

/// Why a job failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A lock, a connection or a place in the queue was not free in time. Nothing was changed;
    /// asking again later may work.
    #[error("the database is busy")]
    Busy,
    /// A statement took longer than the server allows. Nothing was changed; asking again later may
    /// work.
    #[error("a statement took longer than the database allows")]
    TooSlow,
    /// A row that this program never writes. Nothing was changed.
    #[error("a row of table `{table}` cannot be true: column `{column}`")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column, or the first of several that contradict one another.
        column: &'static str,
    },
    /// What a code would be compared with does not open. Nothing was changed.
    #[error("a stored secret cannot be read")]
    Unreadable(#[source] UnreadableSecret),
    /// Something was to be protected with a key that is out of use. Nothing was changed; a newer
    /// key file names the key to use.
    #[error("key {0} is retired")]
    RetiredKey(KeyId),
    /// The random source failed. Nothing was changed.
    #[error("no random bytes available")]
    NoEntropy(#[source] NoEntropy),
    /// The server with the database cannot be reached, has ended the connection, or does not take
    /// changes at present. Nothing was changed; asking again later may work.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    /// A change was written, and whether it was made is not known: a sync failed, or the answer of the server
    /// to a commit did not come.
    #[error("the change may or may not have been made")]
    Unknown(#[source] Cause),
    /// The database rejected the statement or failed.
    #[error("the database failed")]
    Database(#[source] Cause),
    /// A defect in this program: the job panicked. Nothing was changed.
    #[error("the job panicked")]
    Panicked,
    /// The store was closed before the job was queued.
    #[error("the store is closed")]
    Closed,
}

/// The result of a change that a rule may deny. A denial is recorded in the audit, in the same
/// transaction.
pub type Judged<T> = Result<Result<T, Denial>, StoreError>;

/// Why a database could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The file does not exist and was not to be made.
    #[error("there is no database at `{}`", .0.display())]
    Missing(PathBuf),
    /// The directory that the file would be in does not exist.
    #[error(
        "the directory `{}` does not exist: create it, or choose another place for the database",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// The path is there but is no regular file.
    #[error("`{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    /// File or directory cannot be written. SQLite needs both: it keeps its WAL next to the file.
    #[error(
        "the database `{}` cannot be written: check the permissions of the file and of its \
         directory, where SQLite keeps two more files",
        path.display()
    )]
    ReadOnly {
        /// The database.
        path: PathBuf,
        /// What the system or SQLite said.
        #[source]
        cause: Cause,
    },
    /// The file is not an SQLite database, or is a damaged one.
    #[error(
        "`{}` is not an SQLite database, or it is damaged: choose another file or restore a backup",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: Cause,
    },
    /// An SQLite database that another program made.
    #[error("`{}` belongs to another program: choose another file", .0.display())]
    Foreign(PathBuf),
    /// A database without a WAL next to the WAL of another database, as after a backup was put in its place by hand.
    #[error("`{}` belongs to another database than `{}`", wal.display(), path.display())]
    ForeignWal {
        /// The database.
        path: PathBuf,
        /// The WAL.
        wal: PathBuf,
    },
    /// A database that a newer version of this program has changed.
    #[error(
        "the database `{}` was used by a newer version of this program, which made changes that \
         this version does not know (`{migration}`): run that version or restore a backup",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The first change that is not known.
        migration: String,
    },
    /// A file system without shared memory, on which SQLite cannot keep a write-ahead log.
    #[error(
        "the file system of `{}` does not support SQLite's write-ahead log (the log stays \
         `{mode}`): put the database on a local disk",
        path.display()
    )]
    NoLog {
        /// The database.
        path: PathBuf,
        /// What SQLite keeps instead.
        mode: String,
    },
    /// Another process kept the database locked for too long.
    #[error("the database `{}` is locked by another process: try again later", .0.display())]
    Busy(PathBuf),
    /// The server cannot be reached.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Cause),
    /// The server answered, and does not let this program in: the user, the password, the database.
    #[error("the server refused the connection")]
    Refused(#[source] Cause),
    /// A pool that gives each transaction another connection, but mixes up the prepared statements of
    /// its clients.
    #[error(
        "the pool before the server gives each transaction another connection and does not keep \
         prepared statements apart"
    )]
    UnsafePool(#[source] Option<Cause>),
    /// A database that lacks changes which this program needs.
    #[error(
        "{count} {} pending, the first is `{first}`",
        if *count == 1 { "change of the tables is" } else { "changes of the tables are" }
    )]
    Pending {
        /// How many.
        count: usize,
        /// The name of the first.
        first: String,
    },
    /// A database that a newer version of this program has changed; the first change that is not
    /// known.
    #[error(
        "the database was used by a newer version of this program, which made changes that this \
         version does not know (`{0}`): run that version or restore a backup"
    )]
    NewerSchema(String),
    /// A database with tables of another program.
    #[error("the database has tables of another program: choose another database or schema")]
    ForeignTables,
    /// A file with the certificates of authorities that cannot be used.
    #[error("the certificates in `{}` cannot be used (sslrootcert)", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// No authority to trust.
    #[error("there is no certificate of an authority in `{}` (sslrootcert)", .0.display())]
    NoRoots(PathBuf),
    /// Anything else.
    #[error("the database cannot be opened")]
    Database(#[source] Cause),
}

/// The error of a statement function: like [`StoreError`], with the error of the database as it
/// came, so that `?` works on it.
#[derive(Debug)]
pub(crate) enum QueryError {
    Diesel(diesel::result::Error),
    Inconsistent {
        table: &'static str,
        column: &'static str,
    },
    Unreadable(UnreadableSecret),
    RetiredKey(KeyId),
    NoEntropy,
}

impl From<UnreadableSecret> for QueryError {
    fn from(error: UnreadableSecret) -> Self {
        Self::Unreadable(error)
    }
}

impl From<diesel::result::Error> for QueryError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Diesel(error)
    }
}

impl From<QueryError> for StoreError {
    fn from(fault: QueryError) -> Self {
        match fault {
            QueryError::Diesel(error) if is_busy(&error) => Self::Busy,
            QueryError::Diesel(error) if is_full(&error) => Self::Unavailable(Arc::new(error)),
            QueryError::Diesel(error) => Self::Database(Arc::new(error)),
            QueryError::Inconsistent { table, column } => Self::Inconsistent { table, column },
            QueryError::Unreadable(cause) => Self::Unreadable(cause),
            QueryError::RetiredKey(key) => Self::RetiredKey(key),
            QueryError::NoEntropy => Self::NoEntropy(NoEntropy),
        }
    }
}

/// Whether the statement failed only because another connection held a lock.
///
/// By the text: Diesel does not pass on SQLite's error codes.
pub(crate) fn is_busy(error: &diesel::result::Error) -> bool {
    match error {
        diesel::result::Error::DatabaseError(_, info) => {
            matches!(
                info.message(),
                "database is locked" | "database table is locked"
            )
        }
        _ => false,
    }
}

/// Whether there is no space for a change, so that SQLite made none of its transaction.
///
/// By the text: Diesel does not pass on SQLite's error codes.
pub(crate) fn is_full(error: &diesel::result::Error) -> bool {
    match error {
        diesel::result::Error::DatabaseError(_, info) => {
            info.message() == "database or disk is full"
        }
        diesel::result::Error::RollbackErrorOnCommit { commit_error, .. } => is_full(commit_error),
        _ => false,
    }
}

/// Whether SQLite rolled the whole transaction back because of an error in another job.
pub(crate) fn is_rolled_back(error: &diesel::result::Error) -> bool {
    match error {
        diesel::result::Error::DatabaseError(_, info) => {
            let message = info.message();
            message.starts_with("no such savepoint")
                || message == "cannot rollback - no transaction is active"
        }
        _ => false,
    }
}

/// Whether reading or writing the file failed, for another reason than a lack of space. Also of a commit
/// after which the rollback failed, too.
///
/// By the text: Diesel does not pass on SQLite's error codes.
pub(crate) fn is_io_error(error: &diesel::result::Error) -> bool {
    match error {
        diesel::result::Error::DatabaseError(_, info) => info.message() == "disk I/O error",
        diesel::result::Error::RollbackErrorOnCommit { commit_error, .. } => {
            is_io_error(commit_error)
        }
        _ => false,
    }
}
