//! Why a rule denies a request: the only list of reasons.
//!
//! The store's audit, the HTTP status and the error code each translate it by one exhaustive match.

use chrono::{DateTime, Utc};

/// Why a rule denies a request. The request changed nothing.
///
/// The text is for the user of the API: it names no value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The session has ended, or belongs to another user.
    #[error("the session ended while the request was under way")]
    SessionEnded,
    /// The session is not MFA-fresh, and the change requires that it is.
    #[error("verify a second factor with this session first")]
    MfaRequired,
    /// The user has no such device: it is unknown, removed, or another user's. The answer does not reveal which.
    #[error("the caller has no such device")]
    DeviceNotFound,
    /// The device was never confirmed.
    #[error("confirm the device first")]
    DeviceNotConfirmed,
    /// The device to confirm is confirmed already.
    #[error("the device is in use already")]
    DeviceAlreadyConfirmed,
    /// The pending device was not confirmed in time.
    #[error("the enrollment was not confirmed in time: start again")]
    EnrollmentExpired,
    /// The user has as many confirmed devices as the policy allows.
    #[error("the user has as many confirmed devices as are allowed: remove one first")]
    TooManyDevices,
    /// A rate limit of the user, the session or the client's address.
    #[error("too often: try again after the time in Retry-After")]
    RateLimited {
        /// When the next attempt is allowed.
        until: DateTime<Utc>,
    },
    /// Too many failures in a row lock all factors of the user for a while.
    #[error("too many failures in a row: try again after the time in Retry-After")]
    UserLocked {
        /// When the lock ends.
        until: DateTime<Utc>,
    },
    /// The factor is locked until another factor succeeds or an operator unlocks it.
    #[error("this factor is locked: use another one, or ask an operator to unlock it")]
    FactorLocked,
}
