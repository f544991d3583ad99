//! Devices: the second factors of a user.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::name::{self, NameError};
use crate::{DeviceId, UserId};

/// A TOTP authenticator of a user; its seed and its backup codes are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which device.
    pub id: DeviceId,
    /// Whose device.
    pub user_id: UserId,
    /// What its owner calls it.
    pub name: DeviceName,
    /// Where it stands.
    pub state: DeviceState,
    /// When a code of it last let its owner in.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When anything about it last changed; every change moves it forward.
    pub updated_at: DateTime<Utc>,
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// The enrollment is not confirmed yet.
    Pending,
    /// In use.
    Confirmed {
        /// Since when.
        at: DateTime<Utc>,
    },
    /// Gone for good.
    Removed {
        /// When it had been confirmed, if ever.
        confirmed_at: Option<DateTime<Utc>>,
        /// Since when it is gone.
        at: DateTime<Utc>,
    },
}

impl DeviceState {
    /// When the owner showed that the device works, also if it is gone since.
    pub fn confirmed_at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Pending => None,
            Self::Confirmed { at } => Some(at),
            Self::Removed { confirmed_at, .. } => confirmed_at,
        }
    }
}

/// What a device is called: 1 to 64 characters, not blank, no control characters, and no invisible
/// ones outside emoji and the scripts that need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName(String);

impl DeviceName {
    /// The greatest length, in characters.
    pub const MAX: usize = 64;

    /// A name from the database, or `None` if no version of this program stored it.
    pub fn from_stored(text: &str) -> Option<Self> {
        name::check_stored(text, Self::MAX).ok()?;
        Some(Self(text.to_owned()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with invisible and bidirectional formatting characters escaped, for a list that
    /// people read.
    pub fn reveal(&self) -> String {
        name::reveal(&self.0)
    }
}

impl FromStr for DeviceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        name::check(text, Self::MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_name_of_64_characters_is_the_longest() {
        assert!("é".repeat(64).parse::<DeviceName>().is_ok());
        assert_eq!(
            "é".repeat(65).parse::<DeviceName>(),
            Err(NameError::TooLong(64))
        );
    }

    #[test]
    fn removed_device_remembers_whether_it_was_confirmed() {
        let at = DateTime::UNIX_EPOCH;
        assert_eq!(DeviceState::Pending.confirmed_at(), None);
        assert_eq!(DeviceState::Confirmed { at }.confirmed_at(), Some(at));
        assert_eq!(
            DeviceState::Removed {
                confirmed_at: None,
                at
            }
            .confirmed_at(),
            None
        );
        let confirmed_at = Some(at);
        assert_eq!(
            DeviceState::Removed { confirmed_at, at }.confirmed_at(),
            Some(at)
        );
    }
}
