//! One request for each answer that `openapi.yaml` documents. An answer without a case fails, and so does a case whose
//! answer is another.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use crate::faults;
use crate::harness::{Answer, CONTRACT, Home, deref};

type Asked = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// An operation's answer: its status, its code unless it is a success, and a way to be answered so.
struct Case {
    operation: &'static str,
    status: u16,
    code: Option<&'static str>,
    ask: fn() -> Asked,
}

const REGENERATE: &str = "post_v1_self_mfa_regenerate_totp";

const fn case(status: u16, code: Option<&'static str>, ask: fn() -> Asked) -> Case {
    Case {
        operation: REGENERATE,
        status,
        code,
        ask,
    }
}

const CASES: &[Case] = &[
    case(200, None, || Box::pin(success())),
    case(400, Some("INVALID_REQUEST"), || Box::pin(invalid_request())),
    case(401, Some("UNAUTHENTICATED"), || Box::pin(unauthenticated())),
    case(403, Some("MFA_REQUIRED"), || Box::pin(mfa_required())),
    case(404, Some("DEVICE_NOT_FOUND"), || {
        Box::pin(device_not_found())
    }),
    case(408, Some("REQUEST_TIMEOUT"), || {
        Box::pin(faults::body_that_does_not_finish())
    }),
    case(409, Some("DEVICE_NOT_CONFIRMED"), || {
        Box::pin(device_not_confirmed())
    }),
    case(413, Some("PAYLOAD_TOO_LARGE"), || {
        Box::pin(payload_too_large())
    }),
    case(415, Some("UNSUPPORTED_MEDIA_TYPE"), || {
        Box::pin(unsupported_media_type())
    }),
    case(500, Some("INTERNAL"), || Box::pin(internal())),
    case(503, Some("UNAVAILABLE"), || Box::pin(unavailable())),
    case(503, Some("DEADLINE_EXCEEDED"), || {
        Box::pin(deadline_exceeded())
    }),
];

#[tokio::test]
async fn documented_answers_are_given() {
    for case in CASES {
        let answer = (case.ask)().await;
        assert_eq!(
            answer.status, case.status,
            "{:?}: {:?}",
            case.code, answer.body
        );
        match case.code {
            Some(code) => answer.assert(case.status, code),
            None => assert_eq!(answer.body["errors"], Value::Null),
        }
    }
}

#[test]
fn every_documented_answer_has_a_case() {
    let covered: BTreeSet<(String, String, Option<String>)> = CASES
        .iter()
        .map(|case| {
            (
                case.operation.to_owned(),
                case.status.to_string(),
                case.code.map(str::to_owned),
            )
        })
        .collect();
    assert_eq!(covered, documented_answers());
}

#[test]
fn every_listed_code_is_of_some_answer() {
    let listed =
        &CONTRACT["components"]["schemas"]["ApiError"]["properties"]["code"]["x-extensible-enum"];
    let listed: BTreeSet<String> = serde_json::from_value(listed.clone()).expect("a list of codes");
    let mut given: BTreeSet<String> = CASES
        .iter()
        .filter_map(|case| case.code)
        .map(str::to_owned)
        .collect();
    // Of other methods, which no operation documents: `faults::other_methods_are_refused`.
    given.insert("METHOD_NOT_ALLOWED".to_owned());
    assert_eq!(listed, given);
}

/// Operation, status and code of all that the contract documents.
fn documented_answers() -> BTreeSet<(String, String, Option<String>)> {
    let mut answers = BTreeSet::new();
    for item in CONTRACT["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("a path item").values() {
            let id = operation["operationId"].as_str().expect("an id");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let codes = deref(response)["x-error-codes"].as_array();
                let codes: Vec<Option<String>> = match codes {
                    Some(codes) => codes
                        .iter()
                        .map(|code| code.as_str().map(str::to_owned))
                        .collect(),
                    None => vec![None],
                };
                answers.extend(
                    codes
                        .into_iter()
                        .map(|code| (id.to_owned(), status.clone(), code)),
                );
            }
        }
    }
    answers
}

async fn success() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    home.serve(&[]).regenerate(&ada.token, &ada.device).await
}

async fn invalid_request() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    home.serve(&[]).regenerate(&ada.token, "not digits").await
}

async fn unauthenticated() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    home.serve(&[]).regenerate("arks_nobody", &ada.device).await
}

async fn mfa_required() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let (_, token, _) = home.session(&ada.user, None);
    home.serve(&[]).regenerate(&token, &ada.device).await
}

async fn device_not_found() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    home.serve(&[]).regenerate(&ada.token, "1").await
}

async fn device_not_confirmed() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let pending = home.device(&ada.user, false);
    home.serve(&[]).regenerate(&ada.token, &pending).await
}

async fn payload_too_large() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    home.serve(&[])
        .regenerate(&ada.token, &"1".repeat(65_536))
        .await
}

async fn unsupported_media_type() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let plain =
        reqwest::Client::new().post(format!("{}{}", server.base, crate::harness::REGENERATE));
    Answer::to(
        plain
            .header("x-arklow-auth", &ada.token)
            .header("content-type", "text/plain")
            .body("{}"),
    )
    .await
}

/// A row that cannot be true.
async fn internal() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    home.vandal()
        .run("PRAGMA ignore_check_constraints = ON; UPDATE devices SET name = ''");
    server.regenerate(&ada.token, &ada.device).await
}

/// Somebody else holds the write lock for longer than the server waits.
async fn unavailable() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--busy-timeout", "200ms"]);
    let mut vandal = home.vandal();
    vandal.run("BEGIN IMMEDIATE");
    server.regenerate(&ada.token, &ada.device).await
}

async fn deadline_exceeded() -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--busy-timeout", "20s", "--request-deadline", "300ms"]);
    let mut vandal = home.vandal();
    vandal.run("BEGIN IMMEDIATE");
    server.regenerate(&ada.token, &ada.device).await
}
