//! The user data of the caller.

use arklow_api::types::SelfEnvelope;
use arklow_domain::Denial;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;

/// Reads the user and the memberships as they are stored.
pub(crate) async fn run(app: &App, caller: &Caller) -> Result<SelfEnvelope, OperationError> {
    let user = app.store.user(caller.user_id()).await?;
    // Users are disabled, not deleted; if one is gone all the same, so is the session.
    let user = user.ok_or(Denial::SessionEnded)?;
    let memberships = app.store.memberships(caller.user_id()).await?;
    Ok(wire::self_user(&user, memberships))
}
