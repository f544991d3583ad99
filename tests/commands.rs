//! The commands beside the server: what they print, what they refuse, and that they take effect at once.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Home, NO_LIMITS, string, text};

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
    assert_eq!(
        home.run(&["session", "revoke", "--id", &id])["id"],
        json!(id)
    );
    assert_eq!(
        home.run(&["user", "disable", "--id", &user])["id"],
        json!(user)
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "compares with the real time of the process that it started"
)]
fn now() -> DateTime<Utc> {
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
    refused(&home, &["session", "revoke", "--id", "12"], &["12"]);
    refused(&home, &["user", "disable", "--id", "12"], &["12"]);
    home.run(&["user", "disable", "--id", &ada]);
    refused(&home, &["session", "create", "--user", &ada], &["disabled"]);
    refused(
        &home,
        &["device", "create", "--user", &ada, "--name", "Phone"],
        &["disabled"],
    );
    let elsewhere = Home::on_sqlite();
    refused(
        &elsewhere,
        &["user", "disable", "--id", "12"],
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
        &["user", "disable", "--id", "-1"],
        &["session", "create", "--user", "12", "--ttl", "soon"],
        &["serve", "--listen", "nowhere"],
        &[
            "user",
            "disable",
            "--id",
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
        "--id",
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
    assert_eq!(server.regenerate(&ada.token, &ada.device).await.status, 200);
    assert_eq!(server.regenerate(&eve.token, &eve.device).await.status, 200);
    home.run(&["session", "revoke", "--id", &ada.session]);
    assert_eq!(server.regenerate(&ada.token, &ada.device).await.status, 401);
    let (_, other, _) = home.session(&ada.user, Some("1m"));
    assert_eq!(
        server.regenerate(&other, &ada.device).await.status,
        200,
        "only that session is revoked"
    );
    home.run(&["user", "disable", "--id", &eve.user]);
    assert_eq!(server.regenerate(&eve.token, &eve.device).await.status, 401);
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
        assert!(
            !server
                .verify(&ada.token, &ada.device, &wrong)
                .await
                .is_valid()
        );
    }
    let code = ada.app.code();
    let locked = server.verify(&ada.token, &ada.device, &code).await;
    locked.assert(429, "TOO_MANY_FAILURES");
    let unlocked = home.output(&["user", "unlock", "--id", &ada.user, "--actor", "carol"]);
    let said = text(&unlocked.stderr);
    assert!(said.contains("was locked; 5 failures"), "{said}");
    assert!(
        server
            .verify(&ada.token, &ada.device, &code)
            .await
            .is_valid()
    );
    let again = home.output(&["user", "unlock", "--id", &ada.user]);
    assert!(text(&again.stderr).contains("was not locked"));

    let unlocks: Vec<Value> = listed(&home, &["audit", "list", "--user", &ada.user])
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
    refused(
        &home,
        &["user", "unlock", "--id", "12"],
        &["no user 12", "hint:"],
    );
}

#[tokio::test]
async fn operators_list_and_remove_devices_and_list_sessions() {
    let home = Home::new();
    let server = home.serve(&[]);
    let ada = home.caller("ada");
    let second = home.device(&ada.user, false);
    let devices = listed(&home, &["device", "list", "--user", &ada.user]);
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

    home.run(&["device", "remove", "--id", &ada.device, "--actor", "carol"]);
    let refused_now = server.regenerate(&ada.token, &ada.device).await;
    refused_now.assert(403, "MFA_REQUIRED");
    let again = home.output(&["device", "remove", "--id", &ada.device]);
    assert!(again.status.success() && text(&again.stderr).contains("already"));
    let devices = listed(&home, &["device", "list", "--user", &ada.user]);
    assert_eq!(devices[1]["state"], "removed");
    let human = text(&home.output(&["device", "list", "--user", &ada.user]).stdout);
    // An id may have fewer digits than its column has room for.
    let mut lines = human.lines();
    assert!(
        lines.any(|line| line.starts_with(&ada.device) && line.contains("  removed  ")),
        "{human}"
    );

    let (other, _, _) = home.session(&ada.user, None);
    home.run(&["session", "revoke", "--id", &other]);
    let sessions = listed(&home, &["session", "list", "--user", &ada.user]);
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

    for (command, id) in [("device", "--user"), ("session", "--user")] {
        refused(&home, &[command, "list", id, "12"], &["no user 12"]);
    }
    refused(
        &home,
        &["device", "remove", "--id", "12"],
        &["no device 12", "hint:"],
    );

    let events: Vec<String> = listed(&home, &["audit", "list", "--user", &ada.user])
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
    server.regenerate(&ada.token, &ada.device).await;
    server.regenerate(&eve.token, &eve.device).await;
    server
        .verify(&ada.token, &ada.device, &ada.app.wrong_code())
        .await;

    // Three for making each of them, and what they did.
    let made = 3;
    assert_eq!(listed(&home, &["audit", "list"]).len(), 2 * made + 3);
    let hers = listed(&home, &["audit", "list", "--user", &ada.user]);
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
        assert_eq!(server.regenerate(&ada.token, &ada.device).await.status, 200);
        assert_eq!(server.start(&ada.token, "Tablet").await.status, 200);
    }
    for _ in 0..5 {
        let wrong = ada.app.wrong_code();
        assert!(
            !server
                .verify(&ada.token, &ada.device, &wrong)
                .await
                .is_valid()
        );
    }
    let locked = server
        .verify(&ada.token, &ada.device, &ada.app.code())
        .await;
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
    ] {
        assert!(help.contains(words), "{help}");
    }
}
