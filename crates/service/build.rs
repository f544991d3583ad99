//! Tells the program which commit it is built from, for `arklow version`.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ARKLOW_COMMIT");
    let set = |name: &str, value: &str| println!("cargo::rustc-env={name}={value}");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    let profile = variable("PROFILE");
    set(
        "ARKLOW_BUILT_FROM",
        &commit(&profile).unwrap_or_else(|| "unknown".to_owned()),
    );
    set("ARKLOW_BUILD_PROFILE", &profile);
    set("ARKLOW_BUILD_TARGET", &variable("TARGET"));
    let rustc = said(Command::new(variable("RUSTC")).arg("--version"));
    set("ARKLOW_BUILD_RUSTC", rustc.as_deref().unwrap_or("unknown"));
}

/// What a package's build says, or Git. A debug build asks neither: it would be made again after each commit.
fn commit(profile: &str) -> Option<String> {
    if let Ok(commit) = env::var("ARKLOW_COMMIT") {
        return Some(commit);
    }
    if profile != "release" {
        return None;
    }
    let git = |arguments: &[&str]| said(Command::new("git").args(arguments));
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed {
        commit + "-changed"
    } else {
        commit
    })
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
