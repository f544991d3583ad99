//! Starting an enrollment: a pending device with its secrets, which replaces an earlier pending one.
//! Confirming it is in `attempts`.

use arklow_domain::{Device, RateLimit, SealedCodes, SessionId, UserId};
use chrono::{DateTime, Utc};

#[cfg(doc)]
use crate::StoreError;
use crate::dispatch::dispatch;
use crate::{AuditOrigin, Judged, NewDevice, Store};

/// A request to enroll a device, and the rules for it.
#[derive(Debug, Clone)]
pub struct AskEnrollment {
    /// The user of the request.
    pub user_id: UserId,
    /// The session of the request.
    pub session_id: SessionId,
    /// How often a user may do so; `None` for any number of times.
    pub limit: Option<RateLimit>,
    /// How many confirmed devices a user may have.
    pub max_devices: u32,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

/// A device that a user begins to enroll.
#[derive(Debug, Clone)]
pub struct StartEnrollment {
    /// The user of the request.
    pub ask: AskEnrollment,
    /// The device of that user, not confirmed.
    pub device: NewDevice,
    /// Its backup codes, which work once it is confirmed.
    pub codes: SealedCodes,
}

impl Store {
    /// Checks whether the user may enroll a device, and records a denial in the audit.
    ///
    /// Callers check before they generate secrets, which is expensive; [`Store::start_enrollment`]
    /// checks again and decides.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check_enrollment(&self, ask: AskEnrollment) -> Judged<()> {
        dispatch!(self.write(enrollment::check(&ask)))
    }

    /// Enrolls a pending device in place of an earlier pending one, and writes it into the audit.
    ///
    /// # Errors
    /// [`StoreError`]; among others if the id was used before.
    pub async fn start_enrollment(&self, start: StartEnrollment) -> Judged<Device> {
        dispatch!(self.write(enrollment::start_in(&start)))
    }
}
