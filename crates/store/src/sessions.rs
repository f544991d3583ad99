//! Sessions: starting, finding and ending them.

use arklow_domain::{Session, SessionId, TokenHash, UserId};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, Store, StoreError};

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
    pub async fn create_session(
        &self,
        new: NewSession,
        origin: AuditOrigin,
    ) -> Result<CreateSession, StoreError> {
        dispatch!(self.write(sessions::create(&new, &origin)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_session(
        &self,
        session: SessionId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<RevokeSession, StoreError> {
        dispatch!(self.write(sessions::revoke(session, now, &origin)))
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
        dispatch!(self.write(sessions::list(user, now, &origin)))
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
        dispatch!(self.read(sessions::find_live(token, now)))
    }
}
