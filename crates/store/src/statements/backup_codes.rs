//! Replacing the backup codes of a device by one guarded statement.

use arklow_domain::{CODES_PER_SET, Denial, DeviceId};
use diesel::dsl::{exists, not};
use diesel::prelude::*;

use super::devices::later_than_before;
use super::rows::DeviceRow;
use super::sessions::{find_live_session, live};
use super::{Conn, audit, keys, limits};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{devices, sessions};
use crate::{AuditEvent, ReplaceBackupCodes, ReplacedCodes, instant};

pub(crate) fn replace_codes(
    conn: &mut Conn,
    replace: &ReplaceBackupCodes,
) -> Result<Result<ReplacedCodes, Denial>, QueryError> {
    let session = find_live_session(conn, replace.session_id, replace.user_id, replace.now)?;
    let Some(session) = session else {
        return Ok(Err(Denial::SessionEnded));
    };
    let record = NewRecord {
        session_id: Some(replace.session_id),
        device_id: replace.device_id,
        ..NewRecord::of(
            replace.user_id,
            AuditEvent::BackupCodesRegenerated,
            replace.now,
            &replace.origin,
        )
    };
    // First: a session that is not fresh must not cause further statements.
    let Some(not_after) = session.mfa_not_after else {
        return audit::deny(conn, record, Denial::MfaRequired);
    };
    keys::check_usable(conn, replace.codes.key_id)?;
    let now = instant::store(replace.now);
    // Ids are positive, so zero matches no device.
    let device_id = replace.device_id.map_or(0, DeviceId::get);
    let session = live(replace.now)
        .filter(sessions::id.eq(replace.session_id.get()))
        .filter(sessions::user_id.eq(replace.user_id.get()));
    let fresh_session = session.filter(sessions::mfa_not_after.gt(now));
    let device = devices::table
        .find(device_id)
        .filter(devices::user_id.eq(replace.user_id.get()))
        .filter(devices::confirmed_at.is_not_null())
        .filter(devices::removed_at.is_null());

    let too_often = exists(limits::last_allowed(
        replace.user_id.get(),
        AuditEvent::BackupCodesRegenerated,
        replace.limit,
        replace.now,
    ));

    let update = diesel::update(device.filter(exists(fresh_session).and(not(too_often))))
        .set((
            devices::code_key_id.eq(replace.codes.key_id.to_string()),
            devices::code_mac_key.eq(replace.codes.mac_key.as_bytes().as_slice()),
            devices::code_macs.eq(replace.codes.macs.map(|mac| *mac.as_bytes()).concat()),
            devices::code_used.eq(0),
            devices::code_generation.eq(devices::code_generation + 1),
            devices::updated_at.eq(later_than_before(now)),
        ))
        .returning((DeviceRow::as_returning(), devices::code_generation));
    let replaced: Option<(DeviceRow, i64)> = prepared!(update).get_result(conn).optional()?;
    let Some((device, generation)) = replaced else {
        let denial = why_not_replaced(conn, replace)?;
        return audit::deny(conn, record, denial);
    };
    audit::record(
        conn,
        &NewRecord {
            generation: Some(generation),
            remaining: Some(CODES_PER_SET as i64),
            ..record
        },
    )?;
    Ok(Ok(ReplacedCodes {
        device: device.into_device()?,
        generation,
        session_mfa_not_after: not_after,
    }))
}

/// The guards of [`replace_codes`] behind freshness one by one, in the order in which a caller may
/// learn of them.
fn why_not_replaced(conn: &mut Conn, replace: &ReplaceBackupCodes) -> Result<Denial, QueryError> {
    let event = AuditEvent::BackupCodesRegenerated;
    let limited = limits::until(conn, replace.user_id, event, replace.limit, replace.now)?;
    if let Some(until) = limited {
        return Ok(Denial::RateLimited { until });
    }
    let confirmed: Option<bool> = devices::table
        .find(replace.device_id.map_or(0, DeviceId::get))
        .filter(devices::user_id.eq(replace.user_id.get()))
        .filter(devices::removed_at.is_null())
        .select(devices::confirmed_at.is_not_null())
        .first(conn)
        .optional()?;
    match confirmed {
        None => Ok(Denial::DeviceNotFound),
        Some(false) => Ok(Denial::DeviceNotConfirmed),
        // The statement before this one, in the same transaction, saw it otherwise.
        Some(true) => Err(QueryError::Inconsistent {
            table: "devices",
            column: "confirmed_at",
        }),
    }
}
