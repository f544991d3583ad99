//! The audit.

use arklow_store::{
    AuditEvent, AuditFilter, AuditOrigin, AuditOutcome, AuditRecord, ReplaceBackupCodes,
};

use crate::support::{Database, Owner, now};

async fn records(db: &Database, filter: AuditFilter) -> Vec<AuditRecord> {
    db.store.audit_records(filter).await.unwrap()
}

#[tokio::test]
async fn replacement_is_on_record_with_who_what_when_and_from_where() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let origin = AuditOrigin {
        actor: None,
        remote_address: Some("2001:db8::1".parse().unwrap()),
        user_agent: Some("curl/8.5\r\nfake: line".to_owned()),
        request_id: Some("req-1".to_owned()),
    };
    let (_, replace) = db.new_codes(ada);
    let replace = ReplaceBackupCodes {
        origin: origin.clone(),
        ..replace
    };
    db.store.replace_backup_codes(replace).await.unwrap();

    let found = records(&db, AuditFilter::default()).await;
    let [record] = &found[..] else {
        panic!("{found:?}")
    };
    let expected = AuditRecord {
        id: record.id,
        at: now(),
        event: AuditEvent::BackupCodesRegenerated,
        outcome: AuditOutcome::Success,
        user_id: Some(ada.user_id),
        session_id: Some(ada.session_id),
        device_id: Some(ada.device_id),
        generation: Some(1),
        remaining: Some(10),
        attempts: 1,
        origin: AuditOrigin {
            user_agent: Some("curl/8.5\\r\\nfake: line".to_owned()),
            ..origin
        },
    };
    assert_eq!(*record, expected);
}

#[tokio::test]
async fn records_are_filtered_by_user_and_device_and_come_in_order() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let adas_second = Owner {
        device_id: db.db_confirmed_device(ada.user_id).await,
        ..ada
    };
    for owner in [ada, bob, adas_second, ada] {
        db.db_codes(owner).await;
    }

    let of = |user: Option<Owner>, device: Option<Owner>| AuditFilter {
        user_id: user.map(|owner| owner.user_id),
        device_id: device.map(|owner| owner.device_id),
        ..AuditFilter::default()
    };
    let generations = |records: Vec<AuditRecord>| {
        assert!(records.is_sorted_by(|one, two| one.id < two.id));
        records
            .iter()
            .map(|record| record.generation.unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        generations(records(&db, of(None, None)).await),
        [1, 1, 1, 2]
    );
    assert_eq!(
        generations(records(&db, of(Some(ada), None)).await),
        [1, 1, 2]
    );
    assert_eq!(generations(records(&db, of(None, Some(ada))).await), [1, 2]);
    assert_eq!(
        generations(records(&db, of(Some(bob), Some(ada))).await),
        []
    );
}
