//! Another program has locked everything.

use std::time::{Duration, Instant};

use arklow_domain::DeviceId;
use arklow_store::{CreateDevice, Options, StoreError};
use tokio::task::JoinSet;

use crate::support::{Database, by_operator, now};
use crate::throwaway::Raw;

const TEST_TIMEOUT: Duration = Duration::from_millis(300);
/// How much longer than its timeout a job may take on a slow machine.
const MARGIN: Duration = Duration::from_millis(2000);

async fn impatient() -> Database {
    Database::with(Options {
        busy_timeout: TEST_TIMEOUT,
        ..Options::default()
    })
    .await
}

/// Another program that has begun to write and does not end.
fn lock(db: &Database) -> Raw {
    let mut other = db.raw();
    other.lock();
    other
}

#[tokio::test]
async fn write_is_busy_within_the_bound_and_works_once_the_lock_is_gone() {
    let db = impatient().await;
    let ada = db.db_user("ada@example.org").await;
    let mut other = lock(&db);

    let started = Instant::now();
    let refused = db.new_device(ada);
    let error = db
        .store
        .create_device(refused.clone(), by_operator())
        .await
        .unwrap_err();
    let waited = started.elapsed();
    assert!(matches!(error, StoreError::Busy), "{error:?}");
    assert!(
        (TEST_TIMEOUT * 9 / 10..TEST_TIMEOUT + MARGIN).contains(&waited),
        "{waited:?}"
    );

    other.run("COMMIT");
    // The same id: the refused question has left nothing behind.
    assert_eq!(
        db.store
            .create_device(refused, by_operator())
            .await
            .unwrap(),
        CreateDevice::Created
    );
}

#[tokio::test]
async fn all_that_queue_behind_the_lock_are_busy_within_the_bound() {
    let db = impatient().await;
    let ada = db.db_user("ada@example.org").await;
    let mut other = lock(&db);

    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..300 {
        let (store, device) = (db.store.clone(), db.new_device(ada));
        running.spawn(async move { store.create_device(device, by_operator()).await });
    }
    for answer in running.join_all().await {
        assert!(matches!(answer, Err(StoreError::Busy)), "{answer:?}");
    }
    let waited = started.elapsed();
    assert!(waited < TEST_TIMEOUT + MARGIN, "{waited:?}");

    other.run("COMMIT");
    let device = db.new_device(ada);
    assert_eq!(
        db.store.create_device(device, by_operator()).await.unwrap(),
        CreateDevice::Created
    );
    assert_eq!(devices(&db), 1);
}

#[tokio::test]
async fn write_waits_for_a_lock_that_is_given_back_in_time() {
    let db = Database::with(Options {
        busy_timeout: TEST_TIMEOUT * 100,
        ..Options::default()
    })
    .await;
    let ada = db.db_user("ada@example.org").await;
    let mut other = lock(&db);
    let device = db.new_device(ada);
    let waiting = tokio::spawn({
        let store = db.store.clone();
        async move { store.create_device(device, by_operator()).await }
    });
    tokio::time::sleep(TEST_TIMEOUT).await;
    assert!(!waiting.is_finished());
    other.run("COMMIT");
    assert_eq!(waiting.await.unwrap().unwrap(), CreateDevice::Created);
}

#[tokio::test]
async fn reading_goes_on_beside_a_writer() {
    let db = impatient().await;
    let ada = db.db_user("ada@example.org").await;
    let _other = lock(&db);
    assert!(db.store.user(ada).await.unwrap().is_some());
}

#[tokio::test]
async fn question_whose_caller_left_before_it_began_is_not_asked() {
    let db = Database::with(Options {
        busy_timeout: TEST_TIMEOUT * 100,
        connections: 1,
        ..Options::default()
    })
    .await;
    let ada = db.db_user("ada@example.org").await;
    let mut other = lock(&db);
    let create = || {
        let (store, device) = (db.store.clone(), db.new_device(ada));
        tokio::spawn(async move { store.create_device(device, by_operator()).await })
    };
    // The first has begun and waits for the lock, the second for the first.
    let first = create();
    tokio::time::sleep(TEST_TIMEOUT).await;
    let second = create();
    tokio::time::sleep(TEST_TIMEOUT).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    other.run("COMMIT");

    assert_eq!(first.await.unwrap().unwrap(), CreateDevice::Created);
    // Answered after whatever was queued before it.
    let outcome = db.store.disable_user(ada, now(), by_operator()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(devices(&db), 1);
}

#[tokio::test]
async fn closed_store_has_answered_what_was_asked_and_answers_nothing_more() {
    let db = Database::with(Options::default()).await;
    let ada = db.db_user("ada@example.org").await;
    let mut running = JoinSet::new();
    let mut ids: Vec<DeviceId> = Vec::new();
    for _ in 0..50 {
        let (store, device) = (db.store.clone(), db.new_device(ada));
        ids.push(device.id);
        running.spawn(async move { store.create_device(device, by_operator()).await });
    }
    // Every task has queued its question once it was polled.
    tokio::task::yield_now().await;
    db.store.close().await;
    for answer in running.join_all().await {
        assert!(matches!(answer, Ok(CreateDevice::Created)), "{answer:?}");
    }
    assert_eq!(devices(&db), 50);

    let clone = db.store.clone();
    assert!(matches!(clone.user(ada).await, Err(StoreError::Closed)));
    assert!(matches!(
        clone.disable_user(ada, now(), by_operator()).await,
        Err(StoreError::Closed)
    ));
    clone.close().await;
}

fn devices(db: &Database) -> i64 {
    db.raw().count("devices")
}
