//! `cargo xtask soak`: two servers on one database under mixed load for an hour, with a fault every minute.
//!
//! One server is killed and started again, the other must live through it all: its memory is watched. The users know what
//! was acknowledged, and look for it: a code of the last set must work, and one that was used must not.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::{root, server};

/// How many users there are, each with one request at a time.
const USERS: usize = 8;
/// Between two requests of a user.
const PAUSE: Duration = Duration::from_millis(40);
/// A request that takes longer counts as not answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long after the end of a fault requests may still fail because of it: the deadline of a request.
const AFTERMATH: Duration = Duration::from_secs(16);
/// How far the clock is moved.
const STEP_SECONDS: u32 = 60;
/// How large the file system of an SQLite database is.
const DISK_MIB: u32 = 96;
/// How many peers read nothing of what they ask for.
const SLOW_READERS: usize = 50;
/// How much the server that is not killed may grow from the first sixth of the run to its end.
const MAX_GROWTH_MIB: u64 = 48;

/// What runs, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the load lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(20..=86_400))]
    seconds: u64,
    /// From the beginning of one fault to that of the next one.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=3_600))]
    every: u64,
    /// Starts a PostgreSQL server and uses it instead of SQLite.
    #[arg(long)]
    postgres: bool,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Takes this binary; otherwise the debug build, which is made.
    #[arg(long, value_name = "FILE")]
    arklow: Option<PathBuf>,
}

/// What happens to the servers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    /// The file system of the database is full (SQLite), or its server crashes (PostgreSQL).
    Database,
    Clock,
    SlowReaders,
}

const FAULTS: [Fault; 4] = [
    Fault::Kill,
    Fault::Database,
    Fault::Clock,
    Fault::SlowReaders,
];

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
    changes: AtomicU64,
    /// Answers of 503 and connections that ended, within a fault or its aftermath.
    explained: AtomicU64,
    /// What was not answered as it should have been, outside of faults, or with 500.
    unexplained: Mutex<Vec<String>>,
    /// Acknowledged changes that are gone.
    lost: Mutex<Vec<String>>,
    /// Until when failures are explained; `None` while a fault lasts.
    excused: Mutex<Option<Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn failed(&self, what: String, is_always_wrong: bool) {
        let is_excused = locked(&self.excused).is_none_or(|until| Instant::now() < until);
        if is_excused && !is_always_wrong {
            self.explained.fetch_add(1, Ordering::Relaxed);
        } else {
            eprintln!("unexplained: {what}");
            locked(&self.unexplained).push(what);
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let arklow = match &options.arklow {
        Some(file) => file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?,
        None => server::build()?,
    };
    let place = Place::make(arklow, options.postgres)?;
    let mut steady = place.start()?;
    let mut killed = place.start()?;
    let addresses = [steady.address, killed.address];
    let users = (0..USERS)
        .map(|number| place.user(number, addresses))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let shared = Arc::new(Shared::default());
    *locked(&shared.excused) = Some(Instant::now());
    let load: Vec<_> = users
        .into_iter()
        .map(|mut user| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || user.run(&shared))
        })
        .collect();

    let (begun, time) = (Instant::now(), Duration::from_secs(options.seconds));
    let (mut memory, mut faults, mut ended) = (Vec::new(), [0_u32; FAULTS.len()], 0_u32);
    let mut turn = 0;
    while begun.elapsed() < time {
        // The last fault leaves time to recover.
        let next = Duration::from_secs(options.every) * (turn + 1);
        if begun.elapsed() >= next && next + AFTERMATH < time {
            let which = turn as usize % FAULTS.len();
            turn += 1;
            faults[which] += 1;
            *locked(&shared.excused) = None;
            let long = Duration::from_secs(options.every.min(20)) / 4;
            let happened = place.suffer(FAULTS[which], &mut killed, steady.address, long);
            *locked(&shared.excused) = Some(Instant::now() + AFTERMATH);
            happened.with_context(|| format!("{:?}", FAULTS[which]))?;
        }
        for server in [&mut steady, &mut killed] {
            // A disk that failed within a checkpoint ends a server, as documented; its supervisor starts it again.
            if server.child.try_wait()?.is_some() {
                ended += 1;
                *server = place.start_at(server.address)?;
                *locked(&shared.excused) = Some(Instant::now() + AFTERMATH);
            }
        }
        // A server that has just ended has none.
        memory.push(server::resident_kib(steady.child.id()).unwrap_or_default());
        if memory.len().is_multiple_of(60) {
            eprintln!(
                "{} of {} s: {} requests, {} changes, {} MiB",
                begun.elapsed().as_secs(),
                options.seconds,
                shared.requests.load(Ordering::Relaxed),
                shared.changes.load(Ordering::Relaxed),
                memory[memory.len() - 1] / 1024
            );
        }
        thread::park_timeout(Duration::from_secs(1));
    }
    shared.stop.store(true, Ordering::Relaxed);
    for user in load {
        ensure!(user.join().is_ok(), "a user panicked");
    }

    let sixth = memory.len() / 6;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / (part.len().max(1) as u64) / 1024;
    let (early, late) = (
        mean(&memory[sixth / 2..sixth]),
        mean(&memory[memory.len() - sixth.max(1)..]),
    );
    let (unexplained, lost) = (locked(&shared.unexplained), locked(&shared.lost));
    let figures = json!({
        "database": if options.postgres { "postgresql" } else { "sqlite" },
        "seconds": options.seconds,
        "requests": shared.requests.load(Ordering::Relaxed),
        "acknowledged_changes": shared.changes.load(Ordering::Relaxed),
        "faults": FAULTS.iter().zip(faults).map(|(fault, count)| (format!("{fault:?}"), count.into())).collect::<serde_json::Map<String, Value>>(),
        "servers_that_ended_by_themselves": ended,
        "explained_failures": shared.explained.load(Ordering::Relaxed),
        "unexplained_failures": unexplained.len(),
        "lost_changes": lost.len(),
        "memory_early_mib": early,
        "memory_late_mib": late,
    });
    if !unexplained.is_empty() {
        let log = fs::read_to_string(place.folder.path().join("log")).unwrap_or_default();
        let errors = log.lines().filter(|line| line.contains("\"ERROR\""));
        errors.take(20).for_each(|line| eprintln!("{line}"));
    }
    println!("{figures:#}");
    if let Some(file) = &options.json {
        fs::write(file, format!("{figures:#}\n")).context("cannot write the figures")?;
    }
    ensure!(lost.is_empty(), "acknowledged changes are gone: {lost:?}");
    ensure!(
        unexplained.is_empty(),
        "{} failures without a fault: {unexplained:?}",
        unexplained.len()
    );
    ensure!(
        late <= early + MAX_GROWTH_MIB,
        "the memory grew from {early} to {late} MiB"
    );
    Ok(())
}

/// Where the database is, and what is done to it.
struct Place {
    arklow: PathBuf,
    folder: tempfile::TempDir,
    url: String,
    is_postgres: bool,
    is_mounted: bool,
    shim: PathBuf,
}

impl Place {
    fn make(arklow: PathBuf, is_postgres: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let shim = folder.path().join("clock.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&shim, &root().join("tests/clock.c")])
            .status()
            .context("cannot run cc")?;
        ensure!(compiled.success(), "clock.c does not compile");
        fs::write(folder.path().join("offset"), "0").context("cannot write")?;
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).context("cannot make a folder")?;
        let mut this = Self {
            arklow,
            url: format!("sqlite:{}/arklow.db", disk.display()),
            is_postgres,
            is_mounted: false,
            shim,
            folder,
        };
        if is_postgres {
            // Another account runs the server.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            fs::set_permissions(this.folder.path(), open).context("cannot open the folder")?;
            this.url = this.postgres("start", &[])?;
            let keys = this.keys();
            server::run(this.command(), &["keys", "generate", "--out", &keys])?;
            server::run(this.command(), &["migrate", "up"])?;
        } else {
            let size = format!("size={DISK_MIB}m");
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "arklow-soak"])
                .arg(&disk)
                .status();
            this.is_mounted = mounted.is_ok_and(|status| status.success());
            if !this.is_mounted {
                eprintln!("skipped: the full disk, for only root can mount a small file system");
            }
        }
        Ok(this)
    }

    fn keys(&self) -> String {
        self.folder.path().join("keys").display().to_string()
    }

    fn postgres(&self, command: &str, more: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(root().join("tests/throwaway-postgres"))
            .arg(command)
            .arg(self.folder.path().join("postgres"))
            .args(more)
            .output()
            .context("cannot run throwaway-postgres")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "throwaway-postgres {command}: {said}"
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.arklow);
        command
            .current_dir(self.folder.path())
            .env("ARKLOW_DATABASE_URL", &self.url)
            .stdin(Stdio::null());
        if self.is_postgres {
            command.env("ARKLOW_KEYS", self.keys());
        }
        command
    }

    fn start(&self) -> anyhow::Result<Server> {
        let free = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let address = free.local_addr().context("a listener has an address")?;
        drop(free);
        self.start_at(address)
    }

    fn start_at(&self, address: SocketAddr) -> anyhow::Result<Server> {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.path().join("log"))
            .context("cannot make a file")?;
        let child = self
            .command()
            .env("LD_PRELOAD", &self.shim)
            .env("ARKLOW_CLOCK_OFFSET", self.folder.path().join("offset"))
            .args(["serve", "--limits", "off", "--log-level", "warn"])
            .args(["--log-format", "json", "--listen", &address.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let mut server = Server { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended: {status}: {}", log());
            }
            ensure!(
                started.elapsed() < Duration::from_secs(60),
                "it does not listen: {}",
                log()
            );
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn user(&self, number: usize, addresses: [SocketAddr; 2]) -> anyhow::Result<User> {
        let (device, token) = server::user(|| self.command(), number)?;
        Ok(User {
            addresses,
            token,
            device,
            known: None,
        })
    }

    /// Lets a fault happen for about so long, and ends it.
    fn suffer(
        &self,
        fault: Fault,
        killed: &mut Server,
        steady: SocketAddr,
        long: Duration,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => {
                killed.child.kill().context("cannot kill")?;
                killed.child.wait().context("cannot wait")?;
                thread::park_timeout(long / 4);
                *killed = self.start_at(killed.address)?;
            }
            Fault::Database if self.is_postgres => {
                self.postgres("stop", &["immediate"])?;
                thread::park_timeout(long);
                self.postgres("again", &[])?;
            }
            Fault::Database if self.is_mounted => {
                let filler = self.folder.path().join("disk/filler");
                let mut file = File::create(&filler).context("cannot make a file")?;
                while file.write_all(&[0; 64 * 1024]).is_ok() {}
                thread::park_timeout(long);
                fs::remove_file(&filler).context("cannot remove a file")?;
            }
            Fault::Database => {}
            Fault::Clock => {
                let offset = self.folder.path().join("offset");
                fs::write(&offset, STEP_SECONDS.to_string()).context("cannot write")?;
                thread::park_timeout(long);
                fs::write(&offset, "0").context("cannot write")?;
            }
            Fault::SlowReaders => {
                let request = "GET /swagger/ui/json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(40);
                let peers: Vec<_> = (0..SLOW_READERS)
                    .filter_map(|_| {
                        let mut peer = TcpStream::connect(steady).ok()?;
                        peer.set_write_timeout(Some(Duration::from_millis(50)))
                            .ok()?;
                        drop(peer.write_all(request.as_bytes()));
                        Some(peer)
                    })
                    .collect();
                thread::park_timeout(long);
                drop(peers);
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_postgres {
            drop(self.postgres("stop", &["immediate"]));
        }
        if self.is_mounted {
            let disk = self.folder.path().join("disk");
            drop(Command::new("umount").args(["--lazy"]).arg(disk).status());
        }
    }
}

/// A running server, which ends with this value.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A user, who knows what was acknowledged.
struct User {
    addresses: [SocketAddr; 2],
    token: String,
    device: String,
    /// The last set of codes; `None` if it is not known which one is.
    known: Option<Codes>,
}

#[derive(Default)]
struct Codes {
    unused: Vec<String>,
    used: Option<String>,
}

impl User {
    fn run(&mut self, shared: &Shared) {
        for turn in 0_usize.. {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            let address = self.addresses[turn % 2];
            match turn % 4 {
                0 if turn.is_multiple_of(16) || self.known.is_none() => {
                    self.regenerate(address, shared);
                }
                1 => self.redeem(address, shared),
                // Seldom: failures in a row lock.
                3 if turn % 32 == 3 => self.redeem_again(address, shared),
                _ => {
                    self.ask(address, "GET", "/v1/self/", None, shared);
                }
            }
            thread::park_timeout(PAUSE);
        }
    }

    fn regenerate(&mut self, address: SocketAddr, shared: &Shared) {
        let body = json!({ "device_id": self.device });
        let path = "/v1/self/mfa/regenerate/totp";
        let answer = self.ask(address, "POST", path, Some(&body), shared);
        // Until the answer is known, either set may be the last one.
        self.known = answer.map(|answer| Codes {
            unused: answer["data"]["backup_codes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|code| code.as_str().map(str::to_owned))
                .collect(),
            used: None,
        });
    }

    fn redeem(&mut self, address: SocketAddr, shared: &Shared) {
        let Some(mut codes) = self.known.take() else {
            return;
        };
        let Some(code) = codes.unused.pop() else {
            return;
        };
        match self.is_valid(address, &code, shared) {
            Some(true) => codes.used = Some(code),
            Some(false) => {
                let lost = format!(
                    "a code of the last set of device {} is refused",
                    self.device
                );
                eprintln!("lost: {lost}");
                locked(&shared.lost).push(lost);
            }
            // Used or not: it is not tried again.
            None => {}
        }
        self.known = Some(codes).filter(|codes| !codes.unused.is_empty());
    }

    fn redeem_again(&self, address: SocketAddr, shared: &Shared) {
        let used = self.known.as_ref().and_then(|codes| codes.used.clone());
        if let Some(code) = used
            && self.is_valid(address, &code, shared) == Some(true)
        {
            let lost = format!("a code of device {} worked twice", self.device);
            eprintln!("lost: {lost}");
            locked(&shared.lost).push(lost);
        }
    }

    fn is_valid(&self, address: SocketAddr, code: &str, shared: &Shared) -> Option<bool> {
        let body = json!({ "device_id": self.device, "code": code });
        let path = "/v1/self/mfa/verify/totp/backup";
        let answer = self.ask(address, "POST", path, Some(&body), shared)?;
        answer["data"]["valid"].as_bool()
    }

    /// The answer of a request; `None` if it is not known what became of it.
    fn ask(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: Option<&Value>,
        shared: &Shared,
    ) -> Option<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let (status, answer) = match exchange(address, &request) {
            Ok(answered) => answered,
            Err(error) => {
                shared.failed(format!("{method} {path}: {error}"), false);
                return None;
            }
        };
        match status {
            200 => {
                if method == "POST" {
                    shared.changes.fetch_add(1, Ordering::Relaxed);
                }
                Some(answer)
            }
            _ => {
                shared.failed(format!("{method} {path}: {status} {answer}"), status != 503);
                None
            }
        }
    }
}

fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    // One chunk, or a length.
    let begin = body.find('{').unwrap_or(body.len());
    let end = body.rfind('}').map_or(begin, |end| end + 1);
    Ok((
        status,
        serde_json::from_str(&body[begin..end]).context("no JSON")?,
    ))
}
