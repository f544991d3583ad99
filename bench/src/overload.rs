//! Load by many clients that wait as `Retry-After` tells them: how long the requests take that are served.
//!
//! All clients are tasks of one thread. A thread for each would let hundreds of them compete with the server for the
//! processor, and what they wait for it would count as the server's latency.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until};

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
pub(crate) async fn served(
    url: &str,
    requests: &Path,
    clients: usize,
    time: Duration,
    pause: Duration,
) -> anyhow::Result<Served> {
    let address: Rc<str> = url.strip_prefix("http://").context("an address")?.into();
    let requests: Rc<[String]> = std::fs::read_to_string(requests)?
        .lines()
        .filter_map(request)
        .collect();
    let until = Instant::now() + time;
    let tasks = LocalSet::new();
    let running: Vec<_> = (0..clients)
        .map(|number| {
            // Each begins at another place of the file.
            let first = number * requests.len() / clients;
            let client = Client {
                number,
                address: Rc::clone(&address),
                requests: Rc::clone(&requests),
                pause,
                until,
            };
            tasks.spawn_local(client.run(first))
        })
        .collect();
    tasks.await;
    let (mut times, mut shed) = (Vec::new(), 0);
    for client in running {
        let (its_times, its_shed) = client.await.context("a client panicked")??;
        times.extend(its_times);
        shed += its_shed;
    }
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

struct Client {
    number: usize,
    address: Rc<str>,
    requests: Rc<[String]>,
    pause: Duration,
    until: Instant,
}

impl Client {
    /// How long each served request took, and how many were shed.
    async fn run(self, first: usize) -> anyhow::Result<(Vec<Duration>, usize)> {
        let mut stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let (mut times, mut shed) = (Vec::new(), 0);
        let mut requests = self.requests.iter().cycle().skip(first);
        while Instant::now() < self.until {
            let request = requests.next().context("a request")?;
            let started = Instant::now();
            stream.write_all(request.as_bytes()).await?;
            let head = answer(&mut stream).await?;
            match head.get(9..12) {
                Some("200") => {
                    times.push(started.elapsed());
                    if !self.pause.is_zero() {
                        sleep(self.pause).await;
                    }
                }
                Some("503") => {
                    let wait = head
                        .lines()
                        .find_map(|line| line.strip_prefix("retry-after: "));
                    let wait = wait.context("503 without Retry-After")?.trim().parse()?;
                    shed += 1;
                    // Up to a second more, each another part of it: clients do not come back all at once.
                    let spread = Duration::from_millis((self.number * 37 % 1_000) as u64);
                    let back = Instant::now() + Duration::from_secs(wait) + spread;
                    sleep_until(back.min(self.until).into()).await;
                }
                _ => anyhow::bail!("{head}"),
            }
        }
        Ok((times, shed))
    }
}

/// The head of an answer, in lower case, whose body is read as well.
async fn answer(stream: &mut TcpStream) -> anyhow::Result<String> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut chunk).await?;
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
