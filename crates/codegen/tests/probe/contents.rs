//! The server reads the forms, texts, bytes and odd parameters that the client sends, and the client reads its answers.

use contents_api::server::*;
use contents_api::types::{self, Filter, Order};
use contents_client::{Client, Error};
use serde_json::{Value, json};

struct Contents;

impl Api for Contents {
    fn request_error(&self, error: &RequestError) -> Value {
        json!(error.messages())
    }

    async fn form(&self, _: Origin, request: FormRequest) -> Result<FormAnswer, RequestError> {
        Ok(FormAnswer::Ok(request.body))
    }

    async fn note(&self, _: Origin, request: NoteRequest) -> Result<NoteAnswer, RequestError> {
        Ok(match request.body.as_str() {
            "no" => NoteAnswer::BadRequest("nö".to_owned()),
            text => NoteAnswer::Ok(text.to_uppercase()),
        })
    }

    async fn level(&self, _: Origin, request: LevelRequest) -> Result<LevelAnswer, RequestError> {
        Ok(LevelAnswer::Ok(request.body.unwrap_or(0) + 1))
    }

    async fn image(&self, _: Origin, request: ImageRequest) -> Result<ImageAnswer, RequestError> {
        Ok(match request.body.0.is_empty() {
            true => ImageAnswer::NotFound("empty".to_owned()),
            false => ImageAnswer::Ok(Bytes(request.body.0.into_iter().rev().collect())),
        })
    }

    async fn cbor(&self, _: Origin, request: CborRequest) -> Result<CborAnswer, RequestError> {
        assert_eq!(format!("{:?}", request.body), "3 bytes");
        Ok(CborAnswer::NoContent)
    }

    async fn merge(&self, _: Origin, request: MergeRequest) -> Result<MergeAnswer, RequestError> {
        Ok(MergeAnswer::Ok(json!(request.body).to_string()))
    }

    async fn search(&self, _: Origin, request: SearchRequest) -> Result<SearchAnswer, RequestError> {
        Ok(SearchAnswer::Ok(json!([request.path, request.header, request.query])))
    }

    async fn away(&self, _: Origin, _: AwayRequest) -> Result<AwayAnswer, RequestError> {
        Ok(AwayAnswer::Found { location: "/note".to_owned() })
    }
}

pub async fn run() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let description = api_description::<Contents>().unwrap();
    let server = dropshot::ServerBuilder::new(description, context(Contents, Settings::default()), log).start().unwrap();
    let base = format!("http://{}", server.local_addr());
    forms_come_back(&base).await;
    texts_and_bytes_come_back(&base).await;
    parameters_come_back(&base).await;
    media_types_are_checked(&base).await;
    server.close().await.unwrap();
}

async fn forms_come_back(base: &str) {
    let client = Client::new(base);
    for order in [
        json!({ "name": "a b&c=d+é" }),
        json!({ "name": "", "count": -7, "tags": ["1", "x,y"], "meta": { "a": 1, "b]": 2 } }),
        json!({ "name": "7", "expand": ["data.a", "b"], "lines": [{ "sku": "1" }, { "sku": "2" }] }),
        json!({ "name": "true", "deep": { "on": true, "at": [1.5, 2.0], "in": { "k": "[v]" } } }),
    ] {
        let body: Order = serde_json::from_value(order.clone()).unwrap();
        let echoed = client.form().body(body.clone()).send().await.unwrap().into_inner();
        assert_eq!(echoed, body, "{order}");
    }
    let http = reqwest::Client::new();
    let post = async |body: &'static str| {
        let request = http.post(format!("{base}/form")).body(body);
        let answer = request.header("content-type", "application/x-www-form-urlencoded; charset=UTF-8").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, read) = post("name=a&deep[at][]=1&deep[at][]=2&expand[1]=b&expand[0]=a&tags[]=t").await;
    assert_eq!((status, read), (200, json!({ "name": "a", "deep": { "at": [1.0, 2.0] }, "expand": ["a", "b"], "tags": ["t"] })));
    for (body, said) in [
        ("", "/name: is missing"),
        ("name=a&name=b", "/name: is given more than once"),
        ("name=a&count=x", "/count: is not of type integer"),
        ("name=a&deep=1&deep[on]=true", "/deep: is given as a text and as an object"),
        ("name=a&deep[on]=maybe", "/deep/on: is not of type boolean"),
        ("name=a&meta=%7B%22a%22", "/meta: is not of type object"),
    ] {
        let (status, read) = post(body).await;
        assert!(status == 400 && read.to_string().contains(said), "{body}: {status} {read}");
    }
}

async fn texts_and_bytes_come_back(base: &str) {
    let client = Client::new(base);
    let text = async |stream: contents_client::ByteStream| {
        let mut bytes = Vec::new();
        let mut stream = stream.into_inner();
        while let Some(part) = futures_util::StreamExt::next(&mut stream).await {
            bytes.extend_from_slice(&part.unwrap());
        }
        bytes
    };
    let answer = client.note().body("äb").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/markdown; charset=utf-8");
    assert_eq!(text(answer.into_inner()).await, "ÄB".as_bytes());
    match client.note().body("no").send().await {
        Err(Error::ErrorResponse(answer)) => assert_eq!(text(answer.into_inner()).await, "nö".as_bytes()),
        _ => panic!("an error was expected"),
    }
    let answer = client.level().body("41").send().await.unwrap();
    assert_eq!(text(answer.into_inner()).await, b"42");
    let all: Vec<u8> = (0..=255).collect();
    let answer = client.image().body(all.clone()).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "image/png");
    let back: Vec<u8> = text(answer.into_inner()).await.into_iter().rev().collect();
    assert_eq!(back, all);
    client.cbor().body(vec![1, 2, 255]).send().await.unwrap();
    let merged = client.merge().body(serde_json::Map::new()).send().await.unwrap();
    assert_eq!(text(merged.into_inner()).await, b"{}");
}

async fn parameters_come_back(base: &str) {
    let client = Client::new(base);
    let filter: Filter = serde_json::from_value(json!({ "min": 1.5, "tags": ["a", "b"], "more": { "min": 2.0 } })).unwrap();
    for (search, ids) in [
        (json!({ "kind": "user", "age": 7 }), json!("a")),
        (json!({ "kind": "team", "size": ["1", "2"] }), json!([1, 2])),
    ] {
        let request = client.search().key(types::SearchKey::Integer(7)).page(3).filter(filter.clone());
        let request = request.search(serde_json::from_value::<types::SearchSearch>(search.clone()).unwrap());
        let request = request.ids(serde_json::from_value::<types::SearchIds>(ids.clone()).unwrap());
        let read = request.x_key(serde_json::from_value::<types::SearchXKey>(json!(true)).unwrap()).send().await.unwrap().into_inner();
        let query = json!({ "page": 3, "ids": ids, "filter": filter, "search": search });
        assert_eq!(read, json!([{ "key": 7 }, { "X-Key": true }, query]));
    }
    let read = client.search().key(types::SearchKey::Text("a/b".to_owned())).send().await.unwrap().into_inner();
    assert_eq!(read, json!([{ "key": "a/b" }, {}, {}]));
    let http = reqwest::Client::new();
    for (query, said) in [
        ("kind=user&age=x", "query /search"),
        ("filter[min]=x", "query /filter/min: is not of type number"),
        ("filter[min]=1&filter=2", "query /filter: is given as a text and as an object"),
    ] {
        let answer = http.get(format!("{base}/search/1?{query}")).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == 400 && text.contains(said), "{query}: {status} {text}");
    }
}

async fn media_types_are_checked(base: &str) {
    let no_redirect = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let away = no_redirect.get(format!("{base}/away")).send().await.unwrap();
    assert_eq!((away.status().as_u16(), &away.headers()["location"]), (302, &"/note".parse().unwrap()));
    for (path, sent, body, status) in [
        ("note", "text/plain", b"abc".as_slice(), 200),
        ("note", "text/plain", b"", 200),
        ("note", "text/plain", b"abcdef", 400),
        ("note", "text/plain", b"\xff", 400),
        ("note", "application/json", b"\"a\"", 415),
        ("level", "text/plain", b"0", 400),
        ("level", "text/plain", b"x", 400),
        ("image", "image/gif", b"\xff", 200),
        ("image", "Image/GIF", b"", 404),
        ("image", "application/octet-stream", b"\xff", 200),
        ("image", "text/plain", b"\xff", 415),
        ("cbor", "application/cbor", b"\xff12", 204),
        ("cbor", "image/png", b"\xff", 415),
        ("form", "application/json", b"{}", 415),
    ] {
        let url = format!("{base}/{path}");
        let request = if path == "form" { no_redirect.post(url) } else { no_redirect.put(url) };
        let answer = request.header("content-type", sent).body(body.to_vec()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {sent} {body:?}");
    }
    let answer = no_redirect.put(format!("{base}/level")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "1", "the body is optional");
    let answer = no_redirect.put(format!("{base}/image")).send().await.unwrap();
    assert_eq!(answer.status(), 400, "the body is required");
}
