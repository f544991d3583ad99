//! `arklow audit`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arklow_domain::DeviceId;
use arklow_store::{AuditEvent, AuditFilter, AuditOrder, AuditRecord, OutcomeKind, Store};
use chrono::TimeDelta;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::audit_file::{self, ChainError, End, Export};
use super::open::{closing, open_existing, resolve_user};
use crate::cli::args::{DatabaseArgs, ListOutputArgs, OutputArgs, Since, UserRef};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::signals::Signals;
use crate::sources::Sources;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List the records, newest first.
    ///
    /// Example: `arklow audit list --user ada@example.com --outcome failure --since 24h`
    List(ListAuditArgs),
    /// Append new records to a file of JSON lines in which a missing or changed line shows.
    ///
    /// The file is checked first, and goes on after its last record. Records of the last minute are left for the next
    /// export: PostgreSQL may still add some before them. Example: `arklow audit export /backup/audit.jsonl`
    Export(ExportAuditArgs),
    /// Check that no line of an exported file is missing or changed.
    ///
    /// Prints the hash of the last line: keep it elsewhere, for lines at the end can be removed unnoticed otherwise. Example:
    /// `arklow audit verify /backup/audit.jsonl`
    Verify(VerifyAuditArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportAuditArgs {
    /// The file. It is created if it does not exist.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyAuditArgs {
    /// The file.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListAuditArgs {
    /// Only those of this user.
    #[arg(long, value_name = "ID_OR_EMAIL")]
    pub(crate) user: Option<UserRef>,
    /// Only those about this device.
    #[arg(long, value_name = "ID")]
    pub(crate) device: Option<DeviceId>,
    /// Only those of this kind, such as mfa.verify.totp.
    #[arg(long)]
    pub(crate) event: Option<AuditEvent>,
    /// Only those with this outcome.
    #[arg(long)]
    pub(crate) outcome: Option<Outcome>,
    /// Only those of this request: the header x-request-id of its answer.
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// Only those from this address.
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Only those since then: RFC 3339, such as 2026-11-25T08:00:00Z, or how long ago, such as 24h.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Only those before then, as --since.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Since>,
    /// In which order.
    #[arg(long, default_value = "newest", conflicts_with = "follow")]
    pub(crate) order: Order,
    /// So many at most. By default all, and with --follow the last ten before the new ones.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Go on with new records as they are written, until a signal.
    #[arg(long, conflicts_with = "until")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Outcome {
    Success,
    Failure,
    Denied,
}

impl From<Outcome> for OutcomeKind {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Failure => Self::Failure,
            Outcome::Denied => Self::Denied,
        }
    }
}

/// The order of records.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Order {
    Newest,
    Oldest,
}

impl From<Order> for AuditOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Newest => Self::NewestFirst,
            Order::Oldest => Self::OldestFirst,
        }
    }
}

/// How many records are read at once: a list may be longer than memory.
const PAGE: u32 = 1_000;
/// How old a record must be so that none can appear before it.
const SETTLED: TimeDelta = TimeDelta::minutes(1);
/// How many records stand before the new ones.
const BEFORE: u32 = 10;
/// How often new records are looked for.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// PostgreSQL assigns numbers before the commit, so a record may appear after one with a greater number. This many
/// numbers are read again.
const LATE: usize = 2_000;

pub(crate) async fn run(command: AuditCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        AuditCommand::List(args) => run_list(args, sources).await,
        AuditCommand::Export(args) => run_export(args, sources).await,
        AuditCommand::Verify(args) => {
            let end = audit_file::verify(&args.file).map_err(broken(&args.file))?;
            report(&args.output, "verified", &end)
        }
    }
}

fn broken(path: &Path) -> impl Fn(ChainError) -> CliError {
    let path = path.to_owned();
    move |cause| CliError::AuditChain {
        path: path.clone(),
        cause,
    }
}

fn report(args: &OutputArgs, done: &str, end: &End) -> Result<(), CliError> {
    output::note(&format!(
        "{done}: the file has {}",
        output::count(end.lines as u64, "record", "records")
    ));
    let object = json!({ "records": end.lines, "chain": end.chain });
    output::data(Format::from_flag(args.json), &end.chain, &object)
}

async fn run_export(args: ExportAuditArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let exporting = async {
        let failed = broken(&args.file);
        let mut export = Export::open(&args.file).map_err(&failed)?;
        let mut filter = AuditFilter {
            after: export.last(),
            until: Some(sources.clock.now() - SETTLED),
            limit: Some(PAGE),
            ..AuditFilter::default()
        };
        loop {
            let records = store.audit_records(filter.clone()).await?;
            for record in &records {
                let written = export.write(record.id, &object(record));
                written.map_err(|error| failed(error.into()))?;
            }
            match records.last() {
                Some(last) => filter.after = Some(last.id),
                None => return export.finish().map_err(|error| failed(error.into())),
            }
        }
    };
    let end = closing(&store, exporting).await?;
    report(&args.output, "exported", &end)
}

async fn run_list(args: ListAuditArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let now = sources.clock.now();
    let format = Format::from_flag(args.output.json);
    let listing = async {
        let user_id = match &args.user {
            Some(user) => Some(resolve_user(&store, user).await?),
            None => None,
        };
        let filter = AuditFilter {
            user_id,
            device_id: args.device,
            event: args.event,
            outcome: args.outcome.map(OutcomeKind::from),
            request_id: args.request_id,
            address: args.address,
            since: args.since.map(|since| since.time(now)),
            until: args.until.map(|until| until.time(now)),
            order: args.order.into(),
            ..AuditFilter::default()
        };
        match args.follow {
            false => print(&store, filter, args.limit, format).await,
            true => follow(&store, filter, args.limit.unwrap_or(BEFORE), format).await,
        }
    };
    closing(&store, listing).await
}

async fn print(
    store: &Store,
    mut filter: AuditFilter,
    limit: Option<u32>,
    format: Format,
) -> Result<(), CliError> {
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let page = left.min(PAGE);
        filter.limit = Some(page);
        let records = store.audit_records(filter.clone()).await?;
        for record in &records {
            output::data(format, &line(record), &object(record))?;
        }
        match records.last() {
            Some(last) if records.len() == page as usize => filter.after = Some(last.id),
            _ => return Ok(()),
        }
        left -= page;
    }
    Ok(())
}

/// Prints the last records, and then new ones until a signal.
async fn follow(
    store: &Store,
    mut filter: AuditFilter,
    before: u32,
    format: Format,
) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    filter.order = AuditOrder::NewestFirst;
    filter.limit = Some(before);
    let mut records = store.audit_records(filter.clone()).await?;
    records.reverse();
    let mut seen = BTreeSet::new();
    filter.order = AuditOrder::OldestFirst;
    filter.limit = None;
    loop {
        for record in &records {
            if seen.insert(record.id) {
                output::data(format, &line(record), &object(record))?;
            }
        }
        while seen.len() > LATE {
            seen.pop_first();
        }
        tokio::select! {
            _ = signals.next() => return Ok(()),
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
        // From the first one that is known: those before it were listed or are older than the list.
        filter.after = seen.first().copied();
        records = store.audit_records(filter.clone()).await?;
    }
}

/// For people: when, what, how it went, and whatever else is known.
pub(super) fn line(record: &AuditRecord) -> String {
    let mut line = format!(
        "{} {} {}",
        output::time(record.at),
        record.event.as_str(),
        record.outcome.as_str()
    );
    let Value::Object(fields) = object(record) else {
        return line;
    };
    for (name, value) in fields {
        match value {
            Value::Null => {}
            // Said where it is not what everybody expects.
            _ if name == "attempts" && record.attempts == 1 => {}
            _ if ["id", "at", "event", "outcome"].contains(&&*name) => {}
            // Quoted if it came from outside: the end of it must be seen.
            Value::String(text) if text.contains(' ') => line += &format!(" {name}={text:?}"),
            Value::String(text) => line += &format!(" {name}={text}"),
            other => line += &format!(" {name}={other}"),
        }
    }
    line
}

pub(super) fn object(record: &AuditRecord) -> Value {
    json!({
        "id": record.id.to_string(),
        "at": output::time(record.at),
        "event": record.event.as_str(),
        "outcome": record.outcome.as_str(),
        "reason": record.outcome.reason().map(|reason| reason.as_str()),
        "actor": record.origin.actor,
        "user_id": record.user_id.map(|id| id.to_string()),
        "session_id": record.session_id.map(|id| id.to_string()),
        "device_id": record.device_id.map(|id| id.to_string()),
        "generation": record.generation,
        "remaining": record.remaining,
        "attempts": record.attempts,
        "remote_address": record.origin.remote_address.map(|address| address.to_string()),
        "user_agent": record.origin.user_agent,
        "request_id": record.origin.request_id,
    })
}
