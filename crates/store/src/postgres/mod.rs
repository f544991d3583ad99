//! A PostgreSQL server, which other processes may use as well.
//!
//! The statements are those of SQLite, so they block: a connection is a thread.

mod acknowledged;
mod backoff;
mod connect;
mod connections;
mod copy;
pub(crate) mod locks;
mod migrate;
mod tls;
mod wire;

#[path = "../statements/mod.rs"]
pub(crate) mod statements;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use tracing::warn;

pub(crate) use acknowledged::written;
pub(crate) use connect::PostgresUrl;
use connections::{Connections, Stopped, Worker};
pub(crate) use migrate::MIGRATIONS;
use wire::Driver;

use crate::error::QueryError;
use crate::job_queue::Lane;
use crate::{Load, MigrationState, OpenError, Options, StoreError};

/// What statements run on.
pub(crate) type Conn = AsyncConnectionWrapper<AsyncPgConnection, Driver>;
/// The dialect of the statements.
pub(crate) type Db = Pg;

/// Its clock, in microseconds since 1970.
pub(crate) const NOW: &str =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now";

/// The most times that a job is started.
const MAX_TRIES: usize = 4;

/// How long closing waits for jobs that the server does not answer. No caller waits for them by then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A database on a server.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Connections,
    is_closed: AtomicBool,
}

impl Postgres {
    /// See [`Store::open`](crate::Store::open).
    pub(crate) async fn open(url: &PostgresUrl, options: &Options) -> Result<Self, OpenError> {
        let this = Self::start(url, options)?;
        let found = this.opening(migrate::find).await?;
        if let Some(migration) = found.unknown.first() {
            return Err(OpenError::NewerSchema(migration.clone()));
        }
        match found.pending.first() {
            Some(first) => Err(OpenError::Pending {
                count: found.pending.len(),
                first: first.clone(),
            }),
            None => Ok(this),
        }
    }

    fn start(url: &PostgresUrl, options: &Options) -> Result<Self, OpenError> {
        let server = connect::Server::new(url, options)?;
        Ok(Self {
            connections: Connections::new(server, options.connections, options.busy_timeout),
            is_closed: AtomicBool::new(false),
        })
    }

    /// See [`Store::migrations`](crate::Store::migrations).
    pub(crate) async fn migrations(
        url: &PostgresUrl,
        options: &Options,
    ) -> Result<MigrationState, OpenError> {
        Self::start(url, options)?.opening(migrate::find).await
    }

    /// See [`Store::migrate`](crate::Store::migrate).
    pub(crate) async fn migrate(
        url: &PostgresUrl,
        options: &Options,
    ) -> Result<Vec<String>, OpenError> {
        let this = Self::start(url, options)?;
        this.examine().await?;
        let done = this.connections.run(Lane::Write, migrate::run).await;
        done.map_err(unopened)?
    }

    /// Refuses what is between us and the server if it is not safe.
    async fn examine(&self) -> Result<(), OpenError> {
        let examined = self
            .connections
            .run(Lane::Read, |worker| worker.examine())
            .await;
        examined.map_err(unopened)?
    }

    /// Does something on a connection on the way to an open store.
    async fn opening<T: Send + 'static>(
        &self,
        work: fn(&mut Conn) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        self.examine().await?;
        let done = self
            .connections
            .run(Lane::Read, move |worker| worker.with(work))
            .await;
        done.flatten().map_err(unopened)?
    }

    /// Runs a job that changes something, in its own transaction: an error rolls all of it back.
    /// The job is retried if it did not cause the error.
    pub(crate) async fn write<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, QueryError> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.retried(Lane::Write, move |worker| {
            worker.transaction(&job).map_err(Failed::of_transaction)
        })
        .await
    }

    /// Runs a job that may accept a code. It is rejected while acknowledged changes are missing.
    pub(crate) async fn write_code<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, QueryError> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.retried(Lane::Write, move |worker| {
            worker.check_codes().map_err(Failed::Fatal)?;
            worker.transaction(&job).map_err(Failed::of_transaction)
        })
        .await
    }

    /// Runs a job that changes nothing. Every statement sees the database as it is when it
    /// runs, so a job that needs one snapshot is one statement.
    pub(crate) async fn read<A, T>(&self, job: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, QueryError> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.retried(Lane::Read, move |worker| {
            let answer = worker.with(&job).map_err(Failed::Fatal)?;
            answer.map_err(|fault| Failed::of(fault, false))
        })
        .await
    }

    async fn retried<A, T>(&self, lane: Lane, job: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Worker) -> Result<T, Failed> + Send + 'static,
        T: Send + 'static,
    {
        let job = move |worker: &mut Worker| retry(worker, &job);
        self.connections.run(lane, job).await?
    }

    /// See [`Store::load`](crate::Store::load).
    pub(crate) fn load(&self) -> Load {
        self.connections.load()
    }

    /// See [`Store::close`](crate::Store::close).
    pub(crate) async fn close(&self) {
        if self.is_closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let closing = self.connections.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            warn!("the server did not answer all questions before the end");
        }
    }
}

fn unopened(error: StoreError) -> OpenError {
    match error {
        StoreError::Unavailable(cause) => OpenError::Unreachable(cause),
        other => OpenError::Unreachable(Arc::new(other)),
    }
}

/// Asks, and asks again while that may help.
fn retry<T>(
    worker: &mut Worker,
    job: &impl Fn(&mut Worker) -> Result<T, Failed>,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        let failed = match job(worker) {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let (Failed::Retryable(error) | Failed::Fatal(error)) = &failed;
        if matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)) {
            worker.disconnect();
        }
        match failed {
            Failed::Retryable(_) if tries < MAX_TRIES => tries += 1,
            Failed::Retryable(error) | Failed::Fatal(error) => return Err(error),
        }
    }
}

/// Why a job failed this time.
enum Failed {
    /// Nothing was changed, and a retry may help at once.
    Retryable(StoreError),
    Fatal(StoreError),
}

impl Failed {
    fn of_transaction(stopped: Stopped<QueryError>) -> Self {
        match stopped {
            Stopped::NoConnection(error) => Self::Fatal(error),
            Stopped::NotBegun(error) => Self::of(error.into(), false),
            Stopped::Undone(fault) => Self::of(fault, true),
            Stopped::InCommit(error) => Self::of_commit(error),
        }
    }

    /// `begun`: the transaction had begun, so a retry could take as long again.
    fn of(fault: QueryError, begun: bool) -> Self {
        let error = match fault {
            QueryError::Diesel(error) => error,
            other => return Self::Fatal(other.into()),
        };
        match classify(&error) {
            ErrorClass::Conflict => Self::Retryable(StoreError::Busy),
            ErrorClass::LockTimeout => Self::Fatal(StoreError::Busy),
            ErrorClass::TooSlow => Self::Fatal(StoreError::TooSlow),
            ErrorClass::Unavailable if begun || wire::is_mute() => Self::Fatal(unavailable(error)),
            ErrorClass::Unavailable | ErrorClass::ReadOnly => Self::Retryable(unavailable(error)),
            ErrorClass::Permanent => Self::Fatal(StoreError::Database(Arc::new(error))),
        }
    }

    /// The error in place of the answer to `COMMIT`. Some errors of the server mean that nothing was
    /// changed; for any other the result is unknown.
    fn of_commit(error: Error) -> Self {
        let error = match error {
            // What went wrong first may be hidden behind the attempt to undo it.
            Error::RollbackErrorOnCommit { commit_error, .. } => *commit_error,
            error => error,
        };
        match (classify(&error), &error) {
            (ErrorClass::Conflict, _) => Self::Retryable(StoreError::Busy),
            (ErrorClass::ReadOnly, _) => Self::Retryable(unavailable(error)),
            (
                _,
                Error::DatabaseError(
                    DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::CheckViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::ExclusionViolation
                    | DatabaseErrorKind::RestrictViolation,
                    _,
                ),
            ) => Self::Fatal(StoreError::Database(Arc::new(error))),
            _ => Self::Fatal(StoreError::Unknown(cause(error))),
        }
    }
}

fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(cause(error))
}

/// Why the connection ended, which says more than that it is closed.
fn cause(error: Error) -> Arc<dyn std::error::Error + Send + Sync> {
    match &error {
        Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand, _) => {
            wire::ended().unwrap_or_else(|| Arc::new(error))
        }
        _ => Arc::new(error),
    }
}

/// The error of a transaction that is not retried.
fn answer(stopped: Stopped<QueryError>) -> StoreError {
    match Failed::of_transaction(stopped) {
        Failed::Retryable(error) | Failed::Fatal(error) => error,
    }
}

enum ErrorClass {
    /// Two transactions were in each other's way, and this one was undone.
    Conflict,
    /// A lock was not free within the lock timeout.
    LockTimeout,
    /// A statement took longer than it may.
    TooSlow,
    /// The server went away or is full.
    Unavailable,
    /// The server is a standby, or a primary that has become one. Another one may take changes.
    ReadOnly,
    /// The statement itself is wrong; a retry fails again.
    Permanent,
}

/// What an error means. By the text where Diesel does not pass the code on. Of a server that speaks
/// another language these are `Unavailable`, which has the same answer but for the retry; or
/// `Refused` if they have a place in the statement, as waiting too long for a table's lock has.
fn classify(error: &Error) -> ErrorClass {
    let Error::DatabaseError(kind, info) = error else {
        return ErrorClass::Permanent;
    };
    match kind {
        DatabaseErrorKind::SerializationFailure => ErrorClass::Conflict,
        DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection => {
            ErrorClass::Unavailable
        }
        DatabaseErrorKind::ReadOnlyTransaction => ErrorClass::ReadOnly,
        DatabaseErrorKind::Unknown => match info.message() {
            "deadlock detected" => ErrorClass::Conflict,
            "canceling statement due to lock timeout" => ErrorClass::LockTimeout,
            "canceling statement due to statement timeout" => ErrorClass::TooSlow,
            // No place in the statement, no constraint: not the statement's fault.
            _ if info.statement_position().is_none() && info.constraint_name().is_none() => {
                ErrorClass::Unavailable
            }
            _ => ErrorClass::Permanent,
        },
        _ => ErrorClass::Permanent,
    }
}
