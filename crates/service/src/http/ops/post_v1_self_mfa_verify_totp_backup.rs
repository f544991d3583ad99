//! A step-up of the caller's session by a backup code, which is used up by it.

use arklow_api::server::PostV1SelfMfaVerifyTotpBackupRequest as Request;
use arklow_api::types::VerifyBackupCodeEnvelope;
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
) -> Result<VerifyBackupCodeEnvelope, OperationError> {
    let body = request.body;
    let (goal, kind) = (Goal::StepUp, Kind::BackupCode);
    let outcome = attempts::present(app, caller, goal, &body.device_id, kind, &body.code).await?;
    Ok(wire::backup_code_verification(body.device_id, &outcome))
}
