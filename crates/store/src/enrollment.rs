//! Enrolling: a pending device, with its secrets, that takes the place of an earlier one.
//! Confirming it is in `attempts`.

use arklow_domain::{Device, RateLimit, SealedCodes, SessionId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::attempts::count_confirmed;
use crate::audit::{self, NewRecord};
use crate::devices::{DeviceRow, TOTP, Wiped, later_than_before};
use crate::error::Fault;
use crate::limits;
use crate::schema::devices;
use crate::sessions::find_standing;
use crate::{
    AuditEvent, AuditOrigin, AuditOutcome, AuditReason, Backend, NewDevice, Store, StoreError,
    instant, keys,
};

/// A device that somebody begins to enrol.
#[derive(Debug, Clone)]
pub struct StartEnrollment {
    /// In which session.
    pub session_id: SessionId,
    /// The device, not confirmed; whose it is and the time are in it.
    pub device: NewDevice,
    /// Its backup codes, which work once it is confirmed.
    pub codes: SealedCodes,
    /// How often a user may do so; `None` for any number of times.
    pub limit: Option<RateLimit>,
    /// How many confirmed devices a user may have.
    pub max_devices: u32,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

/// What [`Store::start_enrollment`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The device is pending, and the user has no other pending one.
    Started(Device),
    /// The session is over or not the user's.
    SessionEnded,
    /// The user did so too often.
    RateLimited {
        /// When it may be done again.
        until: DateTime<Utc>,
    },
    /// The user has a confirmed device, and the session is not MFA-fresh.
    MfaNotFresh,
    /// The user has as many confirmed devices as are allowed.
    TooManyDevices,
}

impl Store {
    /// Enrols a pending device in place of an earlier pending one, and writes it into the audit.
    ///
    /// # Errors
    /// [`StoreError`]; among others if the id was used before.
    pub async fn start_enrollment(
        &self,
        start: StartEnrollment,
    ) -> Result<StartOutcome, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| start_in(conn, &start)).await,
        }
    }
}

fn start_in(conn: &mut SqliteConnection, start: &StartEnrollment) -> Result<StartOutcome, Fault> {
    let StartEnrollment { device, codes, .. } = start;
    keys::check_usable(conn, device.seed.key_id)?;
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
    let row: DeviceRow = diesel::insert_into(devices::table)
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
        .returning(DeviceRow::as_returning())
        .get_result(conn)?;
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
    conn: &mut SqliteConnection,
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
    if confirmed > 0 && !session.is_fresh {
        let reason = AuditReason::MfaNotFresh;
        return Ok(Some((StartOutcome::MfaNotFresh, Some(reason))));
    }
    if confirmed >= i64::from(start.max_devices) {
        let reason = AuditReason::TooManyDevices;
        return Ok(Some((StartOutcome::TooManyDevices, Some(reason))));
    }
    Ok(None)
}
