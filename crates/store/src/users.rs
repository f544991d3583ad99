//! Users: making, finding, disabling and enabling them.

use arklow_domain::{Device, Email, User, UserId, UserName};
use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{AuditOrigin, AuditRecord, SessionEntry, Store, StoreError};

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

/// What [`Store::enable_user`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnableUser {
    /// The user may sign in again. Sessions from before stay over.
    Enabled,
    /// The user was not disabled.
    AlreadyEnabled,
    /// There is no such user.
    NoSuchUser,
}

/// Selects users, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// Only those after this one.
    pub after: Option<UserId>,
    /// Only those whose address contains this text, in any case.
    pub search: Option<String>,
    /// Only those who were disabled at this instant or later, and still are.
    pub disabled_since: Option<DateTime<Utc>>,
    /// So many at most.
    pub limit: u32,
}

/// A device as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOverview {
    /// The device.
    pub device: Device,
    /// Since when its TOTP codes are refused.
    pub totp_locked_at: Option<DateTime<Utc>>,
    /// Since when its backup codes are refused.
    pub codes_locked_at: Option<DateTime<Utc>>,
    /// How many of its backup codes are not used up; `None` if it has no set.
    pub backup_codes_left: Option<u32>,
}

/// A user as an operator sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserOverview {
    /// The user.
    pub user: User,
    /// Failures in a row.
    pub failures: i64,
    /// Until when these lock all factors; may be over.
    pub locked_until: Option<DateTime<Utc>>,
    /// The devices that were not removed, newest first, up to a limit.
    pub devices: Vec<DeviceOverview>,
    /// How many devices were not removed.
    pub device_count: u64,
    /// The live sessions, newest first, up to a limit.
    pub sessions: Vec<SessionEntry>,
    /// How many live sessions there are.
    pub session_count: u64,
    /// The last records of the audit about the user, oldest first, up to a limit.
    pub records: Vec<AuditRecord>,
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
        dispatch!(self.write(users::create(&new, &origin)))
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
        dispatch!(self.write(users::disable(user, now, &origin)))
    }

    /// Enables a disabled user. Sessions from before stay over: they are revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enable_user(
        &self,
        user: UserId,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<EnableUser, StoreError> {
        dispatch!(self.write(users::enable(user, now, &origin)))
    }

    /// The id of the user with this address, in any case.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_id_of(&self, email: Email) -> Result<Option<UserId>, StoreError> {
        dispatch!(self.read(users::find_id(&email)))
    }

    /// The users that `filter` lets through, for an operator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn users(
        &self,
        filter: UserFilter,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Vec<User>, StoreError> {
        dispatch!(self.write(users::list(&filter, now, &origin)))
    }

    /// All about a user that an operator needs, with at most `limit` devices, sessions and records;
    /// `None` if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_overview(
        &self,
        user: UserId,
        limit: u32,
        now: DateTime<Utc>,
        origin: AuditOrigin,
    ) -> Result<Option<UserOverview>, StoreError> {
        dispatch!(self.write(users::show(user, limit, now, &origin)))
    }

    /// What the user may do in which organization, by organization.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        dispatch!(self.read(users::list_memberships(user)))
    }

    /// The user with this id, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        dispatch!(self.read(users::find(user)))
    }
}
