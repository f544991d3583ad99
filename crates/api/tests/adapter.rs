//! The generated adapter on a real Dropshot server, with an implementation that misbehaves on demand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arklow_api::server::{
    Credentials, Failure, Origin, PostV1SelfMfaRegenerateTotpRequest, RequestError, Served,
    Settings, api_description, context,
};
use arklow_api::types::{
    ApiError, ErrorCode, ErrorEnvelope, RegenerateTotpEnvelope, RegenerateTotpRequest,
};
use arklow_api::unimplemented::Unimplemented;
use serde_json::{Value, json};

/// Panics for device 500, never answers for device 503, fails for some others, and answers an empty success for the rest. It
/// has one operation.
#[derive(Default)]
struct Moody {
    calls: AtomicUsize,
}

impl Unimplemented for Moody {
    type Caller = ();
    type Error = Failure;

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

    fn request_error(&self, error: &RequestError) -> ErrorEnvelope {
        envelope(error.code(), error.messages())
    }

    fn error(&self, error: Failure, _: &Origin) -> Failure {
        error
    }

    async fn post_v1_self_mfa_regenerate_totp(
        &self,
        (): (),
        request: PostV1SelfMfaRegenerateTotpRequest,
    ) -> Result<RegenerateTotpEnvelope, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match request.body.device_id.as_str() {
            "500" => panic!("a canary in a panic: hunter2"),
            "503" => std::future::pending().await,
            "409" => Err(failure(ErrorCode::DeviceNotConfirmed, None)),
            "429" => Err(failure(ErrorCode::RateLimited, Some(60))),
            // What the operation does not declare.
            "4290" => Err(failure(ErrorCode::RateLimited, None)),
            "4090" => Err(failure(ErrorCode::EnrollmentExpired, None)),
            _ => Ok(RegenerateTotpEnvelope {
                data: None,
                errors: None,
            }),
        }
    }
}

fn envelope(code: &str, messages: Vec<String>) -> ErrorEnvelope {
    let errors = messages.into_iter().map(|message| ApiError {
        code: code.to_owned(),
        message,
    });
    ErrorEnvelope {
        data: (),
        errors: errors.collect(),
    }
}

fn failure(code: ErrorCode, retry_after: Option<i64>) -> Failure {
    Failure::Declared {
        code,
        body: envelope(code.as_str(), vec!["no".to_owned()]),
        retry_after,
    }
}

struct Server {
    server: dropshot::HttpServer<Served<Moody>>,
    http: reqwest::Client,
}

impl Server {
    fn start() -> Self {
        Self::logging_to(slog::Discard)
    }

    fn logging_to(
        drain: impl slog::SendSyncUnwindSafeDrain<Ok = (), Err = slog::Never>
        + std::panic::RefUnwindSafe
        + 'static,
    ) -> Self {
        let settings = Settings {
            deadline: Duration::from_millis(200),
            body_timeout: Duration::from_millis(300),
            ..Settings::default()
        };
        let log = slog::Logger::root(drain, slog::o!());
        let context = context(Moody::default(), settings);
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
async fn declared_error_has_the_status_and_the_headers_of_its_code() {
    let server = Server::start();
    let (status, headers, body) = answered(server.post("good", r#"{"device_id":"409"}"#)).await;
    assert_eq!((status, codes(&body)), (409, vec!["DEVICE_NOT_CONFIRMED"]));
    assert!(!headers.contains_key("retry-after"));
    let (status, headers, body) = answered(server.post("good", r#"{"device_id":"429"}"#)).await;
    assert_eq!((status, codes(&body)), (429, vec!["RATE_LIMITED"]));
    assert_eq!(headers["retry-after"], "60");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl slog::Drain for Kept {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        let mut lines = self.0.lock().expect("nobody panicked");
        lines.push(format!("{} {}", record.level(), record.msg()));
        Ok(())
    }
}

#[tokio::test]
async fn error_that_the_operation_does_not_declare_is_500_and_logged() {
    let kept = Kept::default();
    let server = Server::logging_to(kept.clone());
    for (device, what) in [
        ("4090", "the error code ENROLLMENT_EXPIRED"),
        ("4290", "the error code RATE_LIMITED without `retry-after`"),
    ] {
        let body = format!(r#"{{"device_id":"{device}"}}"#);
        let (status, _, body) = answered(server.post("good", body)).await;
        assert_eq!((status, codes(&body)), (500, vec!["INTERNAL"]));
        let line = format!(
            "ERRO `post_v1_self_mfa_regenerate_totp` does not declare {what}; answering 500"
        );
        let lines = kept.0.lock().expect("nobody panicked");
        assert!(lines.contains(&line), "{lines:?}");
    }
}

#[tokio::test]
async fn operation_without_an_implementation_is_501() {
    let server = Server::start();
    let url = format!("http://{}/v1/self/", server.server.local_addr());
    let request = server.http.get(url).header("x-arklow-auth", "good");
    let (status, _, body) = answered(request).await;
    assert_eq!((status, codes(&body)), (501, vec!["NOT_IMPLEMENTED"]));
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
    assert!(answer.is_ok());
}

/// Dropshot's description of the routes equals the document that Progenitor reads.
#[test]
fn dropshot_describes_what_the_lowered_document_says() {
    let described = api_description::<Moody>()
        .expect("the routes are fine")
        .tag_config(dropshot::TagConfig::default())
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
