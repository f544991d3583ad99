//! The effects of a moving clock on codes, locks, enrollments and step-ups.

use arklow_api::types::TotpVerification;
use arklow_domain::{Seed, TotpCode, TotpStep, TotpWindow};
use arklow_store::{AttemptRules, AuditOrigin, ResetStep};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Ada, Answer, TestApp, origin};
use crate::policy::Policy;
use crate::testing::default_policy;

fn seconds(count: i64) -> TimeDelta {
    TimeDelta::seconds(count)
}

/// What a verification says: whether the code was right, or the seconds to wait.
#[track_caller]
fn read(answer: Answer<TotpVerification>) -> Result<bool, i64> {
    answer.map(|data| data.valid).map_err(|error| {
        assert_eq!(error.code, "TOO_MANY_FAILURES");
        error.retry_after.unwrap()
    })
}

async fn verify(app: &TestApp, ada: &Ada, code: &TotpCode) -> Result<bool, i64> {
    let caller = app.caller(ada).await;
    read(app.verify(caller, &ada.device_id.to_string(), code).await)
}

/// A code of no step near.
fn wrong(app: &TestApp, ada: &Ada) -> TotpCode {
    let near: Vec<String> = (-10..=10)
        .map(|step| ada.totp(app.now() + seconds(30 * step)).expose())
        .collect();
    let all = (0..).map(|number| format!("{number:06}"));
    let code = all.into_iter().find(|code| !near.contains(code)).unwrap();
    TotpCode::parse(&code).unwrap()
}

fn strict() -> Policy {
    let policy = default_policy();
    Policy {
        rules: AttemptRules {
            window: TotpWindow::STRICT,
            ..policy.rules
        },
        ..policy
    }
}

#[tokio::test]
async fn t04_code_is_refused_29_31_and_59_seconds_after_it_was_accepted() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    // The clock of a test begins where a step does.
    let start = app.now();
    let code = ada.totp(start);
    assert_eq!(verify(&app, &ada, &code).await, Ok(true));
    for after in [0, 29, 31, 59] {
        app.clock.set(start + seconds(after));
        assert_eq!(verify(&app, &ada, &code).await, Ok(false), "{after}");
    }
    let next = ada.totp(app.now());
    assert_eq!(verify(&app, &ada, &next).await, Ok(true));
    assert_eq!(verify(&app, &ada, &next).await, Ok(false));
}

#[tokio::test]
async fn t04_code_of_an_earlier_step_is_refused_after_a_later_one_was_accepted() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let [before, now, after] = [-30, 0, 30].map(|offset| ada.totp(app.now() + seconds(offset)));
    assert_eq!(verify(&app, &ada, &now).await, Ok(true));
    assert_eq!(verify(&app, &ada, &before).await, Ok(false));
    assert_eq!(verify(&app, &ada, &after).await, Ok(true));
    assert_eq!(verify(&app, &ada, &now).await, Ok(false));
}

#[tokio::test]
async fn clock_of_the_app_may_be_half_a_minute_off_and_in_the_strict_profile_not_at_all() {
    for offset in [-60, -31, -30, 0, 30, 59, 60] {
        let off_by_steps = seconds(offset).num_seconds().div_euclid(30);
        for (policy, reach) in [(default_policy(), 1), (strict(), 0)] {
            let app = TestApp::with_policy(policy).await;
            let ada = app.db_ada().await;
            let shown = ada.totp(app.now() + seconds(offset));
            let expected = off_by_steps.abs() <= reach;
            assert_eq!(
                verify(&app, &ada, &shown).await,
                Ok(expected),
                "{offset} s, window {reach}"
            );
        }
    }
}

#[tokio::test]
async fn t18_clock_that_is_set_back_revives_no_code_and_prolongs_a_step_up_by_no_more_than_that() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let start = app.now();
    let code = ada.totp(start);
    assert_eq!(verify(&app, &ada, &code).await, Ok(true));
    app.clock.set(start - seconds(90));
    for offset in [-30, 0, 30, 90] {
        let shown = ada.totp(app.now() + seconds(offset));
        assert_eq!(verify(&app, &ada, &shown).await, Ok(false), "{offset}");
    }
    app.clock.set(start + seconds(30));
    let next = ada.totp(app.now());
    assert_eq!(verify(&app, &ada, &next).await, Ok(true));
    // Set back, a step-up goes on until the same time by that clock: nothing moves its end.
    let device = ada.device_id.to_string();
    let regenerate = async || app.regenerate(app.caller(&ada).await, &device).await;
    app.clock.set(start - TimeDelta::hours(2));
    let data = regenerate().await.unwrap();
    let end = start + seconds(30) + TimeDelta::minutes(15);
    assert_eq!(data.session_mfa_not_after, end);
    app.clock.set(end - TimeDelta::microseconds(1));
    regenerate().await.unwrap();
    app.clock.set(end);
    let error = regenerate().await.unwrap_err();
    assert_eq!(error.kind(), (403, "MFA_REQUIRED"));
}

#[tokio::test]
async fn t42_limits_count_nothing_from_after_the_clock() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let (start, ahead) = (app.now(), app.now() + TimeDelta::hours(6));
    let device = ada.device_id.to_string();
    // In a session of that time, as MFA-fresh as one can be.
    app.clock.set(ahead);
    let (_, token) = app
        .db_session(ada.user_id, Some(ahead + TimeDelta::hours(1)))
        .await;
    let caller = async || app.caller_with(&token, origin()).await;
    for _ in 0..10 {
        app.regenerate(caller().await, &device).await.unwrap();
        app.start_enrollment(caller().await).await.unwrap();
    }
    let error = app.regenerate(caller().await, &device).await.unwrap_err();
    assert_eq!(error.retry_after, Some(3_600));
    app.clock.set(start);
    for _ in 0..10 {
        app.regenerate(caller().await, &device).await.unwrap();
        app.start_enrollment(caller().await).await.unwrap();
    }
    let error = app.regenerate(caller().await, &device).await.unwrap_err();
    assert_eq!(error.retry_after, Some(3_600));
}

#[tokio::test]
async fn t42_lock_of_a_clock_that_was_ahead_ends_within_the_longest_lock() {
    let app = TestApp::with_policy(Policy {
        address: Vec::new(),
        ..default_policy()
    })
    .await;
    let ada = app.db_ada().await;
    let start = app.now();
    let device = ada.device_id.to_string();
    let attempt = async |code: &TotpCode| {
        let (_, token) = app.db_session(ada.user_id, None).await;
        let caller = app.caller_with(&token, origin()).await;
        read(app.verify(caller, &device, code).await)
    };
    app.clock.set(start + TimeDelta::hours(6));
    for _ in 0..5 {
        assert_eq!(attempt(&wrong(&app, &ada)).await, Ok(false));
    }
    app.clock.set(start);
    assert_eq!(attempt(&ada.totp(start)).await, Err(3_600));
    app.clock.set(start + TimeDelta::minutes(59));
    assert_eq!(
        attempt(&ada.totp(app.now())).await,
        Err(60),
        "it goes on from there"
    );
    app.clock.set(start + TimeDelta::hours(1));
    assert_eq!(attempt(&ada.totp(app.now())).await, Ok(true));
}

#[tokio::test]
async fn t42_totp_of_a_device_works_again_after_its_step_was_reset() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let start = app.now();
    let device = ada.device_id.to_string();
    let answer = app.regenerate(app.caller(&ada).await, &device).await;
    let codes = answer.unwrap().backup_codes;
    app.clock.set(start + TimeDelta::hours(6));
    let (_, token) = app.db_session(ada.user_id, None).await;
    let caller = app.caller_with(&token, origin()).await;
    app.redeem(caller, &device, &codes[0]).await.unwrap();
    app.clock.set(start);
    let reset = || {
        let operator = AuditOrigin::operator("test");
        app.store().reset_step(ada.device_id, app.now(), operator)
    };
    assert_eq!(verify(&app, &ada, &ada.totp(start)).await, Ok(false));
    assert_eq!(reset().await.unwrap(), ResetStep::Reset);
    assert_eq!(reset().await.unwrap(), ResetStep::NotAhead);
    // What the app may have shown so far stays unusable.
    for offset in [-30, 0, 30] {
        let shown = ada.totp(start + seconds(offset));
        assert_eq!(verify(&app, &ada, &shown).await, Ok(false), "{offset}");
    }
    app.clock.set(start + seconds(60));
    assert_eq!(verify(&app, &ada, &ada.totp(app.now())).await, Ok(true));
    let operator = AuditOrigin::operator("test");
    let all = app.store().reset_steps(10, app.now(), operator);
    assert_eq!(all.await.unwrap(), 0);
}

#[tokio::test]
async fn verifying_never_shortens_a_step_up_and_never_outlives_the_session() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let start = app.now();
    let device = ada.device_id.to_string();
    for (minutes, expected) in [(0, 15), (1, 15), (40, 40), (60, 60), (90, 60)] {
        app.clock.advance(seconds(60));
        let fresh = (minutes > 0).then(|| app.now() + TimeDelta::minutes(minutes));
        let (_, token) = app.db_session(ada.user_id, fresh).await;
        let caller = app.caller_with(&token, origin()).await;
        let answer = app.verify(caller, &device, &ada.totp(app.now())).await;
        let until = answer.unwrap().session_mfa_not_after;
        assert_eq!(
            until,
            Some(app.now() + TimeDelta::minutes(expected)),
            "{minutes}"
        );
    }
    assert!(app.now() > start);
}

#[tokio::test]
async fn step_up_lasts_for_a_quarter_of_an_hour_to_the_microsecond() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let token = app.db_session_without_mfa(&ada).await;
    let device = ada.device_id.to_string();
    let caller = async || app.caller_with(&token, origin()).await;
    let start = app.now();
    let answer = app.verify(caller().await, &device, &ada.totp(start)).await;
    let until = start + TimeDelta::minutes(15);
    assert_eq!(answer.unwrap().session_mfa_not_after, Some(until));
    app.clock.set(until - TimeDelta::microseconds(1));
    app.regenerate(caller().await, &device).await.unwrap();
    app.clock.set(until);
    let error = app.regenerate(caller().await, &device).await.unwrap_err();
    assert_eq!(error.kind(), (403, "MFA_REQUIRED"));
}

#[tokio::test]
async fn step_up_ends_with_the_session_if_that_is_sooner() {
    let app = TestApp::start().await;
    let ada = app.db_ada().await;
    let end = app.now() + TimeDelta::hours(1);
    app.clock.set(end - TimeDelta::minutes(5));
    let caller = app.caller(&ada).await;
    let code = ada.totp(app.now());
    let answer = app.verify(caller, &ada.device_id.to_string(), &code).await;
    assert_eq!(answer.unwrap().session_mfa_not_after, Some(end));
}

#[tokio::test]
async fn locks_last_for_15_30_60_and_60_minutes_and_end_on_their_own() {
    let app = TestApp::with_policy(Policy {
        address: Vec::new(),
        ..default_policy()
    })
    .await;
    let ada = app.db_ada().await;
    let device = ada.device_id.to_string();
    // Each time in a new session: those of tests live for an hour.
    let attempt = async |code: &TotpCode| {
        let (_, token) = app.db_session(ada.user_id, None).await;
        let caller = app.caller_with(&token, origin()).await;
        read(app.verify(caller, &device, code).await)
    };
    for minutes in [15, 30, 60, 60] {
        for _ in 0..5 {
            assert_eq!(attempt(&wrong(&app, &ada)).await, Ok(false));
        }
        let locked = app.now();
        assert_eq!(attempt(&ada.totp(locked)).await, Err(60 * minutes));
        let end = locked + TimeDelta::minutes(minutes);
        app.clock.set(end - TimeDelta::microseconds(1));
        assert_eq!(attempt(&ada.totp(app.now())).await, Err(1));
        app.clock.set(end);
    }
    // A success forgets them: the next lock is a first one again.
    assert_eq!(attempt(&ada.totp(app.now())).await, Ok(true));
    for _ in 0..5 {
        assert_eq!(attempt(&wrong(&app, &ada)).await, Ok(false));
    }
    assert_eq!(attempt(&ada.totp(app.now())).await, Err(900));
}

#[tokio::test]
async fn pending_device_can_be_confirmed_for_a_quarter_of_an_hour() {
    for (late, is_confirmed) in [(false, true), (true, false)] {
        let app = TestApp::start().await;
        let user_id = app.db_user("cyd@example.org").await;
        let (_, token) = app.db_session(user_id, None).await;
        let caller = async || app.caller_with(&token, origin()).await;
        let start = app.now();
        let data = app.start_enrollment(caller().await).await.unwrap();
        let seed = seed_of(&data.provisioning_uri);
        let end = start + TimeDelta::minutes(15);
        app.clock.set(match late {
            true => end,
            false => end - TimeDelta::microseconds(1),
        });
        let code = seed.code_at(TotpStep::at(app.now()));
        let answer = app.confirm(caller().await, &data.device.id, &code).await;
        match answer {
            Ok(data) => {
                assert_eq!(data.device.confirmed_at, Some(app.now()));
                assert!(is_confirmed);
            }
            Err(error) => {
                assert_eq!(error.kind(), (409, "ENROLLMENT_EXPIRED"));
                assert!(!is_confirmed);
            }
        }
    }
}

/// The seed in an otpauth URI.
pub(super) fn seed_of(uri: &str) -> Seed {
    struct Drawn(Vec<u8>);

    impl arklow_domain::Random for Drawn {
        fn fill(&self, out: &mut [u8]) -> Result<(), arklow_domain::NoEntropy> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }

    let secret = uri
        .split(['?', '&'])
        .find_map(|part| part.strip_prefix("secret="))
        .unwrap();
    let mut bits = Vec::new();
    for symbol in secret.bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            _ => symbol - b'2' + 26,
        };
        bits.extend((0..5).rev().map(|bit| value >> bit & 1));
    }
    let bytes = bits
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit));
    Seed::random(&Drawn(bytes.collect())).unwrap()
}

#[test]
fn time_of_tests_begins_where_a_step_does() {
    let start: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    assert_eq!(start.timestamp() % 30, 0);
}
