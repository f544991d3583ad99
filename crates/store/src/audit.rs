//! The audit: every attempt and change, with its actor, origin and outcome. Records are only added.
//!
//! A record is written in the same savepoint as its change, so neither exists without the other. The
//! same function writes the outbox row if the user must be notified. No code, seed, token or hash is
//! ever in it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use arklow_domain::{AuditId, Denial, DeviceId, SessionId, UserId, is_invisible};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{Store, StoreError};

/// The longest text from outside that is kept, in characters as they are kept.
const MAX_TEXT: usize = 256;

/// Where a change came from, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditOrigin {
    /// Who did it, if it was not the user: an operator. Kept like `user_agent`.
    pub actor: Option<String>,
    /// The address of the client.
    pub remote_address: Option<IpAddr>,
    /// What the client calls itself. Kept with control and invisible characters escaped, and cut at
    /// 256 characters.
    pub user_agent: Option<String>,
    /// The request, as the log names it. Kept like `user_agent`.
    pub request_id: Option<String>,
}

impl AuditOrigin {
    /// An operator with access to the database itself.
    pub fn operator(actor: impl Into<String>) -> Self {
        Self {
            actor: Some(actor.into()),
            ..Self::default()
        }
    }
}

/// A word that is not one of those on record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", .0.join(", "))]
pub struct UnknownWord(Vec<&'static str>);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word on record.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            pub(crate) fn from_stored(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let known = || Self::ALL.iter().map(|word| word.as_str()).collect();
                Self::from_stored(text).ok_or_else(|| UnknownWord(known()))
            }
        }
    };
}

words! {
    /// The kind of an attempt or change.
    AuditEvent {
        /// A pending device, with its secrets handed out.
        EnrollmentStarted = "mfa.totp.enroll_started",
        /// A pending device became a second factor.
        EnrollmentConfirmed = "mfa.totp.confirmed",
        /// A TOTP code presented to step up.
        TotpVerified = "mfa.verify.totp",
        /// A backup code presented to step up.
        BackupCodeVerified = "mfa.verify.backup_code",
        /// A new set of backup codes in place of whatever there was.
        BackupCodesRegenerated = "mfa.backup_codes.regenerated",
        /// A device removed, with its seed and codes.
        DeviceRemoved = "mfa.totp.removed",
        /// Too many failures in a row: all factors of the user are locked for a while.
        UserLocked = "mfa.user.locked",
        /// Far too many failures in a row: one factor is locked until it is unlocked.
        FactorLocked = "mfa.factor.locked",
        /// Locks and failures forgotten, after a success of another factor or by an operator.
        Unlocked = "mfa.factor.unlocked",
        /// An operator looked at a user's devices.
        DevicesListed = "mfa.admin.devices_listed",
        /// An operator looked at a user's sessions.
        SessionsListed = "mfa.admin.sessions_listed",
        /// An operator set back the TOTP step of a device, which a wrong clock had moved ahead.
        StepReset = "mfa.admin.step_reset",
        /// An operator created a user.
        UserCreated = "mfa.admin.user_created",
        /// An operator disabled a user.
        UserDisabled = "mfa.admin.user_disabled",
        /// An operator created a session.
        SessionCreated = "mfa.admin.session_created",
        /// An operator revoked a session.
        SessionRevoked = "mfa.admin.session_revoked",
        /// An operator created a device.
        DeviceCreated = "mfa.admin.device_created",
        /// A root key replaced another one. The record has no user.
        KeyRotated = "mfa.key.rotated",
        /// A root key was retired. The record has no user.
        KeyRetired = "mfa.key.retired",
        /// A user was enabled again.
        UserEnabled = "mfa.admin.user_enabled",
        /// An operator looked at a user.
        UserShown = "mfa.admin.user_shown",
        /// An operator looked at the list of users.
        UsersListed = "mfa.admin.users_listed",
        /// A backup was restored, and invalidating what it would revive began.
        RestoreStarted = "mfa.admin.restore_started",
        /// After a backup was restored, all users were disabled and all devices locked.
        UsersHeld = "mfa.admin.users_held",
        /// A backup was restored, and what it would revive was invalidated.
        Restored = "mfa.admin.restored",
        /// An operator made dead letters wait again; `attempts` is their number.
        MessagesRetried = "mfa.admin.messages_retried",
        /// An operator gave up messages that waited; `attempts` is their number.
        MessagesDiscarded = "mfa.admin.messages_discarded",
    }
}

impl AuditEvent {
    /// Whether the user must be notified of a success (NIST SP 800-63B-4 §4.6).
    pub(crate) fn concerns_the_user(self) -> bool {
        match self {
            Self::EnrollmentConfirmed
            | Self::BackupCodeVerified
            | Self::BackupCodesRegenerated
            | Self::DeviceRemoved
            // The operator has its seed, confirmed or not.
            | Self::DeviceCreated
            | Self::UserLocked
            | Self::FactorLocked => true,
            Self::EnrollmentStarted
            | Self::TotpVerified
            | Self::Unlocked
            | Self::DevicesListed
            | Self::SessionsListed
            | Self::StepReset
            // A sign-in creates a session; users and their state are the operator's to announce.
            | Self::UserCreated
            | Self::UserDisabled
            | Self::SessionCreated
            | Self::SessionRevoked
            | Self::KeyRotated
            | Self::KeyRetired
            | Self::UserEnabled
            | Self::UserShown
            | Self::UsersListed
            | Self::RestoreStarted
            | Self::UsersHeld
            | Self::Restored
            | Self::MessagesRetried
            | Self::MessagesDiscarded => false,
        }
    }
}

words! {
    /// The reason of a failure or a denial.
    AuditReason {
        /// A code that is of no set and no step.
        WrongCode = "wrong_code",
        /// A code that was right and is used up.
        UsedCode = "used_code",
        /// The user is locked for a while.
        Locked = "locked",
        /// The factor is locked until it is unlocked.
        FactorLocked = "factor_locked",
        /// Too often.
        RateLimited = "rate_limited",
        /// The session is not MFA-fresh.
        MfaNotFresh = "mfa_not_fresh",
        /// The user has no such device.
        NoSuchDevice = "no_such_device",
        /// The device was never confirmed.
        DeviceNotConfirmed = "device_not_confirmed",
        /// The device is in use already.
        DeviceAlreadyConfirmed = "device_already_confirmed",
        /// The enrollment was not confirmed in time.
        EnrollmentExpired = "enrollment_expired",
        /// As many devices as are allowed.
        TooManyDevices = "too_many_devices",
    }
}

impl AuditReason {
    /// The word on record for a denial; `None` for an ended session, whose user is not known any more.
    pub(crate) fn of(denial: Denial) -> Option<Self> {
        Some(match denial {
            Denial::SessionEnded => return None,
            Denial::MfaRequired => Self::MfaNotFresh,
            Denial::DeviceNotFound => Self::NoSuchDevice,
            Denial::DeviceNotConfirmed => Self::DeviceNotConfirmed,
            Denial::DeviceAlreadyConfirmed => Self::DeviceAlreadyConfirmed,
            Denial::EnrollmentExpired => Self::EnrollmentExpired,
            Denial::TooManyDevices => Self::TooManyDevices,
            Denial::RateLimited { .. } => Self::RateLimited,
            Denial::UserLocked { .. } => Self::Locked,
            Denial::FactorLocked => Self::FactorLocked,
        })
    }
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// The change was made.
    Success,
    /// A code was looked at and was not right.
    Failure(AuditReason),
    /// A rule denied the request before the code was checked.
    Denied(AuditReason),
}

impl AuditOutcome {
    /// The word on record: `success`, `failure` or `denied`.
    pub fn as_str(self) -> &'static str {
        self.kind().as_str()
    }

    /// Which kind of outcome it is.
    pub fn kind(self) -> OutcomeKind {
        match self {
            Self::Success => OutcomeKind::Success,
            Self::Failure(_) => OutcomeKind::Failure,
            Self::Denied(_) => OutcomeKind::Denied,
        }
    }

    /// Why it was not done.
    pub fn reason(self) -> Option<AuditReason> {
        match self {
            Self::Success => None,
            Self::Failure(reason) | Self::Denied(reason) => Some(reason),
        }
    }

    pub(crate) fn from_stored(outcome: &str, reason: Option<&str>) -> Option<Self> {
        let reason = reason.map(AuditReason::from_stored);
        match (outcome, reason) {
            ("success", None) => Some(Self::Success),
            ("failure", Some(Some(reason))) => Some(Self::Failure(reason)),
            ("denied", Some(Some(reason))) => Some(Self::Denied(reason)),
            _ => None,
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number; later records have greater ones.
    pub id: AuditId,
    /// When it was tried.
    pub at: DateTime<Utc>,
    /// The kind of an attempt or change.
    pub event: AuditEvent,
    /// The outcome of an attempt.
    pub outcome: AuditOutcome,
    /// Whose account it was about; `None` for a key.
    pub user_id: Option<UserId>,
    /// In which session it was tried.
    pub session_id: Option<SessionId>,
    /// The device, as the caller named it. After a denial it may be a device that the user does not have.
    pub device_id: Option<DeviceId>,
    /// The set of backup codes that was made or used.
    pub generation: Option<i64>,
    /// How many codes of the set were left.
    pub remaining: Option<i64>,
    /// How many attempts it stands for: one, unless denials were counted.
    pub attempts: i64,
    /// Where it came from; of several attempts, the last one.
    pub origin: AuditOrigin,
}

/// The kinds of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// [`AuditOutcome::Success`].
    Success,
    /// [`AuditOutcome::Failure`].
    Failure,
    /// [`AuditOutcome::Denied`].
    Denied,
}

impl OutcomeKind {
    /// The word on record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

/// The order of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// As they were written.
    #[default]
    OldestFirst,
    /// The other way.
    NewestFirst,
}

/// Selects records; the default selects all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only those of this user.
    pub user_id: Option<UserId>,
    /// Only those of this device.
    pub device_id: Option<DeviceId>,
    /// Only those of this kind of attempt or change.
    pub event: Option<AuditEvent>,
    /// Only those with such an outcome.
    pub outcome: Option<OutcomeKind>,
    /// Only those of this request.
    pub request_id: Option<String>,
    /// Only those from this address.
    pub address: Option<IpAddr>,
    /// Only those of this instant and later.
    pub since: Option<DateTime<Utc>>,
    /// Only those before this instant.
    pub until: Option<DateTime<Utc>>,
    /// In which order.
    pub order: AuditOrder,
    /// Only those that come after this one, in the order.
    pub after: Option<AuditId>,
    /// So many at most, the first ones of the order.
    pub limit: Option<u32>,
}

impl Store {
    /// The records that `filter` lets through, in its order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_records(&self, filter: AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        dispatch!(self.read(audit::list(&filter)))
    }

    /// The latest time that is on record, or `None` if nothing is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_record(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        dispatch!(self.read(audit::find_newest()))
    }
}

/// A record to be written.
#[derive(Clone, Copy)]
pub(crate) struct NewRecord<'a> {
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: AuditEvent,
    pub(crate) outcome: AuditOutcome,
    pub(crate) user_id: Option<UserId>,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) generation: Option<i64>,
    pub(crate) remaining: Option<i64>,
    pub(crate) attempts: i64,
    pub(crate) origin: &'a AuditOrigin,
}

impl<'a> NewRecord<'a> {
    /// A success of this user.
    pub(crate) fn of(
        user_id: UserId,
        event: AuditEvent,
        at: DateTime<Utc>,
        origin: &'a AuditOrigin,
    ) -> Self {
        Self {
            user_id: Some(user_id),
            ..Self::of_nobody(event, at, origin)
        }
    }

    /// A success that is about no user.
    pub(crate) fn of_nobody(event: AuditEvent, at: DateTime<Utc>, origin: &'a AuditOrigin) -> Self {
        Self {
            at,
            event,
            outcome: AuditOutcome::Success,
            user_id: None,
            session_id: None,
            device_id: None,
            generation: None,
            remaining: None,
            attempts: 1,
            origin,
        }
    }
}

/// Makes an untrusted text safe to print.
pub(crate) fn escape_and_truncate(text: &str) -> String {
    let mut kept = String::new();
    let mut room = MAX_TEXT;
    for c in text.chars() {
        let mut shown = String::new();
        if c.is_control() || is_invisible(c) {
            write!(shown, "{}", c.escape_default()).expect("writing to a string does not fail");
        } else {
            shown.push(c);
        }
        let Some(left) = room.checked_sub(shown.chars().count()) else {
            break;
        };
        room = left;
        kept.push_str(&shown);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut_between_characters() {
        assert_eq!(escape_and_truncate("curl/8.5 é"), "curl/8.5 é");
        assert_eq!(
            escape_and_truncate("a\r\nb\u{1b}[31m\0"),
            "a\\r\\nb\\u{1b}[31m\\u{0}"
        );
        assert_eq!(escape_and_truncate("ada\u{202e}ada"), "ada\\u{202e}ada");
        assert_eq!(escape_and_truncate(&"é".repeat(300)), "é".repeat(256));
        assert_eq!(
            escape_and_truncate(&format!("{}\n", "a".repeat(255))),
            "a".repeat(255)
        );
    }

    #[test]
    fn every_event_and_every_reason_has_a_name_of_its_own() {
        for event in AuditEvent::ALL {
            assert_eq!(AuditEvent::from_stored(event.as_str()), Some(*event));
        }
        for reason in AuditReason::ALL {
            assert_eq!(AuditReason::from_stored(reason.as_str()), Some(*reason));
        }
    }
}
