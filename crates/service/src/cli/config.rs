//! The configuration: flags, then environment variables, then a TOML file, then defaults.
//!
//! The flags of `serve` are the one definition. A key of the file is the name of a flag without its dashes; its value becomes the
//! default of that flag, in every command that has it. So each setting has one parser and one description for all sources.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::OsStr;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, CommandFactory as _, Subcommand};
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Cli;
use super::args::OutputArgs;
use super::error::CliError;
use super::output::{self, Format};
use super::serve::ServeArgs;

/// What every variable of this program begins with.
const PREFIX: &str = "ARKLOW_";
/// How alike two names are if one may be meant for the other, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Where the configuration file is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// A TOML file with settings: `listen = "127.0.0.1:3123"`. Flags and variables come before it; see
    /// `arklow config print`.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        env = "ARKLOW_CONFIG",
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration of `arklow serve` without starting it.
    ///
    /// Example: `arklow config check --config arklow.toml`
    Check(Box<PrintArgs>),
    /// Print every setting of `arklow serve` and where it comes from. The output is a configuration file.
    ///
    /// Passwords are left out. Example: `ARKLOW_LISTEN=127.0.0.1:80 arklow config print`
    Print(Box<PrintArgs>),
    /// Print the reference of all settings, in Markdown.
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct PrintArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What is set other than by a flag or its variable. Not `Debug`: a value may be a secret.
#[derive(Default)]
pub(crate) struct Layers {
    file: Option<PathBuf>,
    /// By the name of the flag.
    settings: BTreeMap<String, Setting>,
}

struct Setting {
    values: Vec<String>,
    place: String,
}

impl Layers {
    /// Reads the configuration file that flags or environment name, and the secrets in files.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML, an unknown key, a value of the wrong type: wrong usage.
    pub(crate) fn read(command: &Command) -> Result<Self, clap::Error> {
        let lenient = Cli::command().ignore_errors(true);
        let found = lenient.try_get_matches().ok();
        let file =
            found.and_then(|matches| deepest(&matches).get_one::<PathBuf>("config").cloned());
        let mut layers = Self {
            file,
            settings: BTreeMap::new(),
        };
        if let Some(path) = layers.file.clone() {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                wrong(format!(
                    "cannot read `{}` (--config): {error}",
                    path.display()
                ))
            })?;
            layers.read_file(&path, &text)?;
        }
        layers.read_secrets(command)?;
        Ok(layers)
    }

    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), clap::Error> {
        let at = |offset: usize| {
            let line = text[..offset.min(text.len())].matches('\n').count() + 1;
            format!("{}:{line}", path.display())
        };
        let table = DeTable::parse(text).map_err(|error| {
            let place = at(error.span().map_or(0, |span| span.start));
            wrong(format!("{place}: {}", error.message()))
        })?;
        let known = settings();
        for (key, value) in table.get_ref() {
            let place = at(key.span().start);
            let name = key.get_ref().replace('_', "-");
            if !known.iter().any(|arg| arg.get_long() == Some(&name)) {
                let names = known.iter().filter_map(|arg| arg.get_long());
                let hint = suggestion(&name, names)
                    .map(|meant| format!(": did you mean `{meant}`?"))
                    .unwrap_or_default();
                return Err(wrong(format!(
                    "{place}: unknown setting `{}`{hint}",
                    key.get_ref()
                )));
            }
            let values = texts(value).ok_or_else(|| {
                wrong(format!(
                    "{place}: `{name}` must be a text, a number, a boolean or a list of them"
                ))
            })?;
            self.settings.insert(name, Setting { values, place });
        }
        Ok(())
    }

    /// Reads each secret whose variable is set with `_FILE` behind its name.
    fn read_secrets(&mut self, command: &Command) -> Result<(), clap::Error> {
        for arg in secrets(command) {
            let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else {
                continue;
            };
            let mut name = variable.to_owned();
            name.push("_FILE");
            let Some(path) = std::env::var_os(&name) else {
                continue;
            };
            let (variable, name) = (variable.display(), name.display());
            if std::env::var_os(variable.to_string()).is_some() {
                return Err(wrong(format!(
                    "both {variable} and {name} are set: unset one"
                )));
            }
            let path = PathBuf::from(path);
            // Not what is in it: that is the secret.
            let text = std::fs::read_to_string(&path).map_err(|error| {
                wrong(format!(
                    "cannot read `{}` ({name}): {error}",
                    path.display()
                ))
            })?;
            let setting = Setting {
                values: vec![text.trim_end().to_owned()],
                place: name.to_string(),
            };
            self.settings.insert(long.to_owned(), setting);
        }
        Ok(())
    }

    /// The command with these defaults.
    pub(crate) fn apply(&self, command: Command) -> Command {
        let command = command.mut_args(|arg| {
            let setting = arg
                .get_env()
                .and_then(|_| self.settings.get(arg.get_long()?));
            match setting {
                // clap keeps defaults for as long as the process runs.
                Some(setting) => arg.default_values(
                    setting
                        .values
                        .iter()
                        .map(|value| OsStr::from(&*value.clone().leak())),
                ),
                None => arg,
            }
        });
        command.mut_subcommands(|below| self.apply(below))
    }

    /// An error about a value that this file has says so.
    pub(crate) fn explain(&self, error: clap::Error) -> clap::Error {
        let text = error.to_string();
        let blamed = self.settings.iter().find(|(name, _)| {
            let flag = format!("--{name} ");
            text.contains(&flag) && !is_given(name)
        });
        match blamed {
            Some((name, setting)) if error.use_stderr() => {
                let text = text.trim_end().trim_start_matches("error: ");
                let message = format!("{text}\n\n`{name}` is set by {}", setting.place);
                clap::Error::raw(error.kind(), message + "\n")
            }
            _ => error,
        }
    }

    fn source(&self, arg: &Arg, matches: &ArgMatches) -> Option<String> {
        Some(match matches.value_source(arg.get_id().as_str())? {
            ValueSource::CommandLine => "flag".to_owned(),
            ValueSource::EnvVariable => arg.get_env()?.display().to_string(),
            _ => match self.settings.get(arg.get_long()?) {
                Some(setting) => setting.place.clone(),
                None => "default".to_owned(),
            },
        })
    }
}

/// Whether a flag stands on the command line.
fn is_given(name: &str) -> bool {
    let flag = format!("--{name}");
    std::env::args_os().any(|argument| {
        let argument = argument.to_string_lossy();
        argument
            .strip_prefix(&flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

fn wrong(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, message + "\n")
}

fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches
        .subcommand()
        .map_or(matches, |(_, below)| deepest(below))
}

/// The arguments that a configuration file may set: those of `serve` with a variable.
fn settings() -> Vec<Arg> {
    let mut command = Cli::command();
    command.build();
    let serve = command.find_subcommand("serve").expect("a command");
    serve
        .get_arguments()
        .filter(|arg| arg.get_env().is_some() && arg.get_id() != "config")
        .cloned()
        .collect()
}

/// The arguments whose variables hold secrets.
fn secrets(command: &Command) -> Vec<&Arg> {
    let below = command.get_subcommands().flat_map(secrets);
    let here = command
        .get_arguments()
        .filter(|arg| arg.is_hide_env_values_set());
    here.chain(below).collect()
}

/// A value as a flag would have it.
fn texts(value: &Spanned<DeValue<'_>>) -> Option<Vec<String>> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(true) => Some("on".to_owned()),
        DeValue::Boolean(false) => Some("off".to_owned()),
        _ => None,
    };
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| text(item.get_ref())).collect(),
        value => Some(vec![text(value)?]),
    }
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

/// The names of all variables that some command reads.
fn variables(command: &Command) -> Vec<OsString> {
    let of_arg = |arg: &Arg| {
        let name = arg.get_env()?.to_owned();
        let mut in_file = name.clone();
        in_file.push("_FILE");
        Some(match arg.is_hide_env_values_set() {
            true => vec![name, in_file],
            false => vec![name],
        })
    };
    let here = command.get_arguments().filter_map(of_arg).flatten();
    let below = command.get_subcommands().flat_map(variables);
    here.chain(below).collect()
}

/// Warns of variables that look like settings and are none.
pub(crate) fn warn_of_unknown_variables(command: &Command) {
    let known = variables(command);
    let known: Vec<&str> = known.iter().filter_map(|name| name.to_str()).collect();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || known.contains(&&*name) {
            continue;
        }
        // All are alike in what they begin with.
        let rest = name.trim_start_matches(PREFIX);
        let others = known.iter().filter_map(|other| other.strip_prefix(PREFIX));
        let hint = suggestion(rest, others)
            .map(|meant| format!("; did you mean {PREFIX}{meant}?"))
            .unwrap_or_default();
        output::warning(&format!(
            "the variable {name} is not one of arklow's and has no effect{hint}"
        ));
    }
}

/// Runs a command about the configuration.
pub(crate) fn run(
    command: &ConfigCommand,
    layers: &Layers,
    matches: &ArgMatches,
) -> Result<(), CliError> {
    let matches = deepest(matches);
    match command {
        ConfigCommand::Check(args) => {
            let count = layers.settings.len();
            let file = layers.file.as_ref().map(|path| path.display().to_string());
            let human = match &file {
                Some(file) => format!("the configuration is valid; settings in `{file}`: {count}"),
                None => "the configuration is valid; no file is part of it".to_owned(),
            };
            let object = json!({ "valid": true, "file": file, "settings": count });
            output::data(Format::from_flag(args.output.json), &human, &object)
        }
        ConfigCommand::Print(args) => {
            let (human, object) = listed(args, layers, matches);
            output::data(Format::from_flag(args.output.json), &human, &object)
        }
        ConfigCommand::Reference => output::data(Format::Human, &reference(), &Value::Null),
    }
}

/// The settings as a TOML file, and as an object.
fn listed(args: &PrintArgs, layers: &Layers, matches: &ArgMatches) -> (String, Value) {
    let mut all = serde_json::Map::new();
    let mut text = String::new();
    for arg in settings() {
        let (Some(name), Some(source)) = (arg.get_long(), layers.source(&arg, matches)) else {
            continue;
        };
        let values: Vec<String> = match arg.is_hide_env_values_set() {
            // It prints without its password.
            true if name == "database-url" => vec![args.serve.database.database_url.to_string()],
            true => {
                writeln!(text, "# {name} is a secret and set by {source}")
                    .expect("a string takes everything");
                all.insert(name.to_owned(), json!({ "value": null, "source": source }));
                continue;
            }
            false => matches
                .get_raw(arg.get_id().as_str())
                .into_iter()
                .flatten()
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
        };
        let takes_list = arg.get_value_delimiter().is_some();
        let value = match &values[..] {
            [one] if !takes_list => one
                .parse::<u32>()
                .map_or_else(|_| json!(one), |number| json!(number)),
            _ => json!(values),
        };
        // A text, a number and a list of texts look the same in JSON and in TOML.
        writeln!(text, "{name} = {value}  # {source}").expect("a string takes everything");
        all.insert(name.to_owned(), json!({ "value": value, "source": source }));
    }
    (text.trim_end().to_owned(), all.into())
}

/// The page `docs/configuration.md`.
fn reference() -> String {
    let mut page = "\
# Configuration

<!-- Written by `arklow config reference`; a test compares the two. -->

A setting is looked for in the flags of a command, then in the environment, then in the TOML file that `--config` or
`ARKLOW_CONFIG` names, and then it has its default. A key of the file is the name of the flag without its dashes:

```toml
# arklow.toml
listen = \"127.0.0.1:3123\"
database-url = \"sqlite:/var/lib/arklow/arklow.db\"
limit-address = [\"10/5m\", \"50/1h\"]
docs = false
```

`arklow config print` prints every setting with its source, and `arklow config check` checks them. An unknown key is an error; an
unknown variable that begins with `ARKLOW_` is a warning. A secret may be in a file, which the variable with `_FILE` behind
its name names, as in `ARKLOW_DATABASE_URL_FILE=/run/secrets/database-url`.
"
    .to_owned();
    let mut heading = String::new();
    for arg in settings() {
        let under = arg.get_help_heading().unwrap_or("Server");
        if under != heading {
            heading = under.to_owned();
            write!(page, "\n## {heading}\n\n| key | variable | default | meaning |\n| --- | --- | --- | --- |\n")
                .expect("a string takes everything");
        }
        let defaults: Vec<String> = arg
            .get_default_values()
            .iter()
            .map(|value| format!("`{}`", value.display()))
            .collect();
        let variable = arg.get_env().map(|name| name.display().to_string());
        let help = arg
            .get_long_help()
            .or(arg.get_help())
            .map(ToString::to_string);
        writeln!(
            page,
            "| `{}` | `{}` | {} | {} |",
            arg.get_long().unwrap_or_default(),
            variable.unwrap_or_default(),
            defaults.join(", "),
            help.unwrap_or_default()
                .replace("\n\n", " ")
                .replace('\n', " ")
                .replace('|', "\\|"),
        )
        .expect("a string takes everything");
    }
    page.trim_end().to_owned()
}
