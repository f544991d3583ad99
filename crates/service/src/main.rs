//! The binary `arklow`: the server, and the commands that put into its database what has no
//! operation yet.
//!
//! | file | what it holds |
//! |---|---|
//! | `cli` | the flags and the variables behind them |
//! | `serve`, `dev`, `commands` | what each command does |
//! | `keys` | the key file |
//! | `app` | what operations work with: store, keys, clock, randomness |
//! | `api` | the generated trait, answered by `ops` |
//! | `auth` | from a token to a caller |
//! | `ops` | the operations, one file each |
//! | `wire` | from the words of the domain to those of the contract |
//! | `log`, `output`, `error` | what is said, and where |

mod api;
mod app;
mod auth;
mod cli;
mod commands;
mod dev;
mod error;
mod keys;
mod log;
mod ops;
mod output;
mod serve;
#[cfg(test)]
mod testing;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use app::Sources;
use cli::{Cli, Command};
use error::CliError;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log);
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            error.exit_code()
        }
    }
}

fn start(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CliError::Runtime)?;
    let outcome = runtime.block_on(run(command, Sources::system()));
    // What is still running was given its time; it must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command, sources: Sources) -> Result<(), CliError> {
    match command {
        Command::Dev(args) => dev::run(args, sources).await,
        Command::Serve(args) => serve::run(args, sources).await,
        Command::User(command) => commands::user::run(command, &sources).await,
        Command::Session(command) => commands::session::run(command, &sources).await,
        Command::Device(command) => commands::device::run(command, &sources).await,
    }
}
