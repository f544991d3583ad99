//! The binary `arklow`: the server, and the commands that put into its database what has no
//! operation yet.
//!
//! | file | what it holds |
//! |---|---|
//! | `cli` | the flags and the variables behind them |
//! | `serve`, `dev`, `mock`, `commands` | what each command does |
//! | `listener` | accepting connections, and their limits |
//! | `docs` | the documentation in the browser |
//! | `keys` | the key file |
//! | `app`, `policy` | what operations work with: store, keys, clock, randomness; what an operator decides |
//! | `api` | the generated trait, answered by `ops` |
//! | `auth`, `address` | from a token to a caller; where a request comes from, and the limit for it |
//! | `ops` | the operations, one file each |
//! | `attempts`, `operation_error` | verifying a code, for every operation; how each error is answered |
//! | `denials` | the limit for changes that are denied |
//! | `qr` | the picture of a provisioning URI |
//! | `wire` | from the words of the domain to those of the contract |
//! | `log`, `output`, `error` | what is said, and where |

mod address;
mod api;
mod app;
mod attempts;
mod auth;
mod cli;
mod commands;
mod denials;
mod dev;
mod docs;
mod error;
mod keys;
mod listener;
mod log;
mod mock;
mod operation_error;
mod operator;
mod ops;
mod output;
mod policy;
mod qr;
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return log::wrong_usage(&error),
    };
    log::start(cli.log, cli.command.serves());
    match start(cli.command) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            error.exit_code()
        }
    }
}

fn start(command: Command) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(CliError::Runtime)?;
    let outcome = runtime.block_on(run(command, Sources::system()));
    // What is still running was given its time; it must not hold up the exit.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command, sources: Sources) -> Result<ExitCode, CliError> {
    match command {
        Command::Migrate(command) => return commands::migrate::run(command).await,
        Command::Dev(args) => dev::run(args, sources).await,
        Command::Mock(args) => mock::run(args).await,
        Command::Serve(args) => serve::run(*args, sources).await,
        Command::User(command) => commands::user::run(command, &sources).await,
        Command::Session(command) => commands::session::run(command, &sources).await,
        Command::Device(command) => commands::device::run(command, &sources).await,
        Command::Keys(command) => commands::keys::run(command, &sources).await,
        Command::Copy(args) => commands::copy::run(args).await,
        Command::Backup(args) => commands::backup::run(args, &sources).await,
        Command::Restore(args) => commands::restore::run(args, &sources).await,
        Command::Restored(args) => commands::restored::run(args, &sources).await,
        Command::Audit(command) => commands::audit::run(command, &sources).await,
    }?;
    Ok(ExitCode::SUCCESS)
}
