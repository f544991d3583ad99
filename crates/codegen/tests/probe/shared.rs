//! A document whose error answers have one body. The server fails with the status that the id of a thing names.

use serde_json::{Value, json};
use shared_api::server::*;
use shared_api::types::{Problem, Thing};
use shared_api::unimplemented::{Operation, Unimplemented};
use shared_client::Client;

struct Shared;

/// Fails with this status, and these headers.
struct Fails(u16, Option<i64>);

impl Api for Shared {
    type Error = Fails;

    fn request_error(&self, error: &RequestError) -> Problem {
        Problem { title: error.code().to_owned() }
    }

    fn error(&self, Fails(status, retry_after): Fails, origin: &Origin) -> Failure {
        Failure::Declared {
            status: status.try_into().unwrap(),
            body: Problem { title: origin.operation.clone() },
            retry_after,
            x_hint: Some("there".to_owned()),
        }
    }

    async fn get_thing(&self, _: Origin, request: GetThingRequest) -> Result<Thing, Fails> {
        match request.path.id.parse() {
            Ok(status) => Err(Fails(status, None)),
            Err(_) => Ok(Thing { id: request.path.id }),
        }
    }

    async fn put_thing(&self, _: Origin, request: PutThingRequest) -> Result<PutThingAnswer, Fails> {
        let thing = Thing { id: request.path.id };
        match thing.id.as_str() {
            "new" => Ok(PutThingAnswer::Created(thing)),
            "429" => Err(Fails(429, Some(7))),
            id => id.parse().map_or(Ok(PutThingAnswer::Ok(thing.clone())), |status| Err(Fails(status, None))),
        }
    }

    async fn delete_thing(&self, _: Origin, _: DeleteThingRequest) -> Result<(), Fails> {
        Ok(())
    }
}

/// Has one operation.
struct Part;

impl Unimplemented for Part {
    type Error = RequestError;

    fn request_error(&self, error: &RequestError) -> Problem {
        Problem { title: error.code().to_owned() }
    }

    fn error(&self, error: RequestError, _: &Origin) -> Failure {
        Failure::Request(error)
    }

    async fn fallback<O: Operation>(&self, _: O::Request) -> Result<O::Success, RequestError> {
        match O::ID {
            "delete_thing" => Ok(serde_json::from_value(json!(null)).unwrap()),
            _ => Err(RequestError::NotImplemented),
        }
    }

    async fn get_thing(&self, _: Origin, request: GetThingRequest) -> Result<Thing, RequestError> {
        Ok(Thing { id: request.path.id })
    }
}

fn serve<A: Api>(api: A) -> dropshot::HttpServer<Served<A>> {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let context = context(api, Settings::default());
    dropshot::ServerBuilder::new(api_description::<A>().unwrap(), context, log).start().unwrap()
}

/// Status, body, and the three headers that are declared.
async fn call(request: reqwest::RequestBuilder) -> (u16, Value, [Option<String>; 3]) {
    let answer = request.send().await.unwrap();
    let headers = ["x-hint", "retry-after", "x-limit"]
        .map(|name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()));
    (answer.status().as_u16(), answer.json().await.unwrap_or_default(), headers)
}

pub async fn run() {
    let server = serve(Shared);
    let base = format!("http://{}", server.local_addr());
    let http = reqwest::Client::new();
    let at = |method: reqwest::Method, id: &str| call(http.request(method, format!("{base}/things/{id}")));
    let none = || [None, None, None];
    let text = |text: &str| Some(text.to_owned());
    let failed = |operation: &str| json!({ "title": operation });

    let get = failed("get_thing");
    assert_eq!(at(reqwest::Method::GET, "404").await, (404, get.clone(), [text("there"), None, None]));
    assert_eq!(at(reqwest::Method::GET, "418").await, (418, get.clone(), none()), "by `default`");
    assert_eq!(at(reqwest::Method::GET, "503").await, (503, get, none()), "by `default`");

    let (put, internal) = (failed("put_thing"), json!({ "title": "INTERNAL" }));
    let limited = [None, text("7"), text("hour")];
    assert_eq!(at(reqwest::Method::PUT, "429").await, (429, put.clone(), limited));
    assert_eq!(at(reqwest::Method::PUT, "418").await, (418, put, none()), "by `4XX`");
    assert_eq!(at(reqwest::Method::PUT, "503").await, (500, internal, none()), "not declared");
    assert_eq!(at(reqwest::Method::PUT, "new").await.0, 201);

    let client = Client::new(&base);
    assert_eq!(client.get_thing().id("a").send().await.unwrap().id, "a");
    assert_eq!(client.put_thing().id("a").send().await.unwrap().id, "a");
    client.delete_thing().id("a").send().await.unwrap();
    server.close().await.unwrap();

    let server = serve(Part);
    let client = Client::new(&format!("http://{}", server.local_addr()));
    assert_eq!(client.get_thing().id("a").send().await.unwrap().id, "a");
    client.delete_thing().id("a").send().await.unwrap();
    let error = client.put_thing().id("a").send().await.unwrap_err();
    assert_eq!(error.status().unwrap().as_u16(), 501);
    server.close().await.unwrap();
}
