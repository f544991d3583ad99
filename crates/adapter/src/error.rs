//! Why a request is not answered by its operation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// Why a request never became an answer of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The credentials are missing, repeated, malformed or not accepted: 401.
    Unauthenticated,
    /// The request breaks the document's schemas: 400.
    InvalidRequest(Vec<Violation>),
    /// The body is not declared as JSON: 415.
    UnsupportedMediaType,
    /// The body is larger than this many bytes: 413.
    PayloadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body did not arrive in time: 408.
    RequestTimeout,
    /// The path has other methods only: 405.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: Arc<str>,
    },
    /// The implementation did not answer in time: 503.
    DeadlineExceeded,
    /// The implementation cannot answer now: 503.
    Unavailable {
        /// When to try again; `None` takes it from the settings.
        retry_after: Option<Duration>,
    },
    /// The implementation does not have the operation: 501.
    NotImplemented,
    /// The implementation answered with an error that its operation does not declare, which the log describes: 500.
    Undeclared(String),
    /// The implementation panicked or gave up: 500.
    Internal,
}

impl RequestError {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::DeadlineExceeded | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Undeclared(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::InvalidRequest(_) => "INVALID_REQUEST",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::PayloadTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::Undeclared(_) | Self::Internal => "INTERNAL",
        }
    }

    /// Sentences for people: one, or one for each violation. Never empty, and never a value of the request.
    pub fn messages(&self) -> Vec<String> {
        let one = match self {
            Self::InvalidRequest(violations) if !violations.is_empty() => {
                return violations.iter().map(ToString::to_string).collect();
            }
            Self::InvalidRequest(_) => "the request is not valid".to_owned(),
            Self::Unauthenticated => "send valid credentials, once".to_owned(),
            Self::UnsupportedMediaType => {
                "send the body as `content-type: application/json`".to_owned()
            }
            Self::PayloadTooLarge { limit } => format!("the body is larger than {limit} bytes"),
            Self::RequestTimeout => "the body did not arrive in time".to_owned(),
            Self::MethodNotAllowed { allow } => format!("this path allows {allow}"),
            Self::DeadlineExceeded => {
                "the answer took too long; the change may or may not have been made".to_owned()
            }
            Self::Unavailable { .. } => {
                "the service cannot answer now; nothing was changed".to_owned()
            }
            Self::NotImplemented => "this operation is not implemented".to_owned(),
            Self::Undeclared(_) | Self::Internal => {
                "internal error; the x-request-id header of this answer finds it in the log"
                    .to_owned()
            }
        };
        vec![one]
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum In {
    /// The body.
    Body,
    /// A variable of the path.
    Path,
    /// A query parameter.
    Query,
    /// A header.
    Header,
}

impl In {
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }

    pub(super) const ALL: [Self; 4] = [Self::Body, Self::Path, Self::Query, Self::Header];
}

/// One way in which a request breaks the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The part of the request.
    pub place: In,
    /// Where in that part, as a JSON Pointer (RFC 6901). One that is too long is cut and ends in `…`.
    pub pointer: String,
    /// What is wrong, without the value. A text that is too long is cut and ends in `…`.
    pub message: String,
    /// The keyword of JSON Schema that is broken, such as `minLength`; `json` for a body that is no JSON, `unique` for
    /// what is given more than once, and empty for the count of what is not listed.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place, self.pointer.as_str()) {
            (In::Body, "") => write!(f, "the body {}", self.message),
            (In::Body, pointer) => write!(f, "{pointer}: {}", self.message),
            (place, pointer) => write!(f, "{} {pointer}: {}", place.key(), self.message),
        }
    }
}
