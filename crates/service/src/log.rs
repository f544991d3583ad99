//! The log on standard error: one line per event, for people or as JSON. Messages of commands are part
//! of it when it is JSON, so that every line is an object.
//!
//! Only our own events and those of Dropshot are let through, at any level: another crate may
//! well log whole requests at `trace`, and there are secrets in them.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use slog::{Drain, KV as _, Key, Never, OwnedKVList, Record, Serializer};
use tracing::{Level, error, event, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::traces::{self, Collector};

/// Under which name Dropshot's events stand in the log.
const DROPSHOT: &str = "dropshot";

/// Under which name messages stand in the log; they are there at every level.
pub(crate) const MESSAGE: &str = "arklow::message";

/// What is logged on standard error, and how.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// How much is logged; never a token, a code, a seed or a key.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        env = "ARKLOW_LOG_LEVEL",
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

/// Whether standard error takes JSON only.
static JSON: AtomicBool = AtomicBool::new(false);

/// Changes what is logged.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Whether standard error takes JSON only.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Starts logging, also of panics. `serves`: the command runs until a signal.
///
/// # Errors
/// A message, if spans cannot be sent to the collector.
pub(crate) fn start(
    args: LogArgs,
    serves: bool,
    collector: Option<&Collector>,
) -> Result<(), String> {
    let terminal = io::stderr().is_terminal();
    let json = match args.log_format {
        LogFormat::Auto => serves && !terminal,
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    JSON.store(json, Ordering::Relaxed);
    // <https://no-color.org>
    let colors = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (ours, handle) = reload::Layer::new(targets(args.log_level.into()));
    // Only a second call finds one there.
    drop(LEVEL.set(handle));

    let lines = if json {
        let lines = json_subscriber::layer().with_writer(io::stderr);
        lines.flatten_event(true).with_span_list(false).boxed()
    } else {
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        lines.with_ansi(colors).boxed()
    };
    let spans = collector.map(traces::layer).transpose();
    let (spans, failed) = match spans {
        Ok(spans) => (spans, None),
        Err(error) => (None, Some(error)),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(ours))
        .with(spans)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // Only where: the payload may quote anything.
        match panic.location() {
            Some(place) => error!("panicked at {place}"),
            None => error!("panicked"),
        }
    }));
    failed.map_or(Ok(()), Err)
}

/// What is logged at a level.
fn targets(level: Level) -> Targets {
    // Also what begins so: `arklow_store`.
    Targets::new()
        .with_target("arklow", level)
        .with_target(MESSAGE, Level::INFO)
        .with_target(DROPSHOT, level)
}

/// Changes the level of the log.
///
/// # Errors
/// A message, if `text` is no level.
pub(crate) fn set_level(text: &str) -> Result<(), String> {
    let level = LogLevel::from_str(text, true)
        .map_err(|_| "expected error, warn, info, debug or trace".to_owned())?;
    let handle = LEVEL.get().ok_or("logging was not started")?;
    let changed = handle.modify(|ours| *ours = targets(level.into()));
    changed.map_err(|error| error.to_string())?;
    note(&format!("the log level is {text} now"));
    Ok(())
}

/// The database behind a server, as the log names it; empty for a mock.
#[derive(Debug, Default, Clone)]
pub(crate) struct ServedDatabase {
    /// The URL, without a password.
    pub(crate) url: Option<String>,
    /// The newest migration that its tables have.
    pub(crate) migration: Option<String>,
}

/// Logs that a server accepts requests.
pub(crate) fn started(url: &str, address: SocketAddr, served: &ServedDatabase) {
    let (database, migration) = (served.url.as_deref(), served.migration.as_deref());
    let version = env!("CARGO_PKG_VERSION");
    if is_json() {
        info!(
            target: MESSAGE,
            version,
            database,
            migration,
            address = %address,
            "started, listening on {url}"
        );
    } else {
        note(&format!("listening on {url}"));
        info!(version, database, migration, address = %address, "started");
    }
}

/// Reports wrong usage, or prints the requested help.
pub(crate) fn wrong_usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let variable = std::env::var("ARKLOW_LOG_FORMAT").ok();
    if !error.use_stderr() || !wants_json(&arguments, variable.as_deref()) {
        // If standard error is closed, there is no reader.
        drop(error.print());
    } else {
        let args = LogArgs {
            log_level: LogLevel::Info,
            log_format: LogFormat::Json,
        };
        // Without a collector nothing can fail.
        drop(start(args, true, None));
        let text = error.render().to_string();
        let text = text.trim();
        error!(target: MESSAGE, "{}", text.strip_prefix("error: ").unwrap_or(text));
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Whether an otherwise wrong command line requests JSON.
fn wants_json(arguments: &[String], variable: Option<&str>) -> bool {
    let flag = arguments.iter().enumerate().find_map(|(index, argument)| {
        match argument.strip_prefix("--log-format") {
            Some("") => arguments.get(index + 1).map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        }
    });
    match flag.or(variable) {
        Some("json") => true,
        Some("human") => false,
        _ => {
            let command = arguments.iter().skip(1).find(|word| !word.starts_with('-'));
            let serves =
                command.is_some_and(|word| ["serve", "dev", "mock"].contains(&word.as_str()));
            serves && !io::stderr().is_terminal()
        }
    }
}

/// Prints a message for people. It is only informative, so a failed write is ignored.
pub(crate) fn note(message: &str) {
    if is_json() {
        info!(target: MESSAGE, "{message}");
    } else {
        line(message);
    }
}

/// Prints a warning.
pub(crate) fn warning(message: &str) {
    if is_json() {
        warn!(target: MESSAGE, "{message}");
    } else {
        line(&format!("warning: {message}"));
    }
}

/// Prints a message that people must not miss.
pub(crate) fn banner(lines: &[&str]) {
    if is_json() {
        warn!(target: MESSAGE, "{}", lines.join(" "));
        return;
    }
    let width = lines.iter().map(|text| text.chars().count()).max();
    let width = width.unwrap_or_default();
    line("");
    for text in lines {
        line(&format!("*** {text:<width$} ***"));
    }
    line("");
}

fn line(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// An error and its causes, as one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Logs a failure whose cause the caller does not learn.
pub(crate) fn failure(cause: &dyn Error) {
    error!(error = chain(cause), "the request failed");
}

/// Logs that the database was unavailable for a request, which may be retried.
pub(crate) fn outage(cause: &dyn Error) {
    warn!(error = chain(cause), "the database was not available");
}

/// A logger for Dropshot whose lines end in ours.
pub(crate) fn dropshot() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

/// Hands records on with what their logger knows of the request, which `tracing-slog` drops.
struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        let mut fields = Fields::default();
        // Neither fails: `Fields` takes everything.
        drop(context.serialize(record, &mut fields));
        drop(record.kv().serialize(record, &mut fields));
        fields.emit(record);
        Ok(())
    }
}

/// What a record of Dropshot tells.
#[derive(Debug, Default)]
struct Fields {
    req_id: Option<String>,
    method: Option<String>,
    uri: Option<String>,
    remote_addr: Option<String>,
    response_code: Option<u16>,
    latency_us: Option<u64>,
    /// Everything else, as `key=value`.
    detail: Option<String>,
}

impl Fields {
    fn take(&mut self, key: &str, value: String) {
        match key {
            "req_id" => self.req_id = Some(value),
            "method" => self.method = Some(value),
            // Without the query, where a client may have put a token by mistake.
            "uri" => self.uri = value.split('?').next().map(str::to_owned),
            "remote_addr" => self.remote_addr = Some(value),
            "response_code" => self.response_code = value.parse().ok(),
            "latency_us" => self.latency_us = value.parse().ok(),
            // The same on every line: there is one listener.
            "local_addr" => {}
            _ => {
                let detail = self.detail.get_or_insert_default();
                if !detail.is_empty() {
                    detail.push(' ');
                }
                detail.push_str(&format!("{key}={value}"));
            }
        }
    }

    fn emit(&self, record: &Record<'_>) {
        let Self {
            req_id,
            method,
            uri,
            remote_addr,
            response_code,
            latency_us,
            detail,
        } = self;
        // The level of a tracing event is static, so every level needs a separate call.
        macro_rules! emit {
            ($level:ident) => {
                event!(
                    target: DROPSHOT,
                    Level::$level,
                    request_id = req_id.as_deref(),
                    method = method.as_deref(),
                    uri = uri.as_deref(),
                    remote_addr = remote_addr.as_deref(),
                    response_code,
                    latency_us,
                    detail = detail.as_deref(),
                    "{}",
                    record.msg()
                )
            };
        }
        match record.level() {
            slog::Level::Critical | slog::Level::Error => emit!(ERROR),
            slog::Level::Warning => emit!(WARN),
            // `http::record` logs each answer.
            slog::Level::Info | slog::Level::Debug => emit!(DEBUG),
            slog::Level::Trace => emit!(TRACE),
        }
    }
}

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.take(key.as_ref(), value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::*;

    /// The lines that `log` writes to Dropshot's logger, at `trace`, without their time.
    fn lines(log: impl FnOnce(&slog::Logger)) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let subscriber = json_subscriber::fmt()
            .flatten_event(true)
            .with_max_level(Level::TRACE)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        tracing::subscriber::with_default(subscriber, || log(&dropshot()));
        let written = written.lock().unwrap();
        let lines = written.split(|byte| *byte == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let mut line: Value = serde_json::from_slice(line).unwrap();
                let time = line.as_object_mut().unwrap().remove("timestamp");
                assert!(time.is_some_and(|time| time.is_string()));
                line
            })
            .collect()
    }

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_of_an_answer_holds_what_the_logger_knows_of_the_request() {
        let lines = lines(|log| {
            let log = log.new(slog::o!("local_addr" => "127.0.0.1:3123"));
            let log = log.new(slog::o!(
                "remote_addr" => "192.0.2.1:50000",
                "req_id" => "some-id",
                "method" => "POST",
                "uri" => "/v1/self?token=arks_secret",
            ));
            slog::info!(log, "request completed"; "response_code" => 200u16, "latency_us" => 7u128);
        });
        assert_eq!(
            lines,
            [json!({
                "level": "DEBUG",
                "target": "dropshot",
                "message": "request completed",
                "request_id": "some-id",
                "method": "POST",
                "uri": "/v1/self",
                "remote_addr": "192.0.2.1:50000",
                "response_code": 200,
                "latency_us": 7,
            })]
        );
    }

    #[test]
    fn what_has_no_field_of_its_own_is_kept() {
        let lines = lines(|log| {
            slog::warn!(log, "accept error"; "error" => "too many files", "retry" => true);
        });
        assert_eq!(lines[0]["level"], "WARN");
        let detail = lines[0]["detail"].as_str().unwrap();
        assert!(detail.contains("error=too many files"), "{detail}");
        assert!(detail.contains("retry=true"), "{detail}");
    }

    #[test]
    fn format_is_found_on_a_command_line_that_is_wrong() {
        let wants = |arguments: &str, variable| {
            let all: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
            wants_json(&all, variable)
        };
        assert!(wants("arklow user nothing --log-format json", None));
        assert!(wants(
            "arklow user nothing --log-format=json",
            Some("human")
        ));
        assert!(wants("arklow user nothing", Some("json")));
        assert!(!wants(
            "arklow serve --nothing --log-format human",
            Some("json")
        ));
        assert!(!wants("arklow user nothing --log-format", None));
        assert!(!wants("arklow user serve", None));
    }

    #[test]
    fn connections_are_detail() {
        let lines = lines(|log| slog::info!(log, "accepted connection"));
        assert_eq!(lines[0]["level"], "DEBUG");
    }
}
