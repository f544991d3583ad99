//! `cargo xtask overload`: users of a server on which ten times as many connections are opened as it allows.
//!
//! Silent peers, heads that never end, HTTP/2 prefaces and peers that do not read, from many loopback addresses, which Linux
//! has. Fails if a user is not answered, or if the memory of the server grows.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::{root, server, target};

/// How many attacking connections there are for each that the server allows.
const FACTOR: u32 = 10;
/// The period in which every attacking connection is reopened. A silent connection lasts at least a tenth of that, which a
/// user of a busy machine needs to send a request.
const RENEWAL: Duration = Duration::from_secs(20);
/// How many users there are, each with one request at a time.
const USERS: usize = 8;
/// Between two requests of a user.
const PAUSE: Duration = Duration::from_millis(50);
/// A user whose request takes longer counts as not served.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What is measured, and for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long the attack lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: u64,
    /// How many connections the server allows. There are ten times as many attackers.
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(20..=1500))]
    connections: u32,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Takes the debug build, as the tests do.
    #[arg(long)]
    debug: bool,
    /// Takes this binary and builds none.
    #[arg(long, value_name = "FILE", conflicts_with = "debug")]
    arklow: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    raise_file_limit(u64::from(options.connections * FACTOR) + 200)?;
    let arklow = match &options.arklow {
        Some(file) => file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?,
        None if options.debug => server::build()?,
        None => release()?,
    };
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let server = Arklow::start(&arklow, folder.path(), options.connections)?;
    let users = (0..USERS)
        .map(|number| server.user(number))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let shared = Arc::new(Shared::default());
    let attackers = [
        Attack::Silent,
        Attack::Head,
        Attack::Preface,
        Attack::Unread,
    ]
    .map(|attack| {
        let (shared, address) = (Arc::clone(&shared), server.address);
        let count = options.connections * FACTOR / 4;
        thread::spawn(move || attack.run(address, count, &shared))
    });
    let callers: Vec<_> = users
        .into_iter()
        .map(|user| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || user.run(&shared))
        })
        .collect();
    let memory = server.watch(Duration::from_secs(options.seconds), &shared)?;
    shared.stop.store(true, Ordering::Relaxed);
    for thread in callers.into_iter().chain(attackers) {
        if thread.join().is_err() {
            bail!("a thread panicked");
        }
    }
    let figures = Figures::new(options, &shared, &memory);
    figures.report(options.json.as_deref())
}

fn raise_file_limit(needed: u64) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let holds = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        holds >= needed,
        "this process may open {holds} files and needs {needed}: raise `ulimit -Hn`, or lower --connections"
    );
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

fn release() -> anyhow::Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "arklow"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the server cannot be built");
    Ok(target().join("release/arklow"))
}

/// What the threads tell each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Attacking connections that were opened, and those that could not be.
    opened: AtomicU64,
    unopened: AtomicU64,
    /// Requests of users that were sent again because an idle connection had been closed.
    repeated: AtomicU64,
    /// How long each request of a user took.
    times: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<String>>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn served(&self, time: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.push(time);
    }

    fn failed(&self, reason: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(reason);
    }

    fn counts(&self) -> (usize, usize) {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        (times.len(), failures.len())
    }
}

/// A running server, which ends with this value.
struct Arklow {
    binary: PathBuf,
    folder: PathBuf,
    child: Child,
    address: SocketAddr,
}

impl Arklow {
    fn start(binary: &Path, folder: &Path, connections: u32) -> anyhow::Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let address = free.local_addr().context("a listener has an address")?;
        drop(free);
        let log = File::create(folder.join("log")).context("cannot make a file")?;
        let child = Self::command(binary, folder)
            .args(["serve", "--limits", "off", "--log-level", "warn"])
            .args(["--listen", &address.to_string()])
            .args(["--max-connections", &connections.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot start the server")?;
        let server = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            child,
            address,
        };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > Duration::from_secs(60) {
                bail!("the server does not listen: {}", server.log());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn command(binary: &Path, folder: &Path) -> Command {
        let mut command = Command::new(binary);
        command
            .current_dir(folder)
            .env("ARKLOW_DATABASE_URL", "sqlite:arklow.db")
            .stdin(Stdio::null());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn user(&self, number: usize) -> anyhow::Result<User> {
        let arklow = || Self::command(&self.binary, &self.folder);
        let (device, token) = server::user(arklow, number)?;
        Ok(User {
            address: self.address,
            token,
            device,
            keeps_connection: number.is_multiple_of(2),
        })
    }

    /// The resident memory of the server, in KiB, each second.
    fn watch(&self, time: Duration, shared: &Shared) -> anyhow::Result<Vec<u64>> {
        let started = Instant::now();
        let mut memory = Vec::new();
        while started.elapsed() < time {
            thread::park_timeout(Duration::from_secs(1));
            let kib = self.resident_kib()?;
            memory.push(kib);
            if memory.len().is_multiple_of(10) {
                let (served, failed) = shared.counts();
                let opened = shared.opened.load(Ordering::Relaxed);
                eprintln!(
                    "{} of {} s: {opened} attacking connections, {served} requests of users served, {failed} not; {} MiB",
                    memory.len(),
                    time.as_secs(),
                    kib / 1024
                );
            }
        }
        Ok(memory)
    }

    fn resident_kib(&self) -> anyhow::Result<u64> {
        let kib = server::resident_kib(self.child.id());
        kib.with_context(|| format!("the server has ended, or this is not Linux: {}", self.log()))
    }
}

impl Drop for Arklow {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an attacking connection does.
#[derive(Clone, Copy)]
enum Attack {
    /// Nothing.
    Silent,
    /// It sends a head without an end.
    Head,
    /// It speaks HTTP/2.
    Preface,
    /// It asks for much and does not read.
    Unread,
}

impl Attack {
    /// Holds so many connections open, each from another address, and replaces the oldest over and over.
    fn run(self, to: SocketAddr, count: u32, shared: &Shared) {
        let mut open = VecDeque::new();
        let begun = Instant::now();
        let step = RENEWAL / count;
        for number in 0.. {
            if shared.is_over() {
                return;
            }
            if open.len() >= count as usize {
                open.pop_front();
            }
            // 127.1.0.0 to 127.4.255.255.
            let from =
                Ipv4Addr::from(0x7f00_0000 + ((self as u32 + 1) << 16) + number % 0xff00 + 1);
            match self.open(from, to) {
                Ok(stream) => {
                    open.push_back(stream);
                    shared.opened.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    shared.unopened.fetch_add(1, Ordering::Relaxed);
                }
            }
            let next = begun + step * (number + 1);
            thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
    }

    fn open(self, from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(1))?;
        let mut stream = TcpStream::from(socket);
        stream.set_nonblocking(true)?;
        const UNREAD: &str =
            "GET /swagger/ui/static/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n";
        let sent = match self {
            Self::Silent => return Ok(stream),
            Self::Head => format!(
                "GET /v1/self/ HTTP/1.1\r\nhost: x\r\nx-long: {}",
                "x".repeat(16_000)
            ),
            Self::Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            Self::Unread => UNREAD.repeat(8),
        };
        // What the server does not take is not sent.
        drop(stream.write_all(sent.as_bytes()));
        Ok(stream)
    }
}

/// A user who behaves well.
struct User {
    address: SocketAddr,
    token: String,
    device: String,
    keeps_connection: bool,
}

impl User {
    fn run(&self, shared: &Shared) {
        let mut kept = None;
        for number in 0_u64.. {
            if shared.is_over() {
                return;
            }
            let request = if number.is_multiple_of(8) {
                self.change()
            } else {
                self.read()
            };
            let started = Instant::now();
            match self.ask(&request, kept.take(), shared) {
                Ok(stream) => {
                    shared.served(started.elapsed());
                    kept = Some(stream).filter(|_| self.keeps_connection);
                }
                Err(error) => shared.failed(format!("after {:?}: {error}", started.elapsed())),
            }
            thread::park_timeout(PAUSE);
        }
    }

    fn read(&self) -> String {
        let token = &self.token;
        format!("GET /v1/self/ HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {token}\r\n\r\n")
    }

    fn change(&self) -> String {
        let (token, body) = (&self.token, format!(r#"{{"device_id":"{}"}}"#, self.device));
        format!(
            "POST /v1/self/mfa/regenerate/totp HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// Sends a request on the kept connection, and once more on a new one if the server has closed that one meanwhile
    /// (RFC 9112 §9.3.1).
    fn ask(
        &self,
        request: &str,
        kept: Option<TcpStream>,
        shared: &Shared,
    ) -> io::Result<TcpStream> {
        if let Some(stream) = kept {
            match answered(stream, request) {
                Err(Unanswered::Closed) => {
                    shared.repeated.fetch_add(1, Ordering::Relaxed);
                }
                Err(Unanswered::Failed(error)) => return Err(error),
                Ok(stream) => return Ok(stream),
            }
        }
        let stream = TcpStream::connect_timeout(&self.address, REQUEST_TIMEOUT)?;
        answered(stream, request).map_err(|unanswered| match unanswered {
            Unanswered::Closed => ErrorKind::ConnectionReset.into(),
            Unanswered::Failed(error) => error,
        })
    }
}

enum Unanswered {
    /// Before a byte of an answer came.
    Closed,
    Failed(io::Error),
}

/// Sends a request and reads the answer, which must be a 200.
fn answered(mut stream: TcpStream, request: &str) -> Result<TcpStream, Unanswered> {
    let failed = Unanswered::Failed;
    stream
        .set_read_timeout(Some(REQUEST_TIMEOUT))
        .map_err(failed)?;
    if stream.write_all(request.as_bytes()).is_err() {
        return Err(Unanswered::Closed);
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(failed(io::Error::other(
                    head.lines().next().unwrap_or_default(),
                )));
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return Ok(stream);
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) if answer.is_empty() => return Err(Unanswered::Closed),
            Ok(0) => return Err(failed(ErrorKind::UnexpectedEof.into())),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            Err(error) if answer.is_empty() && error.kind() == ErrorKind::ConnectionReset => {
                return Err(Unanswered::Closed);
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What came of it.
struct Figures {
    value: Value,
    verdict: Vec<String>,
}

impl Figures {
    fn new(options: &Options, shared: &Shared, memory: &[u64]) -> Self {
        let mut times = shared.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort();
        let failures = shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = |part: f64| {
            let last = times.len().saturating_sub(1);
            times
                .get((last as f64 * part) as usize)
                .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        // The first quarter fills the caches; the last one is compared with the second.
        let quarter = memory.len() / 4;
        let highest = |part: &[u64]| part.iter().max().copied().unwrap_or_default();
        let early = highest(&memory[quarter..2 * quarter]);
        let late = highest(&memory[memory.len() - quarter..]);
        let mut verdict = Vec::new();
        if times.is_empty() {
            verdict.push("no request of a user was served".to_owned());
        }
        if !failures.is_empty() {
            let few = failures
                .iter()
                .take(5)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            verdict.push(format!(
                "{} requests of users were not served: {few}",
                failures.len()
            ));
        }
        if late > early + early / 10 + 4096 {
            verdict.push(format!("memory grew from {early} KiB to {late} KiB"));
        }
        let value = json!({
            "seconds": options.seconds,
            "max_connections": options.connections,
            "attacking_connections_held": options.connections * FACTOR,
            "attacking_connections_opened": shared.opened.load(Ordering::Relaxed),
            "attacking_connections_not_opened": shared.unopened.load(Ordering::Relaxed),
            "user_requests_served": times.len(),
            "user_requests_not_served": failures.len(),
            "user_requests_repeated": shared.repeated.load(Ordering::Relaxed),
            "milliseconds": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
            "resident_kib": {
                "first": memory.first(),
                "second_quarter": early,
                "last_quarter": late,
                "highest": highest(memory),
            },
        });
        Self { value, verdict }
    }

    fn report(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.value).context("JSON can be written")?;
        println!("{text}");
        if let Some(file) = file {
            fs::write(file, text + "\n")
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        ensure!(self.verdict.is_empty(), "{}", self.verdict.join("; "));
        Ok(())
    }
}
