//! Sessions.

use arklow_domain::{Session, SessionToken, SystemRandom, UserId};
use arklow_store::{CreateSession, NewSession, RevokeSession, StoreError};
use chrono::TimeDelta;

use crate::support::{Database, by_operator, minutes, new_session, now};
use crate::throwaway::on_postgres;

const MICROSECOND: TimeDelta = TimeDelta::microseconds(1);

#[tokio::test]
async fn created_session_lives_and_is_found_as_given() {
    let db = Database::new().await;
    let (new, token) = new_session(db.db_user("ada@example.org").await);
    assert_eq!(
        db.store
            .create_session(new.clone(), by_operator())
            .await
            .unwrap(),
        CreateSession::Created
    );
    let NewSession {
        id,
        user_id,
        expires_at,
        mfa_not_after,
        ..
    } = new;
    let found = db.store.live_session(token, now()).await.unwrap();
    assert_eq!(
        found,
        Some(Session {
            id,
            user_id,
            expires_at,
            mfa_not_after
        })
    );
}

#[tokio::test]
async fn session_without_second_factor_has_none_to_be_fresh() {
    let db = Database::new().await;
    let (new, token) = new_session(db.db_user("ada@example.org").await);
    db.store
        .create_session(
            NewSession {
                mfa_not_after: None,
                ..new
            },
            by_operator(),
        )
        .await
        .unwrap();
    let found = db.store.live_session(token, now()).await.unwrap().unwrap();
    assert_eq!(found.mfa_not_after, None);
}

#[tokio::test]
async fn unknown_token_is_none() {
    let db = Database::new().await;
    db.db_ada().await;
    let token = SessionToken::generate(&SystemRandom::new()).unwrap().hash();
    assert_eq!(db.store.live_session(token, now()).await.unwrap(), None);
}

#[tokio::test]
async fn session_lives_until_the_very_instant_it_expires() {
    let db = Database::new().await;
    let (new, token) = new_session(db.db_user("ada@example.org").await);
    let expires_at = new.expires_at;
    db.store.create_session(new, by_operator()).await.unwrap();
    assert!(
        db.store
            .live_session(token, expires_at - MICROSECOND)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        db.store
            .live_session(token, expires_at)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn revoked_session_is_over_and_the_others_live_on() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let (one, one_token) = new_session(ada);
    let (two, two_token) = new_session(ada);
    let one_id = one.id;
    db.store.create_session(one, by_operator()).await.unwrap();
    db.store.create_session(two, by_operator()).await.unwrap();

    assert_eq!(
        db.store
            .revoke_session(one_id, now(), by_operator())
            .await
            .unwrap(),
        RevokeSession::Revoked
    );
    assert!(
        db.store
            .live_session(one_token, now())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db.store
            .live_session(two_token, now())
            .await
            .unwrap()
            .is_some()
    );
    let again = db
        .store
        .revoke_session(one_id, now() + minutes(1), by_operator())
        .await
        .unwrap();
    assert_eq!(again, RevokeSession::AlreadyRevoked);
}

#[tokio::test]
async fn unknown_session_cannot_be_revoked() {
    let db = Database::new().await;
    let (new, _) = new_session(UserId::from_stored(1).unwrap());
    let outcome = db
        .store
        .revoke_session(new.id, now(), by_operator())
        .await
        .unwrap();
    assert_eq!(outcome, RevokeSession::NoSuchSession);
}

#[tokio::test]
async fn disabled_user_has_no_live_session_and_gets_none() {
    let db = Database::new().await;
    let (ada, bob) = (
        db.db_user("ada@example.org").await,
        db.db_user("bob@example.org").await,
    );
    let (adas, adas_token) = new_session(ada);
    let (bobs, bobs_token) = new_session(bob);
    db.store.create_session(adas, by_operator()).await.unwrap();
    db.store.create_session(bobs, by_operator()).await.unwrap();
    db.store
        .disable_user(ada, now(), by_operator())
        .await
        .unwrap();

    assert!(
        db.store
            .live_session(adas_token, now())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        db.store
            .live_session(bobs_token, now())
            .await
            .unwrap()
            .is_some()
    );
    let (another, another_token) = new_session(ada);
    let outcome = db
        .store
        .create_session(another, by_operator())
        .await
        .unwrap();
    assert_eq!(outcome, CreateSession::UserDisabled);
    assert!(
        db.store
            .live_session(another_token, now())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn nobody_gets_no_session() {
    let db = Database::new().await;
    let (new, _) = new_session(UserId::from_stored(1).unwrap());
    assert_eq!(
        db.store.create_session(new, by_operator()).await.unwrap(),
        CreateSession::NoSuchUser
    );
}

#[tokio::test]
async fn token_that_is_taken_is_an_error_whose_text_shows_no_value() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    let (first, token_hash) = new_session(ada);
    db.store.create_session(first, by_operator()).await.unwrap();
    let second = NewSession {
        token_hash,
        ..new_session(ada).0
    };
    let id = second.id.to_string();
    let error = db
        .store
        .create_session(second, by_operator())
        .await
        .unwrap_err();
    let StoreError::Database(cause) = &error else {
        panic!("{error:?}")
    };
    let said = match on_postgres() {
        true => "duplicate key value violates unique constraint \"sessions_token_hash_key\"",
        false => "UNIQUE constraint failed: sessions.token_hash",
    };
    assert_eq!(cause.to_string(), said);
    assert!(!format!("{error:?}").contains(&id));
}
