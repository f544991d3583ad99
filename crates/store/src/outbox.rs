//! The messages for users. A message is written in the transaction of its event, and delivered at least once.
//!
//! A server claims messages before it delivers them: one guarded statement moves the time of their next attempt ahead, so
//! that no other server attempts the same. A claim ends by itself if its server crashes. Of the messages of one user, only
//! the first one that waits can be claimed, so a user's messages are delivered in order.

use arklow_domain::{DeviceId, MessageId, UserId};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditEvent, AuditOrigin, Store, StoreError};

/// Which messages are claimed.
#[derive(Debug, Clone, Copy)]
pub struct ClaimMessages {
    /// The time: messages that are due then.
    pub now: DateTime<Utc>,
    /// When the claim ends. Later than any attempt.
    pub until: DateTime<Utc>,
    /// How many at most.
    pub limit: u32,
}

/// A message for a user, claimed for one attempt to deliver it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number. The same for every attempt.
    pub id: MessageId,
    /// When the event happened.
    pub at: DateTime<Utc>,
    /// The event.
    pub event: AuditEvent,
    /// For whom it is.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// The user's e-mail address.
    pub email: String,
    /// The device that the event is about.
    pub device_id: Option<DeviceId>,
    /// The name of the device.
    pub device_name: Option<String>,
    /// Where the request of the event came from, as in the audit.
    pub origin: AuditOrigin,
    /// Which attempt this is, from 1.
    pub attempt: i64,
}

/// The result of an attempt.
#[derive(Debug, Clone)]
pub enum Settle {
    /// It was delivered then.
    Delivered(DateTime<Utc>),
    /// It was not, and is attempted again then.
    Again {
        /// When.
        due_at: DateTime<Utc>,
        /// Why it was not delivered; without secrets.
        error: String,
    },
    /// It was not, and is a dead letter from then on.
    Dead {
        /// When.
        at: DateTime<Utc>,
        /// Why it was not delivered; without secrets.
        error: String,
    },
}

/// Whether the result of an attempt was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was.
    Yes,
    /// The claim had ended, and another attempt began or an operator changed the message.
    ClaimLost,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// It is not delivered yet.
    Waiting,
    /// It was delivered.
    Delivered,
    /// It is a dead letter: attempts have ended.
    Dead,
}

/// Which messages are listed.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Only those in this state.
    pub state: Option<MessageState>,
    /// Only those for this user.
    pub user_id: Option<UserId>,
    /// Only those after this one.
    pub after: Option<MessageId>,
    /// So many at most.
    pub limit: Option<u32>,
}

/// A message as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEntry {
    /// Its number.
    pub id: MessageId,
    /// When the event happened.
    pub at: DateTime<Utc>,
    /// The event.
    pub event: AuditEvent,
    /// For whom it is.
    pub user_id: UserId,
    /// The device that the event is about.
    pub device_id: Option<DeviceId>,
    /// Where it stands.
    pub state: MessageState,
    /// Since when it is delivered or dead, or when the next attempt may begin; `None` for at once.
    pub state_at: Option<DateTime<Utc>>,
    /// How often it was attempted.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

impl Store {
    /// Claims messages that are due, the oldest first. Reads only, unless there are any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_messages(&self, claim: ClaimMessages) -> Result<Vec<Message>, StoreError> {
        // Looking needs no lock, and there is mostly nothing.
        let due = dispatch!(self.read(outbox::find_due(&claim)))?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        dispatch!(self.write(outbox::claim(&claim, &due)))
    }

    /// Writes down the result of an attempt.
    ///
    /// # Errors
    /// [`StoreError`]; the message is attempted again when the claim ends.
    pub async fn settle_message(
        &self,
        id: MessageId,
        attempt: i64,
        result: Settle,
    ) -> Result<Settled, StoreError> {
        dispatch!(self.write(outbox::settle(id, attempt, &result)))
    }

    /// Lists messages, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages(&self, filter: MessageFilter) -> Result<Vec<MessageEntry>, StoreError> {
        dispatch!(self.read(outbox::list(&filter)))
    }

    /// Makes dead letters wait again, all of them or these, and returns how many did. Recorded in the audit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_messages(
        &self,
        ids: Option<Vec<MessageId>>,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<usize, StoreError> {
        dispatch!(self.write(outbox::retry(ids.as_deref(), now, &origin)))
    }

    /// Makes messages that wait since before `before` dead letters, and returns how many. Recorded in the audit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discard_messages(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<usize, StoreError> {
        dispatch!(self.write(outbox::discard(before, now, &origin)))
    }
}
