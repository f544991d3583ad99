//! Whether a database holds any data of users.

use diesel::prelude::*;

use super::Conn;
use crate::error::QueryError;
use crate::schema::{audit, users};

pub(crate) fn is_empty(conn: &mut Conn) -> Result<bool, QueryError> {
    let user: Option<i64> = users::table.select(users::id).first(conn).optional()?;
    let record: Option<i64> = audit::table.select(audit::id).first(conn).optional()?;
    Ok(user.is_none() && record.is_none())
}
