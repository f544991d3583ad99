//! Which root keys the database was written with.  Never a key.

use arklow_domain::{KeyCheck, KeyId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::error::Fault;
use crate::schema::keys;
use crate::{Backend, Store, StoreError, instant};

/// What [`Store::record_key`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKey {
    /// The key is on record now.
    Recorded,
    /// It was so before; the time of it stays.
    AlreadyRecorded,
    /// Another key is on record under this id: what it protects does not open with this one.
    Contradicted,
}

impl Store {
    /// Records that the database is written with a key.  `check` is
    /// [`RootKey::check`](arklow_domain::RootKey::check).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_key(
        &self,
        key: KeyId,
        check: KeyCheck,
        now: DateTime<Utc>,
    ) -> Result<RecordKey, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| record(conn, key, check, now))
                    .await
            }
        }
    }

    /// The keys on record, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recorded_keys(&self) -> Result<Vec<(KeyId, KeyCheck)>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(list).await,
        }
    }
}

fn record(
    conn: &mut SqliteConnection,
    key: KeyId,
    check: KeyCheck,
    now: DateTime<Utc>,
) -> Result<RecordKey, Fault> {
    let inserted = diesel::insert_into(keys::table)
        .values((
            keys::id.eq(key.to_string()),
            keys::check_value.eq(check.as_bytes().as_slice()),
            keys::first_used_at.eq(instant::store(now)),
        ))
        .on_conflict(keys::id)
        .do_nothing()
        .execute(conn)?;
    if inserted == 1 {
        return Ok(RecordKey::Recorded);
    }
    let recorded: Vec<u8> = keys::table
        .find(key.to_string())
        .select(keys::check_value)
        .first(conn)?;
    let same = recorded == check.as_bytes();
    Ok(if same {
        RecordKey::AlreadyRecorded
    } else {
        RecordKey::Contradicted
    })
}

fn list(conn: &mut SqliteConnection) -> Result<Vec<(KeyId, KeyCheck)>, Fault> {
    let wrong = |column| Fault::Inconsistent {
        table: "keys",
        column,
    };
    let rows: Vec<(String, Vec<u8>)> = keys::table
        .select((keys::id, keys::check_value))
        .order(keys::id)
        .load(conn)?;
    rows.into_iter()
        .map(|(id, check)| {
            let id = id.parse().map_err(|_| wrong("id"))?;
            let check = check.try_into().map_err(|_| wrong("check_value"))?;
            Ok((id, KeyCheck::from_stored(check)))
        })
        .collect()
}
