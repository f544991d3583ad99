//! Verifying a code of a device: to step up, to confirm the device, or to remove it.
//!
//! Every code goes through [`Store::verify_code`]. One transaction counts the attempt, checks the
//! code, uses it up and records the outcome. A wrong code runs the same statements as a used one.

use std::sync::Arc;

use arklow_domain::{
    BackupCode, Consequence, Device, DeviceId, Keyring, LockoutPolicy, SessionId, TotpCode,
    TotpWindow, UserId,
};
use chrono::{DateTime, TimeDelta, Utc};

use crate::dispatch::dispatch;
use crate::{AuditEvent, AuditOrigin, Judged, Store, StoreError};

/// A code as the caller presents it.
#[derive(Debug, Clone)]
pub enum PresentedCode {
    /// Of an authenticator app.
    Totp(TotpCode),
    /// Of a set of backup codes.
    BackupCode(BackupCode),
}

/// The purpose of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// To make the session MFA-fresh.
    StepUp,
    /// To make a pending device a factor, and the session MFA-fresh. With a TOTP code.
    Confirm,
    /// To remove the device.
    Remove,
}

/// The rules that attempts are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRules {
    /// Which steps a TOTP code may be of.
    pub window: TotpWindow,
    /// How long a session counts as MFA-verified after a success, unless it did for longer before.
    pub step_up: TimeDelta,
    /// What failures lead to.
    pub lockout: LockoutPolicy,
    /// How long a pending device can be confirmed.
    pub enrollment: TimeDelta,
    /// How many confirmed devices a user may have.
    pub max_devices: u32,
}

/// A code to verify, and the rules for it.
#[derive(Debug, Clone)]
pub struct VerifyCode {
    /// The user who presents it.
    pub user_id: UserId,
    /// The session of the request.
    pub session_id: SessionId,
    /// As a code of which device; `None` for something that cannot be one.
    pub device_id: Option<DeviceId>,
    /// The code.
    pub code: PresentedCode,
    /// What for.
    pub goal: Goal,
    /// By which rules.
    pub rules: AttemptRules,
    /// The time.
    pub now: DateTime<Utc>,
    /// Where the request came from, for the audit.
    pub origin: AuditOrigin,
}

impl VerifyCode {
    /// The audit event of the attempt.
    pub fn event(&self) -> AuditEvent {
        match (self.goal, &self.code) {
            (Goal::StepUp, PresentedCode::Totp(_)) => AuditEvent::TotpVerified,
            (Goal::StepUp, PresentedCode::BackupCode(_)) => AuditEvent::BackupCodeVerified,
            (Goal::Confirm, _) => AuditEvent::EnrollmentConfirmed,
            (Goal::Remove, _) => AuditEvent::DeviceRemoved,
        }
    }
}

/// The outcome for a code that no rule denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The code was right and is used up; what it was presented for is done.
    Accepted(Accepted),
    /// The code was not right. Callers do not learn why.
    Rejected {
        /// The device as it is.
        device: Device,
        /// Which locks this failure began.
        began: Consequence,
    },
}

impl Attempt {
    /// Whether the code was right.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The device as it is now.
    pub fn device(&self) -> &Device {
        match self {
            Self::Accepted(accepted) => &accepted.device,
            Self::Rejected { device, .. } => device,
        }
    }

    /// Until when the session counts as MFA-verified because of the code.
    pub fn session_mfa_not_after(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Accepted(accepted) => accepted.session_mfa_not_after,
            Self::Rejected { .. } => None,
        }
    }
}

/// What a right code has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The device as it is now.
    pub device: Device,
    /// Until when the session counts as MFA-verified now, no sooner than before; `None` if the code was for a removal.
    pub session_mfa_not_after: Option<DateTime<Utc>>,
    /// How many codes of the set are left; `None` unless one of them was presented to step up.
    pub backup_codes_remaining: Option<usize>,
    /// Whether the user has a confirmed device.
    pub two_factor_enabled: bool,
}

/// Attempts that were denied and counted, instead of written down one by one.
#[derive(Debug, Clone)]
pub struct DeniedAttempts {
    /// Whose account they were about.
    pub user_id: UserId,
    /// In which session; `None` if in several.
    pub session_id: Option<SessionId>,
    /// What was tried.
    pub event: AuditEvent,
    /// How many there were, at least one.
    pub attempts: i64,
    /// When the last one was.
    pub at: DateTime<Utc>,
    /// Where the last one came from.
    pub origin: AuditOrigin,
}

/// What [`Store::reset_step`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStep {
    /// The last step was ahead of the clock, and is not any more.
    Reset,
    /// The last step is not ahead of the clock.
    NotAhead,
    /// There is no such device, or it is removed.
    NoSuchDevice,
}

impl Store {
    /// Looks at a code, uses it up if it is right, and does what it was presented for; writes into
    /// the audit how it went. All of it or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; among them [`StoreError::Unreadable`] if what the code is compared with
    /// does not open: nothing is counted then, and nothing accepted.
    pub async fn verify_code(&self, verify: VerifyCode, keyring: Arc<Keyring>) -> Judged<Attempt> {
        dispatch!(self.write_code(attempts::verify_code(&verify, &keyring)))
    }

    /// Writes attempts that were denied and counted into the audit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_denied(&self, denied: Vec<DeniedAttempts>) -> Result<(), StoreError> {
        dispatch!(self.write(attempts::record_denied(&denied)))
    }

    /// Sets the last TOTP step of a device back to what an app may have shown by `now`, if a wrong
    /// clock moved it ahead; for an operator. Codes shown so far stay unusable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reset_step(
        &self,
        device: DeviceId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<ResetStep, StoreError> {
        dispatch!(self.write(attempts::reset_step(device, now, &origin)))
    }

    /// As [`Store::reset_step`], for up to `limit` devices whose step is ahead; returns how many
    /// there were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reset_steps(
        &self,
        limit: u32,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<usize, StoreError> {
        dispatch!(self.write(attempts::reset_steps(limit, now, &origin)))
    }
}
