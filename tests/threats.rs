//! Known attacks, and that they fail: one test for each threat, by its number in `docs/security.md`. The tests of
//! crashes, broken messages, races between regenerations, timing and moving clocks are in other files, with the
//! same numbers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arklow_client::types::VerificationType;
use arklow_store::AuditEvent;
use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::harness::{Answer, CONTRACT, Caller, Home, NO_LIMITS, Server, place, string, text};

const START: &str = "post_v1_self_mfa_enroll_start";
const CONFIRM: &str = "post_v1_self_mfa_enroll_confirm";
const VERIFY: &str = "post_v1_self_mfa_verify_totp";
const REDEEM: &str = "post_v1_self_mfa_verify_totp_backup";
const REGENERATE: &str = "post_v1_self_mfa_regenerate_totp";
const REMOVE: &str = "delete_v1_self_mfa_remove";

/// Every operation that names a device.
const WITH_DEVICE: [&str; 5] = [CONFIRM, VERIFY, REDEEM, REGENERATE, REMOVE];

/// A code whose check symbol fits, and which is of no set.
const RANDOM_CODE: &str = "0410-6105-0R3G-G28A-1C60-T3GJ";

/// A body for an operation that names a device: well-formed, with codes that are not right.
fn body(operation: &str, device: &str) -> Value {
    match operation {
        CONFIRM | VERIFY => json!({ "device_id": device, "code": "123456" }),
        REDEEM => json!({ "device_id": device, "code": RANDOM_CODE }),
        REMOVE => json!({
            "device_id": device, "verification_type": "totp", "code": "123456",
        }),
        _ => json!({ "device_id": device }),
    }
}

async fn send(server: &Server, operation: &str, token: &str, body: &Value) -> Answer {
    Answer::by(operation, server.request(operation, token).json(body)).await
}

/// Forgets the failures of a user, so that a test can go on guessing.
fn unlock(home: &Home, caller: &Caller) {
    home.run(&["user", "unlock", "--id", &caller.user]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_regeneration_beside_a_redemption_leaves_ten_codes_and_no_former_one() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = Arc::new(home.serve(NO_LIMITS));
    let mut former = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();
    let mut before = 0;
    for round in 0..200 {
        let redeem = server.redeem(&ada.token, &ada.device, &former[0]);
        let (redeemed, regenerated) =
            tokio::join!(redeem, server.regenerate(&ada.token, &ada.device));
        before += usize::from(redeemed.is_valid());
        let late = server.redeem(&ada.token, &ada.device, &former[1]).await;
        assert!(!late.is_valid(), "round {round}: a former code works");
        let codes = regenerated.backup_codes();
        assert_eq!(home.working(&ada, &codes).await, 10, "round {round}");
        // A success, so that failures never add up to a lock.
        assert!(
            server
                .redeem(&ada.token, &ada.device, &codes[9])
                .await
                .is_valid()
        );
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
        let codes = servers[0].regenerate(&ada.token, &ada.device).await;
        let code = &codes.backup_codes()[0];
        let all = (0..32).map(|n| servers[n % 2].redeem(&ada.token, &ada.device, code));
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
        let all = (0..16).map(|n| servers[n % 2].verify(&ada.token, &ada.device, &code));
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
    assert!(!server.verify(&token, &device, &code).await.is_valid());
    assert!(
        server
            .verify(&token, &device, &app.next_code())
            .await
            .is_valid()
    );
}

#[tokio::test]
async fn t04_totp_codes_shown_before_a_redemption_are_dead_after_it() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let codes = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();
    let shown = [ada.app.code(), ada.app.next_code()];
    assert!(
        server
            .redeem(&ada.token, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    for code in shown {
        assert!(
            !server
                .verify(&ada.token, &ada.device, &code)
                .await
                .is_valid()
        );
    }
}

#[tokio::test]
async fn t05_no_code_of_one_user_works_for_another() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let codes = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();
    server
        .regenerate(&eve.token, &eve.device)
        .await
        .backup_codes();
    for code in &codes {
        // As one of her own device, and as one of the device that it is of.
        assert!(
            !server
                .redeem(&eve.token, &eve.device, code)
                .await
                .is_valid()
        );
        let foreign = server.redeem(&eve.token, &ada.device, code).await;
        foreign.assert(404, "DEVICE_NOT_FOUND");
        unlock(&home, &eve);
    }
    let code = ada.app.code();
    assert!(
        !server
            .verify(&eve.token, &eve.device, &code)
            .await
            .is_valid()
    );
    let foreign = server.verify(&eve.token, &ada.device, &code).await;
    foreign.assert(404, "DEVICE_NOT_FOUND");
    assert_eq!(home.working(&ada, &codes).await, 10, "none was used up");
    assert!(
        server
            .verify(&ada.token, &ada.device, &code)
            .await
            .is_valid()
    );
}

#[tokio::test]
async fn t06_every_way_of_using_a_code_uses_it_up() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let (tablet, app, tablet_codes) = server.enroll(&ada.token, "Tablet").await;
    let codes = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();

    // To step up, then for whatever else.
    assert!(
        server
            .redeem(&ada.token, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    assert!(
        !server
            .redeem(&ada.token, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    let kind = VerificationType::BackupCode;
    let removed = server
        .remove(&ada.token, &ada.device, kind, &codes[0])
        .await;
    assert_eq!(removed.body["data"]["removed"], false);
    unlock(&home, &ada);

    let code = app.next_code();
    assert!(server.verify(&ada.token, &tablet, &code).await.is_valid());
    assert!(!server.verify(&ada.token, &tablet, &code).await.is_valid());
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

/// Status, body bytes and headers, without those that differ for every request.
async fn raw(
    server: &Server,
    operation: &str,
    token: &str,
    body: &Value,
) -> (u16, Vec<u8>, Vec<String>) {
    let request = server.request(operation, token).json(body);
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let mut headers: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    headers.sort();
    let bytes = answer.bytes().await.expect("a body").to_vec();
    (status, bytes, headers)
}

#[tokio::test]
async fn t07_devices_that_are_not_the_callers_are_told_apart_by_nothing() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let removed = home.device(&ada.user, true);
    home.run(&["device", "remove", "--id", &removed]);
    let pending = home.device(&eve.user, false);
    for operation in WITH_DEVICE {
        let mut told = BTreeSet::new();
        for device in [
            "1",
            "99999999999999999999999",
            &eve.device,
            &pending,
            &removed,
        ] {
            told.insert(raw(&server, operation, &ada.token, &body(operation, device)).await);
        }
        let told: Vec<_> = told.into_iter().collect();
        assert_eq!(told.len(), 1, "{operation}: {told:?}");
        assert_eq!(told[0].0, 404, "{operation}");
    }
}

#[tokio::test]
async fn t08_wrong_used_foreign_and_stale_codes_are_told_apart_by_nothing() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let stale = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();
    let own = server
        .regenerate(&ada.token, &ada.device)
        .await
        .backup_codes();
    let foreign = server
        .regenerate(&eve.token, &eve.device)
        .await
        .backup_codes();
    assert!(
        server
            .redeem(&ada.token, &ada.device, &own[0])
            .await
            .is_valid()
    );
    let codes = [RANDOM_CODE, &own[0], &foreign[0], &stale[0]];
    for operation in [REDEEM, REMOVE] {
        let mut told = BTreeSet::new();
        for code in codes {
            let mut body = body(operation, &ada.device);
            body["code"] = json!(code);
            if operation == REMOVE {
                body["verification_type"] = json!("backup_code");
            }
            told.insert(raw(&server, operation, &ada.token, &body).await);
        }
        assert_eq!(told.len(), 1, "{operation}: {told:?}");
        unlock(&home, &ada);
    }
    let code = ada.app.next_code();
    let mut told = BTreeSet::new();
    // The redemption has made the app's code one that was used.
    for code in [&code, &ada.app.wrong_code(), &eve.app.code()] {
        let body = json!({ "device_id": ada.device, "code": code });
        told.insert(raw(&server, VERIFY, &ada.token, &body).await);
    }
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t09_parallel_guesses_on_two_servers_do_not_exceed_the_budget() {
    let home = Home::new();
    let ada = home.caller("ada");
    // Without the address bucket, which would stop them sooner.
    let servers = [home.serve(NO_LIMITS), home.serve(NO_LIMITS)];
    server_codes(&servers[0], &ada).await;
    let wrong = ada.app.wrong_code();
    let guesses = (0..200).map(|n| {
        let (server, ada, wrong) = (&servers[n % 2], &ada, &wrong);
        async move {
            match n % 4 {
                0 | 1 => server.verify(&ada.token, &ada.device, wrong).await,
                _ => server.redeem(&ada.token, &ada.device, RANDOM_CODE).await,
            }
        }
    });
    let answers = join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(looked_at, 5);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert(429, "TOO_MANY_FAILURES");
    }
    // Whatever the code, also a right one, and after a restart too.
    let refused = servers[1]
        .verify(&ada.token, &ada.device, &ada.app.code())
        .await;
    refused.assert(429, "TOO_MANY_FAILURES");
    drop(servers);
    let server = home.serve(NO_LIMITS);
    let refused = server
        .verify(&ada.token, &ada.device, &ada.app.code())
        .await;
    refused.assert(429, "TOO_MANY_FAILURES");
    let failures = home.vandal().count("users WHERE mfa_failures = 5");
    assert_eq!(failures, 1, "the counter is exact");
}

async fn server_codes(server: &Server, caller: &Caller) -> Vec<String> {
    server
        .regenerate(&caller.token, &caller.device)
        .await
        .backup_codes()
}

#[tokio::test]
async fn t09_codes_that_cannot_be_one_cost_no_attempt() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let typo = format!("{}0", &RANDOM_CODE[..28]);
    for _ in 0..3 {
        for code in ["12345", "1234567", "12345x", "12345²"] {
            let refused = server.verify(&ada.token, &ada.device, code).await;
            refused.assert(400, "MALFORMED_CODE");
        }
        for code in ["abc", "0410-6105", &typo, &RANDOM_CODE.replace('G', "U")] {
            let refused = server.redeem(&ada.token, &ada.device, code).await;
            refused.assert(400, "MALFORMED_CODE");
        }
    }
    assert!(
        server
            .verify(&ada.token, &ada.device, &ada.app.code())
            .await
            .is_valid()
    );
    assert_eq!(home.outcomes(AuditEvent::TotpVerified).await, ["success"]);
}

/// Guesses from the same peer, each of another user, with these headers.
async fn guess(server: &Server, caller: &Caller, headers: HeaderMap) -> Answer {
    let body = json!({ "device_id": caller.device, "code": caller.app.wrong_code() });
    let request = server
        .request(VERIFY, &caller.token)
        .headers(headers)
        .json(&body);
    Answer::by(VERIFY, request).await
}

fn forwarded(for_whom: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-forwarded-for", for_whom.to_owned()),
        ("x-real-ip", for_whom.to_owned()),
        ("forwarded", format!("for={for_whom}")),
    ] {
        headers.insert(name, value.parse().expect("a value"));
    }
    headers
}

#[tokio::test]
async fn t10_headers_do_not_get_around_the_limit_for_an_address() {
    let home = Home::new();
    let server = home.serve(&[]);
    let callers: Vec<Caller> = (0..12).map(|n| home.caller(&format!("user{n}"))).collect();
    for (n, caller) in callers.iter().enumerate() {
        let answer = guess(&server, caller, forwarded(&format!("198.51.100.{n}"))).await;
        match n {
            0..10 => assert!(!answer.is_valid()),
            _ => answer.assert(429, "RATE_LIMITED"),
        }
    }
    // Behind a proxy that is trusted each client counts for itself; what clients claim does not.
    let server = home.serve(&["--trusted-proxy", "127.0.0.0/8"]);
    for (n, caller) in callers.iter().enumerate() {
        let answer = guess(&server, caller, forwarded(&format!("198.51.100.{n}"))).await;
        assert!(!answer.is_valid());
    }
    unlock(&home, &callers[0]);
    for (n, caller) in callers.iter().enumerate() {
        let claims = forwarded(&format!("198.51.100.{n}, 203.0.113.9"));
        let answer = guess(&server, caller, claims).await;
        match n {
            0..10 => assert!(!answer.is_valid()),
            _ => answer.assert(429, "RATE_LIMITED"),
        }
    }
    let last = home
        .records()
        .await
        .pop()
        .expect("a record")
        .origin
        .remote_address;
    assert_eq!(
        last.map(|address| address.to_string()).as_deref(),
        Some("203.0.113.9")
    );
}

#[tokio::test]
async fn t11_who_exhausts_one_factor_does_not_lock_the_owner_out() {
    let home = Home::new();
    // A hundred failures take a day of locks; ten without locks are the same thing sooner.
    let arguments = [
        "--lock-after",
        "100",
        "--lock-factor-after",
        "10",
        "--limits",
        "off",
    ];
    let server = home.serve(&arguments);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    let (_, stolen, _) = home.session(&ada.user, None);
    for _ in 0..10 {
        assert!(
            !server
                .redeem(&stolen, &ada.device, RANDOM_CODE)
                .await
                .is_valid()
        );
    }
    for code in [RANDOM_CODE, &codes[0]] {
        let refused = server.redeem(&stolen, &ada.device, code).await;
        refused.assert(429, "FACTOR_LOCKED");
    }
    // The owner's app still works, and opens what was locked.
    assert!(
        server
            .verify(&ada.token, &ada.device, &ada.app.code())
            .await
            .is_valid()
    );
    assert!(
        server
            .redeem(&ada.token, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    let filter = home.outcomes(AuditEvent::FactorLocked).await;
    assert_eq!(filter, ["success"]);
}

#[tokio::test]
async fn t12_nobody_reaches_a_device_of_somebody_else() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let second = home.device(&ada.user, true);
    let pending = home.device(&ada.user, false);
    let removed = home.device(&ada.user, true);
    home.run(&["device", "remove", "--id", &removed]);
    let before = rows(&home);
    for device in [&ada.device, &second, &pending, &removed] {
        for operation in WITH_DEVICE {
            let answer = send(&server, operation, &eve.token, &body(operation, device)).await;
            answer.assert(404, "DEVICE_NOT_FOUND");
        }
    }
    let listed = server.devices(&eve.token).await;
    assert_eq!(listed.body["data"]["count"], 1);
    assert_eq!(listed.body["data"]["items"][0]["id"], eve.device.as_str());
    assert_eq!(rows(&home), before, "nothing of hers was changed");
}

/// Every device as an operator sees it.
fn rows(home: &Home) -> String {
    let mut vandal = home.vandal();
    let rows = vandal.texts(
        "SELECT concat_ws(',', id, updated_at, last_used_at, confirmed_at, removed_at, \
         code_generation, code_used, last_step) FROM devices ORDER BY id",
    );
    rows.join(";")
}

#[tokio::test]
async fn t13_a_page_of_another_origin_cannot_make_a_browser_act() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    for operation in [START, CONFIRM, VERIFY, REDEEM, REGENERATE, REMOVE] {
        // What a form can send: no custom header, and one of three media types.
        for media_type in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
        ] {
            let request = server.request(operation, &ada.token);
            let request = request
                .header("content-type", media_type)
                .body("device_id=1");
            let answer = Answer::by(operation, request).await;
            answer.assert(415, "UNSUPPORTED_MEDIA_TYPE");
            assert!(!answer.headers.contains_key("set-cookie"));
        }
        let (path, _) = place(operation);
        let preflight = reqwest::Client::new()
            .request(reqwest::Method::OPTIONS, format!("{}{path}", server.base))
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "x-arklow-auth, content-type",
            );
        let preflight = preflight.send().await.expect("an answer");
        assert_eq!(preflight.status(), 405);
        let allowed = preflight
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("access-control"));
        assert!(!allowed, "{:?}", preflight.headers());
    }
}

#[tokio::test]
async fn t15_a_stolen_database_opens_nothing() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    drop(server);

    // Without the keys a server does not even start.
    let thief = Home::new();
    thief.restore(&home.back_up());
    drop(std::fs::remove_file(thief.key_file()));
    let refused = thief.output(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("there is no key file"));

    // With all columns and the source: no code is in them, and no MAC matches a guess without the key.
    let mut vandal = thief.vandal();
    let columns = vandal
        .text("SELECT concat_ws(',', hex(code_macs), hex(seed), hex(code_mac_key)) FROM devices");
    let hex = |code: &str| {
        code.bytes()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    for code in &codes {
        assert!(!columns.contains(&hex(code)));
        assert!(!columns.contains(&hex(&code.replace('-', ""))));
        let digest = ring_sha256(code.replace('-', "").as_bytes());
        assert!(!columns.contains(&digest), "a plain hash is stored");
    }
}

fn ring_sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

#[tokio::test]
async fn t15_secrets_moved_to_another_row_do_not_open() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let codes = server_codes(&server, &eve).await;
    server_codes(&server, &ada).await;
    // Eve's seed and codes in Ada's row: an attacker who can write rows gains nothing.
    home.vandal().run(&format!(
        "UPDATE devices SET (seed, code_mac_key, code_macs) = \
         (SELECT seed, code_mac_key, code_macs FROM devices WHERE id = {}) WHERE id = {}",
        eve.device, ada.device
    ));
    let refused = server
        .verify(&ada.token, &ada.device, &eve.app.code())
        .await;
    refused.assert(500, "INTERNAL");
    let refused = server.redeem(&ada.token, &ada.device, &codes[0]).await;
    refused.assert(500, "INTERNAL");
}

#[tokio::test]
async fn t16_a_seed_that_cannot_be_read_fails_closed() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    home.vandal().run("UPDATE devices SET seed = zeroblob(48)");
    let (_, stale, _) = home.session(&ada.user, None);
    for _ in 0..7 {
        let refused = server.verify(&stale, &ada.device, &ada.app.code()).await;
        refused.assert(500, "INTERNAL");
    }
    // The factor is still there, and still asked for.
    let listed = server.devices(&stale).await;
    assert_eq!(listed.body["data"]["count"], 1);
    let refused = server.regenerate(&stale, &ada.device).await;
    refused.assert(403, "MFA_REQUIRED");
    let refused = server.start(&stale, "Another").await;
    refused.assert(403, "MFA_REQUIRED");
    // No guess was counted; the way that can be read goes on working.
    assert!(
        server
            .redeem(&stale, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    assert!(
        server.printed().contains("does not open with key"),
        "{}",
        server.printed()
    );
}

#[tokio::test]
async fn t16_a_wrong_key_file_stops_the_server_before_it_serves() {
    let home = Home::new();
    home.caller("ada");
    let other = Home::new();
    other.caller("eve");
    let keys = other.path().join("arklow.db.keys");
    let refused = home.output(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--keys",
        &keys.to_string_lossy(),
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("does not hold key"),
        "{}",
        text(&refused.stderr)
    );
}

#[tokio::test]
async fn t17_what_a_restored_backup_would_revive_is_killed_by_the_command_for_it() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let codes = server_codes(&server, &ada).await;
    let code = ada.app.code();
    drop(server);
    let backup = home.back_up();

    // After the backup a session ends, and codes are used.
    let server = home.serve(NO_LIMITS);
    assert!(
        server
            .verify(&ada.token, &ada.device, &code)
            .await
            .is_valid()
    );
    assert!(
        server
            .redeem(&ada.token, &ada.device, &codes[0])
            .await
            .is_valid()
    );
    home.run(&["session", "revoke", "--id", &ada.session]);
    drop(server);
    home.restore(&backup);

    let restored = home.run(&["restored"]);
    assert_eq!(restored["sessions"], 1);
    assert_eq!(restored["code_sets"], 1);
    let server = home.serve(NO_LIMITS);
    assert_eq!(server.user(&ada.token).await.status, 401);
    let (_, token, _) = home.session(&ada.user, None);
    assert!(!server.verify(&token, &ada.device, &code).await.is_valid());
    for code in &codes[..2] {
        assert!(!server.redeem(&token, &ada.device, code).await.is_valid());
    }
}

/// Bob loses his phone and Carl leaves after the backup; it is restored, and these are the commands.
async fn restored_after_a_theft(arguments: impl Fn(&Home, &[&str]) -> Vec<String>) -> Theft {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let [ada, bob, carl] = ["ada", "bob", "carl"].map(|name| home.caller(name));
    drop(server);
    let backup = home.back_up();
    let at = crate::commands::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    home.run(&["device", "remove", "--id", &bob.device]);
    home.run(&["user", "disable", "--id", &carl.user]);
    let removed = text(
        &home
            .output(&["audit", "list", "--json", "--since", &at])
            .stdout,
    );
    let disabled = format!(
        r#"{{"at":"{at}","event":"mfa.admin.user_disabled","outcome":"success","user_id":"{}"}}"#,
        carl.user
    );
    let kept = home.path().join("kept.jsonl");
    std::fs::write(&kept, format!("{removed}{disabled}\n")).expect("a file");
    home.restore(&backup);

    let arguments = arguments(&home, &[&at, &kept.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = home.output(&[&["restored", "--json"], &arguments[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    Theft {
        said: text(&output.stderr),
        printed: serde_json::from_slice(&output.stdout).expect("one object"),
        home,
        ada,
        bob,
        carl,
    }
}

struct Theft {
    said: String,
    printed: Value,
    home: Home,
    ada: Caller,
    bob: Caller,
    carl: Caller,
}

impl Theft {
    /// Whether the user may sign in, and whether the code that the app shows next steps the session up.
    async fn works(&self, server: &Server, who: &Caller) -> (bool, bool) {
        let output = self
            .home
            .output(&["session", "create", "--user", &who.user]);
        if !output.status.success() {
            return (false, false);
        }
        let token = text(&output.stdout).trim().to_owned();
        // As if time had passed: the codes that were shown by now are dead.
        let (device, code) = (&who.device, who.app.code());
        self.home.vandal().run(&format!(
            "UPDATE devices SET last_step = last_step - 10 WHERE id = {device}"
        ));
        let answer = server.verify(&token, device, &code).await;
        (true, answer.status == 200 && answer.is_valid())
    }
}

#[tokio::test]
async fn t17_what_restored_cannot_know_is_said_and_not_touched_without_a_time() {
    let theft = restored_after_a_theft(|_, _| Vec::new()).await;
    let server = theft.home.serve(NO_LIMITS);
    for words in [
        "devices that were removed",
        "users who were disabled",
        "--since",
    ] {
        assert!(theft.said.contains(words), "{}", theft.said);
    }
    for who in [&theft.ada, &theft.bob, &theft.carl] {
        assert_eq!(theft.works(&server, who).await, (true, true));
    }
}

#[tokio::test]
async fn t17_with_the_time_of_the_backup_all_are_held_until_somebody_has_looked() {
    let since = |_: &Home, given: &[&str]| vec!["--since".to_owned(), given[0].to_owned()];
    let theft = restored_after_a_theft(since).await;
    let server = theft.home.serve(NO_LIMITS);
    assert_eq!(theft.printed["users_disabled"], 3);
    assert_eq!(theft.printed["devices_locked"], 3);
    let look_at = theft.printed["look_at"].as_array().expect("a list");
    for who in [&theft.ada, &theft.bob, &theft.carl] {
        assert!(look_at.iter().any(|user| user["id"] == who.user.as_str()));
        assert_eq!(theft.works(&server, who).await, (false, false));
    }
    // Enabled alone, the devices are still dead.
    for who in [&theft.ada, &theft.bob] {
        theft.home.run(&["user", "enable", "--id", &who.user]);
        assert_eq!(theft.works(&server, who).await, (true, false));
    }
    theft
        .home
        .run(&["device", "remove", "--id", &theft.bob.device]);
    for who in [&theft.ada, &theft.bob] {
        theft.home.run(&["user", "unlock", "--id", &who.user]);
    }
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
    assert_eq!(theft.works(&server, &theft.bob).await, (true, false));
}

#[tokio::test]
async fn t17_with_records_kept_elsewhere_what_they_tell_is_done_again() {
    let with_records = |_: &Home, given: &[&str]| {
        ["--since", given[0], "--audit", given[1]]
            .map(str::to_owned)
            .into()
    };
    let theft = restored_after_a_theft(with_records).await;
    let server = theft.home.serve(NO_LIMITS);
    assert_eq!(theft.printed["users_disabled"], 1);
    assert_eq!(theft.printed["devices_removed"], 1);
    assert_eq!(theft.printed["devices_locked"], 0);
    let look_at = theft.printed["look_at"].as_array().expect("a list");
    assert_eq!(look_at.len(), 2, "{look_at:?}");
    assert!(theft.said.contains("the records end at"), "{}", theft.said);
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
    assert_eq!(theft.works(&server, &theft.bob).await, (true, false));
    assert_eq!(theft.works(&server, &theft.carl).await, (false, false));

    // What is no such file changes nothing.
    for lines in ["{}", "{\"at\":\"now\"}", "x", "{\"at\":1}"] {
        let file = theft.home.path().join("broken.jsonl");
        std::fs::write(&file, lines).expect("a file");
        let output = theft.home.output(&[
            "restored",
            "--since",
            "1h",
            "--audit",
            &file.display().to_string(),
        ]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("line 1") && said.contains("--audit"),
            "{said}"
        );
    }
    let future = theft
        .home
        .output(&["restored", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!(future.status.code(), Some(2));
    assert_eq!(theft.works(&server, &theft.ada).await, (true, true));
}

#[tokio::test]
async fn t19_keys_that_no_schema_names_have_no_effect() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let more = json!({
        "user_id": eve.user, "id": eve.device, "confirmed_at": "2026-01-01T00:00:00Z",
        "session_mfa_not_after": "2099-01-01T00:00:00Z", "backup_codes": ["0"], "valid": true,
        "now": 0, "seed": "AAAA", "two_factor_enabled": false, "deleted_at": null,
    });
    let with_more = |mut body: Value| {
        let all = body.as_object_mut().expect("an object");
        for (key, value) in more.as_object().expect("an object") {
            all.entry(key.clone()).or_insert(value.clone());
        }
        body
    };
    let before = server.devices(&eve.token).await.body;
    let started = send(
        &server,
        START,
        &ada.token,
        &with_more(json!({ "name": "Tablet" })),
    )
    .await;
    assert_eq!(started.body["data"]["device"]["user_id"], ada.user.as_str());
    assert_eq!(started.body["data"]["device"]["confirmed_at"], Value::Null);
    for operation in WITH_DEVICE {
        let answer = send(
            &server,
            operation,
            &ada.token,
            &with_more(body(operation, &ada.device)),
        )
        .await;
        let until = &answer.body["data"]["session_mfa_not_after"];
        assert!(!until.to_string().contains("2099"), "{operation}: {until}");
        assert_ne!(answer.body["data"]["valid"], true, "{operation}");
    }
    assert_eq!(server.devices(&eve.token).await.body, before);
}

#[tokio::test]
async fn t20_odd_json_is_refused_wherever_a_code_is_taken() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let code = ada.app.code();
    let device = &ada.device;
    for text in [
        format!(r#"{{"device_id":"{device}","device_id":"1","code":"{code}"}}"#),
        format!(r#"{{"device_id":"{device}","code":"{code}","code":"{code}"}}"#),
        format!(r#"{{"device_id":{device},"code":"{code}"}}"#),
        format!(
            r#"{{"device_id":"{device}","code":{}}}"#,
            code.trim_start_matches('0')
        ),
        format!(r#"{{"device_id":"{device}","code":["{code}"]}}"#),
        format!(r#"{{"device_id":"{device}","code":null}}"#),
        format!("\u{feff}{{\"device_id\":\"{device}\",\"code\":\"{code}\"}}"),
        format!(r#"{{"device_id":"{device}","code":"\ud800"}}"#),
        format!(r#"{{"device_id":"{device}","code":"{code}\u0000"}}"#),
        format!(r#"{{"device_id":"{device}","code":{}"#, "[".repeat(1_000)),
        format!(r#"{{"device_id":"{device}\n","code":"{code}"}}"#),
    ] {
        let request = server.request(VERIFY, &ada.token);
        let request = request
            .header("content-type", "application/json")
            .body(text.clone());
        let answer = Answer::by(VERIFY, request).await;
        assert_eq!(answer.status, 400, "{text}: {:?}", answer.body);
    }
    assert!(
        server.verify(&ada.token, device, &code).await.is_valid(),
        "none used it up"
    );
}

#[tokio::test]
async fn t21_oversized_codes_and_headers_are_refused_at_once() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let before = server.resident_kib();
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let started = Instant::now();
        let long = server
            .redeem(&ada.token, &ada.device, &"0".repeat(65_000))
            .await;
        slowest = slowest.max(started.elapsed());
        long.assert(400, "MALFORMED_CODE");
    }
    let long = server
        .redeem(&ada.token, &ada.device, &"-".repeat(65))
        .await;
    long.assert(400, "MALFORMED_CODE");
    let over = server
        .redeem(&ada.token, &ada.device, &"0".repeat(66_000))
        .await;
    over.assert(413, "PAYLOAD_TOO_LARGE");
    let header = server
        .request("get_v1_self", &"x".repeat(64 * 1024))
        .send()
        .await;
    assert_eq!(
        header.expect("an answer").status(),
        401,
        "longer than any token"
    );
    let endless = server
        .request("get_v1_self", &"x".repeat(1024 * 1024))
        .send()
        .await;
    let refused = endless.map_or(true, |answer| answer.status() == 431);
    assert!(refused);
    let grown = server.resident_kib().saturating_sub(before);
    println!(
        "200 codes of 65 kB: the slowest was refused after {slowest:?}, memory grew by {grown} KiB"
    );
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(grown < 16 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn t23_a_step_up_is_of_its_session_alone() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let (_, first, _) = home.session(&ada.user, None);
    let (_, second, _) = home.session(&ada.user, None);
    assert!(
        server
            .verify(&first, &ada.device, &ada.app.code())
            .await
            .is_valid()
    );
    assert_eq!(server.regenerate(&first, &ada.device).await.status, 200);
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
        assert_eq!(
            server
                .regenerate(&caller.token, &caller.device)
                .await
                .status,
            200
        );
    }
    let (_, other, _) = home.session(&ada.user, Some("15m"));
    let kind = VerificationType::Totp;
    let removed = server
        .remove(&ada.token, &ada.device, kind, &ada.app.code())
        .await;
    assert_eq!(removed.body["data"]["two_factor_enabled"], false);
    for token in [&ada.token, &other] {
        let refused = server.regenerate(token, &ada.device).await;
        refused.assert(403, "MFA_REQUIRED");
    }
    home.run(&["session", "revoke", "--id", &bob.session]);
    home.run(&["user", "disable", "--id", &cyd.user]);
    for caller in [&bob, &cyd] {
        let refused = server.regenerate(&caller.token, &caller.device).await;
        refused.assert(401, "UNAUTHENTICATED");
    }
    // A device that is not the last one leaves the step-up as it is.
    let dan = home.caller("dan");
    let second = home.device(&dan.user, true);
    home.run(&["device", "remove", "--id", &second]);
    assert_eq!(server.regenerate(&dan.token, &dan.device).await.status, 200);
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

#[tokio::test]
async fn t26_no_answer_of_any_operation_may_be_cached() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let mut statuses = BTreeSet::new();
    for item in CONTRACT["paths"].as_object().expect("paths").values() {
        for (method, operation) in item.as_object().expect("a path item") {
            let id = string(&operation["operationId"]);
            for token in [ada.token.as_str(), "arks_nobody"] {
                for body in [body(&id, "1"), body(&id, &ada.device), json!({})] {
                    let answer = server.request(&id, token).json(&body).send().await;
                    let answer = answer.expect("an answer");
                    assert_eq!(
                        answer.headers()["cache-control"],
                        "no-store",
                        "{method} {id}"
                    );
                    statuses.insert(answer.status().as_u16());
                }
            }
        }
    }
    assert!(statuses.len() >= 5, "{statuses:?}");
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
                let answer = server.regenerate(&caller.token, &caller.device).await;
                statuses.push(answer.status);
                let wrong = server
                    .redeem(&caller.token, &caller.device, RANDOM_CODE)
                    .await;
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
