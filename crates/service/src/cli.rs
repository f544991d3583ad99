//! The command line: the flags, the variables behind them, and what is wrong usage.

mod audit;
mod backup;
mod copy;
mod dev;
mod device;
pub(crate) mod error;
mod keys;
mod migrate;
pub(crate) mod open;
mod operator;
pub(crate) mod output;
mod restore;
mod restored;
mod session;
mod user;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use arklow_domain::{
    DeviceId, DeviceName, Email, KeyId, RateLimit, SessionId, TotpWindow, UserId, UserName,
    is_invisible,
};
use arklow_store::DatabaseUrl;
use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use tracing::Level;

use self::error::CliError;
use crate::app::Sources;
use crate::log;
use crate::policy::ISSUER;

/// The default address to listen on.
const LISTEN: &str = "127.0.0.1:3123";

/// The longest configurable time limit of the server.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// The longest session: 30 days, as NIST SP 800-63B-4 recommends at AAL1.
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest time back, about a century.
const LONGEST_AGO: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
/// The longest that a second factor counts: 24 hours, as NIST SP 800-63B-4 recommends at AAL2.
const LONGEST_MFA: Duration = Duration::from_secs(24 * 60 * 60);

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
    pub(crate) log: LogArgs,
}

/// What is logged on standard error, and how.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// How much is logged; never a token, a code, a seed or a key.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        env = "ARKLOW_LOG",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub(crate) log_level: LogLevel,
    /// How messages and the log look on standard error: `json` is one object per line, from the first
    /// line on. `auto` is `json` for `serve`, `dev` and `mock` unless standard error is a terminal,
    /// and `human` otherwise.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        env = "ARKLOW_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto"
    )]
    pub(crate) log_format: LogFormat,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Try it out: a throwaway database, a demo user, and requests to send.
    Dev(DevArgs),
    /// Answer from the contract alone, for frontends: its examples, without a database.
    ///
    /// Requests are checked as the server checks them; what is answered are the examples of the contract. The header
    /// `prefer: code=429` asks for another documented status, `prefer: example=NAME` for another example.
    Mock(MockArgs),
    /// Serve the API until SIGTERM or SIGINT. SIGHUP reloads nothing and is logged.
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
    /// copy that fails or is stopped has changed nothing: run it again.
    Copy(CopyArgs),
    /// Take a backup of an SQLite database while servers use it.
    ///
    /// The backup is one file, checked, with mode 0600. FILE.json lists the keys that it needs and what it
    /// contains. The backup does not contain the key file: keep a copy of that as well, apart from the backup.
    Backup(BackupArgs),
    /// Put a backup in the place of an SQLite database, and do what `arklow restored` does.
    ///
    /// Stop the servers first. The backup is checked, copied, brought up to date and compared with the key file;
    /// then the copy takes the name of the database in one step.
    Restore(RestoreArgs),
    /// Run after restoring a backup, before a server starts: end all sessions and use up all codes.
    ///
    /// A backup does not know which sessions ended and which codes were used after it was made. It does
    /// not know either which devices were removed and which users were disabled: without --since these
    /// are as the backup has them. A run that stops half way is run again.
    Restored(RestoredArgs),
    /// Read what was tried and done.
    #[command(subcommand)]
    Audit(AuditCommand),
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
            | Self::Audit(_) => false,
        }
    }
}

/// Runs the command that the arguments of the process name.
pub(crate) fn main() -> ExitCode {
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
        Command::Migrate(command) => return migrate::run(command).await,
        Command::Dev(args) => dev::run(args, sources).await,
        Command::Mock(args) => crate::mock::run(args).await,
        Command::Serve(args) => crate::http::server::run(*args, sources).await,
        Command::User(command) => user::run(command, &sources).await,
        Command::Session(command) => session::run(command, &sources).await,
        Command::Device(command) => device::run(command, &sources).await,
        Command::Keys(command) => keys::run(command, &sources).await,
        Command::Copy(args) => copy::run(args).await,
        Command::Backup(args) => backup::run(args, &sources).await,
        Command::Restore(args) => restore::run(args, &sources).await,
        Command::Restored(args) => restored::run(args, &sources).await,
        Command::Audit(command) => audit::run(command, &sources).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Print the current code of a device, as an authenticator app would.
    Code(DevCodeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DevCodeArgs {
    /// The `otpauth://` URI of the device, which `arklow dev` prints.
    #[arg(value_name = "URI")]
    pub(crate) uri: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = LISTEN, value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Whether the documentation is served at /swagger/ui.
    #[arg(long, value_name = "ON_OR_OFF", default_value = "on")]
    pub(crate) docs: Switch,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MockArgs {
    /// The loopback address to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", default_value = LISTEN, value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on, as plain HTTP; port 0 takes any free one.
    #[arg(
        long,
        env = "ARKLOW_LISTEN",
        value_name = "ADDR",
        default_value = LISTEN,
        value_parser = address
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    /// How long running requests may take after a signal to stop; a second signal stops at once.
    #[arg(
        long,
        env = "ARKLOW_SHUTDOWN_GRACE",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait
    )]
    pub(crate) shutdown_grace: Duration,
    /// How long a request may take, without the time in which its body arrives.
    #[arg(
        long,
        env = "ARKLOW_REQUEST_DEADLINE",
        value_name = "DURATION",
        default_value = "15s",
        value_parser = wait
    )]
    pub(crate) request_deadline: Duration,
    /// How long the body of a request may take to arrive.
    #[arg(
        long,
        env = "ARKLOW_BODY_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait
    )]
    pub(crate) body_timeout: Duration,
    /// How long to wait for a lock or a free connection before a request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_BUSY_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = wait
    )]
    pub(crate) busy_timeout: Duration,
    /// Whether the documentation is served at /swagger/ui, with the contract at /swagger/ui/json and
    /// /swagger/ui/yaml. It needs no token.
    #[arg(
        long,
        env = "ARKLOW_DOCS",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) docs: Switch,
    /// Whether to refuse to start if the clock is more than five minutes behind the newest record of
    /// the audit; `off` starts with a warning, when the records were written with a clock ahead.
    #[arg(
        long,
        env = "ARKLOW_CHECK_CLOCK",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) check_clock: Switch,
    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) factors: FactorArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// How many connections clients may have, and how long a client may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ConnectionArgs {
    /// How many connections clients may have. Past it, the one that has waited for its client for
    /// longest is closed.
    ///
    /// By default 4096, or less if the process may open fewer files (`ulimit -Hn`).
    #[arg(
        long,
        env = "ARKLOW_MAX_CONNECTIONS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_connections: Option<u32>,
    /// How many of them may come from one IPv4 address or IPv6 /64. Does not apply to
    /// --trusted-proxy.
    ///
    /// By default half of --max-connections.
    #[arg(
        long,
        env = "ARKLOW_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) max_connections_per_address: Option<u32>,
    /// How long the head of a request may take, from the connection or its first byte on.
    #[arg(
        long,
        env = "ARKLOW_HEADER_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait
    )]
    pub(crate) header_timeout: Duration,
    /// How long a connection may stay open between two requests. Longer than a proxy keeps it.
    #[arg(
        long,
        env = "ARKLOW_IDLE_TIMEOUT",
        value_name = "DURATION",
        default_value = "75s",
        value_parser = wait
    )]
    pub(crate) idle_timeout: Duration,
    /// How long a client may take none of an answer that is being sent to it.
    #[arg(
        long,
        env = "ARKLOW_WRITE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait
    )]
    pub(crate) write_timeout: Duration,
}

/// How a PostgreSQL server is used.
#[derive(Debug, Args)]
#[command(next_help_heading = "PostgreSQL")]
pub(crate) struct PostgresArgs {
    /// How many connections this process has, at most.
    #[arg(
        long,
        env = "ARKLOW_DATABASE_CONNECTIONS",
        value_name = "COUNT",
        default_value = "16",
        value_parser = clap::value_parser!(u32).range(1..=500)
    )]
    pub(crate) database_connections: u32,
    /// How long connecting may take before a request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_CONNECT_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = wait
    )]
    pub(crate) connect_timeout: Duration,
    /// How long a statement may take before it is given up and the request is answered with 503.
    #[arg(
        long,
        env = "ARKLOW_STATEMENT_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = wait
    )]
    pub(crate) statement_timeout: Duration,
}

/// What holds for second factors.
#[derive(Debug, Args)]
#[command(next_help_heading = "Second factors")]
pub(crate) struct FactorArgs {
    /// Under which name authenticator apps list a device.
    #[arg(long, env = "ARKLOW_ISSUER", default_value = ISSUER, value_parser = issuer)]
    pub(crate) issuer: String,
    /// How many codes before and after the current one are accepted: 1, or 0 as ASVS 6.5.5 asks.
    #[arg(
        long,
        env = "ARKLOW_TOTP_WINDOW",
        value_name = "STEPS",
        default_value = "1",
        value_parser = totp_window
    )]
    pub(crate) totp_window: TotpWindow,
    /// How long a session counts as MFA-verified after a code, unless it does for longer already.
    #[arg(
        long,
        env = "ARKLOW_STEP_UP",
        value_name = "DURATION",
        default_value = "15m",
        value_parser = mfa_ttl
    )]
    pub(crate) step_up: Duration,
    /// How long a pending device can be confirmed.
    #[arg(
        long,
        env = "ARKLOW_ENROLLMENT_TTL",
        value_name = "DURATION",
        default_value = "15m",
        value_parser = mfa_ttl
    )]
    pub(crate) enrollment_ttl: Duration,
    /// How many confirmed devices a user may have.
    #[arg(
        long,
        env = "ARKLOW_MAX_DEVICES",
        value_name = "COUNT",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..=50)
    )]
    pub(crate) max_devices: u32,
    /// After how many failures in a row a user is locked for a while.
    #[arg(
        long,
        env = "ARKLOW_LOCK_AFTER",
        value_name = "FAILURES",
        default_value = "5",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) lock_after: u32,
    /// How long the first lock lasts; each one after it twice as long.
    #[arg(
        long,
        env = "ARKLOW_LOCK_FOR",
        value_name = "DURATION",
        default_value = "15m",
        value_parser = lock
    )]
    pub(crate) lock_for: Duration,
    /// How long a lock lasts at most.
    #[arg(
        long,
        env = "ARKLOW_LOCK_MAX",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = lock
    )]
    pub(crate) lock_max: Duration,
    /// After how many failures in a row the factor is locked until another one succeeds or
    /// `arklow user unlock`; at most 100 (NIST SP 800-63B-4 §3.2.2).
    #[arg(
        long,
        env = "ARKLOW_LOCK_FACTOR_AFTER",
        value_name = "FAILURES",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) lock_factor_after: u32,
}

/// How often something may be done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// `off` switches the four limits below off, for benchmarks and conformance runs.
    ///
    /// That failures lock a user cannot be switched off.
    #[arg(
        long,
        env = "ARKLOW_LIMITS",
        value_name = "ON_OR_OFF",
        default_value = "on"
    )]
    pub(crate) limits: Switch,
    /// How often a user may make new backup codes.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_REGENERATE",
        value_name = "COUNT/DURATION",
        default_value = "10/1h",
        value_parser = rate_limit
    )]
    pub(crate) limit_regenerate: RateLimit,
    /// How often a user may begin to enroll a device.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_ENROLL",
        value_name = "COUNT/DURATION",
        default_value = "10/1h",
        value_parser = rate_limit
    )]
    pub(crate) limit_enroll: RateLimit,
    /// How many changes of one session may be denied before further ones are refused with 429 and only
    /// counted, in each process; all sessions of a user together may have five times as many.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_DENIED",
        value_name = "COUNT/DURATION",
        default_value = "20/5m",
        value_parser = rate_limit
    )]
    pub(crate) limit_denied: RateLimit,
    /// How many codes from one address may fail or be malformed; all of these hold, in each
    /// process.
    #[arg(
        long,
        env = "ARKLOW_LIMIT_ADDRESS",
        value_name = "COUNT/DURATION",
        default_value = "10/5m,50/1h",
        value_delimiter = ',',
        value_parser = rate_limit
    )]
    pub(crate) limit_address: Vec<RateLimit>,
    /// A proxy, or a network of them, whose `X-Forwarded-For` is believed; may be repeated.
    ///
    /// Without it a request comes from the peer of its connection, whatever its headers say.
    #[arg(
        long = "trusted-proxy",
        env = "ARKLOW_TRUSTED_PROXIES",
        value_name = "NETWORK",
        value_delimiter = ',',
        value_parser = network
    )]
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// What the audit records besides the account that runs the command.
#[derive(Debug, Default, Args)]
pub(crate) struct ActorArgs {
    /// A label for the audit, such as a ticket.
    ///
    /// The audit records the account that runs the command, the account that called sudo, and the
    /// host. The label is added to them and replaces none of them.
    #[arg(long, env = "ARKLOW_ACTOR", value_name = "LABEL")]
    pub(crate) actor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database: `sqlite:` and the path of a file, or
    /// `postgres://user:password@host/database?sslmode=verify-full`.
    ///
    /// A URL with a password is better given in the variable: others see the arguments of a process.
    #[arg(
        long,
        env = "ARKLOW_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "sqlite:arklow.db",
        value_parser = DatabaseUrlParser("--database-url")
    )]
    pub(crate) database_url: DatabaseUrl,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The key file. Without it no code and no seed in the database is of use: keep a copy.
    ///
    /// Default: the SQLite file with `.keys` behind its name, made for a new database. On PostgreSQL
    /// there is no default: `arklow keys generate` makes one, and all servers need the same.
    #[arg(long, env = "ARKLOW_KEYS", value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user and print the id.
    Create(CreateUserArgs),
    /// List users in the order of their ids.
    List(ListUsersArgs),
    /// Show all about a user: locks, failures, devices, sessions and the last records of the audit.
    Show(ShowUserArgs),
    /// Disable a user: from now on none of their sessions is live, on running servers too.
    Disable(DisableUserArgs),
    /// Enable a disabled user. Sessions from before stay over.
    Enable(EnableUserArgs),
    /// Unlock a user's second factors, and forget the failures that locked them.
    Unlock(UnlockUserArgs),
}

/// Which user.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichUser {
    /// Which user, by id.
    #[arg(long)]
    pub(crate) id: Option<UserId>,
    /// Which user, by e-mail address, in any case.
    #[arg(long)]
    pub(crate) email: Option<Email>,
}

#[derive(Debug, Args)]
pub(crate) struct ListUsersArgs {
    /// Only users whose e-mail address contains this text, in any case.
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only users who are disabled.
    #[arg(long)]
    pub(crate) disabled: bool,
    /// How many users are listed, at most.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(crate) limit: u32,
    /// Only users after this one: the last id of the page before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<UserId>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowUserArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    /// How many devices, live sessions and records of the audit are shown, at most.
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "10",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EnableUserArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockUserArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Of whom something is listed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Whose.
    #[arg(long, value_name = "ID")]
    pub(crate) user: UserId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListOutputArgs {
    /// Print one JSON object for each, a line each, instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateUserArgs {
    /// What the user is called.
    #[arg(long)]
    pub(crate) name: UserName,
    /// The user's e-mail address; no two users share one.
    #[arg(long)]
    pub(crate) email: Email,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DisableUserArgs {
    #[command(flatten)]
    pub(crate) user: WhichUser,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Create a session and print its token, which is shown this once.
    Create(CreateSessionArgs),
    /// List all sessions that a user ever had, newest first.
    List(ListArgs),
    /// Revoke a session: from now on its token is refused, on running servers too.
    Revoke(RevokeSessionArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CreateSessionArgs {
    /// Whose session.
    #[arg(long, value_name = "ID")]
    pub(crate) user: UserId,
    /// How long the session lives, at most 30 days.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "12h",
        value_parser = session_ttl
    )]
    pub(crate) ttl: Duration,
    /// How long it counts as MFA-verified, at most 24 hours and no longer than it lives.
    ///
    /// Without this flag it does not count as MFA-verified at all.
    #[arg(long, value_name = "DURATION", value_parser = mfa_ttl)]
    pub(crate) mfa_verified_for: Option<Duration>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeSessionArgs {
    /// Which session.
    #[arg(long)]
    pub(crate) id: SessionId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Create a TOTP device; print its id and the otpauth URI for an authenticator app.
    Create(CreateDeviceArgs),
    /// List all devices that a user ever had, newest first, removed ones too.
    List(ListArgs),
    /// Remove a device without a code of it; its seed and its backup codes are gone at once.
    Remove(RemoveDeviceArgs),
    /// Make the TOTP codes of a device work again after the clock of a server was ahead.
    ///
    /// A code that is accepted makes all earlier ones unusable. With a clock that is ahead, those are
    /// also codes of the time to come. This sets the device back to the present: codes that the app
    /// has shown so far stay unusable, the next one works. Set the clock right first.
    ResetStep(ResetStepArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResetStepArgs {
    #[command(flatten)]
    pub(crate) which: ResetStepTarget,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetStepTarget {
    /// Which device.
    #[arg(long)]
    pub(crate) id: Option<DeviceId>,
    /// All devices that are ahead of the clock.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveDeviceArgs {
    /// Which device.
    #[arg(long)]
    pub(crate) id: DeviceId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Make the changes that the tables lack; several processes take turns.
    Up(MigrateUpArgs),
    /// List the changes that the tables have and lack, and change nothing.
    ///
    /// Exit code 3 if changes are pending, 0 if none is.
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

#[derive(Debug, Args)]
pub(crate) struct GenerateKeysArgs {
    /// The file to make, with mode 0600; one that exists is left alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key file with a new key, for a database that has none yet.
    Generate(GenerateKeysArgs),
    /// List the keys, and how much needs each of them.
    List(ListKeysArgs),
    /// Put a new key into the key file and protect everything with it, while servers go on.
    ///
    /// Stopped in the middle, it goes on where it was when it is run again.
    Rotate(RotateKeysArgs),
    /// Take a key that nothing needs out of use and out of the key file.
    Retire(RetireKeyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RotateKeysArgs {
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetireKeyArgs {
    /// Which key; `arklow keys list` tells.
    #[arg(long)]
    pub(crate) id: KeyId,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Where the rows are: `sqlite:` and the path of a file.
    #[arg(
        long,
        env = "ARKLOW_COPY_FROM",
        hide_env_values = true,
        value_name = "URL",
        value_parser = DatabaseUrlParser("--from")
    )]
    pub(crate) from: DatabaseUrl,
    /// Where they are to be: `postgres://` and so on.
    #[arg(
        long,
        env = "ARKLOW_COPY_TO",
        hide_env_values = true,
        value_name = "URL",
        value_parser = DatabaseUrlParser("--to")
    )]
    pub(crate) to: DatabaseUrl,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to make.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace FILE if it exists.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup, a file that `arklow backup` made.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Replace the database if it exists; the old one is kept under another name.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoredArgs {
    /// When the backup was made: RFC 3339, or how long ago, such as 24h. Deals with devices that were
    /// removed and users who were disabled since then, and lists the users to look at.
    ///
    /// Without --audit the command cannot know which these are. So all users are disabled and all
    /// devices are locked: look at each user with `arklow user show`, remove devices that they no longer own, then
    /// allow access again with `arklow user enable` and `arklow user unlock`.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<Since>,
    /// A file with the lines of `arklow audit list --json`, kept elsewhere: what was removed and disabled
    /// by these records since --since is so again, and all else stays as the backup has it.
    #[arg(long, value_name = "FILE", requires = "since")]
    pub(crate) audit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List the records, oldest first.
    List(ListAuditArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListAuditArgs {
    /// Only those of this user.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<UserId>,
    /// Only those since then: RFC 3339, such as 2026-11-25T08:00:00Z, or how long ago, such as 24h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<Since>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

/// A time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    At(DateTime<Utc>),
    Ago(Duration),
}

impl Since {
    /// The time, seen from `now`.
    pub(crate) fn time(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now - ago,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CreateDeviceArgs {
    /// Whose device.
    #[arg(long, value_name = "ID")]
    pub(crate) user: UserId,
    /// What its owner calls it.
    #[arg(long)]
    pub(crate) name: DeviceName,
    /// Take it as confirmed, as if its owner had shown that it works.
    #[arg(long)]
    pub(crate) confirmed: bool,
    /// Under which name authenticator apps list the device; give what `serve` has.
    #[arg(long, env = "ARKLOW_ISSUER", default_value = ISSUER, value_parser = issuer)]
    pub(crate) issuer: String,
    #[command(flatten)]
    pub(crate) actor: ActorArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) keys: KeysArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:3123 or [::1]:3123".to_owned()
    })
}

fn issuer(text: &str) -> Result<String, String> {
    let is_usable = (1..=64).contains(&text.chars().count())
        && !text
            .chars()
            .any(|c| c.is_control() || is_invisible(c) || c == ':');
    if is_usable && !text.trim().is_empty() {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 visible characters, neither blank nor with a colon".to_owned())
    }
}

fn totp_window(text: &str) -> Result<TotpWindow, String> {
    let window = text.parse().ok().and_then(TotpWindow::new);
    window.ok_or_else(|| "expected 0 or 1".to_owned())
}

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    let expected = || "expected a count and a duration, such as 10/1h".to_owned();
    let (count, per) = text.split_once('/').ok_or_else(expected)?;
    let count = count.trim().parse().map_err(|_| expected())?;
    if !(1..=1_000_000).contains(&count) {
        return Err("expected a count from 1 to 1000000".to_owned());
    }
    let per = duration(per.trim(), Duration::from_secs(1), LONGEST_MFA)?;
    Ok(RateLimit {
        count,
        per: delta(per),
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "expected an IP address or a network, such as 10.0.0.0/8".to_owned())
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::At(at.to_utc()));
    }
    humantime::parse_duration(text)
        .ok()
        .filter(|ago| *ago <= LONGEST_AGO)
        .map(Since::Ago)
        .ok_or_else(|| {
            "expected a time such as 2026-11-25T08:00:00Z, or how long ago, such as 24h".to_owned()
        })
}

/// The same duration; every bound of this file lies far below what either can hold.
pub(crate) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

fn lock(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), LONGEST_MFA)
}

fn wait(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(1), LONGEST_WAIT)
}

fn session_ttl(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), LONGEST_SESSION)
}

fn mfa_ttl(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), LONGEST_MFA)
}

fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a duration such as 500ms, 10s, 15m or 12h".to_owned())?;
    if !(least..=most).contains(&duration) {
        let [least, most] = [least, most].map(humantime::format_duration);
        return Err(format!("expected a duration from {least} to {most}"));
    }
    Ok(duration)
}

/// As the derived parser, but silent about the text: a URL may hold a password.
#[derive(Clone)]
struct DatabaseUrlParser(&'static str);

impl TypedValueParser for DatabaseUrlParser {
    type Value = DatabaseUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<DatabaseUrl, clap::Error> {
        // What is not UTF-8 is no URL that is known.
        let parsed = value.to_str().unwrap_or_default().parse();
        parsed.map_err(|error| {
            let message = format!("invalid value for '{} <URL>': {error}\n", self.0);
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
    fn host_name_is_answered_with_what_is_expected_instead() {
        let message = refused(&["serve", "--listen", "localhost:3123"]);
        assert!(message.contains("such as 127.0.0.1:3123"), "{message}");
    }
}
