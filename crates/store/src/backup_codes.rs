//! Replacing the backup codes of a device. Redeeming them is in `attempts`.

use arklow_domain::{Device, DeviceId, RateLimit, SealedCodes, SessionId, UserId};
use chrono::{DateTime, Utc};

#[cfg(doc)]
use crate::StoreError;
use crate::dispatch::dispatch;
use crate::{AuditOrigin, Judged, Store};

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

/// A new set of backup codes: it, and only it, is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedCodes {
    /// The device as it is now.
    pub device: Device,
    /// How many sets the device has had, this one included.
    pub generation: i64,
    /// The session's own value, unchanged: replacing codes proves no factor.
    pub session_mfa_not_after: DateTime<Utc>,
}

impl Store {
    /// Replaces the backup codes of a device and writes it into the audit, both or neither.
    ///
    /// One statement checks session, freshness and device and makes the change: nothing can come
    /// between. All former codes are dead the moment this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_backup_codes(&self, replace: ReplaceBackupCodes) -> Judged<ReplacedCodes> {
        dispatch!(self.write(backup_codes::replace_codes(&replace)))
    }
}
