//! Values arrive unchanged: a server that reports which operation ran and its arguments, called by its generated client and
//! by hand.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use wire_api::server::*;
use wire_api::types::{Rates, Seen};
use wire_client::mock::MockServerExt;
use wire_client::{Client, Error};

/// Counts the operations that ran.
#[derive(Default)]
struct Wire(Arc<AtomicUsize>);

impl Wire {
    fn ran(&self, operation: &str, seen: &[Option<String>]) -> Seen {
        self.0.fetch_add(1, Ordering::Relaxed);
        let seen = seen.iter().flatten().cloned().collect();
        Seen { operation: operation.to_owned(), seen }
    }
}

impl Api for Wire {
    fn request_error(&self, error: &RequestError) -> Value {
        json!(error.messages())
    }

    async fn remove_all(&self, _: Origin, _: RemoveAllRequest) -> Result<RemoveAllAnswer, RequestError> {
        Ok(RemoveAllAnswer::Ok(self.ran("remove_all", &[])))
    }

    async fn read_user(&self, _: Origin, request: ReadUserRequest) -> Result<ReadUserAnswer, RequestError> {
        Ok(ReadUserAnswer::Ok(self.ran("read_user", &[Some(request.path.user_id)])))
    }

    async fn remove_user(&self, _: Origin, request: RemoveUserRequest) -> Result<RemoveUserAnswer, RequestError> {
        Ok(RemoveUserAnswer::Ok(self.ran("remove_user", &[Some(request.path.user_id)])))
    }

    async fn user_options(&self, _: Origin, request: UserOptionsRequest) -> Result<UserOptionsAnswer, RequestError> {
        Ok(UserOptionsAnswer::Ok(self.ran("user_options", &[Some(request.path.user_id)])))
    }

    async fn remove_link(&self, _: Origin, request: RemoveLinkRequest) -> Result<RemoveLinkAnswer, RequestError> {
        let RemoveLinkRequest { path, query, header } = request;
        let seen = [Some(path.user_id), Some(path.link_id), query.filter_name, Some(query.top.to_string()), query.options, header.api_version];
        Ok(RemoveLinkAnswer::Ok(self.ran("remove_link", &seen)))
    }

    async fn list_bookings(&self, _: Origin, request: ListBookingsRequest) -> Result<ListBookingsAnswer, RequestError> {
        let seen = [
            json!(request.path.from),
            json!(request.path.day),
            json!(request.query.until),
            json!(request.header.x_since),
            json!(request.header.x_before),
            json!(request.header.x_day),
        ];
        let seen = seen.map(|value| value.as_str().map(str::to_owned));
        Ok(ListBookingsAnswer::Ok(self.ran("list_bookings", &seen)))
    }

    async fn probe_file(&self, _: Origin, request: ProbeFileRequest) -> Result<ProbeFileAnswer, RequestError> {
        Ok(match request.path.id {
            404 => ProbeFileAnswer::NotFound,
            id => ProbeFileAnswer::Ok { etag: format!("\"{id}\"") },
        })
    }

    async fn put_rates(&self, _: Origin, request: PutRatesRequest) -> Result<PutRatesAnswer, RequestError> {
        Ok(PutRatesAnswer::Ok(request.body))
    }

    async fn put_ids(&self, _: Origin, request: PutIdsRequest) -> Result<PutIdsAnswer, RequestError> {
        Ok(match request.body.as_slice() {
            [only] if only.ends_with('0') => PutIdsAnswer::BadRequest(7),
            ids => PutIdsAnswer::Ok(ids.iter().map(|id| (id.clone(), Some(id.clone()))).collect()),
        })
    }

    async fn a(&self, _: Origin, _: ARequest) -> Result<AAnswer, RequestError> {
        Ok(AAnswer::NoContent)
    }

    async fn described_a(&self, _: Origin, _: DescribedARequest) -> Result<DescribedAAnswer, RequestError> {
        Ok(DescribedAAnswer::NoContent)
    }
}

pub async fn run() {
    // The vendor case silenced it.
    drop(std::panic::take_hook());
    let wire = Wire::default();
    let count = Arc::clone(&wire.0);
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let server = dropshot::ServerBuilder::new(
        api_description::<Wire>().unwrap(),
        context(wire, Settings::default()),
        log,
    )
    .start()
    .unwrap();
    let client = Client::new(&format!("http://{}", server.local_addr()));

    t41_path_values_stay_in_their_segment(&client, &count).await;
    t41_raw_paths_reach_no_other_operation(server.local_addr()).await;
    times_are_rfc_3339_everywhere(&client).await;
    methods_without_content_and_options_work(&client).await;
    keys_and_defaults_are_those_of_the_document(&client).await;
    inline_formats_are_strings(&client).await;
    mocks_find_what_the_client_sends().await;
    server.close().await.unwrap();
}

async fn t41_path_values_stay_in_their_segment(client: &Client, count: &AtomicUsize) {
    let before = count.load(Ordering::Relaxed);
    for value in ["", ".", "..", "\\", "a\\..", "..\\users\\u2", "\\..\\..", "a\\"] {
        let is_refused = |sent: Result<_, Error<_>>| match sent {
            Err(Error::InvalidRequest(why)) => why.starts_with("the path variable `"),
            _ => false,
        };
        assert!(is_refused(client.remove_user().user_id(value).send().await), "{value:?}");
        assert!(is_refused(client.read_user().user_id(value).send().await), "{value:?}");
        assert!(is_refused(client.user_options().user_id(value).send().await), "{value:?}");
        let (first, second) = (client.remove_link(), client.remove_link());
        assert!(is_refused(first.user_id(value).link_id("l1").send().await), "{value:?}");
        assert!(is_refused(second.user_id("u1").link_id(value).send().await), "{value:?}");
    }
    assert_eq!(count.load(Ordering::Relaxed), before, "nothing was sent");
    for value in [
        "...", ". .", " ", "%", "%2e%2e", "%2E", ".%2e", "%5c", "../..", "/", "//", "a/../b", "./", "?", "a?b=c", "#", "a#b",
        ".\t.", "\t", "\n", "..\n", "\u{feff}", "ü", "{id}", "a;b", "a:b", "..;", "@", "|", "^", "[x]", "\"", "`", "+", "&",
    ] {
        let seen = client.remove_link().user_id(value).link_id(value).send().await.unwrap().into_inner();
        assert_eq!((seen.operation.as_str(), &seen.seen[..2]), ("remove_link", &[value.to_owned(), value.to_owned()][..]));
        let seen = client.remove_user().user_id(value).send().await.unwrap().into_inner();
        assert_eq!((seen.operation.as_str(), seen.seen), ("remove_user", vec![value.to_owned()]));
    }
}

/// What other clients may send: a value is decoded once, and only after the path was split.
async fn t41_raw_paths_reach_no_other_operation(address: std::net::SocketAddr) {
    let sent = |path: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request = format!("DELETE {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
    };
    for (path, value) in [
        ("/users/u1/links/%2e%2e", ".."),
        ("/users/u1/links/%2E.", ".."),
        ("/users/u1/links/%2e", "."),
        ("/users/u1/links/%2F..%2f..", "/../.."),
        ("/users/u1/links/..%2f", "../"),
        ("/users/u1/links/%5c..", "\\.."),
        ("/users/u1/links/a%3fb%23c", "a?b#c"),
        ("/users/u1/links/%252e", "%2e"),
        ("/users/u1/links/%00", "\0"),
    ] {
        let answer = sent(path).await.unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let seen: Seen = serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!((seen.operation.as_str(), seen.seen[1].as_str()), ("remove_link", value));
    }
    for path in [
        "/users/u1/links/..",
        "/users/u1/links/.",
        "/users/u1/links/../..",
        "/users/./u1",
        "/users/u1/../u2",
        "/users/..",
        "/users%2fu1",
        "/users%5cu1",
        "/%75sers/../users",
        "/users\\u1",
        "\\users",
        "/users/u1/links/",
        "/users/u1/links/%ff",
    ] {
        let answer = sent(path).await.unwrap();
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 40");
        assert!(is_refused, "{path}: {answer}");
    }
}

async fn times_are_rfc_3339_everywhere(client: &Client) {
    let time = |text: &str| serde_json::from_value::<wire_api::types::Moment>(json!(text)).unwrap();
    let texts = ["2026-11-25T22:00:00.500Z", "2026-11-25T22:00:00Z"];
    for text in texts {
        let sent = client
            .list_bookings()
            .from(time(text))
            .day(time(text).date_naive())
            .until(time(text))
            .x_since(time(text))
            .x_before(time(text))
            .x_day(time(text).date_naive());
        let seen = sent.send().await.unwrap().into_inner().seen;
        assert_eq!(seen, [text, "2026-11-25", text, text, text, "2026-11-25"]);
    }
}

async fn methods_without_content_and_options_work(client: &Client) {
    let probed = client.probe_file().id(7).send().await.unwrap();
    assert_eq!(probed.headers()["etag"], "\"7\"");
    match client.probe_file().id(404).send().await {
        Err(Error::ErrorResponse(answer)) => assert_eq!(answer.status(), 404),
        other => panic!("{other:?}"),
    }
    let seen = client.user_options().user_id("u1").send().await.unwrap().into_inner();
    assert_eq!((seen.operation.as_str(), seen.seen), ("user_options", vec!["u1".to_owned()]));
}

async fn keys_and_defaults_are_those_of_the_document(client: &Client) {
    let body = json!({ "007": "a", "1.10": "b", "True": "c", "0x1F": "d", "~": "e", "additional_properties": "f", "other": "g" });
    let rates: Rates = serde_json::from_value(body.clone()).unwrap();
    assert_eq!((rates.n007.as_str(), rates.u7e.as_str()), ("a", "e"));
    assert_eq!(rates.additional_properties_property.as_deref(), Some("f"));
    assert_eq!(rates.additional_properties["other"], "g");
    let kept = client.put_rates().body(rates).send().await.unwrap().into_inner();
    let mut kept = serde_json::to_value(kept).unwrap();
    let defaults = json!({ "sign": "<", "small": -10, "large": u64::MAX, "low": -2.0, "zero": 0 });
    for (key, value) in defaults.as_object().unwrap() {
        assert_eq!(kept.as_object_mut().unwrap().remove(key).as_ref(), Some(value), "{key}");
    }
    assert_eq!(kept, body);
    let seen = client.remove_link().user_id("u").link_id("l").options("o").api_version("v3").send().await.unwrap();
    assert_eq!(seen.seen, ["u", "l", "1", "o", "v3"]);
}

async fn inline_formats_are_strings(client: &Client) {
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned();
    let ids = client.put_ids().body(vec![id.clone()]).send().await.unwrap().into_inner();
    assert_eq!(ids[&id], Some(id.clone()));
    let zero = "67e55044-10b1-426f-9247-bb680e5fe0c0".to_owned();
    match client.put_ids().body(vec![zero]).send().await {
        Err(Error::ErrorResponse(answer)) => assert_eq!(*answer, 7),
        other => panic!("{other:?}"),
    }
}

async fn mocks_find_what_the_client_sends() {
    let server = httpmock::MockServer::start_async().await;
    let rates: Rates = serde_json::from_value(json!({ "007": "a", "~": "e" })).unwrap();
    let put = server.put_rates(|when, then| {
        when.body(&rates);
        then.ok(&rates);
    });
    let time = serde_json::from_value::<wire_api::types::Moment>(json!("2026-11-25T22:00:00.500Z")).unwrap();
    let seen = Seen { operation: String::new(), seen: Vec::new() };
    let listed = server.list_bookings(|when, then| {
        when.from(&time).day(&time.date_naive()).until(&time).x_since(&time).x_before(&time);
        then.ok(&seen);
    });
    let client = Client::new(&server.base_url());
    client.put_rates().body(rates.clone()).send().await.unwrap();
    let sent = client.list_bookings().from(time).day(time.date_naive()).until(time).x_since(time).x_before(time);
    sent.send().await.unwrap();
    put.assert();
    listed.assert();
}
