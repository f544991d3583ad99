//! A server of one's own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

/// `arklow serve`, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    log: NamedTempFile,
}

/// What every server is started with: no limits, for each of few users asks more often than a user may; and a log
/// that tells only what goes wrong, unless other flags say more.
const FLAGS: [&str; 3] = ["serve", "--limits", "off"];

impl Server {
    pub(crate) fn start(
        arklow: &Path,
        database: &str,
        keys: &Path,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        // A file, which costs the machine less than a process that reads a pipe.
        let log = NamedTempFile::new()?;
        let child = Command::new(arklow)
            .args(FLAGS)
            .args(["--listen", "127.0.0.1:0"])
            .args(flags)
            .env("ARKLOW_LOG_LEVEL", "warn")
            .env("ARKLOW_DATABASE_URL", database)
            .env("ARKLOW_KEYS", keys)
            .stdout(Stdio::null())
            .stderr(log.reopen()?)
            .spawn()
            .with_context(|| format!("cannot run {}", arklow.display()))?;
        let mut server = Self {
            child,
            url: String::new(),
            log,
        };
        while server.url.is_empty() {
            let ended = server.child.try_wait()?.is_some();
            let said = server.said()?;
            // A line that is not whole yet may hold a part of the address.
            let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some((_, url)) = whole.split_once("listening on ") {
                let end = url.find(['"', ' ', '\n']).unwrap_or(url.len());
                url[..end].clone_into(&mut server.url);
            } else if ended {
                bail!("the server has ended: {said}");
            } else {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        Ok(server)
    }

    fn said(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.log.path())?)
    }

    /// The most memory that it ever held, in MiB.
    pub(crate) fn peak_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: f64 = kib.context("VmHWM")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // As an operator does: what it has answered is on the disk, and the log is in the file.
        drop(
            Command::new("kill")
                .arg(self.child.id().to_string())
                .status(),
        );
        drop(self.child.wait());
        let said = self.said().unwrap_or_default();
        let said = said
            .split_once("listening on ")
            .map_or(&*said, |(_, since)| since);
        let wrong = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        for line in said.lines().filter(wrong).take(5) {
            eprintln!("{line}");
        }
    }
}

/// From starting a server to its first answer, as the median of `times`.
pub(crate) fn first_answer(
    arklow: &Path,
    database: &str,
    keys: &Path,
    token: &str,
    times: usize,
) -> anyhow::Result<Duration> {
    let mut taken = Vec::new();
    for _ in 0..times {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let started = Instant::now();
        let mut child = Command::new(arklow)
            .args(FLAGS)
            .args(["--listen", &address.to_string()])
            .env("ARKLOW_DATABASE_URL", database)
            .env("ARKLOW_KEYS", keys)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let answered = loop {
            let answer = TcpStream::connect(address).and_then(|mut stream| {
                write!(
                    stream,
                    "GET /v1/self/ HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {token}\r\nconnection: close\r\n\r\n"
                )?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            });
            match answer {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => break Ok(started.elapsed()),
                Ok(answer) => break Err(anyhow::anyhow!("not an answer: {answer}")),
                Err(_) if started.elapsed() > Duration::from_secs(30) => {
                    break Err(anyhow::anyhow!("no answer in half a minute"));
                }
                Err(_) => std::thread::yield_now(),
            }
        };
        drop(child.kill());
        child.wait()?;
        taken.push(answered?);
    }
    taken.sort_unstable();
    Ok(taken[taken.len() / 2])
}
