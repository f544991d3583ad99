//! The arguments that several commands share, and the types of their values.

use std::fmt;
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use arklow_domain::{Email, RateLimit, UserId, is_invisible};
use arklow_store::DatabaseUrl;
use chrono::{DateTime, TimeDelta, Utc};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};

/// The default issuer, under which authenticator apps list a device.
pub(super) const ISSUER: &str = "Arklow";

/// The default address to listen on.
pub(super) const LISTEN: &str = "127.0.0.1:3123";

/// The longest time back, about a century.
const LONGEST_AGO: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
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
        value_parser = SecretParser::<DatabaseUrl>::of("--database-url <URL>")
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

/// A user, by id or e-mail address.
#[derive(Debug, Clone)]
pub(crate) enum UserRef {
    Id(UserId),
    Email(Email),
}

impl FromStr for UserRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            let email: Result<Email, _> = text.parse();
            return email.map(Self::Email).map_err(|error| error.to_string());
        }
        let id = text.parse().map(Self::Id);
        id.map_err(|_| "expected the id or the e-mail address of a user".to_owned())
    }
}

/// Of whom something is listed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Whose.
    #[arg(value_name = "ID_OR_EMAIL")]
    pub(crate) user: UserRef,
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

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_or(Vec::new(), Iterator::collect);
    // Most clients try IPv4 when a name has both.
    let address = found.iter().find(|address| address.is_ipv4());
    address.or(found.first()).copied().ok_or_else(|| {
        "expected an address of this machine and a port, such as 127.0.0.1:3123 or localhost:3123"
            .to_owned()
    })
}

pub(super) fn issuer(text: &str) -> Result<String, String> {
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

/// As the derived parser, but silent about the text: it is a secret, or a URL with one.
pub(super) struct SecretParser<T> {
    /// The flag and the name of its value.
    flag: &'static str,
    parses: PhantomData<fn() -> T>,
}

impl<T> SecretParser<T> {
    pub(super) fn of(flag: &'static str) -> Self {
        Self {
            flag,
            parses: PhantomData,
        }
    }
}

impl<T> Clone for SecretParser<T> {
    fn clone(&self) -> Self {
        Self::of(self.flag)
    }
}

impl<T> TypedValueParser for SecretParser<T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: fmt::Display,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<T, clap::Error> {
        // What is not UTF-8 is no URL and no secret that is known.
        let parsed = value.to_str().unwrap_or_default().parse();
        parsed.map_err(|error: T::Err| {
            let message = format!("invalid value for '{}': {error}\n", self.flag);
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(at.to_utc()));
        }
        humantime::parse_duration(text)
            .ok()
            .filter(|ago| *ago <= LONGEST_AGO)
            .map(Self::Ago)
            .ok_or("expected a time such as 2026-11-25T08:00:00Z, or how long ago, such as 24h")
    }
}

/// A duration of at least `LEAST_MS` milliseconds and at most `MOST_S` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Within<const LEAST_MS: u64, const MOST_S: u64>(Duration);

/// A time limit of the server: at most an hour.
pub(crate) type Wait = Within<1, { 60 * 60 }>;
/// A pause that may be left out: at most ten minutes.
pub(crate) type Pause = Within<0, { 10 * 60 }>;
/// A pause between two attempts: at most a week.
pub(crate) type RetryPause = Within<1, { 7 * 24 * 60 * 60 }>;
/// How long a session lives: at most 30 days, as NIST SP 800-63B-4 recommends at AAL1.
pub(crate) type SessionTtl = Within<1_000, { 30 * 24 * 60 * 60 }>;
/// How long a second factor counts, or its lock lasts: at most 24 hours, as NIST SP 800-63B-4
/// recommends at AAL2.
pub(crate) type MfaTtl = Within<1_000, { 24 * 60 * 60 }>;

impl<const LEAST_MS: u64, const MOST_S: u64> Within<LEAST_MS, MOST_S> {
    pub(crate) fn get(self) -> Duration {
        self.0
    }

    /// The same duration for times of the calendar; every bound is far below what both can hold.
    pub(crate) fn delta(self) -> TimeDelta {
        TimeDelta::from_std(self.0).unwrap_or(TimeDelta::MAX)
    }
}

impl<const LEAST_MS: u64, const MOST_S: u64> FromStr for Within<LEAST_MS, MOST_S> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = (Duration::from_millis(LEAST_MS), Duration::from_secs(MOST_S));
        let duration = humantime::parse_duration(text)
            .map_err(|_| "expected a duration such as 500ms, 10s, 15m or 12h".to_owned())?;
        if !(least..=most).contains(&duration) {
            let [least, most] = [least, most].map(humantime::format_duration);
            return Err(format!("expected a duration from {least} to {most}"));
        }
        Ok(Self(duration))
    }
}

/// How long something is kept: at least `LEAST` days, or `off` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retain<const LEAST: i64>(Option<TimeDelta>);

impl<const LEAST: i64> Retain<LEAST> {
    pub(crate) fn get(self) -> Option<TimeDelta> {
        self.0
    }
}

impl<const LEAST: i64> FromStr for Retain<LEAST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let expected = || format!("expected a duration of at least {LEAST}d, or off");
        let duration = humantime::parse_duration(text).map_err(|_| expected())?;
        let duration = TimeDelta::from_std(duration.min(LONGEST_AGO)).map_err(|_| expected())?;
        match duration >= TimeDelta::days(LEAST) {
            true => Ok(Self(Some(duration))),
            false => Err(expected()),
        }
    }
}

/// How often something may happen: a count and a duration, such as `10/1h`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate(RateLimit);

impl Rate {
    pub(crate) fn get(self) -> RateLimit {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a count and a duration, such as 10/1h".to_owned();
        let (count, per) = text.split_once('/').ok_or_else(expected)?;
        let count = count.trim().parse().map_err(|_| expected())?;
        if !(1..=1_000_000).contains(&count) {
            return Err("expected a count from 1 to 1000000".to_owned());
        }
        let per = per.trim().parse::<MfaTtl>()?.delta();
        Ok(Self(RateLimit { count, per }))
    }
}
