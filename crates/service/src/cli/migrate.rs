//! `arklow migrate`: applies and lists migrations.

use std::process::ExitCode;

use arklow_store::{Options, Store};
use serde_json::json;

use super::open::{check_tables, unopened};
use crate::cli::args::{DatabaseArgs, OutputArgs};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Make the changes that the tables lack; several processes take turns.
    ///
    /// Example: `arklow migrate up`
    Up(MigrateUpArgs),
    /// List the changes that the tables have and lack, and change nothing.
    ///
    /// Exit code 3 if changes are pending, 0 if none is. Example: `arklow migrate status --json`
    Status(MigrateStatusArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MigrateUpArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateStatusArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What `arklow migrate status` ends with if changes are pending; `--help` documents it.
const PENDING: u8 = 3;

pub(crate) async fn run(command: MigrateCommand) -> Result<ExitCode, CliError> {
    match command {
        MigrateCommand::Up(args) => run_up(args).await.map(|()| ExitCode::SUCCESS),
        MigrateCommand::Status(args) => run_status(args).await,
    }
}

async fn run_up(args: MigrateUpArgs) -> Result<(), CliError> {
    let url = &args.database.database_url;
    if let Ok(keys) = crate::keys::default_path(url) {
        check_tables(url, &keys).await?;
    }
    let options = Options {
        create: true,
        ..Options::for_commands()
    };
    let done = Store::migrate(url, &options).await;
    let done = done.map_err(unopened(url))?;
    output::note(&match done.len() {
        0 => "the tables were up to date".to_owned(),
        count => format!(
            "{} made; the tables are up to date",
            output::count(count as u64, "change", "changes")
        ),
    });
    match Format::from_flag(args.output.json) {
        format @ Format::Json => output::data(format, "", &json!({ "applied": done })),
        format @ Format::Human => done
            .iter()
            .try_for_each(|name| output::data(format, name, &json!(name))),
    }
}

async fn run_status(args: MigrateStatusArgs) -> Result<ExitCode, CliError> {
    let url = &args.database.database_url;
    let state = Store::migrations(url, &Options::default()).await;
    let state = state.map_err(unopened(url))?;
    let word = |names: &[String], word: &'static str| {
        let lines = names
            .iter()
            .map(|name| (format!("{word:<8}  {name}"), json!(name)));
        lines.collect::<Vec<_>>()
    };
    let format = Format::from_flag(args.output.json);
    match format {
        Format::Json => {
            let object = json!({
                "applied": state.applied,
                "pending": state.pending,
                "unknown": state.unknown,
            });
            output::data(format, "", &object)?;
        }
        Format::Human => {
            let rows = [
                word(&state.applied, "applied"),
                word(&state.pending, "pending"),
                word(&state.unknown, "unknown"),
            ];
            output::list(format, "STATE     MIGRATION", rows.concat().into_iter())?;
        }
    }
    match (state.unknown.first(), state.pending.len()) {
        (Some(_), _) => output::note("a newer version of this program has changed the tables"),
        (None, 0) => output::note("the tables are up to date"),
        (None, pending) => output::note(&format!(
            "{} pending: run `arklow migrate up`",
            output::count(pending as u64, "change is", "changes are")
        )),
    }
    Ok(match state.pending.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(PENDING),
    })
}
