//! The runtime of the adapter, for all operations: reads requests, detects errors, writes answers.
//!
//! Knows no operation and no type of the document.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use dropshot::{
    ApiDescription, ApiEndpoint, ApiEndpointBodyContentType, ApiEndpointParameter,
    ApiEndpointVersions, Body, ExclusiveExtractor, ExtensionMode, ExtractorMetadata, HttpError,
    RawRequest, RequestContext, ServerContext, SharedExtractor,
};
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// How many violations an answer lists; the others are counted.
const MAX_VIOLATIONS: usize = 20;

/// How many bytes a pointer or a message may have as JSON. What is longer is cut and ends in `…`.
const MAX_TEXT: usize = 256;

/// How many bytes the pointers and messages of all listed violations may have as JSON.
const MAX_TEXTS: usize = 4096;

/// Of `X-Forwarded-For` the last so many entries are kept.
const MAX_FORWARDED: usize = 32;

/// What holds for every operation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest body, in bytes, that is read.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long the implementation may take, without the time in which the body arrives.
    pub deadline: Duration,
    /// What `Retry-After` says on 503 when the implementation does not.
    pub retry_after: Duration,
}

impl Default for Settings {
    /// 64 KiB, 10 s, 15 s, and 1 s.
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(15),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// Where a request comes from and where it goes, as far as its head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The `operationId` of the operation that it asks for.
    pub operation: String,
    /// The id that the answer carries as `x-request-id`.
    pub request_id: String,
    /// The peer of the connection; headers that claim another are not consulted.
    pub remote_address: SocketAddr,
    /// The `User-Agent` header, as far as it is visible ASCII.
    pub user_agent: Option<String>,
    /// What the `X-Forwarded-For` headers list, in order, of which the last 32 entries are kept; a header that is not
    /// visible ASCII is one empty entry, so that it is not skipped over. The client or a proxy claims them, and the
    /// adapter does not judge them.
    pub forwarded_for: Vec<String>,
    /// The `Prefer` headers (RFC 7240), in order, as far as they are visible ASCII. The adapter heeds none.
    pub prefer: Vec<String>,
}

/// A credential as it came. It has no `Display` and a silent `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a credential in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Why a request never became an answer of its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The credentials are missing, repeated, malformed or not accepted: 401.
    Unauthenticated,
    /// The request breaks the document's schemas: 400.
    InvalidRequest(Vec<Violation>),
    /// The body is not declared as JSON: 415.
    UnsupportedMediaType,
    /// The body is larger than this many bytes: 413.
    PayloadTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The body did not arrive in time: 408.
    RequestTimeout,
    /// The path has other methods only: 405.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: &'static str,
    },
    /// The implementation did not answer in time: 503.
    DeadlineExceeded,
    /// The implementation cannot answer now: 503.
    Unavailable {
        /// When to try again; `None` takes it from the settings.
        retry_after: Option<Duration>,
    },
    /// The implementation panicked or gave up: 500.
    Internal,
}

impl RequestError {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::DeadlineExceeded | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::InvalidRequest(_) => "INVALID_REQUEST",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::PayloadTooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Sentences for people: one, or one for each violation. Never empty, and never a value of the request.
    pub fn messages(&self) -> Vec<String> {
        let one = match self {
            Self::InvalidRequest(violations) if !violations.is_empty() => {
                return violations.iter().map(ToString::to_string).collect();
            }
            Self::InvalidRequest(_) => "the request is not valid".to_owned(),
            Self::Unauthenticated => "send valid credentials, once".to_owned(),
            Self::UnsupportedMediaType => {
                "send the body as `content-type: application/json`".to_owned()
            }
            Self::PayloadTooLarge { limit } => format!("the body is larger than {limit} bytes"),
            Self::RequestTimeout => "the body did not arrive in time".to_owned(),
            Self::MethodNotAllowed { allow } => format!("this path allows {allow}"),
            Self::DeadlineExceeded => {
                "the answer took too long; the change may or may not have been made".to_owned()
            }
            Self::Unavailable { .. } => {
                "the service cannot answer now; nothing was changed".to_owned()
            }
            Self::Internal => {
                "internal error; the x-request-id header of this answer finds it in the log"
                    .to_owned()
            }
        };
        vec![one]
    }
}

/// One way in which a request breaks the document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The part of the request.
    pub place: In,
    /// Where in that part, as a JSON Pointer (RFC 6901). One that is too long is cut and ends in `…`.
    pub pointer: String,
    /// What is wrong, without the value. A text that is too long is cut and ends in `…`.
    pub message: String,
    /// The keyword of JSON Schema that is broken, such as `minLength`; `json` for a body that is no JSON, `unique` for
    /// what is given more than once, and empty for the count of what is not listed.
    pub rule: String,
}

/// Violations as they are found, of which a bounded number of bytes is kept.
#[derive(Default)]
struct Violations {
    listed: BTreeSet<Violation>,
    /// Of the pointers and messages that are listed, as JSON.
    bytes: usize,
    /// How many are not listed.
    more: usize,
}

impl Violations {
    fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Whether one more is counted only.
    fn is_full(&self) -> bool {
        self.more > 0 || self.listed.len() >= MAX_VIOLATIONS
    }

    /// Lists a violation once, or counts it.
    fn add(&mut self, place: In, pointer: &str, message: &str, rule: &str) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let violation = Violation {
            place,
            pointer: shorten(pointer),
            message: shorten(message),
            rule: rule.to_owned(),
        };
        if self.listed.contains(&violation) {
            return;
        }
        let texts = violation.pointer.chars().chain(violation.message.chars());
        let bytes = texts.map(json_len).sum::<usize>();
        if self.bytes + bytes > MAX_TEXTS {
            self.more += 1;
            return;
        }
        self.bytes += bytes;
        self.listed.insert(violation);
    }

    fn into_fault(self) -> RequestError {
        let mut violations: Vec<Violation> = self.listed.into_iter().collect();
        if self.more > 0 {
            let message = format!("breaks the schema in {} further places", self.more);
            violations.push(whole_body(message, ""));
        }
        RequestError::InvalidRequest(violations)
    }
}

/// At most [`MAX_TEXT`] bytes of a text as JSON, cut between characters.
fn shorten(text: &str) -> String {
    let mut bytes = 0;
    let mut fits = |(_, character): &(usize, char)| {
        bytes += json_len(*character);
        bytes <= MAX_TEXT
    };
    match text.char_indices().find(|indexed| !fits(indexed)) {
        // The mark comes on top.
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// How many bytes a character takes in a JSON string.
fn json_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{9}' | '\u{a}' | '\u{c}' | '\u{d}' => 2,
        '\u{0}'..='\u{1f}' => 6,
        _ => character.len_utf8(),
    }
}

/// Shortens the keys of an invalid body, for the validator collects the pointer of every violation before it
/// returns the first one. A pointer has about `budget` bytes afterwards.
fn shorten_keys(value: &mut Value, budget: usize) {
    /// Of a key at least and at most so many bytes are kept; longer ones get a number, so that they stay distinct.
    const KEPT: (usize, usize) = (8, 128);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| shorten_keys(item, budget)),
        Value::Object(object) => {
            let entries = std::mem::take(object).into_iter().enumerate();
            *object = entries
                .map(|(index, (mut key, mut value))| {
                    let limit = budget.clamp(KEPT.0, KEPT.1);
                    if key.len() > limit {
                        let end = (0..=limit).rev().find(|end| key.is_char_boundary(*end));
                        key.truncate(end.unwrap_or_default());
                        key.push_str(&format!("…{index}"));
                    }
                    shorten_keys(&mut value, budget.saturating_sub(key.len()));
                    (key, value)
                })
                .collect();
        }
        _ => {}
    }
}

/// A part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum In {
    /// The body.
    Body,
    /// A variable of the path.
    Path,
    /// A query parameter.
    Query,
    /// A header.
    Header,
}

impl In {
    fn key(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }

    const ALL: [Self; 4] = [Self::Body, Self::Path, Self::Query, Self::Header];
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.place, self.pointer.as_str()) {
            (In::Body, "") => write!(f, "the body {}", self.message),
            (In::Body, pointer) => write!(f, "{pointer}: {}", self.message),
            (place, pointer) => write!(f, "{} {pointer}: {}", place.key(), self.message),
        }
    }
}

/// A status that the document declares; what it may declare was checked when this code was generated.
pub const fn status(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(status) => status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Reads the status of an answer that stands for several.
pub fn read_status<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<StatusCode, D::Error> {
    let code: u16 = serde::Deserialize::deserialize(deserializer)?;
    StatusCode::from_u16(code).map_err(serde::de::Error::custom)
}

/// What an operation's answer is over HTTP.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `None` for an answer without content.
    pub body: Option<Vec<u8>>,
}

impl Reply {
    /// An answer without headers and body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// Adds a JSON body.
    ///
    /// # Errors
    /// [`RequestError::Internal`] if the body cannot be written as JSON.
    pub fn json(mut self, body: &impl serde::Serialize) -> Result<Self, RequestError> {
        self.body = Some(serde_json::to_vec(body).map_err(|_| RequestError::Internal)?);
        Ok(self)
    }

    /// Adds a header.
    ///
    /// # Errors
    /// [`RequestError::Internal`] if the name or the value is invalid.
    pub fn header(
        mut self,
        name: &'static str,
        value: impl fmt::Display,
    ) -> Result<Self, RequestError> {
        let value = HeaderValue::try_from(value.to_string()).map_err(|_| RequestError::Internal)?;
        self.headers.insert(
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| RequestError::Internal)?,
            value,
        );
        Ok(self)
    }

    fn into_response(self) -> Response<Body> {
        let Self {
            status,
            mut headers,
            body,
        } = self;
        if body.is_some() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        // Answers are for their caller alone (RFC 9111 §5.2.2.5).
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        let mut response = Response::new(body.map_or_else(Body::empty, Body::from));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Runs `work` and answers, whatever becomes of it: a fault, a panic, an answer that cannot be written.
pub async fn answer<C: ServerContext>(
    rqctx: &RequestContext<C>,
    settings: &Settings,
    challenge: &'static str,
    fault_body: impl Fn(&RequestError) -> Result<Vec<u8>, serde_json::Error>,
    work: impl Future<Output = Result<Reply, RequestError>>,
) -> Response<Body> {
    let outcome = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_payload| {
            // The payload may quote anything, so the log has none of it; the panic hook says where it happened.
            slog::error!(rqctx.log, "the implementation panicked; answering 500");
            Err(RequestError::Internal)
        });
    let fault = match outcome {
        Ok(reply) => return reply.into_response(),
        Err(fault) => fault,
    };
    let mut reply = Reply::new(fault.status());
    let body = std::panic::catch_unwind(AssertUnwindSafe(|| fault_body(&fault)));
    reply.body = body.ok().and_then(Result::ok);
    let headers = &mut reply.headers;
    match &fault {
        RequestError::Unauthenticated => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        RequestError::MethodNotAllowed { allow } => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        RequestError::DeadlineExceeded | RequestError::Unavailable { retry_after: None } => {
            headers.insert(header::RETRY_AFTER, seconds(settings.retry_after));
        }
        RequestError::Unavailable {
            retry_after: Some(after),
        } => {
            headers.insert(header::RETRY_AFTER, seconds(*after));
        }
        RequestError::PayloadTooLarge { .. }
        | RequestError::RequestTimeout
        | RequestError::InvalidRequest(_)
        | RequestError::UnsupportedMediaType
        | RequestError::Internal => {}
    }
    let is_unread = matches!(
        &fault,
        RequestError::PayloadTooLarge { .. } | RequestError::RequestTimeout
    );
    // What is left of the body is not read, so the connection cannot carry another request. Whether a client that was
    // not told to continue sends its body is not known (RFC 9110 §10.1.1).
    if is_unread || expects_continue(rqctx.request.headers()) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply.into_response()
}

/// Whole seconds, at least one (RFC 9110 §10.2.3).
fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(
        duration.as_secs().max(1)
            + u64::from(duration.as_secs() > 0 && duration.subsec_nanos() > 0),
    )
}

/// The implementation's time, which does not run while the body arrives.
pub struct Budget {
    left: Duration,
}

impl Budget {
    /// The whole time that the settings allow for a request.
    pub fn new(settings: &Settings) -> Self {
        Self {
            left: settings.deadline,
        }
    }

    /// Waits for `work` within the time that is left.
    ///
    /// # Errors
    /// [`RequestError`] if the time is over.
    pub async fn spend<F: Future>(&mut self, work: F) -> Result<F::Output, RequestError> {
        let started = Instant::now();
        let output = tokio::time::timeout(self.left, work)
            .await
            .map_err(|_| RequestError::DeadlineExceeded);
        self.left = self.left.saturating_sub(started.elapsed());
        output
    }
}

/// Where the request of `rqctx` comes from.
pub fn origin<C: ServerContext>(rqctx: &RequestContext<C>) -> Origin {
    let headers = rqctx.request.headers();
    let user_agent = headers.get(header::USER_AGENT);
    let lists = headers.get_all("x-forwarded-for").iter();
    // The last were written by those who are nearest.
    let mut forwarded_for: Vec<String> = lists
        .rev()
        .flat_map(|list| list.to_str().unwrap_or_default().rsplit(','))
        .take(MAX_FORWARDED)
        .map(|entry| entry.trim().to_owned())
        .collect();
    forwarded_for.reverse();
    let prefer = headers.get_all("prefer").iter();
    Origin {
        operation: rqctx.endpoint.operation_id.clone(),
        request_id: rqctx.request_id.clone(),
        remote_address: rqctx.request.remote_addr(),
        user_agent: user_agent
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        forwarded_for,
        prefer: prefer
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect(),
    }
}

/// The credential in the header `name`, if it is there exactly once and readable.
pub fn credential(headers: &HeaderMap, name: &'static str) -> Result<Option<Secret>, RequestError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(Secret::new(text))),
        _ => Err(RequestError::Unauthenticated),
    }
}

/// What follows `Bearer` in `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, RequestError> {
    let Some(value) = credential(headers, "authorization")? else {
        return Ok(None);
    };
    let (scheme, token) = value
        .expose()
        .split_once(' ')
        .ok_or(RequestError::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Some(Secret::new(token.trim())))
    } else {
        Ok(None)
    }
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
    /// The path of the document.
    const ROUTE: &'static str;
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
}

/// No parameters in a place.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
pub struct Nothing {}

/// A request of which nothing was judged yet.
///
/// This extractor fails only for a path that the document does not have: its error can carry
/// neither headers nor the document's error type.
pub struct Input<P> {
    path: Value,
    head: http::request::Parts,
    body: Unread,
    parameters: PhantomData<fn() -> P>,
}

#[async_trait::async_trait]
impl<P: Parameters> ExclusiveExtractor for Input<P> {
    async fn from_request<C: ServerContext>(
        rqctx: &RequestContext<C>,
        request: Request<Body>,
    ) -> Result<Self, HttpError> {
        refuse_other_paths(request.uri().path(), P::ROUTE)?;
        let path = <dropshot::Path<P::Path> as SharedExtractor>::from_request(rqctx).await?;
        let path = serde_json::to_value(path.into_inner()).unwrap_or_default();
        let (head, body) = request.into_parts();
        let body = Unread::new(&head.headers, body);
        Ok(Self {
            path,
            head,
            body,
            parameters: PhantomData,
        })
    }

    fn metadata(content_type: ApiEndpointBodyContentType) -> ExtractorMetadata {
        let path = <dropshot::Path<P::Path> as SharedExtractor>::metadata(content_type.clone());
        let query = <dropshot::Query<P::Query> as SharedExtractor>::metadata(content_type.clone());
        let header = <dropshot::Header<P::Header> as SharedExtractor>::metadata(content_type);
        let parameters = [path, query, header]
            .into_iter()
            .flat_map(|metadata| metadata.parameters)
            .collect();
        ExtractorMetadata {
            extension_mode: ExtensionMode::None,
            parameters,
        }
    }
}

/// Whether an operation has a body; whether it must be there is in the schema.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BodyMode {
    /// The operation has no body.
    None,
    /// The operation has a JSON body.
    Json,
}

impl<P: Parameters> Input<P> {
    /// The headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Reads the whole request and judges it: media type, size, JSON, schema, in this order.
    pub async fn read<T: DeserializeOwned>(
        self,
        settings: &Settings,
        validator: &jsonschema::Validator,
        mode: BodyMode,
    ) -> Result<T, RequestError> {
        let mut violations = Violations::default();
        let query = self.query(&mut violations);
        let header = self.header_parameters(&mut violations);
        let path = self.path_parameters();
        let mut request = serde_json::json!({ "path": path, "query": query, "header": header });
        let mut is_broken = false;
        if mode == BodyMode::Json
            && let Some(bytes) = read_body(&self.head.headers, self.body, settings).await?
        {
            match parse_json(&bytes, &mut violations) {
                Ok(body) => request["body"] = body,
                Err((message, rule)) => {
                    violations.add(In::Body, "", &message, rule);
                    is_broken = true;
                }
            }
        }
        if validator.is_valid(&request) && violations.is_empty() {
            // What a schema cannot say, such as the range of a date, is found by reading the value.
            return serde_path_to_error::deserialize(request).map_err(|error| {
                let (place, pointer) = split(&pointer_of(error.path()));
                let mut violations = Violations::default();
                violations.add(place, &pointer, "is out of range", "format");
                violations.into_fault()
            });
        }
        if let Some(body) = request.get_mut("body") {
            shorten_keys(body, 4 * MAX_TEXT);
        }
        for error in validator.iter_errors(&request) {
            if violations.is_full() {
                violations.more += 1;
                continue;
            }
            for violation in violations_of(&error) {
                // A body that is no JSON is not missing.
                if !(is_broken && violation == missing_body()) {
                    let Violation {
                        place,
                        pointer,
                        message,
                        rule,
                    } = violation;
                    violations.add(place, &pointer, &message, &rule);
                }
            }
        }
        Err(violations.into_fault())
    }

    fn query(&self, violations: &mut Violations) -> Value {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(self.head.uri.query().unwrap_or_default())
                .unwrap_or_default();
        collect::<P>(In::Query, violations, |name| {
            pairs
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| Some(value.clone()))
                .collect()
        })
    }

    fn header_parameters(&self, violations: &mut Violations) -> Value {
        collect::<P>(In::Header, violations, |name| {
            let values = self.head.headers.get_all(name).iter();
            values
                .map(|value| value.to_str().ok().map(str::to_owned))
                .collect()
        })
    }

    fn path_parameters(&self) -> Value {
        collect::<P>(In::Path, &mut Violations::default(), |name| {
            vec![
                self.path
                    .get(name)
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            ]
        })
    }
}

/// The parameters of one place as an object; `texts` finds all values of a name, `None` for one that is not text.
fn collect<P: Parameters>(
    place: In,
    violations: &mut Violations,
    texts: impl Fn(&str) -> Vec<Option<String>>,
) -> Value {
    let mut object = serde_json::Map::new();
    for parameter in P::ALL.iter().filter(|parameter| parameter.place == place) {
        let mut fault = |message: &str, rule: &str| {
            let pointer = format!("/{}", escape(parameter.name));
            violations.add(place, &pointer, message, rule);
        };
        match texts(parameter.name).as_slice() {
            [] => {}
            [Some(text)] => {
                object.insert(parameter.name.to_owned(), parameter.kind.read(text));
            }
            [None] => fault("is not text", "type"),
            _ => fault("is given more than once", "unique"),
        }
    }
    Value::Object(object)
}

impl Kind {
    /// A text that does not mean such a value stays text, which the schema refuses.
    fn read(&self, text: &str) -> Value {
        let plain = || Value::String(text.to_owned());
        match self {
            Self::Text => plain(),
            Self::Boolean => match text {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => plain(),
            },
            Self::Number => match serde_json::from_str::<Value>(text) {
                Ok(Value::Number(number)) if !text.contains(char::is_whitespace) => {
                    match number.as_f64().filter(|_| number.is_f64()) {
                        Some(value) => whole(value),
                        None => Value::Number(number),
                    }
                }
                _ => plain(),
            },
        }
    }
}

/// A number, which is an integer if it has no fraction, whether it was written `3`, `3.0` or `3e0` (JSON Schema
/// 2020-12 §4.2.3); serde reads integers from integers only.
fn whole(value: f64) -> Value {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-END..END).contains(&value) {
        // Exact within this range.
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

fn whole_body(message: impl Into<String>, rule: &str) -> Violation {
    Violation {
        place: In::Body,
        pointer: String::new(),
        message: message.into(),
        rule: rule.to_owned(),
    }
}

/// The violation of a request without a required body.
fn missing_body() -> Violation {
    whole_body("is missing", "required")
}

/// A body, of which the rest is read and thrown away when it is dropped early.
///
/// A connection that is closed while its client still writes is reset, and the client may never see the answer. So for a
/// little while the server goes on reading (RFC 9112 §9.6); what comes after that is cut off.
///
/// A client that waits for `100 Continue` sends nothing until it gets that, which reading causes. Then there is no rest.
struct Unread {
    body: Body,
    waits: bool,
}

/// How long, and how many bytes, an unread body is thrown away.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 16 * 1024 * 1024);

impl Unread {
    fn new(headers: &HeaderMap, body: Body) -> Self {
        Self {
            body,
            waits: expects_continue(headers),
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.waits || hyper::body::Body::is_end_stream(&self.body) {
            return;
        }
        let mut body = std::mem::replace(&mut self.body, Body::empty());
        let linger = async move {
            let mut thrown_away = 0;
            while let Some(Ok(frame)) = body.frame().await {
                thrown_away += frame.data_ref().map_or(0, |data| data.len());
                if thrown_away > LINGER.1 {
                    break;
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER.0, linger));
        }
    }
}

/// Whether the client sends its body only after `100 Continue` (RFC 9110 §10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::EXPECT).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The bytes of the body, or `None` where there is none.
async fn read_body(
    headers: &HeaderMap,
    mut body: Unread,
    settings: &Settings,
) -> Result<Option<Vec<u8>>, RequestError> {
    let limit = settings.max_body_bytes;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = (types.next(), types.next());
    if media_type.0.is_none() && hyper::body::Body::is_end_stream(&body.body) {
        return Ok(None);
    }
    if !matches!(media_type, (Some(value), None) if is_json(value)) {
        return Err(RequestError::UnsupportedMediaType);
    }
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(RequestError::PayloadTooLarge { limit });
    }
    body.waits = false;
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.body.frame().await {
            // The connection broke, so the answer has no reader.
            let frame = frame
                .map_err(|_| RequestError::InvalidRequest(vec![whole_body("broke off", "json")]))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > limit {
                    return Err(RequestError::PayloadTooLarge { limit });
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes)
    };
    let bytes = tokio::time::timeout(settings.body_timeout, collect)
        .await
        .map_err(|_| RequestError::RequestTimeout)??;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// `application/json`; its parameters mean nothing, `charset` included (RFC 8259 §11): JSON is UTF-8.
fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads JSON, noting every key that an object has twice: readers differ on which of the two counts (RFC 8259 §4).
/// The error is the message and the rule of a violation.
fn parse_json(bytes: &[u8], violations: &mut Violations) -> Result<Value, (String, &'static str)> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut reader = Strict {
        pointer: String::new(),
        violations,
    };
    let value = (&mut reader)
        .deserialize(&mut deserializer)
        .and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
    value.map_err(|error| {
        // The parser's message may quote the input, so only the position and the kind are reported.
        let kind = if error.is_eof() {
            "ends too early"
        } else {
            "is not JSON"
        };
        let (line, column) = (error.line(), error.column());
        (format!("{kind} at line {line} column {column}"), "json")
    })
}

struct Strict<'a> {
    pointer: String,
    violations: &'a mut Violations,
}

impl<'de> DeserializeSeed<'de> for &mut Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(whole(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.pointer.len();
        loop {
            self.pointer.push('/');
            self.pointer.push_str(&items.len().to_string());
            let item = list.next_element_seed(&mut *self)?;
            self.pointer.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        let length = self.pointer.len();
        while let Some(key) = map.next_key::<String>()? {
            self.pointer.push('/');
            self.pointer.push_str(&escape(&key));
            let value = map.next_value_seed(&mut *self)?;
            if object.insert(key, value).is_some() {
                let message = "is given more than once";
                self.violations
                    .add(In::Body, &self.pointer, message, "unique");
            }
            self.pointer.truncate(length);
        }
        Ok(Value::Object(object))
    }
}

/// A key as a reference token (RFC 6901 §3).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Splits `/body/device_id` into its place and the pointer within.
fn split(pointer: &str) -> (In, String) {
    for place in In::ALL {
        if let Some(rest) = pointer
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(place.key()))
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return (place, rest.to_owned());
        }
    }
    (In::Body, pointer.to_owned())
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escape(key),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

fn violations_of(error: &jsonschema::ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().as_str();
    if let ValidationErrorKind::AnyOf { context } = error.kind() {
        // Where the value is meant for one branch, that branch's complaints are the ones that help: the only branch of
        // its JSON type, or among several the only one that has its literals.
        let of_its_type: Vec<_> = context
            .iter()
            .filter(|errors| !errors.iter().any(|error| is_of_another_type(error, at)))
            .collect();
        let of_its_literals: Vec<_> = of_its_type
            .iter()
            .filter(|errors| !errors.iter().any(has_another_literal))
            .copied()
            .collect();
        if let ([errors], _) | (_, [errors]) = (of_its_type.as_slice(), of_its_literals.as_slice())
        {
            return errors.iter().flat_map(violations_of).collect();
        }
    }
    let (message, below) = match error.kind() {
        ValidationErrorKind::Required { property } => (
            "is missing".to_owned(),
            format!("/{}", escape(property.as_str().unwrap_or_default())),
        ),
        kind => (message_of(kind), String::new()),
    };
    let (place, pointer) = split(&format!("{at}{below}"));
    vec![Violation {
        place,
        pointer,
        message,
        rule: error.kind().keyword().to_owned(),
    }]
}

fn is_of_another_type(error: &jsonschema::ValidationError<'_>, at: &str) -> bool {
    matches!(error.kind(), ValidationErrorKind::Type { .. }) && error.instance_path().as_str() == at
}

fn has_another_literal(error: &jsonschema::ValidationError<'_>) -> bool {
    matches!(
        error.kind(),
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. }
    )
}

/// What is wrong, without the value: it may be a secret.
fn message_of(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Type {
            kind: TypeKind::Single(name),
        } => format!("is not of type {name}"),
        ValidationErrorKind::Pattern { pattern } => format!("does not match `{pattern}`"),
        ValidationErrorKind::MinLength { limit } => format!("is shorter than {limit} characters"),
        ValidationErrorKind::MaxLength { limit } => format!("is longer than {limit} characters"),
        ValidationErrorKind::Minimum { limit } => format!("is less than {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("is more than {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("is not more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("is not less than {limit}"),
        ValidationErrorKind::MultipleOf { multiple_of } => {
            format!("is not a multiple of {multiple_of}")
        }
        ValidationErrorKind::MinItems { limit } => format!("has fewer than {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("has more than {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("has fewer than {limit} keys"),
        ValidationErrorKind::MaxProperties { limit } => format!("has more than {limit} keys"),
        ValidationErrorKind::UniqueItems => "has an item twice".to_owned(),
        ValidationErrorKind::Format { format } => format!("is not a {format}"),
        ValidationErrorKind::Enum { options } => format!("is not one of {options}"),
        ValidationErrorKind::Constant { expected_value } => format!("is not {expected_value}"),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!(
                "has unknown keys: {}",
                unexpected
                    .iter()
                    .map(|key| format!("`{key}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        ValidationErrorKind::AnyOf { .. } => {
            "matches none of the shapes that are allowed here".to_owned()
        }
        other => format!("breaks `{}`", other.keyword()),
    }
}

/// The validator of a schema that was compiled once when the code was generated.
pub fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .build(schema)
        .expect("the schema compiled when this code was generated")
}

/// A path of the document and what it allows.
pub struct Route {
    /// The path, as Dropshot writes it.
    pub path: &'static str,
    /// The methods of the path, as `Allow` lists them.
    pub allow: &'static str,
}

/// Refuses a path that Dropshot routes to `route` by skipping empty segments, `//v1//self/` for `/v1/self/`: a proxy in
/// front sees another path, and an empty value of a variable would lead to another operation. Only the slash at the end of
/// `route` may be missing.
fn refuse_other_paths(path: &str, route: &str) -> Result<(), HttpError> {
    if path.contains("//") || path.ends_with('/') && !route.ends_with('/') {
        let message = "the path has an empty segment".to_owned();
        return Err(HttpError::for_not_found(None, message));
    }
    Ok(())
}

/// Answers HEAD as GET (RFC 9110 §9.1); the server leaves the content out.
pub fn answer_head<C, P, F, R>(
    description: &mut ApiDescription<C>,
    route: &'static Route,
    operation: &str,
    handler: F,
) -> Result<(), dropshot::ApiDescriptionRegisterError>
where
    C: ServerContext,
    P: Parameters,
    F: Fn(RequestContext<C>, Input<P>) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, HttpError>> + Send + 'static,
{
    let endpoint = ApiEndpoint::new(
        operation.to_owned(),
        handler,
        Method::HEAD,
        "application/json",
        route.path,
        ApiEndpointVersions::All,
    );
    description.register(endpoint.visible(false))
}

/// Answers the methods that `route` does not have. Dropshot would answer them in its own format.
pub fn refuse_other_methods<C, P, F, R>(
    description: &mut ApiDescription<C>,
    route: &'static Route,
    answer: F,
) -> Result<(), dropshot::ApiDescriptionRegisterError>
where
    C: ServerContext,
    P: Parameters,
    F: Fn(RequestContext<C>, RequestError) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Response<Body>, HttpError>> + Send + 'static,
{
    let allow = route.allow;
    let known = [
        Method::DELETE,
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::POST,
        Method::PUT,
        Method::TRACE,
    ];
    for method in known
        .into_iter()
        .filter(|method| !allow.split(", ").any(|name| name == method.as_str()))
    {
        let answer = answer.clone();
        let handler = move |rqctx: RequestContext<C>, request: RawRequest| {
            let (head, body) = request.into_inner().into_parts();
            drop(Unread::new(&head.headers, body));
            let refused = refuse_other_paths(head.uri.path(), route.path);
            let answer = answer.clone();
            async move {
                refused?;
                answer(rqctx, RequestError::MethodNotAllowed { allow }).await
            }
        };
        let name = format!("{method} {}", route.path);
        let mut endpoint = ApiEndpoint::new(
            name,
            handler,
            method,
            "application/json",
            route.path,
            ApiEndpointVersions::All,
        )
        .visible(false);
        endpoint.parameters = path_parameters::<P>();
        description.register(endpoint)?;
    }
    Ok(())
}

/// Dropshot wants the variables of a path declared on every endpoint that has it.
fn path_parameters<P: Parameters>() -> Vec<ApiEndpointParameter> {
    let metadata =
        <dropshot::Path<P::Path> as SharedExtractor>::metadata(ApiEndpointBodyContentType::Json);
    metadata.parameters
}
