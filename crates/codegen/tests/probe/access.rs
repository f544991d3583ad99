//! Callers with credentials of every kind reach the implementation, which gets the credentials and scopes.

use access_api::server::*;
use serde_json::{Value, json};

struct Access;

impl Api for Access {
    type Caller = String;

    async fn authenticate(&self, _: Origin, credentials: Credentials) -> Result<String, RequestError> {
        let said = match &credentials {
            Credentials::Key(key) => format!("key {}", key.expose()),
            Credentials::App(app) => format!("app {}", app.expose()),
            Credentials::Ticket(ticket) => format!("ticket {}", ticket.expose()),
            Credentials::Session(session) => format!("session {}", session.expose()),
            Credentials::Password(pair) => format!("password {}", pair.expose()),
            Credentials::OpenId(token) => format!("open id {}", token.expose()),
            Credentials::OAuth(token, scopes) => format!("token {} for {}", token.expose(), scopes.join("+")),
            Credentials::KeyAndApp(key, app) => format!("key {} of app {}", key.expose(), app.expose()),
        };
        if said.contains("wrong") { Err(RequestError::Unauthenticated) } else { Ok(said) }
    }

    fn request_error(&self, error: &RequestError) -> Value {
        json!(error.messages())
    }

    async fn by_header(&self, caller: String, _: ByHeaderRequest) -> Result<ByHeaderAnswer, RequestError> {
        Ok(ByHeaderAnswer::Ok(caller))
    }

    async fn by_query(&self, caller: String, _: ByQueryRequest) -> Result<ByQueryAnswer, RequestError> {
        Ok(ByQueryAnswer::Ok(caller))
    }

    async fn by_cookie(&self, caller: String, _: ByCookieRequest) -> Result<ByCookieAnswer, RequestError> {
        Ok(ByCookieAnswer::Ok(caller))
    }

    async fn by_password(&self, caller: String, _: ByPasswordRequest) -> Result<ByPasswordAnswer, RequestError> {
        Ok(ByPasswordAnswer::Ok(caller))
    }

    async fn by_open_id(&self, caller: String, _: ByOpenIdRequest) -> Result<ByOpenIdAnswer, RequestError> {
        Ok(ByOpenIdAnswer::Ok(caller))
    }

    async fn with_read(&self, caller: String, _: WithReadRequest) -> Result<WithReadAnswer, RequestError> {
        Ok(WithReadAnswer::Ok(caller))
    }

    async fn with_write(&self, caller: String, _: WithWriteRequest) -> Result<WithWriteAnswer, RequestError> {
        Ok(WithWriteAnswer::Ok(caller))
    }

    async fn with_both(&self, caller: String, _: WithBothRequest) -> Result<WithBothAnswer, RequestError> {
        Ok(WithBothAnswer::Ok(caller))
    }

    async fn with_either(&self, caller: String, _: WithEitherRequest) -> Result<WithEitherAnswer, RequestError> {
        Ok(WithEitherAnswer::Ok(caller))
    }

    async fn optional_key(&self, caller: Option<String>, _: OptionalKeyRequest) -> Result<OptionalKeyAnswer, RequestError> {
        Ok(OptionalKeyAnswer::Ok(caller.unwrap_or_else(|| "nobody".to_owned())))
    }

    async fn nobody(&self, _: Origin, _: NobodyRequest) -> Result<NobodyAnswer, RequestError> {
        Ok(NobodyAnswer::Ok("nobody".to_owned()))
    }
}

pub async fn run() {
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let description = api_description::<Access>().unwrap();
    let server = dropshot::ServerBuilder::new(description, context(Access, Settings::default()), log).start().unwrap();
    let base = format!("http://{}", server.local_addr());
    let client = reqwest::Client::new();
    let key = ("x-key", "k");
    for (path, headers, said) in [
        ("/header", &[key][..], Ok("key k")),
        ("/header", &[("x-app", "a")], Err("ApiKey header=\"X-Key\"")),
        ("/query?my+%22ticket%22=t%20t", &[], Ok("ticket t t")),
        ("/query?my+%22ticket%22=t&my+%22ticket%22=u", &[], Err("ApiKey")),
        ("/cookie", &[("cookie", "a=b; sid=s=1; c")], Ok("session s=1")),
        ("/cookie", &[("cookie", "sid=s; sid=t")], Err("ApiKey cookie=\"sid\"")),
        ("/cookie", &[("cookie", "xsid=s")], Err("ApiKey cookie=\"sid\"")),
        ("/basic", &[("authorization", "basic dTpw")], Ok("password dTpw")),
        ("/basic", &[("authorization", "Bearer dTpw")], Err("Basic realm=\"api\"")),
        ("/open-id", &[("authorization", "Bearer o")], Ok("open id o")),
        ("/read", &[("authorization", "Bearer o")], Ok("token o for read")),
        ("/write", &[("authorization", "Bearer o")], Ok("token o for read+write")),
        ("/both", &[key, ("x-app", "a")], Ok("key k of app a")),
        ("/both", &[key], Err("ApiKey header=\"X-Key\", ApiKey header=\"X-App\"")),
        ("/either", &[key], Ok("key k")),
        ("/either", &[key, ("x-app", "a")], Ok("key k of app a")),
        ("/either", &[("cookie", "sid=s")], Ok("session s")),
        ("/optional", &[], Ok("nobody")),
        ("/optional", &[key], Ok("key k")),
        ("/optional", &[("x-key", "wrong")], Err("ApiKey header=\"X-Key\"")),
        ("/optional", &[key, key], Err("ApiKey header=\"X-Key\"")),
        ("/nobody", &[], Ok("nobody")),
    ] {
        let mut request = client.get(format!("{base}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        match said {
            Ok(said) => {
                assert_eq!(answer.status(), 200, "{path} {headers:?}");
                assert_eq!(answer.json::<String>().await.unwrap(), said, "{path} {headers:?}");
            }
            Err(challenge) => {
                assert_eq!(answer.status(), 401, "{path} {headers:?}");
                assert_eq!(answer.headers()["www-authenticate"], challenge, "{path} {headers:?}");
            }
        }
    }
    server.close().await.unwrap();
}
