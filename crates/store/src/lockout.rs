//! Failures in a row, and the locks that follow: one counter per user for all factors.
//!
//! An attempt is paid for before its code is looked at, by the guarded statement that also takes
//! the user's row.  However many arrive at once, no more codes are looked at than the counter
//! allows; a right one gets its payment back.

use arklow_domain::UserId;
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, Store, StoreError};

/// What [`Store::unlock_user`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlockUser {
    /// Nothing of the user is locked now.
    Unlocked {
        /// Whether anything was.
        was_locked: bool,
        /// How many failures in a row there were.
        failures: i64,
    },
    /// There is no such user.
    NoSuchUser,
}

impl Store {
    /// Forgets a user's failures and opens all locks of their factors.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unlock_user(
        &self,
        user: UserId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<UnlockUser, StoreError> {
        dispatch!(self.write(lockout::unlock(user, now, &origin)))
    }
}
