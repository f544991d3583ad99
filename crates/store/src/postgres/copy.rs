//! The side of a copy that writes.

use std::sync::Arc;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use tokio::sync::mpsc::Receiver;

use super::connections;
use super::statements::copy::{count, sum_up};
use super::{Conn, Postgres, locks};
use crate::error::QueryError;
use crate::job_queue::Lane;
use crate::schema::{audit, devices, keys, memberships, outbox, sessions, users};
use crate::tables::{CopiedTable, Message, Rows, Table};
use crate::{Copied, CopyError, CopyProgress, StoreError};

type Progress = Arc<dyn Fn(CopyProgress) + Send + Sync>;

/// What is not an error of the database.
enum Stopped {
    QueryError(QueryError),
    Refused(CopyError),
    /// The other side ended early, and says why.
    Alone,
}

impl From<QueryError> for Stopped {
    fn from(fault: QueryError) -> Self {
        Self::QueryError(fault)
    }
}

impl From<diesel::result::Error> for Stopped {
    fn from(error: diesel::result::Error) -> Self {
        Self::QueryError(error.into())
    }
}

impl Postgres {
    /// Writes what comes in, in one transaction, and commits it if it reads back as it should.
    pub(crate) async fn copy_in(
        &self,
        mut incoming: Receiver<Message>,
        progress: Progress,
    ) -> Result<Copied, CopyError> {
        let writing = self.connections.run(Lane::Write, move |worker| {
            worker.transaction(|conn| copy_in(conn, &mut incoming, &progress))
        });
        let written = writing.await.map_err(CopyError::Target)?;
        written.map_err(|stopped| {
            let stopped = match stopped {
                connections::Stopped::Undone(Stopped::QueryError(fault)) => {
                    connections::Stopped::Undone(fault)
                }
                connections::Stopped::Undone(Stopped::Refused(refused)) => return refused,
                connections::Stopped::Undone(Stopped::Alone) => {
                    return CopyError::Target(StoreError::Closed);
                }
                connections::Stopped::NoConnection(error) => return CopyError::Target(error),
                connections::Stopped::NotBegun(error) => connections::Stopped::NotBegun(error),
                connections::Stopped::InCommit(error) => connections::Stopped::InCommit(error),
            };
            CopyError::Target(super::answer(stopped))
        })
    }
}

fn copy_in(
    conn: &mut Conn,
    incoming: &mut Receiver<Message>,
    progress: &Progress,
) -> Result<Copied, Stopped> {
    locks::everybody(conn)?;
    // Rows that are there may be those of the source; then there is nothing to write.
    let mut was_there = false;
    for table in Table::ALL {
        was_there |= count(conn, *table)? > 0;
    }
    let mut done = 0;
    let mut total = 0;
    let mut tell = |rows: usize, total: u64| {
        done += rows as u64;
        progress(CopyProgress { done, total });
    };
    let tables = loop {
        match incoming.blocking_recv().ok_or(Stopped::Alone)? {
            // Each row is written, and read back.
            Message::Begin { rows } => total = 2 * rows,
            Message::Rows(rows) => {
                if !was_there {
                    insert(conn, &rows)?;
                }
                tell(rows.len(), total);
            }
            Message::End(tables) => break tables,
        }
    };
    for (table, expected) in Table::ALL.iter().zip(&tables) {
        let found = sum_up(conn, *table, |rows| {
            tell(rows.len(), total);
            true
        })?;
        if found.as_ref() != Some(expected) {
            return Err(Stopped::Refused(differs(expected, was_there)));
        }
    }
    if !was_there {
        // The numbers go on where they were.
        for table in ["audit", "outbox"] {
            conn.batch_execute(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'),
                     (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
            ))?;
        }
    }
    Ok(Copied { tables, was_there })
}

fn differs(expected: &CopiedTable, was_there: bool) -> CopyError {
    let table = expected.name;
    match was_there {
        true => CopyError::NotEmpty { table },
        false => CopyError::Differs { table },
    }
}

fn insert(conn: &mut Conn, rows: &Rows) -> Result<(), QueryError> {
    match rows {
        Rows::Users(rows) => diesel::insert_into(users::table).values(rows).execute(conn),
        Rows::Memberships(rows) => diesel::insert_into(memberships::table)
            .values(rows)
            .execute(conn),
        Rows::Sessions(rows) => diesel::insert_into(sessions::table)
            .values(rows)
            .execute(conn),
        Rows::Devices(rows) => diesel::insert_into(devices::table)
            .values(rows)
            .execute(conn),
        Rows::Audit(rows) => diesel::insert_into(audit::table).values(rows).execute(conn),
        Rows::Outbox(rows) => diesel::insert_into(outbox::table)
            .values(rows)
            .execute(conn),
        Rows::Keys(rows) => diesel::insert_into(keys::table).values(rows).execute(conn),
    }?;
    Ok(())
}
