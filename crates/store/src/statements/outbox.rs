//! Rows of the outbox.

use arklow_domain::{DeviceId, MessageId, UserId};
use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;

use super::{Conn, audit as audit_rows};
use crate::audit::{NewRecord, escape_and_truncate};
use crate::error::QueryError;
use crate::schema::{audit, devices, outbox, users};
use crate::{
    AuditEvent, AuditOrigin, ClaimMessages, Message, MessageEntry, MessageFilter, MessageState,
    Settle, Settled, instant,
};

diesel::alias!(outbox as earlier: Earlier);

const DISCARDED: &str = "discarded by an operator";

fn wrong(column: &'static str) -> QueryError {
    QueryError::Inconsistent {
        table: "outbox",
        column,
    }
}

/// Messages that are due, the oldest first, and only the first one of each user.
pub(crate) fn find_due(conn: &mut Conn, claim: &ClaimMessages) -> Result<Vec<i64>, QueryError> {
    let earlier_waits = earlier
        .filter(earlier.field(outbox::user_id).eq(outbox::user_id))
        .filter(earlier.field(outbox::id).lt(outbox::id))
        .filter(earlier.field(outbox::delivered_at).is_null())
        .filter(earlier.field(outbox::failed_at).is_null());
    let due = outbox::table
        .filter(outbox::delivered_at.is_null())
        .filter(outbox::failed_at.is_null())
        .filter(outbox::due_at.le(instant::store(claim.now)))
        .filter(not(exists(earlier_waits)))
        .order(outbox::id)
        .limit(i64::from(claim.limit))
        .select(outbox::id)
        .load(conn)?;
    Ok(due)
}

/// Claims those of the messages that no other server has claimed meanwhile.
pub(crate) fn claim(
    conn: &mut Conn,
    claim: &ClaimMessages,
    due: &[i64],
) -> Result<Vec<Message>, QueryError> {
    let mut claimed = Vec::new();
    // One by one in the order of their ids: no two servers can wait for each other.
    for id in due {
        let still_due = outbox::table
            .find(id)
            .filter(outbox::delivered_at.is_null())
            .filter(outbox::failed_at.is_null())
            .filter(outbox::due_at.le(instant::store(claim.now)));
        let updated = diesel::update(still_due)
            .set((
                outbox::due_at.eq(instant::store(claim.until)),
                outbox::attempts.eq(outbox::attempts + 1),
            ))
            .execute(conn)?;
        if updated == 1 {
            claimed.push(id);
        }
    }
    let rows: Vec<ClaimedRow> = outbox::table
        .inner_join(users::table)
        .left_join(devices::table)
        .left_join(audit::table)
        .filter(outbox::id.eq_any(claimed))
        .order(outbox::id)
        .select((
            outbox::id,
            outbox::at,
            outbox::kind,
            outbox::user_id,
            users::name,
            users::email,
            outbox::device_id,
            devices::name.nullable(),
            audit::actor.nullable(),
            audit::remote_address.nullable(),
            audit::user_agent.nullable(),
            audit::request_id.nullable(),
            outbox::attempts,
        ))
        .load(conn)?;
    rows.into_iter().map(ClaimedRow::into_message).collect()
}

pub(crate) fn settle(
    conn: &mut Conn,
    id: MessageId,
    attempt: i64,
    result: &Settle,
) -> Result<Settled, QueryError> {
    let claimed = outbox::table
        .find(id.get())
        .filter(outbox::attempts.eq(attempt))
        .filter(outbox::delivered_at.is_null())
        .filter(outbox::failed_at.is_null());
    let updated = match result {
        Settle::Delivered(at) => diesel::update(claimed)
            .set((
                outbox::delivered_at.eq(instant::store(*at)),
                outbox::last_error.eq(None::<String>),
            ))
            .execute(conn)?,
        Settle::Again { due_at, error } => diesel::update(claimed)
            .set((
                outbox::due_at.eq(instant::store(*due_at)),
                outbox::last_error.eq(escape_and_truncate(error)),
            ))
            .execute(conn)?,
        Settle::Dead { at, error } => diesel::update(claimed)
            .set((
                outbox::failed_at.eq(instant::store(*at)),
                outbox::last_error.eq(escape_and_truncate(error)),
            ))
            .execute(conn)?,
    };
    Ok(match updated {
        1 => Settled::Yes,
        _ => Settled::ClaimLost,
    })
}

pub(crate) fn list(
    conn: &mut Conn,
    filter: &MessageFilter,
) -> Result<Vec<MessageEntry>, QueryError> {
    let mut messages = outbox::table.order(outbox::id).into_boxed();
    messages = match filter.state {
        None => messages,
        Some(MessageState::Waiting) => messages
            .filter(outbox::delivered_at.is_null())
            .filter(outbox::failed_at.is_null()),
        Some(MessageState::Delivered) => messages.filter(outbox::delivered_at.is_not_null()),
        Some(MessageState::Dead) => messages.filter(outbox::failed_at.is_not_null()),
    };
    if let Some(user) = filter.user_id {
        messages = messages.filter(outbox::user_id.eq(user.get()));
    }
    if let Some(after) = filter.after {
        messages = messages.filter(outbox::id.gt(after.get()));
    }
    if let Some(limit) = filter.limit {
        messages = messages.limit(i64::from(limit));
    }
    let rows: Vec<EntryRow> = messages
        .select((
            outbox::id,
            outbox::at,
            outbox::kind,
            outbox::user_id,
            outbox::device_id,
            outbox::delivered_at,
            outbox::failed_at,
            outbox::due_at,
            outbox::attempts,
            outbox::last_error,
        ))
        .load(conn)?;
    rows.into_iter().map(EntryRow::into_entry).collect()
}

pub(crate) fn retry(
    conn: &mut Conn,
    ids: Option<&[MessageId]>,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<usize, QueryError> {
    let mut dead = diesel::update(outbox::table)
        .filter(outbox::failed_at.is_not_null())
        .set((
            outbox::failed_at.eq(None::<i64>),
            outbox::due_at.eq(0),
            outbox::attempts.eq(0),
        ))
        .into_boxed();
    if let Some(ids) = ids {
        dead = dead.filter(outbox::id.eq_any(ids.iter().map(|id| id.get())));
    }
    let retried = dead.execute(conn)?;
    record(conn, AuditEvent::MessagesRetried, retried, now, origin)
}

pub(crate) fn discard(
    conn: &mut Conn,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<usize, QueryError> {
    let waiting = outbox::table
        .filter(outbox::delivered_at.is_null())
        .filter(outbox::failed_at.is_null())
        .filter(outbox::at.lt(instant::store(before)));
    let discarded = diesel::update(waiting)
        .set((
            outbox::failed_at.eq(instant::store(now)),
            outbox::last_error.eq(DISCARDED),
        ))
        .execute(conn)?;
    record(conn, AuditEvent::MessagesDiscarded, discarded, now, origin)
}

/// Records that so many messages were changed, unless it was none.
fn record(
    conn: &mut Conn,
    event: AuditEvent,
    messages: usize,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<usize, QueryError> {
    if messages > 0 {
        let attempts = i64::try_from(messages).unwrap_or(i64::MAX);
        let new = NewRecord::of_nobody(event, now, origin);
        audit_rows::record(conn, &NewRecord { attempts, ..new })?;
    }
    Ok(messages)
}

#[derive(Queryable)]
struct ClaimedRow {
    id: i64,
    at: i64,
    kind: String,
    user_id: i64,
    user_name: String,
    email: String,
    device_id: Option<i64>,
    device_name: Option<String>,
    actor: Option<String>,
    remote_address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    attempts: i64,
}

impl ClaimedRow {
    fn into_message(self) -> Result<Message, QueryError> {
        let address = self.remote_address.map(|text| text.parse());
        Ok(Message {
            id: MessageId::from_stored(self.id).ok_or(wrong("id"))?,
            at: instant::load(self.at, "outbox", "at")?,
            event: AuditEvent::from_stored(&self.kind).ok_or(wrong("kind"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            user_name: self.user_name,
            email: self.email,
            device_id: device_id(self.device_id)?,
            device_name: self.device_name,
            origin: AuditOrigin {
                actor: self.actor,
                remote_address: address.transpose().map_err(|_| QueryError::Inconsistent {
                    table: "audit",
                    column: "remote_address",
                })?,
                user_agent: self.user_agent,
                request_id: self.request_id,
            },
            attempt: self.attempts,
        })
    }
}

#[derive(Queryable)]
struct EntryRow {
    id: i64,
    at: i64,
    kind: String,
    user_id: i64,
    device_id: Option<i64>,
    delivered_at: Option<i64>,
    failed_at: Option<i64>,
    due_at: i64,
    attempts: i64,
    last_error: Option<String>,
}

impl EntryRow {
    fn into_entry(self) -> Result<MessageEntry, QueryError> {
        let (state, at) = match (self.delivered_at, self.failed_at) {
            (None, None) => (
                MessageState::Waiting,
                (self.due_at > 0).then_some(self.due_at),
            ),
            (Some(at), None) => (MessageState::Delivered, Some(at)),
            (None, Some(at)) => (MessageState::Dead, Some(at)),
            (Some(_), Some(_)) => return Err(wrong("failed_at")),
        };
        Ok(MessageEntry {
            id: MessageId::from_stored(self.id).ok_or(wrong("id"))?,
            at: instant::load(self.at, "outbox", "at")?,
            event: AuditEvent::from_stored(&self.kind).ok_or(wrong("kind"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            device_id: device_id(self.device_id)?,
            state,
            state_at: instant::load_optional(at, "outbox", "due_at")?,
            attempts: self.attempts,
            last_error: self.last_error,
        })
    }
}

fn device_id(stored: Option<i64>) -> Result<Option<DeviceId>, QueryError> {
    stored
        .map(|id| DeviceId::from_stored(id).ok_or(wrong("device_id")))
        .transpose()
}
