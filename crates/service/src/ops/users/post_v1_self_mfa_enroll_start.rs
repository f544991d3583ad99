//! A pending device for the caller, with the secrets that make it one.

use arklow_api::server::{
    PostV1SelfMfaEnrollStartAnswer as Answer, PostV1SelfMfaEnrollStartRequest as Request,
};
use arklow_api::types::EnrollmentEnvelope;
use arklow_domain::{BackupCodes, DeviceId, Keyring, NoEntropy, Seed};
use arklow_store::{NewDevice, StartEnrollment, StartOutcome, StoreError};
use tracing::info;

use crate::app::App;
use crate::auth::Caller;
use crate::qr;
use crate::refusal::{self, Refused};
use crate::wire;

/// How a refusal is answered.
pub(crate) fn refuse(refused: &Refused, caller: &Caller) -> Answer {
    let refusal = refused.answer(caller.origin());
    refusal::answer!(Answer, refusal, [400 => BadRequest, 403 => Forbidden, 409 => Conflict], TooManyRequests)
}

/// Enrols a pending device and gives its secrets, the only time that they are shown.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<EnrollmentEnvelope, Refused> {
    let now = app.clock.now();
    let name = request.body.name.parse().map_err(Refused::Name)?;
    let user_id = caller.user_id();
    let user = app.store.user(user_id).await?;
    let email = user.ok_or(Refused::SessionEnded)?.email;

    let random = app.random.as_ref();
    let id = DeviceId::random(random)?;
    let seed = Seed::random(random)?;
    let codes = BackupCodes::generate(random)?;
    let uri = seed.provisioning_uri(&app.policy.issuer, email.as_str());
    // Before the device exists: nothing may fail once it does.
    let picture = qr::data_uri(uri.expose())?;

    let start = |keyring: &Keyring| {
        Ok::<_, NoEntropy>(StartEnrollment {
            session_id: caller.session().id,
            device: NewDevice {
                id,
                user_id,
                name: Clone::clone(&name),
                seed: seed.seal(keyring, user_id, id, random)?,
                confirmed_at: None,
                now,
            },
            codes: codes.seal(keyring, user_id, id, random)?,
            limit: app.policy.enroll,
            max_devices: app.policy.rules.max_devices,
            origin: caller.audit_origin(),
        })
    };
    let asked = app.with_keys(|keyring| {
        let start = start(&keyring).map_err(StoreError::NoEntropy);
        async move { app.store.start_enrollment(start?).await }
    });
    match asked.await? {
        StartOutcome::Started(device) => {
            info!(
                req_id = caller.origin().request_id,
                device.id = %id,
                "the enrolment of device `{id}` was started"
            );
            Ok(wire::enrollment(&device, &uri, &picture, &codes))
        }
        StartOutcome::SessionEnded => Err(Refused::SessionEnded),
        StartOutcome::RateLimited { until } => Err(Refused::RateLimited { wait: until - now }),
        StartOutcome::MfaNotFresh => Err(Refused::MfaNotFresh),
        StartOutcome::TooManyDevices => Err(Refused::TooManyDevices),
    }
}
