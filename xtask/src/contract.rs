//! `cargo xtask contract`: whether `openapi.yaml` is well formed, whether the server keeps it, and whom it breaks.

mod breaks;
mod diff;
mod lint;
mod serve;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::{root, target};

/// The folder with the configuration of the tools, below the root.
const TOOLS: &str = "contract";

#[derive(Subcommand)]
pub(crate) enum Part {
    /// Lints `openapi.yaml` with Redocly, by the rules in `contract/redocly.yaml`.
    Lint,
    /// Sends a server that was just built what Schemathesis makes of `openapi.yaml`, and judges all answers.
    ///
    /// On a throwaway database, with a seeded user who has devices and another who must not reach them. The reports are
    /// in `target/contract`: `junit.xml`, `html/index.html`, and `requests.har` with every request.
    Run {
        /// Makes the same requests as the run that printed this seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Lists what `openapi.yaml` breaks for those who were built against an older one, by file and line.
    ///
    /// Compares the working file with the merge base of HEAD and `origin/main` (`main` without it). On the main branch
    /// that is HEAD itself: then, and where there is no such branch, with the latest tag `v…` before it, or else with the
    /// commit before it. What is gone has its place in the old file, `openapi.yaml@REVISION:LINE`.
    ///
    /// A break on the level `wire` breaks clients that send requests or read answers; one on the level `source` breaks
    /// code that uses generated names. Fails if a break has no entry in `contract-breaks.md`, which explains how to
    /// write one.
    Diff {
        /// The revision to compare with.
        #[arg(long, value_name = "REV")]
        against: Option<String>,
        /// Also writes the breaks as JSON, with `-` to standard output.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Another copy of this repository, for the tests of this command.
        #[arg(long, value_name = "DIR", hide = true, default_value_os_t = root())]
        root: PathBuf,
    },
}

/// Lints and runs, or only the selected part.
pub(crate) fn run(part: Option<Part>) -> anyhow::Result<()> {
    match part {
        None => {
            lint::run()?;
            serve::run(1)
        }
        Some(Part::Lint) => lint::run(),
        Some(Part::Run { seed }) => serve::run(seed),
        Some(Part::Diff {
            against,
            json,
            root,
        }) => diff::run(&root, against.as_deref(), json.as_deref()),
    }
}

/// Where the tools, the database and the reports go.
fn output() -> PathBuf {
    target().join("contract")
}

/// Runs a command to its end and fails if it does, saying `what` failed.
fn must(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| what.to_owned())?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    Ok(())
}

/// Whether `stamp` shows that a tool was already installed from `wanted`.
fn is_installed(stamp: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|text| text == wanted)
}
