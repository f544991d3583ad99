//! Devices.

use arklow_domain::{KeyId, SealedSeed, UserId};
use arklow_store::{CreateDevice, NewDevice, StoreError};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use crate::support::{Database, now};

#[derive(QueryableByName)]
struct Stored {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    seed_key_id: String,
    #[diesel(sql_type = Binary)]
    seed: Vec<u8>,
    #[diesel(sql_type = Nullable<BigInt>)]
    confirmed_at: Option<i64>,
}

fn stored(db: &Database, new: &NewDevice) -> Stored {
    diesel::sql_query("SELECT name, seed_key_id, seed, confirmed_at FROM devices WHERE id = ?")
        .bind::<BigInt, _>(new.id.get())
        .get_result(&mut db.raw())
        .unwrap()
}

#[tokio::test]
async fn created_device_is_stored_and_its_seed_opens() {
    let db = Database::new().await;
    let new = db.new_device(db.db_user("ada@example.org").await);
    assert_eq!(
        db.store.create_device(new.clone()).await.unwrap(),
        CreateDevice::Created
    );
    let row = stored(&db, &new);
    assert_eq!((row.name.as_str(), row.confirmed_at), ("phone", None));
    let key_id: KeyId = row.seed_key_id.parse().unwrap();
    let sealed = SealedSeed {
        key_id,
        bytes: row.seed,
    };
    let seed = sealed.open(&db.keyring, new.user_id, new.id).unwrap();
    let given = new.seed.open(&db.keyring, new.user_id, new.id).unwrap();
    assert_eq!(seed.expose(), given.expose());
}

#[tokio::test]
async fn device_may_be_confirmed_from_the_start() {
    let db = Database::new().await;
    let new = db.new_device(db.db_user("ada@example.org").await);
    let new = NewDevice {
        confirmed_at: Some(now()),
        ..new
    };
    db.store.create_device(new.clone()).await.unwrap();
    assert_eq!(
        stored(&db, &new).confirmed_at,
        Some(now().timestamp_micros())
    );
}

#[tokio::test]
async fn device_needs_a_user_who_is_not_disabled() {
    let db = Database::new().await;
    let nobody = db.new_device(UserId::from_stored(1).unwrap());
    assert_eq!(
        db.store.create_device(nobody).await.unwrap(),
        CreateDevice::NoSuchUser
    );
    let ada = db.db_user("ada@example.org").await;
    db.store.disable_user(ada, now()).await.unwrap();
    let device = db.new_device(ada);
    assert_eq!(
        db.store.create_device(device).await.unwrap(),
        CreateDevice::UserDisabled
    );
}

#[tokio::test]
async fn id_that_is_taken_is_an_error() {
    let db = Database::new().await;
    let new = db.new_device(db.db_user("ada@example.org").await);
    db.store.create_device(new.clone()).await.unwrap();
    let error = db.store.create_device(new).await.unwrap_err();
    assert!(matches!(error, StoreError::Database(_)), "{error:?}");
}
