//! `cargo xtask sdk`: what the TypeScript package has that is derived from the contract, and the package's tests.
//!
//! Knows no TypeScript: `scripts/generate.mjs` of the package derives the types.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::codegen::files_below;
use crate::{node, root, server};

const PACKAGE: &str = "sdk/typescript";

/// Writes what is derived from the contract, or lists what of it is stale.
pub(crate) fn generate(root: &Path, check: bool) -> anyhow::Result<()> {
    let tools = crate::root().join(PACKAGE);
    node::install(&tools)?;
    let scratch = tempfile::tempdir().context("cannot make a folder")?;
    let status = Command::new("node")
        .arg(tools.join("scripts/generate.mjs"))
        .args([root, scratch.path()])
        .status()
        .context("cannot run node")?;
    if !status.success() {
        bail!("nothing can be generated from openapi.yaml; the reason stands above");
    }
    let mut stale = Vec::new();
    for path in files_below(scratch.path(), PACKAGE)? {
        let text = fs::read(scratch.path().join(&path))
            .with_context(|| format!("cannot read the new {path}"))?;
        let place = root.join(&path);
        if fs::read(&place).is_ok_and(|former| former == text) {
            continue;
        }
        if !check {
            fs::write(&place, text).with_context(|| format!("cannot write {path}"))?;
        }
        stale.push(path);
    }
    stale.sort();
    if check && !stale.is_empty() {
        bail!(
            "stale:\n  {}\nrun `cargo xtask sdk` and commit the result",
            stale.join("\n  ")
        );
    }
    Ok(())
}

/// Runs the tests of the package against the server, which is built for it.
pub(crate) fn test() -> anyhow::Result<()> {
    let package = root().join(PACKAGE);
    node::install(&package)?;
    let server = server::build()?;
    let status = Command::new("npm")
        .args(["test", "--silent"])
        .env("ARKLOW_BIN", server)
        .current_dir(package)
        .status()
        .context("cannot run npm")?;
    if !status.success() {
        bail!("the tests of {PACKAGE} failed");
    }
    Ok(())
}
