//! The devices of the caller.

use arklow_api::server::GetV1SelfMfaRequest as Request;
use arklow_api::types::MfaDeviceListEnvelope;

use crate::app::App;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;

/// Reads a page of the devices that the caller has.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<MfaDeviceListEnvelope, OperationError> {
    let now = app.clock.now();
    let query = request.query;
    let take = if query.count_only { 0 } else { query.take };
    // The contract allows no negative number; one that no list reaches is the end of it.
    let [skip, take] = [query.skip, take].map(|number| usize::try_from(number).unwrap_or(0));
    let page = skip..skip.saturating_add(take);

    let enrollment = app.policy.rules.enrollment;
    let devices = app.store.devices(caller.user_id(), enrollment, page, now);
    Ok(wire::device_list(&devices.await?))
}
