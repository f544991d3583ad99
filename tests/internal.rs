//! The internal listener: health, readiness, metrics and the log level; and the log record of each request.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Home, NO_LIMITS, Server, TEST_TIMEOUT, pause, skip, string, text};

const INTERNAL: &[&str] = &["--internal-listen", "127.0.0.1:0", "--log-format", "json"];

/// A server with the address of its internal listener.
struct Watched {
    server: Server,
    internal: String,
}

impl Watched {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let server = home.serve(&[INTERNAL, arguments].concat());
        let printed = server.printed();
        let internal = printed
            .split_once("health and metrics are at ")
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_else(|| panic!("no internal listener: {printed}"));
        Self {
            internal: internal.to_owned(),
            server,
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &'static str) -> (StatusCode, String) {
        let http = reqwest::Client::builder().tls_certs_only([]).build();
        let request = http
            .expect("a client")
            .request(method, format!("{}{path}", self.internal))
            .body(body);
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.ask(Method::GET, path, "").await
    }

    /// The checks of `/readyz` that fail.
    async fn failing(&self) -> Vec<(String, String)> {
        let (status, body) = self.get("/readyz").await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let checks = body["checks"].as_object().expect("checks");
        let failing: Vec<_> = checks
            .iter()
            .filter(|(_, said)| *said != "ok")
            .map(|(name, said)| (name.clone(), string(said)))
            .collect();
        assert_eq!(status == StatusCode::OK, failing.is_empty(), "{body}");
        assert_eq!(body["status"] == "ready", failing.is_empty(), "{body}");
        failing
    }

    /// The value of a metric with these labels.
    async fn metric(&self, series: &str) -> f64 {
        let (_, all) = self.get("/metrics").await;
        let line = all.lines().find_map(|line| line.strip_prefix(series));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {series} in\n{all}"))
    }

    /// The records of requests, in order.
    fn answered(&self) -> Vec<Value> {
        let printed = self.server.printed();
        let records = printed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records
            .filter(|record| record["message"] == "answered")
            .collect()
    }

    /// Waits until so many requests are on record: the log is written after the answer.
    fn wait_for(&self, count: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let records = self.answered();
            if records.len() >= count {
                return records;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "{records:?}");
            pause();
        }
    }
}

#[tokio::test]
async fn health_and_metrics_are_on_the_internal_listener_only() {
    let home = Home::new();
    let watched = Watched::start(&home, &[]);
    assert_eq!(watched.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(watched.failing().await, []);
    let (status, metrics) = watched.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        metrics.contains("# TYPE arklow_build_info gauge"),
        "{metrics}"
    );
    assert_eq!(watched.get("/v1/self").await.0, StatusCode::NOT_FOUND);
    for path in ["/healthz", "/readyz", "/metrics", "/log-level"] {
        let url = format!("{}{path}", watched.server.base);
        let public = reqwest::get(url).await.expect("an answer");
        assert_eq!(public.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let silent = home.serve(&[]);
    assert!(!silent.printed().contains("health and metrics"));
}

#[tokio::test]
async fn readiness_says_what_is_wrong_and_liveness_does_not_depend_on_it() {
    let home = Home::new();
    let watched = Watched::start(&home, &[]);
    let mut vandal = home.vandal();

    let aside = home.path().join("aside");
    std::fs::rename(home.key_file(), &aside).expect("renamed");
    let failing = watched.failing().await;
    assert_eq!(failing[0].0, "keys");
    assert!(failing[0].1.contains("there is no key file"), "{failing:?}");
    std::fs::rename(&aside, home.key_file()).expect("renamed");
    assert_eq!(watched.failing().await, []);

    let applied = "__diesel_schema_migrations";
    vandal.run(&format!(
        "CREATE TABLE aside AS SELECT * FROM {applied} WHERE version = '20261126000100';
         DELETE FROM {applied} WHERE version = '20261126000100'"
    ));
    let failing = watched.failing().await;
    assert_eq!(failing[0].0, "migrations");
    assert!(failing[0].1.contains("arklow migrate up"), "{failing:?}");
    vandal.run(&format!("INSERT INTO {applied} SELECT * FROM aside"));
    assert_eq!(watched.failing().await, []);

    vandal.run(&format!("ALTER TABLE {applied} RENAME TO away"));
    assert_eq!(watched.failing().await[0].0, "database");
    assert_eq!(watched.metric("arklow_database_up").await, 0.0);
    assert_eq!(watched.get("/healthz").await.0, StatusCode::OK);
    vandal.run(&format!("ALTER TABLE away RENAME TO {applied}"));
    assert_eq!(watched.failing().await, []);
    assert_eq!(watched.metric("arklow_database_up").await, 1.0);
}

#[tokio::test]
async fn key_file_that_hangs_makes_the_server_unready_and_stops_nothing_else() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut watched = Watched::start(&home, &[]);
    watched.server.by(&ada).regenerate().await.assert_ok();
    // As a file on a network file system whose server is away: opening it does not return.
    std::fs::remove_file(home.key_file()).expect("removed");
    let made = Command::new("mkfifo").arg(home.key_file()).status();
    assert!(made.expect("mkfifo runs").success());
    for _ in 0..4 {
        let failing = watched.failing().await;
        assert_eq!(failing[0].0, "keys");
        assert!(failing[0].1.contains("in time"), "{failing:?}");
    }
    watched.server.by(&ada).regenerate().await.assert_ok();
    watched.server.signal("TERM");
    assert!(watched.server.wait().success());
}

#[tokio::test]
async fn readiness_is_false_before_the_listener_closes() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut watched = Watched::start(&home, &["--drain-delay", "2s"]);
    watched.server.signal("TERM");
    let started = Instant::now();
    while watched.failing().await.is_empty() {
        assert!(started.elapsed() < TEST_TIMEOUT);
        pause();
    }
    assert_eq!(watched.failing().await[0].0, "server");
    watched.server.by(&ada).user().await.assert_ok();
    assert!(watched.server.wait().success());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let home = Home::new();
    let ada = home.caller("ada");
    let watched = Watched::start(&home, &["--lock-after", "2"]);
    let codes = watched.server.by(&ada).regenerate().await.backup_codes();
    watched
        .server
        .by(&ada)
        .redeem(&codes[0])
        .await
        .assert_valid();
    for _ in 0..2 {
        let wrong = ada.app.wrong_code();
        watched
            .server
            .by(&ada)
            .verify(&wrong)
            .await
            .assert_invalid();
    }
    let locked = watched.server.by(&ada).verify(&ada.app.code()).await;
    locked.assert(429, "TOO_MANY_FAILURES");
    watched.wait_for(5);
    for (series, expected) in [
        ("arklow_regenerations_total", 1.0),
        (
            r#"arklow_codes_total{kind="backup_code",result="accepted"}"#,
            1.0,
        ),
        (r#"arklow_codes_total{kind="totp",result="rejected"}"#, 2.0),
        (r#"arklow_locks_total{what="user"}"#, 1.0),
        (
            r#"arklow_http_requests_total{operation="post_v1_self_mfa_verify_totp",status="200"}"#,
            2.0,
        ),
        (
            r#"arklow_http_requests_total{operation="post_v1_self_mfa_verify_totp",status="429"}"#,
            1.0,
        ),
        (
            r#"arklow_http_request_seconds_count{operation="post_v1_self_mfa_verify_totp"}"#,
            3.0,
        ),
    ] {
        assert_eq!(watched.metric(series).await, expected, "{series}");
    }
    assert!(watched.metric("arklow_outbox_oldest_seconds").await > 0.0);
    let key = home.keyring().active();
    let age = format!(r#"arklow_key_age_seconds{{key="{key}"}}"#);
    assert!(watched.metric(&age).await > 0.0);
}

#[tokio::test]
async fn each_request_is_one_record_with_its_caller() {
    let home = Home::new();
    let ada = home.caller("ada");
    let proxied = ["--trusted-proxy", "127.0.0.1", "--limit-address", "1/1h"];
    let watched = Watched::start(&home, &proxied);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let send = async |operation: &str, token: &str, body: Value| {
        let request = watched
            .server
            .request(operation, token)
            .header("x-forwarded-for", "192.0.2.7")
            .header("user-agent", "tests \"quoted\"")
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .json(&body);
        request.send().await.expect("an answer")
    };
    let wrong = json!({ "device_id": ada.device, "code": ada.app.wrong_code() });
    let body = json!({ "device_id": ada.device });
    let regenerate = "post_v1_self_mfa_regenerate_totp";
    let verify = "post_v1_self_mfa_verify_totp";
    send(regenerate, &ada.token, body.clone()).await;
    send(regenerate, "arks_nobody", body).await;
    send(verify, &ada.token, wrong.clone()).await;
    send(verify, &ada.token, wrong).await;
    let unknown = format!("{}/v1/arks_secret?token=arks_secret", watched.server.base);
    reqwest::get(unknown).await.expect("an answer");

    let records = watched.wait_for(5);
    assert_eq!(records.len(), 5);
    let (user, session) = (ada.user.as_str(), ada.session.as_str());
    for (record, (status, operation, user, session, code, limit)) in records.iter().zip([
        (200, Some(regenerate), Some(user), Some(session), None, None),
        (
            401,
            Some(regenerate),
            None,
            None,
            Some("UNAUTHENTICATED"),
            None,
        ),
        (200, Some(verify), Some(user), Some(session), None, None),
        (
            429,
            Some(verify),
            Some(user),
            Some(session),
            Some("RATE_LIMITED"),
            Some("address"),
        ),
        (404, None, None, None, None, None),
    ]) {
        let span = &record["span"];
        assert_eq!(record["status"], status, "{record}");
        for (name, expected) in [
            ("operation", operation),
            ("user_id", user),
            ("session_id", session),
            ("error_code", code),
            ("limit", limit),
        ] {
            assert_eq!(span[name].as_str(), expected, "{name}: {record}");
        }
        if operation.is_some() {
            assert_eq!(span["client_address"], "192.0.2.7", "{record}");
            assert_eq!(span["trace_id"], trace, "{record}");
            assert_eq!(record["user_agent"], "tests \"quoted\"", "{record}");
        }
        assert!(record["latency_us"].is_u64(), "{record}");
    }
    assert!(!watched.server.printed().contains("?token"));
    let ids: BTreeSet<String> = records
        .iter()
        .map(|record| string(&record["span"]["request_id"]))
        .collect();
    assert_eq!(ids.len(), 5);
    // The audit knows the same request by the same id and address.
    let audit = home.records().await;
    let regenerated = string(&records[0]["span"]["request_id"]);
    let origin = &audit[0].origin;
    assert_eq!(origin.request_id.as_deref(), Some(&*regenerated));
    assert_eq!(
        origin.remote_address.map(|address| address.to_string()),
        Some("192.0.2.7".to_owned())
    );
}

#[tokio::test]
async fn record_says_which_limit_denied_the_request() {
    let home = Home::new();
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let arguments = ["--limit-regenerate", "1/1h", "--limit-denied", "1/5m"];
    let watched = Watched::start(&home, &arguments);
    let by = |caller| watched.server.by(caller);
    by(&ada).regenerate().await.assert_ok();
    // Denied by the limit of the user, then by that of denied changes.
    for _ in 0..2 {
        by(&ada).regenerate().await.assert(429, "RATE_LIMITED");
    }
    by(&eve).regenerate().await.assert_ok();
    let limits: Vec<Value> = watched
        .wait_for(4)
        .iter()
        .map(|record| record["span"]["limit"].clone())
        .collect();
    assert_eq!(
        limits,
        [json!(null), json!("user"), json!("denied"), json!(null)]
    );
    for limit in ["user", "denied"] {
        let series = format!(r#"arklow_limited_total{{limit="{limit}"}}"#);
        assert_eq!(watched.metric(&series).await, 1.0, "{limit}");
    }
}

#[tokio::test]
async fn lock_is_a_record_of_its_own() {
    let home = Home::new();
    let ada = home.caller("ada");
    let arguments = ["--lock-after", "1", "--lock-factor-after", "1"];
    let watched = Watched::start(&home, &arguments);
    let wrong = ada.app.wrong_code();
    watched
        .server
        .by(&ada)
        .verify(&wrong)
        .await
        .assert_invalid();
    watched.wait_for(1);
    let printed = watched.server.printed();
    for words in ["the user is locked until 20", "a factor of device"] {
        let line = printed.lines().find(|line| line.contains(words));
        let record: Value = serde_json::from_str(line.unwrap_or("null")).expect("JSON");
        assert_eq!(record["level"], "WARN", "{printed}");
        assert_eq!(record["span"]["user_id"], ada.user.as_str(), "{printed}");
    }
    for what in ["user", "factor"] {
        let series = format!(r#"arklow_locks_total{{what="{what}"}}"#);
        assert_eq!(watched.metric(&series).await, 1.0, "{what}");
    }
}

#[tokio::test]
async fn log_level_changes_while_the_server_runs() {
    let home = Home::new();
    let ada = home.caller("ada");
    let watched = Watched::start(&home, NO_LIMITS);
    let set = async |level| watched.ask(Method::PUT, "/log-level", level).await.0;
    assert_eq!(set("warn").await, StatusCode::OK);
    watched.server.by(&ada).user().await.assert_ok();
    assert_eq!(set("loud").await, StatusCode::BAD_REQUEST);
    assert_eq!(set("INFO\n").await, StatusCode::OK);
    watched.server.by(&ada).devices().await.assert_ok();
    let records = watched.wait_for(1);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["span"]["operation"], "get_v1_self_mfa");
}

/// The names of metrics in a text, without what Prometheus adds to those of a histogram.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("arklow_"))
        .map(|word| {
            let suffixes = ["_bucket", "_sum", "_count"];
            let base = suffixes.iter().find_map(|end| word.strip_suffix(end));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

fn deployed(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    std::fs::read_to_string(format!("{root}/{path}")).expect("the file")
}

#[tokio::test]
async fn dashboard_and_alerts_name_metrics_that_exist_and_each_alert_has_its_paragraph() {
    let home = Home::with_file();
    let ada = home.caller("ada");
    let arguments = ["--lock-after", "1", "--limit-address", "1/1h"];
    let watched = Watched::start(&home, &arguments);
    watched.server.by(&ada).regenerate().await.assert_ok();
    for _ in 0..2 {
        watched.server.by(&ada).verify(&ada.app.wrong_code()).await;
    }
    let (_, all) = watched.get("/metrics").await;
    let typed = all.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut exposed = metrics_in(&typed.collect::<Vec<_>>().join("\n"));
    // Only with TLS: the tests in `tls` look for it.
    exposed.insert("arklow_tls_certificate_expires_timestamp_seconds".to_owned());

    let alerts = deployed("deploy/prometheus/alerts.yaml");
    let dashboard = deployed("deploy/grafana/arklow.json");
    serde_json::from_str::<Value>(&dashboard).expect("JSON");
    let page = deployed("docs/monitor.md");
    for text in [&alerts, &dashboard] {
        let missing: Vec<_> = metrics_in(text).difference(&exposed).cloned().collect();
        assert!(missing.is_empty(), "{missing:?} of {exposed:?}");
    }
    // Each metric is documented, and each one that is documented exists.
    let documented = metrics_in(&page);
    assert_eq!(documented, exposed);
    let named = alerts
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    let mut count = 0;
    for (_, name) in named {
        assert!(page.contains(&format!("### {name}\n")), "{name}");
        count += 1;
    }
    assert!(count >= 8, "{count} alerts");
    if !has("promtool") {
        skip("promtool is not installed (Debian: prometheus)");
        return;
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/prometheus/alerts.yaml"
    );
    let checked = Command::new("promtool")
        .args(["check", "rules", path])
        .output();
    let checked = checked.expect("promtool runs");
    assert!(checked.status.success(), "{}", text_of(&checked));
    let scraped = home.path().join("metrics");
    std::fs::write(&scraped, &all).expect("a file");
    let linted = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&scraped).expect("a file"))
        .output()
        .expect("promtool runs");
    assert!(linted.status.success(), "{}", text_of(&linted));
}

fn has(program: &str) -> bool {
    let mut found = Command::new(program);
    found.arg("--version").stdout(Stdio::null());
    found.stderr(Stdio::null()).status().is_ok()
}

fn text_of(output: &std::process::Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A process that is killed when its test ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn prometheus_scrapes_the_server() {
    if !has("prometheus") {
        skip("prometheus is not installed (Debian: prometheus)");
        return;
    }
    let home = Home::new();
    let watched = Watched::start(&home, &[]);
    let target = watched.internal.trim_start_matches("http://");
    let config = home.path().join("prometheus.yaml");
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/prometheus/alerts.yaml"
    );
    let text = format!(
        "global: {{ scrape_interval: 200ms, evaluation_interval: 200ms }}\n\
         rule_files: [ '{rules}' ]\n\
         scrape_configs:\n- {{ job_name: arklow, static_configs: [ {{ targets: ['{target}'] }} ] }}\n"
    );
    std::fs::write(&config, text).expect("a file");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let _prometheus = Killed(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                home.path().join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus runs"),
    );
    let query = format!("http://{address}/api/v1/query");
    let started = Instant::now();
    loop {
        let asked = reqwest::Client::new()
            .get(&query)
            .query(&[("query", "arklow_database_up")])
            .send();
        let value: Value = match asked.await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        if value["data"]["result"][0]["value"][1] == "1" {
            break;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{value}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let rules: Value = reqwest::get(format!("http://{address}/api/v1/rules"))
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    let broken: Vec<_> = rules.filter(|rule| rule["health"] == "err").collect();
    assert!(broken.is_empty(), "{broken:?}");
}
