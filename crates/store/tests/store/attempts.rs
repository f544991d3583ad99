//! Presenting codes, also many at once: none is looked at beyond the budget, and none works twice.

use std::sync::Arc;

use arklow_domain::{BackupCode, Denial, DeviceId, Seed, SystemRandom, TotpCode, TotpStep};
use arklow_store::{
    Attempt, AttemptRules, AuditEvent, AuditFilter, AuditOrigin, AuditOutcome, AuditReason, Goal,
    NewDevice, PresentedCode, StartEnrollment, Store, UnlockUser, VerifyCode,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::{Database, Owner, by_operator, minutes, now, patient, presented, rules};

/// An owner whose seed is known.
struct Known {
    owner: Owner,
    seed: Seed,
}

impl Known {
    /// The code of the step that is so many after the current one.
    fn totp(&self, offset: i64) -> PresentedCode {
        let step = TotpStep::from_stored(TotpStep::at(now()).get() + offset);
        PresentedCode::Totp(self.seed.code_at(step))
    }

    /// A code of no step near.
    fn wrong_totp(&self) -> PresentedCode {
        let near: Vec<String> = (-3..=3)
            .map(|offset| {
                let step = TotpStep::from_stored(TotpStep::at(now()).get() + offset);
                self.seed.code_at(step).expose()
            })
            .collect();
        let wrong = (0..).map(|n| format!("{n:06}"));
        let wrong = wrong.into_iter().find(|code| !near.contains(code)).unwrap();
        PresentedCode::Totp(TotpCode::parse(&wrong).unwrap())
    }
}

async fn db_known(db: &Database, email: &str) -> Known {
    let user_id = db.db_user(email).await;
    let random = SystemRandom::new();
    let seed = Seed::random(&random).unwrap();
    let device_id = DeviceId::random(&random).unwrap();
    let new = NewDevice {
        id: device_id,
        seed: seed.seal(&db.keyring, user_id, device_id, &random).unwrap(),
        confirmed_at: Some(now()),
        ..db.new_device(user_id)
    };
    db.store.create_device(new, by_operator()).await.unwrap();
    let session_id = db.db_session(user_id).await;
    let owner = Owner {
        user_id,
        session_id,
        device_id,
    };
    Known { owner, seed }
}

async fn attempt(db: &Database, present: VerifyCode) -> Result<Attempt, Denial> {
    let attempt = db.store.verify_code(present, Arc::clone(&db.keyring));
    attempt.await.unwrap()
}

fn is_accepted(attempt: &Result<Attempt, Denial>) -> bool {
    matches!(attempt, Ok(Attempt::Accepted(_)))
}

fn random_code() -> PresentedCode {
    PresentedCode::BackupCode(BackupCode::random(&SystemRandom::new()).unwrap())
}

/// Presents them all at the same time, on each of the stores in turn.
async fn at_once(
    db: &Database,
    stores: &[Store],
    all: Vec<VerifyCode>,
) -> Vec<Result<Attempt, Denial>> {
    let start = Arc::new(Barrier::new(all.len()));
    let mut running = JoinSet::new();
    for (present, store) in all.into_iter().zip(stores.iter().cycle()) {
        let (start, store) = (Arc::clone(&start), store.clone());
        let keyring = Arc::clone(&db.keyring);
        running.spawn(async move {
            start.wait().await;
            store.verify_code(present, keyring).await.unwrap()
        });
    }
    running.join_all().await
}

async fn failures(db: &Database, owner: Owner) -> i64 {
    let origin = AuditOrigin::operator("test");
    let unlocked = db.store.unlock_user(owner.user_id, now(), origin).await;
    match unlocked.unwrap() {
        UnlockUser::Unlocked { failures, .. } => failures,
        UnlockUser::NoSuchUser => panic!("no such user"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_guesses_at_once_five_are_looked_at() {
    let db = Database::new().await;
    let ada = db_known(&db, "ada@example.org").await;
    db.db_codes(ada.owner).await;
    let stores = [db.store.clone(), db.open_again().await];
    let guesses = (0..200).map(|n| {
        let code = if n % 2 == 0 {
            ada.wrong_totp()
        } else {
            random_code()
        };
        presented(ada.owner, code, rules())
    });
    let attempts = at_once(&db, &stores, guesses.collect()).await;
    let looked_at = attempts
        .iter()
        .filter(|attempt| matches!(attempt, Ok(Attempt::Rejected { .. })))
        .count();
    let until = now() + minutes(15);
    let locked = attempts
        .iter()
        .filter(|attempt| **attempt == Err(Denial::UserLocked { until }))
        .count();
    assert_eq!((looked_at, locked), (5, 195));
    assert_eq!(failures(&db, ada.owner).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn totp_code_presented_sixteenfold_on_two_stores_works_once() {
    let db = Database::new().await;
    let stores = [db.store.clone(), db.open_again().await];
    for round in 0..50 {
        let ada = db_known(&db, &format!("ada{round}@example.org")).await;
        let all = (0..16).map(|_| presented(ada.owner, ada.totp(0), patient()));
        let attempts = at_once(&db, &stores, all.collect()).await;
        let accepted = attempts.iter().filter(|one| is_accepted(one)).count();
        assert_eq!(accepted, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn code_that_steps_up_confirms_and_removes_at_once_does_one_of_it() {
    let db = Database::new().await;
    let stores = [db.store.clone(), db.open_again().await];
    for round in 0..30 {
        let ada = db_known(&db, &format!("ada{round}@example.org")).await;
        let all = (0..8).map(|n| VerifyCode {
            goal: if n % 2 == 0 {
                Goal::StepUp
            } else {
                Goal::Remove
            },
            ..presented(ada.owner, ada.totp(0), patient())
        });
        let attempts = at_once(&db, &stores, all.collect()).await;
        let accepted = attempts.iter().filter(|one| is_accepted(one)).count();
        assert_eq!(accepted, 1, "round {round}: {attempts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limit_and_number_of_devices_hold_against_starts_at_once() {
    let db = Database::new().await;
    let stores = [db.store.clone(), db.open_again().await];
    let user_id = db.db_user("ada@example.org").await;
    let session_id = db.db_session(user_id).await;
    let limit = Some(arklow_domain::RateLimit {
        count: 10,
        per: minutes(60),
    });
    let start = Arc::new(Barrier::new(40));
    let mut running = JoinSet::new();
    for n in 0..40 {
        let device = db.new_device(user_id);
        let owner = Owner {
            user_id,
            session_id,
            device_id: device.id,
        };
        let enrollment = StartEnrollment {
            ask: owner.ask_enrollment(limit),
            codes: db.new_codes(owner).1.codes,
            device,
        };
        let (start, store) = (Arc::clone(&start), stores[n % 2].clone());
        running.spawn(async move {
            start.wait().await;
            store.start_enrollment(enrollment).await.unwrap()
        });
    }
    let outcomes = running.join_all().await;
    let started = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(started, 10);
    let page = db.store.devices(user_id, minutes(15), 0..50, now()).await;
    assert_eq!(
        page.unwrap().count,
        1,
        "one is pending, the others gave way"
    );
}

#[tokio::test]
async fn attempt_that_was_not_looked_at_costs_nothing() {
    let db = Database::new().await;
    let ada = db_known(&db, "ada@example.org").await;
    let bob = db_known(&db, "bob@example.org").await;
    let pending = db.new_device(ada.owner.user_id);
    let pending_id = pending.id;
    db.store
        .create_device(pending, by_operator())
        .await
        .unwrap();
    for device_id in [None, Some(bob.owner.device_id), Some(pending_id)] {
        for _ in 0..20 {
            let present = VerifyCode {
                device_id,
                ..presented(ada.owner, ada.totp(0), rules())
            };
            let denied = attempt(&db, present).await;
            let expected = match device_id == Some(pending_id) {
                true => Denial::DeviceNotConfirmed,
                false => Denial::DeviceNotFound,
            };
            assert_eq!(denied, Err(expected));
        }
    }
    assert!(is_accepted(
        &attempt(&db, presented(ada.owner, ada.totp(0), rules())).await
    ));
}

#[tokio::test]
async fn hundred_failures_lock_the_factor_until_another_one_succeeds() {
    let db = Database::new().await;
    let ada = db_known(&db, "ada@example.org").await;
    let codes = db.db_codes(ada.owner).await;
    // Locks of a second, to get there.
    let quick = AttemptRules {
        lockout: arklow_domain::LockoutPolicy {
            failures_per_lock: 1_000,
            ..rules().lockout
        },
        ..rules()
    };
    for n in 1..=100 {
        let rejected = attempt(&db, presented(ada.owner, ada.wrong_totp(), quick)).await;
        assert!(
            matches!(rejected, Ok(Attempt::Rejected { .. })),
            "{n}: {rejected:?}"
        );
    }
    for code in [ada.totp(0), ada.wrong_totp()] {
        let denied = attempt(&db, presented(ada.owner, code, quick)).await;
        assert_eq!(denied, Err(Denial::FactorLocked));
    }
    let code = PresentedCode::BackupCode(codes[0].clone());
    assert!(is_accepted(
        &attempt(&db, presented(ada.owner, code, quick)).await
    ));
    // The backup code made the codes that were shown already unusable; the next but one works.
    let later = VerifyCode {
        now: now() + minutes(1),
        ..presented(ada.owner, ada.totp(2), quick)
    };
    assert!(is_accepted(&attempt(&db, later).await));
    let filter = AuditFilter::default();
    let events: Vec<AuditEvent> = db.records(filter).await[101..]
        .iter()
        .map(|record| record.event)
        .collect();
    let expected = [
        AuditEvent::FactorLocked,
        AuditEvent::TotpVerified,
        AuditEvent::TotpVerified,
        AuditEvent::BackupCodeVerified,
        AuditEvent::Unlocked,
        AuditEvent::TotpVerified,
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn audit_tells_used_codes_from_wrong_ones_though_the_answer_does_not() {
    let db = Database::new().await;
    let ada = db_known(&db, "ada@example.org").await;
    let codes = db.db_codes(ada.owner).await;
    let used = PresentedCode::BackupCode(codes[0].clone());
    for code in [used.clone(), used, random_code()] {
        attempt(&db, presented(ada.owner, code, rules()))
            .await
            .unwrap();
    }
    let filter = AuditFilter::default();
    let outcomes: Vec<AuditOutcome> = db.records(filter).await[1..]
        .iter()
        .map(|record| record.outcome)
        .collect();
    let expected = [
        AuditOutcome::Success,
        AuditOutcome::Failure(AuditReason::UsedCode),
        AuditOutcome::Failure(AuditReason::WrongCode),
    ];
    assert_eq!(outcomes, expected);
}
