//! Messages by mail, through an SMTP server.

use std::fmt;
use std::str::FromStr;

use arklow_store::Message as Outgoing;
use chrono::{DateTime, Utc};
use lettre::message::Mailbox;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::transport::smtp::response::Category;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use reqwest::Url;

use super::template::{Fields, Templates};
use super::{ATTEMPT, Outcome, is_this_machine};
use crate::log::chain;

/// An SMTP server, perhaps with a user and a password. Prints without them.
#[derive(Clone)]
pub(crate) struct SmtpUrl(Url);

impl SmtpUrl {
    fn host(&self) -> String {
        self.0.host_str().unwrap_or_default().to_owned()
    }
}

impl FromStr for SmtpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a URL such as smtps://user:password@mail.example.com or \
                        smtp://mail.example.com:587?tls=required";
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}; {expected}"))?;
        let host = url.host_str().unwrap_or_default();
        let is_local = is_this_machine(&url);
        let is_encrypted = url.scheme() == "smtps"
            || url
                .query_pairs()
                .any(|(key, value)| key == "tls" && value == "required");
        if !["smtp", "smtps"].contains(&url.scheme()) || host.is_empty() {
            return Err(expected.to_owned());
        }
        if !is_encrypted && !is_local {
            return Err(
                "the connection would not be encrypted: use smtps, or add `?tls=required`"
                    .to_owned(),
            );
        }
        // What lettre says about a URL may quote it.
        AsyncSmtpTransport::<Tokio1Executor>::from_url(text).map_err(|_| expected)?;
        Ok(Self(url))
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())
    }
}

/// The sender of mail messages.
#[derive(Debug, Clone)]
pub(crate) struct Sender(Mailbox);

impl FromStr for Sender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mailbox = text.parse().map(Self);
        mailbox.map_err(|_| "expected an address such as Arklow <mfa@example.com>".to_owned())
    }
}

/// The client of the SMTP server could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an SMTP client")]
pub(crate) struct MailError(#[from] smtp::Error);

pub(crate) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    host: String,
    sender: Sender,
    issuer: String,
    templates: Templates,
}

impl Mail {
    pub(crate) fn new(
        url: &SmtpUrl,
        sender: Sender,
        issuer: String,
        templates: Templates,
    ) -> Result<Self, MailError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.0.as_str())?
            .timeout(Some(ATTEMPT))
            .build();
        Ok(Self {
            transport,
            host: url.host(),
            sender,
            issuer,
            templates,
        })
    }

    /// For the log.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) async fn deliver(&self, outgoing: &Outgoing, now: DateTime<Utc>) -> Outcome {
        let message = match self.message(outgoing, now) {
            Ok(message) => message,
            Err(error) => return Outcome::Rejected { error },
        };
        match self.transport.send(message).await {
            Ok(_) => Outcome::Delivered,
            Err(error) if is_about_the_recipient(&error) => Outcome::Rejected {
                error: chain(&error),
            },
            Err(error) => Outcome::failed(chain(&error)),
        }
    }

    fn message(&self, outgoing: &Outgoing, now: DateTime<Utc>) -> Result<Message, String> {
        let address = outgoing
            .origin
            .remote_address
            .map(|address| address.to_string());
        let fields = Fields {
            name: &outgoing.user_name,
            issuer: &self.issuer,
            device: outgoing.device_name.as_deref().unwrap_or("unknown"),
            time: &outgoing.at.format("%Y-%m-%d %H:%M UTC").to_string(),
            address: match (&address, &outgoing.origin.actor) {
                (Some(address), _) => address,
                (None, Some(_)) => "an administrator",
                (None, None) => "unknown",
            },
        };
        let text = self.templates.fill(outgoing.event, &fields);
        let text = text.ok_or("there is no text for this event")?;
        let recipient = outgoing.email.parse();
        let recipient = recipient.map_err(|_| "the address of the user cannot receive mail")?;
        // The same for every attempt, so that a mail program shows the message once.
        let domain = self.sender.0.email.domain();
        Message::builder()
            .from(self.sender.0.clone())
            .to(Mailbox::new(None, recipient))
            .date(now.into())
            .message_id(Some(format!("<arklow.{}@{domain}>", outgoing.id)))
            .header(AutoSubmitted)
            .subject(text.subject)
            .body(text.body)
            .map_err(|error| error.to_string())
    }
}

/// Whether the server rejected this message for good (RFC 5321 §4.2.3: 55x), rather than the sender or the connection.
fn is_about_the_recipient(error: &smtp::Error) -> bool {
    let category = error.status().map(|code| code.category);
    error.is_permanent() && category == Some(Category::MailSystem)
}

/// Keeps answering programs silent (RFC 3834 §5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_leave_the_machine_encrypted_only_and_are_not_printed() {
        for (text, is_accepted) in [
            ("smtps://ada:hunter2@mail.example.com", true),
            ("smtp://ada:hunter2@mail.example.com:587?tls=required", true),
            ("smtp://127.0.0.1:2525", true),
            ("smtp://mail.example.com", false),
            (
                "smtp://ada:hunter2@mail.example.com?tls=opportunistic",
                false,
            ),
            ("https://hunter2.example.com", false),
        ] {
            match text.parse::<SmtpUrl>() {
                Ok(url) => {
                    assert!(is_accepted, "{text}");
                    assert!(!format!("{url:?}").contains("hunter2"));
                }
                Err(error) => {
                    assert!(!is_accepted, "{text}: {error}");
                    assert!(!error.contains("hunter2"), "{error}");
                }
            }
        }
    }
}
