//! `cargo xtask deb`: the Debian package, with man pages, completions and a list of what is in the binary (SBOM).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{root, target};

/// The shells whose completions are in the package, and the names of their files.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "arklow.bash"),
    ("zsh", "_arklow"),
    ("fish", "arklow.fish"),
];

/// The file name of the SBOM, in CycloneDX.
const SBOM: &str = "arklow.cdx";

pub(crate) fn run() -> anyhow::Result<()> {
    let cargo = |arguments: &[&str]| {
        let status = Command::new("cargo")
            .args(arguments)
            .current_dir(root())
            .status();
        let status = status.context("cannot run cargo")?;
        let command = arguments.join(" ");
        ensure!(
            status.success(),
            "`cargo {command}` failed; `cargo install --locked cargo-deb cargo-cyclonedx` installs what it needs"
        );
        Ok(())
    };
    cargo(&["build", "--release", "--locked", "--package", "arklow"])?;
    let binary = target().join("release/arklow");
    let folder = target().join("release/deb");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot empty target/release/deb")?;
    }
    let man = folder.join("man");
    fs::create_dir_all(&man).context("cannot make target/release/deb")?;
    said(&binary, &["man", &man.display().to_string()])?;
    for (shell, file) in SHELLS {
        fs::write(folder.join(file), said(&binary, &["completions", shell])?)
            .with_context(|| format!("cannot write {file}"))?;
    }
    // It writes one next to the manifest of every package of the workspace.
    let manifest = "crates/service/Cargo.toml";
    let format = ["--format", "json", "--override-filename", SBOM];
    cargo(&[&["cyclonedx", "--manifest-path", manifest][..], &format].concat())?;
    let written = format!("{SBOM}.json");
    let ours = root().join("crates/service").join(&written);
    fs::copy(&ours, folder.join(&written)).context("there is no SBOM")?;
    for parent in [root(), root().join("crates")] {
        for package in fs::read_dir(&parent).context("cannot list the packages")? {
            let made = package?.path().join(&written);
            if made.exists() {
                fs::remove_file(&made).context("cannot remove an SBOM")?;
            }
        }
    }
    cargo(&["deb", "--package", "arklow", "--no-build", "--no-strip"])
}

/// What the program prints.
fn said(binary: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(binary).args(arguments).output();
    let output = output.context("cannot run arklow")?;
    ensure!(
        output.status.success(),
        "arklow {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
