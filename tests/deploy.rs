//! The files in `deploy`: checked by the tools that read them, where these can be installed, and for flags and variables
//! that exist.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Home, Server, TEST_TIMEOUT, arklow, skip, text};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    let text = read(name);
    text.split("\n---\n")
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

#[test]
fn unit_is_valid_and_confined() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        skip("systemd-analyze is not installed (Debian: systemd)");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().expect("a folder");
    let unit = folder.path().join("arklow.service");
    // `verify` looks for the program.
    let binary = env!("CARGO_BIN_EXE_arklow");
    let installed = read("deploy/systemd/arklow.service").replace("/usr/bin/arklow", binary);
    std::fs::write(&unit, installed).expect("a file");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(&unit).output();
        let output = output.expect("systemd-analyze runs");
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said}");
        said
    };
    let verified = run(&["verify", "--man=no"]);
    assert!(!verified.contains("arklow.service:"), "{verified}");
    // From 0, confined, to 100, open; a unit without settings has 96.
    run(&["security", "--offline=yes", "--threshold=20"]);
}

#[test]
fn configuration_of_the_unit_is_one() {
    let checked = arklow()
        .args(["config", "check", "--config"])
        .arg(path("deploy/systemd/arklow.toml"))
        .output()
        .expect("the binary runs");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn systemd_is_told_when_the_server_is_ready_and_when_it_stops() {
    let home = Home::new();
    let socket = home.path().join("notify");
    let notified = UnixDatagram::bind(&socket).expect("a socket");
    notified
        .set_read_timeout(Some(TEST_TIMEOUT))
        .expect("a timeout");
    let next = || {
        let mut bytes = [0; 256];
        let count = notified.recv(&mut bytes).expect("a message");
        text(&bytes[..count]).trim().to_owned()
    };
    let mut serve = home.arklow();
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut server = Server::spawn(serve.env("NOTIFY_SOCKET", &socket));
    assert_eq!(next(), "READY=1");
    server.signal("TERM");
    assert_eq!(next(), "STOPPING=1");
    assert!(server.wait().success());
}

#[test]
fn healthcheck_tells_by_its_exit_code_whether_the_server_is_ready() {
    let home = Home::new();
    let check = |address: &str| {
        let output = home.output(&["healthcheck", "--internal-listen", address]);
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let (code, said) = check(&address);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("does not answer (--internal-listen)"),
        "{said}"
    );

    // As in a container: the server listens on every address.
    let everywhere = address.replace("127.0.0.1", "0.0.0.0");
    let _server = home.serve(&["--internal-listen", &everywhere]);
    let (code, said) = check(&everywhere);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("database     ok"), "{said}");
    std::fs::remove_file(home.key_file()).expect("removed");
    let (code, said) = check(&address);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("there is no key file") && said.contains("is not ready"),
        "{said}"
    );
}

#[test]
fn containers_use_flags_and_variables_that_exist() {
    for name in ["deploy/compose.yaml", "deploy/kubernetes.yaml"] {
        assert!(documents(name).iter().all(Value::is_object), "{name}");
    }
    let compose = &documents("deploy/compose.yaml")[0];
    assert_eq!(compose["services"]["arklow"]["cap_drop"][0], "ALL");
    let deployment = &documents("deploy/kubernetes.yaml")[0];
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let mut serve = arklow();
    let help = text(
        &serve
            .args(["serve", "--help"])
            .output()
            .expect("it runs")
            .stdout,
    );
    let flags = container["args"].as_array().expect("arguments");
    for flag in flags
        .iter()
        .filter_map(Value::as_str)
        .filter(|flag| flag.starts_with("--"))
    {
        assert!(help.contains(flag), "{flag}");
    }

    let all = [
        "deploy/compose.yaml",
        "deploy/kubernetes.yaml",
        "deploy/Dockerfile",
        "deploy/systemd/arklow.service",
    ]
    .map(read)
    .join("\n");
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let variables: BTreeSet<&str> = words.filter(|word| word.starts_with("ARKLOW_")).collect();
    assert!(variables.len() >= 5, "{variables:?}");
    // Of the build, for `arklow version`.
    for variable in variables
        .into_iter()
        .filter(|name| *name != "ARKLOW_COMMIT")
    {
        let name = variable.strip_suffix("_FILE").unwrap_or(variable);
        assert!(help.contains(&format!("[env: {name}")), "{variable}");
    }
}
