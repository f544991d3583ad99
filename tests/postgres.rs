//! Events of a database server: it goes away and comes back, is full, requires TLS. Each test starts its own server with
//! `tests/throwaway-postgres`; they run in the PostgreSQL run of the suites.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arklow_domain::BackupCode;
use arklow_store::AuditFilter;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::harness::{Caller, Home, NO_LIMITS, Server, TEST_TIMEOUT, arklow, skip, text};
use crate::throwaway::{Raw, on_postgres};

/// How much longer than its time limit a program may take on a slow machine.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// A private server.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    /// The password, and the port.
    pub(crate) secret: String,
    pub(crate) port: String,
}

impl Cluster {
    /// `None` in the SQLite run, or if no PostgreSQL is installed.
    pub(crate) fn start() -> Option<Self> {
        Self::with(&[])
    }

    /// With these settings.
    pub(crate) fn with(settings: &[&str]) -> Option<Self> {
        if !on_postgres() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        let settings = [&["fsync=off"][..], settings].concat();
        let url = had(script("start", folder.path(), &settings))?;
        Some(Self::of(folder, &url))
    }

    /// A standby, which streams from this one.
    pub(crate) fn standby(&self) -> Self {
        // The primary's folder is its user's, and so is this one.
        let folder = tempfile::tempdir().expect("a folder can be made");
        let primary = self.folder.path().display().to_string();
        let url = script("standby", folder.path(), &[&primary]).expect("a standby");
        Self::of(folder, &url)
    }

    fn of(folder: TempDir, url: &str) -> Self {
        let (secret, port) = url
            .trim()
            .strip_prefix("postgres://arklow:")
            .and_then(|rest| rest.strip_suffix("/postgres"))
            .and_then(|rest| rest.split_once("@localhost:"))
            .expect("a URL");
        Self {
            folder,
            secret: secret.to_owned(),
            port: port.to_owned(),
        }
    }

    pub(crate) fn url(&self, host: &str, name: &str, parameters: &str) -> String {
        let Self { secret, port, .. } = self;
        format!("postgres://arklow:{secret}@{host}:{port}/{name}?{parameters}")
    }

    pub(crate) fn home(&self) -> Home {
        Home::on_server(&self.url("localhost", "postgres", "sslmode=disable"))
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::open(&self.url("localhost", "postgres", "sslmode=disable"))
    }

    /// Fails like a machine: without closing connections, and without a last write.
    pub(crate) fn crash(&self) {
        script("stop", self.folder.path(), &["immediate"]).expect("it stops");
    }

    pub(crate) fn promote(&self) {
        script("promote", self.folder.path(), &[]).expect("it becomes a primary");
    }

    fn again(&self) {
        script("again", self.folder.path(), &[]).expect("it starts again");
    }

    /// Sends a signal to all its processes.
    fn signal(&self, name: &str) {
        let file = self.folder.path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("it runs");
        let first = text.lines().next().expect("its number").to_owned();
        let children = Command::new("pgrep").args(["--parent", &first]).output();
        let children = children.expect("pgrep runs").stdout;
        let children = String::from_utf8(children).expect("numbers");
        let status = Command::new("kill")
            .args([&format!("-{name}"), &first])
            .args(children.split_whitespace())
            .status();
        status.expect("kill runs");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(script("stop", self.folder.path(), &["immediate"]));
    }
}

/// What a script printed; `None`, and a failure in CI, if what it needs is not installed.
pub(crate) fn had(output: Result<String, String>) -> Option<String> {
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&error);
            None
        }
    }
}

pub(crate) fn script(command: &str, folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/throwaway-postgres"
    );
    let output = Command::new(script)
        .arg(command)
        .arg(folder)
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// What a caller knows of its device while the server comes and goes.
struct Known {
    caller: Caller,
    /// The sets that were answered, in order.
    sets: Vec<Vec<String>>,
    /// How many requests had no set as their answer: they may have made one all the same.
    unknown: usize,
    /// How many of these came after the last set.
    unknown_since: usize,
}

impl Known {
    fn new(caller: Caller) -> Self {
        Self {
            caller,
            sets: Vec::new(),
            unknown: 0,
            unknown_since: 0,
        }
    }

    /// Regenerates until `stop` is set. An answer is a set of codes or 503 with a time to come back.
    async fn regenerate(&mut self, servers: &[Server], first: usize, stop: &AtomicBool) {
        let mut turn = first;
        while !stop.load(Ordering::SeqCst) {
            let server = &servers[turn % servers.len()];
            turn += 1;
            let answer = server
                .regenerate(&self.caller.token, &self.caller.device)
                .await;
            if answer.status == 200 {
                self.sets.push(answer.backup_codes());
                self.unknown_since = 0;
            } else {
                assert_eq!(answer.status, 503, "{:?}", answer.body);
                assert!(answer.headers.contains_key("retry-after"));
                self.unknown += 1;
                self.unknown_since += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Checks that the database has every acknowledged change and no other.
    async fn check(&self, home: &Home) {
        let (store, keyring) = (home.store().await, home.keyring());
        let device = self.caller.device.parse().expect("an id");
        let user = self.caller.user_id();
        let set = store.backup_code_set(user, device).await;
        let set = set.expect("an answer").expect("a set");
        let filter = AuditFilter {
            device_id: Some(device),
            ..AuditFilter::default()
        };
        let records = store.audit_records(filter).await.expect("records");
        store.close().await;

        let generations: Vec<i64> = records.iter().filter_map(|r| r.generation).collect();
        assert_eq!(generations, (1..=set.generation).collect::<Vec<_>>());
        let (generation, known) = (generations.len(), self.sets.len());
        assert!(
            (known..=known + self.unknown).contains(&generation),
            "{known} sets were answered, {} requests were not, {generation} sets were made",
            self.unknown
        );
        let last = self.sets.last().expect("one at least");
        let slots = last.iter().filter_map(|code| {
            let code = BackupCode::parse(code).expect("a code");
            let slot = set.slot_of(&keyring, user, device, &code);
            slot.expect("the set opens").map(|slot| slot.bit())
        });
        let matching = slots.collect::<BTreeSet<u16>>().len();
        match self.unknown_since {
            0 => assert_eq!(matching, 10, "the last set that was answered"),
            _ => assert!(
                matching == 10 || matching == 0,
                "a set is there whole or not at all"
            ),
        }
    }
}

/// Regenerates on two servers while `trouble` happens, then sees that all is well.
async fn through(cluster: &Cluster, what: &str, trouble: impl AsyncFnOnce(&Cluster)) {
    let home = cluster.home();
    let servers = [home.serve(NO_LIMITS), home.serve(NO_LIMITS)];
    let mut known: Vec<Known> = ["ada", "bob", "cyd", "dan", "eve", "fay"]
        .map(|name| Known::new(home.caller(name)))
        .into();
    let stop = AtomicBool::new(false);
    let load = known
        .iter_mut()
        .enumerate()
        .map(|(first, known)| known.regenerate(&servers, first, &stop));
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        trouble(cluster).await;
        // Without a restart of ours.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all(load), trouble);

    let (mut sets, mut unknown) = (0, 0);
    for known in &mut known {
        let server = &servers[0];
        let answer = server
            .regenerate(&known.caller.token, &known.caller.device)
            .await;
        known.sets.push(answer.backup_codes());
        known.unknown_since = 0;
        known.check(&home).await;
        sets += known.sets.len();
        unknown += known.unknown;
    }
    println!("{what}: {sets} sets were answered and none is lost; {unknown} times 503");
    assert!(unknown > 0, "nobody noticed anything");
    for server in &servers {
        let printed = server.printed();
        assert!(
            !printed.contains(&cluster.secret),
            "the password is printed"
        );
        assert!(!printed.contains("\"ERROR\""), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_connections_that_are_killed_under_load_lose_nothing() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    through(&cluster, "connections killed", async |cluster| {
        let mut raw = cluster.raw();
        for _ in 0..20 {
            raw.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE application_name = 'arklow'",
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_server_that_crashes_and_restarts_under_load_loses_nothing() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    through(&cluster, "server crashed three times", async |cluster| {
        for _ in 0..3 {
            cluster.crash();
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.again();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_does_not_answer_is_waited_for_only_so_long() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    let server = home.serve(&["--request-deadline", "500ms"]);
    server.by(&ada).user().await.assert_ok();
    cluster.signal("STOP");
    let started = Instant::now();
    let answers = join_all((0..40).map(|_| server.by(&ada).regenerate())).await;
    let waited = started.elapsed();
    cluster.signal("CONT");
    for answer in answers {
        answer.assert(503, "DEADLINE_EXCEEDED");
    }
    assert!(waited < Duration::from_millis(500) + MARGIN, "{waited:?}");
    let deadline = Instant::now() + TEST_TIMEOUT;
    while server.by(&ada).user().await.status != 200 {
        assert!(Instant::now() < deadline, "it has not recovered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_that_takes_too_long_is_given_up() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    let server = home.serve(&["--statement-timeout", "300ms"]);
    let mut vandal = home.vandal();
    let slow = vandal.slow();
    vandal.run(&format!(
        "DROP TABLE memberships; CREATE VIEW memberships AS
         SELECT id AS user_id, 1::BIGINT AS org_id, ''::TEXT AS permissions FROM users WHERE {slow}"
    ));
    let started = Instant::now();
    server.by(&ada).user().await.assert(503, "UNAVAILABLE");
    let waited = started.elapsed();
    assert!(waited < Duration::from_millis(300) + MARGIN, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_that_is_full_is_waited_for_only_so_long() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.caller("ada");
    let server = home.serve(&[
        "--database-connections",
        "1",
        "--busy-timeout",
        "300ms",
        "--limits",
        "off",
    ]);
    let mut vandal = home.vandal();
    vandal.lock();
    let started = Instant::now();
    let answers = join_all((0..8).map(|_| server.by(&ada).regenerate())).await;
    let waited = started.elapsed();
    for answer in &answers {
        answer.assert(503, "UNAVAILABLE");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(waited < Duration::from_millis(600) + MARGIN, "{waited:?}");
    vandal.run("ROLLBACK");
    server.by(&ada).regenerate().await.assert_ok();
}

#[test]
fn server_that_cannot_be_reached_is_said_so() {
    if !on_postgres() {
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let url = format!("postgres://ada:hunter2@{address}/arklow");
    let output = arklow()
        .args(["migrate", "status", "--database-url", &url])
        .output()
        .expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot be reached") && said.contains("refused"),
        "{said}"
    );
    assert!(
        said.contains("--database-url") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn wrong_password_is_refused_and_not_shown() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let url = format!(
        "postgres://arklow:hunter2@localhost:{}/postgres",
        cluster.port
    );
    let output = arklow()
        .args(["migrate", "status"])
        .env("ARKLOW_DATABASE_URL", url)
        .output()
        .expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(
        said.contains("refused the connection") && !said.contains("cannot be reached"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn database_that_does_not_exist_is_a_refusal() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let output = arklow()
        .args(["migrate", "status"])
        .env(
            "ARKLOW_DATABASE_URL",
            cluster.url("localhost", "missing", ""),
        )
        .output()
        .expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("refused the connection") && said.contains("\"missing\" does not exist"),
        "{said}"
    );
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let status = |host: &str, parameters: &str| {
        let output = arklow()
            .args(["migrate", "status"])
            .env(
                "ARKLOW_DATABASE_URL",
                cluster.url(host, "postgres", parameters),
            )
            .output()
            .expect("the binary runs");
        (
            matches!(output.status.code(), Some(0 | 3)),
            text(&output.stderr),
        )
    };
    let authority = cluster.folder.path().join("ca.pem").display().to_string();
    let verify = format!(
        "sslmode=verify-full&sslrootcert={}",
        authority.replace('/', "%2F")
    );
    for (host, parameters) in [
        ("localhost", "sslmode=disable"),
        ("localhost", "sslmode=prefer"),
        ("127.0.0.1", "sslmode=require"),
        ("localhost", verify.as_str()),
        ("localhost", ""),
    ] {
        let (done, said) = status(host, parameters);
        assert!(done, "{host} {parameters}: {said}");
    }
    // A name that is not in the certificate, and an unknown authority.
    for (host, parameters) in [
        ("127.0.0.1", verify.as_str()),
        ("localhost", "sslmode=verify-full"),
    ] {
        let (done, said) = status(host, parameters);
        assert!(
            !done && said.contains("certificate"),
            "{host} {parameters}: {said}"
        );
        assert!(!said.contains(&cluster.secret), "{said}");
    }
    let (done, said) = status(
        "localhost",
        "sslmode=verify-full&sslrootcert=%2Fmissing.pem",
    );
    assert!(!done && said.contains("/missing.pem"), "{said}");

    // A server that takes nothing but TLS, and one that has none.
    let mut raw = cluster.raw();
    raw.run("COPY (SELECT 'hostssl all all all scram-sha-256') TO PROGRAM 'cat > pg_hba.conf'");
    raw.run("SELECT pg_reload_conf()");
    drop(raw);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while status("localhost", "sslmode=disable").0 {
        assert!(
            Instant::now() < deadline,
            "it still takes connections without TLS"
        );
    }
    assert!(status("localhost", "sslmode=prefer").0);
    assert!(status("localhost", &verify).0);
    let mut raw = Raw::try_open(&cluster.url("localhost", "postgres", "sslmode=disable"));
    assert!(
        raw.as_mut().is_err(),
        "the server accepts no connection without TLS"
    );
}

#[test]
fn encryption_is_not_optional_unless_it_is_said_to_be() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let mut raw = cluster.raw();
    raw.run("ALTER SYSTEM SET ssl = off");
    raw.run("SELECT pg_reload_conf()");
    drop(raw);
    let status = |parameters: &str| {
        let output = arklow()
            .args(["migrate", "status"])
            .env(
                "ARKLOW_DATABASE_URL",
                cluster.url("localhost", "postgres", parameters),
            )
            .output()
            .expect("the binary runs");
        // 3: it was read that changes are pending.
        matches!(output.status.code(), Some(0 | 3))
    };
    let deadline = Instant::now() + TEST_TIMEOUT;
    while status("sslmode=require") {
        assert!(Instant::now() < deadline, "the server still has TLS");
    }
    assert!(status("sslmode=prefer") && status("sslmode=disable"));
    assert!(!status("sslmode=verify-full"));
}

#[test]
fn migrations_from_everywhere_at_once_are_made_once() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    cluster.raw().run("CREATE DATABASE fresh");
    let command = |arguments: &[&str]| {
        let mut command = arklow();
        command.args(arguments).env(
            "ARKLOW_DATABASE_URL",
            cluster.url("localhost", "fresh", "sslmode=disable"),
        );
        command
    };
    let refused = command(&["serve", "--keys", "missing"])
        .output()
        .expect("the binary runs");
    let said = text(&refused.stderr);
    assert!(
        said.contains("pending") && said.contains("arklow migrate up"),
        "{said}"
    );
    let status = command(&["migrate", "status", "--json"])
        .output()
        .expect("the binary runs");
    assert_eq!(status.status.code(), Some(3));
    assert!(
        text(&status.stdout).contains("\"applied\":[]"),
        "looking changes nothing"
    );

    let running: Vec<_> = (0..8)
        .map(|_| {
            let mut up = command(&["migrate", "up"]);
            up.stdout(std::process::Stdio::piped());
            up.stderr(std::process::Stdio::piped());
            up.spawn().expect("the binary runs")
        })
        .collect();
    let outputs = running
        .into_iter()
        .map(|up| up.wait_with_output().expect("it ends"));
    let made = outputs.filter(|output| {
        assert!(output.status.success(), "{}", text(&output.stderr));
        !output.stdout.is_empty()
    });
    assert_eq!(made.count(), 1);

    let mut fresh = Raw::open(&cluster.url("localhost", "fresh", "sslmode=disable"));
    fresh.run("INSERT INTO __diesel_schema_migrations (version) VALUES ('29990101000000')");
    for arguments in [&["serve", "--keys", "missing"][..], &["migrate", "up"]] {
        let refused = command(arguments).output().expect("the binary runs");
        assert!(!refused.status.success());
        let said = text(&refused.stderr);
        assert!(
            said.contains("newer version") && said.contains("29990101000000"),
            "{said}"
        );
    }

    cluster.raw().run("CREATE DATABASE theirs");
    let url = cluster.url("localhost", "theirs", "sslmode=disable");
    Raw::open(&url).run("CREATE TABLE users (id INTEGER)");
    let mut up = command(&["migrate", "up"]);
    let refused = up
        .env("ARKLOW_DATABASE_URL", &url)
        .output()
        .expect("the binary runs");
    let said = text(&refused.stderr);
    assert!(said.contains("another program"), "{said}");
    assert_eq!(
        Raw::open(&url).count("pg_tables WHERE schemaname = 'public'"),
        1
    );
}

#[test]
fn servers_need_the_same_key_file_and_never_make_one() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let keys = home.path().join("elsewhere.keys");
    let named = keys.display().to_string();
    let refused = home.output(&["serve", "--listen", "127.0.0.1:0", "--keys", &named]);
    let said = text(&refused.stderr);
    assert!(
        said.contains("there is no key file") && said.contains("keys generate"),
        "{said}"
    );
    assert!(!keys.exists());
    let mut unnamed = home.arklow();
    unnamed
        .env_remove("ARKLOW_KEYS")
        .args(["serve", "--listen", "127.0.0.1:0"]);
    let said = text(&unnamed.output().expect("the binary runs").stderr);
    assert!(
        said.contains("--keys") && said.contains("keys generate"),
        "{said}"
    );

    // Several start at once, with the same file.
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| home.serve(&[]))).collect();
        starting
            .into_iter()
            .map(|server| server.join().expect("it starts"))
            .collect()
    });
    drop(servers);
    home.run(&["keys", "generate", "--out", &named]);
    let refused = home.output(&["serve", "--listen", "127.0.0.1:0", "--keys", &named]);
    let said = text(&refused.stderr);
    assert!(said.contains("does not hold key"), "{said}");
}

#[test]
fn commits_are_durable_whatever_the_database_is_set_to() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let home = cluster.home();
    let ada = home.user("ada");
    let mut vandal = home.vandal();
    let name = vandal.text("SELECT current_database()");
    vandal.run(&format!(
        "ALTER DATABASE {name} SET synchronous_commit = off;
         CREATE TABLE seen (setting TEXT);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit'));
                RETURN NEW; END $$;
         CREATE TRIGGER see BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION see()"
    ));
    home.run(&["user", "unlock", &ada]);
    assert_eq!(vandal.texts("SELECT setting FROM seen"), ["on"]);
    // One that is safer than that stays.
    vandal.run(&format!(
        "ALTER DATABASE {name} SET synchronous_commit = remote_apply; TRUNCATE seen"
    ));
    home.run(&["user", "unlock", &ada]);
    assert_eq!(vandal.texts("SELECT setting FROM seen"), ["remote_apply"]);
}

#[test]
fn commands_have_none_of_the_limits_of_a_server() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    // What the session of each statement is bounded by, in milliseconds; locks are bounded still.
    let watch = |home: &Home, table: &str| {
        home.vandal().run(&format!(
            "CREATE TABLE IF NOT EXISTS seen (setting TEXT);
             CREATE OR REPLACE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO seen VALUES (current_setting('statement_timeout') || ' '
                    || current_setting('idle_in_transaction_session_timeout') || ' '
                    || current_setting('lock_timeout')); RETURN NULL; END $$;
             CREATE TRIGGER see AFTER INSERT OR UPDATE ON {table}
                 FOR EACH STATEMENT EXECUTE FUNCTION see()"
        ));
    };
    let seen = |home: &Home| home.vandal().texts("SELECT DISTINCT setting FROM seen");
    let home = cluster.home();
    home.caller("ada");
    watch(&home, "sessions");
    home.run(&["restored"]);
    assert_eq!(seen(&home), ["0 0 5s"]);

    let (old, new) = (Home::with_file(), cluster.home());
    old.caller("ada");
    watch(&new, "devices");
    let output = copy(&old, &new).output().expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(seen(&new), ["0 0 5s"]);

    // A lock timeout and a slow statement are distinguished.
    let mut vandal = home.vandal();
    vandal.lock();
    let output = home.output(&["restored"]);
    vandal.run("ROLLBACK");
    let said = text(&output.stderr);
    assert!(
        said.contains("busy") && said.contains("nothing was changed"),
        "{said}"
    );
}

/// Runs `arklow copy` from an SQLite home to a server's.
fn copy(from: &Home, to: &Home) -> Command {
    let mut command = arklow();
    command
        .args(["copy", "--json"])
        .env("ARKLOW_COPY_FROM", from.url())
        .env("ARKLOW_COPY_TO", to.url());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_moves_from_sqlite_with_all_that_works_and_all_that_is_used_up() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let (old, new) = (Home::with_file(), cluster.home());
    let server = old.serve(NO_LIMITS);
    let (ada, bob) = (old.caller("ada"), old.caller("bob"));
    let answer = server.by(&ada).regenerate().await;
    let codes = answer.backup_codes();
    server.by(&ada).redeem(&codes[0]).await.assert_valid();
    old.run(&["device", "remove", &bob.device]);
    old.vandal().run(&format!(
        "INSERT INTO memberships VALUES ({}, 7, 'owner')",
        ada.user
    ));
    let (_, token, _) = old.session(&bob.user, None);
    drop(server);

    let output = copy(&old, &new).output().expect("the binary runs");
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(&cluster.secret), "{said}");
    let copied: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(copied["was_there"], false);
    for table in copied["tables"].as_array().expect("tables") {
        let name = table["table"].as_str().expect("a name");
        let rows = new.vandal().count(name);
        assert_eq!(table["rows"], rows, "{name}");
        assert_eq!(old.vandal().count(name), rows, "{name}");
    }
    let again = copy(&old, &new).output().expect("the binary runs");
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(again["was_there"], true);
    assert_eq!(again["tables"], copied["tables"]);

    // With the keys of the old place the new one is the old one.
    std::fs::copy(old.key_file(), new.key_file()).expect("a copy of the keys");
    let server = new.serve(NO_LIMITS);
    server.by(&ada).redeem(&codes[0]).await.assert_invalid();
    server.by(&ada).redeem(&codes[1]).await.assert_valid();
    let user = server.by(&ada).user().await;
    assert_eq!(user.body["data"]["memberships"][0]["org_id"], "7");
    assert_eq!(server.devices(&token).await.body["data"]["count"], 0);
    server.by(&ada).regenerate().await.assert_ok();
    let numbers: Vec<i64> = new.records().await.iter().map(|r| r.id.get()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");

    // What lives there now is not overwritten with what was.
    let output = copy(&old, &new).output().expect("the binary runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("not those of the source"), "{said}");
    assert!(server.by(&ada).redeem(&codes[0]).await.status == 200);
}

#[tokio::test]
async fn copy_that_is_killed_has_copied_nothing_and_can_be_run_again() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let (old, new) = (Home::with_file(), cluster.home());
    old.caller("ada");
    old.vandal().run(
        "INSERT INTO audit (at, event, outcome) WITH RECURSIVE n (i) AS
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         SELECT i, 'mfa.key.rotated', 'success' FROM n",
    );
    let mut killed = 0;
    for wait in [50, 150, 300, 600] {
        let mut child = copy(&old, &new)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary runs");
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        killed += 1;
        assert_eq!(new.vandal().count("users") + new.vandal().count("audit"), 0);
    }
    assert!(killed > 0, "it ended before it could be killed");
    let output = copy(&old, &new).output().expect("the binary runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(new.vandal().count("audit"), old.vandal().count("audit"));
}

#[test]
fn copy_goes_one_way_only() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let (old, new) = (Home::with_file(), cluster.home());
    old.user("ada");
    for (from, to) in [(&new, &old), (&new, &new), (&old, &old)] {
        let output = copy(from, to).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("from SQLite to PostgreSQL"), "{said}");
    }
}
