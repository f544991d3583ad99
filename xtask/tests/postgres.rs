//! The suites of the store and of the server, once more on PostgreSQL.

use std::process::Command;

use crate::{repository, skip};

/// `cargo test` runs them on SQLite; here the same binaries run on the server that
/// `ARKLOW_TEST_POSTGRES_URL` names, with a user who may create databases.
#[test]
fn suites_hold_on_postgres() {
    if std::env::var_os("ARKLOW_TEST_POSTGRES_URL").is_none() {
        skip(
            "ARKLOW_TEST_POSTGRES_URL names no server; `tests/throwaway-postgres start FOLDER` \
             starts one and prints its URL",
        );
        return;
    }
    let status = Command::new(env!("CARGO"))
        .args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--test",
            "store",
            "--test",
            "contract",
        ])
        .env("ARKLOW_TEST_ON", "postgres")
        .current_dir(repository())
        .status()
        .expect("Cargo runs");
    assert!(status.success(), "what failed stands above");
}
