//! Starting an enrolment.

use diesel::prelude::*;

use super::attempts::count_confirmed;
use super::devices::{DeviceRow, Wiped, later_than_before};
use super::sessions::find_standing;
use super::{Conn, audit, keys, limits};
use crate::audit::NewRecord;
use crate::devices::TOTP;
use crate::error::Fault;
use crate::fixed::fixed;
use crate::schema::devices;
use crate::{
    AuditEvent, AuditOutcome, AuditReason, NewDevice, StartEnrollment, StartOutcome, instant,
};

pub(crate) fn start_in(conn: &mut Conn, start: &StartEnrollment) -> Result<StartOutcome, Fault> {
    let StartEnrollment { device, codes, .. } = start;
    let now = instant::store(device.now);
    let record = NewRecord {
        session_id: Some(start.session_id),
        ..NewRecord::of(
            device.user_id,
            AuditEvent::EnrollmentStarted,
            device.now,
            &start.origin,
        )
    };
    if let Some((outcome, reason)) = why_not(conn, start)? {
        if let Some(reason) = reason {
            let outcome = AuditOutcome::Denied(reason);
            audit::record(conn, &NewRecord { outcome, ..record })?;
        }
        return Ok(outcome);
    }

    keys::check_usable(conn, device.seed.key_id)?;
    let pending = devices::table
        .filter(devices::user_id.eq(device.user_id.get()))
        .filter(devices::confirmed_at.is_null())
        .filter(devices::removed_at.is_null());
    diesel::update(pending)
        .set((
            Wiped::at(now),
            devices::updated_at.eq(later_than_before(now)),
        ))
        .execute(conn)?;
    let insert = diesel::insert_into(devices::table)
        .values((
            devices::id.eq(device.id.get()),
            devices::user_id.eq(device.user_id.get()),
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
    let row: DeviceRow = fixed!(insert).get_result(conn)?;
    audit::record(
        conn,
        &NewRecord {
            device_id: Some(device.id),
            generation: Some(1),
            ..record
        },
    )?;
    Ok(StartOutcome::Started(row.into_device()?))
}

/// What stands against it, in the order in which a caller may hear of it.
fn why_not(
    conn: &mut Conn,
    start: &StartEnrollment,
) -> Result<Option<(StartOutcome, Option<AuditReason>)>, Fault> {
    let NewDevice { user_id, now, .. } = start.device;
    let Some(session) = find_standing(conn, start.session_id, user_id, now)? else {
        // Nobody's attempt: the caller is not known any more.
        return Ok(Some((StartOutcome::SessionEnded, None)));
    };
    let event = AuditEvent::EnrollmentStarted;
    if let Some(until) = limits::until(conn, user_id, event, start.limit, now)? {
        let outcome = StartOutcome::RateLimited { until };
        return Ok(Some((outcome, Some(AuditReason::RateLimited))));
    }
    let confirmed = count_confirmed(conn, user_id)?;
    if confirmed > 0 && session.mfa_not_after.is_none() {
        let reason = AuditReason::MfaNotFresh;
        return Ok(Some((StartOutcome::MfaNotFresh, Some(reason))));
    }
    if confirmed >= i64::from(start.max_devices) {
        let reason = AuditReason::TooManyDevices;
        return Ok(Some((StartOutcome::TooManyDevices, Some(reason))));
    }
    Ok(None)
}
