//! How generated code describes an operation to the routes.

use std::future::Future;

use http::Method;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::whole;
use super::error::{In, RequestError};
use super::origin::Origin;
use super::response::{ErrorAnswer, Reply};

/// An operation, as its document describes it.
pub trait Operation: Send + Sync + 'static {
    /// What it reads from path, query and headers.
    type Parameters: Parameters;
    /// What the implementation is called with.
    type Request: DeserializeOwned + Send + 'static;
    /// What the implementation returns if it succeeds.
    type Success: DeserializeOwned + Send + 'static;
    /// Its `operationId`.
    const ID: &'static str;
    /// Its method.
    const METHOD: Method;
    /// Its path, as Dropshot writes it.
    const PATH: &'static str;
    /// What it does, in a line.
    const SUMMARY: &'static str = "";
    /// Its tags.
    const TAGS: &'static [&'static str] = &[];
    /// Whether clients should stop calling it.
    const DEPRECATED: bool = false;
    /// How its body is read.
    const BODY: BodyMode = BodyMode::None;
    /// The media type of its body, or a range such as `image/*`. Where the body is JSON, `application/json` is taken in any
    /// case.
    const MEDIA_TYPE: &'static str = "application/json";
    /// Its error answers, from the exact to the general.
    const ERRORS: &'static [&'static ErrorAnswer] = &[];
    /// The answer to a success.
    ///
    /// # Errors
    /// [`RequestError::Internal`] if it cannot be written.
    fn reply(success: Self::Success) -> Result<Reply, RequestError>;
}

/// How an operation finds out who is calling.
pub trait Access<A>: Send + Sync + 'static {
    /// Who is calling.
    type Caller: Send;
    /// The value of `WWW-Authenticate` where credentials are missing.
    const CHALLENGE: &'static str;
    /// Finds out who is calling.
    fn authenticate(
        api: &A,
        origin: Origin,
        head: &Parts,
    ) -> impl Future<Output = Result<Self::Caller, RequestError>> + Send;
}

/// Access for anyone.
pub struct Public;

impl<A: Sync> Access<A> for Public {
    type Caller = Origin;
    const CHALLENGE: &'static str = "";

    async fn authenticate(_: &A, origin: Origin, _: &Parts) -> Result<Origin, RequestError> {
        Ok(origin)
    }
}

/// How an implementation answers errors.
pub trait Errors<A>: Send + Sync + 'static {
    /// Why an operation fails.
    type Error: Send;
    /// The body of the answer to a request that its operation did not answer.
    ///
    /// # Errors
    /// What JSON cannot write.
    fn body(api: &A, error: &RequestError) -> serde_json::Result<Vec<u8>>;
    /// The answer of an operation that failed.
    ///
    /// # Errors
    /// A [`RequestError`], which is answered instead.
    fn reply(
        api: &A,
        error: Self::Error,
        origin: &Origin,
        answers: &[&ErrorAnswer],
    ) -> Result<Reply, RequestError>;
}

/// An operation with an implementation.
pub trait Handler<A>: Operation {
    /// Who may call it.
    type Access: Access<A>;
    /// How its errors are answered.
    type Errors: Errors<A>;
    /// Calls the implementation.
    fn call(
        api: &A,
        caller: <Self::Access as Access<A>>::Caller,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Success, <Self::Errors as Errors<A>>::Error>> + Send;
}

/// The parameters of an operation, as described to Dropshot.
pub trait Parameters: Send + Sync + 'static {
    /// The path's variables, as strings.
    type Path: DeserializeOwned + serde::Serialize + schemars::JsonSchema + Send + Sync + 'static;
    /// The query parameters.
    type Query: DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
    /// The headers.
    type Header: DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
    /// How each is read.
    const ALL: &'static [Parameter];
}

/// The parameters of an operation that has none.
pub struct NoParameters;

impl Parameters for NoParameters {
    type Path = Nothing;
    type Query = Nothing;
    type Header = Nothing;
    const ALL: &'static [Parameter] = &[];
}

/// How a parameter is read.
pub struct Parameter {
    /// Its location.
    pub place: In,
    /// Its name on the wire.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
}

/// What the text of a parameter means.
pub enum Kind {
    /// As a string.
    Text,
    /// As a number.
    Number,
    /// As `true` or `false`.
    Boolean,
    /// As a list of such values.
    List(&'static Self, Separator),
    /// As whatever its schema allows.
    BySchema,
    /// As an object of which each property is a parameter of the query: `a=1&b=2`.
    Exploded,
    /// As an object of which each property stands in brackets behind the name: `name[a]=1`.
    Deep,
}

/// What stands between the items of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// The parameter is repeated for each item: `a=1&a=2`.
    Repeated,
    /// A comma.
    Comma,
    /// A space.
    Space,
    /// A vertical bar.
    Pipe,
}

impl Kind {
    /// The value of all texts that are given for a parameter; nothing if one is meant and several are given.
    pub(super) fn read_all(&self, texts: &[String]) -> Option<Value> {
        let Self::List(item, separator) = self else {
            return match texts {
                [text] => Some(self.read(text)),
                _ => None,
            };
        };
        let mark = match separator {
            Separator::Repeated => None,
            Separator::Comma => Some(','),
            Separator::Space => Some(' '),
            Separator::Pipe => Some('|'),
        };
        // Clients repeat the name where they could write a list, and the meaning is the same.
        let items = texts.iter().flat_map(|text| match mark {
            None => vec![text.as_str()],
            Some(_) if text.is_empty() => Vec::new(),
            Some(mark) => text.split(mark).collect(),
        });
        Some(items.map(|text| item.read(text.trim())).collect())
    }

    /// A text that does not mean such a value stays text, which the schema refuses.
    pub(super) fn read(&self, text: &str) -> Value {
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::List(..) | Self::BySchema | Self::Exploded | Self::Deep => plain(),
            Self::Boolean => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => plain(),
            },
            Self::Number => read_number(text).unwrap_or_else(plain),
        }
    }
}

/// The number that a text is in JSON.
pub(super) fn read_number(text: &str) -> Option<Value> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Number(number)) if !text.contains(char::is_whitespace) => {
            Some(match number.as_f64().filter(|_| number.is_f64()) {
                Some(value) => whole(value),
                None => Value::Number(number),
            })
        }
        _ => None,
    }
}

/// No parameters in a place.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
pub struct Nothing {}

/// In the extensions of a response: which operation answered the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationId(pub &'static str);

/// How the body of an operation is read; whether it must be there is in the schema.
pub enum BodyMode {
    /// The operation has no body.
    None,
    /// As JSON.
    Json,
    /// As fields (WHATWG URL §5), which mean what the schema says.
    Form,
    /// As a text in UTF-8.
    Text(Kind),
    /// As it is.
    Bytes,
}
