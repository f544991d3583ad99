//! The store through its public methods, on real databases.
//!
//! All modules but `sqlite_*` and `postgres_*` are the conformance suite: they know no backend, and
//! get their database from `support`.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparations fail has failed"
)]

mod attempts;
mod audit;
mod backup_codes;
mod broken_rows;
mod busy;
mod devices;
mod keys;
mod limits;
mod outbox;
mod races;
mod sessions;
mod sqlite_open;
mod support;
#[path = "../../../../tests/throwaway.rs"]
mod throwaway;
mod users;
