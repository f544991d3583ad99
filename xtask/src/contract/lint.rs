//! Redocly over the contract.

use std::process::Command;

use super::{TOOLS, must};
use crate::{node, root};

pub(super) fn run() -> anyhow::Result<()> {
    let tools = root().join(TOOLS);
    node::install(&tools)?;
    let redocly = tools.join("node_modules/.bin/redocly");
    let mut lint = Command::new(redocly);
    lint.args(["lint", "openapi.yaml", "--config", "contract/redocly.yaml"])
        .current_dir(root())
        // It neither calls home nor asks for a newer one.
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    must(&mut lint, "the linter found faults in openapi.yaml")
}
