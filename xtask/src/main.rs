//! Tasks of this repository: `cargo xtask codegen`, `cargo xtask corpus`, `cargo xtask contract`, `cargo xtask sdk`, `cargo xtask docs-ui`,
//! `cargo xtask browser`, `cargo xtask bench`, `cargo xtask deb`, `cargo xtask overload`, `cargo xtask soak`, `cargo xtask ci`.
//!
//! Does not depend on anything that it generates.

mod bench;
mod browser;
mod ci;
mod codegen;
mod contract;
mod corpus;
mod deb;
mod docs_ui;
mod node;
mod overload;
mod sdk;
mod server;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 refused, stale or failed, and stderr says why; 2 wrong arguments.";

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Generates the crates `api` and `client` from `openapi.yaml`, or two crates from any other document.
    #[command(after_help = EXIT_CODES)]
    Codegen {
        /// Writes nothing; lists what is stale and fails if anything is.
        #[arg(long)]
        check: bool,
        /// The document to generate from, YAML or JSON.
        #[arg(long, value_name = "FILE", requires = "out")]
        spec: Option<PathBuf>,
        /// The folder that gets the crates `api` and `client`.
        #[arg(long, value_name = "DIR", requires = "spec")]
        out: Option<PathBuf>,
        #[command(flatten)]
        parts: codegen::Parts,
        /// Another copy of this repository, for the tests of this command.
        #[arg(long, value_name = "DIR", hide = true, conflicts_with = "spec", default_value_os_t = root())]
        root: PathBuf,
    },
    /// Generates from a folder of documents, leaves out what is not carried, and counts what is.
    ///
    /// Fails if the generator panics, takes more than a minute, or fails with what it has accepted.
    #[command(after_help = EXIT_CODES)]
    Corpus(corpus::Arguments),
    /// Lints the contract and tries the server against it; `contract diff` tells whom a change of it breaks.
    ///
    /// Needs Python 3.11 and Node.js 20.19 or newer, and installs its tools below `target` and `contract`. `diff` needs git
    /// alone.
    #[command(after_help = EXIT_CODES)]
    Contract {
        #[command(subcommand)]
        part: Option<contract::Part>,
    },
    /// Writes what the TypeScript package in `sdk/typescript` has from `openapi.yaml`. Needs Node.
    #[command(after_help = EXIT_CODES)]
    Sdk {
        /// Writes nothing; lists what is stale and fails if anything is.
        #[arg(long)]
        check: bool,
        /// Runs the tests of the package against the server, which is built for it.
        #[arg(long, conflicts_with = "check")]
        test: bool,
        /// Another copy of this repository, for the tests of this command.
        #[arg(long, value_name = "DIR", hide = true, conflicts_with = "test", default_value_os_t = root())]
        root: PathBuf,
    },
    /// Takes Swagger UI, which the server embeds, out of its npm package. Needs Node.
    #[command(after_help = EXIT_CODES)]
    DocsUi {
        /// Writes nothing that is committed; lists what differs from the package and fails if anything does.
        #[arg(long)]
        check: bool,
        /// Another copy of this repository, for the tests of this command.
        #[arg(long, value_name = "DIR", hide = true, default_value_os_t = root())]
        root: PathBuf,
    },
    /// Drives the documentation and the security page in Chromium, against the server. Needs Node and Chromium.
    ///
    /// Pictures of what the pages look like are in `target/browser` afterwards.
    #[command(after_help = EXIT_CODES)]
    Browser {
        /// What `playwright test` takes, such as the name of a file or `--grep TITLE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures how fast the server is, against the raw database and against peers.
    ///
    /// Needs wrk, and for all figures PostgreSQL, Node and Python; lists the figures that it could not measure.
    #[command(after_help = EXIT_CODES)]
    Bench(bench::Arguments),
    /// Makes the Debian package in `target/debian`, with man pages, completions and an SBOM. Needs cargo-deb and cargo-cyclonedx.
    #[command(after_help = EXIT_CODES)]
    Deb,
    /// Serves users while ten times as many connections are opened as the server allows. Needs Linux.
    ///
    /// Fails if a user is not answered, or if the memory of the server grows.
    #[command(after_help = EXIT_CODES)]
    Overload {
        #[command(flatten)]
        options: overload::Options,
    },
    /// Runs two servers under load for an hour, with a fault every minute: kills, full disks, restarts of the database, clock
    /// steps, slow readers. Needs Linux and a C compiler; the full disk needs root.
    ///
    /// Fails if an acknowledged change is gone, a failure has no fault as its reason, or memory grows.
    #[command(after_help = EXIT_CODES)]
    Soak {
        #[command(flatten)]
        options: soak::Options,
    },
    /// Runs what CI runs on the code: format, clippy, codegen, tests.
    Ci {
        /// Runs nothing; prints the command of each stage.
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Codegen {
            check,
            spec: Some(spec),
            out: Some(out),
            parts,
            ..
        } => codegen::document(&spec, &out, &parts, check),
        Task::Codegen { check, root, .. } => codegen::repository(&root, check),
        Task::Corpus(arguments) => corpus::run(&arguments),
        Task::Contract { part } => contract::run(part),
        Task::Sdk { test: true, .. } => sdk::test(),
        Task::Sdk { check, root, .. } => sdk::generate(&root, check),
        Task::DocsUi { check, root } => docs_ui::run(&root, check),
        Task::Browser { arguments } => browser::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Deb => deb::run(),
        Task::Overload { options } => overload::run(&options),
        Task::Soak { options } => soak::run(&options),
        Task::Ci { list: true } => {
            ci::list();
            Ok(())
        }
        Task::Ci { list: false } => ci::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cargo's folder for what it builds.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let root = root();
    // Without `xtask/..` in it, for it is shown.
    root.canonicalize().unwrap_or(root).join(target)
}
