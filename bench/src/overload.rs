//! Load by many clients that wait as `Retry-After` tells them: how long the requests take that are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Of a thread that only sends and receives.
const STACK: usize = 128 * 1024;

/// What the clients have seen.
pub(crate) struct Served {
    pub(crate) p99: Duration,
    pub(crate) per_second: f64,
    /// Answers of 503.
    pub(crate) shed: usize,
}

/// Lets `clients` send the requests of a file, each the next one after an answer and `pause`, for a while.
///
/// # Errors
/// An answer that is neither 200 nor 503 with `Retry-After`.
pub(crate) fn served(
    url: &str,
    requests: &Path,
    clients: usize,
    time: Duration,
    pause: Duration,
) -> anyhow::Result<Served> {
    let address = url.strip_prefix("http://").context("an address")?;
    let requests: Vec<String> = std::fs::read_to_string(requests)?
        .lines()
        .filter_map(request)
        .collect();
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let results: Vec<_> = thread::scope(|scope| {
        let (requests, stop, next) = (&requests, &stop, &next);
        let running: Vec<_> = (0..clients)
            .map(|number| {
                let client = move || client(number, address, requests, pause, stop, next);
                thread::Builder::new()
                    .stack_size(STACK)
                    .spawn_scoped(scope, client)
            })
            .collect();
        // The end of an earlier scope may have unparked this thread.
        let until = Instant::now() + time;
        while Instant::now() < until {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
        running
            .into_iter()
            .map(|thread| {
                thread?
                    .join()
                    .map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
            .collect::<anyhow::Result<_>>()
    })?;
    let shed = results.iter().map(|(_, shed)| shed).sum();
    let mut times: Vec<Duration> = results.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_unstable();
    ensure!(!times.is_empty(), "no request was served");
    Ok(Served {
        p99: times[times.len() * 99 / 100],
        per_second: times.len() as f64 / time.as_secs_f64(),
        shed,
    })
}

/// A line of the file: path, header and body, with tabs between them.
fn request(line: &str) -> Option<String> {
    let mut parts = line.split('\t');
    let (path, header, body) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{header}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn client(
    number: usize,
    address: &str,
    requests: &[String],
    pause: Duration,
    stop: &AtomicBool,
    next: &AtomicUsize,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_nodelay(true)?;
    let (mut times, mut shed) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let request = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        let started = Instant::now();
        stream.write_all(request.as_bytes())?;
        let head = answer(&mut stream)?;
        match head.get(9..12) {
            Some("200") => {
                times.push(started.elapsed());
                thread::park_timeout(pause);
            }
            Some("503") => {
                let wait = head
                    .lines()
                    .find_map(|line| line.strip_prefix("retry-after: "));
                let wait = wait.context("503 without Retry-After")?.trim().parse()?;
                shed += 1;
                // Up to a second more, each another part of it: clients do not come back all at once.
                let spread = Duration::from_millis((number * 37 % 1_000) as u64);
                let until = Instant::now() + Duration::from_secs(wait) + spread;
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(50));
                }
            }
            _ => anyhow::bail!("{head}"),
        }
    }
    Ok((times, shed))
}

/// The head of an answer, in lower case, whose body is read as well.
fn answer(stream: &mut TcpStream) -> anyhow::Result<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection ended");
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").trim().parse()?;
        if bytes.len() >= end + 4 + length {
            return Ok(head);
        }
    }
}
