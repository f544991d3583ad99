//! PostgreSQL as it is deployed: behind pools, on several hosts, with standbys, and with hosts that do not answer. Each
//! test starts its own servers with `tests/throwaway-postgres`; they run in the PostgreSQL run of the suites.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Home, NO_LIMITS, Server, TEST_TIMEOUT, text};
use crate::postgres::{Cluster, MARGIN, had, script};

/// Without limits, and with fewer connections than a pool has.
const FEW: &[&str] = &["--limits", "off", "--database-connections", "4"];

/// The binary with the keys of this home and another database URL.
fn arklow_on(home: &Home, url: &str) -> Command {
    let mut command = home.arklow();
    command.env("ARKLOW_DATABASE_URL", url);
    command
}

fn output_on(home: &Home, url: &str, arguments: &[&str]) -> Output {
    let mut command = arklow_on(home, url);
    command.args(arguments).output().expect("the binary runs")
}

fn serve_on(home: &Home, url: &str, arguments: &[&str]) -> Server {
    Server::spawn(
        arklow_on(home, url)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments),
    )
}

/// The URL of the home's database, with these hosts.
fn with_hosts(cluster: &Cluster, home: &Home, hosts: &str) -> String {
    home.url()
        .replace(&format!("localhost:{}", cluster.port), hosts)
}

/// PgBouncer before a server.
struct Pool {
    folder: TempDir,
    address: String,
}

impl Pool {
    /// `None` if none is available.
    fn start(cluster: &Cluster, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let primary = cluster.folder.path().display().to_string();
        let arguments = [&[primary.as_str()][..], arguments].concat();
        let url = had(script("pool", folder.path(), &arguments))?;
        let (_, rest) = url.split_once('@').expect("a URL");
        let (address, _) = rest.split_once('/').expect("a URL");
        let address = address.to_owned();
        Some(Self { folder, address })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(script("drain", self.folder.path(), &[]));
    }
}

/// Passes bytes on to a server, and stops doing so for the connections that it has by then.
struct Proxy {
    address: SocketAddr,
    /// Connections with a smaller number are swallowed.
    swallowed: Arc<AtomicU64>,
    made: Arc<AtomicU64>,
}

impl Proxy {
    async fn start(port: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (swallowed, made) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (limit, count) = (Arc::clone(&swallowed), Arc::clone(&made));
        let server = format!("127.0.0.1:{port}");
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let Ok(upstream) = TcpStream::connect(&server).await else {
                    continue;
                };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                let (up, down) = (Arc::clone(&limit), Arc::clone(&limit));
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                        if number >= up.load(Ordering::SeqCst)
                            && to_server.write_all(&bytes[..count]).await.is_err()
                        {
                            break;
                        }
                    }
                });
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                        if number >= down.load(Ordering::SeqCst)
                            && to_client.write_all(&bytes[..count]).await.is_err()
                        {
                            break;
                        }
                    }
                });
            }
        });
        Self {
            address,
            swallowed,
            made,
        }
    }

    /// From now on the connections that there are are accepted and not answered; new ones work.
    fn swallow(&self) {
        let made = self.made.load(Ordering::SeqCst);
        self.swallowed.store(made, Ordering::SeqCst);
    }
}

/// A condition that comes to hold within a time.
async fn within<T>(time: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t38_pool_that_mixes_up_prepared_statements_is_refused_at_start() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let Some(pool) = Pool::start(&cluster, &["transaction"]) else {
        return;
    };
    let url = with_hosts(&cluster, &home, &pool.address);
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["migrate", "up"],
        &[
            "user",
            "create",
            "--name",
            "Ada",
            "--email",
            "ada@example.com",
        ],
    ] {
        let output = output_on(&home, &url, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("does not keep prepared statements apart")
                && said.contains("pool_mode = session")
                && said.contains("max_prepared_statements"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(home.vandal().count("users"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_of_sessions_holds_what_the_server_itself_holds() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let Some(pool) = Pool::start(&cluster, &["session"]) else {
        return;
    };
    let url = with_hosts(&cluster, &home, &pool.address);
    let ada = home.caller("ada");
    // Two servers: the prepared statements of one do not affect the other.
    let servers = [serve_on(&home, &url, FEW), serve_on(&home, &url, FEW)];
    let answers = join_all((0..40).map(|turn| servers[turn % 2].by(&ada).regenerate()));
    for answer in answers.await {
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    let output = output_on(&home, &url, &["migrate", "up"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Debian 12's version is for sessions only; a newer one separates prepared statements if configured.
    let modern = Pool::start(&cluster, &["transaction", "200"]).expect("as above");
    let url = with_hosts(&cluster, &home, &modern.address);
    let output = output_on(&home, &url, &["migrate", "up"]);
    let said = text(&output.stderr);
    if said.contains("max_prepared_statements") {
        println!("this PgBouncer is older than 1.21");
        return;
    }
    assert!(output.status.success(), "{said}");
    let servers = [serve_on(&home, &url, FEW), serve_on(&home, &url, FEW)];
    let answers = join_all((0..40).map(|turn| servers[turn % 2].by(&ada).regenerate()));
    for answer in answers.await {
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    let locks = "pg_locks WHERE locktype = 'advisory'";
    assert_eq!(cluster.raw().count(locks), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn t38_every_transaction_brings_its_settings_and_no_further_round_trip() {
    let settings = ["log_statement=all", "synchronous_commit=off"];
    let Some(cluster) = Cluster::with(&settings) else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    // Without the statements of the retention, which run at the same time as a request.
    let server = home.serve(&[
        "--limits",
        "off",
        "--database-connections",
        "1",
        "--retain-sessions",
        "off",
        "--retain-enrollments",
        "off",
        "--retain-messages",
        "off",
    ]);
    // Twice, for what is prepared once.
    for _ in 0..2 {
        server.by(&ada).regenerate().await.assert_ok();
    }
    // The durability that the change was made with, in a trigger.
    home.vandal().run(
        "CREATE TABLE seen (settings TEXT);
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO seen VALUES (concat_ws(' ', current_setting('synchronous_commit'),
                    current_setting('statement_timeout'), current_setting('lock_timeout'),
                    current_setting('idle_in_transaction_session_timeout'),
                    current_setting('transaction_isolation'))); RETURN NEW; END $$;
         CREATE TRIGGER look BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION look()",
    );
    let log = cluster.folder.path().join("log");
    let read = || std::fs::read_to_string(&log).expect("the server's log");
    let before = read().len();
    server.by(&ada).regenerate().await.assert_ok();
    let said = read().split_off(before);
    let seen = home.vandal().text("SELECT settings FROM seen");
    assert_eq!(seen, "on 10s 5s 10s read committed");
    let begin = said
        .lines()
        .find(|line| line.contains("statement: BEGIN"))
        .expect("a transaction");
    assert!(
        begin.contains("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout"),
        "{begin}"
    );
    // The session's query; BEGIN, five statements of the change, COMMIT.
    let trips = said
        .lines()
        .filter(|line| line.contains("execute ") || line.contains("statement: "))
        .count();
    assert!(trips <= 8, "{trips} round trips:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t39_connections_that_are_not_answered_are_given_up_and_do_not_delay_the_end() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let proxy = Proxy::start(&cluster.port).await;
    let url = with_hosts(&cluster, &home, &proxy.address.to_string());
    let ada = home.caller("ada");
    let mut server = serve_on(
        &home,
        &url,
        &[
            "--limits",
            "off",
            "--database-connections",
            "4",
            "--statement-timeout",
            "500ms",
            "--shutdown-grace",
            "1s",
        ],
    );
    let load = async || join_all((0..8).map(|_| server.by(&ada).regenerate())).await;
    for answer in load().await {
        assert_eq!(answer.status, 200, "{:?}", answer.body);
    }
    proxy.swallow();
    let swallowed = Instant::now();
    for answer in load().await {
        assert!([200, 503].contains(&answer.status), "{:?}", answer.body);
    }
    within(
        Duration::from_secs(5) + MARGIN,
        "requests work again",
        async || {
            let answers = load().await;
            answers
                .iter()
                .all(|answer| answer.status == 200)
                .then_some(())
        },
    )
    .await;
    println!("requests worked again after {:?}", swallowed.elapsed());

    proxy.swallow();
    let body = format!(r#"{{"device_id":"{}"}}"#, ada.device);
    let requests = (0..4).map(|_| server.post(&ada.token, body.clone()).send());
    let stopped = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.signal("TERM");
    };
    let stopping = Instant::now();
    // They are answered or cut off.
    let requests = tokio::time::timeout(Duration::from_secs(20), join_all(requests));
    drop(tokio::join!(requests, stopped));
    let status = server.wait();
    let took = stopping.elapsed();
    assert!(status.success(), "{}", server.printed());
    assert!(took < Duration::from_secs(3) + MARGIN, "{took:?}");
}

/// An address that refuses, one that accepts and says nothing, and one that does not even accept.
enum Dead {
    Refusing,
    Mute,
    Full,
}

/// Such an address, and what keeps it as it is.
async fn dead(kind: &Dead) -> (SocketAddr, Box<dyn std::any::Any>) {
    match kind {
        Dead::Refusing => {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            (free.local_addr().expect("an address"), Box::new(()))
        }
        Dead::Mute => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            (address, Box::new(listener))
        }
        Dead::Full => {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket
                .bind("127.0.0.1:0".parse().expect("an address"))
                .expect("a port");
            let listener = socket.listen(1).expect("it listens");
            let address = listener.local_addr().expect("an address");
            let mut waiting = Vec::new();
            // Until the kernel drops what it is sent.
            while let Ok(conn) =
                tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
            {
                waiting.push(conn);
                assert!(waiting.len() < 64, "the queue is never full");
            }
            (address, Box::new((listener, waiting)))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t39_host_that_does_not_answer_does_not_hide_the_next_one() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    for kind in [Dead::Refusing, Dead::Mute, Dead::Full] {
        let (address, kept) = dead(&kind).await;
        let url = with_hosts(
            &cluster,
            &home,
            &format!("{address},localhost:{}", cluster.port),
        );
        let server = serve_on(&home, &url, &["--connect-timeout", "8s", "--limits", "off"]);
        server.by(&ada).user().await.assert_ok();
        // Now it knows which one works, and begins with it.
        cluster.raw().run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'arklow'",
        );
        let started = Instant::now();
        let answer = server.by(&ada).regenerate().await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let took = started.elapsed();
        assert!(took < Duration::from_millis(3_500), "{took:?}");
        drop(kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_that_comes_first_is_passed_over_and_alone_changes_nothing() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    let standby = cluster.standby();
    let hosts = format!("localhost:{},localhost:{}", standby.port, cluster.port);
    let url = with_hosts(&cluster, &home, &hosts);
    let server = serve_on(&home, &url, &[]);
    server.by(&ada).regenerate().await.assert_ok();

    let alone = with_hosts(&cluster, &home, &format!("localhost:{}", standby.port));
    let create = [
        "user",
        "create",
        "--name",
        "Bob",
        "--email",
        "bob@example.com",
    ];
    let output = output_on(&home, &alone, &create);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("nothing was changed") && said.contains("read-only"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t40_codes_wait_for_the_operator_when_a_failover_lost_what_was_acknowledged() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    let standby = cluster.standby();
    let hosts = format!("localhost:{},localhost:{}", cluster.port, standby.port);
    let url = with_hosts(&cluster, &home, &hosts);
    let server = serve_on(&home, &url, NO_LIMITS);
    let codes = server.by(&ada).regenerate().await.backup_codes();

    // The standby has this, and nothing of what comes after.
    let position = cluster.raw().text("SELECT pg_current_wal_lsn()");
    let mut lagging = standby.raw();
    within(TEST_TIMEOUT, "the standby has it", async || {
        let query = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        (lagging.text(&query) == "true").then_some(())
    })
    .await;
    lagging.run("ALTER SYSTEM SET primary_conninfo = ''");
    lagging.run("SELECT pg_reload_conf()");
    within(TEST_TIMEOUT, "the standby is cut off", async || {
        (lagging.count("pg_stat_wal_receiver") == 0).then_some(())
    })
    .await;
    let used = server.by(&ada).redeem(&codes[0]).await;
    used.assert_valid();
    drop(lagging);
    cluster.crash();
    standby.promote();

    let moved = with_hosts(&cluster, &home, &format!("localhost:{}", standby.port));
    within(TEST_TIMEOUT, "reads work on the new primary", async || {
        (server.by(&ada).user().await.status == 200).then_some(())
    })
    .await;
    for _ in 0..3 {
        let again = server.by(&ada).redeem(&codes[0]).await;
        again.assert(503, "UNAVAILABLE");
        let totp = server.by(&ada).verify(&ada.app.code()).await;
        totp.assert(503, "UNAVAILABLE");
    }
    server.by(&ada).user().await.assert_ok();
    let printed = server.printed();
    assert!(
        printed.contains("acknowledged changes are gone") && printed.contains("arklow restored"),
        "{printed}"
    );

    let output = output_on(&home, &moved, &["restored"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = output_on(
        &home,
        &moved,
        &["session", "create", "--user", &ada.user, "--json"],
    );
    let session: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let token = session["token"].as_str().expect("a token");
    let answer = within(TEST_TIMEOUT, "codes are looked at again", async || {
        let answer = server.redeem(token, &ada.device, &codes[1]).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(!answer.is_valid(), "it is dead as all of its set");
}

#[tokio::test(flavor = "multi_thread")]
async fn t45_reads_go_on_while_commits_wait_for_a_standby() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let callers =
        ["ada", "bob", "cyd", "dan", "eve", "fay", "gil", "hal"].map(|name| home.caller(name));
    let ada = &callers[0];
    let server = home.serve(&[
        "--limits",
        "off",
        "--database-connections",
        "8",
        "--statement-timeout",
        "1s",
        "--request-deadline",
        "5s",
    ]);
    server.by(ada).regenerate().await.assert_ok();
    let mut raw = cluster.raw();
    raw.run("ALTER SYSTEM SET synchronous_standby_names = 'missing'");
    raw.run("SELECT pg_reload_conf()");
    let mut slowest = Duration::ZERO;
    let mut unknown = 0;
    let until = Instant::now() + Duration::from_secs(8);
    while Instant::now() < until {
        let writes = join_all((0..40).map(|turn| {
            let caller = &callers[turn % callers.len()];
            server.by(caller).regenerate()
        }));
        let reads = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..10 {
                let started = Instant::now();
                server.by(ada).user().await.assert_ok();
                slowest = slowest.max(started.elapsed());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            slowest
        };
        let (answers, took) = tokio::join!(writes, reads);
        slowest = slowest.max(took);
        for answer in answers {
            assert_eq!(answer.status, 503, "{:?}", answer.body);
            unknown += usize::from(answer.messages()[0].contains("is not known"));
        }
    }
    println!("slowest read {slowest:?}, {unknown} changes of which it is not known");
    assert!(slowest < Duration::from_secs(4) + MARGIN, "{slowest:?}");
    assert!(unknown > 0, "no change was committed");
    // Those that were given up are still there, and there are no more than could write at once.
    let stuck = raw.count("pg_stat_activity WHERE wait_event = 'SyncRep'");
    assert!((1..=7).contains(&stuck), "{stuck} commits wait");

    // A command does not wait forever either, and does not claim that nothing was changed.
    let started = Instant::now();
    let create = [
        "user",
        "create",
        "--name",
        "Ivy",
        "--email",
        "ivy@example.com",
    ];
    let output = home.output(&create);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("whether anything was changed is not known"),
        "{said}"
    );
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15) + MARGIN, "{took:?}");

    raw.run("ALTER SYSTEM SET synchronous_standby_names = ''");
    raw.run("SELECT pg_reload_conf()");
    within(
        Duration::from_secs(15) + MARGIN,
        "changes are made again",
        async || (server.by(ada).regenerate().await.status == 200).then_some(()),
    )
    .await;
}
