//! Step-ups and sessions that reach further than they may.

use arklow_client::types::VerificationType;
use arklow_store::AuditEvent;

use crate::harness::{Home, NO_LIMITS};

use super::*;

#[tokio::test]
async fn t12_nobody_reaches_a_device_of_somebody_else() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let second = home.device(&ada.user, true);
    let pending = home.device(&ada.user, false);
    let removed = home.device(&ada.user, true);
    home.run(&["device", "remove", &removed]);
    let before = rows(&home);
    for device in [&ada.device, &second, &pending, &removed] {
        for operation in WITH_DEVICE {
            let answer = send(&server, operation, &eve.token, &body(operation, device)).await;
            answer.assert(404, "DEVICE_NOT_FOUND");
        }
    }
    let listed = server.by(&eve).devices().await;
    assert_eq!(listed.body["data"]["count"], 1);
    assert_eq!(listed.body["data"]["items"][0]["id"], eve.device.as_str());
    assert_eq!(rows(&home), before, "nothing of hers was changed");
}

#[tokio::test]
async fn t23_a_step_up_is_of_its_session_alone() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let (_, first, _) = home.session(&ada.user, None);
    let (_, second, _) = home.session(&ada.user, None);
    server
        .verify(&first, &ada.device, &ada.app.code())
        .await
        .assert_valid();
    server.regenerate(&first, &ada.device).await.assert_ok();
    let refused = server.regenerate(&second, &ada.device).await;
    refused.assert(403, "MFA_REQUIRED");
    let refused = server.start(&second, "Eve's").await;
    refused.assert(403, "MFA_REQUIRED");
}

#[tokio::test]
async fn t23_a_pending_device_from_before_the_first_factor_needs_a_step_up_to_be_confirmed() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.user("ada");
    let (_, stolen, _) = home.session(&ada, None);
    let planted = server.start(&stolen, "Eve's").await;
    // Before it is confirmed, an operator gives Ada her first device.
    home.device(&ada, true);
    let refused = server
        .confirm(&stolen, &planted.device(), &planted.app().code())
        .await;
    refused.assert(403, "MFA_REQUIRED");
}

#[tokio::test]
async fn t24_a_step_up_ends_with_its_session_its_user_and_the_last_factor() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (ada, bob, cyd) = (home.caller("ada"), home.caller("bob"), home.caller("cyd"));
    for caller in [&ada, &bob, &cyd] {
        server.by(caller).regenerate().await.assert_ok();
    }
    let (_, other, _) = home.session(&ada.user, Some("15m"));
    let kind = VerificationType::Totp;
    let removed = server.by(&ada).remove(kind, &ada.app.code()).await;
    assert_eq!(removed.body["data"]["two_factor_enabled"], false);
    for token in [&ada.token, &other] {
        let refused = server.regenerate(token, &ada.device).await;
        refused.assert(403, "MFA_REQUIRED");
    }
    home.run(&["session", "revoke", &bob.session]);
    home.run(&["user", "disable", &cyd.user]);
    for caller in [&bob, &cyd] {
        let refused = server.by(caller).regenerate().await;
        refused.assert(401, "UNAUTHENTICATED");
    }
    // A device that is not the last one leaves the step-up as it is.
    let dan = home.caller("dan");
    let second = home.device(&dan.user, true);
    home.run(&["device", "remove", &second]);
    server.by(&dan).regenerate().await.assert_ok();
}

#[tokio::test]
async fn t30_a_stolen_session_changes_no_factor() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    let (_, stolen, _) = home.session(&ada.user, None);
    let before = rows(&home);
    let refused = server.regenerate(&stolen, &ada.device).await;
    refused.assert(403, "MFA_REQUIRED");
    let refused = server.start(&stolen, "Eve's").await;
    refused.assert(403, "MFA_REQUIRED");
    let kind = VerificationType::Totp;
    let wrong = ada.app.wrong_code();
    let refused = server.remove(&stolen, &ada.device, kind, &wrong).await;
    assert_eq!(refused.body["data"]["removed"], false);
    assert_eq!(rows(&home), before, "nothing was changed");
    assert_eq!(home.working(&ada, &codes).await, 10);
    let denied = "denied: mfa_not_fresh";
    let regenerated = home.outcomes(AuditEvent::BackupCodesRegenerated).await;
    assert_eq!(regenerated, ["success", denied]);
    assert_eq!(home.outcomes(AuditEvent::EnrollmentStarted).await, [denied]);
    assert_eq!(
        home.outcomes(AuditEvent::DeviceRemoved).await,
        ["failure: wrong_code"]
    );
    // The outbox has the owner's notifications, and none for failures.
    let of_the_session = "outbox WHERE kind <> 'mfa.admin.device_created'";
    assert_eq!(home.vandal().count(of_the_session), 1);
}
