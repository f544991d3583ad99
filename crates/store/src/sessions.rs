//! Sessions: starting, finding and ending them.

use arklow_domain::{Session, SessionId, TokenHash, UserId};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::audit::{self, NewRecord};
use crate::error::Fault;
use crate::schema::{sessions, users};
use crate::{AuditEvent, AuditOrigin, Backend, Store, StoreError, instant};

/// A session to be started.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// A newly drawn id.
    pub id: SessionId,
    /// Who signs in.
    pub user_id: UserId,
    /// The hash of a newly drawn token.
    pub token_hash: TokenHash,
    /// The time.
    pub created_at: DateTime<Utc>,
    /// From this instant on the session is over.
    pub expires_at: DateTime<Utc>,
    /// From this instant on the second factor counts as not shown; `None` if it was not.
    pub mfa_not_after: Option<DateTime<Utc>>,
}

/// What [`Store::create_session`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateSession {
    /// The session lives now.
    Created,
    /// There is no such user.
    NoSuchUser,
    /// The user is disabled.
    UserDisabled,
}

/// What [`Store::revoke_session`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeSession {
    /// From now on the session is over.
    Revoked,
    /// It was revoked before; the time of it stays.
    AlreadyRevoked,
    /// There is no such session.
    NoSuchSession,
}

/// A session as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// The session.
    pub session: Session,
    /// When it was started.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Starts a session, unless the user may not have one.
    ///
    /// # Errors
    /// [`StoreError`]; among others if the id or the token was used before.
    pub async fn create_session(&self, new: NewSession) -> Result<CreateSession, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| create(conn, &new)).await,
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_session(
        &self,
        session: SessionId,
        now: DateTime<Utc>,
    ) -> Result<RevokeSession, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| revoke(conn, session, now)).await,
        }
    }

    /// All sessions that a user ever had, newest first, for an operator; `None` if there is no such
    /// user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions(
        &self,
        user: UserId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Option<Vec<SessionEntry>>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                sqlite
                    .write(move |conn| list(conn, user, now, &origin))
                    .await
            }
        }
    }

    /// The session with this token, if it lives at `now`: not revoked, not expired, and its user
    /// not disabled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_session(
        &self,
        token: TokenHash,
        now: DateTime<Utc>,
    ) -> Result<Option<Session>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(move |conn| find_live(conn, token, now)).await,
        }
    }
}

fn create(conn: &mut SqliteConnection, new: &NewSession) -> Result<CreateSession, Fault> {
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
        return Ok(CreateSession::Created);
    }
    Ok(match crate::users::is_disabled(conn, new.user_id)? {
        Some(_) => CreateSession::UserDisabled,
        None => CreateSession::NoSuchUser,
    })
}

fn revoke(
    conn: &mut SqliteConnection,
    session: SessionId,
    now: DateTime<Utc>,
) -> Result<RevokeSession, Fault> {
    let unrevoked = sessions::table
        .find(session.get())
        .filter(sessions::revoked_at.is_null());
    let updated = diesel::update(unrevoked)
        .set(sessions::revoked_at.eq(instant::store(now)))
        .execute(conn)?;
    if updated == 1 {
        return Ok(RevokeSession::Revoked);
    }
    let exists = diesel::select(diesel::dsl::exists(sessions::table.find(session.get())));
    Ok(match exists.get_result(conn)? {
        true => RevokeSession::AlreadyRevoked,
        false => RevokeSession::NoSuchSession,
    })
}

fn list(
    conn: &mut SqliteConnection,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<Option<Vec<SessionEntry>>, Fault> {
    if crate::users::is_disabled(conn, user)?.is_none() {
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
    let entries = rows.into_iter().map(|(row, created_at, revoked_at)| {
        Ok(SessionEntry {
            session: row.into_session()?,
            created_at: instant::load(created_at, "sessions", "created_at")?,
            revoked_at: instant::load_optional(revoked_at, "sessions", "revoked_at")?,
        })
    });
    let entries: Result<_, Fault> = entries.collect();
    entries.map(Some)
}

fn find_live(
    conn: &mut SqliteConnection,
    token: TokenHash,
    now: DateTime<Utc>,
) -> Result<Option<Session>, Fault> {
    let row: Option<SessionRow> = live(now)
        .filter(sessions::token_hash.eq(token.as_bytes().as_slice()))
        .select(SessionRow::as_select())
        .first(conn)
        .optional()?;
    row.map(SessionRow::into_session).transpose()
}

/// Where a live session stands, in the transaction that acts on it.
pub(crate) struct Standing {
    pub(crate) is_fresh: bool,
    pub(crate) expires_at: DateTime<Utc>,
}

/// Where the session of this user stands at `now`, or `None` if it does not live.
pub(crate) fn find_standing(
    conn: &mut SqliteConnection,
    session: SessionId,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Option<Standing>, Fault> {
    let found: Option<(Option<i64>, i64)> = live(now)
        .filter(sessions::id.eq(session.get()))
        .filter(sessions::user_id.eq(user.get()))
        .select((sessions::mfa_not_after, sessions::expires_at))
        .first(conn)
        .optional()?;
    let standing = found.map(|(not_after, expires_at)| {
        Ok(Standing {
            is_fresh: not_after > Some(instant::store(now)),
            expires_at: instant::load(expires_at, "sessions", "expires_at")?,
        })
    });
    standing.transpose()
}

/// The sessions that live at `now`, with their users: the one place that says what that means.
#[diesel::dsl::auto_type(no_type_alias)]
pub(crate) fn live(now: DateTime<Utc>) -> _ {
    let micros: i64 = instant::store(now);
    sessions::table.inner_join(users::table).filter(
        sessions::revoked_at
            .is_null()
            .and(sessions::expires_at.gt(micros))
            .and(users::disabled_at.is_null()),
    )
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = sessions, check_for_backend(Sqlite))]
struct SessionRow {
    id: i64,
    user_id: i64,
    expires_at: i64,
    mfa_not_after: Option<i64>,
}

impl SessionRow {
    fn into_session(self) -> Result<Session, Fault> {
        let wrong = |column| Fault::Inconsistent {
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
