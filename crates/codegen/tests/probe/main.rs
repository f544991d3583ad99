//! The generated vendor server with a small implementation, called by the generated vendor client and by hand.

// The types of the obstacles contain each other thirty deep.
#![recursion_limit = "256"]

mod access;
mod contents;
mod routes;
mod shapes;
mod shared;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use vendor_api::server::*;
use vendor_api::types;
use vendor_client::{Client, Error};

/// Echoes the request; `org_id` 500 panics and 503 never answers.
struct Vendor;

/// Who is calling: the credential, for the assertions.
struct Caller(String);

impl Api for Vendor {
    type Caller = Caller;

    async fn authenticate(
        &self,
        _origin: Origin,
        credentials: Credentials,
    ) -> Result<Caller, RequestError> {
        match credentials {
            Credentials::ApiKey(key) if key.expose() == "key" => Ok(Caller("key".to_owned())),
            Credentials::Bearer(token) if token.expose() == "token" => {
                Ok(Caller("bearer".to_owned()))
            }
            Credentials::ApiKey(key) if key.expose() == "busy" => Err(RequestError::Unavailable {
                retry_after: Some(Duration::from_millis(6500)),
            }),
            Credentials::ApiKey(_) | Credentials::Bearer(_) => Err(RequestError::Unauthenticated),
        }
    }

    fn request_error(&self, error: &RequestError) -> Value {
        let rules: Vec<&str> = match error {
            RequestError::InvalidRequest(violations) => violations.iter().map(|of| of.rule.as_str()).collect(),
            _ => Vec::new(),
        };
        json!({ "code": error.code(), "messages": error.messages(), "rules": rules })
    }

    async fn get_v1_orgs_by_org_id_sources(
        &self,
        _caller: Caller,
        request: GetV1OrgsByOrgIdSourcesRequest,
    ) -> Result<GetV1OrgsByOrgIdSourcesAnswer, RequestError> {
        match request.path.org_id.as_str() {
            "500" => panic!("a canary: hunter2"),
            "503" => std::future::pending().await,
            "418" => {
                // An answer can be read, too.
                let body = json!({ "data": null, "errors": [] });
                let answer = json!({ "4XX": { "status": 418, "body": body } });
                return Ok(serde_json::from_value(answer).unwrap());
            }
            "302" => {
                let body = types::Fault {
                    data: (),
                    errors: Vec::new(),
                };
                return Ok(GetV1OrgsByOrgIdSourcesAnswer::ClientError {
                    status: "302".parse().unwrap(),
                    body,
                });
            }
            _ => {}
        }
        let tags = [(
            "query".to_owned(),
            serde_json::to_string(&request.query).unwrap(),
        )]
        .into();
        let source = types::Source {
            id: request.path.org_id,
            type_: request.header.x_trace.clone().unwrap_or_default(),
            version: 1,
            tags,
            parent: None,
            order: Some(request.query.order),
            updated_at: Some(None),
            additional_properties: [("weight".to_owned(), 0.5)].into(),
        };
        Ok(GetV1OrgsByOrgIdSourcesAnswer::Ok {
            body: types::GetV1OrgsByOrgIdSourcesOkBody {
                count: request.query.take,
                items: vec![source],
            },
            x_total: request.query.skip,
            x_next: request.header.x_trace,
        })
    }

    async fn put_v1_orgs_by_org_id_sources(
        &self,
        _caller: Caller,
        request: PutV1OrgsByOrgIdSourcesRequest,
    ) -> Result<PutV1OrgsByOrgIdSourcesAnswer, RequestError> {
        Ok(PutV1OrgsByOrgIdSourcesAnswer::Ok(types::Source {
            id: request.path.org_id,
            type_: serde_json::to_string(&request.body).unwrap(),
            version: 1,
            tags: Default::default(),
            parent: None,
            order: None,
            updated_at: None,
            additional_properties: Default::default(),
        }))
    }

    async fn put_v1_orgs_by_org_id_keys(
        &self,
        _caller: Caller,
        request: PutV1OrgsByOrgIdKeysRequest,
    ) -> Result<PutV1OrgsByOrgIdKeysAnswer, RequestError> {
        Ok(PutV1OrgsByOrgIdKeysAnswer::Ok(
            [(
                "body".to_owned(),
                serde_json::to_value(request.body).unwrap(),
            )]
            .into(),
        ))
    }

    async fn delete_v1_orgs_by_org_id_keys(
        &self,
        _caller: Caller,
        _request: DeleteV1OrgsByOrgIdKeysRequest,
    ) -> Result<DeleteV1OrgsByOrgIdKeysAnswer, RequestError> {
        Ok(DeleteV1OrgsByOrgIdKeysAnswer::NoContent)
    }

    async fn mod_ack_ingress_action(
        &self,
        caller: Caller,
        request: ModAckIngressActionRequest,
    ) -> Result<ModAckIngressActionAnswer, RequestError> {
        if request.body.attempt == 9 {
            return Ok(ModAckIngressActionAnswer::Conflict(caller.0));
        }
        let status = types::ModAckIngressActionOkBodyStatus::Ok;
        Ok(ModAckIngressActionAnswer::Ok(types::ModAckIngressActionOkBody { status }))
    }

    async fn ping(&self, origin: Origin, _request: PingRequest) -> Result<PingAnswer, RequestError> {
        Ok(PingAnswer::Ok(json!([origin.remote_address.ip().to_string(), origin.forwarded_for])))
    }
}

#[tokio::main]
async fn main() {
    let settings = Settings {
        deadline: Duration::from_millis(300),
        ..Settings::default()
    };
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let api = api_description::<Vendor>().unwrap();
    let server = dropshot::ServerBuilder::new(api, context(Vendor, settings), log)
        .start()
        .unwrap();
    let base = format!("http://{}", server.local_addr());

    every_case_can_be_routed();
    dropshot_and_document_agree();
    client_and_server_agree(&base).await;
    parameters_are_judged(&base).await;
    bodies_are_judged(&base).await;
    credentials_are_judged(&base).await;
    broken_keywords_are_named(&base).await;
    claims_of_proxies_are_listed(&base).await;
    faults_are_answered(&base).await;
    server.close().await.unwrap();
    println!("vendor case: passed");
    wire::run().await;
    println!("wire case: passed");
    shared::run().await;
    println!("shared case: passed");
    access::run().await;
    println!("access case: passed");
    routes::run().await;
    println!("routes case: passed");
    shapes::run().await;
    contents::run().await;
    println!("shapes case: passed");
}

/// Dropshot panics at start on routes that it cannot have.
fn every_case_can_be_routed() {
    inline_api::server::api_description::<Nothing>().unwrap();
    obstacles_api::server::api_description::<Nothing>().unwrap();
    three_oh_api::server::api_description::<Nothing>().unwrap();
}

/// An implementation of no operation.
struct Nothing;

macro_rules! nothing {
    ($api:ident, $error:ty, [$($credentials:ident)?], [$($failure:ident)?]) => {
        impl $api::unimplemented::Unimplemented for Nothing {
            $(
                type Caller = ();

                async fn authenticate(
                    &self,
                    _: $api::server::Origin,
                    _: $api::server::$credentials,
                ) -> Result<(), $api::server::RequestError> {
                    Ok(())
                }
            )?

            fn request_error(&self, _: &$api::server::RequestError) -> $error {
                unreachable!("nothing is asked")
            }

            $(
                type Error = $api::server::RequestError;

                fn error(
                    &self,
                    error: $api::server::RequestError,
                    _: &$api::server::Origin,
                ) -> $api::server::$failure {
                    $api::server::$failure::Request(error)
                }
            )?
        }
    };
}

nothing!(inline_api, Value, [Credentials], []);
nothing!(obstacles_api, obstacles_api::types::ErrorType, [Credentials], [Failure]);
nothing!(three_oh_api, three_oh_api::types::ErrorType, [], []);

/// Dropshot's description of the trait equals the document that Progenitor reads.
fn dropshot_and_document_agree() {
    let stub = api_description::<Vendor>().unwrap().tag_config(dropshot::TagConfig::default());
    let described = stub.openapi("Vendor", "0.1.0".parse().unwrap()).json().unwrap();
    let lowered: Value = serde_json::from_str(include_str!("../../vendor/api/src/generated/openapi-3.0.json")).unwrap();
    let described = operations(&described);
    assert_eq!(described, operations(&lowered));
    assert_eq!(described.len(), 6);
}

/// By method and path: id, tags, and the parameters' places, names, need and JSON types.
fn operations(document: &Value) -> BTreeMap<String, Value> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten().map(|of| {
                // Dropshot describes an enum by the strings it is read from.
                let of_type = of["schema"].get("type").cloned().unwrap_or(json!("string"));
                json!([of["in"], of["name"], of["required"].as_bool().unwrap_or(false), of_type])
            });
            let mut parameters: Vec<Value> = parameters.collect();
            parameters.sort_by_key(Value::to_string);
            let tags = operation.get("tags").cloned().unwrap_or(json!([]));
            // Dropshot routes, and describes, a path without the slash at its end.
            let path = path.trim_end_matches('/');
            operations.insert(format!("{method} {path}"), json!([operation["operationId"], tags, parameters]));
        }
    }
    operations
}

fn http(header: &'static str, value: &'static str) -> reqwest::Client {
    let headers = [(
        header.parse().unwrap(),
        reqwest::header::HeaderValue::from_static(value),
    )]
    .into_iter()
    .collect();
    reqwest::Client::builder()
        .default_headers(headers)
        .build()
        .unwrap()
}

async fn client_and_server_agree(base: &str) {
    let client = Client::new_with_client(base, http("x-vendor-auth", "key"));
    let page = client
        .get_v1_orgs_by_org_id_sources()
        .org_id("7")
        .take(5.0)
        .status(types::GetV1OrgsByOrgIdSourcesStatus::Paused)
        .order(types::Order::Minus1)
        .x_trace("abc")
        .send()
        .await
        .unwrap();
    assert_eq!(page.headers()["x-total"], "0");
    assert_eq!(page.headers()["x-next"], "abc");
    assert_eq!(page.headers()["cache-control"], "no-store");
    let page = page.into_inner();
    assert_eq!(
        (page.count, page.items[0].order),
        (5.0, Some(types::Order::Minus1))
    );
    assert_eq!(page.items[0].updated_at, Some(None), "null is not absent");
    assert_eq!(page.items[0].additional_properties["weight"], 0.5);

    let body = types::NewSource::Webhook(types::NewSourceWebhook {
        type_: types::NewSourceWebhookType::Webhook,
        schema: json!(null),
        secret: Some(types::NewSourceWebhookSecret::Text("s".to_owned())),
        step: Some(types::NewSourceWebhookStep::Delete(
            types::NewSourceWebhookStepDelete {
                op: types::NewSourceWebhookStepDeleteOp::Delete,
            },
        )),
    });
    let echoed = client
        .put_v1_orgs_by_org_id_sources()
        .org_id("7")
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(
        serde_json::from_str::<types::NewSource>(&echoed.type_).unwrap(),
        body
    );

    let gone = types::DeleteV1OrgsByOrgIdKeysBody { id: "1".to_owned() };
    client
        .delete_v1_orgs_by_org_id_keys()
        .org_id("7")
        .body(gone)
        .send()
        .await
        .unwrap();

    let late = types::ModAckIngressActionBody {
        action_record_id: "1".to_owned(),
        attempt: 9,
        terms: None,
    };
    match client.mod_ack_ingress_action().body(late).send().await {
        Err(Error::ErrorResponse(answer)) => {
            assert_eq!((answer.status().as_u16(), &*answer), (409, &json!("key")))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(*client.ping().send().await.unwrap(), json!(["127.0.0.1", []]));
}

/// The status and the messages of the answer.
async fn call(request: reqwest::RequestBuilder) -> (u16, Vec<String>) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (
        status,
        serde_json::from_value(body["messages"].clone()).unwrap_or_default(),
    )
}

async fn parameters_are_judged(base: &str) {
    let http = http("x-vendor-auth", "key");
    let url = format!(
        "{base}/v1/orgs/x/sources/?take=51&skip=1.5&count_only=maybe&status=gone&order=newest&order=oldest"
    );
    let (status, messages) = call(http.get(url).header("x-trace", "far too long")).await;
    assert_eq!(status, 400);
    let expected = [
        "path /org_id: does not match `^[0-9]+$`",
        "query /count_only: is not of type boolean",
        "query /order: is given more than once",
        "query /skip: is not of type integer",
        "query /status: is not one of [\"active\",\"paused\"]",
        "query /take: is more than 50",
        "header /x-trace: is longer than 8 characters",
    ];
    assert_eq!(messages, expected);
    let whole = http.get(format!("{base}/v1/orgs/7/sources/?take=5.0&skip=3e0"));
    assert_eq!(whole.send().await.unwrap().status(), 200);
    let answer = http.get(format!("{base}/v1/ping/")).send().await.unwrap();
    assert_eq!(answer.status(), 404, "the route has no slash at the end");
    for path in ["/v1//orgs/7/sources/", "//v1/orgs/7/sources/", "/v1/orgs//sources/"] {
        let answer = http.put(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    let head = http.head(format!("{base}/v1/orgs/7/sources")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["x-total"]), (200, &"0".parse().unwrap()));
    let defaults = http
        .get(format!("{base}/v1/orgs/7/sources?unknown=1"))
        .send()
        .await
        .unwrap();
    let page: types::GetV1OrgsByOrgIdSourcesOkBody = defaults.json().await.unwrap();
    assert_eq!(
        page.items[0].tags["query"],
        r#"{"take":20.0,"skip":0,"order":"newest"}"#
    );
}

async fn bodies_are_judged(base: &str) {
    let http = http("x-vendor-auth", "key");
    let put = |body: Value| call(http.put(format!("{base}/v1/orgs/7/sources/")).json(&body));
    let (status, messages) =
        put(json!({ "type": "aws_sqs", "name": "", "config": {}, "credential_id": "x" })).await;
    assert_eq!(status, 400);
    let expected = [
        "/config/queue_url: is missing",
        "/credential_id: does not match `^[0-9]+$`",
        "/name: is shorter than 1 characters",
    ];
    assert_eq!(messages, expected, "the branch that was meant is judged");
    let (status, messages) =
        put(json!({ "type": "webhook", "schema": 1, "step": { "op": "create", "version": 0 } }))
            .await;
    assert_eq!(
        (status, messages),
        (400, vec!["/step/version: is less than 1".to_owned()])
    );
    let (status, messages) = put(json!({ "type": "ftp" })).await;
    assert_eq!((status, messages.len()), (400, 1));
    assert_eq!(
        put(json!({ "type": "webhook", "schema": null, "extra": 1 }))
            .await
            .0,
        200
    );

    let broken = http.put(format!("{base}/v1/orgs/x/sources/")).header("content-type", "application/json").body("{");
    let expected = ["the body ends too early at line 1 column 1", "path /org_id: does not match `^[0-9]+$`"];
    assert_eq!(call(broken).await, (400, expected.map(str::to_owned).to_vec()), "all at once");
    let missing = http.put(format!("{base}/v1/orgs/7/sources/"));
    assert_eq!(call(missing).await, (400, vec!["the body is missing".to_owned()]));

    let keys = format!("{base}/v1/orgs/7/keys");
    let empty: Value = http.put(&keys).send().await.unwrap().json().await.unwrap();
    assert_eq!(empty, json!({ "body": null }), "the body is optional");
    let filled: Value = http
        .put(&keys)
        .json(&json!({}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        filled,
        json!({ "body": { "retries": 3 } }),
        "the default is filled in"
    );
    let (status, messages) = call(
        http.put(&keys)
            .json(&json!({ "scopes": ["a", "a"], "retries": 3e9 })),
    )
    .await;
    assert_eq!(
        (status, messages),
        (
            400,
            vec![
                "/retries: is more than 2147483647".to_owned(),
                "/scopes: has an item twice".to_owned()
            ]
        )
    );
    for whole in ["3.0", "3e0", "0.3e1", "3"] {
        let raw = http
            .put(&keys)
            .header("content-type", "application/json; charset=utf-16")
            .body(format!(r#"{{"retries":{whole}}}"#));
        let echoed: Value = raw.send().await.unwrap().json().await.unwrap();
        assert_eq!(echoed["body"]["retries"], json!(3), "{whole}");
    }
    let huge = http
        .put(format!("{base}/v1/orgs/7/sources/"))
        .json(&json!({ "type": "aws_sqs", "name": "n", "credential_id": "1", "config": {}, "x".repeat(60_000): 1 }));
    let (status, messages) = call(huge).await;
    assert_eq!(status, 400);
    assert!(messages.concat().len() < 4096, "{}", messages.concat().len());
    let nested = "[".repeat(60_000);
    let raw = http
        .put(&keys)
        .header("content-type", "application/json")
        .body(nested);
    assert_eq!(call(raw).await.0, 400);
}

/// The rules that a request breaks, in the order of their messages.
async fn rules(request: reqwest::RequestBuilder) -> Vec<String> {
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    serde_json::from_value(body["rules"].clone()).unwrap()
}

async fn broken_keywords_are_named(base: &str) {
    let http = http("x-vendor-auth", "key");
    let url = format!("{base}/v1/orgs/x/sources/?take=51&count_only=maybe&status=gone&order=newest&order=oldest");
    let parameters = http.get(url).header("x-trace", "far too long");
    assert_eq!(rules(parameters).await, ["pattern", "type", "unique", "enum", "maximum", "maxLength"]);
    let not_text = reqwest::header::HeaderValue::from_bytes(b"\xff").unwrap();
    let header = http.get(format!("{base}/v1/orgs/7/sources/")).header("x-trace", not_text);
    assert_eq!(rules(header).await, ["type"]);

    let put = |body: &'static str| {
        let request = http.put(format!("{base}/v1/orgs/7/sources/"));
        rules(request.header("content-type", "application/json").body(body))
    };
    let judged = put(r#"{ "type": "aws_sqs", "name": "", "config": {}, "credential_id": "x" }"#);
    assert_eq!(judged.await, ["required", "pattern", "minLength"]);
    let twice = put(r#"{ "type": "webhook", "schema": null, "schema": 1, "schema": 2 }"#);
    assert_eq!(twice.await, ["unique"], "the same complaint is listed once");
    assert_eq!(put("{").await, ["json"], "a body that is no JSON is not missing");
    let missing = http.put(format!("{base}/v1/orgs/7/sources/"));
    assert_eq!(rules(missing).await, ["required"]);
}

async fn claims_of_proxies_are_listed(base: &str) {
    let pinged = async |values: &[&[u8]]| {
        let mut request = reqwest::Client::new().get(format!("{base}/v1/ping"));
        for value in values {
            let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
            request = request.header("x-forwarded-for", value);
        }
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let listed = pinged(&[b"203.0.113.7 ,unknown", b"\xff, 10.0.0.1", b"[2001:db8::1]:80,"]).await;
    let expected = json!(["127.0.0.1", ["203.0.113.7", "unknown", "", "[2001:db8::1]:80", ""]]);
    assert_eq!(listed, expected, "in order, and what is not text is not skipped over");
    let many: Vec<String> = (0..40).map(|entry| entry.to_string()).collect();
    let listed = pinged(&[many.join(",").as_bytes()]).await;
    assert_eq!(listed, json!(["127.0.0.1", many[8..]]), "the last 32");
}

async fn credentials_are_judged(base: &str) {
    let plain = reqwest::Client::new();
    let body = json!({ "action_record_id": "1", "attempt": 9 });
    let modack = || plain.post(format!("{base}/v1/modack")).json(&body);
    let answer = modack().send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["www-authenticate"],
        "ApiKey header=\"x-vendor-auth\", Bearer"
    );
    assert_eq!(
        modack()
            .bearer_auth("token")
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap(),
        json!("bearer")
    );
    assert_eq!(call(modack().bearer_auth("wrong")).await.0, 401);
    assert_eq!(
        call(modack().header("authorization", "Basic dG9rZW4="))
            .await
            .0,
        401
    );
    assert_eq!(
        call(
            modack()
                .header("x-vendor-auth", "key")
                .header("x-vendor-auth", "key")
        )
        .await
        .0,
        401
    );
    let busy = modack()
        .header("x-vendor-auth", "busy")
        .send()
        .await
        .unwrap();
    assert_eq!(busy.status(), 503);
    assert_eq!(
        busy.headers()["retry-after"],
        "7",
        "whole seconds, rounded up"
    );
}

async fn faults_are_answered(base: &str) {
    let http = http("x-vendor-auth", "key");
    std::panic::set_hook(Box::new(|_| {}));
    let (status, messages) = call(http.get(format!("{base}/v1/orgs/500/sources/"))).await;
    assert_eq!(status, 500);
    assert!(!messages.concat().contains("hunter2"));
    assert_eq!(
        call(http.get(format!("{base}/v1/orgs/503/sources/")))
            .await
            .0,
        503
    );
    assert_eq!(
        call(http.get(format!("{base}/v1/orgs/418/sources/")))
            .await
            .0,
        418
    );
    assert_eq!(
        call(http.get(format!("{base}/v1/orgs/302/sources/")))
            .await
            .0,
        500,
        "302 is not in the class 4XX"
    );
    let answer = http
        .post(format!("{base}/v1/orgs/7/sources/"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD, PUT");
    assert_eq!(
        answer.json::<Value>().await.unwrap()["code"],
        "METHOD_NOT_ALLOWED"
    );
}
