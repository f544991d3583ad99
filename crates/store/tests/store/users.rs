//! Users.

use arklow_domain::{SystemRandom, User, UserId};
use arklow_store::{CreateUser, DisableUser, NewUser, StoreError};

use crate::support::{Database, by_operator, minutes, now};

fn new_user(email: &str) -> NewUser {
    NewUser {
        id: UserId::random(&SystemRandom::new()).unwrap(),
        name: "Ada Lövelace".parse().unwrap(),
        email: email.parse().unwrap(),
        now: now(),
    }
}

#[tokio::test]
async fn created_user_is_found_as_given() {
    let db = Database::new().await;
    let new = new_user("Ada@Example.org");
    assert_eq!(
        db.store
            .create_user(new.clone(), by_operator())
            .await
            .unwrap(),
        CreateUser::Created
    );
    let found = db.store.user(new.id).await.unwrap().unwrap();
    assert_eq!(found.email.as_str(), "Ada@Example.org");
    let NewUser {
        id,
        name,
        email,
        now,
    } = new;
    assert_eq!(
        found,
        User {
            id,
            name,
            email,
            created_at: now,
            disabled_at: None
        }
    );
}

#[tokio::test]
async fn unknown_user_is_none() {
    let db = Database::new().await;
    assert_eq!(db.store.user(new_user("a@b").id).await.unwrap(), None);
}

#[tokio::test]
async fn address_is_taken_in_whatever_case() {
    let db = Database::new().await;
    db.store
        .create_user(new_user("ÉLAN@example.org"), by_operator())
        .await
        .unwrap();
    let second = new_user("élan@EXAMPLE.org");
    assert_eq!(
        db.store
            .create_user(second.clone(), by_operator())
            .await
            .unwrap(),
        CreateUser::EmailInUse
    );
    assert_eq!(db.store.user(second.id).await.unwrap(), None);
}

#[tokio::test]
async fn id_that_is_taken_is_an_error_and_not_an_address_in_use() {
    let db = Database::new().await;
    let first = new_user("ada@example.org");
    db.store
        .create_user(first.clone(), by_operator())
        .await
        .unwrap();
    let second = NewUser {
        id: first.id,
        ..new_user("bob@example.org")
    };
    let error = db
        .store
        .create_user(second, by_operator())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Database(_)), "{error:?}");
}

#[tokio::test]
async fn user_is_disabled_once_and_keeps_the_time() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let later = now() + minutes(1);
    assert_eq!(
        db.store
            .disable_user(ada, now(), by_operator())
            .await
            .unwrap(),
        DisableUser::Disabled
    );
    assert_eq!(
        db.store
            .disable_user(ada, later, by_operator())
            .await
            .unwrap(),
        DisableUser::AlreadyDisabled
    );
    assert_eq!(
        db.store.user(ada).await.unwrap().unwrap().disabled_at,
        Some(now())
    );
}

#[tokio::test]
async fn unknown_user_cannot_be_disabled() {
    let db = Database::new().await;
    let nobody = new_user("a@b").id;
    assert_eq!(
        db.store
            .disable_user(nobody, now(), by_operator())
            .await
            .unwrap(),
        DisableUser::NoSuchUser
    );
}
