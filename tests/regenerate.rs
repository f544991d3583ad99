//! What `post_v1_self_mfa_regenerate_totp` does, and the rows of its table of refusals.

use arklow_domain::DeviceId;
use arklow_store::AuditEvent;
use chrono::DateTime;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, Home, NO_LIMITS, Server, string};

#[tokio::test]
async fn ten_codes_in_the_answer_are_the_ten_that_work() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(NO_LIMITS);
    let former = server.by(&ada).regenerate().await.backup_codes();
    let current = server.by(&ada).regenerate().await.backup_codes();
    let distinct: std::collections::BTreeSet<&String> = former.iter().chain(&current).collect();
    assert_eq!(distinct.len(), 20);
    let mut left = 10;
    for (dead, code) in former.iter().zip(&current) {
        let redeem = async |code: &str| server.by(&ada).redeem(code).await;
        assert!(!redeem(dead).await.is_valid(), "former codes are dead");
        let redeemed = redeem(code).await;
        left -= 1;
        redeemed.assert_valid();
        assert_eq!(redeemed.body["data"]["backup_codes_remaining"], left);
        assert!(!redeem(code).await.is_valid(), "each works once");
    }
}

#[tokio::test]
async fn answer_is_the_device_and_the_session_as_they_are() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let first = server.by(&ada).regenerate().await;
    let data = &first.body["data"];
    assert_eq!(
        data["session_mfa_not_after"], ada.session_mfa_not_after,
        "no factor was proved"
    );
    let device = &data["device"];
    assert_eq!(
        (string(&device["id"]), string(&device["user_id"])),
        (ada.device.clone(), ada.user.clone())
    );
    assert_eq!(
        (&device["name"], &device["device_type"]),
        (&json!("Phone"), &json!("totp"))
    );
    assert_eq!(
        (&device["last_used_at"], &device["deleted_at"]),
        (&Value::Null, &Value::Null)
    );
    assert!(device["confirmed_at"].is_string());
    for code in first.backup_codes() {
        assert!(
            code.len() == 29 && code.split('-').all(|group| group.len() == 4),
            "{code}"
        );
    }
    let time = |answer: &Answer| {
        let text = string(&answer.body["data"]["device"]["updated_at"]);
        assert!(text.ends_with('Z'), "{text}");
        DateTime::parse_from_rfc3339(&text).expect("RFC 3339")
    };
    let second = server.by(&ada).regenerate().await;
    assert!(time(&second) > time(&first), "updated_at moves");
}

#[tokio::test]
async fn each_regeneration_leaves_one_audit_record() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let first = server.by(&ada).regenerate().await;
    let second = Answer::to(
        server
            .post(&ada.token, format!(r#"{{"device_id":"{}"}}"#, ada.device))
            .header("user-agent", "test \t agent"),
    )
    .await;
    server.regenerate(&ada.token, "1").await;
    let records = home.records().await;
    assert_eq!(
        records
            .iter()
            .map(|record| record.generation)
            .collect::<Vec<_>>(),
        [Some(1), Some(2), None]
    );
    for (record, answer) in records.iter().zip([&first, &second]) {
        assert_eq!(record.event.as_str(), "mfa.backup_codes.regenerated");
        assert_eq!(record.user_id, Some(ada.user_id()));
        assert_eq!(
            record.session_id.map(|id| id.to_string()),
            Some(ada.session.clone())
        );
        assert_eq!(
            record.device_id.map(|id| id.to_string()),
            Some(ada.device.clone())
        );
        assert_eq!(
            record
                .origin
                .remote_address
                .map(|address| address.to_string()),
            Some("127.0.0.1".to_owned())
        );
        let request_id = answer.headers["x-request-id"].to_str().expect("text");
        assert_eq!(record.origin.request_id.as_deref(), Some(request_id));
        let printed = format!("{record:?}");
        assert!(
            answer
                .backup_codes()
                .iter()
                .all(|code| !printed.contains(code))
        );
    }
    let agent = records[1].origin.user_agent.clone().expect("a user agent");
    assert!(
        !agent.contains('\t'),
        "control characters do not reach the record as they are: {agent:?}"
    );
}

#[tokio::test]
async fn keys_beside_device_id_have_no_effect() {
    let home = Home::new();
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let server = home.serve(&[]);
    let body = json!({
        "device_id": ada.device, "user_id": eve.user, "backup_codes": ["0"], "confirmed_at": null,
        "session_mfa_not_after": "2099-01-01T00:00:00Z",
    });
    let answer = Answer::to(server.post(&ada.token, body.to_string())).await;
    assert_eq!(answer.body["data"]["device"]["user_id"], json!(ada.user));
    assert_eq!(
        answer.body["data"]["session_mfa_not_after"],
        ada.session_mfa_not_after
    );
    assert_eq!(answer.backup_codes().len(), 10);
}

#[tokio::test]
async fn session_that_is_not_live_is_401() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let eve = home.caller("eve");
    server.by(&ada).regenerate().await.assert_ok();
    server.by(&eve).regenerate().await.assert_ok();

    let unknown = format!("arks_{}", "a".repeat(52));
    let mut tokens: Vec<String> = vec![
        unknown,
        "arks_".to_owned(),
        "x".to_owned(),
        ada.token.to_uppercase(),
    ];
    tokens.push(format!("{}, {}", ada.token, ada.token));
    tokens.push("x".repeat(8000));
    for token in &tokens {
        server
            .regenerate(token, &ada.device)
            .await
            .assert(401, "UNAUTHENTICATED");
    }
    home.run(&["session", "revoke", &ada.session]);
    server
        .by(&ada)
        .regenerate()
        .await
        .assert(401, "UNAUTHENTICATED");
    home.run(&["user", "disable", &eve.user]);
    server
        .by(&eve)
        .regenerate()
        .await
        .assert(401, "UNAUTHENTICATED");
    let bob = home.caller("bob");
    home.vandal()
        .run("UPDATE sessions SET expires_at = created_at + 1, mfa_not_after = NULL");
    server
        .by(&bob)
        .regenerate()
        .await
        .assert(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn session_that_is_not_mfa_fresh_is_403_whatever_the_device() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let eve = home.caller("eve");
    let (_, never, _) = home.session(&ada.user, None);
    for device in [
        ada.device.as_str(),
        eve.device.as_str(),
        "1",
        "99999999999999999999999",
    ] {
        server
            .regenerate(&never, device)
            .await
            .assert(403, "MFA_REQUIRED");
    }
    server.by(&ada).regenerate().await.assert_ok();
    home.vandal()
        .run("UPDATE sessions SET mfa_not_after = created_at + 1");
    server
        .by(&ada)
        .regenerate()
        .await
        .assert(403, "MFA_REQUIRED");
    let generations = home.records().await;
    let generations = generations.iter().filter_map(|record| record.generation);
    assert_eq!(generations.collect::<Vec<_>>(), [1], "nothing was changed");
    let regenerated = AuditEvent::BackupCodesRegenerated;
    let denied = "denied: mfa_not_fresh";
    assert_eq!(
        home.outcomes(regenerated).await,
        [denied, denied, denied, denied, "success", denied],
        "every attempt is on record"
    );
}

#[tokio::test]
async fn devices_that_are_not_the_callers_are_told_apart_by_nothing() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let removed = home.device(&ada.user, true);
    let removed_pending = home.device(&ada.user, false);
    for device in [&removed, &removed_pending] {
        home.run(&["device", "remove", device]);
    }
    let padded = format!("0{}", ada.device);
    let unknown = [
        "1",
        "0",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999",
        &padded,
    ];
    let mut told = Vec::new();
    for device in unknown
        .into_iter()
        .chain([eve.device.as_str(), &removed, &removed_pending])
    {
        let answer = raw(&server, &ada, device).await;
        assert_eq!(answer.0, 404, "{device}");
        told.push(answer);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:#?}");
}

/// Status, body bytes and headers, without those that differ for every request.
async fn raw(server: &Server, ada: &Caller, device: &str) -> (u16, Vec<u8>, Vec<(String, String)>) {
    let answer = server
        .post(&ada.token, format!(r#"{{"device_id":"{device}"}}"#))
        .send()
        .await
        .expect("an answer");
    let status = answer.status().as_u16();
    let mut headers: Vec<(String, String)> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    headers.sort();
    (
        status,
        answer.bytes().await.expect("a body").to_vec(),
        headers,
    )
}

#[tokio::test]
async fn pending_device_of_somebody_else_is_404_not_409() {
    let home = Home::new();
    let server = home.serve(&[]);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let pending = home.device(&eve.user, false);
    server
        .regenerate(&ada.token, &pending)
        .await
        .assert(404, "DEVICE_NOT_FOUND");
    server
        .regenerate(&eve.token, &pending)
        .await
        .assert(409, "DEVICE_NOT_CONFIRMED");
    let store = home.store().await;
    let pending: DeviceId = pending.parse().expect("an id");
    assert!(
        store
            .backup_code_set(eve.user_id(), pending)
            .await
            .expect("an answer")
            .is_none()
    );
}

#[tokio::test]
async fn busy_database_is_503_and_the_next_request_is_served() {
    let home = Home::new();
    let server = home.serve(&["--busy-timeout", "200ms"]);
    let ada = home.caller("ada");
    let former = server.by(&ada).regenerate().await.backup_codes();
    let mut vandal = home.vandal();
    vandal.lock();
    let refused = server.by(&ada).regenerate().await;
    refused.assert(503, "UNAVAILABLE");
    assert!(
        refused.headers["retry-after"]
            .to_str()
            .expect("text")
            .parse::<u32>()
            .expect("seconds")
            >= 1
    );
    vandal.run("ROLLBACK");
    assert_eq!(home.working(&ada, &former).await, 10, "nothing was changed");
    server.by(&ada).regenerate().await.assert_ok();
}

#[tokio::test]
async fn debug_of_an_answer_shows_no_code() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let client = server.client(&ada.token);
    let request = arklow_client::types::RegenerateTotpRequest {
        device_id: ada.device.clone(),
    };
    let answer = client
        .post_v1_self_mfa_regenerate_totp()
        .body(request)
        .send()
        .await
        .expect("a success");
    let printed = format!("{answer:?} {client:?}");
    let codes = &answer.data.as_ref().expect("data").backup_codes;
    assert_eq!(codes.len(), 10);
    assert!(
        codes.iter().all(|code| !printed.contains(code.as_str())),
        "{printed}"
    );
    assert!(!printed.contains(&ada.token), "{printed}");
}
