//! Verifying a code, for every operation that takes one, and the in-memory limits of codes and changes.

use arklow_domain::{BackupCode, Denial, TotpCode};
use arklow_store::{Attempt, AuditEvent, Goal, PresentedCode, VerifyCode};
use chrono::{DateTime, SecondsFormat, Utc};
use tracing::warn;

use crate::app::App;
use crate::denials::Tried;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::record::{self, Limit};
use crate::metrics;

/// The kind of a code.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Totp,
    BackupCode,
}

/// Parses a code and verifies it for this device.
///
/// # Errors
/// [`OperationError`] if the code was not checked.
pub(crate) async fn present(
    app: &App,
    caller: &Caller,
    goal: Goal,
    device_id: &str,
    kind: Kind,
    code: &str,
) -> Result<Attempt, OperationError> {
    let now = app.clock.now();
    // Reserved before the code is checked, so that concurrent requests cannot exceed the limit.
    let reservation = app
        .addresses
        .reserve(caller.address(), now)
        .map_err(|wait| {
            record::limit(Limit::Address);
            Denial::RateLimited { until: now + wait }
        })?;
    // A malformed code is not an attempt: it counts against the address only.
    let code = match read(kind, code) {
        Ok(code) => code,
        Err(malformed) => {
            reservation.fail();
            return Err(malformed);
        }
    };

    let present = VerifyCode {
        user_id: caller.user_id(),
        session_id: caller.session().id,
        // Any digits are valid input; those that cannot be an id are the id of no device.
        device_id: device_id.parse().ok(),
        code,
        goal,
        rules: app.policy.rules,
        now,
        origin: caller.audit_origin(),
    };
    let attempt = async {
        let asked = app.with_keys(|keyring| app.store.verify_code(present.clone(), keyring));
        Ok(asked.await??)
    };
    let outcome = change(app, caller, present.event(), now, attempt).await?;
    metrics::checked(kind.as_str(), outcome.is_accepted());
    if let Attempt::Rejected { device, began } = &outcome {
        // Any other outcome returns the reservation: the code was right, or was not checked.
        reservation.fail();
        let id = device.id;
        warn!(device.id = %id, "wrong code for device `{id}`");
        if let Some(until) = began.locked_until {
            metrics::locked("user");
            let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
            warn!(until, "too many failures: the user is locked until {until}");
        }
        if began.factor_locked {
            metrics::locked("factor");
            warn!(device.id = %id, "too many failures: a factor of device `{id}` is locked");
        }
    }
    Ok(outcome)
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::BackupCode => "backup_code",
        }
    }
}

fn read(kind: Kind, code: &str) -> Result<PresentedCode, OperationError> {
    Ok(match kind {
        Kind::Totp => PresentedCode::Totp(TotpCode::parse(code)?),
        Kind::BackupCode => PresentedCode::BackupCode(BackupCode::parse(code)?),
    })
}

/// Makes a change, unless too many changes of its session were denied; counts the change if it is denied.
///
/// # Errors
/// [`Denial::RateLimited`] without running `work`, or the error of `work`.
pub(crate) async fn change<T>(
    app: &App,
    caller: &Caller,
    event: AuditEvent,
    now: DateTime<Utc>,
    work: impl Future<Output = Result<T, OperationError>>,
) -> Result<T, OperationError> {
    let tried = Tried {
        user: caller.user_id(),
        session: caller.session().id,
        event,
        origin: caller.audit_origin(),
    };
    let reservation = app.denials.reserve(tried, now);
    let reservation = reservation.map_err(|wait| {
        record::limit(Limit::Denied);
        Denial::RateLimited { until: now + wait }
    })?;
    let outcome = work.await;
    if let Err(OperationError::Denied(denial)) = &outcome
        && *denial != Denial::SessionEnded
    {
        if matches!(denial, Denial::RateLimited { .. }) {
            record::limit(Limit::User);
        }
        reservation.deny();
    }
    outcome
}
