//! Rows of users and of their memberships.

use arklow_domain::{Email, User, UserId, UserName};
use chrono::{DateTime, Utc};
use diesel::prelude::*;

use super::{Conn, Db, audit};
use crate::audit::NewRecord;
use crate::error::Fault;
use crate::fixed::fixed;
use crate::schema::{memberships, users};
use crate::{AuditEvent, AuditOrigin, CreateUser, DisableUser, Membership, NewUser, instant};

pub(crate) fn create(
    conn: &mut Conn,
    new: &NewUser,
    origin: &AuditOrigin,
) -> Result<CreateUser, Fault> {
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
    if inserted == 0 {
        return Ok(CreateUser::EmailInUse);
    }
    let record = NewRecord::of(new.id, AuditEvent::UserCreated, new.now, origin);
    audit::record(conn, &record)?;
    Ok(CreateUser::Created)
}

pub(crate) fn disable(
    conn: &mut Conn,
    user: UserId,
    now: DateTime<Utc>,
    origin: &AuditOrigin,
) -> Result<DisableUser, Fault> {
    let enabled = users::table
        .find(user.get())
        .filter(users::disabled_at.is_null());
    let updated = diesel::update(enabled)
        .set(users::disabled_at.eq(instant::store(now)))
        .execute(conn)?;
    if updated == 1 {
        let record = NewRecord::of(user, AuditEvent::UserDisabled, now, origin);
        audit::record(conn, &record)?;
        return Ok(DisableUser::Disabled);
    }
    Ok(match is_disabled(conn, user)? {
        Some(_) => DisableUser::AlreadyDisabled,
        None => DisableUser::NoSuchUser,
    })
}

pub(crate) fn find(conn: &mut Conn, user: UserId) -> Result<Option<User>, Fault> {
    let user = users::table.find(user.get()).select(UserRow::as_select());
    let row: Option<UserRow> = fixed!(user).get_result(conn).optional()?;
    row.map(UserRow::into_user).transpose()
}

pub(crate) fn list_memberships(conn: &mut Conn, user: UserId) -> Result<Vec<Membership>, Fault> {
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
pub(crate) fn is_disabled(conn: &mut Conn, user: UserId) -> Result<Option<bool>, Fault> {
    let disabled = users::table
        .find(user.get())
        .select(users::disabled_at.is_not_null());
    Ok(disabled.first(conn).optional()?)
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Db))]
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
            name: UserName::from_stored(&self.name).ok_or(wrong("name"))?,
            email: Email::from_stored(&self.email).ok_or(wrong("email"))?,
            created_at: instant::load(self.created_at, "users", "created_at")?,
            disabled_at: instant::load_optional(self.disabled_at, "users", "disabled_at")?,
        })
    }
}
