//! What commands print: data on standard output, messages on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::error::{self, CliError};

/// Whether data is printed for people or for programs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Human,
    Json,
}

impl Format {
    /// What the flag `--json` stands for.
    pub(crate) fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }
}

/// Prints what a command gives: `human`, or `object` on one line.  The only place that may print
/// a secret, because to give it is what the command is for.
pub(crate) fn data(format: Format, human: &str, object: &Value) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = match format {
        Format::Human => writeln!(stdout, "{human}"),
        Format::Json => writeln!(stdout, "{object}"),
    };
    written
        .and_then(|()| stdout.flush())
        .map_err(CliError::Output)
}

/// Prints what a command lists: a title and a line for each, or an object for each, on a line.
pub(crate) fn list(
    format: Format,
    title: &str,
    rows: impl ExactSizeIterator<Item = (String, Value)>,
) -> Result<(), CliError> {
    if matches!(format, Format::Human) && rows.len() > 0 {
        note(title);
    }
    rows.into_iter()
        .try_for_each(|(human, object)| data(format, &human, &object))
}

/// Prints the id of what a command made or changed.
pub(crate) fn id(format: Format, id: &dyn Display) -> Result<(), CliError> {
    let id = id.to_string();
    data(format, &id, &json!({ "id": id }))
}

/// Tells people what happened.  Nobody has to read it, so nothing depends on its being written.
pub(crate) fn note(message: &str) {
    drop(writeln!(io::stderr().lock(), "{message}"));
}

/// Tells what went wrong and what to do.
pub(crate) fn error(error: &CliError) {
    note(&format!("error: {}", error::chain(error)));
    if let Some(hint) = error.hint() {
        note(&format!("  hint: {hint}"));
    }
}

/// RFC 3339, UTC, as the API writes it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
