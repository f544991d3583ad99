//! A step-up of the caller's session by a TOTP code.

use arklow_api::server::PostV1SelfMfaVerifyTotpRequest as Request;
use arklow_api::types::VerifyTotpEnvelope;
use arklow_store::Goal;

use crate::app::App;
use crate::http::attempts::{self, Kind};
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;

/// Uses the code up if it is right, and makes the session MFA-fresh.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<VerifyTotpEnvelope, OperationError> {
    let body = request.body;
    let (goal, kind) = (Goal::StepUp, Kind::Totp);
    let outcome = attempts::present(app, caller, goal, &body.device_id, kind, &body.code).await?;
    Ok(wire::totp_verification(body.device_id, &outcome))
}
