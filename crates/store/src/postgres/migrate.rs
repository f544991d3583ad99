//! The tables: which changes a database has, and making those it lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::connections::{Stopped, Worker};
use super::{Conn, Db, ErrorClass, classify};
use crate::{MigrationState, OpenError};

pub(crate) const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// `arklow` in ASCII: under this number processes take turns. It is one of this database only.
const LOCK_ID: i64 = 0x61_72_6b_6c_6f_77;
/// How long a process waits for the migration lock. The migrations of another process may take long.
const LOCK_TIMEOUT: &str = "10min";

/// Which changes the database has and lacks. Changes nothing.
pub(super) fn find(conn: &mut Conn) -> Result<MigrationState, OpenError> {
    let made = made(conn)?;
    MigrationState::of::<Db>(&MIGRATIONS, &made)
        .map_err(|cause| OpenError::Database(Arc::from(cause)))
}

/// Makes the changes that the database lacks, one process after the other; which it lacked. All of
/// them are one transaction: with it ends the lock, whatever connection a pool gives the next one.
pub(super) fn run(worker: &mut Worker) -> Result<Vec<String>, OpenError> {
    let made = worker.transaction(|conn| {
        conn.batch_execute(&format!(
            "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL statement_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = 0;
             SELECT pg_advisory_xact_lock({LOCK_ID})"
        ))
        .map_err(explain)?;
        let state = find(conn)?;
        if let Some(migration) = state.unknown.first() {
            return Err(OpenError::NewerSchema(migration.clone()));
        }
        match conn.run_pending_migrations(MIGRATIONS) {
            Ok(_) => Ok(state.pending),
            Err(error) => Err(match error.downcast() {
                Ok(error) => explain(*error),
                Err(error) => OpenError::Database(Arc::from(error)),
            }),
        }
    });
    made.map_err(|stopped| match stopped {
        Stopped::NoConnection(error) => super::unopened(error),
        Stopped::NotBegun(error) | Stopped::InCommit(error) => explain(error),
        Stopped::Undone(error) => error,
    })
}

/// The versions that are on record.
fn made(conn: &mut Conn) -> Result<BTreeSet<String>, OpenError> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        recorded: bool,
        #[diesel(sql_type = Bool)]
        foreign: bool,
    }
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }

    let found: Found = diesel::sql_query(
        "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS recorded,
         coalesce(to_regclass('users'), to_regclass('devices'), to_regclass('sessions'),
             to_regclass('audit'), to_regclass('keys')) IS NOT NULL AS foreign",
    )
    .get_result(conn)
    .map_err(explain)?;
    if !found.recorded && found.foreign {
        return Err(OpenError::ForeignTables);
    }
    if !found.recorded {
        return Ok(BTreeSet::new());
    }
    let versions: Vec<Version> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations")
            .load(conn)
            .map_err(explain)?;
    Ok(versions.into_iter().map(|row| row.version).collect())
}

fn explain(error: diesel::result::Error) -> OpenError {
    match classify(&error) {
        ErrorClass::Unavailable
        | ErrorClass::ReadOnly
        | ErrorClass::LockTimeout
        | ErrorClass::TooSlow
        | ErrorClass::Conflict => OpenError::Unreachable(Arc::new(error)),
        ErrorClass::Permanent => OpenError::Database(Arc::new(error)),
    }
}
