//! `cargo xtask ci`: the stages that `.ci/run` runs on the code, on anybody's machine.

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
    ("tests", &["test", "--workspace", "--locked"]),
];

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
