//! Devices: rows of them, making, listing and removing them as an operator does.
//!
//! A set of backup codes is a value in the row of its device, so one `UPDATE` replaces it, and
//! every race between replacing, redeeming and whatever else happens to the row is decided there.

use arklow_domain::{CodeSet, Device, DeviceId, DeviceName, SealedSeed, UserId};
use chrono::{DateTime, TimeDelta, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, Store, StoreError};

/// The one type of device there is.
pub(crate) const TOTP: &str = "totp";

/// A device to be made by an operator.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// A newly drawn id.
    pub id: DeviceId,
    /// Whose device.
    pub user_id: UserId,
    /// What its owner calls it.
    pub name: DeviceName,
    /// Its seed, sealed for this user and device.
    pub seed: SealedSeed,
    /// When its owner showed that it works, if that is done.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The time.
    pub now: DateTime<Utc>,
}

/// What [`Store::create_device`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateDevice {
    /// The device was created.
    Created,
    /// There is no such user.
    NoSuchUser,
    /// The user is disabled.
    UserDisabled,
}

/// What [`Store::remove_device`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoveDevice {
    /// The device is gone, with its seed and codes.
    Removed {
        /// The device as it was last.
        device: Device,
        /// Whether its owner has another confirmed device.
        two_factor_enabled: bool,
    },
    /// It was removed before; the time of it stays.
    AlreadyRemoved,
    /// There is no such device.
    NoSuchDevice,
}

/// A page of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePage {
    /// The devices of the page, newest first.
    pub devices: Vec<Device>,
    /// How many there are on all pages.
    pub count: usize,
}

impl Store {
    /// Makes a device, unless the user may not have one.
    ///
    /// # Errors
    /// [`StoreError`]; among others if the id was used before.
    pub async fn create_device(
        &self,
        new: NewDevice,
        origin: AuditOrigin,
    ) -> Result<CreateDevice, StoreError> {
        dispatch!(self.write(devices::create(&new, &origin)))
    }

    /// The devices that a user has: neither removed nor an enrollment older than `enrollment`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn devices(
        &self,
        user: UserId,
        enrollment: TimeDelta,
        page: std::ops::Range<usize>,
        now: DateTime<Utc>,
    ) -> Result<DevicePage, StoreError> {
        dispatch!(self.read(devices::list_page(user, enrollment, page.clone(), now)))
    }

    /// All devices that a user ever had, removed ones too, newest first, for an operator; `None`
    /// if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_devices(
        &self,
        user: UserId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Option<Vec<Device>>, StoreError> {
        dispatch!(self.write(devices::list_all(user, now, &origin)))
    }

    /// Removes a device without a code of it, for an operator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_device(
        &self,
        device: DeviceId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<RemoveDevice, StoreError> {
        dispatch!(self.write(devices::remove(device, now, &origin)))
    }

    /// The backup codes of a user's device, unless it has none, is removed or another user's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backup_code_set(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> Result<Option<CodeSet>, StoreError> {
        dispatch!(self.read(devices::find_code_set(user, device)))
    }
}
