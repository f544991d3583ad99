//! Many callers at once: what is decided by one statement is decided once.

use std::sync::Arc;

use arklow_domain::BackupCode;
use arklow_store::{AuditEvent, AuditFilter, ReplacedCodes, Store};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Database, Owner, redeem_at};

const REPLACERS: usize = 8;
const REPLACE_ROUNDS: usize = 30;
const REDEEMERS: usize = 16;
const REDEEM_ROUNDS: usize = 50;

/// Runs all at the same time, each on one of `stores` in turn, and gives what they return.
async fn at_once<T, F>(
    stores: &[Store],
    jobs: impl IntoIterator<Item = impl FnOnce(Store) -> F>,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let jobs: Vec<F> = jobs
        .into_iter()
        .zip(stores.iter().cycle())
        .map(|(job, store)| job(store.clone()))
        .collect();
    let start = Arc::new(Barrier::new(jobs.len()));
    let mut running = JoinSet::new();
    for job in jobs {
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            job.await
        });
    }
    running.join_all().await
}

/// How many of `codes` work, presented all at the same time.
async fn count_valid(db: &Database, owner: Owner, codes: &[BackupCode]) -> usize {
    let jobs = codes.iter().map(|code| {
        let (code, keyring) = (code.clone(), Arc::clone(&db.keyring));
        move |store: Store| async move { redeem_at(&store, &keyring, owner, &code).await }
    });
    let stores = [db.store.clone()];
    at_once(&stores, jobs)
        .await
        .into_iter()
        .filter(|valid| *valid)
        .count()
}

/// Replaces the codes of one device from everywhere at once, again and again.
async fn race_replacements(db: &Database, stores: &[Store]) {
    let ada = db.db_ada().await;
    let mut dead = Vec::new();
    for round in 1..=REPLACE_ROUNDS {
        let jobs = (0..REPLACERS).map(|_| {
            let (codes, replace) = db.new_codes(ada);
            move |store: Store| async move {
                match store.replace_backup_codes(replace).await.unwrap() {
                    Ok(ReplacedCodes { generation, .. }) => (generation, codes),
                    refused => panic!("{refused:?}"),
                }
            }
        });
        let mut sets = at_once(stores, jobs).await;
        sets.sort_by_key(|(generation, _)| *generation);

        let first = (round - 1) * REPLACERS + 1;
        let generations: Vec<usize> = sets
            .iter()
            .map(|(generation, _)| usize::try_from(*generation).unwrap())
            .collect();
        assert_eq!(generations, (first..first + REPLACERS).collect::<Vec<_>>());

        let (_, winner) = sets.pop().unwrap();
        let losers: Vec<BackupCode> = sets
            .iter()
            .flat_map(|(_, codes)| codes.iter().cloned())
            .collect();
        assert_eq!(
            count_valid(db, ada, &losers).await,
            0,
            "a replaced code works"
        );
        let winners: Vec<BackupCode> = winner.iter().cloned().collect();
        assert_eq!(
            count_valid(db, ada, &winners[..9]).await,
            9,
            "a returned code is dead"
        );
        // One stays unused, to see that the next round kills it.
        dead.push(winners[9].clone());
        assert_eq!(
            count_valid(db, ada, &dead).await,
            1,
            "one of the last round's, then it is used"
        );
    }

    let set = db
        .store
        .backup_code_set(ada.user_id, ada.device_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        usize::try_from(set.generation).unwrap(),
        REPLACERS * REPLACE_ROUNDS
    );
    let audited: Vec<usize> = db
        .store
        .audit_records(AuditFilter {
            device_id: Some(ada.device_id),
            ..AuditFilter::default()
        })
        .await
        .unwrap()
        .iter()
        .filter(|record| record.event == AuditEvent::BackupCodesRegenerated)
        .map(|record| usize::try_from(record.generation.unwrap()).unwrap())
        .collect();
    assert_eq!(
        audited,
        (1..=REPLACERS * REPLACE_ROUNDS).collect::<Vec<_>>()
    );
    println!(
        "{REPLACERS} replacements x {REPLACE_ROUNDS} rounds on {} store(s): one set worked each \
         time; generation {}, {} audit records",
        stores.len(),
        set.generation,
        audited.len(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_replacements_at_once_exactly_one_set_works() {
    let db = Database::new().await;
    race_replacements(&db, std::slice::from_ref(&db.store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_replacements_from_two_stores_at_once_exactly_one_set_works() {
    let db = Database::new().await;
    race_replacements(&db, &[db.store.clone(), db.open_again().await]).await;
}

/// Presents each code from everywhere at once.
async fn race_redemptions(db: &Database, stores: &[Store]) {
    let ada = db.db_ada().await;
    let mut codes = Vec::new();
    let mut accepted = Vec::new();
    for _ in 0..REDEEM_ROUNDS {
        if codes.is_empty() {
            codes = db.db_codes(ada).await;
        }
        let code = codes.pop().unwrap();
        let jobs = (0..REDEEMERS).map(|_| {
            let (code, keyring) = (code.clone(), Arc::clone(&db.keyring));
            move |store: Store| async move { redeem_at(&store, &keyring, ada, &code).await }
        });
        let answers = at_once(stores, jobs).await;
        accepted.push(answers.into_iter().filter(|valid| *valid).count());
    }
    assert_eq!(accepted, [1; REDEEM_ROUNDS]);
    println!(
        "{REDEEMERS} redemptions x {REDEEM_ROUNDS} rounds on {} store(s): accepted once each time",
        stores.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_presented_sixteenfold_works_exactly_once() {
    let db = Database::new().await;
    race_redemptions(&db, std::slice::from_ref(&db.store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_presented_to_two_stores_works_exactly_once() {
    let db = Database::new().await;
    race_redemptions(&db, &[db.store.clone(), db.open_again().await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn different_codes_at_once_all_work_and_none_is_forgotten() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    for _ in 0..10 {
        let codes = db.db_codes(ada).await;
        assert_eq!(count_valid(&db, ada, &codes).await, 10);
        let set = db
            .store
            .backup_code_set(ada.user_id, ada.device_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(set.remaining(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redemption_beside_a_replacement_uses_up_a_former_code_or_none() {
    let db = Database::new().await;
    let ada = db.db_ada().await;
    let stores = [db.store.clone(), db.open_again().await];
    let mut former = db.db_codes(ada).await;
    let mut before = 0;
    for round in 0..REDEEM_ROUNDS {
        let (new, replace) = db.new_codes(ada);
        let (code, keyring) = (former[0].clone(), Arc::clone(&db.keyring));
        let redemption = tokio::spawn({
            let store = stores[round % 2].clone();
            async move { redeem_at(&store, &keyring, ada, &code).await }
        });
        let outcome = stores[1 - round % 2]
            .replace_backup_codes(replace)
            .await
            .unwrap();
        assert!(outcome.is_ok(), "{outcome:?}");
        before += usize::from(redemption.await.unwrap());

        // In either order: nothing of the old set is left, and the new one is whole.
        let set = db
            .store
            .backup_code_set(ada.user_id, ada.device_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            set.remaining(),
            10,
            "a redemption of the old set marked the new one"
        );
        assert_eq!(count_valid(&db, ada, &former).await, 0);
        former = new.iter().cloned().collect();
    }
    println!("redemption during replacement, {REDEEM_ROUNDS} rounds: {before} came before");
}
