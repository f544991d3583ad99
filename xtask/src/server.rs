//! The server, for the tests of what is not Rust.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

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
