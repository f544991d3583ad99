//! Replacing the backup codes of a device.  Redeeming them is in `attempts`.

use arklow_domain::{Device, DeviceId, RateLimit, SealedCodes, SessionId, UserId};
use chrono::{DateTime, Utc};

use crate::ask::ask;
use crate::{AuditOrigin, Store, StoreError};

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
        ask!(self.write(backup_codes::replace_codes(&replace)))
    }
}
