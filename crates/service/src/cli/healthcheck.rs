//! `arklow healthcheck`: asks a running server whether it is ready, for containers without a `curl`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;

use super::args::{OutputArgs, address};
use super::error::CliError;
use super::output::{self, Format};
use crate::http::tls;

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
    /// The certificate of the internal listener, if it has one. A server with another certificate is rejected.
    #[arg(long, env = "ARKLOW_INTERNAL_TLS_CERTIFICATE", value_name = "FILE")]
    pub(crate) internal_tls_certificate: Option<PathBuf>,
    /// A certificate to show to a listener with --internal-tls-client-ca, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The key of --client-certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Prints what `/readyz` answers.
///
/// # Errors
/// The server does not answer, or is not ready.
pub(crate) fn run(args: &HealthcheckArgs) -> Result<(), CliError> {
    let address = reachable(args.internal_listen);
    let tls = match &args.internal_tls_certificate {
        Some(certificate) => {
            let client = args.client_certificate.as_deref();
            let client = client.zip(args.client_key.as_deref());
            let tls = tls::pinned(certificate, client).map_err(|cause| CliError::Tls {
                flag: "--internal-tls-certificate",
                cause: Box::new(cause),
            })?;
            Some(tls)
        }
        None => None,
    };
    let answer = ask(address, tls).map_err(|cause| CliError::NoAnswer { address, cause })?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let object: Value = serde_json::from_str(body).unwrap_or_default();
    let human = match object["checks"].as_object() {
        Some(checks) => checks
            .iter()
            .map(|(name, said)| format!("{name:<11}  {}", said.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("\n"),
        None => body.trim().to_owned(),
    };
    output::data(Format::from_flag(args.output.json), &human, &object)?;
    match answer.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(CliError::NotReady(address)),
    }
}

fn ask(address: SocketAddr, tls: Option<ClientConnection>) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    match tls {
        Some(tls) => ask_on(StreamOwned::new(tls, stream), address),
        None => ask_on(stream, address),
    }
}

fn ask_on(mut stream: impl Read + Write, address: SocketAddr) -> io::Result<String> {
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
