//! Session tokens: where they come from, how long they are kept, and that they are never printed.
//!
//! Knows nothing of requests.
#![warn(missing_docs)]

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

/// A session token (`arks_…`). It has no `Display` and a silent `Debug`.
#[derive(Clone)]
pub struct Token {
    header: HeaderValue,
    stale: Option<Instant>,
}

impl Token {
    /// Takes a token in.
    ///
    /// # Errors
    ///
    /// [`UnusableToken`] for a text that is empty, or that a header cannot carry.
    pub fn new(text: impl AsRef<str>) -> Result<Self, UnusableToken> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(UnusableToken);
        }
        let mut header = HeaderValue::from_str(text).map_err(|_| UnusableToken)?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            stale: None,
        })
    }

    /// Says for how long from now the token is good, so that a client that can fetch another one does it in time.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.stale = Instant::now().checked_add(time);
        self
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    fn is_stale(&self) -> bool {
        self.stale.is_some_and(|end| end <= Instant::now())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// A text that cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is empty or holds characters that a header cannot carry")]
pub struct UnusableToken;

type BoxError = Box<dyn StdError + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = Result<Token, BoxError>> + Send>>;

/// Where the tokens of a client come from.
pub(crate) enum Tokens {
    None,
    Fixed(Token),
    Fetched {
        fetch: Box<dyn Fn() -> Fetching + Send + Sync>,
        /// Locked while one is fetched, so that a burst of requests fetches one.
        last: Mutex<Option<Token>>,
    },
}

impl Tokens {
    pub(crate) fn fetched<F, E>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Token, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let fetch = move || -> Fetching {
            let token = fetch();
            Box::pin(async move { token.await.map_err(Into::into) })
        };
        Self::Fetched {
            fetch: Box::new(fetch),
            last: Mutex::new(None),
        }
    }

    /// The token to send now, or why there is none.
    pub(crate) async fn current(&self) -> Result<Token, String> {
        match self {
            Self::None => Err("the client was built without one".to_owned()),
            Self::Fixed(token) => Ok(token.clone()),
            Self::Fetched { fetch, last } => {
                let mut last = last.lock().await;
                if let Some(token) = last.as_ref().filter(|token| !token.is_stale()) {
                    return Ok(token.clone());
                }
                let token = fetch().await.map_err(|error| chain(&*error))?;
                Ok(last.insert(token).clone())
            }
        }
    }

    /// Drops a token that the server rejected. Returns whether the source may provide another one.
    pub(crate) async fn refused(&self, refused: Option<&HeaderValue>) -> bool {
        let Self::Fetched { last, .. } = self else {
            return false;
        };
        let mut last = last.lock().await;
        // Another request may have replaced it already.
        if last.as_ref().map(Token::header) == refused {
            *last = None;
        }
        true
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Fixed(_) => "fixed",
            Self::Fetched { .. } => "fetched",
        })
    }
}

/// An error and its causes, as one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A source that counts, and hands out `arks_1`, `arks_2` and so on.
    fn counted(valid_for: Duration) -> (Arc<AtomicUsize>, Tokens) {
        let count = Arc::new(AtomicUsize::new(0));
        let fetches = Arc::clone(&count);
        let tokens = Tokens::fetched(move || {
            let number = fetches.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                tokio::task::yield_now().await;
                Token::new(format!("arks_{number}")).map(|token| token.valid_for(valid_for))
            }
        });
        (count, tokens)
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn token_is_not_printed() {
        let token = Token::new("arks_secret").unwrap();
        let tokens = Tokens::Fixed(token.clone());
        for text in [
            format!("{token:?}"),
            format!("{tokens:?}"),
            format!("{:?}", token.header()),
        ] {
            assert!(!text.contains("arks_secret"), "{text}");
        }
    }

    #[test]
    fn text_that_no_header_carries_is_refused_without_being_quoted() {
        for text in ["", "arks_\n", "arks_\u{7f}"] {
            let error = Token::new(text).unwrap_err();
            assert!(!error.to_string().contains("arks"), "{error}");
        }
    }

    #[tokio::test]
    async fn burst_of_requests_fetches_one_token() {
        let (count, tokens) = counted(LONG);
        let (one, other) = tokio::join!(tokens.current(), tokens.current());
        assert_eq!(one.unwrap().header(), other.unwrap().header());
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn stale_token_is_fetched_anew() {
        let (count, tokens) = counted(Duration::ZERO);
        tokens.current().await.unwrap();
        assert_eq!(tokens.current().await.unwrap().header(), "arks_2");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn refused_token_is_forgotten_and_a_newer_one_is_not() {
        let (_, tokens) = counted(LONG);
        let first = tokens.current().await.unwrap();
        assert!(tokens.refused(Some(first.header())).await);
        let second = tokens.current().await.unwrap();
        assert_eq!(second.header(), "arks_2");
        assert!(tokens.refused(Some(first.header())).await);
        assert_eq!(tokens.current().await.unwrap().header(), "arks_2");
    }

    #[tokio::test]
    async fn failure_to_fetch_is_told_with_its_causes_and_not_kept() {
        let count = Arc::new(AtomicUsize::new(0));
        let tries = Arc::clone(&count);
        let tokens = Tokens::fetched(move || {
            let first = tries.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match first {
                    true => Err::<_, BoxError>("the vault is sealed".into()),
                    false => Ok(Token::new("arks_2")?),
                }
            }
        });
        assert_eq!(tokens.current().await.unwrap_err(), "the vault is sealed");
        assert_eq!(tokens.current().await.unwrap().header(), "arks_2");
    }
}
