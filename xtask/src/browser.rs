//! `cargo xtask browser`: the documentation and the security page, driven in Chromium against the server.
//!
//! Knows no page: the tests are in `tests/browser`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{node, root, server};

const TESTS: &str = "tests/browser";
const SDK: &str = "sdk/typescript";
const PAGE: &str = "sdk/typescript/examples/security-page";

/// `arguments` are those of `playwright test`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let root = root();
    for package in [SDK, PAGE, TESTS] {
        node::install(&root.join(package))?;
    }
    npm(&root.join(SDK), &["run", "--silent", "build"])?;
    let quietly = ["run", "--silent", "build", "--", "--logLevel", "warn"];
    npm(&root.join(PAGE), &quietly)?;
    let server = server::build()?;
    let status = Command::new("npm")
        .args(["test", "--silent", "--"])
        .args(arguments)
        .env("ARKLOW_BIN", server)
        .current_dir(root.join(TESTS))
        .status()
        .context("cannot run npm")?;
    if !status.success() {
        bail!("the tests of {TESTS} failed; what the pages looked like is in target/browser");
    }
    Ok(())
}

fn npm(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        .status()
        .context("cannot run npm")?;
    if !status.success() {
        bail!(
            "`npm {}` failed in {}",
            arguments.join(" "),
            folder.display()
        );
    }
    Ok(())
}
