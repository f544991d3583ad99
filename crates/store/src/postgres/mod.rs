//! A PostgreSQL server: a few connections, which other processes have as well.
//!
//! The statements are those of SQLite, so they block: a connection is a thread.

mod connect;
mod connections;
mod copy;
pub(crate) mod locks;
mod migrate;
mod tls;

#[path = "../statements/mod.rs"]
pub(crate) mod statements;

use std::sync::Arc;
use std::time::Duration;

use diesel::Connection as _;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use tracing::warn;

pub(crate) use connect::PostgresUrl;
use connections::{Connections, Driver, Seat};

use crate::error::Fault;
use crate::{MigrationState, OpenError, Options, StoreError};

/// What statements run on.
pub(crate) type Conn = AsyncConnectionWrapper<AsyncPgConnection, Driver>;
/// The dialect of the statements.
pub(crate) type Db = Pg;

/// How often a question is begun, at most.
const TRIES: usize = 4;

/// A database on a server.
#[derive(Debug)]
pub(crate) struct Postgres {
    connections: Connections,
    /// How long a question may take in all.
    patience: Duration,
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
            patience: options.busy_timeout
                + options.connect_timeout
                + options.statement_timeout.unwrap_or_default(),
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
        Self::start(url, options)?.opening(migrate::run).await
    }

    /// Does something on a connection on the way to an open store.
    async fn opening<T: Send + 'static>(
        &self,
        work: fn(&mut Conn) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let unreachable = |error| match error {
            StoreError::Unavailable(cause) => OpenError::Unreachable(cause),
            other => OpenError::Unreachable(Arc::new(other)),
        };
        let done = self.connections.work(move |seat| seat.with(work)).await;
        done.flatten().map_err(unreachable)?
    }

    /// Asks a question that changes something, in a transaction of its own: an error undoes all of
    /// it.  `ask` is called again if it was not to blame.
    pub(crate) async fn write<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, Fault> + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.asking(move |conn| {
            let mut begun = false;
            let answer = conn.transaction(|conn| {
                begun = true;
                ask(conn)
            });
            answer.map_err(|fault| Failed::of(fault, begun))
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
        self.asking(move |conn| ask(conn).map_err(|fault| Failed::of(fault, false)))
            .await
    }

    async fn asking<A, T>(&self, ask: A) -> Result<T, StoreError>
    where
        A: Fn(&mut Conn) -> Result<T, Failed> + Send + 'static,
        T: Send + 'static,
    {
        let asked = self.connections.work(move |seat| insist(seat, &ask)).await;
        asked.flatten()
    }

    /// See [`Store::close`](crate::Store::close).
    pub(crate) async fn close(&self) {
        let closing = self.connections.close();
        if tokio::time::timeout(self.patience, closing).await.is_err() {
            warn!("the server did not answer all questions before the end");
        }
    }
}

/// Asks, and asks again while that may help.
fn insist<T>(
    seat: &mut Seat<'_>,
    ask: &impl Fn(&mut Conn) -> Result<T, Failed>,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        let failed = match seat.with(ask)? {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let (Failed::ForNow(error) | Failed::ForGood(error)) = &failed;
        if matches!(error, StoreError::Unavailable(_)) {
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
    /// `begun` tells whether anything was sent that could have changed something.
    fn of(fault: Fault, begun: bool) -> Self {
        let error = match fault {
            // What went wrong first may be hidden behind the attempt to undo it.
            Fault::Diesel(Error::RollbackErrorOnCommit { commit_error, .. }) => *commit_error,
            Fault::Diesel(error) => error,
            other => return Self::ForGood(other.into()),
        };
        match judge(&error) {
            Judgement::Conflict => Self::ForNow(StoreError::Busy),
            Judgement::Waited => Self::ForGood(StoreError::Busy),
            Judgement::Unavailable if begun => {
                Self::ForGood(StoreError::Unavailable(Arc::new(error)))
            }
            Judgement::Unavailable => Self::ForNow(StoreError::Unavailable(Arc::new(error))),
            Judgement::Refused => Self::ForGood(StoreError::Database(Arc::new(error))),
        }
    }
}

/// A failure that is not asked about again.
fn answer(fault: Fault) -> StoreError {
    match Failed::of(fault, true) {
        Failed::ForNow(error) | Failed::ForGood(error) => error,
    }
}

enum Judgement {
    /// Two transactions were in each other's way, and this one was undone.
    Conflict,
    /// Something took longer than a question may.
    Waited,
    /// The server went away, is full or does not write at present.
    Unavailable,
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
        DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::ClosedConnection
        // What a primary that has become a standby says.
        | DatabaseErrorKind::ReadOnlyTransaction => Judgement::Unavailable,
        DatabaseErrorKind::Unknown => match info.message() {
            "deadlock detected" => Judgement::Conflict,
            "canceling statement due to lock timeout"
            | "canceling statement due to statement timeout" => Judgement::Waited,
            // No place in the statement, no constraint: not the statement's fault.
            _ if info.statement_position().is_none() && info.constraint_name().is_none() => {
                Judgement::Unavailable
            }
            _ => Judgement::Refused,
        },
        _ => Judgement::Refused,
    }
}
