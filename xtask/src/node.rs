//! Node, and the packages that the lock file of a folder names. Only tasks that are about JavaScript ask for them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// The oldest release that our packages run on.
const OLDEST: u32 = 20;

/// Installs the packages of a folder with `npm ci`, unless those that its lock file names are there already.
pub(crate) fn install(folder: &Path) -> anyhow::Result<()> {
    find()?;
    let lock = folder.join("package-lock.json");
    let installed = folder.join("node_modules/.installed-lock.json");
    // Two tasks at once would install into one folder.
    let file = File::open(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", lock.display()))?;
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder)
        .status()
        .context("cannot run npm")?;
    if !status.success() {
        bail!(
            "`npm ci` failed in {}; it needs the network where npm has not cached the packages",
            folder.display()
        );
    }
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

/// Fails if Node is missing or too old, and names what to install.
fn find() -> anyhow::Result<()> {
    let found = match version("node") {
        Some(version) if major(&version) >= Some(OLDEST) && self::version("npm").is_some() => {
            return Ok(());
        }
        Some(version) if major(&version) >= Some(OLDEST) => "there is no `npm`".to_owned(),
        Some(version) => format!("`node` is {version}"),
        None => "there is no `node`".to_owned(),
    };
    bail!(
        "Node {OLDEST} or newer is needed, with npm, and {found}.\n\
         Install it from https://nodejs.org or with your package manager, \
         such as `brew install node` or, on Debian 13, `apt-get install nodejs npm`."
    )
}

/// What a program says to `--version`; nothing if it cannot be run.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The major version of such as `v20.19.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}
