//! A PostgreSQL server: a few connections, which other processes have as well.
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
use connections::{Connections, Lane, Seat, Stopped};
pub(crate) use migrate::MIGRATIONS;
use wire::Driver;

use crate::error::Fault;
use crate::{MigrationState, OpenError, Options, StoreError};

/// What statements run on.
pub(crate) type Conn = AsyncConnectionWrapper<AsyncPgConnection, Driver>;
/// The dialect of the statements.
pub(crate) type Db = Pg;

/// How often a question is begun, at most.
const TRIES: usize = 4;

/// How long closing waits for questions that the server does not answer.  Nobody else does by then.
const CLOSING: Duration = Duration::from_secs(1);

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
        let done = this.connections.work(Lane::Write, migrate::run).await;
        done.map_err(unopened)?
    }

    /// Refuses what is between us and the server if it is not safe.
    async fn examine(&self) -> Result<(), OpenError> {
        let examined = self
            .connections
            .work(Lane::Read, |seat| seat.examine())
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
            .work(Lane::Read, move |seat| seat.with(work))
            .await;
        done.flatten().map_err(unopened)?
    }

    /// Asks a question that changes something, in a transaction of its own: an error undoes all of
    /// it.  `ask` is called again if it was not to blame.
    pub(crate) async fn write<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, Fault> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.asking(Lane::Write, move |seat| {
            seat.transaction(&ask).map_err(Failed::of_transaction)
        })
        .await
    }

    /// Asks a question that may accept a code, which it may not while acknowledged changes are gone.
    pub(crate) async fn write_code<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, Fault> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.asking(Lane::Write, move |seat| {
            seat.check_codes().map_err(Failed::ForGood)?;
            seat.transaction(&ask).map_err(Failed::of_transaction)
        })
        .await
    }

    /// Asks a question that changes nothing.  Every statement sees the database as it is when it
    /// runs, so a question that needs one picture is one statement.
    pub(crate) async fn read<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, Fault> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.asking(Lane::Read, move |seat| {
            let answer = seat.with(&ask).map_err(Failed::ForGood)?;
            answer.map_err(|fault| Failed::of(fault, false))
        })
        .await
    }

    async fn asking<A, T>(&self, lane: Lane, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Seat<'_>) -> Result<T, Failed> + Send + 'static,
        T: Send + 'static,
    {
        let asked = self
            .connections
            .work(lane, move |seat| insist(seat, &ask))
            .await;
        asked.flatten()
    }

    /// See [`Store::close`](crate::Store::close).
    pub(crate) async fn close(&self) {
        if self.is_closed.swap(true, Ordering::SeqCst) {
            return;
        }
        let closing = self.connections.close();
        if tokio::time::timeout(CLOSING, closing).await.is_err() {
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
fn insist<T>(
    seat: &mut Seat<'_>,
    ask: &impl Fn(&mut Seat<'_>) -> Result<T, Failed>,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        let failed = match ask(seat) {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let (Failed::ForNow(error) | Failed::ForGood(error)) = &failed;
        if matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)) {
            seat.disconnect();
        }
        match failed {
            Failed::ForNow(_) if tries < TRIES => tries += 1,
            Failed::ForNow(error) | Failed::ForGood(error) => return Err(error),
        }
    }
}

/// Why a question got no answer this time.
enum Failed {
    /// Nothing was changed, and asking again may help at once.
    ForNow(StoreError),
    ForGood(StoreError),
}

impl Failed {
    fn of_transaction(stopped: Stopped<Fault>) -> Self {
        match stopped {
            Stopped::NoConnection(error) => Self::ForGood(error),
            Stopped::NotBegun(error) => Self::of(error.into(), false),
            Stopped::Undone(fault) => Self::of(fault, true),
            Stopped::InCommit(error) => Self::of_commit(error),
        }
    }

    /// `begun` tells whether asking again may find something else in the way that took long.
    fn of(fault: Fault, begun: bool) -> Self {
        let error = match fault {
            Fault::Diesel(error) => error,
            other => return Self::ForGood(other.into()),
        };
        match judge(&error) {
            Judgement::Conflict => Self::ForNow(StoreError::Busy),
            Judgement::Waited => Self::ForGood(StoreError::Busy),
            Judgement::TooSlow => Self::ForGood(StoreError::TooSlow),
            Judgement::Unavailable if begun || wire::is_mute() => Self::ForGood(unavailable(error)),
            Judgement::Unavailable | Judgement::ReadOnly => Self::ForNow(unavailable(error)),
            Judgement::Refused => Self::ForGood(StoreError::Database(Arc::new(error))),
        }
    }

    /// What came instead of the answer to `COMMIT`.  Some errors of the server say that nothing was
    /// changed; anything else leaves it open.
    fn of_commit(error: Error) -> Self {
        let error = match error {
            // What went wrong first may be hidden behind the attempt to undo it.
            Error::RollbackErrorOnCommit { commit_error, .. } => *commit_error,
            error => error,
        };
        match (judge(&error), &error) {
            (Judgement::Conflict, _) => Self::ForNow(StoreError::Busy),
            (Judgement::ReadOnly, _) => Self::ForNow(unavailable(error)),
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
            ) => Self::ForGood(StoreError::Database(Arc::new(error))),
            _ => Self::ForGood(StoreError::Unknown(cause(error))),
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

/// A failure that is not asked about again.
fn answer(stopped: Stopped<Fault>) -> StoreError {
    match Failed::of_transaction(stopped) {
        Failed::ForNow(error) | Failed::ForGood(error) => error,
    }
}

enum Judgement {
    /// Two transactions were in each other's way, and this one was undone.
    Conflict,
    /// A lock was not free in time.
    Waited,
    /// A statement took longer than it may.
    TooSlow,
    /// The server went away or is full.
    Unavailable,
    /// The server is a standby, or a primary that has become one.  Another one may take changes.
    ReadOnly,
    /// The statement itself.
    Refused,
}

/// What an error means.  By the text where Diesel does not pass the code on.  Of a server that speaks
/// another language these are `Unavailable`, which has the same answer but for the retry; or
/// `Refused` if they have a place in the statement, as waiting too long for a table's lock has.
fn judge(error: &Error) -> Judgement {
    let Error::DatabaseError(kind, info) = error else {
        return Judgement::Refused;
    };
    match kind {
        DatabaseErrorKind::SerializationFailure => Judgement::Conflict,
        DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection => {
            Judgement::Unavailable
        }
        DatabaseErrorKind::ReadOnlyTransaction => Judgement::ReadOnly,
        DatabaseErrorKind::Unknown => match info.message() {
            "deadlock detected" => Judgement::Conflict,
            "canceling statement due to lock timeout" => Judgement::Waited,
            "canceling statement due to statement timeout" => Judgement::TooSlow,
            // No place in the statement, no constraint: not the statement's fault.
            _ if info.statement_position().is_none() && info.constraint_name().is_none() => {
                Judgement::Unavailable
            }
            _ => Judgement::Refused,
        },
        _ => Judgement::Refused,
    }
}
