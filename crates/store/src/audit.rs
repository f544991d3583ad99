//! The audit: what was done, by whom and from where.  It is only ever added to.
//!
//! A record is written in the savepoint of what it tells of, so neither is there without the
//! other.  No code, seed, token or hash is ever in it.

use std::fmt::Write as _;
use std::net::IpAddr;

use arklow_domain::{AuditId, DeviceId, SessionId, UserId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::error::Fault;
use crate::schema::audit;
use crate::{Backend, Store, StoreError, instant};

/// The longest text from outside that is kept, in characters as they are kept.
const MAX_TEXT: usize = 256;

/// Where a change came from, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditOrigin {
    /// The address of the client.
    pub remote_address: Option<IpAddr>,
    /// What the client calls itself.  Kept with control characters escaped, and cut at 256
    /// characters.
    pub user_agent: Option<String>,
    /// The request, as the log names it.  Kept like `user_agent`.
    pub request_id: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEvent {
    /// A new set of backup codes replaced whatever there was.
    BackupCodesRegenerated,
}

impl AuditEvent {
    const ALL: [Self; 1] = [Self::BackupCodesRegenerated];

    /// The name on record, for example `mfa.backup_codes.regenerated`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupCodesRegenerated => "mfa.backup_codes.regenerated",
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number; later records have greater ones.
    pub id: AuditId,
    /// When it was done.
    pub at: DateTime<Utc>,
    /// What was done.
    pub event: AuditEvent,
    /// Whose account it was done to.
    pub user_id: UserId,
    /// In which session it was done.
    pub session_id: Option<SessionId>,
    /// To which device it was done.
    pub device_id: Option<DeviceId>,
    /// Which set of backup codes it made.
    pub generation: Option<i64>,
    /// Where it came from.
    pub origin: AuditOrigin,
}

/// Which records are wanted; without either, all.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter {
    /// Only those of this user.
    pub user_id: Option<UserId>,
    /// Only those of this device.
    pub device_id: Option<DeviceId>,
}

impl Store {
    /// The records that `filter` lets through, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_records(&self, filter: AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(move |conn| list(conn, filter)).await,
        }
    }
}

/// A record to be written.
pub(crate) struct NewRecord<'a> {
    pub(crate) at: DateTime<Utc>,
    pub(crate) event: AuditEvent,
    pub(crate) user_id: UserId,
    pub(crate) session_id: Option<SessionId>,
    pub(crate) device_id: Option<DeviceId>,
    pub(crate) generation: Option<i64>,
    pub(crate) origin: &'a AuditOrigin,
}

/// Writes a record.
pub(crate) fn record(conn: &mut SqliteConnection, new: &NewRecord<'_>) -> Result<(), Fault> {
    diesel::insert_into(audit::table)
        .values((
            audit::at.eq(instant::store(new.at)),
            audit::event.eq(new.event.as_str()),
            audit::user_id.eq(new.user_id.get()),
            audit::session_id.eq(new.session_id.map(SessionId::get)),
            audit::device_id.eq(new.device_id.map(DeviceId::get)),
            audit::generation.eq(new.generation),
            audit::remote_address.eq(new.origin.remote_address.map(|address| address.to_string())),
            audit::user_agent.eq(new.origin.user_agent.as_deref().map(harmless)),
            audit::request_id.eq(new.origin.request_id.as_deref().map(harmless)),
        ))
        .execute(conn)?;
    Ok(())
}

fn list(conn: &mut SqliteConnection, filter: AuditFilter) -> Result<Vec<AuditRecord>, Fault> {
    let mut records = audit::table
        .select(AuditRow::as_select())
        .order(audit::id)
        .into_boxed();
    if let Some(user) = filter.user_id {
        records = records.filter(audit::user_id.eq(user.get()));
    }
    if let Some(device) = filter.device_id {
        records = records.filter(audit::device_id.eq(device.get()));
    }
    records
        .load(conn)?
        .into_iter()
        .map(AuditRow::into_record)
        .collect()
}

/// The text as it may be printed one day: whoever wrote it is not trusted.
fn harmless(text: &str) -> String {
    let mut kept = String::new();
    let mut room = MAX_TEXT;
    for c in text.chars() {
        let mut shown = String::new();
        if c.is_control() {
            write!(shown, "{}", c.escape_default()).expect("writing to a string does not fail");
        } else {
            shown.push(c);
        }
        let Some(left) = room.checked_sub(shown.chars().count()) else {
            break;
        };
        room = left;
        kept.push_str(&shown);
    }
    kept
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = audit, check_for_backend(Sqlite))]
struct AuditRow {
    id: i64,
    at: i64,
    event: String,
    user_id: i64,
    session_id: Option<i64>,
    device_id: Option<i64>,
    generation: Option<i64>,
    remote_address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

impl AuditRow {
    fn into_record(self) -> Result<AuditRecord, Fault> {
        let wrong = |column| Fault::Inconsistent {
            table: "audit",
            column,
        };
        let event = AuditEvent::ALL
            .into_iter()
            .find(|event| event.as_str() == self.event);
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
            event: event.ok_or(wrong("event"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            session_id: session_id.transpose().map_err(wrong)?,
            device_id: device_id.transpose().map_err(wrong)?,
            generation: self.generation,
            origin: AuditOrigin {
                remote_address: address.transpose().map_err(wrong)?,
                user_agent: self.user_agent,
                request_id: self.request_id,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut_between_characters() {
        assert_eq!(harmless("curl/8.5 é"), "curl/8.5 é");
        assert_eq!(harmless("a\r\nb\u{1b}[31m\0"), "a\\r\\nb\\u{1b}[31m\\u{0}");
        assert_eq!(harmless(&"é".repeat(300)), "é".repeat(256));
        assert_eq!(harmless(&format!("{}\n", "a".repeat(255))), "a".repeat(255));
    }

    #[test]
    fn every_event_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            AuditEvent::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(names.len(), AuditEvent::ALL.len());
    }
}
