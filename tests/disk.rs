//! What `serve` and the commands leave of an SQLite file and its WAL: when they stop, when descriptors run
//! out, and when the WAL is taken away.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::harness::{Caller, Home, NO_LIMITS, REGENERATE, Server, TEST_TIMEOUT, pause, text};
use crate::throwaway::Raw;

fn wal(home: &Home) -> PathBuf {
    home.database().with_extension("db-wal")
}

/// How long the WAL is; 0 if there is none.
fn wal_length(home: &Home) -> u64 {
    wal(home).metadata().map_or(0, |wal| wal.len())
}

/// How many rows a table has in a copy of the database file without its WAL.
fn count_in_the_file_alone(home: &Home, table: &str) -> i64 {
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join("copy.db");
    std::fs::copy(home.database(), &copy).expect("a copy");
    Raw::open(&format!("sqlite:{}", copy.display())).count(table)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clean_stops_leave_no_wal_and_the_file_alone_has_every_change() {
    const CHANGES: u64 = 4;
    let home = Home::with_file();
    let ada = home.caller("ada");
    for stop in 1..=50 {
        let mut server = home.serve(NO_LIMITS);
        server.by(&ada).user().await;
        join_all((0..CHANGES).map(|_| regenerate(&server, &ada))).await;
        // In every other round reads go on while the server stops; in the others changes are the last.
        let reads = (0..stop % 2 * 4).map(|_| {
            let (client, url) = (reqwest::Client::new(), format!("{}/v1/self/", server.base));
            let token = ada.token.clone();
            tokio::spawn(async move {
                let read = || client.get(&url).header("x-arklow-auth", &token).send();
                while read().await.is_ok() {}
            })
        });
        let reads: Vec<_> = reads.collect();
        tokio::time::sleep(Duration::from_millis(stop % 2 * 20)).await;
        server.signal("TERM");
        assert!(server.wait().success(), "{}", server.printed());
        for read in reads {
            read.await.expect("reading ends with the server");
        }
        assert_eq!(wal_length(&home), 0, "stop {stop}: {}", server.printed());
        let kept = count_in_the_file_alone(&home, "audit WHERE event NOT LIKE 'mfa.admin.%'");
        let made = i64::try_from(CHANGES * stop).expect("few");
        assert_eq!(kept, made, "stop {stop}");
    }
}

/// A change that is answered with success.
async fn regenerate(server: &Server, caller: &Caller) {
    let answer = server.by(caller).regenerate().await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

/// A server that can have 64 descriptors.
fn serve_with_few_descriptors(home: &Home) -> Server {
    let binary = env!("CARGO_BIN_EXE_arklow");
    let script = format!("ulimit -n 64 && exec '{binary}' serve --listen 127.0.0.1:0 --limits off");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("ARKLOW_DATABASE_URL", home.url())
        .current_dir(home.path());
    Server::spawn(&mut command)
}

#[tokio::test]
async fn change_works_again_after_descriptors_ran_out() {
    let home = Home::with_file();
    let ada = home.caller("ada");
    let server = serve_with_few_descriptors(&home);
    let on_a_new_connection = || {
        let url = format!("{}{}", server.base, REGENERATE);
        let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
        let client = reqwest::Client::new();
        let request = client.post(url).header("x-arklow-auth", &ada.token);
        request
            .header("content-type", "application/json")
            .body(body)
            .send()
    };
    let before = on_a_new_connection().await.expect("an answer").status();
    assert_eq!(before, 200);
    let silent: Vec<TcpStream> = (0..100)
        .filter_map(|_| TcpStream::connect(server.address()).ok())
        .collect();
    assert!(silent.len() > 64, "{} connections", silent.len());
    for _ in 0..5 {
        // It takes the place of a silent one.
        let during = on_a_new_connection().await.expect("an answer").status();
        assert_eq!(during, 200, "a change needs no descriptor");
    }
    drop(silent);
    regenerate(&server, &ada).await;
}

#[tokio::test]
async fn server_whose_wal_was_deleted_answers_unknown_and_ends() {
    let home = Home::with_file();
    let ada = home.caller("ada");
    let mut server = home.serve(NO_LIMITS);
    regenerate(&server, &ada).await;
    std::fs::remove_file(wal(&home)).expect("there is a WAL");
    let answer = server.by(&ada).regenerate().await;
    answer.assert(503, "UNAVAILABLE");
    let message = &answer.messages()[0];
    assert!(message.contains("not known"), "{message}");
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "{}", server.printed());
    let printed = server.printed();
    for word in [
        "cannot use the database any more",
        "deleted",
        "arklow.db-wal",
    ] {
        assert!(printed.contains(word), "{printed}");
    }
    // A supervisor starts it again.
    let server = home.serve(NO_LIMITS);
    regenerate(&server, &ada).await;
}

#[test]
fn wal_stays_short_while_only_commands_write() {
    let home = Home::with_file();
    let user = home.user("ada");
    let _server = home.serve(&[]);
    for _ in 0..30 {
        home.session(&user, None);
    }
    // Each writes a few pages.
    assert!(wal_length(&home) < 100_000, "{} bytes", wal_length(&home));
}

#[test]
fn server_checkpoints_what_other_processes_wrote() {
    let home = Home::with_file();
    let _server = home.serve(&[]);
    let mut other = home.vandal();
    let size = || home.database().metadata().expect("the file").len();
    let before = size();
    other.run("CREATE TABLE blobs (data BLOB); INSERT INTO blobs VALUES (zeroblob(400000))");
    let started = Instant::now();
    while size() < before + 400_000 {
        assert!(started.elapsed() < TEST_TIMEOUT, "no checkpoint");
        pause();
    }
}

#[test]
fn command_leaves_no_wal() {
    let home = Home::with_file();
    home.user("ada");
    assert_eq!(wal_length(&home), 0);
    assert_eq!(count_in_the_file_alone(&home, "users"), 1);
    let listed = home.output(&["audit", "list"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert_eq!(wal_length(&home), 0);
}
