//! Setting a client up.
#![warn(missing_docs)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;

use crate::token::{Token, Tokens, UnusableToken};
use crate::transport::{TraceContext, Transport};
use crate::{Client, generated};

/// How a client is to be. [`Client::builder`] begins one, [`build`](Self::build) ends it.
#[must_use]
pub struct Builder {
    base_url: String,
    tokens: Result<Tokens, UnusableToken>,
    connect_timeout: Duration,
    timeout: Duration,
    retries: u32,
    trace_context: TraceContext,
    http: reqwest::ClientBuilder,
}

impl Builder {
    pub(crate) fn new(base_url: String) -> Self {
        Self {
            base_url,
            tokens: Ok(Tokens::None),
            connect_timeout: Duration::from_secs(5),
            // The server gives a body 10 s to arrive and itself 15 s to answer.
            timeout: Duration::from_secs(30),
            retries: 2,
            trace_context: TraceContext::default(),
            http: reqwest::Client::builder()
                .user_agent(concat!(
                    env!("CARGO_PKG_NAME"),
                    "/",
                    env!("CARGO_PKG_VERSION")
                ))
                // Before a proxy would close it: a change that is sent into a closing connection is not sent again.
                .pool_idle_timeout(Duration::from_secs(15)),
        }
    }

    /// Sends this session token with every request.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.tokens = Token::new(token).map(Tokens::Fixed);
        self
    }

    /// Fetches the token: before the first request, when one is no longer [valid](Token::valid_for), and when the server
    /// refuses one. Requests that need one at the same time fetch one together.
    pub fn token_from<F, E>(mut self, fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.tokens = Ok(Tokens::fetched(fetch));
        self
    }

    /// How long a connection may take to be made; 5 s unless something else is said.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long a call may take in all, with the token, every retry, the waits between them and the body of the answer;
    /// 30 s unless something else is said.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// How often a request is sent again at most, where that is safe; twice unless something else is said.
    pub fn retries(mut self, count: u32) -> Self {
        self.retries = count;
        self
    }

    /// Continues the trace of the caller: sends what `traceparent` returns in the header of that name (W3C Trace Context
    /// §3.2). It is called for each request, within its task; `None` and text that is no header value send nothing.
    ///
    /// With `tracing-opentelemetry`:
    ///
    /// ```ignore
    /// builder.trace_context(|| {
    ///     let mut headers = std::collections::HashMap::new();
    ///     TraceContextPropagator::new().inject_context(&Span::current().context(), &mut headers);
    ///     headers.remove("traceparent")
    /// })
    /// ```
    pub fn trace_context(
        mut self,
        traceparent: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.trace_context = TraceContext::of(traceparent);
        self
    }

    /// Uses an HTTP client of one's own: for authorities, a proxy, the `User-Agent` that the audit keeps. Redirects and
    /// timeouts are set by [`build`](Self::build).
    pub fn http(mut self, builder: reqwest::ClientBuilder) -> Self {
        self.http = builder;
        self
    }

    /// Makes the client, without connecting.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the invalid option.
    pub fn build(self) -> Result<Client, BuildError> {
        let base_url = checked(&self.base_url)?;
        let transport = Transport {
            tokens: Arc::new(self.tokens?),
            timeout: self.timeout,
            retries: self.retries,
            trace_context: self.trace_context,
        };
        let http = self
            .http
            // The token must not reach another host.
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            .build()
            .map_err(BuildError::Http)?;
        Ok(Client::from(generated::Client::new_with_client(
            &base_url, http, transport,
        )))
    }
}

/// What paths can be put behind.
fn checked(text: &str) -> Result<String, BuildError> {
    let url = reqwest::Url::parse(text)
        .map_err(|_| BuildError::BaseUrl("is no URL, such as `https://mfa.example.com`"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(BuildError::BaseUrl(
            "begins neither with `https://` nor with `http://`",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BuildError::BaseUrl("holds a user or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BuildError::BaseUrl("has a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not quoted: it may hold a password.
    #[error("the base URL {0}")]
    BaseUrl(&'static str),
    /// The token.
    #[error(transparent)]
    Token(#[from] UnusableToken),
    /// The HTTP client.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_url_is_checked_and_never_quoted() {
        for (url, said) in [
            ("", "is no URL"),
            ("mfa.example.com", "is no URL"),
            ("localhost:3123", "begins neither"),
            ("ftp://mfa.example.com", "begins neither"),
            ("https://ada:hunter2@mfa.example.com", "holds a user"),
            ("https://mfa.example.com/?hunter2", "has a query"),
        ] {
            let error = Client::builder(url).build().unwrap_err().to_string();
            assert!(
                error.contains(said) && !error.contains("hunter2"),
                "{url}: {error}"
            );
        }
        for url in [
            "http://localhost:3123",
            "https://mfa.example.com/behind/a/proxy/",
        ] {
            Client::builder(url).token("arks_x").build().unwrap();
        }
    }

    #[test]
    fn nothing_of_a_client_prints_its_token() {
        let client = Client::builder("http://localhost:3123")
            .token("arks_secret")
            .build()
            .unwrap();
        let printed = format!("{client:#?} {:?}", client.generated().get_v1_self());
        assert!(
            printed.contains("localhost") && !printed.contains("arks_secret"),
            "{printed}"
        );
        let error = Client::builder("http://localhost:3123")
            .token("arks_\n")
            .build();
        let error = format!("{:?}", error.unwrap_err());
        assert!(!error.contains("arks_"), "{error}");
    }
}
