//! Random sequences of all operations by several users and sessions, each answer compared with that
//! of a small model. A failing sequence is shrunk to the shortest one that fails.
//!
//! `PROPTEST_CASES` and `PROPTEST_MAX_SHRINK_ITERS` make a run longer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use arklow_api::types::VerificationType;
use arklow_domain::{
    BackupCode, RateLimit, Seed, SessionId, SessionToken, SystemRandom, TotpCode, TotpStep, UserId,
};
use arklow_store::{AuditOrigin, RevokeSession};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::time::seed_of;
use super::{ErrorAnswer, TestApp, origin};
use crate::http::auth::Caller;
use crate::policy::Policy;
use crate::testing::default_policy;

const USERS: usize = 2;
const SESSIONS: usize = 2;
/// How many changes of a session may be denied in [`DENIED_IN`], and five times as many of a user.
const DENIED: usize = 5;
const DENIED_IN: TimeDelta = TimeDelta::minutes(5);
/// How long a session of a test lives.
const SESSION: TimeDelta = TimeDelta::hours(1);

/// Who does something: a user in one of the sessions.
#[derive(Debug, Clone, Copy)]
struct Who {
    user: usize,
    session: usize,
}

/// Which device is meant, counted from the newest.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// Of those that the caller has.
    Own(usize),
    /// Of all sets that were ever created, of any user.
    Any(usize),
}

/// Which code is presented.
#[derive(Debug, Clone, Copy)]
enum Code {
    /// The app's, so many steps from now.
    Totp(i64),
    /// One that is not right.
    WrongTotp,
    /// One of the current set.
    Backup(usize),
    /// One of the set before.
    Stale(usize),
    /// One of no set.
    RandomBackup,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Starts an enrollment and confirms it at once.
    Enroll(Who),
    Start(Who),
    Confirm(Who, Which, Code),
    Verify(Who, Which, Code),
    Regenerate(Who, Which),
    Remove(Who, Which, Code),
    /// Time passes, in seconds.
    Pass(i64),
    /// The session ends, and a new one begins in its place, MFA-fresh for so many minutes.
    Renew(Who, i64),
    /// An operator unlocks a user.
    Unlock(usize),
    /// An operator removes a device.
    Take(usize, Which),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || (0..USERS, 0..SESSIONS).prop_map(|(user, session)| Who { user, session });
    let which = || {
        prop_oneof![
            10 => Just(Which::Own(0)),
            5 => Just(Which::Own(1)),
            2 => (2..4_usize).prop_map(Which::Own),
            1 => (0..6_usize).prop_map(Which::Any),
        ]
    };
    let totp = || {
        let offset = prop_oneof![5 => Just(0), 3 => -1..=1_i64, 1 => -2..=2_i64];
        prop_oneof![6 => offset.prop_map(Code::Totp), 1 => Just(Code::WrongTotp)]
    };
    let code = move || {
        prop_oneof![
            6 => totp(),
            4 => (0..10_usize).prop_map(Code::Backup),
            1 => (0..10_usize).prop_map(Code::Stale),
            1 => Just(Code::RandomBackup),
        ]
    };
    let step = prop_oneof![
        2 => who().prop_map(Step::Start),
        5 => who().prop_map(Step::Enroll),
        4 => (who(), which(), totp()).prop_map(|(who, which, code)| Step::Confirm(who, which, code)),
        14 => (who(), which(), code()).prop_map(|(who, which, code)| Step::Verify(who, which, code)),
        6 => (who(), which()).prop_map(|(who, which)| Step::Regenerate(who, which)),
        2 => (who(), which(), code()).prop_map(|(who, which, code)| Step::Remove(who, which, code)),
        5 => prop_oneof![4 => 1..60_i64, 1 => 60..1_200_i64].prop_map(Step::Pass),
        1 => (who(), prop_oneof![2 => Just(0), 1 => 1..60_i64])
            .prop_map(|(who, minutes)| Step::Renew(who, minutes)),
        2 => (0..USERS).prop_map(Step::Unlock),
        1 => (0..USERS, which()).prop_map(|(user, which)| Step::Take(user, which)),
    ];
    prop::collection::vec(step, 40..120)
}

/// What an operation said: its status with its code, or its success in short.
#[derive(Debug, PartialEq)]
enum Said {
    Refused(u16, String),
    /// Whether the code was right, until when the session is MFA-fresh, how many codes are left.
    Judged(bool, Option<DateTime<Utc>>, Option<i64>),
    /// Whether the device is gone, and whether a confirmed one is left.
    Removed(bool, bool),
    Done,
}

impl From<ErrorAnswer> for Said {
    fn from(error: ErrorAnswer) -> Self {
        Self::Refused(error.status, error.code)
    }
}

fn no(status: u16, code: &str) -> Said {
    Said::Refused(status, code.to_owned())
}

// ---- the model: what is kept of users, sessions and devices, and the rules in a few lines

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Pending { since: DateTime<Utc> },
    Confirmed,
    Removed,
}

struct ModelDevice {
    id: String,
    owner: usize,
    seed: Seed,
    stands: Stands,
    last_step: i64,
    codes: Vec<String>,
    used: Vec<bool>,
    stale: Vec<String>,
}

struct ModelUser {
    id: UserId,
    failures: u32,
    locked_until: DateTime<Utc>,
    regenerations: VecDeque<DateTime<Utc>>,
    enrollments: VecDeque<DateTime<Utc>>,
    denials: Vec<(DateTime<Utc>, SessionId)>,
    sessions: Vec<ModelSession>,
}

struct ModelSession {
    id: SessionId,
    token: SessionToken,
    ends: DateTime<Utc>,
    fresh_until: Option<DateTime<Utc>>,
}

struct World {
    app: TestApp,
    users: Vec<ModelUser>,
    devices: Vec<ModelDevice>,
    /// How often something was done: codes accepted, devices removed, sets replaced.
    done: usize,
}

impl World {
    async fn new() -> Self {
        // The limit for an address is not in the database and has separate tests.
        let app = TestApp::with_policy(Policy {
            address: Vec::new(),
            denied: Some(RateLimit {
                count: DENIED as u32,
                per: DENIED_IN,
            }),
            ..default_policy()
        })
        .await;
        let mut users = Vec::new();
        for n in 0..USERS {
            let id = app.db_user(&format!("user{n}@example.org")).await;
            let mut user = ModelUser {
                id,
                failures: 0,
                locked_until: DateTime::UNIX_EPOCH,
                regenerations: VecDeque::new(),
                enrollments: VecDeque::new(),
                denials: Vec::new(),
                sessions: Vec::new(),
            };
            for _ in 0..SESSIONS {
                user.sessions.push(session(&app, id, 0).await);
            }
            users.push(user);
        }
        Self {
            app,
            users,
            devices: Vec::new(),
            done: 0,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.app.now()
    }

    /// The device that is meant by this user; `None` if there is none.
    fn device(&self, user: usize, which: Which) -> Option<usize> {
        let mut newest_first = (0..self.devices.len()).rev();
        match which {
            Which::Any(n) => newest_first.nth(n),
            Which::Own(n) => newest_first
                .filter(|at| {
                    let device = &self.devices[*at];
                    device.owner == user && device.stands != Stands::Removed
                })
                .nth(n),
        }
    }

    fn session(&mut self, who: Who) -> &mut ModelSession {
        &mut self.users[who.user].sessions[who.session]
    }

    fn is_fresh(&self, who: Who) -> bool {
        let session = &self.users[who.user].sessions[who.session];
        session.fresh_until.is_some_and(|until| self.now() < until)
    }

    fn confirmed(&self, user: usize) -> usize {
        let of_user = self.devices.iter().filter(|device| device.owner == user);
        of_user
            .filter(|device| device.stands == Stands::Confirmed)
            .count()
    }

    /// The caller, or `None` if the session is over.
    async fn caller(&mut self, who: Who) -> Option<Caller> {
        let now = self.now();
        let session = self.session(who);
        if session.ends <= now {
            return None;
        }
        let token = session.token.clone();
        Some(self.app.caller_with(&token, origin()).await)
    }

    /// Success number ten within the hour, if there were so many.
    fn is_limited(times: &VecDeque<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        let recent = times.iter().filter(|at| **at > now - TimeDelta::hours(1));
        recent.count() >= 10
    }

    /// Whether so many changes were denied that this one is refused unseen.
    fn is_refused(&self, who: Who) -> bool {
        let user = &self.users[who.user];
        let session = user.sessions[who.session].id;
        let recent = |(at, _): &&(DateTime<Utc>, SessionId)| *at > self.now() - DENIED_IN;
        let of_session = |(_, of): &&(DateTime<Utc>, SessionId)| *of == session;
        let recent: Vec<_> = user.denials.iter().filter(recent).collect();
        recent.iter().filter(|denial| of_session(denial)).count() >= DENIED
            || recent.len() >= 5 * DENIED
    }

    /// What a change is expected to say, unless it is refused unseen; counts it if it is denied.
    fn expect(&mut self, who: Who, judge: impl FnOnce(&mut Self) -> Said) -> Said {
        if self.is_refused(who) {
            return no(429, "RATE_LIMITED");
        }
        let expected = judge(self);
        if let Said::Refused(..) = expected {
            let denial = (self.now(), self.session(who).id);
            self.users[who.user].denials.push(denial);
        }
        expected
    }

    /// The expected result for a code; updates the model.
    fn judge(&mut self, who: Who, which: Option<usize>, code: Code, goal: Goal) -> Said {
        let now = self.now();
        let user = &self.users[who.user];
        if now < user.locked_until {
            return no(429, "TOO_MANY_FAILURES");
        }
        let known = which.filter(|at| {
            let device = &self.devices[*at];
            device.owner == who.user && device.stands != Stands::Removed
        });
        let Some(at) = known else {
            return no(404, "DEVICE_NOT_FOUND");
        };
        match (goal, self.devices[at].stands) {
            (Goal::Confirm, Stands::Confirmed) => return no(409, "DEVICE_ALREADY_CONFIRMED"),
            (Goal::Confirm, Stands::Pending { since }) if since + TimeDelta::minutes(15) <= now => {
                return no(409, "ENROLLMENT_EXPIRED");
            }
            (Goal::Confirm, _) if self.confirmed(who.user) > 0 && !self.is_fresh(who) => {
                return no(403, "MFA_REQUIRED");
            }
            (Goal::Confirm, _) if self.confirmed(who.user) >= 10 => {
                return no(409, "TOO_MANY_DEVICES");
            }
            (Goal::StepUp | Goal::Remove, Stands::Pending { .. }) => {
                return no(409, "DEVICE_NOT_CONFIRMED");
            }
            _ => {}
        }
        let remaining = match self.use_up(at, code, now) {
            Ok(remaining) => remaining,
            Err(()) => {
                let user = &mut self.users[who.user];
                user.failures += 1;
                if user.failures.is_multiple_of(5) {
                    let minutes = [15, 30, 60][(user.failures as usize / 5 - 1).min(2)];
                    user.locked_until = now + TimeDelta::minutes(minutes);
                }
                return match goal {
                    Goal::Remove => Said::Removed(false, true),
                    _ => Said::Judged(false, None, None),
                };
            }
        };
        self.done += 1;
        self.users[who.user].failures = 0;
        self.users[who.user].locked_until = DateTime::UNIX_EPOCH;
        if goal == Goal::Remove {
            let enabled = self.take(at);
            return Said::Removed(true, enabled);
        }
        if goal == Goal::Confirm {
            self.devices[at].stands = Stands::Confirmed;
        }
        let session = self.session(who);
        let before = session.fresh_until.unwrap_or(now);
        let until = (now + TimeDelta::minutes(15)).max(before).min(session.ends);
        session.fresh_until = Some(until);
        Said::Judged(true, Some(until), remaining)
    }

    /// Uses a code up if it is right: how many backup codes are left, if it was one.
    fn use_up(&mut self, at: usize, code: Code, now: DateTime<Utc>) -> Result<Option<i64>, ()> {
        let device = &mut self.devices[at];
        let current = TotpStep::at(now).get();
        match code {
            Code::Totp(offset) if offset.abs() <= 1 && current + offset > device.last_step => {
                device.last_step = current + offset;
                Ok(None)
            }
            Code::Backup(n) if !device.used[n] => {
                device.used[n] = true;
                device.last_step = device.last_step.max(current + 1);
                let left = device.used.iter().filter(|used| !**used).count();
                Ok(i64::try_from(left).ok())
            }
            _ => Err(()),
        }
    }

    /// Removes a device; whether its owner has a confirmed one left.
    fn take(&mut self, at: usize) -> bool {
        let owner = self.devices[at].owner;
        self.devices[at].stands = Stands::Removed;
        let enabled = self.confirmed(owner) > 0;
        if !enabled {
            for session in &mut self.users[owner].sessions {
                session.fresh_until = None;
            }
        }
        enabled
    }

    /// The text of a code that is presented as one of this device.
    fn text(&self, which: Option<usize>, code: Code) -> (VerificationType, String) {
        let random = || BackupCode::random(&SystemRandom::new()).unwrap().expose();
        let device = which.map(|at| &self.devices[at]);
        match (code, device) {
            (Code::Totp(offset), Some(device)) => {
                let step = TotpStep::at(self.now()).get() + offset;
                let code = device.seed.code_at(TotpStep::from_stored(step));
                (VerificationType::Totp, code.expose())
            }
            (Code::Totp(_) | Code::WrongTotp, device) => {
                (VerificationType::Totp, wrong_totp(device, self.now()))
            }
            (Code::Backup(n), Some(device)) => {
                (VerificationType::BackupCode, device.codes[n].clone())
            }
            (Code::Stale(n), Some(device)) => {
                let stale = device.stale.get(n).cloned();
                (VerificationType::BackupCode, stale.unwrap_or_else(random))
            }
            (Code::Backup(_) | Code::Stale(_) | Code::RandomBackup, _) => {
                (VerificationType::BackupCode, random())
            }
        }
    }

    fn id(&self, which: Option<usize>) -> String {
        which.map_or_else(|| "1".to_owned(), |at| self.devices[at].id.clone())
    }

    // ---- one step, by the server and by the model

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Start(who) => self.start(who).await,
            Step::Enroll(who) => {
                self.start(who).await?;
                self.present(who, Which::Own(0), Code::Totp(0), Goal::Confirm)
                    .await
            }
            Step::Confirm(who, which, code) => self.present(who, which, code, Goal::Confirm).await,
            Step::Verify(who, which, code) => self.present(who, which, code, Goal::StepUp).await,
            Step::Remove(who, which, code) => self.present(who, which, code, Goal::Remove).await,
            Step::Regenerate(who, which) => self.regenerate(who, which).await,
            Step::Pass(seconds) => {
                self.app.clock.advance(TimeDelta::seconds(seconds));
                Ok(())
            }
            Step::Renew(who, minutes) => {
                let old = self.session(who).id;
                let now = self.now();
                let revoked = self
                    .app
                    .store()
                    .revoke_session(old, now, AuditOrigin::default())
                    .await
                    .unwrap();
                prop_assert_eq!(revoked, RevokeSession::Revoked);
                let id = self.users[who.user].id;
                *self.session(who) = session(&self.app, id, minutes).await;
                Ok(())
            }
            Step::Unlock(user) => {
                let (id, now) = (self.users[user].id, self.now());
                let origin = AuditOrigin::operator("test");
                self.app.store().unlock_user(id, now, origin).await.unwrap();
                self.users[user].failures = 0;
                self.users[user].locked_until = DateTime::UNIX_EPOCH;
                Ok(())
            }
            Step::Take(user, which) => {
                let Some(at) = self.device(user, which) else {
                    return Ok(());
                };
                let (id, now) = (self.devices[at].id.parse().unwrap(), self.now());
                let origin = AuditOrigin::operator("test");
                self.app
                    .store()
                    .remove_device(id, now, origin)
                    .await
                    .unwrap();
                if self.devices[at].stands != Stands::Removed {
                    self.take(at);
                }
                Ok(())
            }
        }
    }

    async fn start(&mut self, who: Who) -> Result<(), TestCaseError> {
        let Some(caller) = self.caller(who).await else {
            return Ok(());
        };
        let answer = self.app.start_enrollment(caller).await;
        let now = self.now();
        let expected = self.expect(who, |this| {
            if this.confirmed(who.user) > 0 && !this.is_fresh(who) {
                no(403, "MFA_REQUIRED")
            } else if Self::is_limited(&this.users[who.user].enrollments, now) {
                no(429, "RATE_LIMITED")
            } else if this.confirmed(who.user) >= 10 {
                no(409, "TOO_MANY_DEVICES")
            } else {
                Said::Done
            }
        });
        let (said, data) = match answer {
            Ok(data) => (Said::Done, Some(data)),
            Err(error) => (error.into(), None),
        };
        prop_assert_eq!(said, expected);
        if let Some(data) = data {
            self.users[who.user].enrollments.push_back(now);
            for device in &mut self.devices {
                if device.owner == who.user && matches!(device.stands, Stands::Pending { .. }) {
                    device.stands = Stands::Removed;
                }
            }
            self.devices.push(ModelDevice {
                id: data.device.id,
                owner: who.user,
                seed: seed_of(&data.provisioning_uri),
                stands: Stands::Pending { since: now },
                last_step: i64::MIN,
                codes: data.backup_codes,
                used: vec![false; 10],
                stale: Vec::new(),
            });
        }
        Ok(())
    }

    async fn regenerate(&mut self, who: Who, which: Which) -> Result<(), TestCaseError> {
        let Some(caller) = self.caller(who).await else {
            return Ok(());
        };
        let at = self.device(who.user, which);
        let answer = self.app.regenerate(caller, &self.id(at)).await;
        let now = self.now();
        let stands = at
            .map(|at| &self.devices[at])
            .filter(|device| device.owner == who.user)
            .map(|device| device.stands);
        let expected = self.expect(who, |this| {
            if !this.is_fresh(who) {
                no(403, "MFA_REQUIRED")
            } else if Self::is_limited(&this.users[who.user].regenerations, now) {
                no(429, "RATE_LIMITED")
            } else {
                match stands {
                    None | Some(Stands::Removed) => no(404, "DEVICE_NOT_FOUND"),
                    Some(Stands::Pending { .. }) => no(409, "DEVICE_NOT_CONFIRMED"),
                    Some(Stands::Confirmed) => Said::Done,
                }
            }
        });
        let (said, data) = match answer {
            Ok(data) => (Said::Done, Some(data)),
            Err(error) => (error.into(), None),
        };
        prop_assert_eq!(said, expected);
        if let (Some(data), Some(at)) = (data, at) {
            let fresh_until = self.session(who).fresh_until;
            prop_assert_eq!(Some(data.session_mfa_not_after), fresh_until);
            self.done += 1;
            self.users[who.user].regenerations.push_back(now);
            let device = &mut self.devices[at];
            device.stale = std::mem::replace(&mut device.codes, data.backup_codes);
            device.used = vec![false; 10];
        }
        Ok(())
    }

    async fn present(
        &mut self,
        who: Who,
        which: Which,
        code: Code,
        goal: Goal,
    ) -> Result<(), TestCaseError> {
        let Some(caller) = self.caller(who).await else {
            return Ok(());
        };
        let at = self.device(who.user, which);
        let (kind, text) = self.text(at, code);
        let (app, id) = (&self.app, self.id(at));
        let totp = TotpCode::parse(&text);
        let said = match (goal, kind) {
            (Goal::Confirm, _) => {
                let answer = app.confirm(caller, &id, &totp.unwrap()).await;
                answer.map(|data| {
                    let until = data.session_mfa_not_after;
                    assert_eq!(data.device.confirmed_at.is_some(), until.is_some());
                    Said::Judged(until.is_some(), until, None)
                })
            }
            (Goal::StepUp, VerificationType::Totp) => {
                let answer = app.verify(caller, &id, &totp.unwrap()).await;
                answer.map(|data| Said::Judged(data.valid, data.session_mfa_not_after, None))
            }
            (Goal::StepUp, VerificationType::BackupCode) => {
                let answer = app.redeem(caller, &id, &text).await;
                answer.map(|data| {
                    let (until, left) = (data.session_mfa_not_after, data.backup_codes_remaining);
                    Said::Judged(data.valid, until, left)
                })
            }
            (Goal::Remove, kind) => {
                let answer = app.remove(caller, &id, kind, &text).await;
                answer.map(|data| Said::Removed(data.removed, data.two_factor_enabled))
            }
        };
        let said = said.unwrap_or_else(Said::from);
        let expected = self.expect(who, |this| this.judge(who, at, code, goal));
        prop_assert_eq!(said, expected);
        Ok(())
    }

    /// What each user sees is what the model has.
    async fn compare(&mut self) -> Result<(), TestCaseError> {
        for user in 0..USERS {
            let who = Who { user, session: 0 };
            let Some(caller) = self.caller(who).await else {
                continue;
            };
            let mut seen: Vec<(String, bool)> = self
                .app
                .list(caller)
                .await
                .unwrap()
                .into_iter()
                .map(|device| (device.id, device.confirmed_at.is_some()))
                .collect();
            let now = self.now();
            let of_user = self.devices.iter().filter(|device| device.owner == user);
            let mut expected: Vec<(String, bool)> = of_user
                .filter(|device| match device.stands {
                    Stands::Pending { since } => since + TimeDelta::minutes(15) > now,
                    Stands::Confirmed => true,
                    Stands::Removed => false,
                })
                .map(|device| (device.id.clone(), device.stands == Stands::Confirmed))
                .collect();
            seen.sort();
            expected.sort();
            prop_assert_eq!(seen, expected);
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    StepUp,
    Confirm,
    Remove,
}

async fn session(app: &TestApp, user: UserId, minutes: i64) -> ModelSession {
    let fresh_until = (minutes > 0).then(|| app.now() + TimeDelta::minutes(minutes));
    let (id, token) = app.db_session(user, fresh_until).await;
    ModelSession {
        id,
        token,
        ends: app.now() + SESSION,
        fresh_until,
    }
}

/// A code of no step near.
fn wrong_totp(device: Option<&ModelDevice>, now: DateTime<Utc>) -> String {
    let current = TotpStep::at(now).get();
    let near: Vec<String> = device.map_or_else(Vec::new, |device| {
        (-2..=2)
            .map(|offset| TotpStep::from_stored(current + offset))
            .map(|step| device.seed.code_at(step).expose())
            .collect()
    });
    let all = (0..).map(|number| format!("{number:06}"));
    all.into_iter().find(|code| !near.contains(code)).unwrap()
}

#[test]
fn server_answers_as_the_model_does_whatever_the_sequence() {
    let config = Config {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(64),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (taken, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcome = TestRunner::new(config).run(&steps(), |sequence| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in sequence {
                world.step(step).await?;
                taken.fetch_add(1, Ordering::Relaxed);
            }
            done.fetch_add(world.done, Ordering::Relaxed);
            world.compare().await
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let (taken, done) = (taken.into_inner(), done.into_inner());
    println!("{taken} steps agree with the model; {done} of them did what they were to do");
    assert!(taken > 2_000, "{taken} steps are not thousands");
    assert!(
        done > taken / 20,
        "the sequences get nowhere: {done} of {taken}"
    );
}
