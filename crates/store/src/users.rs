//! Users: making, finding and disabling them.

use arklow_domain::{Email, User, UserId, UserName};
use chrono::{DateTime, Utc};

use crate::ask::ask;
use crate::{AuditOrigin, Store, StoreError};

/// A user to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// A newly drawn id.
    pub id: UserId,
    /// What they are called.
    pub name: UserName,
    /// How they are reached.
    pub email: Email,
    /// The time.
    pub now: DateTime<Utc>,
}

/// What a user may do in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Which organization: a positive number.
    pub org_id: i64,
    /// What may be done there, in the order in which it is stored.
    pub permissions: Vec<String>,
}

/// What [`Store::create_user`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateUser {
    /// The user exists now.
    Created,
    /// Another user has this address, perhaps in another case.
    EmailInUse,
}

/// What [`Store::disable_user`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisableUser {
    /// From now on no session of the user lives.
    Disabled,
    /// It was so before; the time of it stays.
    AlreadyDisabled,
    /// There is no such user.
    NoSuchUser,
}

impl Store {
    /// Makes a user, unless the address is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_user(
        &self,
        new: NewUser,
        origin: AuditOrigin,
    ) -> Result<CreateUser, StoreError> {
        ask!(self.write(users::create(&new, &origin)))
    }

    /// Disables a user, and with them all their sessions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn disable_user(
        &self,
        user: UserId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<DisableUser, StoreError> {
        ask!(self.write(users::disable(user, now, &origin)))
    }

    /// What the user may do in which organization, by organization.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        ask!(self.read(users::list_memberships(user)))
    }

    /// The user with this id, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        ask!(self.read(users::find(user)))
    }
}
