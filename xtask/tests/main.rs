//! The tasks as a developer runs them, and the rules of this repository that no compiler checks.

mod bench;
mod browser;
mod ci;
mod codegen;
mod contract;
mod corpus;
mod docs_ui;
mod layout;
mod overload;
mod postgres;
mod sdk;
mod soak;
mod tidy;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Prints that a test is skipped because something is missing, which must not happen in CI.
///
/// Not by `eprintln!`: of a test that passes libtest shows nothing that is printed so.
#[track_caller]
fn skip(lack: &str) {
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    note_skipped(lack);
}

/// As [`skip`], of what may be missing in CI, too.
fn note_skipped(lack: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {lack}").expect("stderr is open");
}

/// How a task ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a task from a folder.
fn xtask<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    run(command.args(arguments).current_dir(folder))
}

/// Runs the cargo that runs these tests, from the root of the repository.
fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ended {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(arguments)
        .current_dir(repository()))
}

fn run(command: &mut Command) -> Ended {
    let output = command.output().expect("the program can be started");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}
