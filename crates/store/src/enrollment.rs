//! Enrolling: a pending device, with its secrets, that takes the place of an earlier one.
//! Confirming it is in `attempts`.

use arklow_domain::{Device, RateLimit, SealedCodes, SessionId};
use chrono::{DateTime, Utc};

use crate::ask::ask;
use crate::{AuditOrigin, NewDevice, Store, StoreError};

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
        ask!(self.write(enrollment::start_in(&start)))
    }
}
