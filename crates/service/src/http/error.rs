//! The errors of all operations, and the answer to each.

use arklow_api::server::{Origin, RequestError};
use arklow_api::types::ErrorEnvelope;
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
    pub(crate) fn answer(&self, origin: &Origin, now: DateTime<Utc>) -> ErrorAnswer {
        let answer = |status, code| ErrorAnswer::new(status, wire::operation_error(code, self));
        let fault =
            |fault: RequestError| ErrorAnswer::new(fault.status().as_u16(), wire::envelope(&fault));
        match self {
            Self::Name(_) => answer(400, "INVALID_REQUEST"),
            Self::MalformedTotpCode(_) | Self::MalformedBackupCode(_) => {
                answer(400, "MALFORMED_CODE")
            }
            Self::Denied(denial) => match *denial {
                Denial::SessionEnded => fault(RequestError::Unauthenticated),
                Denial::MfaRequired => answer(403, "MFA_REQUIRED"),
                Denial::DeviceNotFound => answer(404, "DEVICE_NOT_FOUND"),
                Denial::DeviceNotConfirmed => answer(409, "DEVICE_NOT_CONFIRMED"),
                Denial::DeviceAlreadyConfirmed => answer(409, "DEVICE_ALREADY_CONFIRMED"),
                Denial::EnrollmentExpired => answer(409, "ENROLLMENT_EXPIRED"),
                Denial::TooManyDevices => answer(409, "TOO_MANY_DEVICES"),
                Denial::RateLimited { until } => {
                    answer(429, "RATE_LIMITED").after(seconds(until - now))
                }
                Denial::UserLocked { until } => {
                    answer(429, "TOO_MANY_FAILURES").after(seconds(until - now))
                }
                Denial::FactorLocked => answer(429, "FACTOR_LOCKED").after(seconds(FACTOR_RETRY)),
            },
            Self::Busy => fault(RequestError::Unavailable { retry_after: None })
                .after(wire::RETRY_AFTER.as_secs().cast_signed()),
            Self::Unavailable(cause) => {
                log::outage(origin, cause);
                answer(503, "UNAVAILABLE").after(wire::RETRY_AFTER.as_secs().cast_signed())
            }
            Self::Entropy(_) | Self::QrCode(_) | Self::Store(_) => {
                log::failure(origin, self);
                fault(RequestError::Internal)
            }
        }
    }
}

/// Whole seconds after which it is over, at least one (RFC 9110 §10.2.3).
fn seconds(wait: TimeDelta) -> i64 {
    let rounded_up = wait.num_seconds() + i64::from(wait.subsec_nanos() > 0);
    rounded_up.max(1)
}

/// The answer to an error, before it is the answer of one operation.
#[derive(Debug)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: u16,
    pub(crate) body: ErrorEnvelope,
    /// `Retry-After` in seconds, for the statuses that have it.
    pub(crate) retry_after: i64,
}

impl ErrorAnswer {
    fn new(status: u16, body: ErrorEnvelope) -> Self {
        Self {
            status,
            body,
            retry_after: 0,
        }
    }

    fn after(self, retry_after: i64) -> Self {
        Self {
            retry_after,
            ..self
        }
    }
}

/// Converts an [`ErrorAnswer`] to the answer of an operation, which declares 401, 500, 503 and the
/// statuses listed here. Any other status is a defect.
macro_rules! answer {
    ($answer:ident, $error:expr, [$($status:literal => $variant:ident),*] $(, $limited:ident)?) => {{
        let $crate::http::error::ErrorAnswer {
            status,
            body,
            retry_after,
        } = $error;
        match status {
            $($status => $answer::$variant(body),)*
            $(429 => $answer::$limited { body, retry_after },)?
            401 => $answer::Unauthorized(body),
            500 => $answer::InternalServerError(body),
            503 => $answer::ServiceUnavailable { body, retry_after },
            _ => {
                tracing::error!(status, "the operation does not declare this status");
                let fault = arklow_api::server::RequestError::Internal;
                $answer::InternalServerError($crate::http::wire::envelope(&fault))
            }
        }
    }};
}
pub(crate) use answer;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::origin;

    #[test]
    fn wait_is_rounded_up_to_whole_seconds() {
        for (milliseconds, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (900_000, 900)] {
            assert_eq!(seconds(TimeDelta::milliseconds(milliseconds)), expected);
        }
    }

    #[test]
    fn busy_database_is_answered_with_a_time_to_come_back() {
        let answer = OperationError::from(StoreError::Busy).answer(&origin(), DateTime::UNIX_EPOCH);
        assert_eq!((answer.status, answer.retry_after), (503, 1));
        assert_eq!(answer.body.errors[0].code, "UNAVAILABLE");
    }

    #[test]
    fn database_that_is_away_is_answered_as_a_busy_one_and_says_what_is_known() {
        let cause = || Arc::new(std::io::Error::other("connection refused"));
        for (error, words) in [
            (StoreError::Unavailable(cause()), "nothing was changed"),
            (StoreError::Unknown(cause()), "not known"),
        ] {
            let answer = OperationError::from(error).answer(&origin(), DateTime::UNIX_EPOCH);
            assert_eq!((answer.status, answer.retry_after), (503, 1));
            assert_eq!(answer.body.errors[0].code, "UNAVAILABLE");
            assert!(!answer.body.errors[0].message.contains("refused"));
            assert!(answer.body.errors[0].message.contains(words));
        }
    }

    #[test]
    fn failing_store_is_answered_without_its_reason() {
        let answer =
            OperationError::from(StoreError::Closed).answer(&origin(), DateTime::UNIX_EPOCH);
        assert_eq!(answer.status, 500);
        assert_eq!(answer.body.errors[0].code, "INTERNAL");
        assert!(!answer.body.errors[0].message.contains("closed"));
    }
}
