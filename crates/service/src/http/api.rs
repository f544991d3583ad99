//! Implements the generated trait by calling `ops`. Logic belongs there, not here.

use std::sync::Arc;

use arklow_api::server::{
    Api, Credentials, DeleteV1SelfMfaRemoveAnswer, DeleteV1SelfMfaRemoveRequest, GetV1SelfAnswer,
    GetV1SelfMfaAnswer, GetV1SelfMfaRequest, GetV1SelfRequest, Origin,
    PostV1SelfMfaEnrollConfirmAnswer, PostV1SelfMfaEnrollConfirmRequest,
    PostV1SelfMfaEnrollStartAnswer, PostV1SelfMfaEnrollStartRequest,
    PostV1SelfMfaRegenerateTotpAnswer, PostV1SelfMfaRegenerateTotpRequest,
    PostV1SelfMfaVerifyTotpAnswer, PostV1SelfMfaVerifyTotpBackupAnswer,
    PostV1SelfMfaVerifyTotpBackupRequest, PostV1SelfMfaVerifyTotpRequest, RequestError,
};
use arklow_api::types::ErrorEnvelope;

use crate::app::App;
use crate::http::auth::{self, Caller};
use crate::http::ops::{
    delete_v1_self_mfa_remove, get_v1_self, get_v1_self_mfa, post_v1_self_mfa_enroll_confirm,
    post_v1_self_mfa_enroll_start, post_v1_self_mfa_regenerate_totp, post_v1_self_mfa_verify_totp,
    post_v1_self_mfa_verify_totp_backup,
};
use crate::http::wire;

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

    async fn authenticate(
        &self,
        origin: Origin,
        credentials: Credentials,
    ) -> Result<Caller, RequestError> {
        auth::authenticate(&self.app, origin, credentials).await
    }

    fn fault(&self, fault: &RequestError) -> ErrorEnvelope {
        wire::envelope(fault)
    }

    async fn get_v1_self(&self, caller: Caller, _: GetV1SelfRequest) -> GetV1SelfAnswer {
        match get_v1_self::run(&self.app, &caller).await {
            Ok(envelope) => GetV1SelfAnswer::Ok(envelope),
            Err(error) => get_v1_self::answer_error(&error, &caller, self.app.clock.now()),
        }
    }

    async fn get_v1_self_mfa(
        &self,
        caller: Caller,
        request: GetV1SelfMfaRequest,
    ) -> GetV1SelfMfaAnswer {
        match get_v1_self_mfa::run(&self.app, &caller, request).await {
            Ok(envelope) => GetV1SelfMfaAnswer::Ok(envelope),
            Err(error) => get_v1_self_mfa::answer_error(&error, &caller, self.app.clock.now()),
        }
    }

    async fn post_v1_self_mfa_enroll_start(
        &self,
        caller: Caller,
        request: PostV1SelfMfaEnrollStartRequest,
    ) -> PostV1SelfMfaEnrollStartAnswer {
        match post_v1_self_mfa_enroll_start::run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaEnrollStartAnswer::Ok(envelope),
            Err(error) => {
                post_v1_self_mfa_enroll_start::answer_error(&error, &caller, self.app.clock.now())
            }
        }
    }

    async fn post_v1_self_mfa_enroll_confirm(
        &self,
        caller: Caller,
        request: PostV1SelfMfaEnrollConfirmRequest,
    ) -> PostV1SelfMfaEnrollConfirmAnswer {
        match post_v1_self_mfa_enroll_confirm::run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaEnrollConfirmAnswer::Ok(envelope),
            Err(error) => {
                post_v1_self_mfa_enroll_confirm::answer_error(&error, &caller, self.app.clock.now())
            }
        }
    }

    async fn post_v1_self_mfa_verify_totp(
        &self,
        caller: Caller,
        request: PostV1SelfMfaVerifyTotpRequest,
    ) -> PostV1SelfMfaVerifyTotpAnswer {
        match post_v1_self_mfa_verify_totp::run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaVerifyTotpAnswer::Ok(envelope),
            Err(error) => {
                post_v1_self_mfa_verify_totp::answer_error(&error, &caller, self.app.clock.now())
            }
        }
    }

    async fn post_v1_self_mfa_verify_totp_backup(
        &self,
        caller: Caller,
        request: PostV1SelfMfaVerifyTotpBackupRequest,
    ) -> PostV1SelfMfaVerifyTotpBackupAnswer {
        match post_v1_self_mfa_verify_totp_backup::run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaVerifyTotpBackupAnswer::Ok(envelope),
            Err(error) => post_v1_self_mfa_verify_totp_backup::answer_error(
                &error,
                &caller,
                self.app.clock.now(),
            ),
        }
    }

    async fn post_v1_self_mfa_regenerate_totp(
        &self,
        caller: Caller,
        request: PostV1SelfMfaRegenerateTotpRequest,
    ) -> PostV1SelfMfaRegenerateTotpAnswer {
        match post_v1_self_mfa_regenerate_totp::run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaRegenerateTotpAnswer::Ok(envelope),
            Err(error) => post_v1_self_mfa_regenerate_totp::answer_error(
                &error,
                &caller,
                self.app.clock.now(),
            ),
        }
    }

    async fn delete_v1_self_mfa_remove(
        &self,
        caller: Caller,
        request: DeleteV1SelfMfaRemoveRequest,
    ) -> DeleteV1SelfMfaRemoveAnswer {
        match delete_v1_self_mfa_remove::run(&self.app, &caller, request).await {
            Ok(envelope) => DeleteV1SelfMfaRemoveAnswer::Ok(envelope),
            Err(error) => {
                delete_v1_self_mfa_remove::answer_error(&error, &caller, self.app.clock.now())
            }
        }
    }
}
