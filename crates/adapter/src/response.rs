//! Writes answers.

use std::fmt;
use std::time::Duration;

use dropshot::Body;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::Value;

use super::bytes::Bytes;
use super::error::RequestError;

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

    /// Adds a body of text.
    ///
    /// # Errors
    /// [`RequestError::Internal`] if the body is more than a text in JSON.
    pub fn text(mut self, body: &impl serde::Serialize) -> Result<Self, RequestError> {
        let text = match serde_json::to_value(body) {
            Ok(Value::String(text)) => text,
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return Err(RequestError::Internal),
        };
        self.body = Some(text.into_bytes());
        Ok(self)
    }

    /// Adds a body as it is.
    ///
    /// # Errors
    /// None.
    pub fn bytes(mut self, body: Bytes) -> Result<Self, RequestError> {
        self.body = Some(body.0);
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

    pub(super) fn into_response(self) -> Response<Body> {
        let Self {
            status,
            mut headers,
            body,
        } = self;
        if body.is_some() {
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
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

/// Whole seconds, at least one (RFC 9110 §10.2.3).
pub(super) fn seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(
        duration.as_secs().max(1)
            + u64::from(duration.as_secs() > 0 && duration.subsec_nanos() > 0),
    )
}

/// An error answer that an operation declares.
pub struct ErrorAnswer {
    /// Its status.
    pub status: Declared,
    /// The error codes that the document lists for it; none if it lists none.
    pub codes: &'static [&'static str],
    /// The headers with one possible value.
    pub constant: &'static [(&'static str, &'static str)],
    /// The other headers, and whether each is required.
    pub free: &'static [(&'static str, bool)],
}

/// The status of an answer, as a document declares it.
pub enum Declared {
    /// This one.
    Exact(u16),
    /// Those that begin with this digit: `4XX`.
    Class(u16),
    /// `default`: those that no other answer declares.
    Default,
}

/// What chooses among the error answers of an operation.
#[derive(Clone, Copy)]
pub enum ErrorKey {
    /// An error code that the document lists.
    Code(&'static str),
    /// A status.
    Status(StatusCode),
}

impl ErrorAnswer {
    /// The status of the answer for `key`, if it is one.
    fn status_for(&self, key: ErrorKey) -> Option<StatusCode> {
        match (key, &self.status) {
            (ErrorKey::Code(code), Declared::Exact(status)) => {
                self.codes.contains(&code).then(|| self::status(*status))
            }
            (ErrorKey::Code(_), Declared::Class(_) | Declared::Default) => None,
            (ErrorKey::Status(status), Declared::Exact(exact)) => {
                (status.as_u16() == *exact).then_some(status)
            }
            (ErrorKey::Status(status), Declared::Class(class)) => {
                (status.as_u16() / 100 == *class).then_some(status)
            }
            (ErrorKey::Status(status), Declared::Default) => Some(status),
        }
    }
}

impl fmt::Display for ErrorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "the error code {code}"),
            Self::Status(status) => write!(f, "the status {}", status.as_u16()),
        }
    }
}

/// An error answer. `answers` is what the operation declares, from the exact to the general; of the `headers` those are sent
/// that the answer declares.
///
/// # Errors
/// [`RequestError::Undeclared`] if the operation has no such answer, or a required header of it is not given.
pub fn error_reply(
    answers: &[&ErrorAnswer],
    key: ErrorKey,
    body: &impl serde::Serialize,
    headers: &[(&'static str, Option<String>)],
) -> Result<Reply, RequestError> {
    let mut found = answers
        .iter()
        .filter_map(|answer| Some((answer, answer.status_for(key)?)));
    let Some((answer, status)) = found.next() else {
        return Err(RequestError::Undeclared(key.to_string()));
    };
    let mut reply = Reply::new(status);
    for (name, value) in answer.constant {
        reply = reply.header(name, value)?;
    }
    for (name, required) in answer.free {
        let given = headers.iter().find(|(given, _)| given == name);
        match given.and_then(|(_, value)| value.as_ref()) {
            Some(value) => reply = reply.header(name, value)?,
            None if *required => {
                return Err(RequestError::Undeclared(format!("{key} without `{name}`")));
            }
            None => {}
        }
    }
    reply.json(body)
}
