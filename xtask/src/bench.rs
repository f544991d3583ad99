//! `cargo xtask bench`: builds the server and `bench` in release mode and runs the latter.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

use crate::{root, target};

/// The flags of the benchmark. They are here, and not in `bench`, because a wrong one and `--help`
/// are answered before anything is built.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// For a look, in less than a minute: short loads, few users, no peers, and nothing is judged.
    #[arg(long)]
    quick: bool,
    /// Only these groups of figures; all, if none is named.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "GROUP",
        value_parser = ["regenerate", "codes", "postgres", "crowd", "peers"]
    )]
    only: Vec<String>,
    /// How long each load lasts, in seconds.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// How long a flush to the disk takes at least, in microseconds: a slower disk, of SQLite and of everything else.
    #[arg(long, value_name = "MICROSECONDS")]
    flush: Option<u32>,
    /// Where the results are written as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/results.json")]
    json: PathBuf,
    /// Where databases and peers are put. Must be on a real disk.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
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
    let mut bench = Command::new(release.join("arklow-bench"));
    bench
        .arg("--arklow")
        .arg(release.join("arklow"))
        .arg("--json")
        .arg(&arguments.json)
        .arg("--folder")
        .arg(&arguments.folder)
        .args(arguments.only.iter().flat_map(|group| ["--only", group]));
    if arguments.quick {
        bench.arg("--quick");
    }
    if let Some(seconds) = arguments.seconds {
        bench.args(["--seconds", &seconds.to_string()]);
    }
    if let Some(flush) = arguments.flush {
        bench.args(["--flush", &flush.to_string()]);
    }
    let status = bench
        .current_dir(root())
        .status()
        .context("cannot run the benchmark")?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}
