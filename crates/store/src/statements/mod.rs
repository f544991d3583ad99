//! The statements, once as text and compiled for each database: `Conn` and `Db` are those of the
//! module that includes this one.
//!
//! So the rules cannot differ between the databases. The one difference, which rows to lock, is in the
//! `locks` of each.

use super::{Conn, Db, NOW, locks, written};

pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod backup_codes;
pub(crate) mod copy;
pub(crate) mod devices;
pub(crate) mod enrollment;
pub(crate) mod health;
pub(crate) mod keys;
mod limits;
pub(crate) mod lockout;
pub(crate) mod outbox;
pub(crate) mod restore;
pub(crate) mod retention;
mod rows;
pub(crate) mod sessions;
pub(crate) mod users;
