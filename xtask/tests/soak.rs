//! `cargo xtask soak`, for half a minute on each database.

use std::process::Command;

use serde_json::Value;

use crate::{run, skip};

/// Runs it, and returns its figures.
fn soak(more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["soak", "--seconds", "32", "--every", "6"])
        .args(more);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).expect("figures")
}

#[test]
fn faults_lose_nothing_and_explain_every_failure() {
    if !cfg!(target_os = "linux") {
        println!("skipped: soak, which looks at memory as Linux shows it");
        return;
    }
    let mut runs = vec![soak(&[])];
    match std::env::var_os("ARKLOW_TEST_POSTGRES_URL") {
        Some(_) => runs.push(soak(&["--postgres"])),
        None => skip("no PostgreSQL: see `suites_hold_on_postgres`"),
    }
    for figures in runs {
        assert_eq!(figures["lost_changes"], 0, "{figures}");
        assert_eq!(figures["unexplained_failures"], 0, "{figures}");
        assert!(
            figures["acknowledged_changes"].as_u64() > Some(100),
            "{figures}"
        );
        assert!(figures["faults"]["Kill"].as_u64() >= Some(1), "{figures}");
    }
}
