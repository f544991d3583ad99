//! Requests reach the operation of their path where Dropshot's router needs help, by the generated client and by hand.

use routes_api::server::*;
use routes_client::{Client, Error};
use serde_json::{Value, json};

struct Routes;

fn said(origin: &Origin, variables: &[String]) -> String {
    let operation = &origin.operation;
    variables.iter().fold(operation.clone(), |said, variable| format!("{said} {variable}"))
}

impl Api for Routes {
    fn request_error(&self, error: &RequestError) -> Value {
        json!(error.messages())
    }

    async fn get_user(&self, origin: Origin, request: GetUserRequest) -> Result<GetUserAnswer, RequestError> {
        Ok(GetUserAnswer::Ok(said(&origin, &[request.path.user_id])))
    }

    async fn put_user(&self, origin: Origin, request: PutUserRequest) -> Result<PutUserAnswer, RequestError> {
        Ok(PutUserAnswer::Ok(said(&origin, &[request.path.id])))
    }

    async fn get_me(&self, origin: Origin, _: GetMeRequest) -> Result<GetMeAnswer, RequestError> {
        Ok(GetMeAnswer::Ok(said(&origin, &[])))
    }

    async fn get_post(&self, origin: Origin, request: GetPostRequest) -> Result<GetPostAnswer, RequestError> {
        Ok(GetPostAnswer::Ok(said(&origin, &[request.path.user_id, request.path.id])))
    }

    async fn get_my_last_post(&self, origin: Origin, _: GetMyLastPostRequest) -> Result<GetMyLastPostAnswer, RequestError> {
        Ok(GetMyLastPostAnswer::Ok(said(&origin, &[])))
    }

    async fn get_users(&self, origin: Origin, _: GetUsersRequest) -> Result<GetUsersAnswer, RequestError> {
        Ok(GetUsersAnswer::Ok(said(&origin, &[])))
    }

    async fn remove_members(&self, origin: Origin, request: RemoveMembersRequest) -> Result<RemoveMembersAnswer, RequestError> {
        Ok(RemoveMembersAnswer::Ok(said(&origin, &[request.path.rest])))
    }

    async fn remove_member(&self, origin: Origin, request: RemoveMemberRequest) -> Result<RemoveMemberAnswer, RequestError> {
        Ok(RemoveMemberAnswer::Ok(said(&origin, &[request.path.rest, request.path.id])))
    }

    async fn member_options(&self, origin: Origin, request: MemberOptionsRequest) -> Result<MemberOptionsAnswer, RequestError> {
        Ok(MemberOptionsAnswer::Ok(said(&origin, &[request.path.rest, request.path.id])))
    }

    async fn get_group(&self, origin: Origin, request: GetGroupRequest) -> Result<GetGroupAnswer, RequestError> {
        Ok(GetGroupAnswer::Ok(said(&origin, &[request.path.rest])))
    }

    async fn get_json(&self, origin: Origin, request: GetJsonRequest) -> Result<GetJsonAnswer, RequestError> {
        Ok(GetJsonAnswer::Ok(said(&origin, &[request.path.name])))
    }

    async fn get_file(&self, origin: Origin, request: GetFileRequest) -> Result<GetFileAnswer, RequestError> {
        Ok(GetFileAnswer::Ok(said(&origin, &[request.path.name, request.path.ending])))
    }

    async fn get_folder(&self, origin: Origin, request: GetFolderRequest) -> Result<GetFolderAnswer, RequestError> {
        Ok(GetFolderAnswer::Ok(said(&origin, &[request.path.name])))
    }

    async fn without_slash(&self, origin: Origin, _: WithoutSlashRequest) -> Result<WithoutSlashAnswer, RequestError> {
        Ok(WithoutSlashAnswer::Ok(said(&origin, &[])))
    }

    async fn with_slash(&self, origin: Origin, _: WithSlashRequest) -> Result<WithSlashAnswer, RequestError> {
        Ok(WithSlashAnswer::Ok(said(&origin, &[])))
    }

    async fn get_alone(&self, origin: Origin, request: GetAloneRequest) -> Result<GetAloneAnswer, RequestError> {
        Ok(GetAloneAnswer::Ok(said(&origin, &[request.path.id])))
    }
}

pub async fn run() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let description = api_description::<Routes>().unwrap();
    let server = dropshot::ServerBuilder::new(description, context(Routes, Settings::default()), log).start().unwrap();
    let base = format!("http://{}", server.local_addr());
    clients_reach_what_they_call(&base).await;
    requests_by_hand_reach_one_operation_or_none(&base).await;
    server.close().await.unwrap();
}

async fn clients_reach_what_they_call(base: &str) {
    let client = Client::new(base);
    let answers = [
        client.get_user().user_id("u").send().await,
        client.put_user().id("u").body("b").send().await,
        client.get_me().send().await,
        client.get_post().user_id("me").id("1").send().await,
        client.get_my_last_post().send().await,
        client.get_users().send().await,
        client.remove_members().rest("g").send().await,
        client.remove_member().rest("g/h").id("m").send().await,
        client.member_options().rest("g").id("all of them").send().await,
        client.get_group().rest("g").send().await,
        client.get_json().name("n").send().await,
        client.get_file().name("n").ending("xml").send().await,
        client.get_folder().name("n").send().await,
        client.without_slash().send().await,
        client.with_slash().send().await,
        client.get_alone().id("i").send().await,
    ];
    let said = answers.map(|answer| answer.unwrap().into_inner());
    let expected = [
        "get_user u",
        "put_user u",
        "get_me",
        "get_post me 1",
        "get_my_last_post",
        "get_users",
        "remove_members g",
        "remove_member g/h m",
        "member_options g all of them",
        "get_group g",
        "get_json n",
        "get_file n xml",
        "get_folder n",
        "without_slash",
        "with_slash",
        "get_alone i",
    ];
    assert_eq!(said, expected);
    match client.put_user().id("u").body("long").send().await {
        Err(Error::UnexpectedResponse(answer)) => assert_eq!(answer.status(), 400),
        other => panic!("{other:?}"),
    }
}

async fn requests_by_hand_reach_one_operation_or_none(base: &str) {
    let client = reqwest::Client::new();
    for (method, path, answered) in [
        ("GET", "/users/%6de", Ok("get_me")),
        ("GET", "/users/m%65%20", Ok("get_user me ")),
        ("GET", "/users/a%2Fb/posts/c%3Fd", Ok("get_post a/b c?d")),
        ("GET", "/users/me/posts/%6cast", Ok("get_my_last_post")),
        ("GET", "/files/a.b.json", Ok("get_json a.b")),
        ("GET", "/files/a.b.c", Ok("get_file a b.c")),
        ("GET", "/files/%2e.json", Ok("get_json .")),
        ("GET", "/files/.json", Ok("get_folder .json")),
        ("GET", "/files/a.", Ok("get_folder a.")),
        ("GET", "/files/a.ending", Err((400, None))),
        ("POST", "/slash", Ok("with_slash")),
        ("GET", "/slash/", Err((404, None))),
        ("PUT", "/users/me", Err((405, Some("GET, HEAD")))),
        ("DELETE", "/users/u", Err((405, Some("GET, HEAD, PUT")))),
        ("GET", "/groups/g/members/m", Err((405, Some("DELETE, OPTIONS")))),
        ("GET", "/groups/g/members", Err((404, None))),
        ("GET", "/groups/g/members/", Err((404, None))),
        ("GET", "/users/u/posts", Err((404, None))),
        ("GET", "/users/u/", Err((404, None))),
        ("GET", "/users//u", Err((404, None))),
        ("GET", "/users/u/posts/1/2", Err((404, None))),
        ("GET", "/users/%ff", Err((400, None))),
        ("GET", "/nowhere", Err((404, None))),
    ] {
        let request = client.request(method.parse().unwrap(), format!("{base}{path}"));
        let answer = request.send().await.unwrap();
        match answered {
            Ok(said) => {
                assert_eq!(answer.status(), 200, "{method} {path}");
                assert_eq!(answer.json::<String>().await.unwrap(), said, "{method} {path}");
            }
            Err((status, allow)) => {
                let allowed = answer.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
                assert_eq!((answer.status().as_u16(), allowed.as_deref()), (status, allow), "{method} {path}");
            }
        }
    }
    let head = client.head(format!("{base}/users/me")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
    // A variable that takes long to find would be an attack.
    let long = "a.".repeat(20_000);
    let started = std::time::Instant::now();
    let answer = client.get(format!("{base}/files/{long}")).send().await.unwrap();
    assert!(answer.status().is_client_error() && started.elapsed().as_secs() < 2);
}
