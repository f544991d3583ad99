//! A pending device for the caller, with the secrets that make it one.

use arklow_api::server::PostV1SelfMfaEnrollStartRequest as Request;
use arklow_api::types::EnrollmentEnvelope;
use arklow_domain::{BackupCodes, Denial, DeviceId, DeviceName, Keyring, NoEntropy, Seed};
use arklow_store::{AskEnrollment, AuditEvent, NewDevice, StartEnrollment, StoreError};
use chrono::{DateTime, Utc};
use tracing::info;

use crate::app::App;
use crate::http::attempts;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::qr;
use crate::http::wire;

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
        device.id = %id,
        "the enrollment of device `{id}` was started"
    );
    Ok(wire::enrollment(&device, &uri, &picture, &codes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::testing::{Exhausted, TestApp, origin};

    #[tokio::test]
    async fn refused_enrollment_draws_nothing() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let token = app.db_session_without_mfa(&ada).await;
        let exhausted = app.with_random(Arc::new(Exhausted));
        let caller = app.caller_with(&token, origin()).await;
        let error = exhausted.start_enrollment(caller).await.unwrap_err();
        assert_eq!(error.kind(), (403, "MFA_REQUIRED"));
        for _ in 0..10 {
            let caller = app.caller(&ada).await;
            app.start_enrollment(caller).await.unwrap();
        }
        let caller = app.caller(&ada).await;
        let error = exhausted.start_enrollment(caller).await.unwrap_err();
        assert_eq!(error.retry_after, Some(3_600));
    }
}
