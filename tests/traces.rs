//! Spans reach a collector: named, below the span of the caller, without secrets, and never in the way of a request.

use std::time::{Duration, Instant};

use arklow_client::types::RegenerateTotpRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::Value;

use crate::harness::{Home, NO_LIMITS, Received, Receiver, Server, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn serve(home: &Home, collector: &str) -> Server {
    let mut command = home.arklow();
    command
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .args(["--otlp-endpoint", collector])
        .args(NO_LIMITS);
    Server::spawn(&mut command)
}

fn requests(received: &[Received]) -> Vec<ExportTraceServiceRequest> {
    let decode = |request: &Received| {
        assert!(
            request.line.starts_with("POST /v1/traces "),
            "{}",
            request.line
        );
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        ExportTraceServiceRequest::decode(&*request.body).expect("OTLP")
    };
    received.iter().map(decode).collect()
}

fn spans(received: &[Received]) -> Vec<Span> {
    let requests = requests(received);
    let resources = requests
        .into_iter()
        .flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|pair| pair.key == name);
    let value = found.and_then(|pair| pair.value.clone());
    format!(
        "{:?}",
        value.unwrap_or_else(|| panic!("no {name}: {span:?}"))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_requests_and_transactions_continue_the_trace_of_the_caller() {
    let home = Home::new();
    let ada = home.caller("ada");
    let collector = Receiver::start(|_, _| (200, Duration::ZERO)).await;
    let mut server = serve(&home, &collector.base);
    let client = arklow_client::Client::builder(&server.base)
        .token(&ada.token)
        .trace_context(|| Some(format!("00-{TRACE}-{CALLER}-01")))
        .build()
        .expect("a client");
    let request = || RegenerateTotpRequest {
        device_id: ada.device.clone(),
    };
    let made = client.post_v1_self_mfa_regenerate_totp(request()).await;
    let codes = made.expect("codes").backup_codes;
    // The other client, and a caller that is not sampled.
    let generated = client.generated().get_v1_self().send().await;
    generated.expect("an answer");
    let unsampled = reqwest::Client::new().get(format!("{}/v1/self/mfa", server.base));
    let unsampled = unsampled.header("x-arklow-auth", &ada.token).header(
        "traceparent",
        format!("00-{}-{CALLER}-00", TRACE.replace('4', "5")),
    );
    assert_eq!(unsampled.send().await.expect("an answer").status(), 200);
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    server.signal("TERM");
    assert!(server.wait().success());

    let received = collector.received();
    let spans = spans(&received);
    let of_server = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
    };
    for name in ["post_v1_self_mfa_regenerate_totp", "get_v1_self"] {
        let span = of_server(name);
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), CALLER);
        assert_eq!(span.kind, i32::from(SpanKind::Server));
        assert!(attribute(span, "http.response.status_code").contains("200"));
        assert!(attribute(span, "user_id").contains(&ada.user));
    }
    let regeneration = of_server("post_v1_self_mfa_regenerate_totp");
    let below: Vec<&str> = spans
        .iter()
        .filter(|span| span.parent_span_id == regeneration.span_id)
        .map(|span| {
            assert_eq!(hex(&span.trace_id), TRACE);
            assert_eq!(span.kind, i32::from(SpanKind::Client));
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            attribute(span, "db.system.name");
            span.name.as_str()
        })
        .collect();
    assert_eq!(below, ["sessions.find_live", "backup_codes.replace_codes"]);
    assert!(
        spans.iter().all(|span| span.name != "get_v1_self_mfa"),
        "the caller is not sampled"
    );
    // A new trace, which the log names.
    let own = of_server("post_v1_self_mfa_verify_totp_backup");
    assert!(own.parent_span_id.is_empty() && hex(&own.trace_id) != TRACE);
    let printed = server.printed();
    let record = printed
        .lines()
        .filter(|line| line.contains("\"answered\""))
        .find(|line| line.contains("post_v1_self_mfa_verify_totp_backup"))
        .expect("a record");
    let record: Value = serde_json::from_str(record).expect("JSON");
    assert_eq!(record["span"]["trace_id"], hex(&own.trace_id));
    assert!(!printed.contains("db.system"), "{printed}");

    let resource = &requests(&received)[0].resource_spans[0].resource;
    assert!(
        format!("{resource:?}").contains("\"arklow\""),
        "{resource:?}"
    );
    for request in &received {
        let body = text(&request.body);
        for secret in codes.iter().chain([&ada.token]) {
            assert!(!body.contains(secret.as_str()), "a secret in a span");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_that_is_away_or_hangs_is_logged_once_and_delays_nothing() {
    let home = Home::new();
    let ada = home.caller("ada");
    let hanging = Receiver::start(|_, _| (200, Duration::from_secs(60))).await;
    for collector in ["http://127.0.0.1:9", &hanging.base] {
        let mut server = serve(&home, collector);
        let started = Instant::now();
        for _ in 0..5 {
            server.by(&ada).regenerate().await.assert_ok();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        assert!(started.elapsed() < Duration::from_secs(10));
        let stopping = Instant::now();
        server.signal("TERM");
        assert!(server.wait().success());
        assert!(stopping.elapsed() < Duration::from_secs(10), "{collector}");
        let printed = server.printed();
        let warnings = printed.matches("the collector takes no spans").count();
        assert!(warnings <= 1, "{printed}");
        if collector != hanging.base {
            assert_eq!(warnings, 1, "{printed}");
        }
    }
}

#[test]
fn collector_must_be_a_url() {
    let home = Home::on_sqlite();
    for url in ["localhost:4318", "http://ada:hunter2@localhost:4318"] {
        let output = home.output(&["serve", "--otlp-endpoint", url]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("such as http://localhost:4318"), "{said}");
    }
}
