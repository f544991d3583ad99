//! `cargo xtask sdk`: that the TypeScript package is the contract's, what the command says, and the package's own tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::{Ended, repository, run, skip, xtask};

const DERIVED: [&str; 3] = [
    "sdk/typescript/src/schema.ts",
    "sdk/typescript/package.json",
    "sdk/typescript/package-lock.json",
];

#[test]
fn typescript_package_is_that_of_the_contract() {
    if let Some(ended) = with_node(&["sdk", "--check"]) {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn typescript_package_passes_its_tests() {
    if let Some(ended) = with_node(&["sdk", "--test"]) {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn check_lists_what_of_the_package_is_stale_and_writes_nothing() {
    let copy = TempDir::new().expect("a folder");
    for path in DERIVED.iter().chain(&["openapi.yaml"]) {
        let to = copy.path().join(path);
        fs::create_dir_all(to.parent().expect("a folder")).expect("the folder can be made");
        fs::copy(repository().join(path), to).expect("the file can be copied");
    }
    let read = |path: &str| fs::read_to_string(copy.path().join(path)).expect("a text");
    let root = copy.path().to_str().expect("a path of text");
    let Some(clean) = with_node(&["sdk", "--check", "--root", root]) else {
        return;
    };
    assert_eq!(clean.code, Some(0), "{}", clean.stderr);

    let contract = read("openapi.yaml")
        .replace("version: 0.1.0", "version: 0.2.0")
        .replace(
            "      x-error-codes:\n        - MFA_REQUIRED\n",
            "      x-error-codes:\n        - MFA_REQUIRED\n        - TOO_MANY_DEVICES\n",
        );
    fs::write(copy.path().join("openapi.yaml"), contract).expect("the contract can be written");
    let before = DERIVED.map(read);
    let stale = xtask(copy.path(), ["sdk", "--check", "--root", root]);
    assert_eq!(stale.code, Some(1));
    for path in DERIVED {
        assert!(stale.stderr.contains(path), "{}", stale.stderr);
    }
    assert!(stale.stderr.contains("cargo xtask sdk"), "{}", stale.stderr);
    assert_eq!(DERIVED.map(read), before);

    let written = xtask(copy.path(), ["sdk", "--root", root]);
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let [types, manifest, _] = DERIVED.map(read);
    assert!(
        types.contains(r#"ErrorAnswer<"MFA_REQUIRED" | "TOO_MANY_DEVICES">"#),
        "the codes of a response are its type"
    );
    assert!(manifest.contains(r#""version": "0.2.0""#), "{manifest}");
    let clean = xtask(copy.path(), ["sdk", "--check", "--root", root]);
    assert_eq!(clean.code, Some(0), "{}", clean.stderr);
}

#[test]
fn without_node_the_command_says_what_to_install() {
    let path = TempDir::new().expect("a folder");
    let on_path = |path: &Path| {
        run(Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["sdk", "--check"])
            .env("PATH", path))
    };
    let ended = on_path(path.path());
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("Node 20 or newer is needed")
            && ended.stderr.contains("there is no `node`")
            && ended.stderr.contains("Install"),
        "{}",
        ended.stderr
    );

    let node = path.path().join("node");
    fs::write(&node, "#!/bin/sh\necho v18.19.0\n").expect("a script");
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755)).expect("its mode");
    let ended = on_path(path.path());
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("`node` is v18.19.0"),
        "{}",
        ended.stderr
    );
}

/// How a task ended that needs Node and its packages; nothing on a machine without them, unless it is CI's.
pub(crate) fn with_node(arguments: &[&str]) -> Option<Ended> {
    // One builds the package that another is about to read.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = xtask(&repository(), arguments);
    let is_missing = ended.stderr.contains("Node 20 or newer is needed")
        || ended.stderr.contains("`npm ci` failed");
    if is_missing {
        skip(&format!(
            "cargo xtask {}: {}",
            arguments.join(" "),
            ended.stderr.trim_end()
        ));
        return None;
    }
    Some(ended)
}
