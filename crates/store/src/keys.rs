//! The ids of the root keys that the database was written with, how much data needs each of them, and
//! re-sealing that data with another key. Never a key itself.

use std::sync::Arc;

use arklow_domain::{DeviceId, KeyCheck, KeyId, Keyring, Random};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, Store, StoreError};

/// What [`Store::record_key`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKey {
    /// The key is on record now.
    Recorded,
    /// It was so before; the time of it stays.
    AlreadyRecorded,
    /// It is on record as one that is out of use.
    Retired,
    /// Another key is on record under this id: what it protects does not open with this one.
    Contradicted,
}

/// A key on record, and what needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    /// Which key.
    pub id: KeyId,
    /// Since when it was used.
    pub first_used_at: DateTime<Utc>,
    /// Since when it is out of use.
    pub retired_at: Option<DateTime<Utc>>,
    /// How many TOTP seeds open with it only.
    pub seeds: i64,
    /// How many sets of backup codes work with it only.
    pub code_sets: i64,
    /// How many of these sets are old, without their own MAC key, and cannot be re-sealed.
    pub bound_sets: i64,
}

impl KeyUsage {
    /// Up to how many devices a rotation can move away from the key.
    pub fn movable(&self) -> u64 {
        let sets = self.code_sets - self.bound_sets;
        u64::try_from(self.seeds.max(sets)).unwrap_or(0)
    }
}

/// Some devices whose secrets are to be protected with the active key.
#[derive(Debug, Clone, Copy)]
pub struct Reseal {
    /// Starts after this device; `None` starts from the beginning.
    pub after: Option<DeviceId>,
    /// So many at most.
    pub limit: u32,
}

/// What [`Store::reseal`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// How many devices are protected with the active key now that were not before.
    pub moved: usize,
    /// Devices whose secrets do not open, or not with these keys.
    pub unreadable: Vec<DeviceId>,
    /// Devices with an old set of backup codes, without its own MAC key: it cannot be re-sealed until
    /// its owner regenerates the codes.
    pub stuck: Vec<DeviceId>,
    /// Where to go on; `None` if there are no more.
    pub next: Option<DeviceId>,
}

/// What [`Store::retire_key`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetireKey {
    /// From now on nothing is protected with the key.
    Retired,
    /// It was so before; the time of it stays.
    AlreadyRetired,
    /// Something needs it.
    InUse {
        /// How many TOTP seeds.
        seeds: i64,
        /// How many sets of backup codes.
        code_sets: i64,
    },
    /// No such key is on record.
    NoSuchKey,
}

impl Store {
    /// The keys on record and what needs them, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_usage(&self) -> Result<Vec<KeyUsage>, StoreError> {
        dispatch!(self.read(keys::usage()))
    }

    /// Records that a key takes the place of others, by whom.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_rotation(
        &self,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<(), StoreError> {
        dispatch!(self.write(keys::record_rotation(now, &origin)))
    }

    /// Protects the secrets of some devices with the active key; servers may go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal(
        &self,
        reseal: Reseal,
        keyring: Arc<Keyring>,
        random: Arc<dyn Random>,
    ) -> Result<Resealed, StoreError> {
        dispatch!(self.write(keys::reseal_some(reseal, &keyring, random.as_ref())))
    }

    /// Takes a key out of use, unless something needs it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retire_key(
        &self,
        key: KeyId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<RetireKey, StoreError> {
        dispatch!(self.write(keys::retire(key, now, &origin)))
    }

    /// Records that the database is written with a key. `check` is
    /// [`RootKey::check`](arklow_domain::RootKey::check).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_key(
        &self,
        key: KeyId,
        check: KeyCheck,
        now: DateTime<Utc>,
    ) -> Result<RecordKey, StoreError> {
        dispatch!(self.write(keys::record(key, check, now)))
    }

    /// The keys on record that are in use, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recorded_keys(&self) -> Result<Vec<(KeyId, KeyCheck)>, StoreError> {
        dispatch!(self.read(keys::list()))
    }
}
