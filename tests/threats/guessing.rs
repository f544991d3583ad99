//! Guessing codes, getting around limits, and locking the owner out.

use arklow_store::AuditEvent;
use futures_util::future::join_all;
use reqwest::header::HeaderMap;

use crate::harness::{Caller, Home, NO_LIMITS};

use super::*;

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
                0 | 1 => server.by(ada).verify(wrong).await,
                _ => server.by(ada).redeem(RANDOM_CODE).await,
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
    let refused = servers[1].by(&ada).verify(&ada.app.code()).await;
    refused.assert(429, "TOO_MANY_FAILURES");
    drop(servers);
    let server = home.serve(NO_LIMITS);
    let refused = server.by(&ada).verify(&ada.app.code()).await;
    refused.assert(429, "TOO_MANY_FAILURES");
    let failures = home.vandal().count("users WHERE mfa_failures = 5");
    assert_eq!(failures, 1, "the counter is exact");
}

#[tokio::test]
async fn t09_codes_that_cannot_be_one_cost_no_attempt() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    let typo = format!("{}0", &RANDOM_CODE[..28]);
    for _ in 0..3 {
        for code in ["12345", "1234567", "12345x", "12345²"] {
            let refused = server.by(&ada).verify(code).await;
            refused.assert(400, "MALFORMED_CODE");
        }
        for code in ["abc", "0410-6105", &typo, &RANDOM_CODE.replace('G', "U")] {
            let refused = server.by(&ada).redeem(code).await;
            refused.assert(400, "MALFORMED_CODE");
        }
    }
    server.by(&ada).verify(&ada.app.code()).await.assert_valid();
    assert_eq!(home.outcomes(AuditEvent::TotpVerified).await, ["success"]);
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
        answer.assert_invalid();
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
        server
            .redeem(&stolen, &ada.device, RANDOM_CODE)
            .await
            .assert_invalid();
    }
    for code in [RANDOM_CODE, &codes[0]] {
        let refused = server.redeem(&stolen, &ada.device, code).await;
        refused.assert(429, "FACTOR_LOCKED");
    }
    // The owner's app still works, and opens what was locked.
    server.by(&ada).verify(&ada.app.code()).await.assert_valid();
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    let filter = home.outcomes(AuditEvent::FactorLocked).await;
    assert_eq!(filter, ["success"]);
}
