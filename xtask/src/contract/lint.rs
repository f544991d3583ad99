//! Redocly over the contract.

use std::fs;
use std::process::Command;

use anyhow::{Context, bail};

use super::{TOOLS, is_installed, must, output};
use crate::root;

pub(super) fn run() -> anyhow::Result<()> {
    install()?;
    let redocly = root().join(TOOLS).join("node_modules/.bin/redocly");
    let mut lint = Command::new(redocly);
    lint.args(["lint", "openapi.yaml", "--config", "contract/redocly.yaml"])
        .current_dir(root())
        // It neither calls home nor asks for a newer one.
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    must(&mut lint, "the linter found faults in openapi.yaml")
}

/// What `contract/package-lock.json` names, once.
fn install() -> anyhow::Result<()> {
    let folder = root().join(TOOLS);
    let lock = folder.join("package-lock.json");
    let lock =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let stamp = output().join("linter");
    if folder.join("node_modules").is_dir() && is_installed(&stamp, &lock) {
        return Ok(());
    }
    let npm = Command::new("npm").arg("--version").output();
    if !npm.is_ok_and(|output| output.status.success()) {
        bail!(
            "the linter needs Node.js 20.19 or newer with npm (https://nodejs.org); nothing was linted"
        );
    }
    let mut install = Command::new("npm");
    install
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&folder);
    must(&mut install, "the linter cannot be installed")?;
    fs::create_dir_all(output())?;
    fs::write(&stamp, lock).with_context(|| format!("cannot write {}", stamp.display()))
}
