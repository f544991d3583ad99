//! Implements the generated trait by calling `ops`. Logic belongs there, not here.

use std::sync::Arc;

use arklow_api::server::{self, Api, Credentials, Failure, Origin, RequestError};
use arklow_api::types::{self, ErrorEnvelope};

use crate::app::App;
use crate::http::auth::{self, Caller};
use crate::http::error::OperationError;
use crate::http::{ops, record, wire};

type Result<T, E = OperationError> = std::result::Result<T, E>;

/// Answers the operations of the contract.
pub(crate) struct Server {
    app: Arc<App>,
}

impl Server {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

impl Api for Server {
    type Caller = Caller;
    type Error = OperationError;

    async fn authenticate(
        &self,
        origin: Origin,
        credentials: Credentials,
    ) -> Result<Caller, RequestError> {
        auth::authenticate(&self.app, origin, credentials).await
    }

    fn request_error(&self, error: &RequestError) -> ErrorEnvelope {
        let envelope = wire::envelope(error);
        if let Some(error) = envelope.errors.first() {
            record::error_code(&error.code);
        }
        envelope
    }

    fn error(&self, error: OperationError, _: &Origin) -> Failure {
        let failure = error.answer(self.app.clock.now());
        if let Failure::Declared { code, .. } = &failure {
            record::error_code(code.as_str());
        }
        failure
    }

    async fn get_v1_self(
        &self,
        caller: Caller,
        _: server::GetV1SelfRequest,
    ) -> Result<types::SelfEnvelope> {
        ops::get_v1_self::run(&self.app, &caller).await
    }

    async fn get_v1_self_mfa(
        &self,
        caller: Caller,
        request: server::GetV1SelfMfaRequest,
    ) -> Result<types::MfaDeviceListEnvelope> {
        ops::get_v1_self_mfa::run(&self.app, &caller, request).await
    }

    async fn post_v1_self_mfa_enroll_start(
        &self,
        caller: Caller,
        request: server::PostV1SelfMfaEnrollStartRequest,
    ) -> Result<types::EnrollmentEnvelope> {
        ops::post_v1_self_mfa_enroll_start::run(&self.app, &caller, request).await
    }

    async fn post_v1_self_mfa_enroll_confirm(
        &self,
        caller: Caller,
        request: server::PostV1SelfMfaEnrollConfirmRequest,
    ) -> Result<types::ConfirmEnrollmentEnvelope> {
        ops::post_v1_self_mfa_enroll_confirm::run(&self.app, &caller, request).await
    }

    async fn post_v1_self_mfa_verify_totp(
        &self,
        caller: Caller,
        request: server::PostV1SelfMfaVerifyTotpRequest,
    ) -> Result<types::VerifyTotpEnvelope> {
        ops::post_v1_self_mfa_verify_totp::run(&self.app, &caller, request).await
    }

    async fn post_v1_self_mfa_verify_totp_backup(
        &self,
        caller: Caller,
        request: server::PostV1SelfMfaVerifyTotpBackupRequest,
    ) -> Result<types::VerifyBackupCodeEnvelope> {
        ops::post_v1_self_mfa_verify_totp_backup::run(&self.app, &caller, request).await
    }

    async fn post_v1_self_mfa_regenerate_totp(
        &self,
        caller: Caller,
        request: server::PostV1SelfMfaRegenerateTotpRequest,
    ) -> Result<types::RegenerateTotpEnvelope> {
        ops::post_v1_self_mfa_regenerate_totp::run(&self.app, &caller, request).await
    }

    async fn delete_v1_self_mfa_remove(
        &self,
        caller: Caller,
        request: server::DeleteV1SelfMfaRemoveRequest,
    ) -> Result<types::RemoveDeviceEnvelope> {
        ops::delete_v1_self_mfa_remove::run(&self.app, &caller, request).await
    }
}
