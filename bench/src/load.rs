//! Load, by wrk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

/// What wrk has measured.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) requests: u64,
}

/// wrk's threads. One is enough for this load, and leaves the other core to the server.
const THREADS: u32 = 1;

/// Sends the requests in the file, over `connections` that each send the next request after an answer, and after `pause` if it is
/// given. An answer that is not a success is an error.
pub(crate) fn load(
    url: &str,
    requests: &Path,
    connections: u32,
    time: Duration,
    pause: Option<Duration>,
) -> anyhow::Result<Load> {
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/requests.lua"));
    let mut command = Command::new("wrk");
    command
        .arg(format!("--threads={THREADS}"))
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={}s", time.as_secs()))
        .args(["--timeout", "10s", "--script"])
        .arg(script)
        .args([url, "--"])
        .arg(requests)
        .arg(THREADS.to_string());
    if let Some(pause) = pause {
        command.arg(format!("{:.3}", pause.as_secs_f64() * 1000.0));
    }
    let output = command.output().context("cannot run wrk: install it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let result = result.with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("wrk has no result: {text}{said}")
    })?;
    let result: serde_json::Value = serde_json::from_str(result)?;
    let number = |name: &str| result[name].as_u64().with_context(|| name.to_owned());
    let (refused, broken) = (number("refused")?, number("broken")?);
    if refused + broken > 0 {
        bail!("{refused} requests were refused, {broken} connections broke: {text}");
    }
    let requests = number("requests")?;
    Ok(Load {
        per_second: requests as f64 * 1e6 / number("microseconds")? as f64,
        p50: Duration::from_micros(number("p50")?),
        p99: Duration::from_micros(number("p99")?),
        requests,
    })
}

/// How long each of `connections` must wait between two requests for so many in a second in all.
pub(crate) fn pause_for(per_second: f64, connections: u32, answer: Duration) -> Duration {
    let each = Duration::from_secs_f64(f64::from(connections) / per_second);
    each.saturating_sub(answer)
}
