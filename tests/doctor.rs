//! `arklow doctor`: each fault is found, named and answered with what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Home, text};

/// State and detail of each check, and the exit code.
fn examine(home: &Home, arguments: &[&str]) -> (Vec<(String, String, String)>, i32) {
    let output = home.output(&[&["doctor", "--json"], arguments].concat());
    let printed = text(&output.stdout);
    let checks = printed.lines().map(|line| {
        let check: Value = serde_json::from_str(line).expect("JSON");
        let has_hint = check["hint"].is_string();
        let word = |name: &str| check[name].as_str().expect("a text").to_owned();
        let state = word("state");
        assert_eq!(has_hint, ["warning", "failed"].contains(&&*state), "{line}");
        (word("check"), state, word("detail"))
    });
    (checks.collect(), output.status.code().expect("a code"))
}

#[track_caller]
fn failed(home: &Home, arguments: &[&str]) -> Vec<(String, String)> {
    let (checks, code) = examine(home, arguments);
    let failed: Vec<_> = checks
        .into_iter()
        .filter(|(_, state, _)| state == "failed")
        .map(|(name, _, detail)| (name, detail))
        .collect();
    assert_eq!(code, i32::from(!failed.is_empty()), "{failed:?}");
    failed
}

#[test]
fn sound_installation_passes() {
    let home = Home::new();
    home.caller("ada");
    assert_eq!(failed(&home, &[]), []);
    let printed = text(&home.output(&["doctor"]).stdout);
    assert!(
        printed.starts_with("CHECK          STATE    DETAIL\n"),
        "{printed}"
    );
    for check in [
        "database",
        "schema",
        "keys",
        "clock",
        "outbox",
        "key file",
        "descriptors",
    ] {
        let line = printed.lines().find(|line| line.starts_with(check));
        assert!(line.is_some(), "{check}: {printed}");
    }
}

#[test]
fn database_that_cannot_be_opened_fails_and_the_rest_is_checked() {
    let home = Home::new();
    let failed = failed(&home, &["--database-url", "sqlite:missing.db"]);
    assert_eq!(failed[0].0, "database");
    assert!(failed[0].1.contains("there is no database"), "{failed:?}");
    let (checks, _) = examine(&home, &["--database-url", "sqlite:missing.db"]);
    assert!(
        checks
            .iter()
            .any(|(name, state, _)| name == "clock" && state == "skipped")
    );
    assert!(
        checks
            .iter()
            .any(|(name, state, _)| name == "descriptors" && state != "skipped")
    );
}

#[test]
fn key_that_devices_need_and_the_file_lacks_fails() {
    let home = Home::new();
    home.caller("ada");
    let needed = home.keyring().active();
    let aside = home.path().join("aside");
    std::fs::rename(home.key_file(), &aside).expect("renamed");
    let names = |failed: Vec<(String, String)>| -> Vec<String> {
        failed.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(failed(&home, &[])), ["keys", "key file"]);
    let other = home.key_file().display().to_string();
    assert!(
        home.output(&["keys", "generate", "--out", &other])
            .status
            .success()
    );
    let found = failed(&home, &[]);
    assert_eq!(found[0].0, "keys");
    assert!(found[0].1.contains(&needed.to_string()), "{found:?}");
}

#[test]
fn key_file_that_others_can_read_fails() {
    let home = Home::new();
    let set_mode = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("a mode");
    };
    set_mode(&home.key_file(), 0o640);
    let found = failed(&home, &[]);
    assert_eq!(found[0].0, "key file");
    assert!(found[0].1.contains("mode 640"), "{found:?}");
    set_mode(&home.key_file(), 0o600);
    assert_eq!(failed(&home, &[]), []);
}

#[test]
fn clock_that_is_behind_the_newest_record_fails() {
    let home = Home::new();
    home.caller("ada");
    home.vandal().run("UPDATE audit SET at = at + 3600000000");
    assert_eq!(failed(&home, &[])[0].0, "clock");
}

#[test]
fn message_that_waits_for_long_is_a_warning() {
    let home = Home::new();
    home.caller("ada");
    home.vandal().run("UPDATE outbox SET at = at - 7200000000");
    let (checks, code) = examine(&home, &[]);
    let outbox = checks.iter().find(|(name, ..)| name == "outbox");
    assert_eq!(code, 0);
    assert!(home.vandal().count("outbox") > 0);
    assert_eq!(outbox.expect("a check").1, "warning", "{checks:?}");
}

#[test]
fn change_that_is_pending_fails_before_a_server_finds_it() {
    let home = Home::with_file();
    home.vandal()
        .run("DELETE FROM __diesel_schema_migrations WHERE version = '20261126000100'");
    let found = failed(&home, &[]);
    assert_eq!(found[0].0, "database");
    assert!(found[0].1.contains("pending"), "{found:?}");
}
