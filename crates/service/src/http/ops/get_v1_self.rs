//! The user data of the caller.

use arklow_api::server::GetV1SelfAnswer as Answer;
use arklow_api::types::SelfEnvelope;
use arklow_domain::Denial;
use chrono::{DateTime, Utc};

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::error::{self, OperationError};
use crate::http::wire;

/// How an error is answered.
pub(crate) fn answer_error(error: &OperationError, caller: &Caller, now: DateTime<Utc>) -> Answer {
    error::answer!(Answer, error.answer(caller.origin(), now), [])
}

/// Reads the user and the memberships as they are stored.
pub(crate) async fn run(app: &App, caller: &Caller) -> Result<SelfEnvelope, OperationError> {
    let user = app.store.user(caller.user_id()).await?;
    // Users are disabled, not deleted; if one is gone all the same, so is the session.
    let user = user.ok_or(Denial::SessionEnded)?;
    let memberships = app.store.memberships(caller.user_id()).await?;
    Ok(wire::self_user(&user, memberships))
}
