//! Answers that would reveal which codes or devices exist.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{CONTRACT, Home, NO_LIMITS, Server, string};

use super::*;

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
    home.run(&["device", "remove", &removed]);
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
    let stale = server.by(&ada).regenerate().await.backup_codes();
    let own = server.by(&ada).regenerate().await.backup_codes();
    let foreign = server.by(&eve).regenerate().await.backup_codes();
    // The redemption makes this code one that was used, however long the requests after it take.
    let spent = ada.app.next_code();
    server.by(&ada).redeem(&own[0]).await.assert_valid();
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
    let mut told = BTreeSet::new();
    for code in [&spent, &ada.app.wrong_code(), &eve.app.code()] {
        let body = json!({ "device_id": ada.device, "code": code });
        told.insert(raw(&server, VERIFY, &ada.token, &body).await);
    }
    assert_eq!(told.len(), 1, "{told:?}");
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
