//! Replacing the backup codes of a device.  Redeeming them is in `attempts`.

use arklow_domain::{CODES_PER_SET, Device, DeviceId, RateLimit, SealedCodes, SessionId, UserId};
use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use crate::audit::{self, NewRecord};
use crate::devices::{DeviceRow, later_than_before};
use crate::error::Fault;
use crate::limits;
use crate::schema::{devices, sessions};
use crate::sessions::{find_standing, live};
use crate::{
    AuditEvent, AuditOrigin, AuditOutcome, AuditReason, Backend, Store, StoreError, instant, keys,
};

/// A set of backup codes to take the place of whatever a device has.
#[derive(Debug, Clone)]
pub struct ReplaceBackupCodes {
    /// Who wants it.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// For which device; `None` for something that cannot be one.
    pub device_id: Option<DeviceId>,
    /// The new set.
    pub codes: SealedCodes,
    /// How often a user may do so; `None` for any number of times.
    pub limit: Option<RateLimit>,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

/// What [`Store::replace_backup_codes`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaceOutcome {
    /// The new set, and only it, is valid.
    Replaced {
        /// The device as it is now.
        device: Device,
        /// How many sets the device has had, this one included.
        generation: i64,
        /// The session's own value, unchanged: replacing codes proves no factor.
        session_mfa_not_after: DateTime<Utc>,
    },
    /// The session is over or not the user's.
    SessionEnded,
    /// The user did so too often.
    RateLimited {
        /// When it may be done again.
        until: DateTime<Utc>,
    },
    /// The session lives, and the second factor was not shown in it or no longer counts.
    MfaNotFresh,
    /// No such device, another user's, or a removed one; which of them is not told.
    NoSuchDevice,
    /// The user's device, never confirmed.
    DeviceNotConfirmed,
}

impl Store {
    /// Replaces the backup codes of a device and writes it into the audit, both or neither.
    ///
    /// One statement checks session, freshness and device and makes the change: nothing can come
    /// between.  All former codes are dead the moment this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_backup_codes(
        &self,
        replace: ReplaceBackupCodes,
    ) -> Result<ReplaceOutcome, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| replace_codes(conn, &replace))
                    .await
            }
        }
    }
}

fn replace_codes(
    conn: &mut SqliteConnection,
    replace: &ReplaceBackupCodes,
) -> Result<ReplaceOutcome, Fault> {
    keys::check_usable(conn, replace.codes.key_id)?;
    let now = instant::store(replace.now);
    // Zero is nobody's: every id is positive.
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

    let replaced: Option<(DeviceRow, i64)> =
        diesel::update(device.filter(exists(fresh_session).and(not(too_often))))
            .set((
                devices::code_key_id.eq(replace.codes.key_id.to_string()),
                devices::code_mac_key.eq(replace.codes.mac_key.as_bytes().as_slice()),
                devices::code_macs.eq(replace.codes.macs.map(|mac| *mac.as_bytes()).concat()),
                devices::code_used.eq(0),
                devices::code_generation.eq(devices::code_generation + 1),
                devices::updated_at.eq(later_than_before(now)),
            ))
            .returning((DeviceRow::as_returning(), devices::code_generation))
            .get_result(conn)
            .optional()?;
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
    let Some((device, generation)) = replaced else {
        let (outcome, reason) = why_not_replaced(conn, replace)?;
        if let Some(reason) = reason {
            let outcome = AuditOutcome::Denied(reason);
            audit::record(conn, &NewRecord { outcome, ..record })?;
        }
        return Ok(outcome);
    };
    audit::record(
        conn,
        &NewRecord {
            generation: Some(generation),
            remaining: Some(CODES_PER_SET as i64),
            ..record
        },
    )?;
    let not_after: i64 = sessions::table
        .find(replace.session_id.get())
        .select(sessions::mfa_not_after.assume_not_null())
        .first(conn)?;
    Ok(ReplaceOutcome::Replaced {
        device: device.into_device()?,
        generation,
        session_mfa_not_after: instant::load(not_after, "sessions", "mfa_not_after")?,
    })
}

/// The guards of [`replace_codes`] one by one, in the order in which a caller may hear of them:
/// who has not shown a second factor does not learn which devices exist.
fn why_not_replaced(
    conn: &mut SqliteConnection,
    replace: &ReplaceBackupCodes,
) -> Result<(ReplaceOutcome, Option<AuditReason>), Fault> {
    let session = find_standing(conn, replace.session_id, replace.user_id, replace.now)?;
    let Some(session) = session else {
        // Nobody's attempt: the caller is not known any more.
        return Ok((ReplaceOutcome::SessionEnded, None));
    };
    let event = AuditEvent::BackupCodesRegenerated;
    let limited = limits::until(conn, replace.user_id, event, replace.limit, replace.now)?;
    if let Some(until) = limited {
        let outcome = ReplaceOutcome::RateLimited { until };
        return Ok((outcome, Some(AuditReason::RateLimited)));
    }
    if !session.is_fresh {
        let reason = AuditReason::MfaNotFresh;
        return Ok((ReplaceOutcome::MfaNotFresh, Some(reason)));
    }
    let confirmed: Option<bool> = devices::table
        .find(replace.device_id.map_or(0, DeviceId::get))
        .filter(devices::user_id.eq(replace.user_id.get()))
        .filter(devices::removed_at.is_null())
        .select(devices::confirmed_at.is_not_null())
        .first(conn)
        .optional()?;
    match confirmed {
        None => {
            let reason = AuditReason::NoSuchDevice;
            Ok((ReplaceOutcome::NoSuchDevice, Some(reason)))
        }
        Some(false) => {
            let reason = AuditReason::DeviceNotConfirmed;
            Ok((ReplaceOutcome::DeviceNotConfirmed, Some(reason)))
        }
        // The statement before this one, in the same transaction, saw it otherwise.
        Some(true) => Err(Fault::Inconsistent {
            table: "devices",
            column: "confirmed_at",
        }),
    }
}
