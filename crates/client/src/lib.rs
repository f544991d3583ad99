//! Client of the Arklow API, for other services.
//!
//! The methods are generated from `openapi.yaml` by Progenitor; the types are those of the server. Every answer that is
//! not a success is an [`Error::ErrorResponse`] with the status, the headers and the typed envelope.
//!
//! ```no_run
//! use arklow_client::types::RegenerateTotpRequest;
//!
//! # async fn example(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let client = arklow_client::with_token("http://localhost:3123", token)?;
//! let request = RegenerateTotpRequest { device_id: "4611686018427387904".to_owned() };
//! match client.post_v1_self_mfa_regenerate_totp().body(request).send().await {
//!     Ok(answer) => println!("{} new codes", answer.data.as_ref().map_or(0, |data| data.backup_codes.len())),
//!     Err(arklow_client::Error::ErrorResponse(answer)) => println!("{}: {}", answer.status(), answer.errors[0].code),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```

#[rustfmt::skip]
mod generated;

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};

pub use arklow_api::types;
pub use generated::*;

/// How long a request may take. The server answers within 15 s of its own.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that sends `token`, an Arklow session token, with every request to `base_url`.
///
/// Follows no redirect, so that the token reaches no other host, and never prints it.
///
/// # Errors
///
/// [`UnusableToken`] for a text that cannot be the value of a header.
pub fn with_token(base_url: &str, token: &str) -> Result<Client, UnusableToken> {
    let mut value = HeaderValue::from_str(token).map_err(|_| UnusableToken(None))?;
    value.set_sensitive(true);
    let headers = HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("x-arklow-auth"),
        value,
    )]);
    let http = reqwest::Client::builder()
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| UnusableToken(Some(error)))?;
    Ok(Client::new_with_client(
        base_url.trim_end_matches('/'),
        http,
    ))
}

/// Why there is no client for a token.
#[derive(Debug)]
pub struct UnusableToken(Option<reqwest::Error>);

impl fmt::Display for UnusableToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "the token holds characters that a header cannot carry",
            Some(_) => "the HTTP client cannot be set up",
        })
    }
}

impl std::error::Error for UnusableToken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|error| error as _)
    }
}
