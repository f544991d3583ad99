//! `arklow audit`.

use std::io;

use arklow_store::{AuditFilter, AuditRecord, Store};
use serde_json::{Value, json};

use super::open::{closing, open_existing};
use crate::cli::args::{DatabaseArgs, ListOutputArgs, Since};
use crate::cli::error::CliError;
use crate::cli::output::{self, Format};
use crate::sources::Sources;
use arklow_domain::UserId;
use clap::{Args, Subcommand};

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
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) output: ListOutputArgs,
}

/// How many records are read at once: a list may be longer than memory.
const PAGE: u32 = 1_000;

pub(crate) async fn run(command: AuditCommand, sources: &Sources) -> Result<(), CliError> {
    match command {
        AuditCommand::List(args) => run_list(args, sources).await,
    }
}

async fn run_list(args: ListAuditArgs, sources: &Sources) -> Result<(), CliError> {
    let store = open_existing(&args.database.database_url).await?;
    let filter = AuditFilter {
        user_id: args.user,
        since: args.since.map(|since| since.time(sources.clock.now())),
        limit: Some(PAGE),
        ..AuditFilter::default()
    };
    let format = Format::from_flag(args.output.json);
    match closing(&store, print(&store, filter, format)).await {
        // The reader closed the pipe, as `head` does.
        Err(CliError::Output(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

async fn print(store: &Store, mut filter: AuditFilter, format: Format) -> Result<(), CliError> {
    loop {
        let records = store.audit_records(filter).await?;
        for record in &records {
            output::data(format, &line(record), &object(record))?;
        }
        match records.last() {
            Some(last) if records.len() == PAGE as usize => filter.after = Some(last.id),
            _ => return Ok(()),
        }
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
