//! The audit.

use arklow_domain::UserId;
use arklow_store::{
    AuditEvent, AuditFilter, AuditOrigin, AuditOutcome, AuditRecord, CreateDevice, CreateSession,
    DisableUser, NewDevice, NewUser, ReplaceBackupCodes, RevokeSession,
};

use crate::support::{Database, Owner, by_operator, new_session, now};

async fn records(db: &Database, filter: AuditFilter) -> Vec<AuditRecord> {
    db.records(filter).await
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
    db.store
        .replace_backup_codes(replace)
        .await
        .unwrap()
        .unwrap();

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

/// What is on record of each change by an operator: event, user, session and device.
#[tokio::test]
async fn changes_by_an_operator_are_on_record_once() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let (session, _) = new_session(ada);
    let id = session.id;
    let created = db.store.create_session(session, by_operator()).await;
    assert_eq!(created.unwrap(), CreateSession::Created);
    let device = db.new_device(ada);
    let phone = device.id;
    let created = db.store.create_device(device, by_operator()).await;
    assert_eq!(created.unwrap(), CreateDevice::Created);
    for expected in [RevokeSession::Revoked, RevokeSession::AlreadyRevoked] {
        let revoked = db.store.revoke_session(id, now(), by_operator()).await;
        assert_eq!(revoked.unwrap(), expected);
    }
    for expected in [DisableUser::Disabled, DisableUser::AlreadyDisabled] {
        let disabled = db.store.disable_user(ada, now(), by_operator()).await;
        assert_eq!(disabled.unwrap(), expected);
    }
    // What changes nothing leaves no record.
    let (refused, _) = new_session(ada);
    let refused = db.store.create_session(refused, by_operator()).await;
    assert_eq!(refused.unwrap(), CreateSession::UserDisabled);
    let refused = NewDevice {
        confirmed_at: Some(now()),
        ..db.new_device(ada)
    };
    let refused = db.store.create_device(refused, by_operator()).await;
    assert_eq!(refused.unwrap(), CreateDevice::UserDisabled);

    let records = db.store.audit_records(AuditFilter::default()).await;
    let records = records.unwrap();
    let found: Vec<_> = records
        .iter()
        .map(|record| {
            assert_eq!(record.user_id, Some(ada));
            assert_eq!(record.origin, by_operator());
            assert_eq!(record.outcome, AuditOutcome::Success);
            (record.event, record.session_id, record.device_id)
        })
        .collect();
    assert_eq!(
        found,
        [
            (AuditEvent::UserCreated, None, None),
            (AuditEvent::SessionCreated, Some(id), None),
            (AuditEvent::DeviceCreated, None, Some(phone)),
            (AuditEvent::SessionRevoked, Some(id), None),
            (AuditEvent::UserDisabled, None, None),
        ]
    );
    // A device that an operator planted is what its owner must learn of.
    let told = db.raw().texts("SELECT kind AS found FROM outbox");
    assert_eq!(told, ["mfa.admin.device_created"]);
}

#[tokio::test]
async fn change_without_a_record_is_not_made() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let session = db.db_session(ada).await;
    db.execute("ALTER TABLE audit RENAME TO elsewhere");
    let new = db.store.user(ada).await.unwrap().unwrap();
    let new = NewUser {
        id: UserId::from_stored(7).unwrap(),
        name: new.name,
        email: "bob@example.org".parse().unwrap(),
        now: now(),
    };
    assert!(db.store.create_user(new, by_operator()).await.is_err());
    let (another, _) = new_session(ada);
    assert!(
        db.store
            .create_session(another, by_operator())
            .await
            .is_err()
    );
    let device = db.new_device(ada);
    assert!(db.store.create_device(device, by_operator()).await.is_err());
    let revoked = db.store.revoke_session(session, now(), by_operator());
    assert!(revoked.await.is_err());
    let disabled = db.store.disable_user(ada, now(), by_operator());
    assert!(disabled.await.is_err());
    let counts = "SELECT (SELECT count(*) FROM users) || ' ' || (SELECT count(*) FROM sessions) \
         || ' ' || (SELECT count(*) FROM devices) || ' ' || (SELECT count(*) FROM sessions \
         WHERE revoked_at IS NOT NULL) || ' ' || (SELECT count(*) FROM users WHERE disabled_at IS \
         NOT NULL) AS found";
    assert_eq!(db.raw().texts(counts), ["1 1 0 0 0"]);
}
