//! One log record and the metrics of each request, whatever answered it.
//!
//! Each request has a span. The adapter records the operation in it, and the operations what they learn: the caller, the
//! error code, which limit was reached. So every log line that a request causes says whose it is.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use arklow_api::server::{OperationId, forwarded_for};
use arklow_domain::{SessionId, UserId};
use dropshot::Body;
use http::{HeaderMap, Request, Response, StatusCode, header};
use tracing::field::{Empty, display};
use tracing::{Level, Span, error_span, event};

use crate::client_ip::TrustedProxies;
use crate::{metrics, traces};

/// The most characters of a `User-Agent` that are logged.
const MAX_USER_AGENT: usize = 256;

/// A request that is being answered.
pub(super) struct RequestRecord {
    span: Span,
    started: Instant,
    method: http::Method,
    path: String,
    user_agent: Option<String>,
}

impl RequestRecord {
    /// Begins the span, for whatever answers the request.
    pub(super) fn begin<B>(
        request: &mut Request<B>,
        peer: IpAddr,
        proxies: &TrustedProxies,
    ) -> Self {
        // Not of a lower level: what is logged at `error` has to say whose request it was.
        let span = error_span!(
            "request",
            request_id = Empty,
            operation = Empty,
            client_address = %proxies.client(peer, &forwarded_for(request.headers())),
            user_id = Empty,
            session_id = Empty,
            error_code = Empty,
            limit = Empty,
            trace_id = trace_id(request.headers()),
        );
        if let Some(id) = traces::continue_trace(&span, request.headers()) {
            span.record("trace_id", id);
        }
        request.extensions_mut().insert(span.clone());
        let user_agent = request.headers().get(header::USER_AGENT);
        let user_agent = user_agent.map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.chars().take(MAX_USER_AGENT).collect()
        });
        Self {
            span,
            started: Instant::now(),
            method: request.method().clone(),
            // Without the query, where a client may have put a token by mistake.
            path: request.uri().path().to_owned(),
            user_agent,
        }
    }

    /// Logs and counts the answer.
    pub(super) fn end(self, answer: &Response<Body>) {
        let status = answer.status();
        let operation = answer.extensions().get::<OperationId>();
        let latency = self.started.elapsed();
        metrics::answered(operation.map(|operation| operation.0), status, latency);
        traces::answered(&self.span, self.method.as_str(), status);
        if operation.is_none()
            && let Some(id) = answer.headers().get("x-request-id")
        {
            let id = String::from_utf8_lossy(id.as_bytes());
            self.span.record("request_id", id.as_ref());
        }
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // The level of an event is static, so every level needs a separate call.
        macro_rules! record {
            ($level:ident) => {
                event!(
                    parent: &self.span,
                    Level::$level,
                    method = self.method.as_str(),
                    path = self.path,
                    status = status.as_u16(),
                    latency_us,
                    user_agent = self.user_agent,
                    "answered"
                )
            };
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE => record!(WARN),
            status if status.is_server_error() => record!(ERROR),
            _ => record!(INFO),
        }
    }
}

/// The trace of the caller (W3C Trace Context §3.2): 32 digits of `traceparent`, if it is one.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = trace.len() == 32 && is_hex(trace) && trace.bytes().any(|byte| byte != b'0');
    (version.len() == 2 && is_hex(version) && version != "ff" && is_id).then_some(trace)
}

/// Records who calls.
pub(crate) fn caller(user: UserId, session: SessionId) {
    let span = Span::current();
    span.record("user_id", display(user));
    span.record("session_id", display(session));
}

/// Records why the request is not answered as asked.
pub(crate) fn error_code(code: impl Display) {
    Span::current().record("error_code", display(code));
}

/// Which limit denied a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Failed and malformed codes from one address.
    Address,
    /// Denied changes of one session or user.
    Denied,
    /// How often a user may regenerate codes or start an enrollment.
    User,
}

impl Limit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Denied => "denied",
            Self::User => "user",
        }
    }
}

/// Records and counts which limit denied the request.
pub(crate) fn limit(limit: Limit) {
    metrics::limited(limit.as_str());
    Span::current().record("limit", limit.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_is_read_as_w3c_says() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (text, expected) in [
            (format!("00-{id}-00f067aa0ba902b7-01"), Some(id)),
            (format!("cc-{id}-00f067aa0ba902b7-01-more"), Some(id)),
            (format!("ff-{id}-00f067aa0ba902b7-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (
                format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
                None,
            ),
            ("arks_secret".to_owned(), None),
            (String::new(), None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("traceparent"),
                text.parse().unwrap(),
            )]);
            assert_eq!(trace_id(&headers), expected, "{text}");
        }
    }
}
