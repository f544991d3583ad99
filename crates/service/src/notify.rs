//! Delivers the messages of the outbox, by webhook or by mail.
//!
//! At least once: an attempt whose result could not be written down is made again, with the same id. Several servers share the
//! work, because each claims a message before it delivers it. The store keeps the order of the messages of a user.

mod mail;
mod template;
mod webhook;

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arklow_domain::Random;
use arklow_store::{ClaimMessages, Message, Settle, Settled, Store, StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::log::chain;
use crate::metrics;
use crate::sources::{Clock, Sources};

pub(crate) use mail::{Mail, MailError, Sender, SmtpUrl};
pub(crate) use template::Templates;
pub(crate) use webhook::{Webhook, WebhookError, WebhookSecrets, WebhookUrl};

/// How many messages are delivered at once.
const PARALLEL: usize = 16;
/// How often new messages are looked for.
const EVERY: Duration = Duration::from_secs(2);
/// How long an attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);
/// When another server may make the attempt of a server that crashed. Longer than an attempt, and than what the clocks of
/// servers may differ by.
const CLAIM: TimeDelta = TimeDelta::seconds(90);
/// The longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where messages go.
pub(crate) enum Channel {
    Webhook(Webhook),
    Mail(Box<Mail>),
}

/// The result of an attempt, as the receiver gave it.
enum Outcome {
    Delivered,
    Failed {
        error: String,
        /// How long the receiver asks to wait.
        pause: Option<Duration>,
    },
    /// Another attempt would fail as well.
    Rejected {
        error: String,
    },
}

impl Outcome {
    fn failed(error: impl Into<String>) -> Self {
        Self::Failed {
            error: error.into(),
            pause: None,
        }
    }
}

/// Delivers messages while a server runs.
pub(crate) struct Notifier {
    channel: Arc<Channel>,
    /// The pauses before the second attempt and each one after it. After the last one a message is a dead letter.
    retries: Arc<[Duration]>,
    running: Mutex<JoinSet<()>>,
    sources: Sources,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    pub(crate) fn new(channel: Channel, retries: &[Duration], sources: Sources) -> Self {
        match &channel {
            Channel::Webhook(webhook) => {
                info!("messages to users go to the webhook at {}", webhook.host());
            }
            Channel::Mail(mail) => {
                info!("messages to users go by mail through {}", mail.host());
            }
        }
        Self {
            channel: Arc::new(channel),
            retries: retries.into(),
            running: Mutex::default(),
            sources,
        }
    }

    /// Delivers messages as they come.
    pub(crate) async fn watch(&self, store: &Store) -> Infallible {
        let mut running = self.running.lock().await;
        let mut rounds = tokio::time::interval(EVERY);
        loop {
            let free = PARALLEL - running.len();
            if free > 0 {
                match self.claim(store, free).await {
                    Ok(messages) => {
                        for message in messages {
                            running.spawn(self.attempt(store.clone(), message));
                        }
                    }
                    // The next round tries again.
                    Err(error) => warn!(error = chain(&error), "cannot claim messages"),
                }
            }
            tokio::select! {
                _ = rounds.tick() => {}
                _ = running.join_next(), if !running.is_empty() => {}
            }
        }
    }

    /// Waits for the attempts that run: what they deliver must not be sent again.
    pub(crate) async fn finish(&self) {
        let mut running = self.running.lock().await;
        while running.join_next().await.is_some() {}
    }

    async fn claim(&self, store: &Store, limit: usize) -> Result<Vec<Message>, StoreError> {
        let now = self.sources.clock.now();
        let claim = ClaimMessages {
            now,
            until: now + CLAIM,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        store.claim_messages(claim).await
    }

    fn attempt(&self, store: Store, message: Message) -> impl Future<Output = ()> + Send + use<> {
        let (channel, retries) = (Arc::clone(&self.channel), Arc::clone(&self.retries));
        let Sources { clock, random } = self.sources.clone();
        async move {
            let outcome = deliver(&channel, &message, clock.as_ref()).await;
            let now = clock.now();
            let settle = settle(outcome, &message, &retries, now, random.as_ref());
            let settled = store.settle_message(message.id, message.attempt, settle);
            match settled.await {
                Ok(Settled::Yes) => {}
                Ok(Settled::ClaimLost) => {
                    warn!(message.id = %message.id, "another attempt began before this one ended");
                }
                Err(error) => warn!(
                    message.id = %message.id,
                    error = chain(&error),
                    "cannot write down the result of an attempt; it will be made again"
                ),
            }
        }
    }
}

async fn deliver(channel: &Channel, message: &Message, clock: &dyn Clock) -> Outcome {
    let attempt = async {
        match channel {
            Channel::Webhook(webhook) => webhook.deliver(message, clock.now()).await,
            Channel::Mail(mail) => mail.deliver(message, clock.now()).await,
        }
    };
    let in_time = tokio::time::timeout(ATTEMPT, attempt).await;
    in_time.unwrap_or_else(|_| Outcome::failed(format!("no answer within {ATTEMPT:?}")))
}

/// What is to be written down, which is also logged and counted.
fn settle(
    outcome: Outcome,
    message: &Message,
    retries: &[Duration],
    now: DateTime<Utc>,
    random: &dyn Random,
) -> Settle {
    let (id, user, event) = (message.id, message.user_id, message.event.as_str());
    let attempt = message.attempt;
    let made = usize::try_from(attempt).unwrap_or(usize::MAX);
    let pause = retries.get(made.saturating_sub(1));
    let (error, pause) = match (outcome, pause) {
        (Outcome::Delivered, _) => {
            metrics::notified("delivered");
            debug!(message.id = %id, user.id = %user, event, attempt, "message delivered");
            return Settle::Delivered(now);
        }
        (
            Outcome::Failed {
                error,
                pause: asked,
            },
            Some(pause),
        ) => {
            let asked = asked.unwrap_or_default().min(LONGEST_PAUSE);
            (error, Some(asked.max(jittered(*pause, random))))
        }
        (Outcome::Failed { error, .. }, None) | (Outcome::Rejected { error }, _) => (error, None),
    };
    match pause {
        Some(pause) => {
            metrics::notified("failed");
            warn!(
                message.id = %id, user.id = %user, event, attempt, error,
                "message not delivered; next attempt in {}", humantime::format_duration(round(pause))
            );
            Settle::Again {
                due_at: now + pause,
                error,
            }
        }
        None => {
            metrics::notified("dead");
            error!(
                message.id = %id, user.id = %user, event, attempt, error,
                "message is a dead letter: see `arklow outbox list --state dead`"
            );
            Settle::Dead { at: now, error }
        }
    }
}

/// Whether a URL leads to this machine: what is sent there crosses no network.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Up to a fifth longer, so that what failed together is not attempted together.
fn jittered(pause: Duration, random: &dyn Random) -> Duration {
    let mut byte = [0];
    // Without random bytes there is no jitter; nothing else depends on it.
    let spread = random.fill(&mut byte).map_or(0, |()| u32::from(byte[0]));
    pause + pause * spread / (5 * 255)
}

fn round(pause: Duration) -> Duration {
    match pause.as_secs() {
        0 => Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        seconds => Duration::from_secs(seconds),
    }
}
