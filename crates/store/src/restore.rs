//! Invalidating what a restored backup would revive.
//!
//! Each function is one transaction of bounded size, so that a database of any size can be processed
//! and running servers wait for one batch only. Every batch changes only what is not changed
//! yet: a run that stopped half way is run again from the beginning.

use arklow_domain::{DeviceId, SessionId, UserId};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, Store, StoreError};

/// What there is to look at after a backup was restored, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredRows {
    /// The users.
    pub users: u64,
    /// The sessions.
    pub sessions: u64,
    /// The devices.
    pub devices: u64,
    /// Whether an earlier run began and did not end.
    pub interrupted: bool,
}

/// Whether users and devices are held until an operator has looked at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Users and devices stay as the backup has them.
    Nothing,
    /// Every user is disabled and every device locked.
    Everything,
}

/// Some rows that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<Id> {
    /// How many of them were changed.
    pub changed: usize,
    /// The last one, if there may be more after it.
    pub next: Option<Id>,
}

/// Some devices that were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceBatch {
    /// How many sets of backup codes died.
    pub code_sets: usize,
    /// How many devices accept no TOTP code that was shown by now.
    pub devices: usize,
    /// How many devices were locked.
    pub locked: usize,
    /// The last device, if there may be more after it.
    pub next: Option<DeviceId>,
}

impl Store {
    /// Puts on record that a restored backup is about to be made safe, and counts the rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_restored(
        &self,
        hold: Hold,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<RestoredRows, StoreError> {
        dispatch!(self.write(restore::begin(hold, now, &origin)))
    }

    /// Disables the next `limit` users after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hold_users(
        &self,
        after: Option<UserId>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Batch<UserId>, StoreError> {
        dispatch!(self.write(restore::hold_users(after, limit, now)))
    }

    /// Revokes the next `limit` sessions after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_sessions(
        &self,
        after: Option<SessionId>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Batch<SessionId>, StoreError> {
        dispatch!(self.write(restore::end_sessions(after, limit, now)))
    }

    /// Uses up the backup codes and the TOTP codes shown by now of the next `limit` devices after
    /// `after`, and locks these devices if they are to be held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn invalidate_codes(
        &self,
        after: Option<DeviceId>,
        limit: u32,
        hold: Hold,
        now: DateTime<Utc>,
    ) -> Result<DeviceBatch, StoreError> {
        dispatch!(self.write(restore::invalidate_codes(after, limit, hold, now)))
    }

    /// Puts on record that all of it is done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_restored(
        &self,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<(), StoreError> {
        dispatch!(self.write(restore::end(now, &origin)))
    }
}
