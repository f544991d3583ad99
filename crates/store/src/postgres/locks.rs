//! Which rows a job locks, and in which order.
//!
//! Statements see what was committed before each of them began (`READ COMMITTED`), so a job
//! that reads and then writes holds the user's row from its first statement on: everything about
//! one user happens one after the other, as on SQLite everything does.  The order is always user,
//! session, device.

use arklow_domain::UserId;
use diesel::prelude::*;

use super::Conn;
use crate::error::QueryError;
use crate::schema::users;

/// A query of a user's row, by which everything else about this user waits.
macro_rules! holding {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

pub(crate) use holding;

/// Everything else about this user waits.
pub(crate) fn user(conn: &mut Conn, user: UserId) -> Result<(), QueryError> {
    users::table
        .find(user.get())
        .select(users::id)
        .for_no_key_update()
        .first::<i64>(conn)
        .optional()?;
    Ok(())
}

/// No key goes out of use meanwhile: the lock that holding a user's row takes as well.
pub(crate) fn keys(conn: &mut Conn) -> Result<(), QueryError> {
    diesel::sql_query("LOCK TABLE users IN ROW SHARE MODE").execute(conn)?;
    Ok(())
}

/// Whoever writes about users waits; whoever reads does not.
pub(crate) fn everybody(conn: &mut Conn) -> Result<(), QueryError> {
    diesel::sql_query("LOCK TABLE users IN EXCLUSIVE MODE").execute(conn)?;
    Ok(())
}
