//! The flags that say where messages to users go.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{RetryPause, SecretParser};
use super::error::CliError;
use crate::notify::{
    Channel, Mail, Notifier, Sender, SmtpUrl, Templates, Webhook, WebhookSecrets, WebhookUrl,
};
use crate::sources::Sources;

/// Where messages to users go: to a webhook, by mail, or nowhere.
#[derive(Debug, Args)]
#[command(next_help_heading = "Notifications")]
pub(crate) struct NotificationArgs {
    /// Where messages to users are posted, after the conventions of Standard Webhooks. Without it and without --smtp-url they
    /// stay in the outbox.
    #[arg(
        long,
        env = "ARKLOW_WEBHOOK_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "webhook_secret",
        conflicts_with = "smtp_url",
        value_parser = SecretParser::<WebhookUrl>::of("--webhook-url <URL>")
    )]
    pub(crate) webhook_url: Option<WebhookUrl>,
    /// What they are signed with: `whsec_` and 24 to 64 random bytes in base64. Two with a comma between them while receivers
    /// change from one to the other.
    #[arg(
        long,
        env = "ARKLOW_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        value_parser = SecretParser::<WebhookSecrets>::of("--webhook-secret <SECRET>")
    )]
    pub(crate) webhook_secret: Option<WebhookSecrets>,
    /// The SMTP server that messages to users are sent through, such as `smtps://user:password@mail.example.com`.
    #[arg(
        long,
        env = "ARKLOW_SMTP_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "mail_from",
        value_parser = SecretParser::<SmtpUrl>::of("--smtp-url <URL>")
    )]
    pub(crate) smtp_url: Option<SmtpUrl>,
    /// The sender of mail messages, such as `Arklow <mfa@example.com>`.
    #[arg(long, env = "ARKLOW_MAIL_FROM", value_name = "ADDRESS")]
    pub(crate) mail_from: Option<Sender>,
    /// A folder with texts in place of the built-in ones: codes-replaced.txt, code-used.txt, device-added.txt,
    /// device-removed.txt, locked.txt.
    #[arg(
        long,
        env = "ARKLOW_MAIL_TEMPLATES",
        value_name = "FOLDER",
        value_parser = templates
    )]
    pub(crate) mail_templates: Option<Templates>,
    /// The pauses before each further attempt to deliver a message, each a little longer at random. After the last one it is a
    /// dead letter.
    #[arg(
        long,
        env = "ARKLOW_NOTIFY_RETRIES",
        value_name = "DURATIONS",
        value_delimiter = ',',
        default_value = "5s,5m,30m,2h,5h,10h,14h,20h,24h"
    )]
    pub(crate) notify_retries: Vec<RetryPause>,
}

impl NotificationArgs {
    /// What delivers messages, if the flags say where to. `issuer` is the name of the service in mail messages.
    pub(crate) fn notifier(
        &self,
        issuer: &str,
        sources: &Sources,
    ) -> Result<Option<Notifier>, CliError> {
        let webhook = self.webhook_url.clone().zip(self.webhook_secret.clone());
        let mail = self.smtp_url.as_ref().zip(self.mail_from.clone());
        let channel = match (webhook, mail) {
            (Some((url, secrets)), _) => Channel::Webhook(Webhook::new(url, secrets)?),
            (None, Some((url, sender))) => {
                let built_in = || Templates::read(None).expect("the built-in templates are valid");
                let templates = self.mail_templates.clone().unwrap_or_else(built_in);
                let mail = Mail::new(url, sender, issuer.to_owned(), templates)?;
                Channel::Mail(Box::new(mail))
            }
            (None, None) => return Ok(None),
        };
        let retries: Vec<Duration> = self.notify_retries.iter().map(|wait| wait.get()).collect();
        Ok(Some(Notifier::new(channel, &retries, sources.clone())))
    }
}

fn templates(folder: &str) -> Result<Templates, String> {
    Templates::read(Some(&PathBuf::from(folder)))
}
