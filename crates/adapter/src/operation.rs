//! How generated code describes an operation to the routes.

use std::future::Future;

use http::Method;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::body::BodyMode;
use super::error::{In, RequestError};
use super::kind::Kind;
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

/// No parameters in a place.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
pub struct Nothing {}

/// In the extensions of a response: which operation answered the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationId(pub &'static str);
