//! Other origins, unknown keys, odd JSON and oversized input.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Home, NO_LIMITS, place};

use super::*;

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
    let before = server.by(&eve).devices().await.body;
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
    assert_eq!(server.by(&eve).devices().await.body, before);
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
        let long = server.by(&ada).redeem(&"0".repeat(65_000)).await;
        slowest = slowest.max(started.elapsed());
        long.assert(400, "MALFORMED_CODE");
    }
    let long = server.by(&ada).redeem(&"-".repeat(65)).await;
    long.assert(400, "MALFORMED_CODE");
    let over = server.by(&ada).redeem(&"0".repeat(66_000)).await;
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
