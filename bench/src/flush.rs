//! A disk that is slower than this machine's: what a flush takes at least.
//!
//! Disks acknowledge a flush in anything from a tenth of a millisecond to ten, and most of what is measured here depends
//! on it.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// Tells the preloaded library, and us that it is.
pub(crate) const VARIABLE: &str = "ARKLOW_BENCH_FLUSH";

/// Delays every flush of this process and its children to this many microseconds. Restarts this process once, so
/// that the preloaded library takes effect.
pub(crate) fn slow_down(micros: u32, folder: &Path) -> anyhow::Result<()> {
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let library = std::path::absolute(folder.join("flush.so"))?;
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/flush.c"))
        .arg("-ldl")
        .status()
        .context("cannot run cc")?;
    if !status.success() {
        bail!("flush.c cannot be compiled");
    }
    let cause = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(VARIABLE, micros.to_string())
        .env("LD_PRELOAD", library)
        .exec();
    Err(cause).context("cannot begin anew")
}
