//! Reading every row, page by page, in the order of the keys.

use diesel::dsl::count_star;
use diesel::prelude::*;

use super::Conn;
use crate::error::QueryError;
use crate::schema::{audit, devices, keys, memberships, outbox, sessions, users};
use crate::tables::{BATCH, CopiedTable, Rows, Sum, Table};

/// Reads a whole table and computes its digest; `each` gets the rows and returns whether to continue.
pub(crate) fn sum_up(
    conn: &mut Conn,
    table: Table,
    mut each: impl FnMut(Rows) -> bool,
) -> Result<Option<CopiedTable>, QueryError> {
    let mut sum = Sum::of(table);
    let mut after = (i64::MIN, i64::MIN);
    loop {
        let rows = read(conn, table, after)?;
        let Some(last) = last_key(&rows) else {
            return Ok(Some(sum.end()));
        };
        sum.add(&rows);
        after = last;
        if !each(rows) {
            return Ok(None);
        }
    }
}

/// The key of the last row, in the form in which [`read`] takes it.
fn last_key(rows: &Rows) -> Option<(i64, i64)> {
    match rows {
        Rows::Users(rows) => rows.last().map(|row| (row.id, 0)),
        Rows::Memberships(rows) => rows.last().map(|row| (row.user_id, row.org_id)),
        Rows::Sessions(rows) => rows.last().map(|row| (row.id, 0)),
        Rows::Devices(rows) => rows.last().map(|row| (row.id, 0)),
        Rows::Audit(rows) => rows.last().map(|row| (row.id, 0)),
        Rows::Outbox(rows) => rows.last().map(|row| (row.id, 0)),
        // All at once: there are few, and servers differ in how they sort texts.
        Rows::Keys(rows) => rows.last().map(|_| (i64::MAX, 0)),
    }
}

fn read(conn: &mut Conn, table: Table, after: (i64, i64)) -> Result<Rows, QueryError> {
    let (id, second) = after;
    macro_rules! page {
        ($table:ident) => {
            $table::table
                .filter($table::id.gt(id))
                .order($table::id)
                .limit(BATCH)
                .load(conn)?
        };
    }
    Ok(match table {
        Table::Users => Rows::Users(page!(users)),
        Table::Memberships => Rows::Memberships(
            memberships::table
                .filter(
                    memberships::user_id.gt(id).or(memberships::user_id
                        .eq(id)
                        .and(memberships::org_id.gt(second))),
                )
                .order((memberships::user_id, memberships::org_id))
                .limit(BATCH)
                .load(conn)?,
        ),
        Table::Sessions => Rows::Sessions(page!(sessions)),
        Table::Devices => Rows::Devices(page!(devices)),
        Table::Audit => Rows::Audit(page!(audit)),
        Table::Outbox => Rows::Outbox(page!(outbox)),
        Table::Keys if id == i64::MAX => Rows::Keys(Vec::new()),
        Table::Keys => {
            let mut rows: Vec<crate::tables::KeyRow> = keys::table.load(conn)?;
            rows.sort_by(|one, other| one.id.cmp(&other.id));
            Rows::Keys(rows)
        }
    })
}

/// How many rows a table has.
pub(crate) fn count(conn: &mut Conn, table: Table) -> Result<u64, QueryError> {
    let rows: i64 = match table {
        Table::Users => users::table.select(count_star()).first(conn),
        Table::Memberships => memberships::table.select(count_star()).first(conn),
        Table::Sessions => sessions::table.select(count_star()).first(conn),
        Table::Devices => devices::table.select(count_star()).first(conn),
        Table::Audit => audit::table.select(count_star()).first(conn),
        Table::Outbox => outbox::table.select(count_star()).first(conn),
        Table::Keys => keys::table.select(count_star()).first(conn),
    }?;
    Ok(rows.cast_unsigned())
}
