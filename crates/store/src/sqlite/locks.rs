//! What SQLite need not be told: who writes is alone from the first statement on.

use arklow_domain::UserId;

use super::Conn;
use crate::error::QueryError;

/// A query of a user's row, by which everything else about this user waits.
macro_rules! holding {
    ($query:expr) => {
        $query
    };
}

pub(crate) use holding;

/// Everything else about this user waits.
pub(crate) fn user(_: &mut Conn, _: UserId) -> Result<(), QueryError> {
    Ok(())
}

/// No key goes out of use meanwhile.
pub(crate) fn keys(_: &mut Conn) -> Result<(), QueryError> {
    Ok(())
}

/// Whoever writes about users waits.
pub(crate) fn everybody(_: &mut Conn) -> Result<(), QueryError> {
    Ok(())
}
