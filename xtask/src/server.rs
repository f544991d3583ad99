//! The server, for the tests of what is not Rust.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{root, target};

/// Builds the server and says where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let mut build = Command::new("cargo");
    // Cargo's variables for xtask would make build scripts, such as that of ring, run again.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    // As `cargo test --workspace` builds the server, which has done that mostly; by itself it would have other features.
    let status = build
        .args(["test", "--workspace", "--locked", "--no-run", "--quiet"])
        .args(["--test", "contract"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the server cannot be built");
    }
    Ok(target().join("debug/arklow"))
}

/// What `arklow` prints if it is run with these arguments and `--json`.
pub(crate) fn run(mut arklow: Command, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = arklow.args(arguments).arg("--json").output();
    let output = output.context("cannot run arklow")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "arklow {}: {said}",
        arguments.join(" ")
    );
    serde_json::from_slice(&output.stdout).context("arklow printed something else than JSON")
}

/// A new user's device and the token of a session that is MFA-fresh for a day.
pub(crate) fn user(
    arklow: impl Fn() -> Command,
    number: usize,
) -> anyhow::Result<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, email) = (format!("user{number}"), format!("user{number}@example.com"));
    let user = ["user", "create", "--name", &name, "--email", &email];
    let user = text(&run(arklow(), &user)?["id"]);
    let device = ["device", "create", "--user", &user, "--name", "Phone"];
    let device = run(arklow(), &[&device[..], &["--confirmed"]].concat())?;
    let session = ["session", "create", "--user", &user, "--ttl", "30d"];
    let session = [&session[..], &["--mfa-verified-for", "24h"]].concat();
    let session = run(arklow(), &session)?;
    Ok((text(&device["id"]), text(&session["token"])))
}

/// The resident memory of a process, in KiB; `None` if it has ended, or if this is not Linux.
pub(crate) fn resident_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
