//! Reads the body of a request, and JSON.

use std::fmt;
use std::time::Duration;

use dropshot::Body;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Settings;
use super::error::{In, RequestError};
use super::kind::{Kind, whole};
use super::validate::{Violations, escape, whole_body};

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

/// A body, of which the rest is read and thrown away when it is dropped early.
///
/// A connection that is closed while its client still writes is reset, and the client may never see the answer. So for a
/// little while the server goes on reading (RFC 9112 §9.6); what comes after that is cut off.
///
/// A client that waits for `100 Continue` sends nothing until it gets that, which reading causes. Then there is no rest.
pub(super) struct Unread {
    body: Body,
    waits: bool,
}

/// How long, and how many bytes, an unread body is thrown away.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 16 * 1024 * 1024);

impl Unread {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
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
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::EXPECT).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The bytes of the body, or `None` where there is none. An empty one is none if it is to be JSON. `accepted` is its media
/// type.
pub(super) async fn read_body(
    headers: &HeaderMap,
    mut body: Unread,
    settings: &Settings,
    mode: &BodyMode,
    accepted: &str,
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
    if !matches!(media_type, (Some(value), None) if is_accepted(value, mode, accepted)) {
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
    let is_none = bytes.is_empty() && matches!(mode, BodyMode::Json | BodyMode::None);
    Ok((!is_none).then_some(bytes))
}

/// Whether a body of this media type is read. Parameters mean nothing, `charset` included: JSON (RFC 8259 §11), forms and
/// texts are UTF-8. Bytes are also accepted as `application/octet-stream`.
fn is_accepted(value: &HeaderValue, mode: &BodyMode, accepted: &str) -> bool {
    let essence = value.to_str().ok().and_then(|text| text.split(';').next());
    let general = match mode {
        BodyMode::Json | BodyMode::None => "application/json",
        BodyMode::Bytes => "application/octet-stream",
        BodyMode::Form | BodyMode::Text(_) => accepted,
    };
    essence.is_some_and(|essence| {
        let essence = essence.trim();
        let mut types = [general, accepted].into_iter();
        types.any(|of| match of.strip_suffix('*') {
            Some("*/") => true,
            Some(start) => {
                let begins = essence.get(..start.len());
                begins.is_some_and(|begins| begins.eq_ignore_ascii_case(start))
            }
            None => essence.eq_ignore_ascii_case(of),
        })
    })
}

/// Reads JSON, noting every key that an object has twice: readers differ on which of the two counts (RFC 8259 §4).
/// The error is the message and the rule of a violation.
pub(super) fn parse_json(
    bytes: &[u8],
    violations: &mut Violations,
) -> Result<Value, (String, &'static str)> {
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
