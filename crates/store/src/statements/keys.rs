//! Keys on record, and moving secrets from one to another.

use arklow_domain::{DeviceId, KeyCheck, KeyId, Keyring, Random, ResealError, SealedSeed, UserId};
use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, exists, not};
use diesel::prelude::*;

use super::rows::CodeSetRow;
use super::{Conn, Db, audit, locks};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::schema::{devices, keys};
use crate::{AuditEvent, AuditOrigin, KeyUsage, RecordKey, Reseal, Resealed, RetireKey, instant};

pub(crate) fn record(
    conn: &mut Conn,
    key: KeyId,
    check: KeyCheck,
    now: DateTime<Utc>,
) -> Result<RecordKey, QueryError> {
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
    let (recorded, is_retired): (Vec<u8>, bool) = keys::table
        .find(key.to_string())
        .select((keys::check_value, keys::retired_at.is_not_null()))
        .first(conn)?;
    Ok(if recorded != check.as_bytes() {
        RecordKey::Contradicted
    } else if is_retired {
        RecordKey::Retired
    } else {
        RecordKey::AlreadyRecorded
    })
}

pub(crate) fn record_rotation(
    conn: &mut Conn,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<(), QueryError> {
    audit::record(
        conn,
        &NewRecord::of_nobody(AuditEvent::KeyRotated, now, origin),
    )
}

pub(crate) fn list(conn: &mut Conn) -> Result<Vec<(KeyId, KeyCheck)>, QueryError> {
    let wrong = |column| QueryError::Inconsistent {
        table: "keys",
        column,
    };
    let rows: Vec<(String, Vec<u8>)> = keys::table
        .filter(keys::retired_at.is_null())
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

/// Nothing may be protected with a key that is out of use: its file may be gone tomorrow. Asked
/// after a lock: until the end of the transaction the key stays in use.
pub(crate) fn check_usable(conn: &mut Conn, key: KeyId) -> Result<(), QueryError> {
    let retired = keys::table
        .find(key.to_string())
        .filter(keys::retired_at.is_not_null());
    match diesel::select(diesel::dsl::exists(retired)).get_result(conn)? {
        true => Err(QueryError::RetiredKey(key)),
        false => Ok(()),
    }
}

pub(crate) fn usage(conn: &mut Conn) -> Result<Vec<KeyUsage>, QueryError> {
    let rows: Vec<(String, i64, Option<i64>)> = keys::table
        .select((keys::id, keys::first_used_at, keys::retired_at))
        .order((keys::first_used_at, keys::id))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, first_used_at, retired_at)| {
            let (seeds, code_sets) = count_uses(conn, &id)?;
            let bound_sets = devices::table
                .filter(devices::code_key_id.eq(&id))
                .filter(devices::code_mac_key.is_null())
                .select(count_star())
                .first(conn)?;
            Ok(KeyUsage {
                id: id.parse().map_err(|_| QueryError::Inconsistent {
                    table: "keys",
                    column: "id",
                })?,
                first_used_at: instant::load(first_used_at, "keys", "first_used_at")?,
                retired_at: instant::load_optional(retired_at, "keys", "retired_at")?,
                seeds,
                code_sets,
                bound_sets,
            })
        })
        .collect()
}

fn count_uses(conn: &mut Conn, key: &str) -> Result<(i64, i64), QueryError> {
    let seeds = devices::table
        .filter(devices::seed_key_id.eq(key))
        .select(count_star())
        .first(conn)?;
    let code_sets = devices::table
        .filter(devices::code_key_id.eq(key))
        .select(count_star())
        .first(conn)?;
    Ok((seeds, code_sets))
}

pub(crate) fn retire(
    conn: &mut Conn,
    key: KeyId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<RetireKey, QueryError> {
    // A transaction that uses the key has committed before this check, or it finds the key retired.
    locks::everybody(conn)?;
    let id = key.to_string();
    let uses = devices::table.filter(
        devices::seed_key_id
            .eq(&id)
            .or(devices::code_key_id.eq(&id)),
    );
    let unused = keys::table
        .find(&id)
        .filter(keys::retired_at.is_null())
        .filter(not(exists(uses)));
    let retired = diesel::update(unused)
        .set(keys::retired_at.eq(instant::store(now)))
        .execute(conn)?;
    if retired == 1 {
        let record = NewRecord::of_nobody(AuditEvent::KeyRetired, now, origin);
        audit::record(conn, &record)?;
        return Ok(RetireKey::Retired);
    }
    let recorded: Option<bool> = keys::table
        .find(&id)
        .select(keys::retired_at.is_not_null())
        .first(conn)
        .optional()?;
    Ok(match recorded {
        None => RetireKey::NoSuchKey,
        Some(true) => RetireKey::AlreadyRetired,
        Some(false) => {
            let (seeds, code_sets) = count_uses(conn, &id)?;
            RetireKey::InUse { seeds, code_sets }
        }
    })
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = devices, check_for_backend(Db))]
struct SecretsRow {
    id: i64,
    user_id: i64,
    seed_key_id: Option<String>,
    seed: Option<Vec<u8>>,
    #[diesel(embed)]
    codes: CodeSetRow,
}

pub(crate) fn reseal_some(
    conn: &mut Conn,
    reseal: Reseal,
    keyring: &Keyring,
    random: &dyn Random,
) -> Result<Resealed, QueryError> {
    locks::keys(conn)?;
    let active = keyring.active().to_string();
    check_usable(conn, keyring.active())?;
    // In the order of ids, which no rotation changes: a later call goes on where this one ended.
    let rows: Vec<SecretsRow> = devices::table
        .filter(devices::id.gt(reseal.after.map_or(0, DeviceId::get)))
        .filter(devices::removed_at.is_null())
        .filter(
            devices::seed_key_id.ne(&active).or(devices::code_key_id
                .is_not_null()
                .and(devices::code_key_id.ne(&active))),
        )
        .order(devices::id)
        .limit(i64::from(reseal.limit))
        .select(SecretsRow::as_select())
        .load(conn)?;
    let mut resealed = Resealed {
        moved: 0,
        unreadable: Vec::new(),
        stuck: Vec::new(),
        next: None,
    };
    let is_full = rows.len() as u64 >= u64::from(reseal.limit);
    for row in rows {
        let device = DeviceId::from_stored(row.id).ok_or(QueryError::Inconsistent {
            table: "devices",
            column: "id",
        })?;
        match reseal_one(conn, row, device, &active, keyring, random)? {
            Moved::Whole => resealed.moved += 1,
            Moved::AllButCodes => resealed.stuck.push(device),
            Moved::Unreadable => resealed.unreadable.push(device),
        }
        resealed.next = is_full.then_some(device);
    }
    Ok(resealed)
}

enum Moved {
    Whole,
    AllButCodes,
    Unreadable,
}

fn reseal_one(
    conn: &mut Conn,
    row: SecretsRow,
    device: DeviceId,
    active: &str,
    keyring: &Keyring,
    random: &dyn Random,
) -> Result<Moved, QueryError> {
    let wrong = |column| QueryError::Inconsistent {
        table: "devices",
        column,
    };
    let user = UserId::from_stored(row.user_id).ok_or(wrong("user_id"))?;
    let (Some(key_id), Some(bytes)) = (row.seed_key_id, row.seed) else {
        return Err(wrong("seed"));
    };
    // Guarded by what was read: what another transaction has written meanwhile stays, and so does a
    // removal.
    let mut whole = true;
    if key_id != active {
        let old = SealedSeed {
            key_id: key_id.parse().map_err(|_| wrong("seed_key_id"))?,
            bytes,
        };
        let new = match old.reseal(keyring, user, device, random) {
            Ok(new) => new,
            Err(ResealError::Unreadable(_)) => return Ok(Moved::Unreadable),
            Err(ResealError::Entropy(_)) => return Err(QueryError::NoEntropy),
        };
        diesel::update(
            devices::table
                .find(row.id)
                .filter(devices::removed_at.is_null())
                .filter(devices::seed.eq(old.bytes)),
        )
        .set((
            devices::seed_key_id.eq(active),
            devices::seed.eq(new.bytes.as_slice()),
        ))
        .execute(conn)?;
    }
    let code_key_id = row.codes.code_key_id.clone();
    if code_key_id.as_ref().is_some_and(|id| id != active)
        && let Some(set) = row.codes.into_code_set()?
    {
        match set.reseal_key(keyring, user, device, random) {
            Ok(Some(new)) => {
                let same = devices::table
                    .find(row.id)
                    .filter(devices::removed_at.is_null())
                    .filter(devices::code_key_id.eq(&code_key_id))
                    .filter(devices::code_generation.eq(set.generation));
                diesel::update(same)
                    .set((
                        devices::code_key_id.eq(active),
                        devices::code_mac_key.eq(new.as_bytes().as_slice()),
                    ))
                    .execute(conn)?;
            }
            Ok(None) => whole = false,
            Err(ResealError::Unreadable(_)) => return Ok(Moved::Unreadable),
            Err(ResealError::Entropy(_)) => return Err(QueryError::NoEntropy),
        }
    }
    Ok(if whole {
        Moved::Whole
    } else {
        Moved::AllButCodes
    })
}
