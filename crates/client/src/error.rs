//! Why a call brought nothing, in one type for all operations.
//!
//! Keeps no body: what a broken answer holds may be codes.
#![warn(missing_docs)]

use std::fmt;
use std::time::Duration;

use arklow_api::types::{ApiError, ErrorEnvelope};
use progenitor_client::ResponseValue;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::transport::retry_after;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server said no, in the words of the contract.
    #[error(transparent)]
    Refused(Refusal),
    /// There was no connection, so the server never received the request.
    #[error("no connection to the server; the request was not sent")]
    NotSent(#[source] reqwest::Error),
    /// The request went out, and no complete answer came back.
    #[error("no answer came; whether anything was done is not known")]
    NoAnswer(#[source] reqwest::Error),
    /// What came back is not an answer of the contract; a proxy may have given it.
    #[error(transparent)]
    Unexpected(Unexpected),
    /// There was no token to send.
    #[error("no token: {0}")]
    Token(String),
    /// The request is not complete; only [`generated`](crate::generated) builders can be.
    #[error("the request is not complete: {0}")]
    Incomplete(String),
}

impl Error {
    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Unexpected(unexpected) => unexpected.status,
            _ => None,
        }
    }

    /// What went wrong, for programs; `None` if the server did not say.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code()),
            _ => None,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Unexpected(unexpected) => unexpected.retry_after,
            _ => None,
        }
    }

    /// Whether the server may have made the change although its result is unknown.
    ///
    /// Where this is `false` nothing was changed.
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status.is_server_error(),
            Self::NoAnswer(_) | Self::Unexpected(_) => true,
            Self::NotSent(_) | Self::Token(_) | Self::Incomplete(_) => false,
        }
    }
}

impl From<progenitor_client::Error<ErrorEnvelope>> for Error {
    fn from(error: progenitor_client::Error<ErrorEnvelope>) -> Self {
        use progenitor_client::Error as Sent;
        match error {
            Sent::ErrorResponse(answer) => Self::from_answer(answer),
            Sent::CommunicationError(error) if error.is_connect() || error.is_builder() => {
                Self::NotSent(error)
            }
            Sent::CommunicationError(error)
            | Sent::ResponseBodyError(error)
            | Sent::InvalidUpgrade(error) => Self::NoAnswer(error),
            Sent::InvalidResponsePayload(_, error) => {
                Self::Unexpected(Unexpected::unreadable(&error))
            }
            Sent::UnexpectedResponse(answer) => Self::Unexpected(Unexpected {
                status: Some(answer.status()),
                retry_after: retry_after(answer.headers()),
                what: format!("status {} is not documented", answer.status()),
            }),
            Sent::Custom(why) => Self::Token(why),
            Sent::InvalidRequest(what) => Self::Incomplete(what),
        }
    }
}

impl Error {
    fn from_answer(answer: ResponseValue<ErrorEnvelope>) -> Self {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let retry_after = retry_after(&headers);
        let errors = answer.into_inner().errors;
        if errors.is_empty() {
            return Self::Unexpected(Unexpected {
                status: Some(status),
                retry_after,
                what: format!("status {status} comes without a reason"),
            });
        }
        Self::Refused(Refusal {
            status,
            errors,
            retry_after,
            request_id: request_id(&headers),
        })
    }

    /// Of a success that has nothing in it.
    pub(crate) fn no_data(status: StatusCode) -> Self {
        Self::Unexpected(Unexpected {
            status: Some(status),
            retry_after: None,
            what: "a success comes without data".to_owned(),
        })
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-request-id")?;
    value.to_str().ok().map(str::to_owned)
}

/// An answer that says why not. Its `Display` holds status, code, message and request id.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: StatusCode,
    /// Never empty.
    errors: Vec<ApiError>,
    retry_after: Option<Duration>,
    request_id: Option<String>,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, for programs; of several errors the first.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::from(self.errors[0].code.as_str())
    }

    /// All errors, of which there is at least one: a body that breaks the schema has one for each violation.
    pub fn errors(&self) -> &[ApiError] {
        &self.errors
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What finds the request in the log of the server.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApiError { code, message } = &self.errors[0];
        write!(f, "{} {code}: {message}", self.status.as_u16())?;
        if let others @ 1.. = self.errors.len() - 1 {
            write!(f, " (and {others} more)")?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// An answer that is not of the contract, without its body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the answer is not one of the contract: {what}")]
pub struct Unexpected {
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    what: String,
}

impl Unexpected {
    /// The parser's message may quote the body, so the error has only the position and the kind.
    fn unreadable(error: &serde_json::Error) -> Self {
        let kind = if error.is_data() {
            "is of another shape"
        } else {
            "is not JSON"
        };
        Self {
            status: None,
            retry_after: None,
            what: format!(
                "its body {kind} at line {} column {}",
                error.line(),
                error.column()
            ),
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What went wrong, for programs. Codes may be added to the contract: treat one that you do not know by its status.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// One that is newer than this client.
            Other(String),
        }

        impl ErrorCode {
            /// All that this client knows.
            pub const KNOWN: &[Self] = &[$(Self::$name),*];

            /// As the contract writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for ErrorCode {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$name,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

// As `ApiError.code` of `openapi.yaml` lists them; a contract test compares.
codes! {
    /// 400: the request breaks the schema; one error for each violation.
    InvalidRequest = "INVALID_REQUEST",
    /// 400: no code looks like this; it counted as no attempt.
    MalformedCode = "MALFORMED_CODE",
    /// 401: there is no live session for the token.
    Unauthenticated = "UNAUTHENTICATED",
    /// 403: verify a second factor with this session first.
    MfaRequired = "MFA_REQUIRED",
    /// 404: the caller has no such device.
    DeviceNotFound = "DEVICE_NOT_FOUND",
    /// 405: the path has other methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// 408: the body did not arrive in time.
    RequestTimeout = "REQUEST_TIMEOUT",
    /// 409: the device was never confirmed.
    DeviceNotConfirmed = "DEVICE_NOT_CONFIRMED",
    /// 409: the device is in use already.
    DeviceAlreadyConfirmed = "DEVICE_ALREADY_CONFIRMED",
    /// 409: the enrollment was not confirmed in time.
    EnrollmentExpired = "ENROLLMENT_EXPIRED",
    /// 409: the user has as many confirmed devices as are allowed.
    TooManyDevices = "TOO_MANY_DEVICES",
    /// 413: the body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE",
    /// 415: the body is not declared as JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// 429: too often, for this user, in this session or from this address.
    RateLimited = "RATE_LIMITED",
    /// 429: too many failures in a row; the user's factors are locked for a while.
    TooManyFailures = "TOO_MANY_FAILURES",
    /// 429: this factor is locked until another one succeeds or an operator unlocks it.
    FactorLocked = "FACTOR_LOCKED",
    /// 500: a fault of the server.
    Internal = "INTERNAL",
    /// 503: the database is busy or away.
    Unavailable = "UNAVAILABLE",
    /// 503: the answer took too long; the change may or may not have been made.
    DeadlineExceeded = "DEADLINE_EXCEEDED",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for code in ErrorCode::KNOWN {
            assert_eq!(&ErrorCode::from(code.as_str()), code);
        }
        let newer = ErrorCode::from("NEWER_THAN_THIS");
        assert_eq!(newer, ErrorCode::Other("NEWER_THAN_THIS".to_owned()));
        assert_eq!(newer.to_string(), "NEWER_THAN_THIS");
    }
}
