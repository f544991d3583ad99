//! The API of `arklow mock`: the contract, answered with its own examples.
//!
//! It stands behind the generated adapter as the server does, so the adapter checks token, media type, size, JSON and
//! schema in the same way. The mock checks nothing else and stores nothing.

mod contract;
mod prefer;
mod sample;

use std::error::Error;

use arklow_api::server::{
    Api, Credentials, DeleteV1SelfMfaRemoveAnswer, DeleteV1SelfMfaRemoveRequest, GetV1SelfAnswer,
    GetV1SelfMfaAnswer, GetV1SelfMfaRequest, GetV1SelfRequest, In, Origin,
    PostV1SelfMfaEnrollConfirmAnswer, PostV1SelfMfaEnrollConfirmRequest,
    PostV1SelfMfaEnrollStartAnswer, PostV1SelfMfaEnrollStartRequest,
    PostV1SelfMfaRegenerateTotpAnswer, PostV1SelfMfaRegenerateTotpRequest,
    PostV1SelfMfaVerifyTotpAnswer, PostV1SelfMfaVerifyTotpBackupAnswer,
    PostV1SelfMfaVerifyTotpBackupRequest, PostV1SelfMfaVerifyTotpRequest, RequestError, Violation,
};
use arklow_api::types::ErrorEnvelope;
use arklow_domain::SessionToken;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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

impl Chosen {
    /// As the type that the operation answers with.
    fn into_answer<A: DeserializeOwned>(self) -> A {
        let answer = json!({ self.status.to_string(): self.answer });
        serde_json::from_value(answer).expect("a test reads every answer of the contract")
    }
}

macro_rules! operations {
    ($($operation:ident($request:ident) -> $answer:ident,)*) => {
        $(async fn $operation(&self, chosen: Chosen, _: $request) -> $answer {
            chosen.into_answer()
        })*
    };
}

impl Api for Mock {
    type Caller = Chosen;

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

    fn fault(&self, fault: &RequestError) -> ErrorEnvelope {
        wire::envelope(fault)
    }

    operations! {
        get_v1_self(GetV1SelfRequest) -> GetV1SelfAnswer,
        get_v1_self_mfa(GetV1SelfMfaRequest) -> GetV1SelfMfaAnswer,
        post_v1_self_mfa_enroll_start(PostV1SelfMfaEnrollStartRequest)
            -> PostV1SelfMfaEnrollStartAnswer,
        post_v1_self_mfa_enroll_confirm(PostV1SelfMfaEnrollConfirmRequest)
            -> PostV1SelfMfaEnrollConfirmAnswer,
        post_v1_self_mfa_verify_totp(PostV1SelfMfaVerifyTotpRequest)
            -> PostV1SelfMfaVerifyTotpAnswer,
        post_v1_self_mfa_verify_totp_backup(PostV1SelfMfaVerifyTotpBackupRequest)
            -> PostV1SelfMfaVerifyTotpBackupAnswer,
        post_v1_self_mfa_regenerate_totp(PostV1SelfMfaRegenerateTotpRequest)
            -> PostV1SelfMfaRegenerateTotpAnswer,
        delete_v1_self_mfa_remove(DeleteV1SelfMfaRemoveRequest) -> DeleteV1SelfMfaRemoveAnswer,
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
