//! The API of `arklow mock`: the contract, answered with its own examples.
//!
//! It stands behind the generated adapter as the server does, so the adapter checks token, media type, size, JSON and
//! schema in the same way. The mock checks nothing else and stores nothing.

mod contract;
mod prefer;
mod sample;

use std::error::Error;

use arklow_api::server::{Credentials, Failure, In, Origin, RequestError, Violation};
use arklow_api::types::{ErrorCode, ErrorEnvelope};
use arklow_api::unimplemented::{Operation, Unimplemented};
use arklow_domain::SessionToken;
use serde::Deserialize;
use serde_json::Value;

use self::contract::Contract;
use self::prefer::Preferences;
use crate::http::wire;

/// A token of the right form. The mock takes any.
pub(crate) const TOKEN: &str = "arks_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Answers every operation with an example.
pub(crate) struct Mock {
    contract: Contract,
}

impl Mock {
    /// A mock of the contract that the binary was built from.
    pub(crate) fn new() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let contract = Contract::read(arklow_api::CONTRACT)?;
        Ok(Self { contract })
    }
}

/// The answer to a valid request. It is chosen before the request is checked: an undocumented preference is the first
/// error to report.
pub(crate) struct Chosen {
    status: u16,
    answer: Value,
}

/// Why an operation does not succeed.
#[derive(Debug)]
pub(crate) enum NotSuccess {
    /// The error answer was chosen.
    Chosen(Value),
    Request(RequestError),
}

impl From<RequestError> for NotSuccess {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// An error answer of the contract: its body, or its body and `Retry-After`.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorAnswer {
    WithHeader {
        body: ErrorEnvelope,
        #[serde(rename = "retry-after")]
        retry_after: i64,
    },
    Plain(ErrorEnvelope),
}

impl ErrorAnswer {
    fn into_failure(self) -> Failure {
        let (body, retry_after) = match self {
            Self::WithHeader { body, retry_after } => (body, Some(retry_after)),
            Self::Plain(body) => (body, None),
        };
        let code = body
            .errors
            .first()
            .and_then(|error| ErrorCode::parse(&error.code));
        match code {
            Some(code) => Failure::Declared {
                code,
                body,
                retry_after,
            },
            None => Failure::Request(RequestError::Internal),
        }
    }
}

impl Unimplemented for Mock {
    type Caller = Chosen;
    type Error = NotSuccess;

    async fn authenticate(
        &self,
        origin: Origin,
        credentials: Credentials,
    ) -> Result<Chosen, RequestError> {
        let Credentials::ApiKey(secret) = credentials;
        SessionToken::parse(secret.expose()).ok_or(RequestError::Unauthenticated)?;
        let operation = self
            .contract
            .operation(&origin.operation)
            .ok_or(RequestError::Internal)?;
        let (status, example) = operation
            .choose(&Preferences::read(&origin.prefer))
            .map_err(|message| {
                RequestError::InvalidRequest(vec![Violation {
                    place: In::Header,
                    pointer: "/prefer".to_owned(),
                    message,
                    rule: "enum".to_owned(),
                }])
            })?;
        Ok(Chosen {
            status,
            answer: example.answer.clone(),
        })
    }

    fn request_error(&self, error: &RequestError) -> ErrorEnvelope {
        wire::envelope(error)
    }

    fn error(&self, error: NotSuccess, _: &Origin) -> Failure {
        match error {
            NotSuccess::Chosen(answer) => serde_json::from_value(answer).map_or(
                Failure::Request(RequestError::Internal),
                ErrorAnswer::into_failure,
            ),
            NotSuccess::Request(error) => Failure::Request(error),
        }
    }

    async fn fallback<O: Operation>(
        &self,
        chosen: Option<Chosen>,
        _: O::Request,
    ) -> Result<O::Success, NotSuccess> {
        let Chosen { status, answer } = chosen.ok_or(RequestError::NotImplemented)?;
        if status >= 400 {
            return Err(NotSuccess::Chosen(answer));
        }
        // A test reads every answer of the contract.
        Ok(serde_json::from_value(answer).map_err(|_| RequestError::Internal)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_token_is_well_formed() {
        assert!(SessionToken::parse(TOKEN).is_some());
    }
}
