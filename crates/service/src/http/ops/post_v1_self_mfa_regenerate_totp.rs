//! Ten new backup codes for a device of the caller.

use arklow_api::server::PostV1SelfMfaRegenerateTotpRequest as Request;
use arklow_api::types::RegenerateTotpEnvelope;
use arklow_domain::{BackupCodes, DeviceId, Keyring, NoEntropy};
use arklow_store::{AuditEvent, ReplaceBackupCodes, ReplacedCodes, StoreError};
use chrono::{DateTime, Utc};
use tracing::info;

use crate::app::App;
use crate::http::attempts;
use crate::http::auth::Caller;
use crate::http::error::OperationError;
use crate::http::wire;
use crate::metrics;

/// Replaces the set of the device and gives the new one, the only time that it is shown.
pub(crate) async fn run(
    app: &App,
    caller: &Caller,
    request: Request,
) -> Result<RegenerateTotpEnvelope, OperationError> {
    let now = app.clock.now();
    let event = AuditEvent::BackupCodesRegenerated;
    attempts::change(app, caller, event, now, replace(app, caller, request, now)).await
}

async fn replace(
    app: &App,
    caller: &Caller,
    request: Request,
    now: DateTime<Utc>,
) -> Result<RegenerateTotpEnvelope, OperationError> {
    // Any digits are valid input; those that cannot be an id are the id of no device.
    let device_id: Option<DeviceId> = request.body.device_id.parse().ok();
    let random = app.random.as_ref();
    let codes = BackupCodes::generate(random)?;
    // For no device the codes are bound to any: they are never stored.
    let bound_to = match device_id {
        Some(device_id) => device_id,
        None => DeviceId::random(random)?,
    };

    let replace = |keyring: &Keyring| {
        Ok::<_, NoEntropy>(ReplaceBackupCodes {
            user_id: caller.user_id(),
            session_id: caller.session().id,
            device_id,
            codes: codes.seal(keyring, caller.user_id(), bound_to, random)?,
            limit: app.policy.regenerate,
            now,
            origin: caller.audit_origin(),
        })
    };
    let asked = app.with_keys(|keyring| {
        let replace = replace(&keyring).map_err(StoreError::NoEntropy);
        async move { app.store.replace_backup_codes(replace?).await }
    });
    let ReplacedCodes {
        device,
        generation,
        session_mfa_not_after,
    } = asked.await??;
    let id = device.id;
    metrics::regenerated();
    info!(
        device.id = %id,
        generation,
        "the backup codes of device `{id}` were replaced"
    );
    Ok(wire::regenerated(&device, &codes, session_mfa_not_after))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arklow_api::server::Origin;
    use arklow_api::types::RegenerateTotpResult;
    use arklow_domain::CODES_PER_SET;
    use arklow_store::{AuditEvent, AuditFilter, AuditOrigin};
    use chrono::TimeDelta;

    use crate::testing::{Ada, Answer, Exhausted, TestApp, origin};

    #[track_caller]
    fn assert_error(answer: &Answer<RegenerateTotpResult>, status: u16, code: &str) {
        let error = answer.as_ref().unwrap_err();
        assert_eq!(error.kind(), (status, code));
    }

    async fn regenerate(app: &TestApp, ada: &Ada) -> Answer<RegenerateTotpResult> {
        let device = ada.device_id.to_string();
        app.regenerate(app.caller(ada).await, &device).await
    }

    #[tokio::test]
    async fn answer_holds_the_device_ten_different_codes_and_the_sessions_own_time() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.clock.advance(TimeDelta::milliseconds(1_500));
        let result = regenerate(&app, &ada).await.unwrap();
        assert_eq!(result.device.id, ada.device_id.to_string());
        assert_eq!(result.device.user_id, ada.user_id.to_string());
        assert_eq!(result.device.updated_at, app.now());
        assert_eq!(result.session_mfa_not_after, ada.mfa_not_after);
        let codes: BTreeSet<&String> = result.backup_codes.iter().collect();
        assert_eq!(codes.len(), CODES_PER_SET);
    }

    #[tokio::test]
    async fn codes_of_the_last_answer_work_and_all_earlier_ones_are_dead() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let first = regenerate(&app, &ada).await.unwrap();
        let second = regenerate(&app, &ada).await.unwrap();
        for code in &first.backup_codes {
            assert!(!app.db_redeem(&ada, code).await);
        }
        for code in &second.backup_codes {
            assert!(app.db_redeem(&ada, code).await);
            assert!(!app.db_redeem(&ada, code).await);
        }
    }

    #[tokio::test]
    async fn audit_says_who_what_when_and_from_where() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let device = ada.device_id.to_string();
        let long = Origin {
            user_agent: Some("agent ".repeat(100)),
            ..origin()
        };
        let caller = app.caller_from(&ada, long.clone()).await;
        app.regenerate(caller, &device).await.unwrap();
        let filter = AuditFilter::default();
        let mut records = app.store().audit_records(filter).await.unwrap();
        records.retain(|record| record.event == AuditEvent::BackupCodesRegenerated);
        let [record] = records.as_slice() else {
            panic!("{records:?}")
        };
        assert_eq!(record.at, app.now());
        assert_eq!(record.user_id, Some(ada.user_id));
        assert_eq!(record.session_id, Some(ada.session_id));
        assert_eq!(record.device_id, Some(ada.device_id));
        assert_eq!(record.generation, Some(1));
        let AuditOrigin {
            actor: None,
            remote_address,
            user_agent,
            request_id,
        } = &record.origin
        else {
            panic!("{record:?}")
        };
        assert_eq!(*remote_address, Some(long.remote_address.ip()));
        assert_eq!(user_agent.as_deref().map(str::len), Some(256));
        assert_eq!(*request_id, Some(long.request_id));
    }

    #[tokio::test]
    async fn session_counts_as_fresh_until_its_time_and_not_at_it() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        app.clock
            .set(ada.mfa_not_after - TimeDelta::microseconds(1));
        regenerate(&app, &ada).await.unwrap();
        app.clock.set(ada.mfa_not_after);
        assert_error(&regenerate(&app, &ada).await, 403, "MFA_REQUIRED");
    }

    #[tokio::test]
    async fn session_without_second_factor_learns_nothing_about_devices() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let token = app.db_session_without_mfa(&ada).await;
        let own = ada.device_id.to_string();
        for device in [own.as_str(), "1", "99999999999999999999999"] {
            let caller = app.caller_with(&token, origin()).await;
            let answer = app.regenerate(caller, device).await;
            assert_error(&answer, 403, "MFA_REQUIRED");
        }
    }

    #[tokio::test]
    async fn every_device_that_the_caller_does_not_have_is_answered_alike() {
        let app = TestApp::start().await;
        let (ada, bob) = (app.db_ada().await, app.db_bob().await);
        let unknown = app.caller(&ada).await;
        let unknown = app.regenerate(unknown, "1").await;
        assert_error(&unknown, 404, "DEVICE_NOT_FOUND");
        let foreign = bob.device_id.to_string();
        let padded = format!("0{}", ada.device_id);
        for device in [
            &foreign,
            &padded,
            "0",
            "9223372036854775808",
            &"9".repeat(5_000),
        ] {
            let answer = app.regenerate(app.caller(&ada).await, device).await;
            assert_eq!(answer, unknown, "{device}");
        }
    }

    #[tokio::test]
    async fn own_device_that_was_never_confirmed_is_a_conflict() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let pending = app.db_unconfirmed_device(&ada).await.to_string();
        let answer = app.regenerate(app.caller(&ada).await, &pending).await;
        assert_error(&answer, 409, "DEVICE_NOT_CONFIRMED");
    }

    #[tokio::test]
    async fn session_that_ends_under_way_is_unauthenticated() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let caller = app.caller(&ada).await;
        app.db_revoke(&ada).await;
        let answer = app.regenerate(caller, &ada.device_id.to_string()).await;
        assert_error(&answer, 401, "UNAUTHENTICATED");
    }

    #[tokio::test]
    async fn failing_store_is_answered_without_its_reason() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let caller = app.caller(&ada).await;
        app.store().close().await;
        let answer = app.regenerate(caller, &ada.device_id.to_string()).await;
        assert_error(&answer, 500, "INTERNAL");
        assert!(!format!("{answer:?}").contains("closed"));
    }

    #[tokio::test]
    async fn without_entropy_the_former_codes_stay() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        let before = regenerate(&app, &ada).await.unwrap();
        let exhausted = app.with_random(Arc::new(Exhausted));
        let caller = app.caller(&ada).await;
        let device = ada.device_id.to_string();
        let answer = exhausted.regenerate(caller, &device).await;
        assert_error(&answer, 500, "INTERNAL");
        assert!(app.db_redeem(&ada, &before.backup_codes[9]).await);
    }

    #[tokio::test]
    async fn eleventh_time_in_an_hour_is_one_too_many_and_the_time_to_wait_is_told() {
        let app = TestApp::start().await;
        let ada = app.db_ada().await;
        for _ in 0..10 {
            app.clock.advance(TimeDelta::minutes(1));
            regenerate(&app, &ada).await.unwrap();
        }
        let error = regenerate(&app, &ada).await;
        assert_error(&error, 429, "RATE_LIMITED");
        // The first of the ten was nine minutes ago.
        assert_eq!(error.unwrap_err().retry_after, Some(51 * 60));
    }
}
