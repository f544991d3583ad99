//! The limit for denied changes, clocks that are wrong, names that deceive, and codes as people copy them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arklow_client::types::VerificationType;
use chrono::{DateTime, TimeDelta};
use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::{Answer, Caller, Home, Server, string, text};

/// A code whose check symbol fits, and which is of no set.
const RANDOM_CODE: &str = "0410-6105-0R3G-G28A-1C60-T3GJ";

/// The time of the tests' machine, in microseconds since 1970.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
    i64::try_from(since.as_micros()).expect("microseconds")
}

const HOUR: i64 = 3_600_000_000;

/// The number of denial records of this session, and the number of attempts that they stand for.
fn denied(home: &Home, session: &str) -> (i64, i64) {
    let mut vandal = home.vandal();
    let of_it = format!("audit WHERE outcome = 'denied' AND session_id = {session}");
    let attempts = vandal.text(&format!("SELECT coalesce(sum(attempts), 0) FROM {of_it}"));
    (vandal.count(&of_it), attempts.parse().expect("a number"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// How long some regenerations of a user take, each of which has to succeed.
async fn regenerations(server: &Server, caller: &Caller) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..25 {
        let started = Instant::now();
        let answer = server.by(caller).regenerate().await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        times.push(started.elapsed());
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_a_session_that_floods_denials_neither_fills_the_audit_nor_slows_others() {
    let home = Home::new();
    let (eve, bob) = (home.caller("eve"), home.caller("bob"));
    let (session, stolen, _) = home.session(&eve.user, None);
    // What an hour of it left before there was a limit.
    home.vandal().run(&format!(
        "INSERT INTO audit (at, event, outcome, reason, user_id)
             WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 100000)
             SELECT {} - n, 'mfa.backup_codes.regenerated', 'denied', 'mfa_not_fresh', {} FROM counted",
        now(),
        eve.user
    ));
    let mut server = home.serve(&["--limit-regenerate", "100000/1h"]);
    let alone = median(regenerations(&server, &bob).await);

    let (stop, sent) = (AtomicBool::new(false), AtomicI64::new(0));
    let flood = join_all((0..16).map(|_| async {
        while !stop.load(Ordering::Relaxed) {
            let answer = server.regenerate(&stolen, &eve.device).await;
            assert!([403, 429].contains(&answer.status), "{:?}", answer.body);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let others = async {
        let times = regenerations(&server, &bob).await;
        stop.store(true, Ordering::Relaxed);
        times
    };
    let (times, _) = tokio::join!(others, flood);
    let beside = median(times);
    let sent = sent.into_inner();
    println!(
        "a regeneration takes {alone:?} alone and {beside:?} during a flood of {sent} denials"
    );
    // Both sides of the flood run on the same processors, so it costs some.
    assert!(
        beside < 20 * alone + Duration::from_millis(100),
        "{beside:?}, alone {alone:?}"
    );
    assert!(sent > 40, "{sent} requests are no flood");
    let (records, _) = denied(&home, &session);
    assert!(records <= 20, "{records} records");

    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let (records, attempts) = denied(&home, &session);
    assert!(records <= 21, "{records} records");
    assert_eq!(attempts, sent, "the audit has the number of attempts");
    let listed = text(
        &home
            .output(&[
                "audit", "list", "--order", "oldest", "--user", &eve.user, "--since", "1h",
            ])
            .stdout,
    );
    let counted = listed.lines().last().expect("a record");
    assert!(
        counted.contains(&format!("attempts={}", sent - 20))
            && counted.contains("reason=rate_limited"),
        "{counted}"
    );
}

#[tokio::test]
async fn t34_every_change_that_can_be_denied_is_limited_in_its_session() {
    let home = Home::new();
    let server = home.serve(&["--limit-denied", "7/5m", "--limit-address", "1000/1h"]);
    let kind = VerificationType::BackupCode;
    for operation in [
        "start",
        "confirm",
        "verify",
        "redeem",
        "remove",
        "regenerate",
    ] {
        let ada = home.caller(operation);
        let pending = home.device(&ada.user, false);
        let (session, token, _) = home.session(&ada.user, None);
        let mut last = None;
        for _ in 0..30 {
            let answer = match operation {
                "start" => server.start(&token, "Tablet").await,
                "confirm" => server.confirm(&token, &pending, "123456").await,
                "verify" => server.verify(&token, "1", "123456").await,
                "redeem" => server.redeem(&token, &pending, RANDOM_CODE).await,
                "remove" => server.remove(&token, "1", kind, RANDOM_CODE).await,
                _ => server.regenerate(&token, &ada.device).await,
            };
            last = Some(answer);
        }
        let last = last.expect("an answer");
        last.assert(429, "RATE_LIMITED");
        let wait: i64 = last.headers["retry-after"]
            .to_str()
            .expect("text")
            .parse()
            .expect("seconds");
        assert!((1..=300).contains(&wait), "{operation}: {wait}");
        assert_eq!(denied(&home, &session).0, 7, "{operation}");
    }
    // All sessions of a user together may have five times as many; another user goes on.
    let (ada, bob) = (home.caller("ada"), home.caller("bob"));
    for n in 0..6 {
        let (_, token, _) = home.session(&ada.user, None);
        for _ in 0..7 {
            let answer = server.start(&token, "Tablet").await;
            assert_eq!(answer.status, if n < 5 { 403 } else { 429 });
        }
    }
    let code = bob.app.code();
    let answer = server.by(&bob).verify(&code).await;
    answer.assert_valid();
}

#[tokio::test]
async fn t34_attempts_while_a_user_is_locked_are_limited_too() {
    let home = Home::new();
    let server = home.serve(&["--limit-address", "1000/1h"]);
    let ada = home.caller("ada");
    for _ in 0..5 {
        let wrong = ada.app.wrong_code();
        server.by(&ada).verify(&wrong).await.assert_invalid();
    }
    for n in 0..60 {
        let refused = server.by(&ada).verify(&ada.app.code()).await;
        refused.assert(
            429,
            if n < 20 {
                "TOO_MANY_FAILURES"
            } else {
                "RATE_LIMITED"
            },
        );
    }
    assert_eq!(denied(&home, &ada.session), (20, 20));
}

#[tokio::test]
async fn session_is_told_to_step_up_before_it_is_told_of_a_limit() {
    let home = Home::new();
    let server = home.serve(&["--limit-regenerate", "1/1h", "--limit-enroll", "1/1h"]);
    let ada = home.caller("ada");
    server.by(&ada).regenerate().await.assert_ok();
    server.by(&ada).start("Tablet").await.assert_ok();
    let (_, token, _) = home.session(&ada.user, None);
    server
        .regenerate(&token, &ada.device)
        .await
        .assert(403, "MFA_REQUIRED");
    server
        .start(&token, "Tablet")
        .await
        .assert(403, "MFA_REQUIRED");
    server
        .by(&ada)
        .regenerate()
        .await
        .assert(429, "RATE_LIMITED");
    server
        .by(&ada)
        .start("Tablet")
        .await
        .assert(429, "RATE_LIMITED");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_codes_that_a_deadline_cuts_off_leave_their_address_to_others() {
    let home = Home::new();
    let server = home.serve(&["--limit-address", "3/5m", "--request-deadline", "300ms"]);
    let callers: Vec<Caller> = (0..4).map(|n| home.caller(&format!("user{n}"))).collect();
    let (last, first) = callers.split_last().expect("four");
    let mut vandal = home.vandal();
    vandal.lock();
    let codes = first.iter().map(|caller| caller.app.code());
    let codes: Vec<String> = codes.collect();
    let all = first
        .iter()
        .zip(&codes)
        .map(|(caller, code)| server.by(caller).verify(code));
    for answer in join_all(all).await {
        answer.assert(503, "DEADLINE_EXCEEDED");
    }
    vandal.run("ROLLBACK");
    let started = Instant::now();
    let answer = loop {
        let answer = server.by(last).verify(&last.app.code()).await;
        // What waited for the lock goes first, this code perhaps among it.
        if answer.status != 503 || started.elapsed() > Duration::from_secs(20) {
            break answer;
        }
    };
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

#[tokio::test]
async fn t42_records_of_a_clock_that_was_ahead_limit_nobody_and_stop_a_start() {
    let home = Home::new();
    let ada = home.caller("ada");
    let ahead = now() + 6 * HOUR;
    for event in ["mfa.backup_codes.regenerated", "mfa.totp.enroll_started"] {
        home.vandal().run(&format!(
            "INSERT INTO audit (at, event, outcome, user_id)
                 WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 10)
                 SELECT {ahead} - n, '{event}', 'success', {} FROM counted",
            ada.user
        ));
    }
    let refused = home.output(&["serve", "--listen", "127.0.0.1:0"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("clock") && said.contains("--check-clock off"),
        "{said}"
    );

    let server = home.serve(&["--check-clock", "off"]);
    assert!(
        server.printed().contains("clock is behind"),
        "{}",
        server.printed()
    );
    server.by(&ada).regenerate().await.assert_ok();
    server.by(&ada).start("Tablet").await.assert_ok();
    home.vandal().run(&format!(
        "UPDATE users SET mfa_locked_until = {ahead} WHERE id = {}",
        ada.user
    ));
    let locked = server.by(&ada).verify(&ada.app.code()).await;
    locked.assert(429, "TOO_MANY_FAILURES");
    assert_eq!(locked.headers["retry-after"], "3600");
}

#[tokio::test]
async fn clock_that_is_a_little_behind_another_server_starts() {
    let home = Home::new();
    home.user("ada");
    home.vandal().run(&format!(
        "INSERT INTO audit (at, event, outcome) VALUES ({}, 'mfa.key.rotated', 'success')",
        now() + HOUR / 15
    ));
    home.serve(&[]);
}

#[test]
fn t42_step_that_a_wrong_clock_moved_is_reset_and_on_record() {
    let home = Home::new();
    let user = home.user("ada");
    let devices: Vec<String> = (0..3).map(|_| home.device(&user, true)).collect();
    let step = || now() / 30_000_000;
    for device in &devices {
        home.vandal().run(&format!(
            "UPDATE devices SET last_step = {} WHERE id = {device}",
            step() + 720
        ));
    }
    let reset = ["device", "reset-step", &devices[0], "--actor", "olga"];
    assert_eq!(home.id(&reset), devices[0]);
    let steps = home
        .vandal()
        .texts("SELECT last_step FROM devices ORDER BY last_step");
    let first: i64 = steps[0].parse().expect("a step");
    assert!((step() - 2..=step() + 1).contains(&first), "{steps:?}");
    // Not ahead any more: nothing is done.
    home.id(&reset);
    let all = home.run(&["device", "reset-step", "--all", "--actor", "olga"]);
    assert_eq!(all["devices"], 2);
    let listed = text(
        &home
            .output(&[
                "audit", "list", "--order", "oldest", "--user", &user, "--json",
            ])
            .stdout,
    );
    let resets: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|record: &Value| record["event"] == "mfa.admin.step_reset")
        .collect();
    assert_eq!(resets.len(), 3);
    assert!(
        resets
            .iter()
            .all(|record| string(&record["actor"]).contains("olga"))
    );
    assert_eq!(resets[0]["device_id"], devices[0].as_str());

    let unknown = home.output(&["device", "reset-step", "1"]);
    assert_eq!(unknown.status.code(), Some(1));
    for wrong in [
        &["device", "reset-step"][..],
        &["device", "reset-step", "1", "--all"],
    ] {
        assert_eq!(home.output(wrong).status.code(), Some(2));
    }
}

#[tokio::test]
async fn verifying_does_not_shorten_a_longer_step_up() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&[]);
    let (_, token, until) = home.session(&ada.user, Some("1h"));
    let answer = server.verify(&token, &ada.device, &ada.app.code()).await;
    answer.assert_valid();
    let until = DateTime::parse_from_rfc3339(&string(&until)).expect("a time");
    let said = string(&answer.body["data"]["session_mfa_not_after"]);
    let said = DateTime::parse_from_rfc3339(&said).expect("a time");
    assert!(
        (said - until).abs() < TimeDelta::seconds(1),
        "{said} and {until}"
    );
}

/// Names that look like nothing, or like another name.
const DECEIVING: [&str; 9] = [
    "\u{200b}",
    "\u{2800}",
    "\u{3164}",
    "Phone \u{202e}gnp.exe",
    "Pho\u{200d}ne",
    "Phone\u{2066}",
    "Phone\u{e0061}",
    "Phone\u{fe0f}",
    "\u{feff}Phone",
];

#[tokio::test]
async fn t46_names_that_deceive_are_refused_and_emoji_are_not() {
    let home = Home::new();
    let server = home.serve(&["--limit-enroll", "100/1h"]);
    let ada = home.caller("ada");
    for name in DECEIVING {
        let refused = server.by(&ada).start(name).await;
        refused.assert(400, "INVALID_REQUEST");
        assert!(
            refused.messages()[0].starts_with("/name"),
            "{:?}",
            refused.messages()
        );
        let device = ["device", "create", "--user", &ada.user, "--name", name];
        let user = ["user", "create", "--email", "x@example.org", "--name", name];
        for command in [&device[..], &user[..]] {
            let refused = home.output(command);
            assert_eq!(
                refused.status.code(),
                Some(2),
                "{name:?}: {}",
                text(&refused.stderr)
            );
        }
    }
    let address = [
        "user",
        "create",
        "--name",
        "Ada",
        "--email",
        "ad\u{200b}a@example.com",
    ];
    assert_eq!(home.output(&address).status.code(), Some(2));
    for name in [
        "\u{1f469}\u{200d}\u{1f4bb}",
        "\u{260e}\u{fe0f} Home",
        "می\u{200c}خواهم",
    ] {
        assert_eq!(server.by(&ada).start(name).await.status, 200, "{name:?}");
        home.id(&["device", "create", "--user", &ada.user, "--name", name]);
    }
}

#[tokio::test]
async fn t46_stored_names_that_deceive_stay_readable_and_are_listed_escaped() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    home.vandal().run(&format!(
        "UPDATE devices SET name = 'Phone \u{202e}gnp.exe' WHERE id = {}",
        ada.device
    ));
    home.vandal().run(&format!(
        "UPDATE users SET name = '\u{200b}' WHERE id = {}",
        ada.user
    ));
    let listed = server.by(&ada).devices().await;
    assert_eq!(
        listed.body["data"]["items"][0]["name"],
        "Phone \u{202e}gnp.exe"
    );
    server.by(&ada).user().await.assert_ok();
    let printed = text(&home.output(&["device", "list", &ada.user]).stdout);
    assert!(printed.contains("Phone \\u{202e}gnp.exe"), "{printed}");
}

/// The same code in other digits.
fn in_digits(code: &str, zero: char) -> String {
    let digit = |c: char| {
        c.to_digit(10)
            .and_then(|value| char::from_u32(u32::from(zero) + value))
    };
    code.chars().map(|c| digit(c).expect("a digit")).collect()
}

#[tokio::test]
async fn codes_are_read_in_the_digits_of_any_script_and_with_marks_that_nobody_sees() {
    let home = Home::new();
    let server = home.serve(&[]);
    for (n, written) in [
        |code: &str| in_digits(code, '\u{660}'),
        |code: &str| in_digits(code, '\u{966}'),
        |code: &str| in_digits(code, '\u{1d7ec}'),
        |code: &str| in_digits(code, '\u{ff10}'),
        |code: &str| format!("\u{200e}{code}"),
        |code: &str| format!("{}\u{200b}{}", &code[..3], &code[3..]),
        |code: &str| format!("\u{2067}{code}\u{2069}\u{feff}"),
    ]
    .into_iter()
    .enumerate()
    {
        let caller = home.caller(&format!("user{n}"));
        let code = written(&caller.app.code());
        let answer = server.by(&caller).verify(&code).await;
        assert!(answer.is_valid(), "{code:?}");
    }
    let ada = home.caller("ada");
    let codes = server.by(&ada).regenerate().await.backup_codes();
    // Of a full-width code 29 characters are 87 bytes.
    let wide: String = codes[0]
        .chars()
        .map(|c| char::from_u32(u32::from(c) + 0xfee0).expect("full-width"))
        .collect();
    server.by(&ada).redeem(&wide).await.assert_valid();
    let marked = format!(
        "\u{202a}{}\u{202c}",
        codes[1].to_lowercase().replace('-', "\u{200b}")
    );
    server.by(&ada).redeem(&marked).await.assert_valid();
    let refused: Answer = server.by(&ada).verify(&"\u{200b}".repeat(65)).await;
    refused.assert(400, "MALFORMED_CODE");
    assert!(
        refused.messages()[0].contains("64 characters"),
        "{:?}",
        refused.messages()
    );
}

#[test]
fn provisioning_uri_has_the_issuer_of_the_variable_and_one_colon_in_its_label() {
    let home = Home::new();
    for (n, email) in ["ops:alerts@example.org", "ada@[IPv6:2001:db8::1]"]
        .iter()
        .enumerate()
    {
        let user = home.id(&["user", "create", "--name", "Ada", "--email", email]);
        let mut command = home.arklow();
        command
            .args([
                "device", "create", "--user", &user, "--name", "Phone", "--json",
            ])
            .env("ARKLOW_ISSUER", "Acme");
        if n == 0 {
            command.args(["--issuer", "Flag"]);
        }
        let created: Value =
            serde_json::from_slice(&command.output().expect("it runs").stdout).expect("JSON");
        let uri = string(&created["provisioning_uri"]);
        let issuer = ["Flag", "Acme"][n];
        let label = uri.split(['/', '?']).nth(3).expect("a label");
        assert!(label.starts_with(&format!("{issuer}:")), "{uri}");
        assert!(uri.contains(&format!("issuer={issuer}")), "{uri}");
        let colons = label.matches(':').count() + label.to_uppercase().matches("%3A").count();
        assert_eq!(colons, 1, "{label}");
    }
}
