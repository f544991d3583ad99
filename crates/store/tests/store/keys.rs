//! Which keys a database was written with.

use arklow_domain::{Keyring, SystemRandom};
use arklow_store::RecordKey;

use crate::support::{Database, now};

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
