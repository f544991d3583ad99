//! Claiming messages, by several servers at once, and what becomes of a claim.

use std::collections::BTreeSet;

use arklow_store::{ClaimMessages, Settle, Settled};
use tokio::task::JoinSet;

use crate::support::{Database, minutes, now};

fn claim(minute: i64, limit: u32) -> ClaimMessages {
    let now = now() + minutes(minute);
    ClaimMessages {
        now,
        until: now + minutes(2),
        limit,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_claim_at_once_share_the_messages() {
    let db = Database::new().await;
    let other = db.open_again().await;
    let mut users = Vec::new();
    for number in 0..12 {
        users.push(db.db_user(&format!("user{number}@example.org")).await);
    }
    for round in 0..6 {
        for user in &users {
            db.db_confirmed_device(*user).await;
        }
        // The first message of each user is due, for all who look.
        let claims: JoinSet<_> = (0..8)
            .map(|turn| if turn % 2 == 0 { &db.store } else { &other }.clone())
            .map(|store| async move { store.claim_messages(claim(0, 100)).await })
            .collect();
        let claimed: Vec<_> = claims
            .join_all()
            .await
            .into_iter()
            .flat_map(Result::unwrap)
            .collect();
        let distinct: BTreeSet<_> = claimed.iter().map(|message| message.id).collect();
        assert_eq!(distinct.len(), users.len(), "round {round}");
        assert_eq!(claimed.len(), users.len(), "round {round}: claimed twice");
        for message in claimed {
            let settled = db
                .store
                .settle_message(message.id, 1, Settle::Delivered(now()));
            assert_eq!(settled.await.unwrap(), Settled::Yes);
        }
    }
}

#[tokio::test]
async fn claim_holds_until_its_end_and_the_message_of_a_user_waits_for_the_one_before() {
    let db = Database::new().await;
    let ada = db.db_user("ada@example.org").await;
    for _ in 0..2 {
        db.db_confirmed_device(ada).await;
    }
    let claimed = async |minute| db.store.claim_messages(claim(minute, 100)).await.unwrap();
    let [first] = &claimed(0).await[..] else {
        panic!("only the first message of a user is due");
    };
    assert_eq!((first.user_id, first.attempt), (ada, 1));
    assert!(claimed(1).await.is_empty(), "it is claimed");
    let [again] = &claimed(2).await[..] else {
        panic!("the claim has ended");
    };
    assert_eq!((again.id, again.attempt), (first.id, 2));

    // The server of the first claim is late.
    let settle = |attempt, result| db.store.settle_message(first.id, attempt, result);
    let late = settle(1, Settle::Delivered(now())).await.unwrap();
    assert_eq!(late, Settled::ClaimLost);
    let failed = Settle::Again {
        due_at: now() + minutes(10),
        error: "no answer".to_owned(),
    };
    assert_eq!(settle(2, failed).await.unwrap(), Settled::Yes);
    assert!(claimed(9).await.is_empty(), "the next attempt is later");
    assert_eq!(claimed(10).await.len(), 1);
    let dead = Settle::Dead {
        at: now(),
        error: "gone".to_owned(),
    };
    assert_eq!(settle(3, dead).await.unwrap(), Settled::Yes);
    let [next] = &claimed(11).await[..] else {
        panic!("a dead letter holds up nothing");
    };
    assert!(next.id > first.id);
}
