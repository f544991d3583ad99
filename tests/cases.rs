//! One request for each answer that `openapi.yaml` documents. An answer that nothing here provokes fails, and so does one
//! that comes out as another.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::faults;
use crate::harness::{Answer, App, CONTRACT, Caller, Home, Server, codes_of, deref, place};
use crate::recorded::compare_answers;

/// How many servers run at once.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn documented_answers_are_given() {
    let all = documented_answers();
    assert!(all.len() > 80, "{} answers are documented", all.len());
    let mut given = iter(all)
        .map(|documented| {
            tokio::spawn(async move {
                let (operation, status, code) = documented;
                let answer = provoke(&operation, status, code.as_deref()).await;
                let first = answer.codes().into_iter().next();
                let case = format!("{operation} {status} {code:?}");
                assert_eq!(
                    (answer.status, first),
                    (status, code),
                    "{case}: {:?}",
                    answer.body
                );
                (
                    (operation, status, answer.codes().into_iter().next()),
                    answer,
                )
            })
        })
        .buffer_unordered(AT_ONCE);
    let mut answers = BTreeMap::new();
    while let Some(case) = given.next().await {
        answers.extend([case.expect("the case holds")]);
    }
    compare_answers(&answers);
}

#[test]
fn every_listed_code_is_of_some_answer() {
    let listed =
        &CONTRACT["components"]["schemas"]["ApiError"]["properties"]["code"]["x-extensible-enum"];
    let listed: BTreeSet<String> = serde_json::from_value(listed.clone()).expect("a list of codes");
    let mut documented: BTreeSet<String> = documented_answers()
        .into_iter()
        .filter_map(|(_, _, code)| code)
        .collect();
    // Of other methods, which no operation documents: `faults::other_methods_are_refused`.
    documented.insert("METHOD_NOT_ALLOWED".to_owned());
    assert_eq!(listed, documented);
}

/// Operation, status and code of all that the contract documents.
fn documented_answers() -> BTreeSet<(String, u16, Option<String>)> {
    let mut answers = BTreeSet::new();
    for item in CONTRACT["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("a path item").values() {
            let id = operation["operationId"].as_str().expect("an id");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let status = status.parse().expect("a status");
                let codes = codes_of(deref(response)).into_iter().map(Some);
                let codes: Vec<Option<String>> = match status {
                    200 => vec![None],
                    _ => codes.collect(),
                };
                assert!(!codes.is_empty(), "{id} {status} lists no code");
                answers.extend(codes.into_iter().map(|code| (id.to_owned(), status, code)));
            }
        }
    }
    answers
}

/// A user with a confirmed device, and a pending one where the operation needs it.
struct Scene {
    home: Home,
    server: Server,
    ada: Caller,
    /// The device that a good request names, and its app.
    device: String,
    app: Option<App>,
    codes: Vec<String>,
}

impl Scene {
    async fn set(operation: &str, arguments: &[&str]) -> Self {
        let home = Home::new();
        let ada = home.caller("ada");
        let server = home.serve(arguments);
        let mut scene = Self {
            device: ada.device.clone(),
            home,
            server,
            ada,
            app: None,
            codes: Vec::new(),
        };
        match operation {
            "post_v1_self_mfa_enroll_confirm" => scene.begin_enrollment().await,
            "post_v1_self_mfa_verify_totp_backup" => {
                let new = scene.server.regenerate(&scene.ada.token, &scene.device);
                scene.codes = new.await.backup_codes();
            }
            _ => {}
        }
        scene
    }

    async fn begin_enrollment(&mut self) {
        let started = self.server.start(&self.ada.token, "Tablet").await;
        self.device = started.device();
        self.app = Some(started.app());
    }

    /// A body with which the operation succeeds.
    fn body(&self, operation: &str) -> Value {
        let app = self.app.as_ref().unwrap_or(&self.ada.app);
        let device = &self.device;
        match operation {
            "post_v1_self_mfa_enroll_start" => json!({ "name": "Tablet" }),
            "post_v1_self_mfa_enroll_confirm" | "post_v1_self_mfa_verify_totp" => {
                json!({ "device_id": device, "code": app.code() })
            }
            "post_v1_self_mfa_verify_totp_backup" => {
                json!({ "device_id": device, "code": self.codes[0] })
            }
            "post_v1_self_mfa_regenerate_totp" => json!({ "device_id": device }),
            "delete_v1_self_mfa_remove" => {
                json!({ "device_id": device, "verification_type": "totp", "code": app.code() })
            }
            _ => Value::Null,
        }
    }

    /// As [`body`](Self::body), but for a code that is not right.
    fn wrong(&self, operation: &str) -> Value {
        let mut body = self.body(operation);
        let app = self.app.as_ref().unwrap_or(&self.ada.app);
        body["code"] = match operation {
            // The check symbol fits; it is of no set.
            "post_v1_self_mfa_verify_totp_backup" => json!("0410-6105-0R3G-G28A-1C60-T3GJ"),
            _ => json!(app.wrong_code()),
        };
        body
    }

    fn request(&self, operation: &str, body: &Value) -> RequestBuilder {
        let request = self.server.request(operation, &self.ada.token);
        match body {
            Value::Null => request,
            body => request.json(body),
        }
    }

    async fn answer(&self, operation: &str, body: &Value) -> Answer {
        Answer::by(operation, self.request(operation, body)).await
    }

    async fn good(&self, operation: &str) -> Answer {
        self.answer(operation, &self.body(operation)).await
    }
}

/// Makes the server give this answer, however hard it is.
async fn provoke(operation: &str, status: u16, code: Option<&str>) -> Answer {
    let reads = place(operation).1 == "get";
    let scene = async |arguments: &[&str]| Scene::set(operation, arguments).await;
    match (status, code) {
        (200, _) => scene(&[]).await.good(operation).await,
        (400, Some("INVALID_REQUEST")) if reads => {
            let scene = scene(&[]).await;
            let request = scene.request(operation, &Value::Null);
            Answer::by(operation, request.query(&[("take", "51")])).await
        }
        (400, Some("INVALID_REQUEST")) => scene(&[]).await.answer(operation, &json!({})).await,
        (400, Some("MALFORMED_CODE")) => {
            let scene = scene(&[]).await;
            let mut body = scene.body(operation);
            body["code"] = json!("12345x");
            scene.answer(operation, &body).await
        }
        (401, _) => {
            let scene = scene(&[]).await;
            let request = scene.server.request(operation, "arks_nobody");
            Answer::by(operation, request.json(&scene.body(operation))).await
        }
        (403, _) => {
            let mut scene = scene(&[]).await;
            scene.ada.token = scene.home.session(&scene.ada.user, None).1;
            scene.good(operation).await
        }
        (404, _) => {
            let mut scene = scene(&[]).await;
            scene.device = "1".to_owned();
            scene.good(operation).await
        }
        (408, _) => faults::body_that_does_not_finish(operation).await,
        (409, Some(code)) => conflict(operation, code).await,
        (413, _) => {
            let scene = scene(&[]).await;
            let request = scene.server.request(operation, &scene.ada.token);
            let request = request.header("content-type", "application/json");
            Answer::by(operation, request.body(" ".repeat(65_537))).await
        }
        (415, _) => {
            let scene = scene(&[]).await;
            let request = scene.server.request(operation, &scene.ada.token);
            let request = request.header("content-type", "text/plain");
            Answer::by(operation, request.body("{}")).await
        }
        (429, Some(code)) => too_many(operation, code).await,
        (500, _) => {
            let scene = scene(&[]).await;
            let mut vandal = scene.home.vandal();
            vandal.unchecked();
            vandal.run("UPDATE devices SET name = ''; UPDATE users SET name = ''");
            scene.good(operation).await
        }
        (503, Some(code)) if reads => unanswered_read(operation, code).await,
        (503, Some("UNAVAILABLE")) => {
            let scene = scene(&["--busy-timeout", "200ms"]).await;
            let mut vandal = scene.home.vandal();
            vandal.lock();
            scene.good(operation).await
        }
        (503, Some("DEADLINE_EXCEEDED")) => {
            let arguments = ["--busy-timeout", "20s", "--request-deadline", "300ms"];
            let scene = scene(&arguments).await;
            let mut vandal = scene.home.vandal();
            vandal.lock();
            scene.good(operation).await
        }
        _ => panic!("nothing here provokes {operation} {status} {code:?}"),
    }
}

async fn conflict(operation: &str, code: &str) -> Answer {
    match code {
        "DEVICE_NOT_CONFIRMED" => {
            let mut scene = Scene::set(operation, &[]).await;
            scene.begin_enrollment().await;
            scene.good(operation).await
        }
        "DEVICE_ALREADY_CONFIRMED" => {
            let mut scene = Scene::set(operation, &[]).await;
            scene.device = scene.ada.device.clone();
            scene.good(operation).await
        }
        "ENROLLMENT_EXPIRED" => {
            let scene = Scene::set(operation, &[]).await;
            let mut vandal = scene.home.vandal();
            vandal.run("UPDATE devices SET created_at = created_at - 900000000");
            scene.good(operation).await
        }
        "TOO_MANY_DEVICES" => {
            let scene = Scene::set(operation, &["--max-devices", "2"]).await;
            scene.home.device(&scene.ada.user, true);
            scene.good(operation).await
        }
        _ => panic!("nothing here provokes {operation} {code}"),
    }
}

async fn too_many(operation: &str, code: &str) -> Answer {
    let arguments: &[&str] = match (operation, code) {
        ("post_v1_self_mfa_regenerate_totp", _) => &["--limit-regenerate", "1/1h"],
        ("post_v1_self_mfa_enroll_start", _) => &["--limit-enroll", "1/1h"],
        (_, "RATE_LIMITED") => &["--limit-address", "1/5m"],
        (_, "TOO_MANY_FAILURES") => &["--lock-after", "1"],
        (_, "FACTOR_LOCKED") => &["--lock-after", "100", "--lock-factor-after", "1"],
        _ => panic!("nothing here provokes {operation} {code}"),
    };
    let scene = Scene::set(operation, arguments).await;
    if arguments[0] == "--limit-regenerate" || arguments[0] == "--limit-enroll" {
        scene.good(operation).await.assert_ok();
    } else {
        let wrong = scene.wrong(operation);
        scene.answer(operation, &wrong).await.assert_ok();
    }
    let refused = scene.good(operation).await;
    let seconds = refused.headers["retry-after"].to_str().expect("text");
    let seconds: u32 = seconds.parse().expect("whole seconds");
    let expected = match code {
        "RATE_LIMITED" if arguments[0] == "--limit-address" => 290..=300,
        "TOO_MANY_FAILURES" => 890..=900,
        _ => 3590..=3600,
    };
    assert!(expected.contains(&seconds), "{operation} {code}: {seconds}");
    refused
}

/// Readers never wait for the writer, so the read itself is made very slow.
async fn unanswered_read(operation: &str, code: &str) -> Answer {
    let deadline = match code {
        "DEADLINE_EXCEEDED" => "300ms",
        _ => "60s",
    };
    let arguments = [
        "--busy-timeout",
        "200ms",
        "--request-deadline",
        deadline,
        "--database-connections",
        "8",
    ];
    let scene = Scene::set(operation, &arguments).await;
    let mut vandal = scene.home.vandal();
    let slow = vandal.slow();
    vandal.run(&match operation {
        "get_v1_self" => format!(
            "DROP TABLE memberships; CREATE VIEW memberships AS
             SELECT id AS user_id, 1 AS org_id, '' AS permissions FROM users WHERE {slow}"
        ),
        _ => format!(
            "ALTER TABLE devices RENAME TO slow_devices; CREATE VIEW devices AS
             SELECT * FROM slow_devices WHERE {slow}"
        ),
    });
    if code == "DEADLINE_EXCEEDED" {
        return scene.good(operation).await;
    }
    // All readers are busy; the next request finds none.
    let under_way: Vec<_> = (0..8)
        .map(|_| tokio::spawn(scene.request(operation, &Value::Null).send()))
        .collect();
    // Who still finds one is kept waiting, too.
    let soon = std::time::Duration::from_secs(2);
    let answer = loop {
        if let Ok(answer) = tokio::time::timeout(soon, scene.good(operation)).await {
            break answer;
        }
    };
    under_way.iter().for_each(tokio::task::JoinHandle::abort);
    answer
}
