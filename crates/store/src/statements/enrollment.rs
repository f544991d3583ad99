//! Starting an enrollment.

use arklow_domain::{Denial, Device};
use diesel::prelude::*;

use super::devices::{ErasedColumns, count_confirmed, later_than_before};
use super::rows::DeviceRow;
use super::sessions::find_live_session;
use super::{Conn, audit, keys, limits};
use crate::audit::NewRecord;
use crate::devices::TOTP;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::devices;
use crate::{AskEnrollment, AuditEvent, StartEnrollment, instant};

pub(crate) fn start_in(
    conn: &mut Conn,
    start: &StartEnrollment,
) -> Result<Result<Device, Denial>, QueryError> {
    let StartEnrollment { ask, device, codes } = start;
    let now = instant::store(ask.now);
    if let Err(denial) = check(conn, ask)? {
        return Ok(Err(denial));
    }

    keys::check_usable(conn, device.seed.key_id)?;
    let pending = devices::table
        .filter(devices::user_id.eq(ask.user_id.get()))
        .filter(devices::confirmed_at.is_null())
        .filter(devices::removed_at.is_null());
    diesel::update(pending)
        .set((
            ErasedColumns::at(now),
            devices::updated_at.eq(later_than_before(now)),
        ))
        .execute(conn)?;
    let insert = diesel::insert_into(devices::table)
        .values((
            devices::id.eq(device.id.get()),
            devices::user_id.eq(ask.user_id.get()),
            devices::name.eq(device.name.as_str()),
            devices::device_type.eq(TOTP),
            devices::seed_key_id.eq(device.seed.key_id.to_string()),
            devices::seed.eq(device.seed.bytes.as_slice()),
            devices::code_key_id.eq(codes.key_id.to_string()),
            devices::code_mac_key.eq(codes.mac_key.as_bytes().as_slice()),
            devices::code_macs.eq(codes.macs.map(|mac| *mac.as_bytes()).concat()),
            devices::code_generation.eq(1),
            devices::created_at.eq(now),
            devices::updated_at.eq(now),
        ))
        .returning(DeviceRow::as_returning());
    let row: DeviceRow = prepared!(insert).get_result(conn)?;
    audit::record(
        conn,
        &NewRecord {
            device_id: Some(device.id),
            generation: Some(1),
            ..record_of(ask)
        },
    )?;
    Ok(Ok(row.into_device()?))
}

/// Checks the rules in the order in which a caller may learn of them, and records a denial.
pub(crate) fn check(
    conn: &mut Conn,
    ask: &AskEnrollment,
) -> Result<Result<(), Denial>, QueryError> {
    match why_not(conn, ask)? {
        None => Ok(Ok(())),
        Some(denial) => audit::deny(conn, record_of(ask), denial),
    }
}

fn why_not(conn: &mut Conn, ask: &AskEnrollment) -> Result<Option<Denial>, QueryError> {
    let Some(session) = find_live_session(conn, ask.session_id, ask.user_id, ask.now)? else {
        return Ok(Some(Denial::SessionEnded));
    };
    let confirmed = count_confirmed(conn, ask.user_id)?;
    if confirmed > 0 && session.mfa_not_after.is_none() {
        return Ok(Some(Denial::MfaRequired));
    }
    let event = AuditEvent::EnrollmentStarted;
    if let Some(until) = limits::until(conn, ask.user_id, event, ask.limit, ask.now)? {
        return Ok(Some(Denial::RateLimited { until }));
    }
    if confirmed >= i64::from(ask.max_devices) {
        return Ok(Some(Denial::TooManyDevices));
    }
    Ok(None)
}

fn record_of(ask: &AskEnrollment) -> NewRecord<'_> {
    let event = AuditEvent::EnrollmentStarted;
    NewRecord {
        session_id: Some(ask.session_id),
        ..NewRecord::of(ask.user_id, event, ask.now, &ask.origin)
    }
}
