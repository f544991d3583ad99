//! Other implementations of the same job.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::load::{Load, load};

/// The folders in `bench/peers`.
pub(crate) const PEERS: [&str; 2] = ["django-allauth", "better-auth"];

/// Installs the peer, starts it on the database and loads it.
pub(crate) fn measure(
    peer: &str,
    folder: &Path,
    database: &str,
    connections: u32,
    time: Duration,
) -> anyhow::Result<Load> {
    let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/peers")).join(peer);
    let folder = std::path::absolute(folder)?;
    let output = Command::new(scripts.join("prepare"))
        .arg(&folder)
        .arg(database)
        .output()
        .with_context(|| format!("{peer} has no script `prepare`"))?;
    if !output.status.success() {
        bail!(
            "{peer} cannot be installed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let child = Command::new(scripts.join("serve"))
        .arg(&folder)
        .arg(database)
        .arg(address.port().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let _serving = Serving(child);
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if started.elapsed() > Duration::from_secs(30) {
            bail!("{peer} does not listen");
        }
        std::thread::yield_now();
    }
    let url = format!("http://{address}");
    let requests = folder.join("requests");
    // Until what is compiled and cached on demand is.
    load(&url, &requests, 4, Duration::from_secs(2), None)?;
    load(&url, &requests, connections, time, None)
}

/// A process and its children, until it is dropped.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        drop(Command::new("kill").args(["-KILL", "--", &group]).status());
        drop(self.0.wait());
    }
}
