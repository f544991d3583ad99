//! Shell completions and man pages, from the same definition as the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::error::CliError;
use super::output;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder for the pages. It must exist.
    pub(crate) folder: PathBuf,
}

/// Prints the script that completes commands and flags.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "arklow", &mut script);
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&script).and_then(|()| stdout.flush());
    written.map_err(CliError::Output)
}

/// Writes a page for each command.
pub(crate) fn man(args: &ManArgs) -> Result<(), CliError> {
    let mut command = Cli::command();
    command.build();
    let mut count = 0_u64;
    write_pages(&command, &args.folder, &mut count).map_err(|cause| CliError::ManPages {
        folder: args.folder.clone(),
        cause,
    })?;
    let pages = output::count(count, "page", "pages");
    output::note(&format!("wrote {pages} to `{}`", args.folder.display()));
    Ok(())
}

fn write_pages(command: &clap::Command, folder: &Path, count: &mut u64) -> std::io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned().leak() as &str))
        .section("1")
        .render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)?;
    *count += 1;
    let below = command.get_subcommands();
    below
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .try_for_each(|sub| write_pages(sub, folder, count))
}
