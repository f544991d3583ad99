//! The cost of rate limits, with many other audit records.

use std::time::{Duration, Instant};

use arklow_domain::{Denial, RateLimit, UserId};
use arklow_store::{AuditEvent, AuditFilter, AuditOutcome, AuditReason, DeniedAttempts};
use arklow_store::{AuditOrigin, ReplaceBackupCodes};
use chrono::TimeDelta;

use crate::support::{Database, Owner, minutes, now};

const LIMIT: RateLimit = RateLimit {
    count: 10,
    per: TimeDelta::hours(1),
};

/// Puts so many denials of the last hour on record.
fn db_denials(db: &Database, user: UserId, event: AuditEvent, count: u32) {
    let newest = now().timestamp_micros();
    db.execute(&format!(
        "INSERT INTO audit (at, event, outcome, reason, user_id)
             WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {count})
             SELECT {newest} - n, '{}', 'denied', 'rate_limited', {user} FROM counted",
        event.as_str()
    ));
}

/// How long a refused regeneration and a refused enrollment take, the median of some.
async fn measure(db: &Database, owner: Owner) -> Duration {
    let mut times = Vec::new();
    for _ in 0..21 {
        let (_, replace) = db.new_codes(owner);
        let replace = ReplaceBackupCodes {
            limit: Some(LIMIT),
            ..replace
        };
        let started = Instant::now();
        let refused = db.store.replace_backup_codes(replace).await.unwrap();
        assert!(
            matches!(refused, Err(Denial::RateLimited { .. })),
            "{refused:?}"
        );
        let refused = db.store.check_enrollment(owner.ask_enrollment(Some(LIMIT)));
        let refused = refused.await.unwrap();
        assert!(
            matches!(refused, Err(Denial::RateLimited { .. })),
            "{refused:?}"
        );
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn limits_cost_the_same_beside_a_hundred_thousand_denials() {
    let db = Database::new().await;
    let (ada, bob) = (db.db_ada().await, db.db_owner("bob@example.org").await);
    let events = [
        AuditEvent::BackupCodesRegenerated,
        AuditEvent::EnrollmentStarted,
    ];
    for owner in [ada, bob] {
        for event in events {
            let user = owner.user_id;
            for n in 0..10 {
                let at = now().timestamp_micros() - 3_000_000_000 - n;
                db.execute(&format!(
                    "INSERT INTO audit (at, event, outcome, user_id) \
                     VALUES ({at}, '{}', 'success', {user})",
                    event.as_str()
                ));
            }
        }
    }
    for event in events {
        db_denials(&db, ada.user_id, event, 100_000);
    }
    let (beside_many, alone) = (measure(&db, ada).await, measure(&db, bob).await);
    println!("with 200,000 denials {beside_many:?}, without any {alone:?}");
    assert!(
        beside_many < 3 * alone + Duration::from_millis(5),
        "{beside_many:?} and {alone:?}"
    );
}

#[tokio::test]
async fn plan_of_a_limit_reads_successes_in_their_order_and_nothing_else() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    db_denials(&db, ada.user_id, AuditEvent::BackupCodesRegenerated, 10_000);
    let mut raw = db.raw();
    let query = format!(
        "SELECT at FROM audit WHERE user_id = {} AND event = 'mfa.backup_codes.regenerated' \
         AND outcome = 'success' AND at > 1 AND at <= 2 ORDER BY at DESC LIMIT 1 OFFSET 9",
        ada.user_id
    );
    let plan = raw.plan(&query);
    let searches = "user_id=? AND event=? AND outcome=? AND at>? AND at<?";
    let conditions = ["user_id =", "event =", "outcome =", "at >", "at <="];
    assert!(
        plan.contains("audit_user_id")
            && (plan.contains(searches) || conditions.iter().all(|part| plan.contains(part)))
            && !plan.contains("Filter")
            && !plan.contains("B-TREE")
            && !plan.contains("Sort"),
        "{plan}"
    );
}

#[tokio::test]
async fn future_records_limit_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let at = (now() + minutes(360)).timestamp_micros();
    for _ in 0..10 {
        db.execute(&format!(
            "INSERT INTO audit (at, event, outcome, user_id) \
             VALUES ({at}, 'mfa.backup_codes.regenerated', 'success', {})",
            ada.user_id
        ));
    }
    let (_, replace) = db.new_codes(ada);
    let replace = ReplaceBackupCodes {
        limit: Some(LIMIT),
        ..replace
    };
    let replaced = db.store.replace_backup_codes(replace).await.unwrap();
    assert!(replaced.is_ok(), "{replaced:?}");
    assert_eq!(
        db.store.newest_record().await.unwrap(),
        Some(now().max(instant(at)))
    );
}

fn instant(micros: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_micros(micros).unwrap()
}

#[tokio::test]
async fn counted_denials_are_one_record_that_says_how_many() {
    let db = Database::new().await;
    assert_eq!(db.store.newest_record().await.unwrap(), None);
    let ada = db.db_ada().await;
    let denied = DeniedAttempts {
        user_id: ada.user_id,
        session_id: Some(ada.session_id),
        event: AuditEvent::TotpVerified,
        attempts: 4_711,
        at: now(),
        origin: AuditOrigin::default(),
    };
    db.store.record_denied(vec![denied]).await.unwrap();
    let records = db.records(AuditFilter::default()).await;
    let [record] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(record.attempts, 4_711);
    assert_eq!(
        record.outcome,
        AuditOutcome::Denied(AuditReason::RateLimited)
    );
    assert_eq!(record.session_id, Some(ada.session_id));
    let told = db.raw().count("outbox WHERE kind NOT LIKE 'mfa.admin.%'");
    assert_eq!(told, 0);
}
