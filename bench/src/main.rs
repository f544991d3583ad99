//! How fast the server is, as ratios of what one run on one machine measured.
//!
//! `cargo xtask bench` builds this and the server in release mode and runs it. A figure compares the server,
//! under load by wrk, with the raw database that runs the store's own statements, or with a peer.
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
mod overload;
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

/// What `cargo xtask bench` passes on, which explains each flag and has its default.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[arg(long)]
    pub(crate) quick: bool,
    #[arg(long)]
    pub(crate) only: Vec<plan::Group>,
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    #[arg(long)]
    pub(crate) flush: Option<u32>,
    #[arg(long)]
    pub(crate) json: PathBuf,
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// The server to measure.
    #[arg(long)]
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

// One thread, which leaves the other processors to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match plan::run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
