//! The documentation in the browser, over HTTP; what a browser makes of it is in `tests/browser`.

use std::io::Read;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CONTRACT, Home, Server, yaml};

const UI: &str = "/swagger/ui";

const VENDORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/swagger-ui/vendored");

/// All paths below `/swagger/ui` that are answered, with their media types.
const PAGES: [(&str, &str); 10] = [
    (UI, "text/html; charset=utf-8"),
    ("/swagger/ui/json", "application/json"),
    ("/swagger/ui/yaml", "application/yaml"),
    (
        "/swagger/ui/static/init.js",
        "text/javascript; charset=utf-8",
    ),
    (
        "/swagger/ui/static/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    (
        "/swagger/ui/static/swagger-ui.css",
        "text/css; charset=utf-8",
    ),
    ("/swagger/ui/static/favicon-32x32.png", "image/png"),
    ("/swagger/ui/static/LICENSE", "text/plain; charset=utf-8"),
    ("/swagger/ui/static/NOTICE", "text/plain; charset=utf-8"),
    (
        "/swagger/ui/static/swagger-ui-bundle.js.LICENSE.txt",
        "text/plain; charset=utf-8",
    ),
];

/// An answer as it came: nothing here unpacks it.
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("visible ASCII"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Got {
    let mut request = Client::new().request(method, format!("{}{path}", server.base));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    Got {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.bytes().await.expect("a body").to_vec(),
    }
}

async fn get(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Got {
    send(server, Method::GET, path, headers).await
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut unpacked)
        .expect("gzip");
    unpacked
}

#[tokio::test]
async fn every_page_has_its_type_and_lets_nothing_in() {
    let home = Home::new();
    let server = home.serve(&[]);
    for (path, media_type) in PAGES {
        let got = get(&server, path, &[]).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert_eq!(got.header("content-type"), Some(media_type), "{path}");
        assert_eq!(
            got.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(got.header("referrer-policy"), Some("no-referrer"), "{path}");
        let policy = got.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none';"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{path}: {policy}"
        );
        assert!(!got.body.is_empty(), "{path}");
        assert_eq!(got.header("set-cookie"), None, "{path}");
    }
    let slash = get(&server, "/swagger/ui/", &[]).await;
    assert_eq!(slash.body, get(&server, UI, &[]).await.body);
}

#[tokio::test]
async fn served_contract_is_the_contract_with_this_server_first() {
    let home = Home::new();
    let server = home.serve(&[]);
    let mut expected = CONTRACT.clone();
    let servers = expected["servers"].as_array_mut().expect("servers");
    servers.insert(0, json!({ "url": "/", "description": "This server" }));

    let text = get(&server, "/swagger/ui/yaml", &[]).await;
    assert_eq!(yaml(text.text()), expected);
    // And the text is ours, but for two lines.
    let contract = include_str!("../openapi.yaml");
    let added: Vec<&str> = text
        .text()
        .lines()
        .filter(|line| !contract.lines().any(|ours| ours == *line))
        .collect();
    assert_eq!(added, ["  - url: /", "    description: This server"]);

    let text = get(&server, "/swagger/ui/json", &[]).await;
    let document: Value = serde_json::from_str(text.text()).expect("JSON");
    assert_eq!(document, expected);
    // In the order in which it was written, for people read it.
    let places = [
        "\"openapi\"",
        "\"info\"",
        "\"servers\"",
        "\"paths\"",
        "\"components\"",
    ]
    .map(|key| {
        text.text()
            .find(&format!("\n  {key}"))
            .unwrap_or_else(|| panic!("{key}"))
    });
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn gzip_is_for_those_who_take_it() {
    let home = Home::new();
    let server = home.serve(&[]);
    for (path, _) in PAGES {
        let plain = get(&server, path, &[]).await;
        let packed = get(&server, path, &[("accept-encoding", "br, gzip")]).await;
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert_eq!(unpack(&packed.body), plain.body, "{path}");
        for got in [plain, packed] {
            assert_eq!(got.header("vary"), Some("accept-encoding"), "{path}");
            let length = got.body.len().to_string();
            assert_eq!(got.header("content-length"), Some(&*length), "{path}");
        }
    }
    for (accepted, is_packed) in [
        ("gzip;q=0", false),
        ("GZIP; Q=0.5", true),
        ("identity", false),
        ("*", true),
        ("*;q=0", false),
        ("gzip;q=0, *", false),
        ("deflate, *;q=0.1", true),
        ("gzip;q=much", false),
        ("", false),
    ] {
        let got = get(&server, UI, &[("accept-encoding", accepted)]).await;
        let is = got.headers.contains_key("content-encoding");
        assert_eq!(is, is_packed, "`{accepted}`");
    }
}

#[tokio::test]
async fn page_that_is_known_is_not_sent_again() {
    let home = Home::new();
    let server = home.serve(&[]);
    for (path, _) in PAGES {
        let first = get(&server, path, &[]).await;
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{path}");
        let tag = first.header("etag").expect("a tag").to_owned();
        let strong = tag.trim_start_matches("W/");
        let list = format!("\"other\", {tag}");
        for known in [&tag, strong, &list, "*"] {
            let again = get(&server, path, &[("if-none-match", known)]).await;
            assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}: {known}");
            assert!(again.body.is_empty(), "{path}");
            assert_eq!(again.header("etag"), Some(&*tag), "{path}");
        }
        let other = get(&server, path, &[("if-none-match", "W/\"other\"")]).await;
        assert_eq!(other.status, StatusCode::OK, "{path}");
    }
    let tags: Vec<String> = {
        let mut tags = Vec::new();
        for (path, _) in PAGES {
            let got = get(&server, path, &[]).await;
            tags.push(got.header("etag").expect("a tag").to_owned());
        }
        tags
    };
    let distinct: std::collections::BTreeSet<&String> = tags.iter().collect();
    assert_eq!(distinct.len(), PAGES.len());
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_as_everywhere() {
    let home = Home::new();
    let server = home.serve(&[]);
    for (path, _) in PAGES {
        let head = send(&server, Method::HEAD, path, &[]).await;
        let get = get(&server, path, &[]).await;
        assert_eq!(
            (head.status, head.body.len()),
            (StatusCode::OK, 0),
            "{path}"
        );
        for name in ["content-type", "content-length", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        let post = send(&server, Method::POST, path, &[]).await;
        assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let mut allowed: Vec<_> = post.headers.get_all("allow").iter().collect();
        allowed.sort();
        assert_eq!(allowed, ["GET", "HEAD"], "{path}");
    }
    for path in [
        "/swagger",
        "/swagger/ui/static",
        "/swagger/ui/static/",
        "/swagger/ui/static/other.js",
        "/swagger/ui/static/init.js/more",
    ] {
        let got = get(&server, path, &[]).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn docs_that_are_off_are_as_any_unknown_path() {
    let home = Home::new();
    let off = [
        home.serve(&["--docs", "off"]),
        Server::spawn(
            home.arklow()
                .args(["serve", "--listen", "127.0.0.1:0"])
                .env("ARKLOW_DOCS", "off"),
        ),
        Server::spawn(crate::harness::arklow().args([
            "dev",
            "--listen",
            "127.0.0.1:0",
            "--docs",
            "off",
        ])),
    ];
    for server in &off {
        let unknown = get(server, "/unknown", &[]).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        for (path, _) in PAGES {
            let got = get(server, path, &[]).await;
            assert_eq!(got.status, unknown.status, "{path}");
            assert_eq!(got.body.len(), unknown.body.len(), "{path}");
            assert_eq!(got.header("content-security-policy"), None, "{path}");
        }
    }
    assert!(!off[2].printed().contains("docs:"), "{}", off[2].printed());
}

#[tokio::test]
async fn dev_says_where_the_docs_are() {
    let dev = Server::spawn(crate::harness::arklow().args(["dev", "--listen", "127.0.0.1:0"]));
    let url = loop {
        let printed = dev.printed();
        if let Some(line) = printed.lines().find_map(|line| line.strip_prefix("docs:")) {
            break line.trim().to_owned();
        }
        crate::harness::pause();
    };
    assert_eq!(url, format!("{}{UI}", dev.base));
    assert_eq!(get(&dev, UI, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn vendored_files_are_those_whose_checksums_are_kept() {
    let home = Home::new();
    let server = home.serve(&[]);
    let sums = std::fs::read_to_string(format!("{VENDORED}/SHA256SUMS")).expect("the checksums");
    assert_eq!(sums.lines().count(), 6);
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").expect("a sum and a name");
        let bytes = std::fs::read(format!("{VENDORED}/{name}")).expect("the file is there");
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let hex: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, sum, "{name}");
        // And these are what is served.
        let (served, published) = match name.strip_suffix(".gz") {
            Some(name) => (name, unpack(&bytes)),
            None => (name, bytes),
        };
        let got = get(&server, &format!("/swagger/ui/static/{served}"), &[]).await;
        assert_eq!(got.body, published, "{served}");
    }
}
