//! The generated trait, answered: a switchboard.  A line of logic here belongs in `ops`.

use std::sync::Arc;

use arklow_api::server::{
    Api, Credentials, Fault, Origin, PostV1SelfMfaRegenerateTotpAnswer,
    PostV1SelfMfaRegenerateTotpRequest,
};
use arklow_api::types::ErrorEnvelope;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::ops::users::post_v1_self_mfa_regenerate_totp;
use crate::wire;

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
    ) -> Result<Caller, Fault> {
        auth::authenticate(&self.app, origin, credentials).await
    }

    fn fault(&self, fault: &Fault) -> ErrorEnvelope {
        wire::envelope(fault)
    }

    async fn post_v1_self_mfa_regenerate_totp(
        &self,
        caller: Caller,
        request: PostV1SelfMfaRegenerateTotpRequest,
    ) -> PostV1SelfMfaRegenerateTotpAnswer {
        use post_v1_self_mfa_regenerate_totp::{refuse, run};

        match run(&self.app, &caller, request).await {
            Ok(envelope) => PostV1SelfMfaRegenerateTotpAnswer::Ok(envelope),
            Err(error) => refuse(&error, caller.origin()),
        }
    }
}
