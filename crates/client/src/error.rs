//! Why a call brought nothing, in one type for all operations.
//!
//! Keeps no body: what a broken answer holds may be codes.
#![warn(missing_docs)]

use std::fmt;
use std::time::Duration;

use arklow_api::types::{ApiError, ErrorCode, ErrorEnvelope};
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

    /// What went wrong, for programs; `None` if the server did not say, or in a code that is newer than this client.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => refusal.code(),
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

    /// What went wrong, for programs; of several errors the first. `None` for a code that is newer than this client, which
    /// is in [`errors`](Self::errors): treat it by its status.
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::parse(&self.errors[0].code)
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
