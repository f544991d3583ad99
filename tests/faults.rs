//! Broken requests, down to the bytes on the wire, each told what is wrong in the envelope.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Answer, Caller, Home, PATIENCE, REGENERATE, Server, place, text};

/// A connection on which a request is written by hand.
struct Wire(TcpStream);

impl Wire {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self(stream)
    }

    /// The start of a regeneration with these further header lines.
    fn begin(server: &Server, headers: &[&str]) -> Self {
        Self::begin_at(server, &format!("POST {REGENERATE}"), headers)
    }

    /// The start of a request to this method and path.
    fn begin_at(server: &Server, place: &str, headers: &[&str]) -> Self {
        let mut wire = Self::to(server);
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        wire.send(&format!("{place} HTTP/1.1\r\nhost: test\r\n{lines}\r\n"));
        wire
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
    }

    /// The answer: all bytes until its body is complete.
    fn answer(&mut self) -> (u16, String, Vec<u8>) {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let headers = text(&bytes[..head]).to_lowercase();
                let length = headers
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.unwrap_or("0").trim().parse().expect("a length");
                if bytes.len() >= head + 4 + length {
                    let status = headers
                        .split(' ')
                        .nth(1)
                        .expect("a status")
                        .parse()
                        .expect("a number");
                    return (status, headers, bytes[head + 4..].to_vec());
                }
            }
            let read = self.0.read(&mut chunk).expect("an answer");
            assert!(read > 0, "the connection ended early: {}", text(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// The answer to a regeneration, checked against the contract.
    fn envelope(&mut self) -> Answer {
        self.envelope_of("post_v1_self_mfa_regenerate_totp")
    }

    /// The answer of an operation, checked against the contract.
    fn envelope_of(&mut self, operation: &str) -> Answer {
        let (status, head, body) = self.answer();
        let headers = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| {
                (
                    name.parse().expect("a name"),
                    value.parse().expect("a value"),
                )
            });
        let body: Value =
            serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{head}\n{}", text(&body)));
        let answer = Answer {
            operation: operation.to_owned(),
            status,
            headers: headers.collect(),
            body,
        };
        answer.check();
        answer
    }
}

fn key(ada: &Caller) -> String {
    format!("x-arklow-auth: {}", ada.token)
}

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn t20_every_violation_is_listed_with_its_pointer() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let cases: &[(&str, &[&str])] = &[
        (
            r#"{"device_id":"12a"}"#,
            &["/device_id: does not match `^[0-9]+$`"],
        ),
        (
            r#"{"device_id":""}"#,
            &["/device_id: does not match `^[0-9]+$`"],
        ),
        (
            "{\"device_id\":\"1\\n\"}",
            &["/device_id: does not match `^[0-9]+$`"],
        ),
        (
            r#"{"device_id":"١"}"#,
            &["/device_id: does not match `^[0-9]+$`"],
        ),
        (
            r#"{"device_id":12}"#,
            &["/device_id: is not of type string"],
        ),
        (
            r#"{"device_id":null}"#,
            &["/device_id: is not of type string"],
        ),
        ("{}", &["/device_id: is missing"]),
        (r#"{"Device_Id":"1"}"#, &["/device_id: is missing"]),
        ("[]", &["the body is not of type object"]),
        (r#""1""#, &["the body is not of type object"]),
        (
            r#"{"device_id":"1","device_id":"2"}"#,
            &["/device_id: is given more than once"],
        ),
        (
            r#"{"device_id":1,"device_id":"x","more":{"a~/b":1,"a~/b":2},"list":[{"k":1,"k":1}]}"#,
            &[
                "/device_id: does not match `^[0-9]+$`",
                "/device_id: is given more than once",
                "/list/0/k: is given more than once",
                "/more/a~0~1b: is given more than once",
            ],
        ),
        ("", &["the body is missing"]),
        ("{", &["the body ends too early at line 1 column 1"]),
        (
            r#"{"device_id":"1"} {}"#,
            &["the body is not JSON at line 1 column 19"],
        ),
        (
            r#"{"device_id":'1'}"#,
            &["the body is not JSON at line 1 column 14"],
        ),
        ("\u{feff}{}", &["the body is not JSON at line 1 column 1"]),
        (
            "{\"device_id\":\"\0\"}",
            &["the body is not JSON at line 1 column 15"],
        ),
        (
            r#"{"device_id":"\ud800"}"#,
            &["the body is not JSON at line 1 column 21"],
        ),
        (
            r#"{"device_id":1e999}"#,
            &["the body is not JSON at line 1 column 18"],
        ),
    ];
    for (body, expected) in cases {
        let answer = Answer::to(server.post(&ada.token, *body)).await;
        assert_eq!(
            (answer.status, answer.messages().as_slice()),
            (400, expected.map_to_strings().as_slice()),
            "{body}"
        );
        assert!(answer.codes().iter().all(|code| code == "INVALID_REQUEST"));
    }
    let deep = format!("{{\"device_id\":{}", "[".repeat(1000));
    Answer::to(server.post(&ada.token, deep))
        .await
        .assert(400, "INVALID_REQUEST");
    let not_utf8 = Answer::to(server.post(&ada.token, b"{\"device_id\":\"\xff\"}".to_vec())).await;
    not_utf8.assert(400, "INVALID_REQUEST");
}

trait Strings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl Strings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|&text| text.to_owned()).collect()
    }
}

#[tokio::test]
async fn answer_to_very_many_violations_is_bounded() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let keys: String = (0..3000)
        .map(|n| format!(r#","k{n}":1,"k{n}":1"#))
        .collect();
    let answer = Answer::to(server.post(&ada.token, format!(r#"{{"device_id":"1"{keys}}}"#))).await;
    assert_eq!((answer.status, answer.messages().len()), (400, 1001));
    assert_eq!(
        answer.messages()[1000],
        "the body breaks the schema in 2000 further places"
    );
}

#[tokio::test]
async fn a_fault_does_not_repeat_what_was_sent() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    for body in [
        r#"{"device_id":"canary-7731"}"#,
        r#"{"device_id":["canary-7731"]}"#,
        r#"{"device_id":canary-7731}"#,
    ] {
        let answer = Answer::to(server.post(&ada.token, body)).await;
        assert!(
            !answer.body.to_string().contains("canary"),
            "{:?}",
            answer.body
        );
    }
}

#[tokio::test]
async fn media_types_other_than_json_are_415() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let length = "content-length: 17";
    let refused: &[&[&str]] = &[
        &["content-type: text/plain"],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: application/jsonp"],
        &["content-type: application/json; charset=utf-16"],
        &["content-type: application/json, text/plain"],
        &[JSON, "content-type: text/plain"],
        &["content-type: \u{00e4}"],
        &[],
    ];
    let key = key(&ada);
    for headers in refused {
        let headers = [&[key.as_str(), length], *headers].concat();
        let mut wire = Wire::begin(&server, &headers);
        wire.send(r#"{"device_id":"1"}"#);
        wire.envelope().assert(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for accepted in [
        JSON,
        "content-type: Application/JSON;charset=\"UTF-8\"",
        "content-type: application/json ; odata=verbose",
    ] {
        let mut wire = Wire::begin(&server, &[&key, length, accepted]);
        wire.send(r#"{"device_id":"1"}"#);
        wire.envelope().assert(404, "DEVICE_NOT_FOUND");
    }
}

#[tokio::test]
async fn body_over_64_kib_is_413_before_it_has_arrived() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);

    // Declared: not a byte of it is wanted.
    let mut declared = Wire::begin(&server, &[&key(&ada), JSON, "content-length: 1073741824"]);
    declared.envelope().assert(413, "PAYLOAD_TOO_LARGE");

    // In chunks: the answer comes although the body goes on.
    let mut chunked = Wire::begin(&server, &[&key(&ada), JSON, "transfer-encoding: chunked"]);
    for _ in 0..5 {
        chunked.send(&format!("4000\r\n{}\r\n", " ".repeat(0x4000)));
    }
    chunked.envelope().assert(413, "PAYLOAD_TOO_LARGE");

    // To the end, by a client that reads only then: the connection is not torn down under it.
    let mut patient = Wire::begin(&server, &[&key(&ada), JSON, "content-length: 3000000"]);
    patient.send(&" ".repeat(3_000_000));
    patient.envelope().assert(413, "PAYLOAD_TOO_LARGE");

    let mut other_method = Wire::to(&server);
    other_method.send(&format!(
        "PUT {REGENERATE} HTTP/1.1\r\nhost: test\r\ncontent-length: 3000000\r\n\r\n{}",
        " ".repeat(3_000_000)
    ));
    other_method.envelope().assert(405, "METHOD_NOT_ALLOWED");

    // Without an end: what is thrown away has a bound.
    let mut endless = Wire::begin(&server, &[&key(&ada), JSON, "content-length: 1073741824"]);
    let megabyte = vec![b' '; 1 << 20];
    let sent = (0..256)
        .take_while(|_| endless.0.write_all(&megabyte).is_ok())
        .count();
    assert!(sent < 64, "the server took {sent} MB");

    // The limit itself is fine.
    let padding = " ".repeat(65_536 - r#"{"device_id":"1"}"#.len());
    let full =
        Answer::to(server.post(&ada.token, format!(r#"{{"device_id":"1"}}{padding}"#))).await;
    full.assert(404, "DEVICE_NOT_FOUND");
    let over =
        Answer::to(server.post(&ada.token, format!(r#"{{"device_id":"1"}}{padding} "#))).await;
    over.assert(413, "PAYLOAD_TOO_LARGE");
}

/// Half of a body, on a connection that stays open.
pub(crate) async fn body_that_does_not_finish(operation: &str) -> Answer {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--body-timeout", "300ms"]);
    let (path, method) = place(operation);
    let line = format!("{} {path}", method.to_uppercase());
    let headers = [&key(&ada), JSON, "content-length: 100"];
    let mut wire = Wire::begin_at(&server, &line, &headers);
    wire.send(r#"{"device_id":"#);
    wire.envelope_of(operation)
}

#[tokio::test]
async fn body_that_trickles_is_408_and_the_connection_is_closed() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--body-timeout", "300ms"]);
    let mut wire = Wire::begin(&server, &[&key(&ada), JSON, "content-length: 1000"]);
    let mut trickle = wire.0.try_clone().expect("a second handle");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(50)).is_err()
            && trickle.write_all(b" ").is_ok()
        {}
    });
    let answer = wire.envelope();
    answer.assert(408, "REQUEST_TIMEOUT");
    assert_eq!(answer.headers["connection"], "close");
    stop.send(()).ok();
    writer.join().expect("the writer ends");
}

#[tokio::test]
async fn t22_key_is_missing_repeated_or_not_text() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let key = key(&ada);
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let length = format!("content-length: {}", body.len());
    let lines: &[&[&str]] = &[
        &[],
        &[&key, &key],
        &[&key, "x-arklow-auth: other"],
        &["x-arklow-auth:"],
        &["x-arklow-auth: \u{00e9}"],
    ];
    for keys in lines {
        let mut wire = Wire::begin(&server, &[&[JSON, length.as_str()], *keys].concat());
        wire.send(&body);
        let answer = wire.envelope();
        answer.assert(401, "UNAUTHENTICATED");
        assert_eq!(
            answer.headers["www-authenticate"],
            "apikey header=\"x-arklow-auth\""
        );
    }
    let mut wire = Wire::begin(
        &server,
        &[
            JSON,
            &length,
            &key.replace("x-arklow-auth", "X-Arklow-Auth"),
        ],
    );
    wire.send(&body);
    assert_eq!(wire.envelope().status, 200, "names of headers have no case");
}

#[tokio::test]
async fn who_has_no_key_is_not_told_about_the_body() {
    let home = Home::new();
    let server = home.serve(&[]);
    for headers in [
        &[JSON, "content-length: 1073741824"],
        &["content-type: text/plain", "content-length: 2"],
    ] {
        Wire::begin(&server, headers)
            .envelope()
            .assert(401, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let mut wire = Wire::to(&server);
        wire.send(&format!(
            "{method} {REGENERATE} HTTP/1.1\r\nhost: test\r\n{}\r\n\r\n",
            key(&ada)
        ));
        let answer = wire.envelope();
        answer.assert(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.headers["allow"], "post");
    }
    let mut head = Wire::to(&server);
    head.send(&format!(
        "HEAD {REGENERATE} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
    ));
    let mut answer = String::new();
    head.0.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.to_lowercase().contains("allow: post"),
        "{answer}"
    );
}

/// Messages whose framing two parsers could understand differently (RFC 9112 §6.3).
#[tokio::test]
async fn t22_ambiguous_framing_is_refused() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let ambiguous: &[&[&str]] = &[
        &["content-length: 17", "content-length: 18"],
        &["content-length: +17"],
        &["content-length: 17", "transfer-encoding: gzip"],
        &["x-arklow-auth : again", "content-length: 17"],
    ];
    for headers in ambiguous {
        let mut wire = Wire::begin(&server, &[&[key(&ada).as_str(), JSON], *headers].concat());
        let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
        drop(wire.0.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        drop(wire.0.read_to_end(&mut answer));
        let answer = text(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{headers:?}: {answer}"
        );
    }
    assert_eq!(
        home.vandal().count("audit"),
        0,
        "none of them was carried out"
    );
}

/// What the README says of the limits: an unknown route is Dropshot's to answer.
#[tokio::test]
async fn unknown_route_is_answered_by_dropshot() {
    let home = Home::new();
    let server = home.serve(&[]);
    let answer = reqwest::get(format!("{}/nowhere", server.base))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 404);
    let body: Value = answer.json().await.expect("JSON");
    assert!(
        body["message"].is_string() && body["request_id"].is_string(),
        "{body}"
    );
}
