//! Enrolling: a pending device, with its secrets, that takes the place of an earlier one.
//! Confirming it is in `attempts`.

use arklow_domain::{Device, RateLimit, SealedCodes, SessionId, UserId};
use chrono::{DateTime, Utc};

use crate::ask::ask;
use crate::{AuditOrigin, NewDevice, Store, StoreError};

/// Who wants to enroll a device, and what it depends on.
#[derive(Debug, Clone)]
pub struct AskEnrollment {
    /// Who wants to.
    pub user_id: UserId,
    /// In which session.
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
    /// Who wants to.
    pub ask: AskEnrollment,
    /// The device of that user, not confirmed.
    pub device: NewDevice,
    /// Its backup codes, which work once it is confirmed.
    pub codes: SealedCodes,
}

/// What [`Store::start_enrollment`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The device is pending, and the user has no other pending one.
    Started(Device),
    /// Nothing was enrolled.
    Refused(EnrollmentRefused),
}

/// Why a user may not enroll a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollmentRefused {
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
    /// Returns why the user may not enroll a device, which is then in the audit; `None` if the user
    /// may.  To be asked before secrets are drawn: [`Store::start_enrollment`] decides.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refuse_enrollment(
        &self,
        ask: AskEnrollment,
    ) -> Result<Option<EnrollmentRefused>, StoreError> {
        ask!(self.write(enrollment::refuse(&ask)))
    }

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
