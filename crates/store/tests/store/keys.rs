//! Which keys a database was written with.

use std::sync::Arc;

use arklow_domain::{Keyring, Random, Seed, SystemRandom};
use arklow_store::{
    AuditOrigin, CreateDevice, NewDevice, RecordKey, Reseal, RetireKey, StartEnrollment, StoreError,
};

use crate::support::{Database, Owner, by_operator, now, redeem_at};
use crate::throwaway::on_postgres;

fn other_ring() -> Keyring {
    Keyring::generate(&SystemRandom::new()).unwrap()
}

#[tokio::test]
async fn key_is_recorded_once_and_found() {
    let db = Database::new().await;
    assert_eq!(db.store.recorded_keys().await.unwrap(), []);
    let id = db.keyring.active();
    let check = db.keyring.get(&id).unwrap().check();
    assert_eq!(
        db.store.record_key(id, check, now()).await.unwrap(),
        RecordKey::Recorded
    );
    assert_eq!(
        db.store.record_key(id, check, now()).await.unwrap(),
        RecordKey::AlreadyRecorded
    );
    assert_eq!(db.store.recorded_keys().await.unwrap(), [(id, check)]);
}

#[tokio::test]
async fn another_key_under_the_same_id_is_noticed_and_not_recorded() {
    let db = Database::new().await;
    let id = db.keyring.active();
    let check = db.keyring.get(&id).unwrap().check();
    db.store.record_key(id, check, now()).await.unwrap();
    let other = other_ring();
    let wrong = other.get(&other.active()).unwrap().check();
    assert_eq!(
        db.store.record_key(id, wrong, now()).await.unwrap(),
        RecordKey::Contradicted
    );
    assert_eq!(db.store.recorded_keys().await.unwrap(), [(id, check)]);
}

#[tokio::test]
async fn several_keys_come_in_the_order_of_their_ids() {
    let db = Database::new().await;
    let mut expected = Vec::new();
    for ring in [other_ring(), other_ring(), other_ring()] {
        let (id, check) = (ring.active(), ring.get(&ring.active()).unwrap().check());
        db.store.record_key(id, check, now()).await.unwrap();
        expected.push((id, check));
    }
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(db.store.recorded_keys().await.unwrap(), expected);
}

#[tokio::test]
async fn rotation_moves_everything_and_the_former_key_can_go() {
    let db = Database::new().await;
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let mut owners = Vec::new();
    for n in 0..7 {
        let owner = db.db_owner(&format!("user{n}@example.org")).await;
        let codes = db.db_codes(owner).await;
        owners.push((owner, codes));
    }
    let old = db.keyring.active();
    let root = db.keyring.get(&old).unwrap();
    db.store.record_key(old, root.check(), now()).await.unwrap();
    let both = Arc::new(db.keyring.with_new_key(random.as_ref()).unwrap());
    let new = both.active();
    let root = both.get(&new).unwrap();
    db.store.record_key(new, root.check(), now()).await.unwrap();

    let origin = || AuditOrigin::operator("test");
    let retired = db.store.retire_key(old, now(), origin()).await.unwrap();
    let in_use = RetireKey::InUse {
        seeds: 7,
        code_sets: 7,
    };
    assert_eq!(retired, in_use);

    // In steps, as a rotation that is stopped and gone on with.
    let mut moved = Vec::new();
    for _ in 0..4 {
        let reseal = Reseal {
            after: None,
            limit: 2,
        };
        let random = Arc::clone(&random);
        let batch = db.store.reseal(reseal, Arc::clone(&both), random).await;
        moved.push(batch.unwrap().moved);
    }
    assert_eq!(moved, [2, 2, 2, 1]);
    let retired = db.store.retire_key(old, now(), origin()).await.unwrap();
    assert_eq!(retired, RetireKey::Retired);
    let again = db.store.retire_key(old, now(), origin()).await.unwrap();
    assert_eq!(again, RetireKey::AlreadyRetired);

    let only_new = Arc::new(both.without(old).unwrap());
    for (owner, codes) in owners {
        assert!(redeem_at(&db.store, &only_new, owner, &codes[0]).await);
    }
    let recorded = db.store.recorded_keys().await.unwrap();
    assert_eq!(
        recorded.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [new]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_beside_a_rotation_stays_and_does_not_stop_it() {
    let db = Database::new().await;
    if !on_postgres() {
        // SQLite has one writer, so the transactions cannot overlap.
        return;
    }
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let (ada, bob) = (
        db.db_owner("ada@example.org").await,
        db.db_owner("bob@example.org").await,
    );
    for owner in [ada, bob] {
        db.db_codes(owner).await;
    }
    let both = Arc::new(db.keyring.with_new_key(random.as_ref()).unwrap());
    let new = both.active();
    let root = both.get(&new).unwrap();
    db.store.record_key(new, root.check(), now()).await.unwrap();

    // The removal holds the row when the rotation has read it.
    let mut removing = db.raw();
    removing.run(&format!(
        "BEGIN; UPDATE devices SET removed_at = created_at, seed_key_id = NULL, seed = NULL,
             code_key_id = NULL, code_mac_key = NULL, code_macs = NULL WHERE id = {}",
        ada.device_id.get()
    ));
    let reseal = Reseal {
        after: None,
        limit: 100,
    };
    let store = db.store.clone();
    let rotating = tokio::spawn(async move { store.reseal(reseal, both, random).await });
    let mut looking = db.raw();
    let waiting =
        "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while looking.count(waiting) == 0 {
        tokio::task::yield_now().await;
    }
    removing.run("COMMIT");
    rotating.await.unwrap().unwrap();
    let under_new = format!("devices WHERE seed_key_id = '{new}' AND code_key_id = '{new}'");
    assert_eq!(looking.count(&under_new), 1, "the device that is left");
    let removed = "devices WHERE removed_at IS NOT NULL AND code_mac_key IS NULL AND seed IS NULL";
    assert_eq!(looking.count(removed), 1);
}

#[tokio::test]
async fn set_from_before_sets_had_keys_stays_and_does_not_count_as_something_to_move() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    db.db_codes(ada).await;
    db.execute("UPDATE devices SET code_mac_key = NULL");
    let old = db.keyring.active();
    let check = db.keyring.get(&old).unwrap().check();
    db.store.record_key(old, check, now()).await.unwrap();
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let both = Arc::new(db.keyring.with_new_key(random.as_ref()).unwrap());
    let reseal = Reseal {
        after: None,
        limit: 10,
    };
    let batch = db.store.reseal(reseal, both, random).await.unwrap();
    assert_eq!((batch.moved, &batch.stuck[..]), (0, &[ada.device_id][..]));
    let usage = db.store.key_usage().await.unwrap().remove(0);
    assert_eq!((usage.seeds, usage.code_sets, usage.bound_sets), (0, 1, 1));
    assert_eq!(usage.movable(), 0);
}

#[tokio::test]
async fn nothing_is_protected_with_a_retired_key() {
    let db = Database::new().await;
    let key = db.keyring.active();
    let check = db.keyring.get(&key).unwrap().check();
    db.store.record_key(key, check, now()).await.unwrap();
    let ada = db.db_user("ada@example.org").await;
    let origin = AuditOrigin::operator("test");
    let retired = db.store.retire_key(key, now(), origin).await.unwrap();
    assert_eq!(retired, RetireKey::Retired);
    let created = db
        .store
        .create_device(db.new_device(ada), by_operator())
        .await;
    assert!(
        matches!(created, Err(StoreError::RetiredKey(id)) if id == key),
        "{created:?}"
    );
    let recorded = db.store.record_key(key, check, now()).await.unwrap();
    assert_eq!(recorded, RecordKey::Retired);

    // Nor a new device, nor new codes for a device that another key protects.
    let device = db.new_device(ada);
    let owner = Owner {
        user_id: ada,
        session_id: db.db_session(ada).await,
        device_id: device.id,
    };
    let start = StartEnrollment {
        ask: owner.ask_enrollment(None),
        codes: db.new_codes(owner).1.codes,
        device,
    };
    let started = db.store.start_enrollment(start).await;
    assert!(
        matches!(started, Err(StoreError::RetiredKey(id)) if id == key),
        "{started:?}"
    );
    let random = SystemRandom::new();
    let both = db.keyring.with_new_key(&random).unwrap();
    let new = db.new_device(ada);
    let seed = Seed::random(&random).unwrap();
    let new = NewDevice {
        seed: seed.seal(&both, ada, new.id, &random).unwrap(),
        confirmed_at: Some(now()),
        ..new
    };
    let owner = Owner {
        device_id: new.id,
        ..owner
    };
    let created = db.store.create_device(new, by_operator()).await.unwrap();
    assert_eq!(created, CreateDevice::Created);
    let (_, replace) = db.new_codes(owner);
    let replaced = db.store.replace_backup_codes(replace).await;
    assert!(
        matches!(replaced, Err(StoreError::RetiredKey(id)) if id == key),
        "{replaced:?}"
    );
}

#[tokio::test]
async fn secret_that_does_not_open_is_told_and_left_as_it_is() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    db.db_codes(ada).await;
    db.execute("UPDATE devices SET seed = zeroblob(48)");
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let both = Arc::new(db.keyring.with_new_key(random.as_ref()).unwrap());
    let reseal = Reseal {
        after: None,
        limit: 10,
    };
    let batch = db.store.reseal(reseal, both, random).await.unwrap();
    assert_eq!(
        (batch.moved, &batch.unreadable[..]),
        (0, &[ada.device_id][..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn key_that_is_retired_while_it_is_used_protects_nothing() {
    const ROUNDS: usize = 40;
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let stores = [db.store.clone(), db.open_again().await];
    let mut retired = 0;
    for _ in 0..ROUNDS {
        let ring = Arc::new(other_ring());
        let (key, check) = (ring.active(), ring.get(&ring.active()).unwrap().check());
        db.store.record_key(key, check, now()).await.unwrap();
        let random = SystemRandom::new();
        let devices: Vec<NewDevice> = (0..4)
            .map(|_| {
                let new = db.new_device(ada);
                let seed = Seed::random(&random).unwrap();
                let seed = seed.seal(&ring, ada, new.id, &random).unwrap();
                NewDevice { seed, ..new }
            })
            .collect();
        let mut writing = tokio::task::JoinSet::new();
        for (n, device) in devices.into_iter().enumerate() {
            let store = stores[n % 2].clone();
            writing.spawn(async move { store.create_device(device, by_operator()).await });
        }
        let origin = AuditOrigin::operator("test");
        let outcome = stores[1].retire_key(key, now(), origin).await.unwrap();
        let mut refused = 0;
        for answer in writing.join_all().await {
            match answer {
                Ok(CreateDevice::Created) => {}
                Err(StoreError::RetiredKey(id)) if id == key => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        let using = db
            .raw()
            .count(&format!("devices WHERE seed_key_id = '{key}'"));
        match outcome {
            RetireKey::Retired => {
                assert_eq!((using, refused), (0, 4), "a retired key protects something");
                retired += 1;
            }
            RetireKey::InUse { .. } => assert_eq!((using, refused), (4, 0)),
            other => panic!("{other:?}"),
        }
    }
    println!("of {ROUNDS} keys that were used and retired at once, {retired} were retired first");
}
