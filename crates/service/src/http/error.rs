//! The errors of all operations, and the answer to each.

use arklow_api::server::{Failure, RequestError};
use arklow_api::types::ErrorCode;
use arklow_domain::{Denial, MalformedCode, MalformedTotpCode, NameError, NoEntropy};
use arklow_store::StoreError;
use chrono::{DateTime, TimeDelta, Utc};

use crate::http::qr::TooLong;
use crate::http::wire;
use crate::log;

/// `Retry-After` for a locked factor, which only another factor or an operator unlocks.
const FACTOR_RETRY: TimeDelta = TimeDelta::hours(1);

/// Why an operation failed. Nothing was changed, except perhaps after [`StoreError::Unknown`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperationError {
    #[error("/name: {0}")]
    Name(NameError),
    #[error(transparent)]
    MalformedTotpCode(#[from] MalformedTotpCode),
    #[error(transparent)]
    MalformedBackupCode(#[from] MalformedCode),
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error("the database is busy")]
    Busy,
    #[error("{}", match .0 {
        StoreError::Unknown(_) => "the database became unreachable: it is not known whether anything was changed",
        _ => "the database is not available: nothing was changed",
    })]
    Unavailable(#[source] StoreError),
    #[error("no random bytes available")]
    Entropy(#[from] NoEntropy),
    #[error("the URI does not fit into a QR code")]
    QrCode(#[from] TooLong),
    #[error("the database query failed")]
    Store(#[source] StoreError),
}

impl From<StoreError> for OperationError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::TooSlow => Self::Busy,
            StoreError::Unavailable(_) | StoreError::Unknown(_) => Self::Unavailable(error),
            StoreError::Inconsistent { .. }
            | StoreError::Unreadable(_)
            | StoreError::RetiredKey(_)
            | StoreError::NoEntropy(_)
            | StoreError::Database(_)
            | StoreError::Panicked
            | StoreError::Closed => Self::Store(error),
        }
    }
}

impl OperationError {
    /// The answer to this error.
    pub(crate) fn answer(&self, now: DateTime<Utc>) -> Failure {
        let declared = |code, retry_after| Failure::Declared {
            code,
            body: wire::operation_error(code, self),
            retry_after,
        };
        match self {
            Self::Name(_) => declared(ErrorCode::InvalidRequest, None),
            Self::MalformedTotpCode(_) | Self::MalformedBackupCode(_) => {
                declared(ErrorCode::MalformedCode, None)
            }
            // In the words for a request without a session: it is the same to the caller.
            Self::Denied(Denial::SessionEnded) => Failure::Request(RequestError::Unauthenticated),
            Self::Denied(denial) => {
                declared(code_of(*denial), wait_after(*denial, now).map(seconds))
            }
            Self::Busy => Failure::Request(RequestError::Unavailable { retry_after: None }),
            Self::Unavailable(cause) => {
                log::outage(cause);
                let wait = wire::RETRY_AFTER.as_secs().cast_signed();
                declared(ErrorCode::Unavailable, Some(wait))
            }
            Self::Entropy(_) | Self::QrCode(_) | Self::Store(_) => {
                log::failure(self);
                Failure::Request(RequestError::Internal)
            }
        }
    }
}

fn code_of(denial: Denial) -> ErrorCode {
    match denial {
        Denial::SessionEnded => ErrorCode::Unauthenticated,
        Denial::MfaRequired => ErrorCode::MfaRequired,
        Denial::DeviceNotFound => ErrorCode::DeviceNotFound,
        Denial::DeviceNotConfirmed => ErrorCode::DeviceNotConfirmed,
        Denial::DeviceAlreadyConfirmed => ErrorCode::DeviceAlreadyConfirmed,
        Denial::EnrollmentExpired => ErrorCode::EnrollmentExpired,
        Denial::TooManyDevices => ErrorCode::TooManyDevices,
        Denial::RateLimited { .. } => ErrorCode::RateLimited,
        Denial::UserLocked { .. } => ErrorCode::TooManyFailures,
        Denial::FactorLocked => ErrorCode::FactorLocked,
    }
}

/// The time until the next try, for the denials that end by themselves.
fn wait_after(denial: Denial, now: DateTime<Utc>) -> Option<TimeDelta> {
    match denial {
        Denial::RateLimited { until } | Denial::UserLocked { until } => Some(until - now),
        Denial::FactorLocked => Some(FACTOR_RETRY),
        Denial::SessionEnded
        | Denial::MfaRequired
        | Denial::DeviceNotFound
        | Denial::DeviceNotConfirmed
        | Denial::DeviceAlreadyConfirmed
        | Denial::EnrollmentExpired
        | Denial::TooManyDevices => None,
    }
}

/// Whole seconds after which it is over, at least one (RFC 9110 §10.2.3).
fn seconds(wait: TimeDelta) -> i64 {
    let rounded_up = wait.num_seconds() + i64::from(wait.subsec_nanos() > 0);
    rounded_up.max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn wait_is_rounded_up_to_whole_seconds() {
        for (milliseconds, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (900_000, 900)] {
            assert_eq!(seconds(TimeDelta::milliseconds(milliseconds)), expected);
        }
    }

    #[test]
    fn busy_database_is_answered_with_a_time_to_come_back() {
        let answer = OperationError::from(StoreError::Busy).answer(DateTime::UNIX_EPOCH);
        let unavailable = RequestError::Unavailable { retry_after: None };
        assert_eq!(answer, Failure::Request(unavailable));
    }

    #[test]
    fn database_that_is_away_is_answered_as_a_busy_one_and_says_what_is_known() {
        let cause = || Arc::new(std::io::Error::other("connection refused"));
        for (error, words) in [
            (StoreError::Unavailable(cause()), "nothing was changed"),
            (StoreError::Unknown(cause()), "not known"),
        ] {
            let answer = OperationError::from(error).answer(DateTime::UNIX_EPOCH);
            let Failure::Declared {
                code,
                body,
                retry_after,
            } = answer
            else {
                panic!("{answer:?}")
            };
            assert_eq!((code.status(), retry_after), (503, Some(1)));
            assert_eq!(body.errors[0].code, "UNAVAILABLE");
            assert!(!body.errors[0].message.contains("refused"));
            assert!(body.errors[0].message.contains(words));
        }
    }

    #[test]
    fn failing_store_is_answered_without_its_reason() {
        let answer = OperationError::from(StoreError::Closed).answer(DateTime::UNIX_EPOCH);
        assert_eq!(answer, Failure::Request(RequestError::Internal));
    }
}
