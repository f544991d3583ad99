//! Writing and reading records of the audit.

use arklow_domain::{AuditId, Denial, DeviceId, SessionId, UserId};
use chrono::{DateTime, Utc};
use diesel::dsl::max;
use diesel::prelude::*;

use super::{Conn, Db, written};
use crate::audit::{NewRecord, escape_and_truncate};
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{audit, outbox};
use crate::{
    AuditEvent, AuditFilter, AuditOrder, AuditOrigin, AuditOutcome, AuditReason, AuditRecord,
    instant,
};

/// Writes a record, and a row of the outbox if the user must be notified.
pub(crate) fn record(conn: &mut Conn, new: &NewRecord<'_>) -> Result<(), QueryError> {
    let at = instant::store(new.at);
    let insert = diesel::insert_into(audit::table)
        .values((
            audit::at.eq(at),
            audit::event.eq(new.event.as_str()),
            audit::outcome.eq(new.outcome.as_str()),
            audit::reason.eq(new.outcome.reason().map(AuditReason::as_str)),
            audit::actor.eq(new.origin.actor.as_deref().map(escape_and_truncate)),
            audit::user_id.eq(new.user_id.map(UserId::get)),
            audit::session_id.eq(new.session_id.map(SessionId::get)),
            audit::device_id.eq(new.device_id.map(DeviceId::get)),
            audit::generation.eq(new.generation),
            audit::remaining.eq(new.remaining),
            audit::remote_address.eq(new.origin.remote_address.map(|address| address.to_string())),
            audit::user_agent.eq(new.origin.user_agent.as_deref().map(escape_and_truncate)),
            audit::request_id.eq(new.origin.request_id.as_deref().map(escape_and_truncate)),
            audit::attempts.eq(new.attempts),
        ))
        .returning(audit::id);
    let id: i64 = prepared!(insert).get_result(conn)?;
    written(id, at);
    let Some(user_id) = new.user_id else {
        return Ok(());
    };
    if new.outcome == AuditOutcome::Success && new.event.concerns_the_user() {
        let insert = diesel::insert_into(outbox::table).values((
            outbox::audit_id.eq(id),
            outbox::at.eq(at),
            outbox::kind.eq(new.event.as_str()),
            outbox::user_id.eq(user_id.get()),
            outbox::device_id.eq(new.device_id.map(DeviceId::get)),
        ));
        prepared!(insert).run(conn)?;
    }
    Ok(())
}

/// Records a denial and returns it.
pub(crate) fn deny<T>(
    conn: &mut Conn,
    new: NewRecord<'_>,
    denial: Denial,
) -> Result<Result<T, Denial>, QueryError> {
    if let Some(reason) = AuditReason::of(denial) {
        let outcome = AuditOutcome::Denied(reason);
        record(conn, &NewRecord { outcome, ..new })?;
    }
    Ok(Err(denial))
}

pub(crate) fn list(conn: &mut Conn, filter: &AuditFilter) -> Result<Vec<AuditRecord>, QueryError> {
    let mut records = audit::table.select(AuditRow::as_select()).into_boxed();
    records = match filter.order {
        AuditOrder::OldestFirst => records.order(audit::id),
        AuditOrder::NewestFirst => records.order(audit::id.desc()),
    };
    if let Some(user) = filter.user_id {
        records = records.filter(audit::user_id.eq(user.get()));
    }
    if let Some(device) = filter.device_id {
        records = records.filter(audit::device_id.eq(device.get()));
    }
    if let Some(since) = filter.since {
        records = records.filter(audit::at.ge(instant::store(since)));
    }
    if let Some(until) = filter.until {
        records = records.filter(audit::at.lt(instant::store(until)));
    }
    if let Some(event) = filter.event {
        records = records.filter(audit::event.eq(event.as_str()));
    }
    if let Some(outcome) = filter.outcome {
        records = records.filter(audit::outcome.eq(outcome.as_str()));
    }
    if let Some(id) = &filter.request_id {
        records = records.filter(audit::request_id.eq(id));
    }
    if let Some(address) = filter.address {
        records = records.filter(audit::remote_address.eq(address.to_string()));
    }
    if let Some(after) = filter.after {
        records = match filter.order {
            AuditOrder::OldestFirst => records.filter(audit::id.gt(after.get())),
            AuditOrder::NewestFirst => records.filter(audit::id.lt(after.get())),
        };
    }
    if let Some(limit) = filter.limit {
        records = records.limit(i64::from(limit));
    }
    records
        .load(conn)?
        .into_iter()
        .map(AuditRow::into_record)
        .collect()
}

pub(crate) fn find_newest(conn: &mut Conn) -> Result<Option<DateTime<Utc>>, QueryError> {
    let newest: Option<i64> = audit::table.select(max(audit::at)).first(conn)?;
    instant::load_optional(newest, "audit", "at")
}

/// The last records of a user, the oldest first.
pub(crate) fn latest(
    conn: &mut Conn,
    user: UserId,
    limit: u32,
) -> Result<Vec<AuditRecord>, QueryError> {
    let mut rows: Vec<AuditRow> = audit::table
        .filter(audit::user_id.eq(user.get()))
        .order(audit::id.desc())
        .limit(i64::from(limit))
        .select(AuditRow::as_select())
        .load(conn)?;
    rows.reverse();
    rows.into_iter().map(AuditRow::into_record).collect()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit, check_for_backend(Db))]
struct AuditRow {
    id: i64,
    at: i64,
    event: String,
    outcome: String,
    reason: Option<String>,
    actor: Option<String>,
    user_id: Option<i64>,
    session_id: Option<i64>,
    device_id: Option<i64>,
    generation: Option<i64>,
    remaining: Option<i64>,
    remote_address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    attempts: i64,
}

impl AuditRow {
    fn into_record(self) -> Result<AuditRecord, QueryError> {
        let wrong = |column| QueryError::Inconsistent {
            table: "audit",
            column,
        };
        let user_id = self
            .user_id
            .map(|id| UserId::from_stored(id).ok_or("user_id"));
        let session_id = self
            .session_id
            .map(|id| SessionId::from_stored(id).ok_or("session_id"));
        let device_id = self
            .device_id
            .map(|id| DeviceId::from_stored(id).ok_or("device_id"));
        let address = self
            .remote_address
            .map(|text| text.parse().map_err(|_| "remote_address"));
        Ok(AuditRecord {
            id: AuditId::from_stored(self.id).ok_or(wrong("id"))?,
            at: instant::load(self.at, "audit", "at")?,
            event: AuditEvent::from_stored(&self.event).ok_or(wrong("event"))?,
            outcome: AuditOutcome::from_stored(&self.outcome, self.reason.as_deref())
                .ok_or(wrong("outcome"))?,
            user_id: user_id.transpose().map_err(wrong)?,
            session_id: session_id.transpose().map_err(wrong)?,
            device_id: device_id.transpose().map_err(wrong)?,
            generation: self.generation,
            remaining: self.remaining,
            attempts: self.attempts,
            origin: AuditOrigin {
                actor: self.actor,
                remote_address: address.transpose().map_err(wrong)?,
                user_agent: self.user_agent,
                request_id: self.request_id,
            },
        })
    }
}
