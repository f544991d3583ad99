//! How a request is sent: with which token, for how long, and whether once more.
//!
//! The generated client calls this for every operation. It knows no operation: the HTTP method decides
//! whether a request may be repeated. Progenitor's hooks call it, so token, time limits and retries also hold for the
//! builders.
#![warn(missing_docs)]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use progenitor_client::{ClientHooks, ClientInfo, Error, OperationInfo};
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Request, Response, StatusCode};

use crate::generated::Client;
use crate::token::Tokens;

/// The header that carries the token.
const CREDENTIAL: HeaderName = HeaderName::from_static("x-arklow-auth");

/// The header with the trace of a request.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The first wait is about so long, each one after it twice as long, up to a limit.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What the generated client keeps for sending.
#[derive(Clone, Debug)]
pub struct Transport {
    pub(crate) tokens: Arc<Tokens>,
    /// For the whole of a call: fetching a token, sending, waiting, sending again, reading the answer.
    pub(crate) timeout: Duration,
    /// How often a request is sent again, at most.
    pub(crate) retries: u32,
    pub(crate) trace_context: TraceContext,
}

/// Asks for the trace that a request is part of.
#[derive(Clone, Default)]
pub(crate) struct TraceContext(Option<Arc<dyn Fn() -> Option<String> + Send + Sync>>);

impl TraceContext {
    pub(crate) fn of(traceparent: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(traceparent)))
    }

    fn header(&self) -> Option<HeaderValue> {
        let traceparent = self.0.as_ref()?;
        HeaderValue::from_str(&traceparent()?).ok()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceContext")
            .field(&self.0.is_some())
            .finish()
    }
}

impl ClientHooks<Transport> for Client {
    async fn pre<E>(&self, request: &mut Request, _: &OperationInfo) -> Result<(), Error<E>> {
        let Transport {
            tokens,
            timeout,
            trace_context,
            ..
        } = self.inner();
        let started = Instant::now();
        let token = tokio::time::timeout(*timeout, tokens.current())
            .await
            .unwrap_or_else(|_| Err(format!("none came within {timeout:?}")))
            .map_err(Error::Custom)?;
        request
            .headers_mut()
            .insert(CREDENTIAL, token.header().clone());
        if let Some(traceparent) = trace_context.header() {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        *request.timeout_mut() = Some(timeout.saturating_sub(started.elapsed()));
        Ok(())
    }

    async fn exec(&self, mut request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let Transport {
            tokens,
            timeout,
            retries,
            ..
        } = self.inner();
        let started = Instant::now();
        let budget = request.timeout().copied().unwrap_or(*timeout);
        let reads = request.method().is_safe();
        let mut retried = 0;
        loop {
            // The bodies of all operations are in memory, so the request can be cloned.
            let Some(mut sent) = request.try_clone() else {
                return self.client().execute(request).await;
            };
            *sent.timeout_mut() = Some(budget.saturating_sub(started.elapsed()));
            let outcome = self.client().execute(sent).await;
            let left = budget.saturating_sub(started.elapsed());
            let is_unauthenticated =
                matches!(&outcome, Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED);
            let wait = if is_unauthenticated {
                let may_be_another = tokens.refused(request.headers().get(CREDENTIAL)).await;
                // Once: a server that refuses two tokens will refuse a third.
                (may_be_another && reads && retried == 0).then_some(Duration::ZERO)
            } else {
                again(reads, &outcome).map(|wait| wait + jitter(retried))
            };
            let Some(wait) = wait.filter(|wait| retried < *retries && *wait < left) else {
                return outcome;
            };
            if is_unauthenticated {
                match tokio::time::timeout(left, tokens.current()).await {
                    Ok(Ok(token)) if Some(token.header()) != request.headers().get(CREDENTIAL) => {
                        request
                            .headers_mut()
                            .insert(CREDENTIAL, token.header().clone());
                    }
                    _ => return outcome,
                }
            }
            tokio::time::sleep(wait).await;
            retried += 1;
        }
    }
}

/// Whether the request may be sent again, and how long the server wants to be left alone before.
///
/// A change is repeated only if it was never sent: after that its result is unknown.
fn again(reads: bool, outcome: &reqwest::Result<Response>) -> Option<Duration> {
    match outcome {
        // No connection, so nothing was sent.
        Err(error) if error.is_connect() => Some(Duration::ZERO),
        // What is out of time stays so.
        Err(error) if reads && error.is_request() && !error.is_timeout() => Some(Duration::ZERO),
        Ok(answer) if reads && is_transient(answer.status()) => {
            Some(retry_after(answer.headers()).unwrap_or_default())
        }
        _ => None,
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// A wait that no two clients have alike, so that they do not come back all at once.
fn jitter(retried: u32) -> Duration {
    let longest = FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(retried))
        .min(LONGEST_WAIT);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// What `Retry-After` says: seconds, or a date, which is read against the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| chrono::DateTime::parse_from_rfc2822(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?)?;
    (date(text)? - now).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = |retry| {
            headers(&[
                (RETRY_AFTER, retry),
                (DATE, "Wed, 25 Nov 2026 07:28:00 GMT"),
            ])
        };
        for (headers, expected) in [
            (headers(&[(RETRY_AFTER, "30")]), Some(30)),
            (headers(&[(RETRY_AFTER, " 0 ")]), Some(0)),
            (date("Wed, 25 Nov 2026 07:30:00 GMT"), Some(120)),
            (date("Wed, 25 Nov 2026 07:27:59 GMT"), None),
            (
                headers(&[(RETRY_AFTER, "Wed, 25 Nov 2026 07:30:00 GMT")]),
                None,
            ),
            (headers(&[(RETRY_AFTER, "-1")]), None),
            (headers(&[(RETRY_AFTER, "soon")]), None),
            (headers(&[]), None),
        ] {
            assert_eq!(
                retry_after(&headers),
                expected.map(Duration::from_secs),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn waits_grow_up_to_a_limit_and_differ() {
        for (retried, longest) in [(0, 100), (1, 200), (2, 400), (5, 2000), (u32::MAX, 2000)] {
            let longest = Duration::from_millis(longest);
            for _ in 0..100 {
                let wait = jitter(retried);
                assert!(
                    (longest / 2..=longest).contains(&wait),
                    "{retried}: {wait:?}"
                );
            }
            assert_ne!(jitter(retried), jitter(retried));
        }
    }
}
