#![doc = include_str!("../README.md")]

mod builder;
mod client;
mod error;
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    missing_docs,
    unused_imports,
    reason = "Progenitor generates for any document and follows other lints"
)]
#[cfg_attr(
    feature = "mock",
    expect(clippy::semicolon_if_nothing_returned, reason = "as above")
)]
#[rustfmt::skip]
pub mod generated;
mod token;
mod transport;

pub use arklow_api::types;
pub use arklow_api::types::ErrorCode;
pub use builder::{BuildError, Builder};
pub use client::{Client, Page};
pub use error::{Error, Refusal, Unexpected};
pub use token::{Token, UnusableToken};

/// Stand-ins for the server, for the tests of services that call it (feature `mock`).
///
/// [`MockServerExt`](mock::MockServerExt) gives `httpmock`'s server a typed method for each operation.
///
/// ```
/// use arklow_client::mock::{MockServer, MockServerExt};
/// use arklow_client::types::{ApiError, ErrorEnvelope, RegenerateTotpRequest};
/// use arklow_client::{Client, ErrorCode};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = MockServer::start_async().await;
/// let request = RegenerateTotpRequest { device_id: "7".to_owned() };
/// let mock = server.post_v1_self_mfa_regenerate_totp(|when, then| {
///     when.body(&request);
///     let reason = ApiError { code: "RATE_LIMITED".to_owned(), message: "too often".to_owned() };
///     let then = then.too_many_requests(&ErrorEnvelope { data: (), errors: vec![reason] });
///     then.into_inner().header("retry-after", "60");
/// });
///
/// let client = Client::builder(server.base_url()).token("arks_test").build().unwrap();
/// let error = client.post_v1_self_mfa_regenerate_totp(request).await.unwrap_err();
/// assert_eq!(error.code(), Some(ErrorCode::RateLimited));
/// assert_eq!(error.retry_after().unwrap().as_secs(), 60);
/// mock.assert();
/// # });
/// ```
#[cfg(feature = "mock")]
pub mod mock {
    pub use httpmock;
    pub use httpmock::MockServer;

    pub use crate::generated::mock::{MockServerExt, operations};
}
