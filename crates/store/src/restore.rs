//! After a backup was restored: what it would bring back to life.

use chrono::{DateTime, Utc};

use crate::ask::ask;
use crate::{AuditOrigin, Store, StoreError};

/// What [`Store::kill_what_was_restored`] has killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// How many sessions.
    pub sessions: usize,
    /// How many sets of backup codes.
    pub code_sets: usize,
    /// How many devices take no TOTP code that was shown by now.
    pub devices: usize,
}

impl Store {
    /// Ends everything of which a backup cannot know whether it was used up or ended since: all
    /// sessions, all backup codes, and the TOTP codes that were shown by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn kill_what_was_restored(
        &self,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Killed, StoreError> {
        ask!(self.write(restore::kill(now, &origin)))
    }
}
