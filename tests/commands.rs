//! Commands while a server runs: what they print, what they reject, and that they take effect at once.

use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Home, NO_LIMITS, Server, arklow, string, text};

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("one object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[track_caller]
fn time(value: &Value) -> DateTime<Utc> {
    string(value).parse().expect("RFC 3339")
}

/// A refusal: exit code 1, nothing on stdout, and these words on stderr.
#[track_caller]
fn refused(home: &Home, arguments: &[&str], words: &[&str]) {
    let output = home.output(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} does not say `{word}`: {said}"
        );
    }
}

#[test]
fn json_has_the_documented_fields() {
    let home = Home::new();
    let user = home.run(&[
        "user",
        "create",
        "--name",
        "Ada",
        "--email",
        "ada@example.com",
    ]);
    assert_eq!(keys(&user), ["id"]);
    let user = string(&user["id"]);
    let device = home.run(&[
        "device",
        "create",
        "--user",
        &user,
        "--name",
        "Phone",
        "--confirmed",
    ]);
    assert_eq!(keys(&device), ["id", "provisioning_uri"]);
    assert!(
        string(&device["provisioning_uri"])
            .starts_with("otpauth://totp/Arklow:ada%40example.com?secret=")
    );
    let session = home.run(&[
        "session",
        "create",
        "--user",
        &user,
        "--ttl",
        "1h",
        "--mfa-verified-for",
        "2h",
    ]);
    assert_eq!(
        keys(&session),
        ["expires_at", "id", "mfa_not_after", "token"]
    );
    assert_eq!(
        session["expires_at"], session["mfa_not_after"],
        "no step-up outlives its session"
    );
    assert!(time(&session["expires_at"]) - now() <= TimeDelta::hours(1));
    assert_eq!(
        home.run(&["session", "create", "--user", &user])["mfa_not_after"],
        Value::Null
    );
    let id = string(&session["id"]);
    assert_eq!(home.run(&["session", "revoke", &id])["id"], json!(id));
    assert_eq!(home.run(&["user", "disable", &user])["id"], json!(user));
}

#[expect(
    clippy::disallowed_methods,
    reason = "compares with the real time of the process that it started"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

#[test]
fn data_is_on_stdout_and_messages_are_on_stderr() {
    let home = Home::new();
    let created = home.output(&[
        "user",
        "create",
        "--name",
        "Ada",
        "--email",
        "ada@example.com",
    ]);
    let id = text(&created.stdout);
    assert!(id.trim().parse::<i64>().is_ok_and(|id| id > 0), "{id:?}");
    assert!(!created.stderr.is_empty());
    let session = home.output(&["session", "create", "--user", id.trim()]);
    let token = text(&session.stdout);
    assert!(
        token.starts_with("arks_") && token.trim().len() == 57,
        "{token:?}"
    );
    assert!(!text(&session.stderr).contains(token.trim()));
}

#[test]
fn refusals_say_what_and_what_to_do() {
    let home = Home::new();
    let ada = home.user("ada");
    refused(
        &home,
        &[
            "user",
            "create",
            "--name",
            "Eve",
            "--email",
            "ADA@example.com",
        ],
        &["ADA@example.com", "hint:"],
    );
    refused(
        &home,
        &["session", "create", "--user", "12"],
        &["no user 12", "hint:"],
    );
    refused(
        &home,
        &["device", "create", "--user", "12", "--name", "Phone"],
        &["no user 12"],
    );
    refused(&home, &["session", "revoke", "12"], &["12"]);
    refused(&home, &["user", "disable", "12"], &["12"]);
    home.run(&["user", "disable", &ada]);
    refused(&home, &["session", "create", "--user", &ada], &["disabled"]);
    refused(
        &home,
        &["device", "create", "--user", &ada, "--name", "Phone"],
        &["disabled"],
    );
    let elsewhere = Home::on_sqlite();
    refused(
        &elsewhere,
        &["user", "disable", "12"],
        &["no database", "--database-url"],
    );
    assert!(
        !elsewhere.database().exists(),
        "a command that looks something up makes no database"
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let home = Home::new();
    let wrong: &[&[&str]] = &[
        &[],
        &["nothing"],
        &["user", "create", "--name", "Ada"],
        &["user", "create", "--name", "", "--email", "ada@example.com"],
        &["user", "create", "--name", "Ada", "--email", "nobody"],
        &["user", "disable", "-1"],
        &["session", "create", "--user", "12", "--ttl", "soon"],
        &["serve", "--listen", "nowhere"],
        &[
            "user",
            "disable",
            "12",
            "--database-url",
            "mysql://localhost",
        ],
    ];
    for arguments in wrong {
        let output = home.output(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty());
    }
    let secret = home.output(&[
        "user",
        "disable",
        "12",
        "--database-url",
        "postgres://ada:hunter2@host/db",
    ]);
    let said = text(&secret.stderr);
    assert!(
        !secret.status.success()
            && !said.contains("hunter2")
            && said.to_lowercase().contains("postgres"),
        "{said}"
    );
}

#[tokio::test]
async fn commands_take_effect_on_a_running_server_at_once() {
    let home = Home::new();
    let server = home.serve(&[]);
    // Made while the server runs.
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    server.by(&ada).regenerate().await.assert_ok();
    server.by(&eve).regenerate().await.assert_ok();
    home.run(&["session", "revoke", &ada.session]);
    assert_eq!(server.by(&ada).regenerate().await.status, 401);
    let (_, other, _) = home.session(&ada.user, Some("1m"));
    assert_eq!(
        server.regenerate(&other, &ada.device).await.status,
        200,
        "only that session is revoked"
    );
    home.run(&["user", "disable", &eve.user]);
    assert_eq!(server.by(&eve).regenerate().await.status, 401);
}

/// What a command lists: an object a line.
#[track_caller]
fn listed(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let output = home.output(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

#[tokio::test]
async fn unlocking_a_user_takes_effect_at_once_and_is_on_record_with_its_actor() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    for _ in 0..5 {
        let wrong = ada.app.wrong_code();
        server.by(&ada).verify(&wrong).await.assert_invalid();
    }
    let code = ada.app.code();
    let locked = server.by(&ada).verify(&code).await;
    locked.assert(429, "TOO_MANY_FAILURES");
    let unlocked = home.output(&["user", "unlock", &ada.user, "--actor", "carol"]);
    let said = text(&unlocked.stderr);
    assert!(said.contains("was locked; 5 failures"), "{said}");
    server.by(&ada).verify(&code).await.assert_valid();
    let again = home.output(&["user", "unlock", &ada.user]);
    assert!(text(&again.stderr).contains("was not locked"));

    let unlocks: Vec<Value> = listed(
        &home,
        &["audit", "list", "--order", "oldest", "--user", &ada.user],
    )
    .into_iter()
    .filter(|record| record["event"] == "mfa.factor.unlocked")
    .collect();
    assert_eq!(unlocks.len(), 2);
    let actor = string(&unlocks[0]["actor"]);
    assert!(actor.ends_with(r#", label "carol""#), "{actor}");
    assert_eq!(
        string(&unlocks[1]["actor"]),
        actor.replace(r#", label "carol""#, ""),
        "without a label the account alone"
    );
    refused(&home, &["user", "unlock", "12"], &["no user 12", "hint:"]);
}

#[tokio::test]
async fn operators_list_and_remove_devices_and_list_sessions() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let second = home.device(&ada.user, false);
    let devices = listed(&home, &["device", "list", &ada.user]);
    let states: Vec<(&str, &str)> = devices
        .iter()
        .map(|device| {
            let text = |key: &str| device[key].as_str().expect("text");
            (text("id"), text("state"))
        })
        .collect();
    assert_eq!(
        states,
        [
            (second.as_str(), "pending"),
            (ada.device.as_str(), "confirmed")
        ]
    );
    assert_eq!(
        keys(&devices[0]),
        [
            "confirmed_at",
            "id",
            "last_used_at",
            "name",
            "removed_at",
            "state",
            "updated_at"
        ]
    );

    home.run(&["device", "remove", &ada.device, "--actor", "carol"]);
    let refused_now = server.by(&ada).regenerate().await;
    refused_now.assert(403, "MFA_REQUIRED");
    let again = home.output(&["device", "remove", &ada.device]);
    assert!(again.status.success() && text(&again.stderr).contains("already"));
    let devices = listed(&home, &["device", "list", &ada.user]);
    assert_eq!(devices[1]["state"], "removed");
    let human = text(&home.output(&["device", "list", &ada.user]).stdout);
    // An id may have fewer digits than its column has room for.
    let mut lines = human.lines();
    assert!(
        lines.any(|line| line.starts_with(&ada.device) && line.contains("  removed  ")),
        "{human}"
    );

    let (other, _, _) = home.session(&ada.user, None);
    home.run(&["session", "revoke", &other]);
    let sessions = listed(&home, &["session", "list", &ada.user]);
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        keys(&sessions[0]),
        [
            "created_at",
            "expires_at",
            "id",
            "mfa_not_after",
            "revoked_at"
        ]
    );
    assert_eq!(sessions[0]["id"], json!(other));
    assert!(sessions[0]["revoked_at"].is_string());
    assert!(
        !format!("{sessions:?}").contains("arks_"),
        "no token is listed"
    );

    for command in ["device", "session"] {
        refused(&home, &[command, "list", "12"], &["no user 12"]);
    }
    refused(
        &home,
        &["device", "remove", "12"],
        &["no device 12", "hint:"],
    );

    let events: Vec<String> = listed(
        &home,
        &["audit", "list", "--order", "oldest", "--user", &ada.user],
    )
    .iter()
    .filter(|record| record["actor"].is_string())
    .map(|record| string(&record["event"]))
    .collect();
    let (list, create) = ("mfa.admin.devices_listed", "mfa.admin.device_created");
    let expected = [
        "mfa.admin.user_created",
        create,
        "mfa.admin.session_created",
        create,
        list,
        "mfa.totp.removed",
        list,
        list,
        "mfa.admin.session_created",
        "mfa.admin.session_revoked",
        "mfa.admin.sessions_listed",
    ];
    assert_eq!(events, expected, "each is on record with its actor");
}

#[tokio::test]
async fn audit_is_listed_whole_by_user_and_since_a_time() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    server.by(&ada).regenerate().await;
    server.by(&eve).regenerate().await;
    server.by(&ada).verify(&ada.app.wrong_code()).await;

    // Three for making each of them, and what they did.
    let made = 3;
    assert_eq!(listed(&home, &["audit", "list"]).len(), 2 * made + 3);
    let hers = listed(
        &home,
        &["audit", "list", "--order", "oldest", "--user", &ada.user],
    );
    assert_eq!(hers.len(), made + 2);
    let hers = &hers[made..];
    assert_eq!(hers[1]["event"], "mfa.verify.totp");
    assert_eq!(
        (&hers[1]["outcome"], &hers[1]["reason"]),
        (&json!("failure"), &json!("wrong_code"))
    );
    assert_eq!(hers[1]["remote_address"], "127.0.0.1");
    assert!(hers[1]["request_id"].is_string() && hers[1]["session_id"] == json!(ada.session));

    home.vandal()
        .run("UPDATE audit SET at = at - 7200000000 WHERE id <= 7");
    assert_eq!(listed(&home, &["audit", "list", "--since", "1h"]).len(), 2);
    assert_eq!(listed(&home, &["audit", "list", "--since", "3h"]).len(), 9);
    let at = string(&hers[1]["at"]);
    assert_eq!(listed(&home, &["audit", "list", "--since", &at]).len(), 1);
    let human = text(&home.output(&["audit", "list", "--since", &at]).stdout);
    assert!(human.contains("mfa.verify.totp failure"), "{human}");
    assert!(human.contains("reason=wrong_code"), "{human}");

    // Longer than a page, read to its end.
    home.vandal().run(
        "INSERT INTO audit (at, event, outcome) WITH RECURSIVE n (i) AS
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         SELECT 1, 'mfa.key.rotated', 'success' FROM n",
    );
    assert_eq!(listed(&home, &["audit", "list"]).len(), 2509);
}

#[test]
fn flags_of_the_rules_are_checked() {
    let home = Home::new();
    for wrong in [
        &["serve", "--totp-window", "2"][..],
        &["serve", "--lock-factor-after", "101"],
        &["serve", "--limit-regenerate", "10"],
        &["serve", "--limit-regenerate", "0/1h"],
        &["serve", "--limit-address", "10/5m,x"],
        &["serve", "--limits", "maybe"],
        &["serve", "--trusted-proxy", "proxy.example"],
        &["serve", "--issuer", "a:b"],
        &["audit", "list", "--since", "yesterday"],
    ] {
        let output = home.output(wrong);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{wrong:?}: {}",
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn limits_that_are_off_are_said_loudly_and_failures_lock_all_the_same() {
    let home = Home::new();
    let mut command = home.arklow();
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("ARKLOW_LIMITS", "off");
    let server = crate::harness::Server::spawn(&mut command);
    assert!(
        server.printed().contains("LIMITS ARE OFF"),
        "{}",
        server.printed()
    );
    let ada = home.caller("ada");
    for _ in 0..12 {
        server.by(&ada).regenerate().await.assert_ok();
        server.by(&ada).start("Tablet").await.assert_ok();
    }
    for _ in 0..5 {
        let wrong = ada.app.wrong_code();
        server.by(&ada).verify(&wrong).await.assert_invalid();
    }
    let locked = server.by(&ada).verify(&ada.app.code()).await;
    locked.assert(429, "TOO_MANY_FAILURES");
}

#[test]
fn help_documents_the_exit_codes() {
    let home = Home::new();
    let help = text(&home.output(&["--help"]).stdout);
    for words in [
        "Exit codes:",
        "0  done",
        "1  refused or failed",
        "2  wrong usage",
        "3  `arklow migrate status`: changes are pending",
    ] {
        assert!(help.contains(words), "{help}");
    }
}

#[tokio::test]
async fn user_is_found_shown_disabled_and_enabled_again() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    server.by(&ada).regenerate().await;
    let wrong = ada.app.wrong_code();
    server.by(&ada).verify(&wrong).await;

    let by_address = ["user", "show", "ADA@example.com"];
    let output = home.output(&[&by_address[..], &["--json", "--actor", "carol"]].concat());
    let printed = text(&output.stdout);
    let shown: Value = serde_json::from_str(&printed).expect("one object");
    assert_eq!(
        keys(&shown),
        [
            "audit",
            "created_at",
            "device_count",
            "devices",
            "disabled_at",
            "email",
            "failures",
            "id",
            "locked_until",
            "name",
            "session_count",
            "sessions",
        ]
    );
    assert_eq!(shown["id"], json!(ada.user));
    assert_eq!(shown["name"], "ada");
    assert_eq!(shown["failures"], 1);
    assert_eq!(shown["devices"][0]["id"], json!(ada.device));
    assert_eq!(shown["devices"][0]["backup_codes_left"], 10);
    assert_eq!(shown["sessions"][0]["id"], json!(ada.session));
    assert_eq!(shown["session_count"], 1);
    let reasons = shown["audit"].as_array().expect("records");
    assert!(
        reasons
            .iter()
            .any(|record| record["reason"] == "wrong_code"),
        "{reasons:?}"
    );
    assert!(!printed.contains("arks_"), "no token is shown");
    let human = text(&home.output(&["user", "show", &ada.user]).stdout);
    for words in [
        &ada.user,
        &ada.device,
        &ada.session,
        "failures:  1 in a row",
    ] {
        assert!(human.contains(words), "{human}");
    }

    home.run(&["user", "disable", "ada@example.com"]);
    let shown = home.run(&by_address);
    assert!(shown["disabled_at"].is_string());
    assert_eq!(shown["session_count"], 0, "no session of theirs lives");
    let disabled = listed(&home, &["user", "list", "--disabled"]);
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0]["id"], json!(ada.user));

    home.run(&["user", "enable", &ada.user, "--actor", "carol"]);
    assert_eq!(
        server.by(&ada).user().await.status,
        401,
        "sessions from before stay over"
    );
    let (_, token, _) = home.session(&ada.user, None);
    server.user(&token).await.assert_ok();
    server.by(&eve).user().await.assert_ok();
    let again = home.output(&["user", "enable", "ada@example.com"]);
    assert!(text(&again.stderr).contains("was not disabled"));
    assert_eq!(
        server.user(&token).await.status,
        200,
        "enabling changes nothing then"
    );

    let events: Vec<(Value, Value)> = listed(
        &home,
        &["audit", "list", "--order", "oldest", "--user", &ada.user],
    )
    .into_iter()
    .filter(|record| {
        record["actor"]
            .as_str()
            .is_some_and(|actor| actor.contains("carol"))
    })
    .map(|record| (record["event"].clone(), record["outcome"].clone()))
    .collect();
    let success = json!("success");
    assert_eq!(
        events,
        [
            (json!("mfa.admin.user_shown"), success.clone()),
            (json!("mfa.admin.user_enabled"), success)
        ]
    );

    for command in ["show", "enable", "disable", "unlock"] {
        refused(&home, &["user", command, "12"], &["no user 12"]);
        let unknown = ["user", command, "nobody@example.com"];
        refused(&home, &unknown, &["nobody@example.com", "hint:"]);
        let both = home.output(&["user", command, "12", "a@b.c"]);
        assert_eq!(both.status.code(), Some(2));
        let neither = home.output(&["user", command]);
        assert_eq!(neither.status.code(), Some(2));
    }
}

#[test]
fn users_are_listed_in_pages_and_found_by_a_part_of_their_address() {
    let home = Home::new();
    let mut all: Vec<String> = ["ada", "bob", "c_d"].map(|name| home.user(name)).into();
    all.sort_by_key(|id| id.parse::<i64>().expect("an id"));
    let ids = |arguments: &[&str]| -> Vec<String> {
        let users = listed(&home, &[&["user", "list"], arguments].concat());
        users.iter().map(|user| string(&user["id"])).collect()
    };
    assert_eq!(ids(&[]), all);
    assert_eq!(ids(&["--limit", "2"]), all[..2]);
    assert_eq!(ids(&["--limit", "2", "--after", &all[1]]), all[2..]);
    let first = home.output(&["user", "list", "--limit", "2"]);
    let said = text(&first.stderr);
    assert!(said.contains(&format!("--after {}", all[1])), "{said}");
    let whole = home.output(&["user", "list", "--limit", "3"]);
    assert!(!text(&whole.stderr).contains("--after"));
    assert_eq!(ids(&["--search", "EXAMPLE.com"]), all);
    assert_eq!(ids(&["--search", "_"]).len(), 1, "it is no pattern");
    assert_eq!(ids(&["--search", "%"]).len(), 0, "it is no pattern");
    assert_eq!(ids(&["--search", "!"]).len(), 0, "it is no pattern");
    assert_eq!(ids(&["--disabled"]).len(), 0);
}

#[test]
fn heads_go_with_the_rows() {
    let home = Home::new();
    let ada = home.caller("ada");
    for (arguments, first) in [
        (&["user", "list"][..], "ID "),
        (&["device", "list", &ada.user], "ID "),
        (&["session", "list", &ada.user], "ID "),
        (&["keys", "list"], "ID "),
        (&["migrate", "status"], "STATE "),
    ] {
        let output = home.output(arguments);
        let (rows, said) = (text(&output.stdout), text(&output.stderr));
        assert!(rows.starts_with(first), "{arguments:?}: {rows}");
        assert!(!said.contains(first), "{arguments:?}: {said}");
    }
}

#[test]
fn migrate_status_tells_by_its_exit_code_whether_changes_are_pending() {
    let home = Home::on_sqlite();
    for arguments in [&["migrate", "status"][..], &["migrate", "status", "--json"]] {
        let output = home.output(arguments);
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("arklow migrate up"));
    }
    assert!(!home.database().exists(), "looking makes nothing");
    home.output(&["migrate", "up"]);
    let output = home.output(&["migrate", "status"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let help = text(&home.output(&["migrate", "status", "--help"]).stdout);
    assert!(help.contains("Exit code 3"), "{help}");
}

/// Every line of a text that is to be JSON.
#[track_caller]
fn records(text: &str) -> Vec<Value> {
    let read = |line: &str| match serde_json::from_str(line) {
        Ok(record @ Value::Object(_)) => record,
        _ => panic!("`{line}` is not a JSON object in: {text}"),
    };
    text.lines().map(read).collect()
}

#[test]
fn every_message_is_a_record_when_the_log_is_json() {
    let home = Home::new();
    let json = ["--log-format", "json"];
    let error = |arguments: &[&str], code: i32| {
        let output = home.output(&[arguments, &json].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let mut records = records(&text(&output.stderr));
        let record = records.pop().expect("a record");
        assert_eq!(record["level"], "ERROR", "{arguments:?}: {record}");
        record
    };
    let made = [
        &["user", "create", "--name", "Ada", "--email", "ada@x.org"][..],
        &["restored"],
        &["migrate", "status"],
    ];
    for arguments in made {
        let output = home.output(&[arguments, &json].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!records(&text(&output.stderr)).is_empty(), "{arguments:?}");
    }
    let unknown = error(&["user", "disable", "12"], 1);
    assert_eq!(unknown["message"], "there is no user 12");
    assert!(unknown["hint"].is_string());
    error(&["user", "disable", "x"], 2);
    error(&["nothing"], 2);
    error(&["copy", "--from", "sqlite:x", "--to", "sqlite:y"], 1);
    let help = home.output(&["--help", "--log-format", "json"]);
    assert!(text(&help.stdout).starts_with("Multi-factor"));
    assert!(help.stderr.is_empty());

    // A server does so if standard error is no terminal.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (arguments, code) in [
        (&["serve", "--listen", &address][..], 1),
        (&["dev", "--listen", &address], 1),
        (&["mock", "--listen", &address], 1),
        (&["serve", "--shutdown-grace", "5"], 2),
    ] {
        let output = home.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let records = records(&text(&output.stderr));
        let last = records.last().expect("a record");
        assert_eq!(last["level"], "ERROR", "{arguments:?}");
    }
    // People read what the other commands say.
    let said = text(&home.output(&["user", "disable", "12"]).stderr);
    assert!(
        said.starts_with("error: ") && said.contains("hint: "),
        "{said}"
    );
}

#[test]
fn server_writes_one_record_of_its_start_and_nothing_that_is_not_json() {
    let home = Home::new();
    for arguments in [
        &["--limits", "off", "--log-format", "json"][..],
        &["--log-level", "error"],
    ] {
        let mut server = home.serve(arguments);
        server.signal("TERM");
        assert_eq!(server.wait().code(), Some(0));
        let records = records(&server.printed());
        let started: Vec<&Value> = records
            .iter()
            .filter(|record| record["version"].is_string())
            .collect();
        assert_eq!(started.len(), 1, "{records:?}");
        let started = started[0];
        assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            format!("http://{}", string(&started["address"])),
            server.base
        );
        assert!(string(&started["migration"]).starts_with("2026"));
        let database = string(&started["database"]);
        let without_password = match home.url().rsplit_once('@') {
            Some((_, place)) => place.split('?').next().expect("a part").to_owned(),
            None => home.url(),
        };
        assert!(database.ends_with(&without_password), "{database}");
        if let Some((_, rest)) = home.url().split_once("://") {
            let secret = rest.split(['@', ':']).nth(1).expect("a password");
            assert!(!server.printed().contains(secret));
        }
    }
    let limits = home.serve(NO_LIMITS);
    let loud = records(&limits.printed());
    let loud = loud
        .iter()
        .find(|record| string(&record["message"]).contains("LIMITS ARE OFF"));
    assert_eq!(loud.expect("a record")["level"], "WARN");
    for command in [&["dev"][..], &["mock"]] {
        let server = Server::spawn(
            arklow()
                .args(command)
                .args(["--listen", "127.0.0.1:0"])
                .args(["--json", "--log-format", "json"]),
        );
        records(&server.printed());
    }
    // For people it is as it was.
    let server = home.serve(&["--log-format", "human"]);
    let printed = server.printed();
    assert!(
        printed
            .lines()
            .any(|line| line.starts_with("listening on http://")),
        "{printed}"
    );
}

#[test]
fn errors_of_copy_name_its_own_flags() {
    let home = Home::with_file();
    home.user("ada");
    let (here, gone) = (home.url(), "sqlite:gone.db");
    let nowhere = "postgres://ada:hunter2@127.0.0.1:1/x";
    for (from, to, words) in [
        (gone, nowhere, &["--from", "no database", "hint:"][..]),
        (&here, nowhere, &["--to", "cannot be reached", "hint:"]),
        // What is wrong with the flags comes before what is wrong with the databases.
        (
            nowhere,
            gone,
            &["from SQLite to PostgreSQL", "--from", "--to"],
        ),
        (gone, gone, &["from SQLite to PostgreSQL"]),
        (nowhere, nowhere, &["from SQLite to PostgreSQL"]),
    ] {
        let arguments = ["copy", "--from", from, "--to", to];
        refused(&home, &arguments, words);
        let said = text(&home.output(&arguments).stderr);
        assert!(
            !said.contains("--database-url") && !said.contains("hunter2"),
            "{said}"
        );
    }
    assert!(!home.path().join("gone.db").exists());
}

#[test]
fn errors_of_dev_name_the_temporary_directory() {
    // Files may not grow beyond a few blocks, as on a disk that is full.
    for blocks in [0, 8, 64, 160] {
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" dev --listen 127.0.0.1:0 \"$@\""
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_arklow")])
            .args(["--log-format", "human"])
            .output()
            .expect("sh runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{blocks}: {said}");
        assert!(said.contains("hint: set TMPDIR"), "{blocks}: {said}");
        assert!(!said.contains("--database-url"), "{blocks}: {said}");
        assert!(!said.contains("--keys"), "{blocks}: {said}");
    }
}

#[test]
fn counts_and_nouns_agree() {
    let home = Home::new();
    let ada = home.user("ada");
    home.device(&ada, true);
    let said = |arguments: &[&str]| {
        let output = home.output(arguments);
        text(&output.stdout) + &text(&output.stderr)
    };
    let restored = said(&["restored"]);
    assert!(restored.contains("1 device waits"), "{restored}");
    let again = said(&["restored"]);
    assert!(again.contains("0 devices wait"), "{again}");
    let vandal = |failures: i64| {
        let set = format!("UPDATE users SET mfa_failures = {failures}");
        home.vandal().run(&set);
        said(&["user", "unlock", &ada])
    };
    assert!(vandal(1).contains("1 failure in"));
    assert!(vandal(2).contains("2 failures in"));
    let fresh = Home::with_file();
    fresh.user("ada");
    fresh.vandal().run(
        "DELETE FROM __diesel_schema_migrations WHERE version =
         (SELECT max(version) FROM __diesel_schema_migrations)",
    );
    let output = fresh.output(&["migrate", "status"]);
    let said = text(&output.stderr);
    assert!(said.contains("1 change is pending"), "{said}");
}

#[test]
fn help_fits_the_terminal() {
    for command in ["serve", "restored", "copy"] {
        for columns in [60, 100] {
            let output = arklow()
                .args([command, "--help"])
                .env("COLUMNS", columns.to_string())
                .output()
                .expect("the binary runs");
            let help = text(&output.stdout);
            // A URL has no place to break at.
            let broken = help
                .lines()
                .filter(|line| line.trim().contains(' '))
                .all(|line| line.chars().count() <= columns);
            assert!(broken, "{help}");
        }
    }
}

/// Adds so many sessions for a user.
fn add_sessions(home: &Home, user: &str, count: u32) {
    let hash = match home.url().starts_with("sqlite:") {
        true => "CAST(printf('%032d', i) AS BLOB)",
        false => "convert_to(lpad(i::TEXT, 32, '0'), 'UTF8')",
    };
    home.vandal().run(&format!(
        "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT i, {user}, {hash}, 1, 4000000000000000 FROM n"
    ));
}

#[test]
fn restored_that_stops_half_way_says_so_and_does_the_rest_when_it_is_run_again() {
    let home = Home::new();
    let ada = home.user("ada");
    home.device(&ada, true);
    add_sessions(&home, &ada, 25_000);
    let mut vandal = home.vandal();
    vandal.refuse_change("sessions", "20001");

    let stopped = home.output(&["restored"]);
    let said = text(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stopped half way: 20000 sessions ended"),
        "{said}"
    );
    assert!(said.contains("hint:") && said.contains("again"), "{said}");
    assert!(!said.contains("nothing was changed"), "{said}");
    assert_eq!(
        vandal.count("sessions WHERE revoked_at IS NULL"),
        5_000,
        "batches that were done stay done"
    );
    assert_eq!(vandal.count("audit WHERE event = 'mfa.admin.restored'"), 0);
    assert_eq!(
        vandal.count("devices WHERE last_step IS NOT NULL"),
        0,
        "the sessions come first"
    );

    vandal.take_again("sessions");
    let again = home.output(&["restored", "--json"]);
    let said = text(&again.stderr);
    assert!(again.status.success(), "{said}");
    assert!(said.contains("earlier `arklow restored` stopped"), "{said}");
    let killed: Value = serde_json::from_slice(&again.stdout).expect("one object");
    assert_eq!(killed["sessions"], 5_000);
    assert_eq!(killed["devices"], 1);
    assert_eq!(vandal.count("sessions WHERE revoked_at IS NULL"), 0);
    assert_eq!(vandal.count("audit WHERE event = 'mfa.admin.restored'"), 1);

    // The first batch of another run: what has been done before it is on record, too.
    let third = home.output(&["restored"]);
    assert!(!text(&third.stderr).contains("stopped"));
    vandal.refuse("audit");
    refused(&home, &["restored"], &["nothing was changed"]);
}

#[tokio::test]
async fn audit_is_selected_by_what_operators_know() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let regenerated = server.by(&ada).regenerate().await;
    server.by(&eve).verify(&eve.app.wrong_code()).await;
    server.by(&eve).verify(&eve.app.code()).await.assert_valid();
    let request = regenerated.headers["x-request-id"].to_str().expect("text");

    let select = |arguments: &[&str]| listed(&home, &[&["audit", "list"], arguments].concat());
    let all = select(&[]);
    let newest: Vec<&str> = all
        .iter()
        .map(|record| record["event"].as_str().expect("a word"))
        .collect();
    assert_eq!(newest[0], "mfa.verify.totp");
    let mut reversed = select(&["--order", "oldest"]);
    reversed.reverse();
    assert_eq!(all, reversed);
    assert_eq!(select(&["--limit", "2"]), all[..2]);

    for (arguments, count) in [
        (&["--user", "EVE@example.com"][..], 5),
        (&["--device", &ada.device], 2),
        (&["--event", "mfa.verify.totp"], 2),
        (&["--event", "mfa.verify.totp", "--outcome", "failure"], 1),
        (&["--outcome", "denied"], 0),
        (&["--request-id", request], 1),
        (&["--address", "127.0.0.1"], 3),
        (&["--address", "192.0.2.1"], 0),
        (&["--until", "1h"], 0),
        (
            &["--since", "1h", "--until", "2100-01-01T00:00:00Z"],
            all.len(),
        ),
    ] {
        assert_eq!(select(arguments).len(), count, "{arguments:?}");
    }
    let one = &select(&["--request-id", request])[0];
    assert_eq!(one["event"], "mfa.backup_codes.regenerated");
    refused(
        &home,
        &["audit", "list", "--user", "no@example.com"],
        &["no user", "no@example.com"],
    );
    let unknown = home.output(&["audit", "list", "--event", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("mfa.verify.totp"));
}

#[tokio::test]
async fn audit_is_followed_until_a_signal() {
    let home = Home::new();
    let server = home.serve(NO_LIMITS);
    let ada = home.caller("ada");
    server.by(&ada).regenerate().await.assert_ok();
    let mut follow = home.arklow();
    follow.args(["audit", "list", "--follow", "--limit", "1", "--json"]);
    let mut follow = follow
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let lines = std::io::BufReader::new(follow.stdout.take().expect("piped"));
    let mut lines = std::io::BufRead::lines(lines);
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next()["event"], "mfa.backup_codes.regenerated");
    for _ in 0..3 {
        server
            .by(&ada)
            .verify(&ada.app.wrong_code())
            .await
            .assert_invalid();
        let record = next();
        assert_eq!(
            (&record["event"], &record["outcome"]),
            (&json!("mfa.verify.totp"), &json!("failure"))
        );
    }
    let signaled = Command::new("kill")
        .args(["-TERM", &follow.id().to_string()])
        .status();
    assert!(signaled.expect("kill runs").success());
    assert!(follow.wait().expect("a child").success());
    assert!(lines.next().is_none());
}

#[test]
fn exported_audit_shows_what_was_changed_moved_or_removed() {
    let home = Home::new();
    home.caller("ada");
    let file = home.path().join("audit.jsonl");
    let path = file.display().to_string();
    let minutes = |count: i64| format!("UPDATE audit SET at = at - {count} * 60000000");
    home.vandal().run(&minutes(2));
    let first = home.run(&["audit", "export", &path]);
    assert_eq!(first["records"], 3);
    home.caller("eve");
    // Records of the last minute wait for the next export.
    assert_eq!(home.run(&["audit", "export", &path])["records"], 3);
    home.vandal().run(&minutes(2));
    let second = home.run(&["audit", "export", &path]);
    assert_eq!(second["records"], 6);
    assert_eq!(home.run(&["audit", "verify", &path]), second);
    let mode = std::fs::metadata(&file).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600);

    let whole = std::fs::read_to_string(&file).expect("a text");
    let lines: Vec<&str> = whole.lines().collect();
    let record: Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(record["event"], "mfa.admin.user_created");
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let removed = [&lines[..1], &lines[2..]].concat();
    let changed = lines[4].replace("success", "failure");
    let changed = [&lines[..4], &[&*changed], &lines[5..]].concat();
    for (broken, line) in [(swapped, 3), (removed, 2), (changed, 5)] {
        std::fs::write(&file, broken.join("\n")).expect("a file");
        let words = format!("line {line} does not follow");
        refused(&home, &["audit", "verify", &path], &[&words, "hint:"]);
        refused(&home, &["audit", "export", &path], &[&words]);
    }
    std::fs::write(&file, "hunter2\n").expect("a file");
    refused(
        &home,
        &["audit", "verify", &path],
        &["line 1 is not a line of an export"],
    );
    // It ends at a line that is too long for a record, and a disk that is full is not a broken export.
    std::fs::write(&file, "x".repeat(1_000_000)).expect("a file");
    refused(
        &home,
        &["audit", "verify", &path],
        &["line 1 is not a line of an export"],
    );
    refused(
        &home,
        &["audit", "verify", "/dev/zero"],
        &["line 1 is not a line of an export"],
    );
    refused(
        &home,
        &["audit", "verify", "missing"],
        &["cannot use `missing`", "hint: check the path"],
    );
    // At the end only the hash that was kept shows it.
    std::fs::write(&file, format!("{}\n", lines[..3].join("\n"))).expect("a file");
    assert_eq!(home.run(&["audit", "verify", &path]), first);
}

#[test]
fn completions_and_man_pages_know_every_command() {
    let home = Home::on_sqlite();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.output(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        assert!(
            script.contains("internal-listen") && script.contains("doctor"),
            "{shell}"
        );
    }
    let folder = home.path().join("man");
    let path = folder.display().to_string();
    refused(&home, &["man", &path], &["cannot write man pages", "hint:"]);
    std::fs::create_dir(&folder).expect("a folder");
    assert!(home.output(&["man", &path]).status.success());
    for command in crate::operators::commands(&home) {
        let name = format!("arklow-{}.1", command.replace(' ', "-"));
        let page = std::fs::read_to_string(folder.join(&name));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn user_is_named_by_id_or_address_wherever_one_is_meant() {
    let home = Home::new();
    home.user("ada");
    let address = "Ada@Example.com";
    home.run(&["session", "create", "--user", address]);
    home.run(&["device", "create", "--user", address, "--name", "Phone"]);
    for command in ["session", "device"] {
        assert_eq!(listed(&home, &[command, "list", address]).len(), 1);
    }
    refused(
        &home,
        &["session", "list", "eve@example.com"],
        &["eve@example.com"],
    );
    let wrong = home.output(&["session", "list", "ada"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("the id or the e-mail address"));
}

#[test]
fn every_command_has_an_example_and_prints_json() {
    let home = Home::on_sqlite();
    // Output for a shell, for `man`, and a server.
    let without_json = ["completions", "man", "serve"];
    for command in crate::operators::commands(&home) {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = text(&home.output(&words).stdout);
        assert!(help.contains("Example:"), "{command}: {help}");
        let has_json = help.contains("--json");
        assert_eq!(has_json, !without_json.contains(&&*command), "{command}");
    }
}

#[test]
fn version_names_commit_and_build() {
    let home = Home::on_sqlite();
    let version = home.run(&["version"]);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for key in ["commit", "profile", "target", "rustc"] {
        let value = string(&version[key]);
        assert!(!value.is_empty(), "{version}");
        let human = text(&home.output(&["version"]).stdout);
        assert!(human.contains(&value), "{human}");
    }
    assert!(string(&version["rustc"]).starts_with("rustc "), "{version}");
}
