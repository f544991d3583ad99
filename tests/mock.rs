//! `arklow mock`: it can return every documented answer, and it checks a request as the server does.

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use arklow_client::generated;
use arklow_client::types::{
    BackupCodeRequest, RegenerateTotpRequest, RemoveDeviceRequest, StartEnrollmentRequest,
    TotpCodeRequest, VerificationType,
};

use crate::harness::{Answer, CONTRACT, Home, REGENERATE, Server, arklow, deref, string, text};

fn mock() -> Server {
    Server::spawn(arklow().args(["mock", "--listen", "127.0.0.1:0"]))
}

/// The token that the mock prints; it takes any of this form.
fn token() -> String {
    format!("arks_{}", "a".repeat(52))
}

/// A body that the operation takes, from the contract.
fn body(operation: &Value) -> Value {
    let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
    let first = examples.as_object().and_then(|all| all.values().next());
    first.map_or(Value::Null, |example| example["value"].clone())
}

async fn ask(mock: &Server, operation: &Value, prefer: &str) -> Answer {
    let id = operation["operationId"].as_str().expect("an id");
    let request = mock.request(id, &token()).header("prefer", prefer);
    let request = match body(operation) {
        Value::Null => request,
        body => request.json(&body),
    };
    Answer::by(id, request).await
}

/// Every operation of the contract.
fn operations() -> impl Iterator<Item = &'static Value> {
    let items = CONTRACT["paths"].as_object().expect("paths").values();
    items.flat_map(|item| item.as_object().expect("a path item").values())
}

/// Every status that an operation documents, with the response.
fn responses(operation: &'static Value) -> impl Iterator<Item = (u16, &'static Value)> {
    let responses = operation["responses"].as_object().expect("responses");
    responses
        .iter()
        .map(|(status, response)| (status.parse().expect("a status"), deref(response)))
}

/// `Answer::check` holds status, headers, body and codes against the contract.
#[tokio::test]
async fn every_documented_answer_can_be_had_and_is_one_of_the_contract() {
    let mock = mock();
    let (mut statuses, mut examples) = (0, 0);
    for operation in operations() {
        for (status, response) in responses(operation) {
            let answer = ask(&mock, operation, &format!("code={status}")).await;
            assert_eq!(answer.status, status);
            statuses += 1;
            let named = &response["content"]["application/json"]["examples"];
            for (name, example) in named.as_object().expect("examples") {
                let prefer = format!("code={status}, example={name}");
                let answer = ask(&mock, operation, &prefer).await;
                assert_eq!((answer.status, &answer.body), (status, &example["value"]));
                let found = ask(&mock, operation, &format!("example={name}")).await;
                assert_eq!(found.body, example["value"], "by its name alone");
                examples += 1;
            }
        }
    }
    assert!(statuses > 60 && examples > 80, "{statuses}, {examples}");
}

#[tokio::test]
async fn every_documented_answer_is_understood_by_the_client() {
    let mock = mock();
    for operation in operations() {
        for (status, _) in responses(operation) {
            let prefer = HeaderValue::from_str(&format!("code={status}")).expect("a value");
            let headers = HeaderMap::from_iter([("prefer".parse().expect("a name"), prefer)]);
            let client = arklow_client::Client::builder(&mock.base)
                .token(token())
                .http(reqwest::Client::builder().default_headers(headers))
                .retries(0)
                .build()
                .expect("a client");
            let id = operation["operationId"].as_str().expect("an id");
            let answer = through_client(client.generated(), id).await;
            assert_eq!(answer.status, status, "{id}");
        }
    }
}

async fn through_client(client: &generated::Client, operation: &str) -> Answer {
    let (device_id, code) = ("1".to_owned(), "287082".to_owned());
    let totp = TotpCodeRequest {
        device_id: device_id.clone(),
        code: code.clone(),
    };
    macro_rules! sent {
        ($operation:ident, $body:expr) => {
            Answer::of(operation, client.$operation().body($body).send().await)
        };
    }
    match operation {
        "get_v1_self" => Answer::of(operation, client.get_v1_self().send().await),
        "get_v1_self_mfa" => Answer::of(operation, client.get_v1_self_mfa().send().await),
        "post_v1_self_mfa_enroll_start" => {
            let (name, device_type) = ("Phone".to_owned(), None);
            let body = StartEnrollmentRequest { name, device_type };
            sent!(post_v1_self_mfa_enroll_start, body)
        }
        "post_v1_self_mfa_enroll_confirm" => sent!(post_v1_self_mfa_enroll_confirm, totp),
        "post_v1_self_mfa_verify_totp" => sent!(post_v1_self_mfa_verify_totp, totp),
        "post_v1_self_mfa_verify_totp_backup" => {
            let body = BackupCodeRequest { device_id, code };
            sent!(post_v1_self_mfa_verify_totp_backup, body)
        }
        "post_v1_self_mfa_regenerate_totp" => {
            let body = RegenerateTotpRequest { device_id };
            sent!(post_v1_self_mfa_regenerate_totp, body)
        }
        "delete_v1_self_mfa_remove" => {
            let body = RemoveDeviceRequest {
                device_id,
                verification_type: VerificationType::Totp,
                code,
            };
            sent!(delete_v1_self_mfa_remove, body)
        }
        _ => panic!("no call for {operation}"),
    }
}

#[tokio::test]
async fn success_is_answered_unasked() {
    let mock = mock();
    for operation in operations() {
        for prefer in ["", "respond-async", "dynamic=true"] {
            let answer = ask(&mock, operation, prefer).await;
            assert_eq!(answer.status, 200, "{:?}", answer.body);
        }
    }
    let answer = mock.verify(&token(), "1", "287082").await;
    assert!(answer.is_valid(), "the first of the document's examples");
}

#[tokio::test]
async fn preference_that_is_not_documented_is_refused_with_what_is() {
    let mock = mock();
    for operation in operations() {
        let statuses: Vec<String> = responses(operation)
            .map(|(status, _)| status.to_string())
            .collect();
        for prefer in ["code=418", "code=abc", "code", "code=2OO", "code=99999999"] {
            let id = operation["operationId"].as_str().expect("an id");
            let request = mock.request(id, &token()).header("prefer", prefer);
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 400, "{id} {prefer}");
            let body: Value = answer.json().await.expect("JSON");
            assert_eq!(body["errors"][0]["code"], "INVALID_REQUEST");
            assert_eq!(
                body["errors"][0]["message"],
                format!(
                    "header /prefer: `code` is none of the documented statuses: {}",
                    statuses.join(", ")
                )
            );
        }
    }
    let regenerate = operations()
        .find(|operation| operation["operationId"] == "post_v1_self_mfa_regenerate_totp")
        .expect("it is there");
    let answer = ask(&mock, regenerate, "code=409, example=nobody").await;
    answer.assert(400, "INVALID_REQUEST");
    let said = &answer.messages()[0];
    assert!(
        said.ends_with(": device_not_confirmed") && !said.contains("nobody"),
        "{said}"
    );
}

/// The same faulty requests to the mock and to the server, and the same answers.
#[tokio::test]
async fn faulty_requests_are_answered_as_the_server_answers_them() {
    let home = Home::new();
    let ada = home.caller("ada");
    let (server, mock) = (home.serve(&[]), mock());
    let client = reqwest::Client::new();
    let post = |at: &Server| client.post(format!("{}{REGENERATE}", at.base));
    type Build<'a> = &'a dyn Fn(&Server, &str) -> reqwest::RequestBuilder;
    let requests: [(&str, u16, Build<'_>); 9] = [
        ("no token", 401, &|at, _| post(at).json(&json!({}))),
        ("no such token", 401, &|at, _| {
            post(at).header("x-arklow-auth", "arks_x").json(&json!({}))
        }),
        ("two tokens", 401, &|at, token| {
            let once = at.post(token, r#"{"device_id":"1"}"#);
            once.header("x-arklow-auth", token)
        }),
        ("another media type", 415, &|at, token| {
            let request = post(at).header("x-arklow-auth", token);
            request.header("content-type", "text/plain").body("{}")
        }),
        ("too large", 413, &|at, token| {
            at.post(token, " ".repeat(65_537))
        }),
        ("no JSON", 400, &|at, token| at.post(token, "{")),
        ("a key twice", 400, &|at, token| {
            at.post(token, r#"{"device_id":"1","device_id":"1"}"#)
        }),
        ("a broken schema", 400, &|at, token| {
            at.post(token, r#"{"device_id":"x"}"#)
        }),
        ("another method", 405, &|at, token| {
            client
                .put(format!("{}{REGENERATE}", at.base))
                .header("x-arklow-auth", token)
        }),
    ];
    for (what, status, build) in requests {
        let real = Answer::to(build(&server, &ada.token)).await;
        let mocked = Answer::to(build(&mock, &token())).await;
        assert_eq!((mocked.status, real.status), (status, status), "{what}");
        assert_eq!(mocked.body, real.body, "{what}");
        let stable = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            for varying in ["date", "x-request-id"] {
                headers.remove(varying);
            }
            headers
        };
        assert_eq!(stable(&mocked), stable(&real), "{what}");
    }
    let short = json!({ "device_id": "1", "code": "1" });
    let request = |at: &Server, token: &str| {
        let request = at.request("post_v1_self_mfa_verify_totp", token);
        request.json(&short)
    };
    let real = Answer::by("post_v1_self_mfa_verify_totp", request(&server, &ada.token)).await;
    let mocked = Answer::by("post_v1_self_mfa_verify_totp", request(&mock, &token())).await;
    assert_eq!(mocked.body, real.body);
    mocked.assert(400, "MALFORMED_CODE");
}

/// A page of another origin must use its own server as a proxy: by default no other page may send requests.
#[tokio::test]
async fn pages_of_other_origins_are_not_let_in() {
    let mock = mock();
    let preflight = reqwest::Client::new()
        .request(
            reqwest::Method::OPTIONS,
            format!("{}{REGENERATE}", mock.base),
        )
        .header("origin", "http://localhost:5173")
        .header("access-control-request-method", "POST");
    let answer = preflight.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 405);
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn mock_says_that_it_is_one_and_gives_all_that_a_request_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = arklow();
    command
        .args(["mock", "--listen", "127.0.0.1:0", "--json"])
        .current_dir(folder.path());
    let mut mock = Server::spawn(&mut command);
    let line = loop {
        let printed = mock.printed();
        if let Some(line) = printed.lines().find(|line| line.starts_with("{\"token\"")) {
            break line.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let given: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(string(&given["url"]), mock.base);
    let answer = mock.regenerate(&string(&given["token"]), "1").await;
    assert_eq!(answer.backup_codes().len(), 10);
    assert!(mock.printed().contains("A MOCK: "), "{}", mock.printed());
    mock.signal("INT");
    assert_eq!(mock.wait().code(), Some(0));
    let left = std::fs::read_dir(folder.path())
        .expect("the folder")
        .count();
    assert_eq!(left, 0, "it needs no files");
}

#[test]
fn requests_that_the_mock_prints_work() {
    let mock = mock();
    let lines: Vec<String> = loop {
        let printed = mock.printed();
        let lines = printed.lines().filter(|line| line.starts_with("curl "));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        if lines.len() == 2 {
            break lines;
        }
        crate::harness::pause();
    };
    if std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_err()
    {
        crate::harness::skip("curl is not installed");
        return;
    }
    let answers = lines.iter().map(|line| {
        let output = std::process::Command::new("sh").args(["-c", line]).output();
        let output = output.expect("sh runs");
        serde_json::from_slice::<Value>(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
    });
    let answers: Vec<Value> = answers.collect();
    assert_eq!(
        answers[0]["data"]["backup_codes"].as_array().map(Vec::len),
        Some(10)
    );
    assert_eq!(answers[1]["errors"][0]["code"], "RATE_LIMITED");
}

#[test]
fn mock_serves_this_machine_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let output = arklow().args(["mock", "--listen", address]).output();
        let output = output.expect("the binary runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("`arklow mock`") && said.contains(address),
            "{said}"
        );
    }
}
