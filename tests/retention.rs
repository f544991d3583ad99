//! Rows that have served their purpose are deleted while a server runs, and no others.

use std::time::Instant;

use arklow_store::AuditFilter;
use serde_json::Value;

use crate::harness::{Home, NO_LIMITS, TEST_TIMEOUT, pause, text};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Waits until a table has so many rows.
#[track_caller]
fn wait_for(home: &Home, table: &str, count: i64) {
    let (started, mut raw) = (Instant::now(), home.vandal());
    loop {
        let found = raw.count(table);
        if found == count {
            return;
        }
        assert!(started.elapsed() < TEST_TIMEOUT, "{table}: {found} rows");
        pause();
    }
}

#[tokio::test]
async fn old_rows_are_deleted_and_others_stay() {
    let home = Home::new();
    let (ada, eve) = (home.caller("ada"), home.caller("eve"));
    let pending = home.device(&ada.user, false);
    let (revoked, _, _) = home.session(&ada.user, None);
    home.run(&["session", "revoke", &revoked]);
    let (expired, _, _) = home.session(&ada.user, None);
    let mut vandal = home.vandal();
    let (devices, sessions) = (vandal.count("devices"), vandal.count("sessions"));
    let messages = vandal.count("outbox");
    vandal.unchecked();
    assert!(messages >= 2);
    for change in [
        format!("UPDATE sessions SET revoked_at = revoked_at - {DAY} * 3 WHERE id = {revoked}"),
        format!("UPDATE sessions SET expires_at = created_at - {DAY} * 3 WHERE id = {expired}"),
        format!("UPDATE devices SET created_at = created_at - {DAY} * 2 WHERE id = {pending}"),
        // Old and confirmed.
        format!(
            "UPDATE devices SET created_at = created_at - {DAY} * 900 WHERE id = {}",
            ada.device
        ),
        format!("UPDATE outbox SET at = at - {DAY} * 60"),
        "UPDATE outbox SET delivered_at = at WHERE id = (SELECT min(id) FROM outbox)".to_owned(),
    ] {
        vandal.run(&change);
    }
    let audit = vandal.count("audit");
    let server = home.serve(&["--retain-sessions", "2d", "--log-format", "json"]);
    wait_for(&home, "sessions", sessions - 2);
    wait_for(&home, "devices", devices - 1);
    wait_for(&home, "outbox", messages - 1);
    assert!(
        vandal.count("audit") >= audit,
        "the audit is kept by default"
    );
    for caller in [&ada, &eve] {
        server.by(caller).regenerate().await.assert_ok();
    }
    let printed = server.printed();
    let record = printed
        .lines()
        .find(|line| line.contains("after their retention"));
    let record: Value = serde_json::from_str(record.expect("a record")).expect("JSON");
    assert_eq!(record["deleted"], 2);
}

#[tokio::test]
async fn audit_is_deleted_from_its_beginning_and_never_its_newest_record() {
    let home = Home::new();
    let ada = home.caller("ada");
    let mut vandal = home.vandal();
    // More than a step, so that it is done in several.
    vandal.run(
        "INSERT INTO audit (at, event, outcome) WITH RECURSIVE n (i) AS
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700)
         SELECT 1, 'mfa.key.rotated', 'success' FROM n",
    );
    // A clock was behind: an old time behind a newer one.
    vandal.run(&format!(
        "UPDATE audit SET at = at - {DAY} * 40 WHERE id = 1"
    ));
    let total = vandal.count("audit");
    let server = home.serve(&[&["--retain-audit", "30d"][..], NO_LIMITS].concat());
    wait_for(&home, "audit", total - 1);
    server.by(&ada).regenerate().await.assert_ok();
    let store = home.store().await;
    let records = store
        .audit_records(AuditFilter::default())
        .await
        .expect("records");
    store.close().await;
    // The first one went; what follows a record that is kept stays, however old.
    assert!(records[0].id.get() > 1);
    assert_eq!(records.len() as i64, total);

    // All are old: the newest one stays.
    drop(server);
    vandal.run("UPDATE audit SET at = 1");
    let _server = home.serve(&["--retain-audit", "30d", "--check-clock", "off"]);
    wait_for(&home, "audit", 1);
}

#[test]
fn too_short_a_retention_is_refused() {
    let home = Home::on_sqlite();
    for (flag, value, words) in [
        ("--retain-audit", "29d", "at least 30d, or off"),
        ("--retain-sessions", "1h", "at least 1d, or off"),
        ("--retain-messages", "soon", "at least 1d, or off"),
    ] {
        let output = home.output(&["serve", flag, value]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        assert!(
            text(&output.stderr).contains(words),
            "{}",
            text(&output.stderr)
        );
    }
}
