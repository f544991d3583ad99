//! Where a request comes from, and its credentials.

use std::fmt;
use std::net::SocketAddr;

use dropshot::{RequestContext, ServerContext};
use http::Uri;
use http::header::{self, HeaderMap};

use super::error::RequestError;

/// Of `X-Forwarded-For` the last so many entries are kept.
const MAX_FORWARDED: usize = 32;

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

/// Where the request of `rqctx` comes from, which asks for `operation`.
pub(super) fn origin<C: ServerContext>(rqctx: &RequestContext<C>, operation: &str) -> Origin {
    let headers = rqctx.request.headers();
    let user_agent = headers.get(header::USER_AGENT);
    let prefer = headers.get_all("prefer").iter();
    Origin {
        operation: operation.to_owned(),
        request_id: rqctx.request_id.clone(),
        remote_address: rqctx.request.remote_addr(),
        user_agent: user_agent
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        forwarded_for: forwarded_for(headers),
        prefer: prefer
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect(),
    }
}

/// The entries of all `X-Forwarded-For` headers: see [`Origin::forwarded_for`].
pub fn forwarded_for(headers: &HeaderMap) -> Vec<String> {
    let lists = headers.get_all("x-forwarded-for").iter();
    // The last were written by those who are nearest.
    let mut entries: Vec<String> = lists
        .rev()
        .flat_map(|list| list.to_str().unwrap_or_default().rsplit(','))
        .take(MAX_FORWARDED)
        .map(|entry| entry.trim().to_owned())
        .collect();
    entries.reverse();
    entries
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

/// The credential in the query parameter `name`, if it is there exactly once.
pub fn query_credential(uri: &Uri, name: &str) -> Result<Option<Secret>, RequestError> {
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    let values = pairs.into_iter().filter(|(key, _)| key == name);
    only(values.map(|(_, value)| value))
}

/// The credential in the cookie `name`, if it is there exactly once and readable (RFC 6265 §4.2.1).
pub fn cookie(headers: &HeaderMap, name: &str) -> Result<Option<Secret>, RequestError> {
    let mut found = Vec::new();
    for value in headers.get_all(header::COOKIE) {
        let text = value.to_str().map_err(|_| RequestError::Unauthenticated)?;
        let pairs = text
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        let values = pairs.filter(|(key, _)| *key == name);
        found.extend(values.map(|(_, value)| value.to_owned()));
    }
    only(found.into_iter())
}

fn only(mut values: impl Iterator<Item = String>) -> Result<Option<Secret>, RequestError> {
    match (values.next(), values.next()) {
        (first, None) => Ok(first.map(Secret::new)),
        _ => Err(RequestError::Unauthenticated),
    }
}

/// What follows `Bearer` in `Authorization` (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, RequestError> {
    authorization(headers, "bearer")
}

/// What follows `Basic` in `Authorization`: user and password in Base64 (RFC 7617 §2).
pub fn basic(headers: &HeaderMap) -> Result<Option<Secret>, RequestError> {
    authorization(headers, "basic")
}

fn authorization(headers: &HeaderMap, wanted: &str) -> Result<Option<Secret>, RequestError> {
    let Some(value) = credential(headers, "authorization")? else {
        return Ok(None);
    };
    let (scheme, token) = value
        .expose()
        .split_once(' ')
        .ok_or(RequestError::Unauthenticated)?;
    if scheme.eq_ignore_ascii_case(wanted) {
        Ok(Some(Secret::new(token.trim())))
    } else {
        Ok(None)
    }
}
