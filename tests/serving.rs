//! Starting and stopping: what `serve` makes, what it refuses, how it drains, and `dev`.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Answer, Home, REGENERATE, Server, arklow, string, text};

/// Waits for the process and gives its exit code and all that it said; it must not serve.
#[track_caller]
fn refusal(home: &Home, arguments: &[&str]) -> String {
    let output = home.output(arguments);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

#[test]
fn serve_makes_a_database_and_a_key_file_and_says_so() {
    let home = Home::on_sqlite();
    let server = home.serve(&[]);
    let said = server.printed();
    assert!(said.contains("arklow.db.keys"), "{said}");
    for file in ["arklow.db", "arklow.db.keys"] {
        let mode = home
            .path()
            .join(file)
            .metadata()
            .expect("the file is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    drop(server);
    let again = home.serve(&[]);
    assert!(
        !again.printed().contains("created the key file"),
        "{}",
        again.printed()
    );
}

#[test]
fn environment_says_what_flags_say() {
    let home = Home::on_sqlite();
    let folder = home.path().to_string_lossy().into_owned();
    let server = Server::spawn(
        arklow()
            .arg("serve")
            .env("ARKLOW_LISTEN", "127.0.0.1:0")
            .env("ARKLOW_DATABASE_URL", format!("sqlite:{folder}/other.db"))
            .env("ARKLOW_KEYS", format!("{folder}/other.keys")),
    );
    drop(server);
    assert!(home.path().join("other.db").exists() && home.path().join("other.keys").exists());
}

#[test]
fn wrong_or_missing_keys_are_refused_and_never_replaced() {
    let home = Home::new();
    drop(home.serve(&[]));
    let file = home.path().join("arklow.db.keys");
    let keys = std::fs::read_to_string(&file).expect("the key file");

    std::fs::remove_file(&file).expect("the file can be removed");
    let said = refusal(&home, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("arklow.db.keys") && !file.exists(), "{said}");

    let stranger = Home::new();
    drop(stranger.serve(&[]));
    std::fs::copy(stranger.path().join("arklow.db.keys"), &file).expect("a copy");
    let said = refusal(&home, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("key"), "{said}");

    std::fs::write(&file, "not a key file").expect("the file can be written");
    refusal(&home, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(
        std::fs::read_to_string(&file).expect("the file"),
        "not a key file"
    );

    std::fs::write(&file, keys).expect("the file can be written");
    drop(home.serve(&[]));
}

#[test]
fn databases_that_are_not_ours_are_refused() {
    let corrupt = Home::on_sqlite();
    std::fs::write(
        corrupt.database(),
        "this is no database, and long enough to be read as one. ".repeat(100),
    )
    .expect("a file");
    assert!(refusal(&corrupt, &["serve"]).contains("not an SQLite database"));

    let foreign = Home::on_sqlite();
    foreign.vandal().run("CREATE TABLE theirs (id INTEGER)");
    assert!(refusal(&foreign, &["serve"]).contains("another program"));
    assert_eq!(foreign.vandal().count("theirs"), 0, "it is as it was");

    let newer = Home::on_sqlite();
    drop(newer.serve(&[]));
    newer
        .vandal()
        .run("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    assert!(refusal(&newer, &["serve"]).contains("newer version"));

    let nowhere = Home::on_sqlite();
    let url = format!("sqlite:{}/missing/arklow.db", nowhere.path().display());
    assert!(refusal(&nowhere, &["serve", "--database-url", &url]).contains("does not exist"));
}

#[test]
fn address_in_use_is_refused() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let said = refusal(&home, &["serve", "--listen", &address]);
    assert!(
        said.contains(&address) && said.contains("--listen"),
        "{said}"
    );
}

#[test]
fn signals_stop_the_server_with_exit_code_0() {
    let home = Home::new();
    for signal in ["TERM", "INT"] {
        let mut server = home.serve(&[]);
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn hangup_reloads_nothing_and_stops_nothing() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut server = home.serve(&["--log-format", "json"]);
    for _ in 0..2 {
        server.signal("HUP");
    }
    while !server.printed().contains("SIGHUP: nothing to reload") {
        server.by(&ada).user().await.assert_ok();
    }
    server.by(&ada).user().await.assert_ok();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

/// Closing a terminal sends it.
#[test]
fn hangup_ends_dev_and_mock_which_clean_up() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in ["dev", "mock"] {
        let mut server = Server::spawn(
            arklow()
                .args([command, "--listen", "127.0.0.1:0"])
                .env("TMPDIR", folder.path()),
        );
        server.signal("HUP");
        assert_eq!(
            server.wait().code(),
            Some(0),
            "{command}: {}",
            server.printed()
        );
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .collect();
        assert!(left.is_empty(), "{command} left {left:?}");
    }
}

#[tokio::test]
async fn running_request_is_answered_before_the_end() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut server = home.serve(&["--busy-timeout", "20s"]);
    let mut vandal = home.vandal();
    vandal.lock();
    let request = server.post(&ada.token, format!(r#"{{"device_id":"{}"}}"#, ada.device));
    let answer = tokio::spawn(Answer::to(request));
    // The request is in the server once it waits for the lock; the log has no line of that, so it gets a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.signal("TERM");
    tokio::time::sleep(Duration::from_millis(100)).await;
    vandal.run("ROLLBACK");
    assert_eq!(answer.await.expect("an answer").backup_codes().len(), 10);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn clients_that_do_not_finish_hold_up_the_end_only_for_so_long() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut server = home.serve(&["--shutdown-grace", "500ms", "--body-timeout", "60s"]);
    let mut stuck = TcpStream::connect(server.address()).expect("the server accepts");
    let head = format!(
        "POST {REGENERATE} HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        ada.token
    );
    stuck.write_all(head.as_bytes()).expect("the server reads");
    let idle = TcpStream::connect(server.address()).expect("the server accepts");
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    drop(idle);
}

#[tokio::test]
async fn dev_gives_all_that_a_first_request_needs() {
    let mut dev = Server::spawn(arklow().args(["dev", "--listen", "127.0.0.1:0", "--json"]));
    let line = loop {
        let printed = dev.printed();
        if let Some(line) = printed
            .lines()
            .find(|line| line.starts_with('{') && line.contains("\"token\""))
        {
            break line.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let demo: Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(string(&demo["url"]), dev.base);
    let answer = dev
        .regenerate(&string(&demo["token"]), &string(&demo["device_id"]))
        .await;
    assert_eq!(answer.backup_codes().len(), 10);
    assert!(dev.printed().contains("DEVELOPMENT"), "{}", dev.printed());
    let database = string(&demo["database_url"]);
    assert!(
        dev.printed()
            .contains(&format!("--database-url {database}"))
    );
    let database = database.strip_prefix("sqlite:").expect("a file");
    let database = std::path::Path::new(database);
    assert!(database.exists());

    // The URI is all that an authenticator app needs.
    let uri = string(&demo["provisioning_uri"]);
    let output = arklow()
        .args(["dev", "code", &uri])
        .output()
        .expect("the binary runs");
    let code = text(&output.stdout);
    let verified = dev
        .verify(
            &string(&demo["token"]),
            &string(&demo["device_id"]),
            code.trim(),
        )
        .await;
    assert!(verified.is_valid(), "{code}");
    let output = arklow()
        .args(["dev", "code", "otpauth://totp/x?secret=hunter2"])
        .output()
        .expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    dev.signal("INT");
    assert_eq!(dev.wait().code(), Some(0));
    assert!(!database.exists(), "nothing is left behind");
}

#[test]
fn dev_prints_requests_that_step_up() {
    let dev = Server::spawn(arklow().args(["dev", "--listen", "127.0.0.1:0"]));
    let lines = loop {
        let printed = dev.printed();
        let lines = printed.lines().filter(|line| line.starts_with("curl "));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        if lines.len() == 2 {
            break lines;
        }
        crate::harness::pause();
    };
    if std::process::Command::new("curl")
        .arg("--version")
        .output()
        .is_err()
    {
        assert!(std::env::var_os("CI").is_none(), "CI has curl");
        eprintln!("skipped: curl is not installed");
        return;
    }
    let output = std::process::Command::new("sh")
        .args(["-c", &lines[1]])
        .output()
        .expect("sh runs");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(answer["data"]["valid"], true, "{answer}");
}

#[test]
fn dev_serves_this_machine_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let output = arklow()
            .args(["dev", "--listen", address])
            .output()
            .expect("the binary runs");
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains("loopback") && said.contains(address),
            "{said}"
        );
    }
}
