//! A small HTTP server that keeps what it gets: a webhook, a collector.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::TEST_TIMEOUT;

/// A request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The first line.
    pub(crate) line: String,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

type Answering = dyn Fn(&Received, usize) -> (u16, Duration) + Send + Sync;

/// Answers a request and its number, from 1, with a status after a pause.
pub(crate) struct Receiver {
    pub(crate) base: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub(crate) async fn start(
        answering: impl Fn(&Received, usize) -> (u16, Duration) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (kept, answering): (_, Arc<Answering>) = (Arc::clone(&received), Arc::new(answering));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, Arc::clone(&kept), Arc::clone(&answering)));
            }
        });
        Self {
            base: format!("http://{address}"),
            received,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    /// Waits for so many requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let started = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(started.elapsed() < TEST_TIMEOUT, "{received:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Serves a connection until its peer closes it.
async fn receive(
    stream: TcpStream,
    kept: Arc<Mutex<Vec<Received>>>,
    answering: Arc<Answering>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let headers: BTreeMap<_, _> = head
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers["content-length"].parse().expect("a length");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let received = Received {
            line: head.swap_remove(0),
            headers,
            body,
        };
        let number = {
            let mut kept = kept.lock().expect("no panic");
            kept.push(received.clone());
            kept.len()
        };
        let (status, pause) = answering(&received, number);
        tokio::time::sleep(pause).await;
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}
