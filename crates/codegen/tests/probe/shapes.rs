//! The validator enforces what the document says, also where the Rust type says less, and what passes is read and written
//! unchanged.

use serde_json::{Value, json};
use shapes_api::server::*;
use shapes_api::types::MediaBadRequestBody;
use shapes_client::Client;

struct Shapes;

impl Api for Shapes {
    fn request_error(&self, error: &RequestError) -> Value {
        json!(error.messages())
    }

    async fn echo(&self, _: Origin, request: EchoRequest) -> Result<EchoAnswer, RequestError> {
        Ok(EchoAnswer::Ok(request.body))
    }

    async fn lists(&self, _: Origin, request: ListsRequest) -> Result<ListsAnswer, RequestError> {
        let ListsRequest { path, query, header } = request;
        Ok(ListsAnswer::Ok(vec![
            json!(path.ids).to_string(),
            json!(query.tag).to_string(),
            json!(query.flags).to_string(),
            json!(query.words).to_string(),
            json!(header.x_ids).to_string(),
        ]))
    }

    async fn media(&self, _: Origin, request: MediaRequest) -> Result<MediaAnswer, RequestError> {
        Ok(match request.body.len() {
            0 => MediaAnswer::NoContent,
            1 => MediaAnswer::Ok(request.body),
            2 => MediaAnswer::Created { x_list: Some("a, b".to_owned()), body: "made".to_owned() },
            _ => MediaAnswer::BadRequest(MediaBadRequestBody { title: Some("too much".to_owned()) }),
        })
    }
}

pub async fn run() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let description = api_description::<Shapes>().unwrap();
    let server = dropshot::ServerBuilder::new(description, context(Shapes, Settings::default()), log).start().unwrap();
    let base = format!("http://{}", server.local_addr());
    what_is_valid_comes_back_and_nothing_else(&base).await;
    lists_are_read_as_their_styles_write_them(&base).await;
    media_types_are_those_of_the_document(&base).await;
    server.close().await.unwrap();
}

async fn what_is_valid_comes_back_and_nothing_else(base: &str) {
    let client = reqwest::Client::new();
    for (body, is_valid) in [
        (json!({ "pet": { "name": "Tom", "kind": "cat" } }), true),
        (json!({ "pet": { "name": "Tom", "kind": "cat", "id": 7 } }), true),
        (json!({ "pet": { "name": "Tom" } }), false),
        (json!({ "pet": { "name": "Thomas", "kind": "cat" } }), false),
        (json!({ "pet": { "name": "Tom", "kind": "bird" } }), false),
        (json!({ "level": 3 }), true),
        (json!({ "level": 4 }), false),
        (json!({ "either": { "fins": 2, "paws": 4, "more": [null] } }), true),
        (json!({ "either": { "wings": 2 } }), false),
        (json!({ "both": { "paws": 4, "claws": 18 } }), true),
        (json!({ "both": { "paws": 4 } }), false),
        (json!({ "both": { "claws": 18 } }), false),
        (json!({ "tags": { "a": "b" } }), true),
        (json!({ "tags": { "A": "b" } }), false),
        (json!({ "tags": { "none": "b" } }), false),
        (json!({ "tags": { "a": 1 } }), false),
        (json!({ "several": "a" }), true),
        (json!({ "several": 12345678901234567890u64 }), true),
        (json!({ "several": 1.5 }), false),
        (json!({ "tuple": ["a", 1] }), true),
        (json!({ "tuple": ["a", "b"] }), false),
        (json!({ "tuple": ["a", 1, 2] }), false),
        (json!({ "bounded": "abc" }), true),
        (json!({ "bounded": 12345 }), true),
        (json!({ "bounded": "abcd" }), false),
        (json!({ "old": null }), true),
        (json!({ "implied": { "a": 1 } }), true),
        (json!({ "implied": {} }), false),
    ] {
        let answer = client.post(format!("{base}/echo")).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(status, if is_valid { 200 } else { 400 }, "{body}: {text}");
        if is_valid && body != json!({ "old": null }) {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), body);
        }
    }
}

async fn lists_are_read_as_their_styles_write_them(base: &str) {
    let client = reqwest::Client::new();
    let read = async |path: &str, ids: Option<&str>| {
        let mut request = client.get(format!("{base}{path}"));
        if let Some(ids) = ids {
            request = request.header("x-ids", ids);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, said) = read("/lists/1,2?tag=a&tag=b,c&flags=true,false&words=x|y%7Cz", Some("3, 4")).await;
    let said: Vec<String> = serde_json::from_str(&said).unwrap();
    assert_eq!(status, 200);
    assert_eq!(said, ["[1,2]", r#"["a","b,c"]"#, "[true,false]", r#"["x","y","z"]"#, "[3,4]"]);
    let (_, said) = read("/lists/1?flags=true&flags=false", None).await;
    assert!(said.contains("[true,false]"), "{said}");
    for (path, ids, part) in [
        ("/lists/1,a", None, "path"),
        ("/lists/1,2,3,4", None, "path"),
        ("/lists/1?tag=", None, "tag"),
        ("/lists/1?flags=yes", None, "flags"),
        ("/lists/1", Some("a"), "x-ids"),
    ] {
        let (status, said) = read(path, ids).await;
        assert!(status == 400 && said.to_lowercase().contains(part), "{path}: {status} {said}");
    }
    let client = Client::new(base);
    let sent = client.lists().ids("7,8").tag(vec!["a b".to_owned()]).flags(vec![true, false]).x_ids("9");
    let said = sent.send().await.unwrap().into_inner();
    assert_eq!(said, ["[7,8]", r#"["a b"]"#, "[true,false]", "null", "[9]"]);
}

async fn media_types_are_those_of_the_document(base: &str) {
    let client = reqwest::Client::new();
    for (sent, body, status, media_type) in [
        ("application/json", json!({}), 204, None),
        ("application/Merge-Patch+json", json!({ "a": 1 }), 200, Some("application/scim+json")),
        ("application/json", json!({ "a": 1, "b": 2 }), 201, Some("application/json")),
        ("application/json", json!({ "a": 1, "b": 2, "c": 3 }), 400, Some("application/problem+json")),
        ("application/xml", json!({}), 415, Some("application/json")),
        ("application/scim+json", json!({}), 415, Some("application/json")),
    ] {
        let request = client.put(format!("{base}/media")).header("content-type", sent);
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{sent} {body}");
        let given = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(given.as_deref(), media_type, "{sent} {body}");
        let list = answer.headers().get("x-list").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(list.as_deref(), (status == 201).then_some("a, b"));
    }
    let body: serde_json::Map<String, Value> = serde_json::from_value(json!({ "a": 1, "b": 2 })).unwrap();
    let made = Client::new(base).media().body(body).send().await.unwrap();
    assert_eq!(made.status(), 201);
}
