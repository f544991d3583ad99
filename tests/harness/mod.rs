//! A server of one's own, callers by kind, and answers that are checked against the contract before a test sees them.

mod answer;
mod caller;
mod contract;
mod home;
mod receiver;
mod server;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use arklow_client::types::TotpCodeRequest;
use serde_json::{Value, json};

pub(crate) use self::answer::Answer;
pub(crate) use self::caller::{App, Caller};
pub(crate) use self::contract::{CONTRACT, codes_of, deref, documented, place, yaml};
pub(crate) use self::home::Home;
pub(crate) use self::receiver::{Received, Receiver};
pub(crate) use self::server::Server;

/// Longer than anything here takes, so that a hang is a failure.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of the operation that most tests of the adapter use.
pub(crate) const REGENERATE: &str = "/v1/self/mfa/regenerate/totp";

/// For tests that do something more often than users may.
pub(crate) const NO_LIMITS: &[&str] = &["--limits", "off"];

/// The `arklow` binary with a clean environment.
pub(crate) fn arklow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arklow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARKLOW_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Prints that a test is skipped because something is missing, which must not happen in CI.
///
/// Not by `eprintln!`: of a test that passes libtest shows nothing that is printed so.
#[track_caller]
pub(crate) fn skip(lack: &str) {
    assert!(std::env::var_os("CI").is_none(), "{lack}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {lack}").expect("stderr is open");
}

/// Lets a process go on, between two looks at it.
pub(crate) fn pause() {
    std::thread::park_timeout(Duration::from_millis(5));
}

fn totp_request(device: &str, code: &str) -> TotpCodeRequest {
    TotpCodeRequest {
        device_id: device.to_owned(),
        code: code.to_owned(),
    }
}

#[track_caller]
fn assert_valid(schema: &Value, body: &Value) {
    let document = json!({ "$ref": schema["$ref"], "components": CONTRACT["components"] });
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&document)
        .expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(body)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:?}\n{body}");
}

#[track_caller]
pub(crate) fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is not a string"))
        .to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
