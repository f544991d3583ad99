//! `arklow doctor`: what is wrong with an installation, and what to do. Changes nothing.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use arklow_store::{DatabaseUrl, Health, Options, Store};
use chrono::TimeDelta;
use clap::Args;
use rustix::fs::statvfs;
use rustix::process::{Resource, geteuid, getrlimit};
use serde_json::json;

use super::args::OutputArgs;
use super::error::CliError;
use super::open::key_path;
use super::output::{self, Format, time};
use super::serve::ServeArgs;
use crate::http::tls::{self, TlsFiles, TlsVersion};
use crate::keys;
use crate::log::chain;
use crate::sources::Sources;

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Clocks that differ by more are a warning, and by the window of a TOTP code a failure.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(2);
const CLOCK_FAILURE: TimeDelta = TimeDelta::seconds(30);
/// Free space of the disk with an SQLite file, in bytes, below which a check warns or fails.
const SPACE_WARNING: u64 = 1 << 30;
const SPACE_FAILURE: u64 = 64 << 20;
/// The size of a WAL, in bytes, that a checkpoint should have reset.
const LONG_WAL: u64 = 256 << 20;
/// How old the oldest message in the outbox may be.
const OUTBOX_WARNING: TimeDelta = TimeDelta::hours(1);
/// How long before its end a certificate should have been replaced.
const CERTIFICATE_WARNING: TimeDelta = TimeDelta::days(14);
/// How many files a server with the default limits opens.
const FILES: u64 = 4_096 + 256;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

struct Check {
    name: &'static str,
    state: State,
    detail: String,
    hint: Option<&'static str>,
}

impl Check {
    fn new(
        name: &'static str,
        state: State,
        detail: impl Into<String>,
        hint: &'static str,
    ) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            hint: (!matches!(state, State::Ok | State::Skipped)).then_some(hint),
        }
    }
}

/// Runs all checks. The exit code is 1 if one of them failed.
pub(crate) async fn run(args: DoctorArgs, sources: &Sources) -> Result<ExitCode, CliError> {
    let url = &args.serve.database.database_url;
    let opened = Store::open(url, Options::for_commands()).await;
    let mut checks = vec![match &opened {
        Ok(_) => Check::new("database", State::Ok, url.to_string(), ""),
        Err(error) => Check::new(
            "database",
            State::Failed,
            format!("{url}: {}", chain(error)),
            "see the message; `arklow migrate up` makes what is pending",
        ),
    }];
    if let Ok(store) = &opened {
        checks.extend(check_database(store, &args, sources).await);
        store.close().await;
    } else {
        let names = ["schema", "keys", "clock", "outbox"];
        let skipped = |name| Check::new(name, State::Skipped, "the database is not open", "");
        checks.extend(names.map(skipped));
    }
    checks.push(check_key_file(url, &args));
    checks.extend(check_disk(url));
    checks.push(check_descriptors());
    let tls = &args.serve.tls;
    for (name, certificate, key) in [
        ("tls", &tls.tls_certificate, &tls.tls_key),
        (
            "internal tls",
            &tls.internal_tls_certificate,
            &tls.internal_tls_key,
        ),
    ] {
        if let (Some(certificate), Some(key)) = (certificate, key) {
            checks.push(check_certificate(name, certificate, key, sources));
        }
    }

    let format = Format::from_flag(args.output.json);
    let rows = checks.iter().map(|check| {
        let Check {
            name,
            state,
            detail,
            hint,
        } = check;
        let hint_line = hint
            .map(|hint| format!("\n  hint: {hint}"))
            .unwrap_or_default();
        let human = format!("{name:<13}  {state:<7}  {detail}{hint_line}");
        let object =
            json!({ "check": name, "state": state.to_string(), "detail": detail, "hint": hint });
        (human, object)
    });
    output::list(format, "CHECK          STATE    DETAIL", rows)?;
    let is_failed = checks.iter().any(|check| check.state == State::Failed);
    Ok(ExitCode::from(u8::from(is_failed)))
}

async fn check_database(store: &Store, args: &DoctorArgs, sources: &Sources) -> Vec<Check> {
    let health = match store.health(DATABASE_TIMEOUT).await {
        Ok(health) => health,
        Err(error) => {
            let hint = "look at the database and at what holds its locks";
            return vec![Check::new("schema", State::Failed, chain(&error), hint)];
        }
    };
    let (state, detail) = match health.pending.len() {
        0 => (State::Ok, "all migrations are applied".to_owned()),
        count => (State::Failed, format!("pending migrations: {count}")),
    };
    vec![
        Check::new("schema", state, detail, "run `arklow migrate up`"),
        check_keys(store, args).await,
        check_clock(store, sources).await,
        check_outbox(&health, sources),
    ]
}

/// Whether the key file has every key that protects something.
async fn check_keys(store: &Store, args: &DoctorArgs) -> Check {
    let url = &args.serve.database.database_url;
    let hint = "restore the key file from its copy: without these keys no such device works";
    let found = key_path(url, &args.serve.keys)
        .map_err(|error| chain(&error))
        .and_then(|path| keys::peek(&path).map_err(|error| chain(&error)));
    let keyring = match found {
        Ok(Some((keyring, _))) => keyring,
        Ok(None) => return Check::new("keys", State::Failed, "there is no key file", hint),
        Err(error) => return Check::new("keys", State::Failed, error, hint),
    };
    let usage = match store.key_usage().await {
        Ok(usage) => usage,
        Err(error) => return Check::new("keys", State::Failed, chain(&error), hint),
    };
    let missing = usage.iter().filter(|key| {
        (key.seeds > 0 || key.code_sets > 0) && !keyring.ids().any(|id| id == key.id)
    });
    let missing: Vec<String> = missing
        .map(|key| {
            format!(
                "{} ({} seeds, {} code sets)",
                key.id, key.seeds, key.code_sets
            )
        })
        .collect();
    match missing.is_empty() {
        true => {
            let detail = format!(
                "active key {}; all keys that are needed are there",
                keyring.active()
            );
            Check::new("keys", State::Ok, detail, hint)
        }
        false => Check::new(
            "keys",
            State::Failed,
            format!("missing: {}", missing.join(", ")),
            hint,
        ),
    }
}

/// The clock of this machine against those of the database and of the newest record.
async fn check_clock(store: &Store, sources: &Sources) -> Check {
    let hint = "synchronize the clock of this machine: TOTP needs it within 30 seconds";
    let clocks = async { Ok((store.database_time().await?, store.newest_record().await?)) };
    let (database, newest) = match clocks.await {
        Ok(clocks) => clocks,
        Err(error) => {
            let error: arklow_store::StoreError = error;
            return Check::new("clock", State::Failed, chain(&error), hint);
        }
    };
    let now = sources.clock.now();
    let behind = newest.map_or(TimeDelta::zero(), |newest| newest - now);
    let apart = (database - now).abs().max(behind);
    let state = match apart {
        apart if apart > CLOCK_FAILURE => State::Failed,
        apart if apart > CLOCK_WARNING => State::Warning,
        _ => State::Ok,
    };
    let newest = newest.map_or("none".to_owned(), time);
    let detail = format!(
        "{}; database {}; newest record {newest}",
        time(now),
        time(database)
    );
    Check::new("clock", state, detail, hint)
}

fn check_certificate(
    name: &'static str,
    certificate: &Path,
    key: &Path,
    sources: &Sources,
) -> Check {
    let hint = "replace certificate and key; a running server reads them again by itself";
    let files = TlsFiles {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        client_authorities: None,
        minimum: TlsVersion::Tls12,
    };
    let not_after = match tls::check(&files) {
        Ok(not_after) => not_after,
        Err(error) => return Check::new(name, State::Failed, chain(&error), hint),
    };
    let left = not_after - sources.clock.now();
    let state = match left {
        left if left <= TimeDelta::zero() => State::Failed,
        left if left < CERTIFICATE_WARNING => State::Warning,
        _ => State::Ok,
    };
    let detail = format!("`{}` expires at {}", certificate.display(), time(not_after));
    Check::new(name, state, detail, hint)
}

fn check_outbox(health: &Health, sources: &Sources) -> Check {
    let hint = "users get no messages: see `arklow outbox list`, and --webhook-url or --smtp-url of `serve`";
    match health.oldest_message {
        None => Check::new("outbox", State::Ok, "empty", hint),
        Some(oldest) => {
            let is_late = sources.clock.now() - oldest > OUTBOX_WARNING;
            let state = if is_late { State::Warning } else { State::Ok };
            let detail = format!("the oldest message is of {}", time(oldest));
            Check::new("outbox", state, detail, hint)
        }
    }
}

/// Who can read the key file.
fn check_key_file(url: &DatabaseUrl, args: &DoctorArgs) -> Check {
    let name = "key file";
    let hint = "give it to the account of the server alone: `chown` and `chmod 600`";
    let path = match key_path(url, &args.serve.keys) {
        Ok(path) => path,
        Err(error) => return Check::new(name, State::Failed, chain(&error), "name it with --keys"),
    };
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(error) => {
            let hint = "restore it from its copy; for a new database `arklow serve` or `arklow keys generate` makes one";
            let detail = format!("{}: {error}", path.display());
            return Check::new(name, State::Failed, detail, hint);
        }
    };
    let (mode, owner) = (found.mode() & 0o777, found.uid());
    let detail = format!("{}: mode {mode:03o}, owner {owner}", path.display());
    let us = geteuid().as_raw();
    let state = match (mode & 0o077, us) {
        (0, 0) => State::Ok,
        (0, us) if us == owner => State::Ok,
        (0, _) => State::Warning,
        _ => State::Failed,
    };
    Check::new(name, state, detail, hint)
}

/// The space and the WAL of an SQLite file.
fn check_disk(url: &DatabaseUrl) -> Vec<Check> {
    let Some(file) = url.sqlite_path() else {
        return Vec::new();
    };
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let space = match statvfs(folder) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let state = match free {
                free if free < SPACE_FAILURE => State::Failed,
                free if free < SPACE_WARNING => State::Warning,
                _ => State::Ok,
            };
            let detail = format!("{} MiB free in `{}`", free >> 20, folder.display());
            Check::new(
                "disk",
                state,
                detail,
                "make room: a full disk refuses every change",
            )
        }
        Err(error) => Check::new(
            "disk",
            State::Failed,
            error.to_string(),
            "check the path of the database",
        ),
    };
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let size = std::fs::metadata(wal)
        .ok()
        .as_ref()
        .map_or(0, Metadata::len);
    let state = if size > LONG_WAL {
        State::Warning
    } else {
        State::Ok
    };
    let hint =
        "something reads the file for long, so that no checkpoint ends: find it with `fuser`";
    vec![
        space,
        Check::new("wal", state, format!("{} MiB", size >> 20), hint),
    ]
}

fn check_descriptors() -> Check {
    let limit = getrlimit(Resource::Nofile).maximum;
    let state = match limit {
        Some(limit) if limit < FILES => State::Warning,
        _ => State::Ok,
    };
    let limit = limit.map_or("no limit".to_owned(), |limit| limit.to_string());
    let hint =
        "raise the hard limit (`LimitNOFILE=` in systemd), or fewer connections are accepted";
    Check::new("descriptors", state, format!("hard limit {limit}"), hint)
}
