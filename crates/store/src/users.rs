//! Users: making, finding and disabling them.

use arklow_domain::{Email, User, UserId, UserName};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::error::Fault;
use crate::schema::{memberships, users};
use crate::{Backend, Store, StoreError, instant};

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
    pub async fn create_user(&self, new: NewUser) -> Result<CreateUser, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| create(conn, &new)).await,
        }
    }

    /// Disables a user, and with them all their sessions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn disable_user(
        &self,
        user: UserId,
        now: DateTime<Utc>,
    ) -> Result<DisableUser, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.write(move |conn| disable(conn, user, now)).await,
        }
    }

    /// What the user may do in which organization, by organization.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn memberships(&self, user: UserId) -> Result<Vec<Membership>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(move |conn| list_memberships(conn, user)).await,
        }
    }

    /// The user with this id, disabled or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user(&self, user: UserId) -> Result<Option<User>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.read(move |conn| find(conn, user)).await,
        }
    }
}

fn create(conn: &mut SqliteConnection, new: &NewUser) -> Result<CreateUser, Fault> {
    let inserted = diesel::insert_into(users::table)
        .values((
            users::id.eq(new.id.get()),
            users::name.eq(new.name.as_str()),
            users::email.eq(new.email.as_str()),
            users::email_folded.eq(new.email.folded()),
            users::created_at.eq(instant::store(new.now)),
        ))
        .on_conflict(users::email_folded)
        .do_nothing()
        .execute(conn)?;
    Ok(if inserted == 1 {
        CreateUser::Created
    } else {
        CreateUser::EmailInUse
    })
}

fn disable(
    conn: &mut SqliteConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<DisableUser, Fault> {
    let enabled = users::table
        .find(user.get())
        .filter(users::disabled_at.is_null());
    let updated = diesel::update(enabled)
        .set(users::disabled_at.eq(instant::store(now)))
        .execute(conn)?;
    if updated == 1 {
        return Ok(DisableUser::Disabled);
    }
    Ok(match is_disabled(conn, user)? {
        Some(_) => DisableUser::AlreadyDisabled,
        None => DisableUser::NoSuchUser,
    })
}

fn find(conn: &mut SqliteConnection, user: UserId) -> Result<Option<User>, Fault> {
    let row: Option<UserRow> = users::table
        .find(user.get())
        .select(UserRow::as_select())
        .first(conn)
        .optional()?;
    row.map(UserRow::into_user).transpose()
}

fn list_memberships(conn: &mut SqliteConnection, user: UserId) -> Result<Vec<Membership>, Fault> {
    let rows: Vec<(i64, String)> = memberships::table
        .filter(memberships::user_id.eq(user.get()))
        .order(memberships::org_id)
        .select((memberships::org_id, memberships::permissions))
        .load(conn)?;
    let memberships = rows.into_iter().map(|(org_id, permissions)| Membership {
        org_id,
        permissions: permissions.split_whitespace().map(str::to_owned).collect(),
    });
    Ok(memberships.collect())
}

/// Whether the user is disabled; `None` if there is none.
pub(crate) fn is_disabled(
    conn: &mut SqliteConnection,
    user: UserId,
) -> Result<Option<bool>, Fault> {
    let disabled = users::table
        .find(user.get())
        .select(users::disabled_at.is_not_null());
    Ok(disabled.first(conn).optional()?)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Sqlite))]
struct UserRow {
    id: i64,
    name: String,
    email: String,
    created_at: i64,
    disabled_at: Option<i64>,
}

impl UserRow {
    fn into_user(self) -> Result<User, Fault> {
        let wrong = |column| Fault::Inconsistent {
            table: "users",
            column,
        };
        Ok(User {
            id: UserId::from_stored(self.id).ok_or(wrong("id"))?,
            name: self.name.parse().map_err(|_| wrong("name"))?,
            email: self.email.parse().map_err(|_| wrong("email"))?,
            created_at: instant::load(self.created_at, "users", "created_at")?,
            disabled_at: instant::load_optional(self.disabled_at, "users", "disabled_at")?,
        })
    }
}
