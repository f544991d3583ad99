//! The server of `arklow`, and the commands around it. The binary only calls [`main`].
//!
//! | module | what it holds | knows nothing of |
//! |---|---|---|
//! | `cli` | the commands, each with its flags; their messages and errors | Dropshot |
//! | `http` | the API: connections, operations, the documentation in the browser | the command line |
//! | `mock` | the API answered with the examples of the contract | the command line |
//! | `keys` | the key file | both |
//! | `app`, `policy` | what operations work with; the settings of an operator | both |
//! | `client_ip`, `denials` | where a request comes from, and the limit for it; the limit for denied changes | both |
//! | `sources`, `signals`, `stamp` | the clock and the random bytes; the signals that stop a process; whether a file has changed | both |
//! | `notify` | delivers messages to users, by webhook or mail | both |
//! | `retention` | deletes rows that have served their purpose | both |
//! | `log`, `metrics`, `traces` | the log on standard error; what is counted; spans for a collector | both |

mod app;
mod cli;
mod client_ip;
mod denials;
mod http;
mod keys;
mod log;
mod metrics;
mod mock;
mod notify;
mod policy;
mod retention;
mod signals;
mod sources;
mod stamp;
/// Support for the unit tests of this crate.
#[cfg(test)]
#[path = "../tests/mod.rs"]
mod testing;
mod traces;

use std::process::ExitCode;

/// Runs the command that the arguments of the process name, and returns its exit code.
pub fn main() -> ExitCode {
    cli::main()
}
