//! Presenting a code, for whichever operation: the address bucket around it, and a newer key file
//! if the code needs one.

use std::sync::Arc;

use arklow_domain::{BackupCode, Device, DeviceId, TotpCode, UnreadableSecret};
use arklow_store::{Accepted, Attempt, Goal, PresentCode, PresentedCode, StoreError};
use chrono::{DateTime, Utc};
use tracing::{info, warn};

use crate::app::App;
use crate::auth::Caller;
use crate::refusal::Refused;

/// What came of a code that was looked at.
pub(crate) enum Outcome {
    /// It was right, and what it was presented for is done.
    Accepted(Accepted),
    /// It was not right; why is not told.
    Rejected(Device),
}

impl Outcome {
    /// Whether the code was right.
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }

    /// The device as it is now.
    pub(crate) fn device(&self) -> &Device {
        match self {
            Self::Accepted(accepted) => &accepted.device,
            Self::Rejected(device) => device,
        }
    }

    /// Until when the session counts as MFA-verified because of the code.
    pub(crate) fn session_mfa_not_after(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Accepted(accepted) => accepted.session_mfa_not_after,
            Self::Rejected(_) => None,
        }
    }
}

/// What a code is read as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Totp,
    BackupCode,
}

/// Reads a code and presents it as one of this device.
///
/// # Errors
/// [`Refused`] if nobody looked at it.
pub(crate) async fn present(
    app: &App,
    caller: &Caller,
    goal: Goal,
    device_id: &str,
    kind: Kind,
    code: &str,
) -> Result<Outcome, Refused> {
    let now = app.clock.now();
    // Taken before anything is looked at: many at once find no more places than there are.
    let place = app
        .addresses
        .reserve(caller.address(), now)
        .map_err(|wait| {
            info!(
                req_id = caller.origin().request_id,
                "too many failures from one address"
            );
            Refused::RateLimited { wait }
        })?;
    // What cannot be a code is no attempt, and costs only the place.
    let code = match kind {
        Kind::Totp => PresentedCode::Totp(TotpCode::parse(code)?),
        Kind::BackupCode => PresentedCode::BackupCode(BackupCode::parse(code)?),
    };

    let attempt = present_to_store(app, caller, goal, device_id.parse().ok(), code, now).await;
    match &attempt {
        Ok(Attempt::Rejected { .. }) => {}
        // Whoever was right, or was not heard, has not guessed.
        Ok(Attempt::Accepted(_) | Attempt::Denied(_)) | Err(_) => place.forgive(),
    }
    match attempt? {
        Attempt::Accepted(accepted) => Ok(Outcome::Accepted(accepted)),
        Attempt::Rejected { device } => {
            let id = device.id;
            warn!(
                req_id = caller.origin().request_id,
                device.id = %id,
                "wrong code for device `{id}`"
            );
            Ok(Outcome::Rejected(device))
        }
        Attempt::Denied(denied) => Err(Refused::denied(denied, now)),
    }
}

/// Presents the code; if it needs a key that came into the key file since it was read, once more
/// with that.
async fn present_to_store(
    app: &App,
    caller: &Caller,
    goal: Goal,
    // Any digits are valid input; those that cannot be an id are the id of no device.
    device_id: Option<DeviceId>,
    code: PresentedCode,
    now: DateTime<Utc>,
) -> Result<Attempt, StoreError> {
    let present = PresentCode {
        user_id: caller.user_id(),
        session_id: caller.session().id,
        device_id,
        code,
        goal,
        rules: app.policy.rules,
        now,
        origin: caller.audit_origin(),
    };
    let keyring = app.keys.current();
    let first = app
        .store
        .present_code(present.clone(), Arc::clone(&keyring));
    match first.await {
        Err(StoreError::Unreadable(UnreadableSecret::UnknownKey(_)))
            if app.keys.reload(&app.store, &keyring).await =>
        {
            app.store.present_code(present, app.keys.current()).await
        }
        outcome => outcome,
    }
}
