//! The generated adapter on a real Dropshot server, with an implementation that misbehaves on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arklow_api::server::{
    self as api, Api, Credentials, Origin, PostV1SelfMfaRegenerateTotpAnswer,
    PostV1SelfMfaRegenerateTotpRequest, RequestError, Served, Settings, api_description,
    stub_api_description,
};
use arklow_api::types::{ApiError, ErrorEnvelope, RegenerateTotpEnvelope, RegenerateTotpRequest};
use serde_json::{Value, json};

/// Operations that no test here asks.
macro_rules! unasked {
    ($($operation:ident($request:ident) -> $answer:ident;)*) => {$(
        async fn $operation(&self, (): (), _: api::$request) -> api::$answer {
            panic!("nobody asks for it")
        }
    )*};
}

/// Panics for device 500, never answers for device 503, and answers an empty success for any other.
#[derive(Default)]
struct Moody {
    calls: AtomicUsize,
}

impl Api for Moody {
    type Caller = ();

    async fn authenticate(
        &self,
        _origin: Origin,
        credentials: Credentials,
    ) -> Result<(), RequestError> {
        let Credentials::ApiKey(key) = credentials;
        match key.expose() {
            "good" => Ok(()),
            "panic" => panic!("while authenticating: {}", key.expose()),
            _ => Err(RequestError::Unauthenticated),
        }
    }

    fn fault(&self, fault: &RequestError) -> ErrorEnvelope {
        let code = fault.code().to_owned();
        let errors = fault
            .messages()
            .into_iter()
            .map(|message| ApiError {
                code: code.clone(),
                message,
            })
            .collect();
        ErrorEnvelope { data: (), errors }
    }

    async fn post_v1_self_mfa_regenerate_totp(
        &self,
        (): (),
        request: PostV1SelfMfaRegenerateTotpRequest,
    ) -> PostV1SelfMfaRegenerateTotpAnswer {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match request.body.device_id.as_str() {
            "500" => panic!("a canary in a panic: hunter2"),
            "503" => std::future::pending().await,
            _ => PostV1SelfMfaRegenerateTotpAnswer::Ok(RegenerateTotpEnvelope {
                data: None,
                errors: None,
            }),
        }
    }

    unasked! {
        get_v1_self(GetV1SelfRequest) -> GetV1SelfAnswer;
        get_v1_self_mfa(GetV1SelfMfaRequest) -> GetV1SelfMfaAnswer;
        post_v1_self_mfa_enroll_start(PostV1SelfMfaEnrollStartRequest) -> PostV1SelfMfaEnrollStartAnswer;
        post_v1_self_mfa_enroll_confirm(PostV1SelfMfaEnrollConfirmRequest) -> PostV1SelfMfaEnrollConfirmAnswer;
        post_v1_self_mfa_verify_totp(PostV1SelfMfaVerifyTotpRequest) -> PostV1SelfMfaVerifyTotpAnswer;
        post_v1_self_mfa_verify_totp_backup(PostV1SelfMfaVerifyTotpBackupRequest) -> PostV1SelfMfaVerifyTotpBackupAnswer;
        delete_v1_self_mfa_remove(DeleteV1SelfMfaRemoveRequest) -> DeleteV1SelfMfaRemoveAnswer;
    }
}

struct Server {
    server: dropshot::HttpServer<Served<Moody>>,
    http: reqwest::Client,
}

impl Server {
    fn start() -> Self {
        let settings = Settings {
            deadline: Duration::from_millis(200),
            body_timeout: Duration::from_millis(300),
            ..Settings::default()
        };
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let context = Served::new(Moody::default(), settings);
        let description = api_description().expect("the routes are fine");
        let server = dropshot::ServerBuilder::new(description, context, log)
            .start()
            .expect("a port is free");
        Self {
            server,
            http: reqwest::Client::new(),
        }
    }

    fn post(&self, key: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let url = format!(
            "http://{}/v1/self/mfa/regenerate/totp",
            self.server.local_addr()
        );
        self.http
            .post(url)
            .header("x-arklow-auth", key)
            .header("content-type", "application/json")
            .body(body)
    }

    fn calls(&self) -> usize {
        self.server.app_private().api().calls.load(Ordering::SeqCst)
    }
}

/// Sends, asserts what every answer has, and gives status, headers and body.
#[track_caller]
fn answered(
    request: reqwest::RequestBuilder,
) -> impl Future<Output = (u16, reqwest::header::HeaderMap, Value)> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{caller}: {error}"));
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        assert_eq!(headers["cache-control"], "no-store", "{caller}");
        assert!(headers.contains_key("x-request-id"), "{caller}");
        let body: Value = answer
            .json()
            .await
            .unwrap_or_else(|error| panic!("{caller}: {error}"));
        let keys: Vec<&String> = body.as_object().expect("an envelope").keys().collect();
        assert_eq!(keys, ["data", "errors"], "{caller}");
        (status, headers, body)
    }
}

fn codes(body: &Value) -> Vec<&str> {
    let errors = body["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|error| error["code"].as_str().expect("a code"))
        .collect()
}

#[tokio::test]
async fn data_and_errors_are_present_when_null() {
    let server = Server::start();
    let (status, _, body) = answered(server.post("good", r#"{"device_id":"1"}"#)).await;
    assert_eq!(
        (status, body),
        (200, json!({ "data": null, "errors": null }))
    );
}

#[tokio::test]
async fn panic_is_answered_and_the_server_lives_on() {
    let server = Server::start();
    for request in [
        server.post("good", r#"{"device_id":"500"}"#),
        server.post("panic", r#"{"device_id":"1"}"#),
    ] {
        let (status, _, body) = answered(request).await;
        assert_eq!((status, codes(&body)), (500, vec!["INTERNAL"]));
        assert!(!body.to_string().contains("hunter2"));
    }
    assert_eq!(
        answered(server.post("good", r#"{"device_id":"1"}"#))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn implementation_past_its_deadline_is_answered_for() {
    let server = Server::start();
    let (status, headers, body) = answered(server.post("good", r#"{"device_id":"503"}"#)).await;
    assert_eq!((status, codes(&body)), (503, vec!["DEADLINE_EXCEEDED"]));
    assert_eq!(headers["retry-after"], "1");
}

#[tokio::test]
async fn operation_is_not_reached_without_a_caller_or_a_valid_request() {
    let server = Server::start();
    let bad_key = server.post("bad", r#"{"device_id":"1"}"#);
    let two_keys = server
        .post("good", r#"{"device_id":"1"}"#)
        .header("x-arklow-auth", "good");
    let bad_body = server.post("good", r#"{"device_id":"x"}"#);
    let mut statuses = Vec::new();
    for request in [bad_key, two_keys, bad_body] {
        statuses.push(answered(request).await.0);
    }
    assert_eq!(statuses, [401, 401, 400]);
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn faults_of_the_body_come_after_the_credentials() {
    let server = Server::start();
    let huge = vec![b' '; 1 << 20];
    for body in [huge, b"not json".to_vec(), Vec::new()] {
        assert_eq!(answered(server.post("bad", body)).await.0, 401);
    }
}

#[tokio::test]
async fn other_methods_are_refused_in_the_envelope() {
    let server = Server::start();
    let url = format!(
        "http://{}/v1/self/mfa/regenerate/totp",
        server.server.local_addr()
    );
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let request = server.http.request(method.parse().expect("a method"), &url);
        let (status, headers, body) = answered(request).await;
        assert_eq!(
            (status, codes(&body)),
            (405, vec!["METHOD_NOT_ALLOWED"]),
            "{method}"
        );
        assert_eq!(
            headers.get_all("allow").iter().collect::<Vec<_>>(),
            ["POST"],
            "{method}"
        );
    }
    let head = server.http.head(&url).send().await.expect("an answer");
    assert_eq!(
        (head.status().as_u16(), &head.headers()["allow"]),
        (405, &"POST".parse().expect("a value"))
    );
}

#[tokio::test]
async fn trait_is_called_without_http() {
    let moody = Moody::default();
    let request = PostV1SelfMfaRegenerateTotpRequest {
        body: RegenerateTotpRequest {
            device_id: "1".to_owned(),
        },
    };
    let answer = moody.post_v1_self_mfa_regenerate_totp((), request).await;
    assert_eq!(answer.status(), 200);
}

/// Dropshot's description of the generated trait equals the document that Progenitor reads.
#[test]
fn dropshot_describes_what_the_lowered_document_says() {
    let mut stub = stub_api_description().expect("the routes are fine");
    stub = stub.tag_config(dropshot::TagConfig::default());
    let described = stub
        .openapi("Arklow", "0.1.0".parse().expect("a version"))
        .json()
        .expect("a document");
    let lowered: Value =
        serde_json::from_str(include_str!("../src/generated/openapi-3.0.json")).expect("JSON");
    let described = operations(&described);
    assert_eq!(described, operations(&lowered));
    assert_eq!(described.len(), 8, "every operation is compared");
}

/// By method and path: id, tags, and the parameters' places, names, need and JSON types.
fn operations(document: &Value) -> BTreeMap<String, Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            let mut parameters: Vec<Value> = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                parameters.push(json!([
                    parameter["in"],
                    parameter["name"],
                    parameter["required"].as_bool().unwrap_or(false),
                    parameter["schema"]["type"],
                ]));
            }
            parameters.sort_by_key(Value::to_string);
            let value = json!({
                "id": operation["operationId"],
                "tags": operation["tags"],
                "parameters": parameters,
                "summary": operation["summary"],
            });
            // Dropshot routes, and describes, a path without the slash at its end.
            operations.insert(format!("{method} {}", path.trim_end_matches('/')), value);
        }
    }
    operations
}
