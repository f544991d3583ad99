//! The command line: every command has a file, with its flags and what it does.
//!
//! `args` holds the flags that commands share, and `open` opens what they work on. `output`, `text`,
//! `error` and `backup_error` are how they report; `operator` is who the audit says ran them.

pub(crate) mod args;
mod audit;
mod audit_file;
mod backup;
mod backup_error;
mod config;
mod copy;
mod dev;
mod device;
mod doctor;
pub(crate) mod error;
mod healthcheck;
mod keys;
mod migrate;
mod mock;
mod notifications;
pub(crate) mod open;
mod operator;
mod outbox;
pub(crate) mod output;
mod pages;
mod restore;
mod restored;
pub(crate) mod serve;
mod session;
mod text;
mod tls;
mod user;
mod version;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::audit::AuditCommand;
use self::backup::BackupArgs;
use self::config::{ConfigArgs, ConfigCommand, Layers};
use self::copy::CopyArgs;
use self::dev::DevArgs;
use self::device::DeviceCommand;
use self::doctor::DoctorArgs;
use self::error::CliError;
use self::healthcheck::HealthcheckArgs;
use self::keys::KeysCommand;
use self::migrate::MigrateCommand;
use self::mock::MockArgs;
use self::outbox::OutboxCommand;
use self::pages::{CompletionsArgs, ManArgs};
use self::restore::RestoreArgs;
use self::restored::RestoredArgs;
use self::serve::ServeArgs;
use self::session::SessionCommand;
use self::user::UserCommand;
use self::version::VersionArgs;
use crate::log::{self, LogArgs};
use crate::sources::Sources;
use crate::traces;

/// Multi-factor self-service behind an OpenAPI contract.
///
/// New here? `arklow dev` starts a throwaway server and prints a request to send to it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Data goes to standard output, with the head of each table; messages and the log go to standard error. \
Programs read `--json`, which has no heads.

Exit codes:
  0  done, or stopped as asked
  1  refused or failed; the message says why and what to do
  2  wrong usage
  3  `arklow migrate status`: changes are pending"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it out: a throwaway database, a demo user, and requests to send.
    ///
    /// Example: `arklow dev --listen 127.0.0.1:0`
    Dev(DevArgs),
    /// Answer from the contract alone, for frontends: its examples, without a database.
    ///
    /// Requests are checked as the server checks them; what is answered are the examples of the contract. The header
    /// `prefer: code=429` asks for another documented status, `prefer: example=NAME` for another example.
    /// Example: `arklow mock --listen 127.0.0.1:4010`
    Mock(MockArgs),
    /// Serve the API until SIGTERM or SIGINT. SIGHUP reads the certificates again.
    ///
    /// Example: `arklow serve --database-url sqlite:/var/lib/arklow/arklow.db --internal-listen 127.0.0.1:9323`
    Serve(Box<ServeArgs>),
    /// Create, list, show, disable, enable and unlock users.
    #[command(subcommand)]
    User(UserCommand),
    /// Create, list and revoke sessions.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Create, list and remove TOTP devices.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Generate, list, rotate and retire the root keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Apply pending migrations to a database, or list them.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Move a deployment from SQLite to PostgreSQL.
    ///
    /// The target must have its tables (`arklow migrate up`) and no rows. Servers of the source are
    /// told that it is busy until the end; stop them before, and start them on the target after. A
    /// copy that fails or is stopped has changed nothing: run it again. Example:
    /// `arklow copy --from sqlite:arklow.db --to postgres://arklow@db.example.com/arklow`
    Copy(CopyArgs),
    /// Take a backup of an SQLite database while servers use it.
    ///
    /// The backup is one file, checked, with mode 0600. FILE.json lists the keys that it needs and what it
    /// contains. The backup does not contain the key file: keep a copy of that as well, apart from the backup.
    /// Example: `arklow backup /backup/arklow.db`
    Backup(BackupArgs),
    /// Put a backup in the place of an SQLite database, and do what `arklow restored` does.
    ///
    /// Stop the servers first. The backup is checked, copied, brought up to date and compared with the key file;
    /// then the copy takes the name of the database in one step. Example: `arklow restore /backup/arklow.db`
    Restore(RestoreArgs),
    /// Run after restoring a backup, before a server starts: end all sessions and use up all codes.
    ///
    /// A backup does not know which sessions ended and which codes were used after it was made. It does
    /// not know either which devices were removed and which users were disabled: without --since these
    /// are as the backup has them. A run that stops half way is run again. Example:
    /// `arklow restored --since 2026-11-25T08:00:00Z --audit /backup/audit.jsonl`
    Restored(RestoredArgs),
    /// Read what was tried and done, and keep it elsewhere.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List the messages to users, and deliver or give up those that failed.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Check an installation: database, keys, clock, disk, limits; with a hint for each fault. Changes nothing.
    ///
    /// Takes the flags of `serve`, and reads the same variables and file. Exit code 1 if a check failed; warnings
    /// do not change it. Example: `arklow doctor --config /etc/arklow/arklow.toml`
    Doctor(Box<DoctorArgs>),
    /// Ask a running server on its internal listener whether it is ready; for containers.
    ///
    /// Exit code 1 if it is not. Example: `arklow healthcheck --internal-listen 127.0.0.1:9323`
    Healthcheck(HealthcheckArgs),
    /// Print the version, the commit it was built from, and how.
    ///
    /// Example: `arklow version --json`
    Version(VersionArgs),
    /// Print the completions of a shell.
    ///
    /// Example: `arklow completions bash > /etc/bash_completion.d/arklow`
    Completions(CompletionsArgs),
    /// Write the man pages into a folder.
    ///
    /// Example: `arklow man /usr/local/share/man/man1`
    Man(ManArgs),
    /// Check or print the configuration of `arklow serve`.
    #[command(subcommand)]
    Config(ConfigCommand),
}

impl Command {
    /// Whether it runs until a signal, and its messages are read by programs.
    pub(crate) fn serves(&self) -> bool {
        match self {
            Self::Dev(args) => args.command.is_none(),
            Self::Mock(_) | Self::Serve(_) => true,
            Self::User(_)
            | Self::Session(_)
            | Self::Device(_)
            | Self::Keys(_)
            | Self::Migrate(_)
            | Self::Copy(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Restored(_)
            | Self::Audit(_)
            | Self::Outbox(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Healthcheck(_)
            | Self::Version(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

/// Runs the command that the arguments of the process name.
pub(crate) fn main() -> ExitCode {
    let (cli, matches, layers) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return log::wrong_usage(&error),
    };
    let collector = match &cli.command {
        Command::Serve(args) => args.traces.otlp_endpoint.as_ref(),
        _ => None,
    };
    if let Err(message) = log::start(cli.log, cli.command.serves(), collector) {
        let error = CliError::Traces(message);
        output::error(&error);
        return error.exit_code();
    }
    config::warn_of_unknown_variables(&Cli::command());
    let outcome = match cli.command {
        Command::Config(command) => {
            config::run(&command, &layers, &matches).map(|()| ExitCode::SUCCESS)
        }
        Command::Completions(args) => pages::completions(&args).map(|()| ExitCode::SUCCESS),
        Command::Version(args) => version::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => pages::man(&args).map(|()| ExitCode::SUCCESS),
        Command::Healthcheck(args) => healthcheck::run(&args).map(|()| ExitCode::SUCCESS),
        command => start(command),
    };
    traces::end();
    match outcome {
        Ok(code) => code,
        // The reader closed the pipe, as `head` does.
        Err(CliError::Output(cause)) if cause.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            error.exit_code()
        }
    }
}

/// Reads the command line, with the configuration file behind it.
fn parse() -> Result<(Cli, ArgMatches, Layers), clap::Error> {
    let command = Cli::command();
    let layers = Layers::read(&command)?;
    let matches = layers.apply(command).try_get_matches();
    let matches = matches.map_err(|error| layers.explain(error))?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok((cli, matches, layers))
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
        Command::Migrate(command) => return migrate::run(command).await,
        Command::Doctor(args) => return doctor::run(*args, &sources).await,
        Command::Dev(args) => dev::run(args, sources).await,
        Command::Mock(args) => mock::run(args).await,
        Command::Serve(args) => serve::run(*args, sources).await,
        Command::User(command) => user::run(command, &sources).await,
        Command::Session(command) => session::run(command, &sources).await,
        Command::Device(command) => device::run(command, &sources).await,
        Command::Keys(command) => keys::run(command, &sources).await,
        Command::Copy(args) => copy::run(args).await,
        Command::Backup(args) => backup::run(args, &sources).await,
        Command::Restore(args) => restore::run(args, &sources).await,
        Command::Restored(args) => restored::run(args, &sources).await,
        Command::Audit(command) => audit::run(command, &sources).await,
        Command::Outbox(command) => outbox::run(command, &sources).await,
        // They run before there is a runtime.
        Command::Config(_)
        | Command::Healthcheck(_)
        | Command::Version(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(arguments: &[&str]) -> String {
        let all = ["arklow"].iter().chain(arguments);
        Cli::try_parse_from(all).unwrap_err().to_string()
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn refused_database_url_does_not_show_its_password() {
        let url = "postgres://ada:hunter2@host/arklow?sslmode=maybe";
        let message = refused(&["serve", "--database-url", url]);
        assert!(message.contains("--database-url"), "{message}");
        assert!(message.contains("sslmode"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn durations_have_bounds() {
        for (flag, text) in [
            ("--shutdown-grace", "0s"),
            ("--request-deadline", "2h"),
            ("--busy-timeout", "300000000000years"),
        ] {
            let message = refused(&["serve", flag, text]);
            assert!(message.contains("from 1ms to 1h"), "{message}");
        }
        let create = ["session", "create", "--user", "1"];
        let message = refused(&[&create[..], &["--ttl", "31days"]].concat());
        assert!(message.contains("from 1s to 30days"), "{message}");
        let message = refused(&[&create[..], &["--mfa-verified-for", "25h"]].concat());
        assert!(message.contains("from 1s to 1day"), "{message}");
    }

    #[test]
    fn text_that_is_no_duration_gets_one_hint() {
        for (flag, text) in [
            ("--shutdown-grace", "5"),
            ("--shutdown-grace", "5 parsecs"),
            ("--limit-enroll", "10/5"),
        ] {
            let message = refused(&["serve", flag, text]);
            assert!(message.contains("expected a duration such as"), "{message}");
            assert!(!message.contains("for example"), "{message}");
        }
    }

    #[test]
    fn address_that_is_none_is_answered_with_what_is_expected_instead() {
        let message = refused(&["serve", "--listen", "localhost"]);
        assert!(message.contains("such as 127.0.0.1:3123"), "{message}");
        let all = ["arklow", "serve", "--listen", "localhost:3123"];
        let Command::Serve(args) = Cli::try_parse_from(all).unwrap().command else {
            panic!("another command");
        };
        assert!(args.listen.ip().is_loopback());
    }

    #[test]
    fn variables_are_named_after_their_flags() {
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        for arg in serve.get_arguments() {
            let Some(variable) = arg.get_env() else {
                continue;
            };
            let flag = arg.get_long().unwrap().replace('-', "_").to_uppercase();
            assert_eq!(variable.to_str().unwrap(), format!("ARKLOW_{flag}"));
        }
    }
}
