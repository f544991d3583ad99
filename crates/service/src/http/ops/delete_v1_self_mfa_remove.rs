//! A device of the caller goes, with its seed and its codes.

use arklow_api::server::DeleteV1SelfMfaRemoveRequest as Request;
use arklow_api::types::{RemoveDeviceEnvelope, VerificationType};
use arklow_store::{Attempt, Goal};
use tracing::info;

use crate::app::App;
use crate::http::attempts::{self, Kind};
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;

/// Removes the device if the code is one of it.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<RemoveDeviceEnvelope, OperationError> {
    let body = request.body;
    let kind = match body.verification_type {
        VerificationType::Totp => Kind::Totp,
        VerificationType::BackupCode => Kind::BackupCode,
    };
    let goal = Goal::Remove;
    let outcome = attempts::present(app, caller, goal, &body.device_id, kind, &body.code).await?;
    if let Attempt::Accepted(accepted) = &outcome {
        let id = accepted.device.id;
        info!(
            device.id = %id,
            "device `{id}` was removed"
        );
    }
    Ok(wire::removal(&outcome))
}
