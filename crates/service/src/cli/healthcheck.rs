//! `arklow healthcheck`: asks a running server whether it is ready, for containers without a `curl`.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::args::address;
use super::error::CliError;
use super::output::{self, Format};

/// How long connecting, and then each wait for bytes, may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer that are read.
const MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// The internal listener of the server.
    #[arg(
        long,
        env = "ARKLOW_INTERNAL_LISTEN",
        value_name = "ADDR",
        value_parser = address
    )]
    pub(crate) internal_listen: SocketAddr,
}

/// Prints what `/readyz` answers.
///
/// # Errors
/// The server does not answer, or is not ready.
pub(crate) fn run(args: &HealthcheckArgs) -> Result<(), CliError> {
    let address = reachable(args.internal_listen);
    let answer = ask(address).map_err(|cause| CliError::NoAnswer { address, cause })?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    output::data(Format::Human, body.trim(), &Value::Null)?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(CliError::NotReady(address)),
    }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(MAX_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The loopback address for a server that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
