//! Messages to a URL, after the conventions of Standard Webhooks 1.0: headers `webhook-id`, `webhook-timestamp` and
//! `webhook-signature`, and a body with `type`, `timestamp` and `data`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arklow_store::Message;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use ring::hmac;
use serde_json::json;

use super::{Outcome, is_this_machine};
use crate::log::chain;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The bytes of a secret, after base64.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// Where messages are posted to. Prints without its path, which may hold a secret.
#[derive(Clone)]
pub(crate) struct WebhookUrl(Url);

impl WebhookUrl {
    fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{}://{host}:{port}", self.0.scheme()),
            None => format!("{}://{host}", self.0.scheme()),
        }
    }
}

impl FromStr for WebhookUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let is_local = is_this_machine(&url);
        match url.scheme() {
            "https" if !host.is_empty() => Ok(Self(url)),
            "http" if is_local => Ok(Self(url)),
            "http" => Err("expected https: the messages name users and devices".to_owned()),
            _ => Err("expected a URL such as https://example.com/hooks/arklow".to_owned()),
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())
    }
}

/// What messages are signed with: the present secret, and former ones while receivers change to it.
#[derive(Clone)]
pub(crate) struct WebhookSecrets(Arc<[hmac::Key]>);

impl FromStr for WebhookSecrets {
    type Err = String;

    /// Reads secrets with commas between them. The error does not quote them.
    fn from_str(text: &str) -> Result<Self, String> {
        let key = |secret: &str| {
            let bytes = STANDARD.decode(secret.trim().strip_prefix(PREFIX)?).ok()?;
            let is_long_enough = SECRET.contains(&bytes.len());
            is_long_enough.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        };
        let keys: Option<Arc<[hmac::Key]>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            format!("expected `{PREFIX}` and 24 to 64 random bytes in base64, as `openssl rand -base64 32` prints them")
        })
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// The client of the webhook could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an HTTP client")]
pub(crate) struct WebhookError(#[from] reqwest::Error);

pub(crate) struct Webhook {
    client: Client,
    url: WebhookUrl,
    secrets: WebhookSecrets,
}

impl Webhook {
    pub(crate) fn new(url: WebhookUrl, secrets: WebhookSecrets) -> Result<Self, WebhookError> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            // A redirect could lead into the network of the server.
            .redirect(Policy::none())
            .user_agent(concat!("arklow/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            url,
            secrets,
        })
    }

    /// For the log.
    pub(super) fn host(&self) -> String {
        self.url.host()
    }

    pub(super) async fn deliver(&self, message: &Message, now: DateTime<Utc>) -> Outcome {
        let body = payload(message);
        // The same for every attempt, so that a receiver can ignore what it has.
        let id = format!("msg_{}", message.id);
        let timestamp = now.timestamp().to_string();
        let signature = self.sign(&id, &timestamp, &body);
        let request = self
            .client
            .post(self.url.0.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        match request.send().await {
            Ok(response) => judge(&response),
            Err(error) => Outcome::failed(chain(&error.without_url())),
        }
    }

    /// A signature for each secret, with spaces between them.
    fn sign(&self, id: &str, timestamp: &str, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signatures = self.secrets.0.iter().map(|key| {
            let tag = hmac::sign(key, signed.as_bytes());
            format!("v1,{}", STANDARD.encode(tag.as_ref()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn payload(message: &Message) -> String {
    json!({
        "type": message.event.as_str(),
        "timestamp": message.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": {
            "user_id": message.user_id.to_string(),
            "email": message.email,
            "name": message.user_name,
            "device_id": message.device_id.map(|id| id.to_string()),
            "device_name": message.device_name,
            "remote_address": message.origin.remote_address.map(|address| address.to_string()),
            "user_agent": message.origin.user_agent,
            "request_id": message.origin.request_id,
            "by_operator": message.origin.actor.is_some(),
        },
    })
    .to_string()
}

fn judge(response: &Response) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    let error = format!("the receiver answered {status}");
    // The receiver wants no more of it.
    if status == StatusCode::GONE {
        return Outcome::Rejected { error };
    }
    let pause = response.headers().get(RETRY_AFTER);
    let seconds = pause.and_then(|value| value.to_str().ok()?.parse().ok());
    Outcome::Failed {
        error,
        pause: seconds.map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the reference libraries of Standard Webhooks.
        let secrets = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let url = "https://example.com/".parse().unwrap();
        let webhook = Webhook::new(url, secrets).unwrap();
        let signature = webhook.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn neither_url_nor_secret_is_printed() {
        let url: WebhookUrl = "https://user:hunter2@example.com/hook/hunter2"
            .parse()
            .unwrap();
        assert_eq!(format!("{url:?}"), "https://example.com");
        let text = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
        let secrets: WebhookSecrets = text.parse().unwrap();
        assert_eq!(format!("{secrets:?}"), "1 secrets");
        let error = "whsec_hunter2".parse::<WebhookSecrets>().unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn messages_leave_the_machine_encrypted_only() {
        for (text, is_accepted) in [
            ("https://example.com/hook", true),
            ("http://127.0.0.1:8080/hook", true),
            ("http://[::1]:8080/hook", true),
            ("http://localhost/hook", true),
            ("http://example.com/hook", false),
            ("http://127.0.0.1.example.com/hook", false),
            ("ftp://example.com/hook", false),
            ("example.com", false),
        ] {
            assert_eq!(text.parse::<WebhookUrl>().is_ok(), is_accepted, "{text}");
        }
    }
}
