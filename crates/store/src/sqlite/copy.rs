//! The side of a copy that reads.

use tokio::sync::mpsc::Sender;

use super::Conn;
use super::statements::copy::{count, sum_up};
use crate::error::QueryError;
use crate::tables::{Message, Table};

/// Sends all rows, unless the receiver is gone.
pub(crate) fn send(conn: &mut Conn, to: &Sender<Message>) -> Result<(), QueryError> {
    let mut rows = 0;
    for table in Table::ALL {
        rows += count(conn, *table)?;
    }
    // An error means that the other side has failed, which says more.
    let is_heard = |message| to.blocking_send(message).is_ok();
    if !is_heard(Message::Begin { rows }) {
        return Ok(());
    }
    let mut tables = Vec::new();
    for table in Table::ALL {
        match sum_up(conn, *table, |rows| is_heard(Message::Rows(rows)))? {
            Some(sum) => tables.push(sum),
            None => return Ok(()),
        }
    }
    is_heard(Message::End(tables));
    Ok(())
}
