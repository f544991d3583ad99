//! Broken requests, down to the bytes on the wire, each told what is wrong in the envelope.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Answer, Caller, Home, NO_LIMITS, REGENERATE, Server, TEST_TIMEOUT, place, text,
};

/// A connection on which a request is written by hand.
struct Wire(TcpStream);

impl Wire {
    fn to(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).expect("the server accepts");
        stream
            .set_read_timeout(Some(TEST_TIMEOUT))
            .expect("a timeout");
        stream
            .set_write_timeout(Some(TEST_TIMEOUT))
            .expect("a timeout");
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
        let text = text(&body);
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{head}\n{text}"));
        let answer = Answer {
            operation: operation.to_owned(),
            status,
            headers: headers.collect(),
            body,
            text,
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
    assert_eq!((answer.status, answer.messages().len()), (400, 21));
    assert_eq!(
        answer.messages()[20],
        "the body breaks the schema in 2980 further places"
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
        // RFC 8259 §11: there is no such parameter, and JSON is UTF-8.
        "content-type: application/json; charset=utf-16",
        "content-type: application/json; charset=\"iso-8859-1\"; charset",
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

    // Declared: the server reads not a byte of it.
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
        &["content-length: 40", "transfer-encoding: chunked"],
        &["transfer-encoding: chunked", "content-length: 40"],
        &["Transfer-Encoding:chunked", "host: x", "CONTENT-LENGTH:40"],
        &[
            "content-length: 40",
            "content-length: 40",
            "transfer-encoding: chunked",
        ],
    ];
    for headers in ambiguous {
        let mut wire = Wire::begin(&server, &[&[key(&ada).as_str(), JSON], *headers].concat());
        let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let is_chunked = headers.concat().contains("chunked");
        let body = if is_chunked { chunked } else { body };
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
        home.vandal()
            .count("audit WHERE remote_address IS NOT NULL"),
        0,
        "none of them was carried out"
    );
}

/// The records that no command left.
const OF_USERS: &str = "audit WHERE event NOT LIKE 'mfa.admin.%'";

/// The second request on a connection is judged as the first, also if it comes in one piece with it.
#[tokio::test]
async fn t22_ambiguous_framing_of_a_pipelined_request_is_refused() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let key = key(&ada);
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let head = format!("POST {REGENERATE} HTTP/1.1\r\nhost: test\r\n{key}\r\n{JSON}\r\n");
    let harmless = format!("{head}content-length: 2\r\n\r\n{{}}");
    let ambiguous = format!(
        "{head}content-length: 40\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let mut wire = Wire::to(&server);
    wire.send(&format!("{harmless}{ambiguous}"));
    let mut answers = Vec::new();
    drop(wire.0.read_to_end(&mut answers));
    let answers = text(&answers);
    assert_eq!(answers.matches("HTTP/1.1 400 ").count(), 2, "{answers}");
    assert_eq!(home.vandal().count(OF_USERS), 0, "it was not carried out");
}

/// RFC 9112 §2.2 allows it, and the body of such a request is framed as any other.
#[tokio::test]
async fn t22_lines_of_a_head_may_end_in_a_bare_lf_and_chunks_may_not() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let head = format!(
        "POST {REGENERATE} HTTP/1.1\nhost: test\n{}\n{JSON}\n",
        key(&ada)
    );
    let mut wire = Wire::to(&server);
    wire.send(&format!("{head}content-length: {}\n\n{body}", body.len()));
    wire.envelope().assert_ok();
    let mut wire = Wire::to(&server);
    let chunk = format!("{:x}\n{body}\n0\n\n", body.len());
    wire.send(&format!("{head}transfer-encoding: chunked\n\n{chunk}"));
    let (status, _, _) = wire.answer();
    assert_eq!(status, 400);
}

/// One request with very many or very long faults, and how long the answer is.
#[tokio::test]
async fn t33_no_request_gets_an_answer_that_is_much_longer_than_a_few_kib() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(NO_LIMITS);
    let before = server.resident_kib();
    let long = "~".repeat(30_000);
    let controls = "\\u0001".repeat(1_000);
    let pairs = |count: usize| r#""a":0,"#.repeat(count);
    let bodies = [
        format!(r#"{{"{long}":{{{}"b":0}}}}"#, pairs(5_000)),
        format!(r#"{{"{controls}":{{{}"b":0}}}}"#, pairs(5_000)),
        (0..30).fold(format!("{{{}\"b\":0}}", pairs(5_000)), |inner, _| {
            format!(r#"{{"{}":{inner}}}"#, "€".repeat(300))
        }),
        (0..3_000)
            .map(|n| format!(r#""k{n}":1,"k{n}":1,"#))
            .collect::<String>()
            + r#""b":0}"#,
        format!(r#"{{"device_id":{{"{long}":[{}1]}}}}"#, "1,".repeat(10_000)),
        format!(r#"{{"device_id":"{}"}}"#, "\"".repeat(2)) + &"x".repeat(60_000),
    ];
    let bodies = bodies.map(|body| {
        if body.starts_with('{') {
            body
        } else {
            format!("{{{body}")
        }
    });
    for body in &bodies {
        assert!(body.len() < 64 * 1024, "{}", body.len());
        let request = server.post(&ada.token, body.clone());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        let answer = answer.bytes().await.expect("a body").len();
        println!("{} bytes were answered with {answer}", body.len());
        assert!(answer < 8 * 1024, "{answer}");
    }
    let query = "take=x&".repeat(5_000);
    for url in [
        format!("{}/v1/self/mfa/?{query}", server.base),
        format!("{}/{}", server.base, "x".repeat(60_000)),
    ] {
        let request = reqwest::Client::new()
            .get(url)
            .header("x-arklow-auth", &ada.token);
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_client_error());
        assert!(answer.bytes().await.expect("a body").len() < 8 * 1024);
    }
    // Requests whose answers the client does not read.
    let key = key(&ada);
    let length = format!("content-length: {}", bodies[0].len());
    let unread: Vec<Wire> = (0..64)
        .map(|_| {
            let mut wire = Wire::begin(&server, &[&key, JSON, &length]);
            wire.send(&bodies[0]);
            wire
        })
        .collect();
    server.by(&ada).user().await;
    let grown = server.resident_kib().saturating_sub(before);
    println!("64 unread answers: memory grew by {grown} KiB");
    assert!(grown < 64 * 1024, "{grown} KiB");
    drop(unread);
}

/// RFC 9110 §10.1.1: a client that waits with its body is not asked for one that is thrown away.
#[tokio::test]
async fn refused_request_is_not_told_to_continue() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let expect = "expect: 100-continue";
    let length = "content-length: 60000";
    let too_long = "content-length: 70000";
    for _ in 0..10 {
        for (method, headers, expected) in [
            (
                "POST",
                &[JSON, length, expect, "x-arklow-auth: arks_bad"][..],
                401,
            ),
            ("PUT", &[JSON, length, expect], 405),
            (
                "POST",
                &["content-type: text/plain", length, expect, &key(&ada)],
                415,
            ),
            (
                "POST",
                &[JSON, too_long, "Expect: 100-Continue", &key(&ada)],
                413,
            ),
        ] {
            let mut wire = Wire::begin_at(&server, &format!("{method} {REGENERATE}"), headers);
            let mut answer = Vec::new();
            wire.0
                .read_to_end(&mut answer)
                .expect("the connection is closed");
            let answer = text(&answer).to_lowercase();
            assert!(
                answer.starts_with(&format!("http/1.1 {expected} ")),
                "{answer}"
            );
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
        let mut unknown = Wire::begin_at(&server, "POST /nowhere", &[JSON, length, expect]);
        assert_eq!(unknown.answer().0, 404);
    }
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let length = format!("content-length: {}", body.len());
    let mut wire = Wire::begin(&server, &[&key(&ada), JSON, &length, expect]);
    let mut interim = [0; 25];
    wire.0.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(text(&interim), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(&body);
    wire.envelope().assert_ok();
}

/// JSON Schema 2020-12 §4.2.3: a number without a fraction is an integer, however it is written.
#[tokio::test]
async fn whole_number_is_an_integer_however_it_is_written() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let devices = async |query: &str| {
        let url = format!("{}/v1/self/mfa/?{query}", server.base);
        let request = reqwest::Client::new()
            .get(url)
            .header("x-arklow-auth", &ada.token);
        Answer::by("get_v1_self_mfa", request).await
    };
    for query in [
        "take=3.0",
        "take=3e0",
        "take=0.3e1&skip=-0",
        "skip=0.0",
        "skip=9007199254740991.0",
    ] {
        assert_eq!(devices(query).await.status, 200, "{query}");
    }
    for (query, message) in [
        ("take=3.5", "query /take: is not of type integer"),
        ("take=51.0", "query /take: is more than 50"),
        ("take=1e300", "query /take: is more than 50"),
        ("take=0.0", "query /take: is less than 1"),
        ("skip=-1.0", "query /skip: is less than 0"),
    ] {
        let answer = devices(query).await;
        assert_eq!(
            (answer.status, answer.messages()),
            (400, vec![message.to_owned()]),
            "{query}"
        );
    }
}

/// Rules of a proxy by path would not see what Dropshot makes of it.
#[tokio::test]
async fn path_with_an_empty_segment_is_not_routed() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let status = |place: &str| {
        let mut wire = Wire::begin_at(&server, place, &[&key(&ada), "connection: close"]);
        wire.answer().0
    };
    for path in [
        "/v1/self/",
        "/v1/self",
        "/v1/self/mfa/",
        "/swagger/ui",
        "/swagger/ui/",
    ] {
        assert_eq!(status(&format!("GET {path}")), 200, "{path}");
    }
    for place in [
        "GET //v1//self/",
        "GET //v1/self/",
        "GET /v1//self",
        "GET /v1/self//",
        "GET /v1/self/mfa//",
        "PUT /v1//self/",
        "POST //v1/self/mfa/regenerate/totp",
        "POST /v1/self/mfa/regenerate/totp/",
        "GET //swagger/ui",
        "GET /swagger//ui/json",
        "GET /swagger/ui//",
        "GET http://test//v1/self/",
    ] {
        assert_eq!(status(place), 404, "{place}");
    }
}

/// RFC 9110 §9.1, §9.3.2: what GET answers, without the content.
#[tokio::test]
async fn head_is_answered_where_get_is() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let ask = |method: &str, path: &str, key: &str| {
        let mut wire = Wire::begin_at(
            &server,
            &format!("{method} {path}"),
            &[key, "connection: close"],
        );
        let mut answer = String::new();
        wire.0.read_to_string(&mut answer).expect("an answer");
        let (head, content) = answer.split_once("\r\n\r\n").expect("a head");
        let vary = ["date: ", "x-request-id: "];
        let lines = head
            .lines()
            .filter(|line| !vary.iter().any(|name| line.starts_with(name)));
        (
            lines.map(str::to_owned).collect::<Vec<_>>(),
            content.to_owned(),
        )
    };
    for path in ["/v1/self/", "/v1/self/mfa/?take=1", "/v1/self/mfa/?take=0"] {
        for key in [&*key(&ada), "x-arklow-auth: arks_bad"] {
            let (get, content) = ask("GET", path, key);
            let (head, none) = ask("HEAD", path, key);
            assert_eq!(head, get, "{path}");
            assert!(!content.is_empty() && none.is_empty(), "{path}");
        }
    }
    let (put, _) = ask("PUT", "/v1/self/", &key(&ada));
    assert!(put.contains(&"allow: GET, HEAD".to_owned()), "{put:?}");
}

/// Paths that some parser between takes for another path.
#[tokio::test]
async fn t41_path_that_can_be_read_in_two_ways_runs_no_operation() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let length = format!("content-length: {}", body.len());
    for path in [
        "/v1/self/mfa/regenerate/./totp",
        "/v1/self/mfa/regenerate/x/../totp",
        "/v1/self/mfa/regenerate/totp/.",
        "/v1/self/mfa/regenerate/totp/x/..",
        "/v1/self/mfa/regenerate/%2e/totp",
        "/v1/self/mfa/regenerate/x/%2E%2e/totp",
        "/v1/self/mfa/regenerate/x/.%2e/totp",
        "/v1/self/mfa/regenerate%2ftotp",
        "/v1/self/mfa%2Fregenerate/totp",
        "/v1/self/mfa/regenerate%5ctotp",
        "/v1/self/mfa/regenerate\\totp",
        "/v1/self/mfa/regenerate/totp%00",
        "/v1/self/mfa/regenerate/totp%09",
        "/v1/self/mfa/regenerate/totp%20",
        "/v1/self/mfa/regenerate/totp;x",
        "/v1/self/mfa/regenerate/totp%3fx",
        "/v1/self/mfa/regenerate/totp%23",
        "/v1/self/mfa/regenerate/%74otp%ff",
        "/v1/self/mfa/regenerate/TOTP",
    ] {
        let headers = [key(&ada).as_str(), JSON, &length, "connection: close"].map(str::to_owned);
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let mut wire = Wire::begin_at(&server, &format!("POST {path}"), &headers);
        drop(wire.0.write_all(body.as_bytes()));
        let mut answer = Vec::new();
        drop(wire.0.read_to_end(&mut answer));
        let answer = text(&answer);
        let is_refused = ["HTTP/1.1 400 ", "HTTP/1.1 404 "]
            .iter()
            .any(|status| answer.starts_with(status));
        assert!(answer.is_empty() || is_refused, "{path}: {answer}");
    }
    let audit = home.vandal().count(OF_USERS);
    assert_eq!(audit, 0, "none of them was carried out");
    let mut wire = Wire::begin(&server, &[&key(&ada), JSON, &length]);
    wire.send(&body);
    assert_eq!(wire.envelope().status, 200, "the path itself is");
}

/// As the README states, Dropshot answers an unknown route.
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
