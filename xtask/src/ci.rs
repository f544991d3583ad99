//! `cargo xtask ci`: the stages of `.ci/run` that need nothing but Cargo.
//!
//! `.ci/run` has more of them, which ask for a tool or for the network; a test holds the two together.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::root;

const STAGES: [(&str, &[&str]); 4] = [
    ("format", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "--deny",
            "warnings",
        ],
    ),
    ("codegen", &["xtask", "codegen", "--check"]),
    ("tests", &["test", "--workspace"]),
];

/// Prints each stage as `.ci/run` calls it.
pub(crate) fn list() {
    for (name, arguments) in STAGES {
        println!("stage {name} cargo {}", arguments.join(" "));
    }
}

/// Runs the stages up to the first that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    for (name, arguments) in STAGES {
        let started = Instant::now();
        let status = Command::new("cargo")
            .args(arguments)
            .current_dir(root())
            .status();
        let status = status.with_context(|| format!("cannot run cargo for the stage `{name}`"))?;
        if !status.success() {
            bail!("stage `{name}` failed: cargo {}", arguments.join(" "));
        }
        eprintln!("stage {name}: passed in {} s", started.elapsed().as_secs());
    }
    Ok(())
}
