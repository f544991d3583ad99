//! A pending device becomes a second factor of the caller.

use arklow_api::server::PostV1SelfMfaEnrollConfirmRequest as Request;
use arklow_api::types::ConfirmEnrollmentEnvelope;
use arklow_store::{Attempt, Goal};
use tracing::info;

use crate::app::App;
use crate::http::attempts::{self, Kind};
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;

/// Confirms the device if the code is one of it, and makes the session MFA-fresh.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<ConfirmEnrollmentEnvelope, OperationError> {
    let body = request.body;
    let (goal, kind) = (Goal::Confirm, Kind::Totp);
    let outcome = attempts::present(app, caller, goal, &body.device_id, kind, &body.code).await?;
    if let Attempt::Accepted(accepted) = &outcome {
        let id = accepted.device.id;
        info!(
            device.id = %id,
            "device `{id}` was confirmed"
        );
    }
    Ok(wire::confirmation(&outcome))
}
