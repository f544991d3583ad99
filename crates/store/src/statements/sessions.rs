//! Rows of sessions, and what it means that one lives.

use arklow_domain::{Session, SessionId, TokenHash, UserId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};

use super::rows::is_disabled;
use super::{Conn, Db, audit, locks};
use crate::audit::NewRecord;
use crate::error::QueryError;
use crate::prepared::prepared;
use crate::schema::{sessions, users};
use crate::{
    AuditEvent, AuditOrigin, CreateSession, NewSession, RevokeSession, SessionEntry, instant,
};

pub(crate) fn create(
    conn: &mut Conn,
    new: &NewSession,
    origin: &AuditOrigin,
) -> Result<CreateSession, QueryError> {
    let inserted = users::table
        .find(new.user_id.get())
        .filter(users::disabled_at.is_null())
        .select((
            new.id.get().into_sql::<BigInt>(),
            users::id,
            new.token_hash.as_bytes().as_slice().into_sql::<Binary>(),
            instant::store(new.created_at).into_sql::<BigInt>(),
            instant::store(new.expires_at).into_sql::<BigInt>(),
            new.mfa_not_after
                .map(instant::store)
                .into_sql::<Nullable<BigInt>>(),
        ))
        .insert_into(sessions::table)
        .into_columns((
            sessions::id,
            sessions::user_id,
            sessions::token_hash,
            sessions::created_at,
            sessions::expires_at,
            sessions::mfa_not_after,
        ))
        .execute(conn)?;
    if inserted == 1 {
        let event = AuditEvent::SessionCreated;
        audit::record(
            conn,
            &NewRecord {
                session_id: Some(new.id),
                ..NewRecord::of(new.user_id, event, new.created_at, origin)
            },
        )?;
        return Ok(CreateSession::Created);
    }
    Ok(match is_disabled(conn, new.user_id)? {
        Some(_) => CreateSession::UserDisabled,
        None => CreateSession::NoSuchUser,
    })
}

pub(crate) fn revoke(
    conn: &mut Conn,
    session: SessionId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<RevokeSession, QueryError> {
    let unrevoked = sessions::table
        .find(session.get())
        .filter(sessions::revoked_at.is_null());
    let owner: Option<i64> = diesel::update(unrevoked)
        .set(sessions::revoked_at.eq(instant::store(now)))
        .returning(sessions::user_id)
        .get_result(conn)
        .optional()?;
    if let Some(owner) = owner {
        let owner = UserId::from_stored(owner).ok_or(QueryError::Inconsistent {
            table: "sessions",
            column: "user_id",
        })?;
        audit::record(
            conn,
            &NewRecord {
                session_id: Some(session),
                ..NewRecord::of(owner, AuditEvent::SessionRevoked, now, origin)
            },
        )?;
        return Ok(RevokeSession::Revoked);
    }
    let exists = diesel::select(diesel::dsl::exists(sessions::table.find(session.get())));
    Ok(match exists.get_result(conn)? {
        true => RevokeSession::AlreadyRevoked,
        false => RevokeSession::NoSuchSession,
    })
}

pub(crate) fn list(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Option<Vec<SessionEntry>>, QueryError> {
    if is_disabled(conn, user)?.is_none() {
        return Ok(None);
    }
    let record = NewRecord::of(user, AuditEvent::SessionsListed, now, origin);
    audit::record(conn, &record)?;
    let rows: Vec<(SessionRow, i64, Option<i64>)> = sessions::table
        .filter(sessions::user_id.eq(user.get()))
        .order((sessions::created_at.desc(), sessions::id.desc()))
        .select((
            SessionRow::as_select(),
            sessions::created_at,
            sessions::revoked_at,
        ))
        .load(conn)?;
    let entries: Result<_, QueryError> = rows.into_iter().map(into_entry).collect();
    entries.map(Some)
}

fn into_entry(row: (SessionRow, i64, Option<i64>)) -> Result<SessionEntry, QueryError> {
    let (row, created_at, revoked_at) = row;
    Ok(SessionEntry {
        session: row.into_session()?,
        created_at: instant::load(created_at, "sessions", "created_at")?,
        revoked_at: instant::load_optional(revoked_at, "sessions", "revoked_at")?,
    })
}

/// The live sessions of a user, newest first, and how many there are.
pub(crate) fn list_live(
    conn: &mut Conn,
    user: UserId,
    limit: u32,
    now: DateTime<Utc>,
) -> Result<(Vec<SessionEntry>, i64), QueryError> {
    let of_user = || live(now).filter(users::id.eq(user.get()));
    let count = of_user().select(diesel::dsl::count_star()).first(conn)?;
    let rows: Vec<(SessionRow, i64, Option<i64>)> = of_user()
        .order((sessions::created_at.desc(), sessions::id.desc()))
        .limit(i64::from(limit))
        .select((
            SessionRow::as_select(),
            sessions::created_at,
            sessions::revoked_at,
        ))
        .load(conn)?;
    let entries: Result<_, QueryError> = rows.into_iter().map(into_entry).collect();
    Ok((entries?, count))
}

pub(crate) fn find_live(
    conn: &mut Conn,
    token: TokenHash,
    now: DateTime<Utc>,
) -> Result<Option<Session>, QueryError> {
    let session = live(now)
        .filter(sessions::token_hash.eq(token.as_bytes().as_slice()))
        .select(SessionRow::as_select());
    let row: Option<SessionRow> = prepared!(session).get_result(conn).optional()?;
    row.map(SessionRow::into_session).transpose()
}

/// Where a live session stands, in the transaction that acts on it.
pub(crate) struct LiveSession {
    /// Until when the second factor counts; `None` if it does not.
    pub(crate) mfa_not_after: Option<DateTime<Utc>>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// Where the session of this user stands at `now`, or `None` if it does not live. Until the end of
/// the transaction everything else about this user waits: this is how each change begins.
pub(crate) fn find_live_session(
    conn: &mut Conn,
    session: SessionId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Option<LiveSession>, QueryError> {
    let session = live(now)
        .filter(sessions::id.eq(session.get()))
        .filter(sessions::user_id.eq(user.get()))
        .select((sessions::mfa_not_after, sessions::expires_at));
    let session = prepared!(locks::holding!(session));
    let found: Option<(Option<i64>, i64)> = session.get_result(conn).optional()?;
    let session = found.map(|(not_after, expires_at)| {
        let not_after = instant::load_optional(not_after, "sessions", "mfa_not_after")?;
        Ok(LiveSession {
            mfa_not_after: not_after.filter(|until| *until > now),
            expires_at: instant::load(expires_at, "sessions", "expires_at")?,
        })
    });
    session.transpose()
}

/// The sessions that are live at `now`, with their users: the only definition of a live session.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn live(now: DateTime<Utc>) -> _ {
    let micros: i64 = instant::store(now);
    // The user first: that is the order in which rows are locked.
    users::table.inner_join(sessions::table).filter(
        sessions::revoked_at
            .is_null()
            .and(sessions::expires_at.gt(micros))
            .and(users::disabled_at.is_null()),
    )
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(Db))]
struct SessionRow {
    id: i64,
    user_id: i64,
    expires_at: i64,
    mfa_not_after: Option<i64>,
}

impl SessionRow {
    fn into_session(self) -> Result<Session, QueryError> {
        let wrong = |column| QueryError::Inconsistent {
            table: "sessions",
            column,
        };
        let not_after = self.mfa_not_after;
        Ok(Session {
            id: SessionId::from_stored(self.id).ok_or(wrong("id"))?,
            user_id: UserId::from_stored(self.user_id).ok_or(wrong("user_id"))?,
            expires_at: instant::load(self.expires_at, "sessions", "expires_at")?,
            mfa_not_after: instant::load_optional(not_after, "sessions", "mfa_not_after")?,
        })
    }
}
