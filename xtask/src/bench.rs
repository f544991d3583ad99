//! `cargo xtask bench`: builds the server and `bench` in release mode and runs the latter.

use std::process::Command;

use anyhow::{Context, bail};

use crate::{root, target};

/// `arguments` are those of `bench`, which explains them with `--help`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "arklow"])
        .args(["--package", "arklow-bench"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the server and its benchmark cannot be built");
    }
    let release = target().join("release");
    let status = Command::new(release.join("arklow-bench"))
        .arg("--arklow")
        .arg(release.join("arklow"))
        .args(arguments)
        .current_dir(root())
        .status()
        .context("cannot run the benchmark")?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}
