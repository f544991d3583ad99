//! How the client handles servers that answer late, badly or not at all, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arklow_client::types::{
    BackupCodeRequest, RegenerateTotpRequest, RemoveDeviceRequest, StartEnrollmentRequest,
    TotpCodeRequest, VerificationType,
};
use arklow_client::{Builder, Client, Error, ErrorCode, Page, Token};
use httpmock::{Mock, MockServer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SELF: &str = "/v1/self/";

fn builder(server: &MockServer) -> Builder {
    Client::builder(server.base_url()).token("arks_test")
}

fn client(server: &MockServer) -> Client {
    builder(server).build().expect("a client")
}

fn ada() -> serde_json::Value {
    let data = json!({ "id": "1", "name": "Ada", "email": "ada@example.com", "memberships": [] });
    json!({ "data": data, "errors": null })
}

fn refusal(code: &str) -> serde_json::Value {
    json!({ "data": null, "errors": [{ "code": code, "message": "no" }] })
}

fn status(error: &Error) -> Option<u16> {
    error.status().map(|status| status.as_u16())
}

/// A server that answers `GET /v1/self/` so, any number of times.
fn answering(server: &MockServer, status: u16, body: serde_json::Value) -> Mock<'_> {
    server.mock(|when, then| {
        when.method("GET").path(SELF);
        then.status(status).json_body(body);
    })
}

/// The operations that change something, by name.
const CHANGES: [&str; 6] = [
    "post_v1_self_mfa_enroll_start",
    "post_v1_self_mfa_enroll_confirm",
    "post_v1_self_mfa_verify_totp",
    "post_v1_self_mfa_verify_totp_backup",
    "post_v1_self_mfa_regenerate_totp",
    "delete_v1_self_mfa_remove",
];

async fn change(client: &Client, operation: &str) -> Error {
    let (device_id, code) = ("1".to_owned(), "123456".to_owned());
    let totp = TotpCodeRequest {
        device_id: device_id.clone(),
        code: code.clone(),
    };
    let error = match operation {
        "post_v1_self_mfa_enroll_start" => {
            let name = "Phone".to_owned();
            let request = StartEnrollmentRequest {
                name,
                device_type: None,
            };
            client.post_v1_self_mfa_enroll_start(request).await.err()
        }
        "post_v1_self_mfa_enroll_confirm" => {
            client.post_v1_self_mfa_enroll_confirm(totp).await.err()
        }
        "post_v1_self_mfa_verify_totp" => client.post_v1_self_mfa_verify_totp(totp).await.err(),
        "post_v1_self_mfa_verify_totp_backup" => {
            let request = BackupCodeRequest { device_id, code };
            let sent = client.post_v1_self_mfa_verify_totp_backup(request).await;
            sent.err()
        }
        "post_v1_self_mfa_regenerate_totp" => {
            let request = RegenerateTotpRequest { device_id };
            client.post_v1_self_mfa_regenerate_totp(request).await.err()
        }
        "delete_v1_self_mfa_remove" => {
            let request = RemoveDeviceRequest {
                device_id,
                verification_type: VerificationType::Totp,
                code,
            };
            client.delete_v1_self_mfa_remove(request).await.err()
        }
        _ => panic!("{operation} is no change"),
    };
    error.expect("it fails")
}

/// A server that reads each request and hangs up; how many there were.
async fn hanging_up() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let read = stream.read(&mut [0; 4096]).await;
            if read.is_ok_and(|bytes| bytes > 0) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (address, requests)
}

/// A port without a listener.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

fn client_of(address: SocketAddr) -> Client {
    let builder = Client::builder(format!("http://{address}")).token("arks_test");
    builder.build().expect("a client")
}

#[tokio::test]
async fn read_waits_as_long_as_the_server_asks_and_is_sent_again() {
    let server = MockServer::start_async().await;
    let busy = server.mock(|when, then| {
        when.method("GET").path(SELF);
        then.status(503)
            .header("retry-after", "1")
            .json_body(refusal("UNAVAILABLE"))
            .up_to_n_times(1);
    });
    let well = answering(&server, 200, ada());
    let started = Instant::now();
    let user = client(&server).get_v1_self().await;
    assert_eq!(user.expect("the second time").name, "Ada");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!((busy.calls(), well.calls()), (1, 1));
}

#[tokio::test]
async fn read_is_given_up_after_as_many_retries_as_are_allowed() {
    for (retries, calls) in [(0, 1), (2, 3)] {
        for answer in [429, 502, 503, 504] {
            let server = MockServer::start_async().await;
            let mock = answering(&server, answer, refusal("UNAVAILABLE"));
            let client = builder(&server).retries(retries).build();
            let error = client.expect("a client").get_v1_self().await;
            assert_eq!(status(&error.expect_err("it never works")), Some(answer));
            mock.assert_calls(calls);
        }
    }
}

#[tokio::test]
async fn read_that_would_have_to_wait_too_long_is_answered_at_once() {
    let server = MockServer::start_async().await;
    let mock = server.mock(|when, then| {
        when.method("GET").path(SELF);
        then.status(503)
            .header("retry-after", "60")
            .json_body(refusal("UNAVAILABLE"));
    });
    let started = Instant::now();
    let error = client(&server).get_v1_self().await.expect_err("busy");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(error.code(), Some(ErrorCode::Unavailable));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    mock.assert_calls(1);
}

#[tokio::test]
async fn answers_that_time_does_not_mend_are_not_asked_for_again() {
    for status in [400, 401, 500] {
        let server = MockServer::start_async().await;
        let mock = answering(&server, status, refusal("NO"));
        client(&server).get_v1_self().await.expect_err("no");
        mock.assert_calls(1);
    }
}

#[tokio::test]
async fn change_is_sent_once_whatever_the_answer() {
    for operation in CHANGES {
        for answer in [401, 408, 429, 500, 502, 503, 504] {
            let server = MockServer::start_async().await;
            let mock = server.mock(|_, then| {
                then.status(answer)
                    .header("retry-after", "0")
                    .json_body(refusal("NO"));
            });
            let client = client_with_fresh_tokens(&server);
            let error = change(&client, operation).await;
            assert_eq!(status(&error), Some(answer), "{error:?}");
            assert_eq!(mock.calls(), 1, "{operation} after {answer}");
        }
    }
}

#[tokio::test]
async fn change_whose_connection_breaks_is_sent_once_and_may_have_been_made() {
    for operation in CHANGES {
        let (address, requests) = hanging_up().await;
        let error = change(&client_of(address), operation).await;
        assert!(matches!(error, Error::NoAnswer(_)), "{error:?}");
        assert!(error.may_have_taken_effect());
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{operation}");
    }
}

#[tokio::test]
async fn read_whose_connection_breaks_is_sent_again() {
    let (address, requests) = hanging_up().await;
    let error = client_of(address).get_v1_self().await.expect_err("never");
    assert!(matches!(error, Error::NoAnswer(_)), "{error:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn change_that_found_no_server_is_sent_once_there_is_one() {
    let address = closed_port().await;
    let server = tokio::spawn(async move {
        // The client has tried by then, and tries again for some seconds.
        tokio::time::sleep(Duration::from_millis(40)).await;
        let listener = TcpListener::bind(address).await.expect("the port");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let read = stream.read(&mut [0; 4096]).await.expect("a request");
        let body = refusal("MFA_REQUIRED").to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n");
        let answer = head + &body;
        stream.write_all(answer.as_bytes()).await.expect("written");
        read
    });
    let builder = Client::builder(format!("http://{address}")).token("arks_test");
    let client = builder.retries(5).build().expect("a client");
    let error = change(&client, "post_v1_self_mfa_regenerate_totp").await;
    assert_eq!(error.code(), Some(ErrorCode::MfaRequired), "{error:?}");
    assert!(server.await.expect("the server") > 0);
}

#[tokio::test]
async fn change_that_finds_no_server_was_not_made() {
    let address = closed_port().await;
    let started = Instant::now();
    let error = change(&client_of(address), "post_v1_self_mfa_regenerate_totp").await;
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    assert!(!error.may_have_taken_effect());
    // It was tried three times.
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn connection_that_is_not_made_in_time_is_given_up() {
    // It accepts, and then never says a word of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = Client::builder(format!("https://{address}"))
        .token("arks_test")
        .connect_timeout(Duration::from_millis(100))
        .retries(0)
        .build()
        .expect("a client");
    let started = Instant::now();
    let error = client.get_v1_self().await.expect_err("no connection");
    assert!(matches!(error, Error::NotSent(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn call_ends_when_its_time_is_over_and_is_not_sent_again() {
    let server = MockServer::start_async().await;
    let slow = server.mock(|when, then| {
        when.method("GET").path(SELF);
        then.status(200)
            .json_body(ada())
            .delay(Duration::from_secs(20));
    });
    let timeout = Duration::from_millis(200);
    let client = builder(&server).timeout(timeout).build().expect("a client");
    let started = Instant::now();
    let error = client.get_v1_self().await.expect_err("too slow");
    assert!(matches!(error, Error::NoAnswer(_)), "{error:?}");
    assert!((timeout..Duration::from_secs(10)).contains(&started.elapsed()));
    assert!(slow.calls() <= 1);
}

#[tokio::test]
async fn time_of_a_call_is_for_all_its_tries_together() {
    let (address, requests) = hanging_up().await;
    let client = Client::builder(format!("http://{address}"))
        .token("arks_test")
        .timeout(Duration::from_millis(500))
        .retries(1000)
        .build()
        .expect("a client");
    let started = Instant::now();
    client.get_v1_self().await.expect_err("never");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!((2..20).contains(&requests.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn token_that_does_not_come_is_told_and_nothing_is_sent() {
    let server = MockServer::start_async().await;
    let mock = answering(&server, 200, ada());
    let never = builder(&server)
        .timeout(Duration::from_millis(100))
        .token_from(std::future::pending::<Result<Token, std::io::Error>>);
    let fails = builder(&server)
        .token_from(|| async { Err::<Token, _>(std::io::Error::other("the vault is sealed")) });
    let none = Client::builder(server.base_url());
    for (builder, said) in [
        (never, "none came within 100ms"),
        (fails, "the vault is sealed"),
        (none, "built without one"),
    ] {
        let client = builder.build().expect("a client");
        let error = client.get_v1_self().await.expect_err("no token");
        assert!(matches!(error, Error::Token(_)), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.may_have_taken_effect());
    }
    mock.assert_calls(0);
}

/// A client whose tokens are `arks_1`, `arks_2` and so on.
fn client_with_fresh_tokens(server: &MockServer) -> Client {
    let count = AtomicUsize::new(0);
    let tokens = move || {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Token::new(format!("arks_{number}")) }
    };
    builder(server)
        .token_from(tokens)
        .build()
        .expect("a client")
}

/// Accepts this token and no other.
fn accepting<'a>(server: &'a MockServer, token: &str) -> (Mock<'a>, Mock<'a>) {
    let well = server.mock(|when, then| {
        when.method("GET").header("x-arklow-auth", token);
        then.status(200).json_body(ada());
    });
    let refused = server.mock(|_, then| {
        then.status(401).json_body(refusal("UNAUTHENTICATED"));
    });
    (well, refused)
}

#[tokio::test]
async fn read_whose_token_is_refused_is_sent_again_with_another_once() {
    let server = MockServer::start_async().await;
    let (well, refused) = accepting(&server, "arks_2");
    let client = client_with_fresh_tokens(&server);
    client.get_v1_self().await.expect("the second token");
    client.get_v1_self().await.expect("it is kept");
    assert_eq!((well.calls(), refused.calls()), (2, 1));

    let server = MockServer::start_async().await;
    let (_, refused) = accepting(&server, "arks_none");
    let client = client_with_fresh_tokens(&server);
    let error = client.get_v1_self().await.expect_err("neither");
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated));
    refused.assert_calls(2);
}

#[tokio::test]
async fn change_whose_token_is_refused_leaves_another_to_the_next_call() {
    let server = MockServer::start_async().await;
    let (well, refused) = accepting(&server, "arks_2");
    let client = client_with_fresh_tokens(&server);
    let error = change(&client, "post_v1_self_mfa_regenerate_totp").await;
    assert_eq!(error.code(), Some(ErrorCode::Unauthenticated));
    client.get_v1_self().await.expect("the second token");
    assert_eq!((well.calls(), refused.calls()), (1, 1));
}

#[tokio::test]
async fn client_for_another_session_sends_another_token() {
    let server = MockServer::start_async().await;
    let (well, _) = accepting(&server, "arks_other");
    let first = client(&server);
    let other = first.with_token(Token::new("arks_other").expect("a token"));
    other.get_v1_self().await.expect("the other token");
    first
        .get_v1_self()
        .await
        .expect_err("the first is as it was");
    well.assert_calls(1);
}

#[tokio::test]
async fn answer_that_is_not_of_the_contract_is_told_without_its_body() {
    let secret = "M5S7-4VBK-YAAG";
    let unreadable = json!({ "data": { "id": secret, "name": secret }, "errors": secret });
    for (answer, body, said) in [
        (200, unreadable, "is of another shape at line 1"),
        (200, json!({ "data": null, "errors": null }), "without data"),
        (
            401,
            json!({ "data": null, "errors": [] }),
            "without a reason",
        ),
        (418, json!(secret), "status 418"),
        (302, json!(secret), "status 302"),
    ] {
        let server = MockServer::start_async().await;
        let mock = answering(&server, answer, body);
        let error = client(&server).get_v1_self().await.expect_err("no");
        assert!(matches!(error, Error::Unexpected(_)), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
        assert!(!format!("{error} {error:?} {error:#?}").contains(secret));
        assert!(error.may_have_taken_effect());
        mock.assert_calls(1);
    }
    let server = MockServer::start_async().await;
    server.mock(|_, then| {
        then.status(502).body(format!("<html>{secret}"));
    });
    let error = change(&client(&server), "post_v1_self_mfa_regenerate_totp").await;
    assert_eq!(status(&error), Some(502));
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[tokio::test]
async fn redirect_takes_the_token_nowhere() {
    let here = MockServer::start_async().await;
    let there = MockServer::start_async().await;
    let elsewhere = there.mock(|_, then| {
        then.status(200).json_body(ada());
    });
    here.mock(|_, then| {
        then.status(307).header("location", there.url(SELF));
    });
    let error = client(&here).get_v1_self().await.expect_err("a redirect");
    assert_eq!(status(&error), Some(307));
    elsewhere.assert_calls(0);
}

#[tokio::test]
async fn refusal_has_all_that_the_server_said() {
    let server = MockServer::start_async().await;
    let error = |code: &str, message: &str| json!({ "code": code, "message": message });
    server.mock(|_, then| {
        let errors = [
            error("INVALID_REQUEST", "/name: is missing"),
            error("NEW", "and so on"),
        ];
        then.status(400)
            .header("x-request-id", "d9c8")
            .json_body(json!({ "data": null, "errors": errors }));
    });
    let error = change(&client(&server), "post_v1_self_mfa_enroll_start").await;
    assert_eq!(
        error.to_string(),
        "400 INVALID_REQUEST: /name: is missing (and 1 more) (request d9c8)"
    );
    assert!(!error.may_have_taken_effect());
    let Error::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    assert_eq!(refusal.status().as_u16(), 400);
    assert_eq!(refusal.code(), Some(ErrorCode::InvalidRequest));
    assert_eq!(refusal.request_id(), Some("d9c8"));
    assert_eq!(refusal.errors()[1].code, "NEW");
    assert_eq!(refusal.retry_after(), None);
}

#[tokio::test]
async fn page_is_asked_for_as_it_is_given() {
    let server = MockServer::start_async().await;
    let empty = json!({ "data": { "items": [], "count": 3 }, "errors": null });
    let page = server.mock(|when, then| {
        when.query_param("take", "5")
            .query_param("skip", "2")
            .query_param("count_only", "true");
        then.status(200).json_body(empty.clone());
    });
    let all = server.mock(|when, then| {
        when.query_param_missing("take").query_param_missing("skip");
        then.status(200).json_body(empty.clone());
    });
    let client = client(&server);
    let asked = Page {
        take: Some(5),
        skip: Some(2),
        count_only: true,
    };
    let list = client.get_v1_self_mfa(asked).await.expect("a page");
    assert_eq!(list.count, 3);
    client.get_v1_self_mfa(Page::default()).await.expect("all");
    assert_eq!((page.calls(), all.calls()), (1, 1));
}

#[tokio::test]
async fn calls_can_be_spawned() {
    let server = MockServer::start_async().await;
    answering(&server, 200, ada());
    let client = client(&server);
    let call = tokio::spawn(async move { client.get_v1_self().await });
    call.await.expect("it ran").expect("an answer");
}
