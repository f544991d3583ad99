//! How times, counts and results are written in messages.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339, UTC, as the API writes it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// How many of something, in words: `1 change`, `2 changes`.
pub(crate) fn count(count: impl Into<u64>, one: &str, many: &str) -> String {
    match count.into() {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Invalidated {
    pub(crate) sessions: u64,
    pub(crate) code_sets: u64,
    /// How many devices accept no TOTP code that was shown by now.
    pub(crate) devices: u64,
    pub(crate) users_disabled: u64,
    pub(crate) devices_locked: u64,
    pub(crate) devices_removed: u64,
}

impl fmt::Display for Invalidated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended, {} dead, {} for the next code",
            count(self.sessions, "session", "sessions"),
            count(
                self.code_sets,
                "set of backup codes is",
                "sets of backup codes are"
            ),
            count(self.devices, "device waits", "devices wait"),
        )?;
        for (changed, one, many) in [
            (self.users_disabled, "user disabled", "users disabled"),
            (self.devices_locked, "device locked", "devices locked"),
            (self.devices_removed, "device removed", "devices removed"),
        ] {
            if changed > 0 {
                write!(f, ", {}", count(changed, one, many))?;
            }
        }
        Ok(())
    }
}
