//! Whether the database can be worked with.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Text};

use super::{Conn, NOW};
use crate::error::QueryError;
use crate::health::Health;
use crate::instant;
use crate::schema::{keys, outbox};

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = BigInt)]
    now: i64,
}

pub(crate) fn time(conn: &mut Conn) -> Result<DateTime<Utc>, QueryError> {
    let row: Now = sql_query(NOW).get_result(conn)?;
    instant::load(row.now, "no table", "now")
}

pub(crate) fn read(conn: &mut Conn, known: &[String]) -> Result<Health, QueryError> {
    let applied: Vec<Version> =
        sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    let is_applied = |number: &&String| applied.iter().any(|row| row.version == **number);
    let oldest: Option<i64> = outbox::table
        .filter(outbox::delivered_at.is_null())
        .filter(outbox::failed_at.is_null())
        .order(outbox::id)
        .select(outbox::at)
        .first(conn)
        .optional()?;
    let used: Vec<(String, i64)> = keys::table
        .filter(keys::retired_at.is_null())
        .select((keys::id, keys::first_used_at))
        .load(conn)?;
    let keys = used.into_iter().map(|(id, at)| {
        let id = id.parse().map_err(|_| QueryError::Inconsistent {
            table: "keys",
            column: "id",
        })?;
        Ok((id, instant::load(at, "keys", "first_used_at")?))
    });
    Ok(Health {
        pending: known
            .iter()
            .filter(|number| !is_applied(number))
            .cloned()
            .collect(),
        oldest_message: instant::load_optional(oldest, "outbox", "at")?,
        keys: keys.collect::<Result<_, QueryError>>()?,
    })
}
