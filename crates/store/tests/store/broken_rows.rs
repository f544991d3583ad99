//! Rows that this program never writes: an error that names table and column, never a panic.

use arklow_domain::UserId;
use arklow_store::{AuditFilter, PresentedCode, StoreError};

use crate::support::{Database, by_operator, new_session, now, presented, rules};
use crate::throwaway::on_postgres;

/// Writes past the constraints of the tables.
fn corrupt(db: &Database, sql: &str) {
    let mut raw = db.raw();
    raw.unchecked();
    raw.run(sql);
}

#[track_caller]
fn assert_inconsistent<T: std::fmt::Debug>(answer: Result<T, StoreError>, expected: (&str, &str)) {
    match answer {
        Err(StoreError::Inconsistent { table, column }) => assert_eq!((table, column), expected),
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

#[tokio::test]
async fn user_that_cannot_be_true() {
    for (set, column) in [
        ("name = ''", "name"),
        ("email = 'no address'", "email"),
        ("created_at = 9223372036854775807", "created_at"),
        ("disabled_at = -9223372036854775808", "disabled_at"),
    ] {
        let db = Database::new().await;
        let ada = db.db_user("ada@example.org").await;
        corrupt(&db, &format!("UPDATE users SET {set}"));
        assert_inconsistent(db.store.user(ada).await, ("users", column));
    }
}

#[tokio::test]
async fn session_that_cannot_be_true() {
    for (set, column) in [
        ("id = -1", "id"),
        ("expires_at = 9223372036854775807", "expires_at"),
        ("mfa_not_after = 9223372036854775807", "mfa_not_after"),
        ("user_id = -1", "user_id"),
    ] {
        let db = Database::new().await;
        let (new, token) = new_session(db.db_user("ada@example.org").await);
        db.store.create_session(new, by_operator()).await.unwrap();
        corrupt(
            &db,
            &format!("UPDATE users SET id = -1 WHERE '{column}' = 'user_id'"),
        );
        corrupt(&db, &format!("UPDATE sessions SET {set}"));
        assert_inconsistent(
            db.store.live_session(token, now()).await,
            ("sessions", column),
        );
    }
}

#[tokio::test]
async fn device_that_cannot_be_true_is_not_given_new_codes() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    corrupt(&db, "UPDATE devices SET name = ''");
    let (_, replace) = db.new_codes(ada);
    assert_inconsistent(
        db.store.replace_backup_codes(replace).await,
        ("devices", "name"),
    );
    assert_eq!(
        db.store
            .backup_code_set(ada.user_id, ada.device_id)
            .await
            .unwrap(),
        None
    );
    assert_eq!(db.records(AuditFilter::default()).await, []);
}

#[tokio::test]
async fn set_of_codes_that_cannot_be_true() {
    for (set, column) in [
        ("code_macs = zeroblob(319)", "code_macs"),
        ("code_macs = zeroblob(352)", "code_macs"),
        ("code_macs = NULL", "code_generation"),
        ("code_key_id = NULL", "code_generation"),
        ("code_generation = 0", "code_generation"),
        ("code_generation = -1", "code_generation"),
        ("code_key_id = 'ABCDEF0123456789'", "code_key_id"),
        ("code_used = 1024", "code_used"),
        ("code_used = -1", "code_used"),
    ] {
        let db = Database::new().await;
        let ada = db.db_ada().await;
        let codes = db.db_codes(ada).await;
        corrupt(&db, &format!("UPDATE devices SET {set}"));
        let found = db.store.backup_code_set(ada.user_id, ada.device_id).await;
        assert_inconsistent(found, ("devices", column));
        let code = PresentedCode::BackupCode(codes[0].clone());
        let present = presented(ada, code, rules());
        let redeemed = db.store.verify_code(present, db.keyring.clone()).await;
        assert_inconsistent(redeemed, ("devices", column));
    }
}

#[tokio::test]
async fn record_that_cannot_be_true() {
    for (set, column) in [
        ("event = 'mfa.unheard_of'", "event"),
        ("remote_address = 'here'", "remote_address"),
        ("user_id = 0", "user_id"),
        ("session_id = 0", "session_id"),
        ("device_id = 0", "device_id"),
        ("at = 9223372036854775807", "at"),
        ("id = 0", "id"),
    ] {
        let db = Database::new().await;
        let ada = db.db_ada().await;
        db.db_codes(ada).await;
        let one = "event = 'mfa.backup_codes.regenerated'";
        corrupt(&db, &format!("UPDATE audit SET {set} WHERE {one}"));
        let found = db.store.audit_records(AuditFilter::default()).await;
        assert_inconsistent(found, ("audit", column));
    }
}

#[tokio::test]
async fn key_that_cannot_be_true() {
    for (set, column) in [
        ("id = 'x'", "id"),
        ("check_value = zeroblob(1)", "check_value"),
    ] {
        let db = Database::new().await;
        let id = db.keyring.active();
        let check = db.keyring.get(&id).unwrap().check();
        db.store.record_key(id, check, now()).await.unwrap();
        corrupt(&db, &format!("UPDATE keys SET {set}"));
        assert_inconsistent(db.store.recorded_keys().await, ("keys", column));
    }
}

#[tokio::test]
async fn tables_themselves_refuse_what_cannot_be_true() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    db.db_codes(ada).await;
    for sql in [
        "UPDATE users SET id = 0",
        "UPDATE users SET name = ''",
        "UPDATE users SET created_at = 'noon'",
        "UPDATE sessions SET token_hash = zeroblob(1)",
        "UPDATE devices SET device_type = 'sms'",
        "UPDATE devices SET seed = zeroblob(1)",
        "UPDATE devices SET code_macs = zeroblob(319)",
        "UPDATE devices SET code_macs = NULL",
        "UPDATE devices SET code_used = 1024",
        "UPDATE devices SET code_generation = 0",
        "DELETE FROM users",
    ] {
        let mut raw = db.raw();
        if !on_postgres() {
            raw.run("PRAGMA foreign_keys = ON");
        }
        assert!(raw.try_run(sql).is_err(), "{sql}");
    }
    assert!(
        db.store
            .user(UserId::from_stored(ada.user_id.get()).unwrap())
            .await
            .is_ok()
    );
}
