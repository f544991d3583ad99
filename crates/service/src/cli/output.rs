//! What commands print: data on standard output, messages on standard error, as records of the log if
//! that is JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tracing::error;

use crate::cli::error::CliError;
pub(crate) use crate::cli::text::{count, time};
use crate::log::{self, chain};
pub(crate) use crate::log::{banner, note, warning};

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

/// Prints what a command gives: `human`, or `object` on one line. The only place that may print
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

/// Prints what a command lists: a head and a line for each, or an object for each, on a line. The head
/// is on standard output as well, so that a pager shows both.
pub(crate) fn list(
    format: Format,
    title: &str,
    rows: impl ExactSizeIterator<Item = (String, Value)>,
) -> Result<(), CliError> {
    if matches!(format, Format::Human) && rows.len() > 0 {
        data(format, title, &Value::Null)?;
    }
    rows.into_iter()
        .try_for_each(|(human, object)| data(format, &human, &object))
}

/// Prints the id of what a command made or changed.
pub(crate) fn id(format: Format, id: &dyn Display) -> Result<(), CliError> {
    let id = id.to_string();
    data(format, &id, &json!({ "id": id }))
}

/// Prints an error and its hint.
pub(crate) fn error(error: &CliError) {
    if log::is_json() {
        error!(target: log::MESSAGE, hint = error.hint(), "{}", chain(error));
        return;
    }
    note(&format!("error: {}", chain(error)));
    if let Some(hint) = error.hint() {
        note(&format!("  hint: {hint}"));
    }
}

/// How often progress is printed where no bar is drawn.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// How far a command is: a bar for people on a terminal, and a message now and then elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What is counted, such as `rows looked at`.
    what: &'static str,
    told: Instant,
}

impl Progress {
    /// Tells nothing yet.
    pub(crate) fn of(what: &'static str) -> Self {
        let bar = match io::stderr().is_terminal() && !log::is_json() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        let template = "{bar:40} {percent:>3} %  {pos} of {len} {msg}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is one");
        Self {
            bar: bar.with_style(style).with_message(what),
            what,
            told: Instant::now(),
        }
    }

    /// Prints the progress.
    pub(crate) fn tell(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.is_hidden() && self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            let percent = (100 * done).checked_div(total).unwrap_or(100).min(100);
            note(&format!("{done} of {total} {} ({percent} %)", self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
