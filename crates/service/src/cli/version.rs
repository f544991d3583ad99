//! `arklow version`: which program this is.

use clap::Args;
use serde_json::json;

use super::args::OutputArgs;
use super::error::CliError;
use super::output::{self, Format};

/// The commit that the program was built from; `unknown` in a debug build, which does not look for it.
pub(crate) const COMMIT: &str = env!("ARKLOW_BUILT_FROM");

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

pub(crate) fn run(args: &VersionArgs) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let (profile, target, rustc) = (
        env!("ARKLOW_BUILD_PROFILE"),
        env!("ARKLOW_BUILD_TARGET"),
        env!("ARKLOW_BUILD_RUSTC"),
    );
    output::data(
        Format::from_flag(args.output.json),
        &format!("arklow {version}\ncommit: {COMMIT}\nbuild: {profile}, {target}, {rustc}"),
        &json!({
            "version": version,
            "commit": COMMIT,
            "profile": profile,
            "target": target,
            "rustc": rustc,
        }),
    )
}
