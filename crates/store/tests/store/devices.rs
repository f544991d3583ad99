//! Devices.

use arklow_domain::{KeyId, SealedSeed, UserId};
use arklow_store::{CreateDevice, NewDevice, StoreError};

use crate::support::{Database, by_operator, now};

/// A device as it stands in its row: name, key, seed in hexadecimal digits, and when it was confirmed.
fn stored(db: &Database, new: &NewDevice) -> [String; 4] {
    let mut raw = db.raw();
    ["name", "seed_key_id", "hex(seed)", "confirmed_at"].map(|column| {
        raw.text(&format!(
            "SELECT {column} FROM devices WHERE id = {}",
            new.id
        ))
    })
}

#[tokio::test]
async fn created_device_is_stored_and_its_seed_opens() {
    let db = Database::new().await;
    let new = db.new_device(db.db_user("ada@example.org").await);
    assert_eq!(
        db.store
            .create_device(new.clone(), by_operator())
            .await
            .unwrap(),
        CreateDevice::Created
    );
    let [name, key, seed, confirmed_at] = stored(&db, &new);
    assert_eq!((name.as_str(), confirmed_at.as_str()), ("phone", ""));
    let key_id: KeyId = key.parse().unwrap();
    let bytes = seed.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits).unwrap();
        u8::from_str_radix(digits, 16).unwrap()
    });
    let sealed = SealedSeed {
        key_id,
        bytes: bytes.collect(),
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
    db.store
        .create_device(new.clone(), by_operator())
        .await
        .unwrap();
    let [.., confirmed_at] = stored(&db, &new);
    assert_eq!(confirmed_at, now().timestamp_micros().to_string());
}

#[tokio::test]
async fn device_needs_a_user_who_is_not_disabled() {
    let db = Database::new().await;
    let nobody = db.new_device(UserId::from_stored(1).unwrap());
    assert_eq!(
        db.store.create_device(nobody, by_operator()).await.unwrap(),
        CreateDevice::NoSuchUser
    );
    let ada = db.db_user("ada@example.org").await;
    db.store
        .disable_user(ada, now(), by_operator())
        .await
        .unwrap();
    let device = db.new_device(ada);
    assert_eq!(
        db.store.create_device(device, by_operator()).await.unwrap(),
        CreateDevice::UserDisabled
    );
}

#[tokio::test]
async fn id_that_is_taken_is_an_error() {
    let db = Database::new().await;
    let new = db.new_device(db.db_user("ada@example.org").await);
    db.store
        .create_device(new.clone(), by_operator())
        .await
        .unwrap();
    let error = db
        .store
        .create_device(new, by_operator())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Database(_)), "{error:?}");
}
