//! The commands beside the server: what they print, what they refuse, and that they take effect at once.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Home, string, text};

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
    let elsewhere = Home::new();
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
