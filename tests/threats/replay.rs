//! A code or an answer used again: in parallel, later, by another user, on another path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arklow_client::types::VerificationType;
use futures_util::future::join_all;

use crate::harness::{Caller, Home, NO_LIMITS};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn t02_regeneration_beside_a_redemption_leaves_ten_codes_and_no_former_one() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = Arc::new(home.serve(NO_LIMITS));
    let mut former = server.by(&ada).regenerate().await.backup_codes();
    let mut before = 0;
    for round in 0..200 {
        let redeem = server.by(&ada).redeem(&former[0]);
        let (redeemed, regenerated) = tokio::join!(redeem, server.by(&ada).regenerate());
        before += usize::from(redeemed.is_valid());
        let late = server.by(&ada).redeem(&former[1]).await;
        assert!(!late.is_valid(), "round {round}: a former code works");
        let codes = regenerated.backup_codes();
        assert_eq!(home.working(&ada, &codes).await, 10, "round {round}");
        // A success, so that failures never add up to a lock.
        server.by(&ada).redeem(&codes[9]).await.assert_valid();
        former = codes;
    }
    println!("200 rounds: {before} redemptions came before");
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_one_code_in_parallel_on_two_servers_is_accepted_once() {
    let home = Home::new();
    let ada = home.caller("ada");
    let servers = [home.serve(NO_LIMITS), home.serve(NO_LIMITS)];
    for round in 0..10 {
        let codes = servers[0].by(&ada).regenerate().await;
        let code = &codes.backup_codes()[0];
        let all = (0..32).map(|n| servers[n % 2].by(&ada).redeem(code));
        let answers = join_all(all).await;
        let accepted = answers
            .iter()
            .filter(|answer| answer.status == 200 && answer.is_valid())
            .count();
        assert_eq!(accepted, 1, "round {round}");
        unlock(&home, &ada);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_one_totp_code_in_parallel_on_two_servers_is_accepted_once() {
    let home = Home::new();
    let servers = [home.serve(NO_LIMITS), home.serve(NO_LIMITS)];
    for round in 0..10 {
        let ada = home.caller(&format!("ada{round}"));
        let code = ada.app.code();
        let all = (0..16).map(|n| servers[n % 2].by(&ada).verify(&code));
        let answers = join_all(all).await;
        let accepted = answers
            .iter()
            .filter(|answer| answer.status == 200 && answer.is_valid())
            .count();
        assert_eq!(accepted, 1, "round {round}");
    }
}

#[tokio::test]
async fn t04_code_that_confirmed_a_device_does_not_verify() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.user("ada");
    let (_, token, _) = home.session(&ada, None);
    let started = server.start(&token, "Phone").await;
    let (device, app) = (started.device(), started.app());
    let code = app.code();
    let confirmed = server.confirm(&token, &device, &code).await;
    assert!(confirmed.body["data"]["session_mfa_not_after"].is_string());
    server.verify(&token, &device, &code).await.assert_invalid();
    server
        .verify(&token, &device, &app.next_code())
        .await
        .assert_valid();
}

#[tokio::test]
async fn t04_totp_codes_shown_before_a_redemption_are_dead_after_it() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let codes = server.by(&ada).regenerate().await.backup_codes();
    let shown = [ada.app.code(), ada.app.next_code()];
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    for code in shown {
        server.by(&ada).verify(&code).await.assert_invalid();
    }
}

#[tokio::test]
async fn t05_no_code_of_one_user_works_for_another() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let codes = server.by(&ada).regenerate().await.backup_codes();
    server.by(&eve).regenerate().await.backup_codes();
    for code in &codes {
        // As one of her own device, and as one of the device that it is of.
        server.by(&eve).redeem(code).await.assert_invalid();
        let foreign = server.redeem(&eve.token, &ada.device, code).await;
        foreign.assert(404, "DEVICE_NOT_FOUND");
        unlock(&home, &eve);
    }
    let code = ada.app.code();
    server.by(&eve).verify(&code).await.assert_invalid();
    let foreign = server.verify(&eve.token, &ada.device, &code).await;
    foreign.assert(404, "DEVICE_NOT_FOUND");
    assert_eq!(home.working(&ada, &codes).await, 10, "none was used up");
    server.by(&ada).verify(&code).await.assert_valid();
}

#[tokio::test]
async fn t06_every_way_of_using_a_code_uses_it_up() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let (tablet, app, tablet_codes) = server.enroll(&ada.token, "Tablet").await;
    let codes = server.by(&ada).regenerate().await.backup_codes();

    // To step up, then for whatever else.
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    server.by(&ada).redeem(&codes[0]).await.assert_invalid();
    let kind = VerificationType::BackupCode;
    let removed = server.by(&ada).remove(kind, &codes[0]).await;
    assert_eq!(removed.body["data"]["removed"], false);
    unlock(&home, &ada);

    let code = app.next_code();
    server
        .verify(&ada.token, &tablet, &code)
        .await
        .assert_valid();
    server
        .verify(&ada.token, &tablet, &code)
        .await
        .assert_invalid();
    let kind = VerificationType::Totp;
    let removed = server.remove(&ada.token, &tablet, kind, &code).await;
    assert_eq!(removed.body["data"]["removed"], false);

    // To remove: whatever the device had is gone with it.
    let kind = VerificationType::BackupCode;
    let removed = server
        .remove(&ada.token, &tablet, kind, &tablet_codes[0])
        .await;
    assert_eq!(removed.body["data"]["removed"], true);
    for code in &tablet_codes[..2] {
        let again = server.remove(&ada.token, &tablet, kind, code).await;
        again.assert(404, "DEVICE_NOT_FOUND");
        let again = server.redeem(&ada.token, &tablet, code).await;
        again.assert(404, "DEVICE_NOT_FOUND");
    }
}

#[tokio::test]
async fn t25_an_answer_that_is_lost_locks_nobody_out() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let former = server_codes(&server, &ada).await;
    // The change waits for the database, and its caller for nothing.
    let mut vandal = home.vandal();
    vandal.lock();
    let body = body(REGENERATE, &ada.device);
    let lost = server.request(REGENERATE, &ada.token).json(&body);
    let lost = lost.timeout(Duration::from_millis(300)).send().await;
    assert!(lost.is_err(), "the caller has gone");
    vandal.run("ROLLBACK");
    let deadline = Instant::now() + crate::harness::TEST_TIMEOUT;
    while home.working(&ada, &former).await > 0 {
        assert!(Instant::now() < deadline, "the change was carried through");
        crate::harness::pause();
    }
    let codes = server_codes(&server, &ada).await;
    assert_eq!(home.working(&ada, &codes).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn t28_sixty_four_writers_on_two_servers_get_no_500() {
    let home = Home::new();
    let servers = [home.serve(NO_LIMITS), home.serve(NO_LIMITS)];
    let callers: Vec<Caller> = (0..64).map(|n| home.caller(&format!("user{n}"))).collect();
    let all = callers.iter().enumerate().map(|(n, caller)| {
        let server = &servers[n % 2];
        async move {
            let mut statuses = Vec::new();
            for _ in 0..5 {
                let answer = server.by(caller).regenerate().await;
                statuses.push(answer.status);
                let wrong = server.by(caller).redeem(RANDOM_CODE).await;
                statuses.push(wrong.status);
            }
            statuses
        }
    });
    let statuses: Vec<u16> = join_all(all).await.concat();
    assert_eq!(statuses.len(), 640);
    assert!(
        statuses
            .iter()
            .all(|status| [200, 429, 503].contains(status)),
        "{statuses:?}"
    );
    let busy = statuses.iter().filter(|status| **status == 503).count();
    println!("640 writes by 64 callers on two servers: no 500, {busy} times 503");
}
