//! How an instant stands in the database: microseconds since the Unix epoch, UTC.

use chrono::{DateTime, Utc};

use crate::error::QueryError;

/// The number for an instant; what is finer than a microsecond is cut off.
pub(crate) fn store(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// The instant behind a number that was read from `table.column`.
pub(crate) fn load(
    micros: i64,
    table: &'static str,
    column: &'static str,
) -> Result<DateTime<Utc>, QueryError> {
    DateTime::from_timestamp_micros(micros).ok_or(QueryError::Inconsistent { table, column })
}

/// As [`load`], for a column that may be `NULL`.
pub(crate) fn load_optional(
    micros: Option<i64>,
    table: &'static str,
    column: &'static str,
) -> Result<Option<DateTime<Utc>>, QueryError> {
    micros.map(|micros| load(micros, table, column)).transpose()
}
