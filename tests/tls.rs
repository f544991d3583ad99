//! TLS on both listeners: versions, certificates that are replaced while connections are open, client certificates, and the
//! limits of a connection, which hold as for plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arklow_client::types::RegenerateTotpRequest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Home, NO_LIMITS, Server, TEST_TIMEOUT, pause, skip, text};

const ANY: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// An authority, with certificates that it has signed.
struct Authority {
    folder: TempDir,
}

impl Authority {
    /// `None`, and a failure in CI, without `openssl`.
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skip("there is no `openssl`");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        let this = Self { folder };
        this.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN=authority \
             -keyout ca.key -out ca.pem",
        );
        Some(this)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// A new certificate for `localhost` at `NAME.pem`, with its key at `NAME.key`.
    fn issue(&self, name: &str, days: u32) {
        std::fs::write(
            self.folder.path().join("names"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .expect("written");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \
             -keyout {name}.key -out request"
        ));
        self.openssl(&format!(
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -out {name}.pem \
             -extfile names"
        ));
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(&format!("{name}.pem"))).expect("a certificate")
    }

    /// Starts a server with the certificate `name`.
    fn serve(&self, home: &Home, name: &str, arguments: &[&str]) -> Server {
        let (certificate, key) = (
            self.file(&format!("{name}.pem")),
            self.file(&format!("{name}.key")),
        );
        let tls = [
            "--tls-certificate",
            &certificate,
            "--tls-key",
            &key,
            "--log-format",
            "json",
        ];
        home.serve(&[&tls[..], NO_LIMITS, arguments].concat())
    }

    /// A handshake with what trusts this authority.
    fn connect(
        &self,
        address: &str,
        versions: &[&'static SupportedProtocolVersion],
        client: Option<&str>,
    ) -> std::io::Result<Wire> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key")));
                let chain = vec![self.certificate(name)];
                builder
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("a pair")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        let mut wire = Wire(StreamOwned::new(tls, stream));
        while wire.0.conn.is_handshaking() {
            wire.0.conn.complete_io(&mut wire.0.sock)?;
        }
        Ok(wire)
    }

    fn wire(&self, server: &Server) -> Wire {
        let wire = self.connect(address(server), ANY, None);
        wire.expect("a handshake")
    }
}

fn address(server: &Server) -> &str {
    server.base.strip_prefix("https://").expect("TLS")
}

/// An encrypted connection on which requests are written by hand.
struct Wire(StreamOwned<ClientConnection, TcpStream>);

impl Wire {
    fn certificate(&self) -> CertificateDer<'_> {
        self.0.conn.peer_certificates().expect("one")[0].clone()
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("the server reads");
        self.0.flush().expect("the server reads");
    }

    /// The status of an answer, whose body is read to its end.
    fn status(&mut self) -> u16 {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = self.0.read(&mut chunk).expect("an answer");
            assert!(read > 0, "the connection ended early: {}", text(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
            let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let headers = text(&bytes[..head]).to_lowercase();
            let length = headers
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap_or("0").trim().parse().expect("a length");
            if bytes.len() >= head + 4 + length {
                return headers[9..12].parse().expect("a status");
            }
        }
    }

    /// A request that needs nothing.
    fn ask(&mut self) -> u16 {
        self.send("GET /v1/self HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.status()
    }

    /// How long it takes until the server ends the connection.
    fn until_closed(&mut self) -> Duration {
        let started = Instant::now();
        let mut chunk = [0; 4096];
        while self.0.read(&mut chunk).is_ok_and(|read| read > 0) {}
        started.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_client_is_served_over_tls_and_plain_http_is_not() {
    let Some(authority) = Authority::new() else {
        return;
    };
    authority.issue("server", 9);
    let home = Home::new();
    let ada = home.caller("ada");
    let server = authority.serve(&home, "server", &[]);
    let root = std::fs::read(authority.file("ca.pem")).expect("a file");
    let root = reqwest::Certificate::from_pem(&root).expect("a root");
    let http = reqwest::Client::builder().tls_certs_only([root]);
    let base = server.base.replace("127.0.0.1", "localhost");
    let client = arklow_client::Client::builder(&base).token(ada.token.as_str());
    let client = client.http(http).build().expect("a client");
    let answer = client
        .generated()
        .post_v1_self_mfa_regenerate_totp()
        .body(RegenerateTotpRequest {
            device_id: ada.device.clone(),
        })
        .send()
        .await
        .expect("an answer");
    let data = answer.into_inner().data.expect("the codes");
    assert_eq!(data.backup_codes.len(), 10);

    let wire = authority.wire(&server);
    assert_eq!(wire.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut plain = TcpStream::connect(address(&server)).expect("the server accepts");
    plain
        .write_all(b"GET /v1/self HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!text(&answer).contains("HTTP/"), "{answer:?}");
    let printed = server.printed();
    assert!(!printed.contains("PLAIN HTTP"), "{printed}");
}

#[test]
fn versions_below_the_lowest_one_are_refused() {
    let Some(authority) = Authority::new() else {
        return;
    };
    authority.issue("server", 9);
    let home = Home::new();
    home.user("ada");
    for (lowest, speaks_12) in [("1.2", true), ("1.3", false)] {
        let server = authority.serve(&home, "server", &["--tls-min-version", lowest]);
        let old = authority.connect(address(&server), &[&TLS12], None);
        assert_eq!(old.is_ok(), speaks_12, "{lowest}");
        assert_eq!(authority.wire(&server).ask(), 401);
    }
}

/// Waits until new connections get this certificate.
#[track_caller]
fn wait_for(authority: &Authority, server: &Server, name: &str) {
    let (started, expected) = (Instant::now(), authority.certificate(name));
    while authority.wire(server).certificate() != expected {
        assert!(started.elapsed() < TEST_TIMEOUT, "{}", server.printed());
        pause();
    }
}

#[test]
fn certificate_is_replaced_while_connections_stay_open() {
    let Some(authority) = Authority::new() else {
        return;
    };
    for name in ["server", "second", "third"] {
        authority.issue(name, 9);
    }
    let home = Home::new();
    home.user("ada");
    std::fs::copy(authority.file("server.pem"), authority.file("live.pem")).expect("a copy");
    std::fs::copy(authority.file("server.key"), authority.file("live.key")).expect("a copy");
    let server = authority.serve(&home, "live", &[]);
    let mut open = authority.wire(&server);
    assert_eq!(open.ask(), 401);

    // The certificate before its key: what does not fit together is not used.
    std::fs::copy(authority.file("second.pem"), authority.file("live.pem")).expect("a copy");
    let started = Instant::now();
    while !server.printed().contains("the former one stays") {
        assert!(started.elapsed() < TEST_TIMEOUT, "{}", server.printed());
        pause();
    }
    let expected = authority.certificate("server");
    assert_eq!(authority.wire(&server).certificate(), expected);
    std::fs::copy(authority.file("second.key"), authority.file("live.key")).expect("a copy");
    wait_for(&authority, &server, "second");
    assert_eq!(open.ask(), 401, "the connection from before is served");

    std::fs::copy(authority.file("third.pem"), authority.file("live.pem")).expect("a copy");
    std::fs::copy(authority.file("third.key"), authority.file("live.key")).expect("a copy");
    server.signal("HUP");
    wait_for(&authority, &server, "third");
    assert_eq!(open.ask(), 401);
    let printed = server.printed();
    assert!(
        printed.contains("SIGHUP: reading the certificates again"),
        "{printed}"
    );
    assert!(!printed.contains("PRIVATE KEY"), "{printed}");
}

#[test]
fn internal_listener_lets_in_only_clients_with_a_certificate() {
    let Some(authority) = Authority::new() else {
        return;
    };
    authority.issue("server", 9);
    authority.issue("prometheus", 9);
    let home = Home::new();
    home.user("ada");
    let (certificate, key) = (authority.file("server.pem"), authority.file("server.key"));
    let root = authority.file("ca.pem");
    let server = home.serve(&[
        "--internal-listen",
        "127.0.0.1:0",
        "--internal-tls-certificate",
        &certificate,
        "--internal-tls-key",
        &key,
        "--internal-tls-client-ca",
        &root,
        "--log-format",
        "json",
    ]);
    let printed = server.printed();
    let internal = printed
        .split_once("health and metrics are at https://")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("an internal listener");
    let mut known = authority
        .connect(internal, ANY, Some("prometheus"))
        .expect("a handshake");
    known.send("GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(known.status(), 200);
    known.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut metrics = String::new();
    drop(known.0.read_to_string(&mut metrics));
    let gauge = "arklow_tls_certificate_expires_timestamp_seconds{listener=\"internal\"}";
    assert!(metrics.contains(gauge), "{metrics}");

    // With TLS 1.3 the client may think that the handshake is done.
    let refused = authority.connect(internal, ANY, None).and_then(|mut wire| {
        wire.0
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")?;
        wire.0.flush()?;
        wire.0.read(&mut [0; 64])
    });
    assert!(refused.is_err(), "{refused:?}");

    let check = |more: &[&str]| {
        let asked = ["healthcheck", "--internal-listen", internal];
        let output = home.output(&[&asked[..], more].concat());
        (output.status.success(), text(&output.stderr))
    };
    let pin = ["--internal-tls-certificate", &certificate];
    let (client, client_key) = (
        authority.file("prometheus.pem"),
        authority.file("prometheus.key"),
    );
    let identity = ["--client-certificate", &client, "--client-key", &client_key];
    assert!(check(&[&pin[..], &identity].concat()).0);
    assert!(!check(&pin).0);
    assert!(!check(&identity).0);
    let (asked, said) = check(&[&["--internal-tls-certificate", &client][..], &identity].concat());
    assert!(
        !asked,
        "another certificate is not that of the server: {said}"
    );
}

#[test]
fn limits_of_a_connection_hold_over_tls() {
    let Some(authority) = Authority::new() else {
        return;
    };
    authority.issue("server", 9);
    let home = Home::new();
    let ada = home.caller("ada");
    let flags = [
        "--header-timeout",
        "700ms",
        "--idle-timeout",
        "700ms",
        "--body-timeout",
        "700ms",
    ];
    let flags = [
        &flags[..],
        &[
            "--max-connections",
            "8",
            "--max-connections-per-address",
            "8",
        ],
    ]
    .concat();
    let mut server = authority.serve(&home, "server", &flags);
    let closes = |what: &str, waited: Duration| {
        assert!(waited < Duration::from_secs(10), "{what}: {waited:?}");
    };

    // A peer that begins no handshake, half of one, and one that sends no request after it.
    let mut silent = TcpStream::connect(address(&server)).expect("the server accepts");
    let mut half = TcpStream::connect(address(&server)).expect("the server accepts");
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .expect("sent");
    for stream in [&mut silent, &mut half] {
        let started = Instant::now();
        stream
            .set_read_timeout(Some(TEST_TIMEOUT))
            .expect("a timeout");
        drop(stream.read_to_end(&mut Vec::new()));
        closes("no handshake", started.elapsed());
    }
    closes("no request", authority.wire(&server).until_closed());
    let mut slow = authority.wire(&server);
    slow.send("GET /v1/self HTTP/1.1\r\nhost: ");
    closes("half a head", slow.until_closed());
    let mut idle = authority.wire(&server);
    assert_eq!(idle.ask(), 401);
    closes("no second request", idle.until_closed());

    // The framing is looked at below the encryption.
    let head = |more: &str| {
        let token = &ada.token;
        format!(
            "POST /v1/self/mfa/regenerate/totp HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {token}\r\n{more}\r\n"
        )
    };
    let mut both = authority.wire(&server);
    both.send(&head("content-length: 2\r\ntransfer-encoding: chunked\r\n"));
    assert_eq!(both.status(), 400);
    let mut large = authority.wire(&server);
    large.send(&format!(
        "GET /v1/self HTTP/1.1\r\nx-large: {}\r\n\r\n",
        "x".repeat(200_000)
    ));
    assert_eq!(large.status(), 431);
    let mut body = authority.wire(&server);
    body.send(&head(
        "content-type: application/json\r\ncontent-length: 40\r\n",
    ));
    assert_eq!(body.status(), 408);
    // Two requests at once are answered in their order.
    let mut pipelined = authority.wire(&server);
    let request = "GET /v1/self HTTP/1.1\r\nhost: x\r\n\r\n";
    pipelined.send(&request.repeat(2));
    assert_eq!((pipelined.status(), pipelined.status()), (401, 401));

    // A client that sends a request displaces clients that do not finish their handshake.
    let silent: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(address(&server)).expect("the server accepts"))
        .collect();
    assert_eq!(authority.wire(&server).ask(), 401);
    drop(silent);

    // Connections without a request do not delay the end.
    let _shaken = authority.wire(&server);
    let _silent = TcpStream::connect(address(&server)).expect("the server accepts");
    let started = Instant::now();
    server.signal("TERM");
    assert!(server.wait().success());
    closes("the end", started.elapsed());
}

#[test]
fn certificates_that_cannot_be_used_are_refused_and_doctor_tells_when_they_expire() {
    let Some(authority) = Authority::new() else {
        return;
    };
    authority.issue("server", 9);
    authority.issue("second", 100);
    let home = Home::on_sqlite();
    home.serve(&[]);
    let (certificate, key) = (authority.file("server.pem"), authority.file("server.key"));
    let other = authority.file("second.key");
    for (flags, words) in [
        (
            ["--tls-certificate", &certificate, "--tls-key", &other],
            "is not the key of",
        ),
        (
            ["--tls-certificate", &key, "--tls-key", &key],
            "no certificate",
        ),
        (
            ["--tls-certificate", "missing.pem", "--tls-key", &key],
            "missing.pem",
        ),
    ] {
        let output = home.output(&[&["serve", "--listen", "127.0.0.1:0"][..], &flags].concat());
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
        assert!(said.contains("--tls-certificate"), "{said}");
    }
    let output = home.output(&["serve", "--tls-certificate", &certificate]);
    assert!(
        text(&output.stderr).contains("--tls-key"),
        "{}",
        text(&output.stderr)
    );

    for (name, state) in [("server", "warning"), ("second", "ok")] {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let (certificate, key) = (authority.file(&certificate), authority.file(&key));
        let flags = ["--tls-certificate", &certificate, "--tls-key", &key];
        let output = home.output(&[&["doctor", "--json"][..], &flags].concat());
        let checks = text(&output.stdout);
        let check = checks.lines().find(|line| line.contains("\"tls\""));
        let check: Value = serde_json::from_str(check.expect("a check")).expect("JSON");
        assert_eq!(check["state"], state, "{check}");
    }
}
