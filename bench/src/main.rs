//! How fast the server is, as ratios of what one run on one machine measured.
//!
//! `cargo xtask bench` builds this and the server in release mode and runs it.  A figure is the server, loaded by
//! wrk, against something else that does the same: the raw database with the store's own statements, or a peer.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan` | which figures there are, and how each is measured |
//! | `statements` | what the store says to the database, recorded and replayed |
//! | `flush` | a slower disk |
//! | `seed` | databases full of users, and requests for them |
//! | `server`, `load` | a server of one's own; wrk |
//! | `postgres` | a throwaway server, pgbench |
//! | `peers` | other implementations, from `bench/peers` |
//! | `report` | the figures as a table and as JSON, with what the machine is |

mod flush;
mod load;
mod peers;
mod plan;
mod postgres;
mod report;
mod seed;
mod server;
mod statements;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Measures the server against the raw database and against peers.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Arguments {
    /// For a look, in less than a minute: short loads, few users, no peers, and nothing is judged.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these groups of figures; all, if none is named.
    #[arg(long, value_delimiter = ',', value_name = "GROUP")]
    pub(crate) only: Vec<plan::Group>,
    /// How long each load lasts, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// How long a flush to the disk takes at least, in microseconds: a slower disk, of SQLite and of everything else.
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) flush: Option<u32>,
    /// Where the results are written as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/results.json")]
    pub(crate) json: PathBuf,
    /// Where databases and peers are put.  Must be on a real disk.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    pub(crate) folder: PathBuf,
    /// The server to measure.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/release/arklow",
        hide = true
    )]
    pub(crate) arklow: PathBuf,
}

impl Arguments {
    /// How long each load lasts.
    pub(crate) fn load(&self) -> Duration {
        let default = if self.quick { 2 } else { 10 };
        Duration::from_secs(self.seconds.unwrap_or(default))
    }
}

/// The time, which is what a benchmark is about.
#[expect(
    clippy::disallowed_methods,
    reason = "the server's clock is another process's"
)]
pub(crate) fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

#[tokio::main]
async fn main() -> ExitCode {
    match plan::run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
