//! A pending device for the caller, with the secrets that make it one.

use arklow_api::server::{
    PostV1SelfMfaEnrollStartAnswer as Answer, PostV1SelfMfaEnrollStartRequest as Request,
};
use arklow_api::types::EnrollmentEnvelope;
use arklow_domain::{BackupCodes, Denial, DeviceId, DeviceName, Keyring, NoEntropy, Seed};
use arklow_store::{AskEnrollment, AuditEvent, NewDevice, StartEnrollment, StoreError};
use chrono::{DateTime, Utc};
use tracing::info;

use crate::app::App;
use crate::http::attempts;
use crate::http::auth::Caller;
use crate::http::error::{self, OperationError};
use crate::http::qr;
use crate::http::wire;

/// How an error is answered.
pub(crate) fn answer_error(error: &OperationError, caller: &Caller, now: DateTime<Utc>) -> Answer {
    let answer = error.answer(caller.origin(), now);
    error::answer!(Answer, answer, [400 => BadRequest, 403 => Forbidden, 409 => Conflict], TooManyRequests)
}

/// Enrolls a pending device and gives its secrets, the only time that they are shown.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<EnrollmentEnvelope, OperationError> {
    let now = app.clock.now();
    let name = request.body.name.parse().map_err(OperationError::Name)?;
    let event = AuditEvent::EnrollmentStarted;
    attempts::change(app, caller, event, now, start(app, caller, name, now)).await
}

async fn start(
    app: &App,
    caller: &Caller,
    name: DeviceName,
    now: DateTime<Utc>,
) -> Result<EnrollmentEnvelope, OperationError> {
    let user_id = caller.user_id();
    let ask = AskEnrollment {
        user_id,
        session_id: caller.session().id,
        limit: app.policy.enroll,
        max_devices: app.policy.rules.max_devices,
        now,
        origin: caller.audit_origin(),
    };
    // Before anything is drawn: codes and picture cost more than everything else.
    app.store.check_enrollment(ask.clone()).await??;
    let user = app.store.user(user_id).await?;
    let email = user.ok_or(Denial::SessionEnded)?.email;

    let random = app.random.as_ref();
    let id = DeviceId::random(random)?;
    let seed = Seed::random(random)?;
    let codes = BackupCodes::generate(random)?;
    let uri = seed.provisioning_uri(&app.policy.issuer, email.as_str());
    // Before the device exists: nothing may fail once it does.
    let picture = qr::data_uri(uri.expose())?;

    let start = |keyring: &Keyring| {
        Ok::<_, NoEntropy>(StartEnrollment {
            ask: ask.clone(),
            device: NewDevice {
                id,
                user_id,
                name: name.clone(),
                seed: seed.seal(keyring, user_id, id, random)?,
                confirmed_at: None,
                now,
            },
            codes: codes.seal(keyring, user_id, id, random)?,
        })
    };
    let asked = app.with_keys(|keyring| {
        let start = start(&keyring).map_err(StoreError::NoEntropy);
        async move { app.store.start_enrollment(start?).await }
    });
    let device = asked.await??;
    info!(
        req_id = caller.origin().request_id,
        device.id = %id,
        "the enrollment of device `{id}` was started"
    );
    Ok(wire::enrollment(&device, &uri, &picture, &codes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{Exhausted, TestApp, origin};

    #[tokio::test]
    async fn refused_enrollment_draws_nothing() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let token = app.db_session_without_mfa(&ada).await;
        let exhausted = app.with_random(Arc::new(Exhausted));
        let caller = app.caller_with(&token, origin()).await;
        let answer = exhausted.start_enrollment(caller).await;
        assert!(matches!(answer, Answer::Forbidden(_)), "{answer:?}");
        for _ in 0..10 {
            let answer = app.start_enrollment(app.caller(&ada).await).await;
            assert!(matches!(answer, Answer::Ok(_)), "{answer:?}");
        }
        let answer = exhausted.start_enrollment(app.caller(&ada).await).await;
        let Answer::TooManyRequests { retry_after, .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(retry_after, 3_600);
    }
}
