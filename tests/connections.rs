//! How many connections there may be, from whom, and how long a peer may keep the server waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use socket2::{Domain, Socket, Type};

use crate::harness::{Caller, Home, NO_LIMITS, REGENERATE, Server, TEST_TIMEOUT, pause};

const BUNDLE: &str = "/swagger/ui/static/swagger-ui-bundle.js";

/// A connection from a loopback address, such as 127.0.0.2.
#[track_caller]
fn connect_from(server: &Server, from: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // What a peer that does not read takes is small, so that the server has the rest.
    socket.set_recv_buffer_size(4096).expect("a buffer");
    let from: SocketAddr = format!("{from}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("a port");
    let to: SocketAddr = server.address().parse().expect("an address");
    socket.connect(&to.into()).expect("the server accepts");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(TEST_TIMEOUT))
        .expect("a timeout");
    stream
}

/// Whether the server has closed the connection, within a moment.
fn is_closed(stream: &mut TcpStream) -> bool {
    let moment = Some(Duration::from_millis(1));
    stream.set_read_timeout(moment).expect("a timeout");
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// How many of the connections are open once the others were closed.
#[track_caller]
fn open_of(streams: &mut Vec<TcpStream>, expected: usize) -> usize {
    let started = Instant::now();
    while streams.len() > expected && started.elapsed() < TEST_TIMEOUT {
        streams.retain_mut(|stream| !is_closed(stream));
    }
    // A little while for one that should stay open.
    std::thread::park_timeout(Duration::from_millis(200));
    streams.retain_mut(|stream| !is_closed(stream));
    streams.len()
}

/// How long it takes until the server closes the connection, and what it has sent.
#[track_caller]
fn until_closed(stream: &mut TcpStream) -> (Duration, Vec<u8>) {
    let started = Instant::now();
    let mut sent = Vec::new();
    if let Err(error) = stream.read_to_end(&mut sent) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    (started.elapsed(), sent)
}

/// `arklow serve` in a shell with other limits.
fn serve_under(home: &Home, limits: &str, arguments: &[&str]) -> Server {
    let arklow = home.arklow();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{limits} && exec \"$@\""), "sh"])
        .arg(arklow.get_program())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .current_dir(home.path());
    for (name, value) in arklow.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    Server::spawn(&mut shell)
}

async fn changes(server: &Server, ada: &Caller) {
    let started = Instant::now();
    let answer = server.by(ada).regenerate().await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn t31_connections_do_not_use_up_the_descriptors() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = serve_under(&home, "ulimit -n 200", NO_LIMITS);
    changes(&server, &ada).await;
    let mut streams: Vec<TcpStream> = (0..300)
        .map(|n| connect_from(&server, &format!("127.0.0.{}", 2 + n % 100)))
        .collect();
    for _ in 0..5 {
        changes(&server, &ada).await;
    }
    let open = open_of(&mut streams, 100);
    assert!((90..=100).contains(&open), "{open}");
    changes(&server, &ada).await;
    drop(streams);
    for _ in 0..5 {
        changes(&server, &ada).await;
    }
    assert!(
        !server.printed().contains("Too many open files"),
        "{}",
        server.printed()
    );
}

#[tokio::test]
async fn t31_soft_limit_of_open_files_is_raised() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = serve_under(&home, "ulimit -Sn 64 && ulimit -Hn 2000", NO_LIMITS);
    let mut streams: Vec<TcpStream> = (0..300)
        .map(|_| connect_from(&server, "127.0.0.1"))
        .collect();
    changes(&server, &ada).await;
    assert_eq!(open_of(&mut streams, 300), 300);
}

#[test]
fn more_connections_than_files_are_refused_at_the_start() {
    let home = Home::new();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -n 200 && exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_arklow"),
    ]);
    shell.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--max-connections",
        "150",
    ]);
    let database = home.url();
    shell
        .args(["--database-url", &database])
        .current_dir(home.path());
    if !database.starts_with("sqlite:") {
        shell.arg("--keys").arg(home.key_file());
    }
    let output = shell.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("--max-connections") && said.contains("200 files"),
        "{said}"
    );
}

#[tokio::test]
async fn t32_peers_that_send_no_request_are_closed_in_time() {
    let home = Home::new();
    let ada = home.caller("ada");
    let server = home.serve(&["--header-timeout", "1s", "--idle-timeout", "3s"]);
    for begin in ["", "PRI ", "G", "GET /v1/self/ HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = connect_from(&server, "127.0.0.1");
        stream
            .write_all(begin.as_bytes())
            .expect("the server reads");
        let (time, sent) = until_closed(&mut stream);
        assert!(sent.is_empty(), "{begin}");
        let in_time = Duration::from_millis(900)..Duration::from_secs(5);
        assert!(in_time.contains(&time), "{begin}: {time:?}");
    }
    // A head that trickles in does not get more time.
    let mut trickle = connect_from(&server, "127.0.0.1");
    let started = Instant::now();
    while trickle.write_all(b"G").is_ok() && started.elapsed() < TEST_TIMEOUT {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // Between two requests there is more.
    let mut idle = connect_from(&server, "127.0.0.1");
    let request = format!(
        "GET /v1/self/ HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {}\r\n\r\n",
        ada.token
    );
    for _ in 0..2 {
        idle.write_all(request.as_bytes())
            .expect("the server reads");
        assert!(idle.read(&mut [0; 4096]).expect("an answer") > 0);
        std::thread::park_timeout(Duration::from_millis(1500));
    }
    let (time, _) = until_closed(&mut idle);
    let in_time = Duration::from_secs(1)..Duration::from_secs(8);
    assert!(in_time.contains(&time), "{time:?}");
}

/// Cleartext HTTP/2 is not served: neither by prior knowledge nor by an upgrade.
#[tokio::test]
async fn t32_http_2_is_refused_at_once() {
    let home = Home::new();
    let server = home.serve(&[]);
    let mut stream = connect_from(&server, "127.0.0.1");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).expect("the server reads");
    let (time, sent) = until_closed(&mut stream);
    assert!(time < Duration::from_secs(5), "{time:?}");
    let sent = String::from_utf8_lossy(&sent).into_owned();
    assert!(
        sent.is_empty() || sent.starts_with("HTTP/1.1 4"),
        "{sent:?}"
    );

    let mut stream = connect_from(&server, "127.0.0.1");
    let upgrade = "GET /v1/self/ HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings, close\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    stream
        .write_all(upgrade.as_bytes())
        .expect("the server reads");
    let (_, sent) = until_closed(&mut stream);
    assert!(
        sent.starts_with(b"HTTP/1.1 401 "),
        "{}",
        String::from_utf8_lossy(&sent)
    );
}

#[tokio::test]
async fn t32_peer_that_does_not_read_is_closed_in_time() {
    let home = Home::new();
    let server = home.serve(&["--write-timeout", "1s"]);
    let before = server.resident_kib();
    let mut streams: Vec<TcpStream> = (0..20)
        .map(|_| connect_from(&server, "127.0.0.1"))
        .collect();
    let requests = format!("GET {BUNDLE} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(40);
    for stream in &mut streams {
        stream
            .write_all(requests.as_bytes())
            .expect("the server reads");
    }
    std::thread::park_timeout(Duration::from_secs(4));
    let grown = server.resident_kib().saturating_sub(before);
    println!("20 peers that do not read: memory grew by {grown} KiB");
    assert!(grown < 24 * 1024, "{grown} KiB");
    for stream in &mut streams {
        let (time, sent) = until_closed(stream);
        assert!(
            time < Duration::from_secs(2),
            "it was closed already: {time:?}"
        );
        assert!(sent.len() < 20_000_000, "{}", sent.len());
    }
    // A peer that reads slowly gets all of it.
    let mut slow = connect_from(&server, "127.0.0.1");
    let request = format!("GET {BUNDLE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    slow.write_all(request.as_bytes())
        .expect("the server reads");
    let mut sent = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match slow.read(&mut chunk).expect("bytes") {
            0 => break,
            read => sent += read,
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(sent > 1_000_000, "{sent}");
}

#[tokio::test]
async fn t32_users_are_served_while_silent_peers_take_every_connection() {
    let home = Home::new();
    let ada = home.caller("ada");
    let limits = [
        "--max-connections",
        "40",
        "--max-connections-per-address",
        "10",
    ];
    let server = home.serve(&[&limits[..], NO_LIMITS].concat());
    let mut silent = Vec::new();
    for round in 0..10 {
        silent.extend((0..40).map(|n| connect_from(&server, &format!("127.0.{round}.{}", 2 + n))));
        changes(&server, &ada).await;
    }
    let open = open_of(&mut silent, 40);
    assert!(open <= 40, "{open}");
    // And from the address of the user, whose own connections go first.
    let mut own: Vec<TcpStream> = (0..40)
        .map(|_| connect_from(&server, "127.0.0.1"))
        .collect();
    changes(&server, &ada).await;
    let open = open_of(&mut own, 10);
    assert!(open <= 10, "{open}");
    let said = server.printed();
    assert!(said.contains("too many connections"), "{said}");
}

#[tokio::test]
async fn t32_an_address_has_so_many_connections_and_a_proxy_more() {
    let home = Home::new();
    let limits = [
        "--max-connections-per-address",
        "5",
        "--trusted-proxy",
        "127.0.0.3",
    ];
    let server = home.serve(&limits);
    let many =
        |from: &str| -> Vec<TcpStream> { (0..12).map(|_| connect_from(&server, from)).collect() };
    let mut other = vec![connect_from(&server, "127.0.0.9")];
    let mut peer = many("127.0.0.2");
    let mut proxy = many("127.0.0.3");
    assert_eq!(open_of(&mut peer, 5), 5);
    assert_eq!(open_of(&mut proxy, 12), 12);
    assert_eq!(open_of(&mut other, 1), 1);
}

#[test]
fn silent_peers_do_not_hold_up_the_end() {
    let home = Home::new();
    let mut server = home.serve(&["--shutdown-grace", "30s", "--header-timeout", "30s"]);
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| connect_from(&server, "127.0.0.1"))
        .collect();
    pause();
    let started = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_limit_are_answered_at_once_and_lose_nothing() {
    let home = Home::new();
    let callers: Vec<_> = (0..24).map(|n| home.caller(&format!("user{n}"))).collect();
    let server = home.serve(&["--limits", "off", "--max-requests", "2"]);
    // A body that is still arriving holds no place.
    let ada = &callers[0];
    let mut slow: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(server.address()).expect("the server accepts"))
        .collect();
    for stream in &mut slow {
        let head = format!(
            "POST {REGENERATE} HTTP/1.1\r\nhost: x\r\nx-arklow-auth: {}\r\n\
             content-type: application/json\r\ncontent-length: 64\r\n\r\n{{",
            ada.token
        );
        stream.write_all(head.as_bytes()).expect("sent");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.by(ada).regenerate().await.assert_ok();

    let mut shed = 0;
    for _ in 0..5 {
        let answers = join_all(callers.iter().map(|caller| server.by(caller).regenerate())).await;
        for (caller, answer) in callers.iter().zip(answers) {
            if answer.status == 503 {
                answer.assert(503, "UNAVAILABLE");
                assert!(answer.headers.contains_key("retry-after"));
                shed += 1;
                continue;
            }
            // What was answered is there.
            let codes = answer.backup_codes();
            assert_eq!(home.working(caller, &codes).await, 10);
        }
    }
    assert!(shed > 0, "no request was one too many");
    server.by(ada).user().await.assert_ok();
}
