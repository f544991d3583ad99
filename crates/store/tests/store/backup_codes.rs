//! Replacing and redeeming backup codes, one at a time. At the same time: `races`.

use std::sync::Arc;

use arklow_domain::{
    BackupCode, Denial, Device, DeviceId, DeviceState, Keyring, RateLimit, SessionId, SystemRandom,
    UnreadableSecret, UserId,
};
use arklow_store::{
    AuditFilter, AuditOutcome, NewSession, PresentedCode, ReplaceBackupCodes, ReplacedCodes,
    StoreError,
};
use chrono::TimeDelta;

use crate::support::{Database, Owner, by_operator, minutes, new_session, now, presented, rules};

const MICROSECOND: TimeDelta = TimeDelta::microseconds(1);

/// Runs `replace_backup_codes`, and checks that a denial changes nothing except its audit record.
async fn refusal(db: &Database, replace: ReplaceBackupCodes) -> Result<ReplacedCodes, Denial> {
    let records = async || {
        let filter = AuditFilter::default();
        db.store.audit_records(filter).await.unwrap()
    };
    let (before, codes_before) = (records().await.len(), codes(db));
    let outcome = db.store.replace_backup_codes(replace).await.unwrap();
    assert_eq!(codes_before, codes(db), "{outcome:?} changed something");
    let denials: Vec<bool> = records().await[before..]
        .iter()
        .map(|record| matches!(record.outcome, AuditOutcome::Denied(_)))
        .collect();
    // Without a session there is no user for a record.
    let expected: &[bool] = match outcome {
        Err(Denial::SessionEnded) => &[],
        _ => &[true],
    };
    assert_eq!(denials, expected, "{outcome:?}");
    outcome
}

/// Everything that a replacement may change, of all devices.
fn codes(db: &Database) -> Vec<String> {
    db.raw().texts(
        "SELECT concat_ws(',', id, hex(code_macs), code_key_id, code_used, code_generation, \
         updated_at) AS found FROM devices ORDER BY id",
    )
}

#[tokio::test]
async fn replacement_says_what_the_device_and_the_session_are_now() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let (_, replace) = db.new_codes(ada);
    let later = now() + minutes(5);
    let replace = ReplaceBackupCodes {
        now: later,
        ..replace
    };
    let outcome = db.store.replace_backup_codes(replace).await.unwrap();
    let expected = ReplacedCodes {
        device: Device {
            id: ada.device_id,
            user_id: ada.user_id,
            name: "phone".parse().unwrap(),
            state: DeviceState::Confirmed { at: now() },
            last_used_at: None,
            updated_at: later,
        },
        generation: 1,
        session_mfa_not_after: now() + minutes(15),
    };
    assert_eq!(outcome, Ok(expected));
}

#[tokio::test]
async fn replacement_does_not_prolong_the_session() {
    let db = Database::new().await;
    let user_id = db.db_user("ada@example.org").await;
    let (new, token) = new_session(user_id);
    let session_id = new.id;
    db.store.create_session(new, by_operator()).await.unwrap();
    let device_id = db.db_confirmed_device(user_id).await;
    let before = db.store.live_session(token, now()).await.unwrap();
    db.db_codes(Owner {
        user_id,
        session_id,
        device_id,
    })
    .await;
    assert_eq!(db.store.live_session(token, now()).await.unwrap(), before);
}

#[tokio::test]
async fn device_without_codes_has_no_set_and_then_the_one_given() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    assert_eq!(
        db.store
            .backup_code_set(ada.user_id, ada.device_id)
            .await
            .unwrap(),
        None
    );
    let (_, replace) = db.new_codes(ada);
    let sealed = replace.codes.clone();
    db.store
        .replace_backup_codes(replace)
        .await
        .unwrap()
        .unwrap();
    let set = db
        .store
        .backup_code_set(ada.user_id, ada.device_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (set.key_id, set.macs, set.generation),
        (sealed.key_id, sealed.macs, 1)
    );
    assert_eq!(set.remaining(), 10);
}

#[tokio::test]
async fn every_change_moves_updated_at_even_if_the_clock_stands_still_or_goes_back() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let mut last = now();
    for at in [now(), now(), now() - minutes(1), now() + minutes(1)] {
        let (_, replace) = db.new_codes(ada);
        let replace = ReplaceBackupCodes { now: at, ..replace };
        let outcome = db.store.replace_backup_codes(replace).await.unwrap();
        let Ok(ReplacedCodes { device, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(device.updated_at, at.max(last + MICROSECOND));
        last = device.updated_at;
    }
}

#[tokio::test]
async fn each_of_the_ten_codes_works_exactly_once() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    for (count, code) in codes.iter().enumerate() {
        assert!(db.redeem(ada, code).await);
        assert!(!db.redeem(ada, code).await);
        let set = db
            .store
            .backup_code_set(ada.user_id, ada.device_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(set.remaining(), 9 - count);
    }
}

#[tokio::test]
async fn replacement_kills_the_former_codes_and_brings_ten_unused_ones() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let former = db.db_codes(ada).await;
    assert!(db.redeem(ada, &former[0]).await);
    let current = db.db_codes(ada).await;
    for code in &former {
        assert!(!db.redeem(ada, code).await);
    }
    for code in &current {
        assert!(db.redeem(ada, code).await);
    }
}

#[tokio::test]
async fn redeeming_says_when_the_device_was_used() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    assert!(db.redeem(ada, &codes[0]).await);
    let (_, replace) = db.new_codes(ada);
    let outcome = db.store.replace_backup_codes(replace).await.unwrap();
    let Ok(ReplacedCodes { device, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(device.last_used_at, Some(now()));
    // Created, replaced, redeemed, replaced, all in the same microsecond.
    assert_eq!(device.updated_at, now() + MICROSECOND * 3);
}

#[tokio::test]
async fn code_works_for_its_owner_and_device_only() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let adas_second = Owner {
        device_id: db.db_confirmed_device(ada.user_id).await,
        ..ada
    };
    let codes = db.db_codes(ada).await;
    db.db_codes(bob).await;
    db.db_codes(adas_second).await;
    let bob_at_adas = Owner {
        device_id: ada.device_id,
        ..bob
    };
    for other in [bob, bob_at_adas, adas_second] {
        assert!(!db.redeem(other, &codes[0]).await, "{other:?}");
    }
    assert!(
        !db.redeem(ada, &BackupCode::random(&SystemRandom::new()).unwrap())
            .await
    );
    assert!(db.redeem(ada, &codes[0]).await);
}

#[tokio::test]
async fn macs_moved_to_another_users_device_match_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let codes = db.db_codes(ada).await;
    db.db_codes(bob).await;
    db.execute(&format!(
        "UPDATE devices SET code_macs = (SELECT code_macs FROM devices WHERE id = {}) WHERE id = {}",
        ada.device_id, bob.device_id,
    ));
    assert!(!db.redeem(bob, &codes[0]).await);
}

#[tokio::test]
async fn set_moved_to_another_device_with_its_key_does_not_open() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let second = Owner {
        device_id: db.db_confirmed_device(ada.user_id).await,
        ..ada
    };
    let codes = db.db_codes(ada).await;
    db.db_codes(second).await;
    db.execute(&format!(
        "UPDATE devices SET (code_macs, code_mac_key) = \
         (SELECT code_macs, code_mac_key FROM devices WHERE id = {}) WHERE id = {}",
        ada.device_id, second.device_id,
    ));
    let code = PresentedCode::BackupCode(codes[0].clone());
    let present = presented(second, code, rules());
    let attempt = db.store.verify_code(present, Arc::clone(&db.keyring));
    let attempt = attempt.await;
    assert!(
        matches!(
            attempt,
            Err(StoreError::Unreadable(UnreadableSecret::Refused(_)))
        ),
        "{attempt:?}"
    );
}

#[tokio::test]
async fn code_of_a_device_that_is_not_confirmed_does_not_work_yet() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    db.execute("UPDATE devices SET confirmed_at = NULL");
    assert!(!db.redeem(ada, &codes[0]).await);
    db.execute("UPDATE devices SET confirmed_at = 1");
    assert!(db.redeem(ada, &codes[0]).await);
}

#[tokio::test]
async fn code_of_a_removed_device_is_dead_and_nothing_is_left_of_it() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    db.db_remove(ada.device_id).await;
    for code in &codes {
        assert!(!db.redeem(ada, code).await);
    }
    let set = db.store.backup_code_set(ada.user_id, ada.device_id).await;
    assert_eq!(set.unwrap(), None);
}

#[tokio::test]
async fn without_the_key_behind_its_set_no_code_is_judged() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    let code = PresentedCode::BackupCode(codes[0].clone());
    let present = presented(ada, code, rules());
    let other = Arc::new(Keyring::generate(&SystemRandom::new()).unwrap());
    let attempt = db.store.verify_code(present, other).await;
    let unknown = UnreadableSecret::UnknownKey(db.keyring.active());
    assert!(
        matches!(attempt, Err(StoreError::Unreadable(cause)) if cause == unknown),
        "{attempt:?}"
    );
    assert!(db.redeem(ada, &codes[0]).await);
}

#[tokio::test]
async fn session_that_is_over_changes_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let (_, replace) = db.new_codes(ada);

    let unknown = SessionId::random(&SystemRandom::new()).unwrap();
    for replace in [
        ReplaceBackupCodes {
            session_id: unknown,
            ..replace.clone()
        },
        ReplaceBackupCodes {
            session_id: bob.session_id,
            ..replace.clone()
        },
        ReplaceBackupCodes {
            user_id: bob.user_id,
            ..replace.clone()
        },
        ReplaceBackupCodes {
            now: now() + minutes(60),
            ..replace.clone()
        },
    ] {
        assert_eq!(refusal(&db, replace).await, Err(Denial::SessionEnded));
    }
    db.store
        .revoke_session(ada.session_id, now(), by_operator())
        .await
        .unwrap();
    assert_eq!(refusal(&db, replace).await, Err(Denial::SessionEnded));
}

#[tokio::test]
async fn session_of_a_disabled_user_changes_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    db.store
        .disable_user(ada.user_id, now(), by_operator())
        .await
        .unwrap();
    let (_, replace) = db.new_codes(ada);
    assert_eq!(refusal(&db, replace).await, Err(Denial::SessionEnded));
}

#[tokio::test]
async fn session_that_is_not_fresh_changes_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let (never, _) = new_session(ada.user_id);
    let never = NewSession {
        mfa_not_after: None,
        ..never
    };
    let never_id = never.id;
    db.store.create_session(never, by_operator()).await.unwrap();
    let (_, replace) = db.new_codes(ada);

    let stale = ReplaceBackupCodes {
        now: now() + minutes(15),
        ..replace.clone()
    };
    assert_eq!(refusal(&db, stale).await, Err(Denial::MfaRequired));
    let never = ReplaceBackupCodes {
        session_id: never_id,
        ..replace.clone()
    };
    assert_eq!(refusal(&db, never).await, Err(Denial::MfaRequired));

    let last_moment = now() + minutes(15) - MICROSECOND;
    let outcome = db
        .store
        .replace_backup_codes(ReplaceBackupCodes {
            now: last_moment,
            ..replace
        })
        .await
        .unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn device_that_is_unknown_anothers_or_removed_is_no_such_device() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let removed = db.db_confirmed_device(ada.user_id).await;
    db.db_remove(removed).await;
    let unknown = DeviceId::random(&SystemRandom::new()).unwrap();
    for device_id in [unknown, bob.device_id, removed] {
        let (_, replace) = db.new_codes(Owner { device_id, ..ada });
        assert_eq!(refusal(&db, replace).await, Err(Denial::DeviceNotFound));
    }
}

#[tokio::test]
async fn own_device_that_was_never_confirmed_says_so_and_anothers_does_not() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let bob = db.db_owner("bob@example.org").await;
    let pending = db.new_device(ada.user_id);
    let device_id = pending.id;
    db.store
        .create_device(pending, by_operator())
        .await
        .unwrap();
    let (_, own) = db.new_codes(Owner { device_id, ..ada });
    assert_eq!(refusal(&db, own).await, Err(Denial::DeviceNotConfirmed));
    let (_, foreign) = db.new_codes(Owner { device_id, ..bob });
    assert_eq!(refusal(&db, foreign).await, Err(Denial::DeviceNotFound));
    db.db_remove(device_id).await;
    let (_, removed) = db.new_codes(Owner { device_id, ..ada });
    assert_eq!(refusal(&db, removed).await, Err(Denial::DeviceNotFound));
}

#[tokio::test]
async fn session_is_judged_before_freshness_and_freshness_before_the_device() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let nowhere = DeviceId::random(&SystemRandom::new()).unwrap();
    let (_, replace) = db.new_codes(Owner {
        device_id: nowhere,
        ..ada
    });
    for (at, expected) in [
        (minutes(60), Err(Denial::SessionEnded)),
        (minutes(15), Err(Denial::MfaRequired)),
        (minutes(0), Err(Denial::DeviceNotFound)),
    ] {
        let replace = ReplaceBackupCodes {
            now: now() + at,
            ..replace.clone()
        };
        assert_eq!(refusal(&db, replace).await, expected);
    }
}

#[tokio::test]
async fn limit_counts_successes_in_the_time_that_has_just_passed() {
    let db = Database::new().await;
    let (ada, bob) = (db.db_ada().await, db.db_owner("bob@example.org").await);
    let limit = Some(RateLimit {
        count: 3,
        per: minutes(10),
    });
    let replace = async |owner: Owner, at: TimeDelta| {
        let (_, replace) = db.new_codes(owner);
        let replace = ReplaceBackupCodes {
            limit,
            now: now() + at,
            ..replace
        };
        db.store.replace_backup_codes(replace).await.unwrap()
    };
    for at in [0, 1, 2] {
        assert!(replace(ada, minutes(at)).await.is_ok(), "{at}");
    }
    let until = now() + minutes(10);
    for at in [2, 3, 9] {
        let outcome = replace(ada, minutes(at)).await;
        assert_eq!(outcome, Err(Denial::RateLimited { until }), "{at}");
    }
    assert!(replace(bob, minutes(3)).await.is_ok(), "bob counts apart");
    assert!(replace(ada, minutes(10)).await.is_ok());
    let until = now() + minutes(11);
    let outcome = replace(ada, minutes(10)).await;
    assert_eq!(outcome, Err(Denial::RateLimited { until }));
}

#[tokio::test]
async fn audit_that_cannot_be_written_undoes_the_replacement() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let former = db.db_codes(ada).await;
    db.raw().refuse("audit");
    let (new, replace) = db.new_codes(ada);
    assert!(db.store.replace_backup_codes(replace).await.is_err());
    db.raw().take_again("audit");
    assert!(!db.redeem(ada, new.iter().next().unwrap()).await);
    assert!(db.redeem(ada, &former[0]).await);
}

#[tokio::test]
async fn user_that_does_not_exist_redeems_nothing() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let codes = db.db_codes(ada).await;
    let nobody = Owner {
        user_id: UserId::from_stored(1).unwrap(),
        ..ada
    };
    assert!(!db.redeem(nobody, &codes[0]).await);
    assert_eq!(
        db.store
            .backup_code_set(nobody.user_id, ada.device_id)
            .await
            .unwrap(),
        None
    );
}
