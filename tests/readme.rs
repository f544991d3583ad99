//! The README's commands, run as a newcomer would, but for `cargo run --`, which is the binary that Cargo just built.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, arklow, text};

const README: &str = include_str!("../README.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    README
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

#[test]
fn first_command_prints_a_request_that_returns_ten_codes() {
    let command = blocks("sh")
        .into_iter()
        .find(|block| block.starts_with("cargo run -- "))
        .expect("the first command");
    let arguments: Vec<&str> = command
        .trim()
        .trim_start_matches("cargo run -- ")
        .split(' ')
        .collect();
    assert_eq!(arguments, ["dev"]);
    // Another port, so that a server on the usual one is not in the way.
    let dev = Server::spawn(arklow().args(arguments).args(["--listen", "127.0.0.1:0"]));
    let curl = loop {
        if let Some(line) = dev.printed().lines().find(|line| line.starts_with("curl ")) {
            break line.to_owned();
        }
        crate::harness::pause();
    };
    if Command::new("curl").arg("--version").output().is_err() {
        crate::harness::skip("curl is not installed");
        return;
    }
    let output = Command::new("sh")
        .args(["-c", &curl])
        .output()
        .expect("sh runs");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(
        answer["data"]["backup_codes"].as_array().map(Vec::len),
        Some(10),
        "{answer}"
    );

    // The README shows the same request and an answer of the same shape.
    let shown = blocks("json")
        .into_iter()
        .next()
        .expect("the README shows an answer");
    let shown: Value = serde_json::from_str(shown).expect("JSON");
    assert_eq!(shape(&shown), shape(&answer));
    let request = README
        .lines()
        .find(|line| line.contains("curl ") && line.contains("/v1/"))
        .expect("the request");
    for part in [
        "-X POST",
        "/v1/self/mfa/regenerate/totp",
        "content-type: application/json",
        "x-arklow-auth: arks_",
        "device_id",
    ] {
        assert!(
            request.contains(part) && curl.contains(part),
            "`{part}` in `{request}` and `{curl}`"
        );
    }
}

/// The keys of a value, without what stands under them.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().map(|_| Value::Null).collect(),
        _ => Value::Null,
    }
}

#[test]
fn test_command_is_the_one_that_ci_runs() {
    let command = blocks("sh")
        .into_iter()
        .find(|block| block.starts_with("cargo test"))
        .expect("the test command");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/run");
    let ci = std::fs::read_to_string(script).expect("the script is there");
    assert!(
        ci.contains(command.trim()),
        "`{}` is not in .ci/run",
        command.trim()
    );
}

/// Every flag in the README and in the pages of `docs` is of another program that is named there, or is in the help of some command.
#[test]
fn flags_in_the_readme_are_flags_of_the_binary() {
    const CARGO: [&str; 29] = [
        "--git",
        "--home-dir",
        "--locked",
        "--shell",
        "--system",
        "--path",
        "--postgres",
        "--now",
        "--file",
        "--tag",
        "--build",
        "--rm",
        "--restart",
        "--image",
        "--env",
        "--from-file",
        "--all",
        "--version",
        "--workspace",
        "--release",
        "--spec",
        "--out",
        "--connections",
        "--probe",
        "--skip-unsupported",
        "--allow",
        "--report",
        "--resume",
        "--write",
    ];
    let commands: [&[&str]; 34] = [
        &["dev"],
        &["dev", "code"],
        &["mock"],
        &["serve"],
        &["user", "create"],
        &["user", "list"],
        &["user", "show"],
        &["user", "disable"],
        &["user", "enable"],
        &["user", "unlock"],
        &["session", "create"],
        &["session", "list"],
        &["session", "revoke"],
        &["device", "create"],
        &["device", "list"],
        &["device", "remove"],
        &["device", "reset-step"],
        &["keys", "generate"],
        &["migrate", "up"],
        &["migrate", "status"],
        &["copy"],
        &["keys", "rotate"],
        &["keys", "retire"],
        &["audit", "list"],
        &["outbox", "list"],
        &["outbox", "retry"],
        &["outbox", "discard"],
        &["restored"],
        &["backup"],
        &["restore"],
        &["doctor"],
        &["healthcheck"],
        &["config", "check"],
        &["config", "print"],
    ];
    let help: String = commands
        .iter()
        .map(|command| {
            text(
                &arklow()
                    .args(*command)
                    .arg("--help")
                    .output()
                    .expect("the binary runs")
                    .stdout,
            )
        })
        .collect();
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let pages = [
        README,
        include_str!("../docs/audit.md"),
        include_str!("../docs/back-up.md"),
        include_str!("../docs/connections.md"),
        include_str!("../docs/generator.md"),
        include_str!("../docs/incidents.md"),
        include_str!("../docs/postgresql.md"),
        include_str!("../docs/reliability.md"),
        include_str!("../docs/restore.md"),
        include_str!("../docs/rotate.md"),
        include_str!("../docs/sqlite.md"),
        include_str!("../docs/upgrade.md"),
        include_str!("../docs/commands.md"),
        include_str!("../docs/install.md"),
        include_str!("../docs/monitor.md"),
        include_str!("../docs/notifications.md"),
        include_str!("../docs/operations.md"),
        include_str!("../docs/scaling.md"),
        include_str!("../docs/security.md"),
        include_str!("../docs/tls.md"),
    ];
    let flags = pages
        .iter()
        .flat_map(|page| page.split(|character| !is_part(character)))
        .filter(|word| {
            word.starts_with("--")
                && word.contains(|letter: char| letter.is_ascii_alphabetic())
                && !CARGO.contains(word)
        });
    let flags: Vec<&str> = flags.filter(|flag| *flag != "--").collect();
    assert!(flags.len() > 8, "{flags:?}");
    for flag in flags {
        assert!(
            help.contains(flag),
            "a page names `{flag}`, which no command has"
        );
    }
}
