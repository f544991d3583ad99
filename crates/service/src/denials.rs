//! The limit for denied changes of one session and of one user.
//!
//! A denial costs a transaction and an audit record. Beyond the limit a change is answered with 429
//! before it reaches the database, and only counted: when the period of the limit ends, one record has
//! the count. The counts are in the memory of this process, like the limit for an address: each of
//! several servers allows as many. A process that is killed loses the counts of the last
//! stretch, of which the log has the beginning.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arklow_domain::{RateLimit, SessionId, UserId};
use arklow_store::{AuditEvent, AuditOrigin, DeniedAttempts, Store};
use chrono::{DateTime, TimeDelta, Utc};
use tracing::{error, warn};

use crate::sources::Clock;

/// How many sessions at their limit a user may have before all of the user's are refused.
const SESSIONS: usize = 5;
/// How many users are remembered, at most. Further ones are not limited: each needs a session.
const MAX_USERS: usize = 100_000;
/// How often counts are looked through for those to be written.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Counts what is denied, for each user and session.
pub(crate) struct Denials {
    limit: Option<RateLimit>,
    users: Arc<Mutex<Users>>,
}

type Users = HashMap<UserId, User>;

#[derive(Default)]
struct User {
    /// When a change was denied, or is under way, and in which session; the oldest first.
    times: VecDeque<(DateTime<Utc>, SessionId)>,
    /// Refused changes that are not in the audit yet.
    counted: Vec<Counted>,
}

struct Counted {
    since: DateTime<Utc>,
    attempts: DeniedAttempts,
}

/// A change that is under way. It counts until it is dropped, and on if it was denied.
#[must_use = "dropped at once it limits nothing"]
pub(crate) struct Reservation {
    user: UserId,
    session: SessionId,
    at: DateTime<Utc>,
    users: Arc<Mutex<Users>>,
    /// Whether there is a place that is free again when this is dropped.
    gives_back: bool,
}

/// What is tried, for the record.
pub(crate) struct Tried {
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) event: AuditEvent,
    pub(crate) origin: AuditOrigin,
}

impl Denials {
    /// With this limit for a session, and five times as many for a user; without one, none.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self {
            limit,
            users: Arc::default(),
        }
    }

    /// Takes a place for a change.
    ///
    /// # Errors
    /// How long it takes until there is one; the change is counted.
    pub(crate) fn reserve(
        &self,
        tried: Tried,
        now: DateTime<Utc>,
    ) -> Result<Reservation, TimeDelta> {
        let reservation = |gives_back| Reservation {
            user: tried.user,
            session: tried.session,
            at: now,
            users: Arc::clone(&self.users),
            gives_back,
        };
        let Some(RateLimit { count, per }) = self.limit else {
            return Ok(reservation(false));
        };
        let mut users = lock(&self.users);
        if users.len() >= MAX_USERS && !users.contains_key(&tried.user) {
            return Ok(reservation(false));
        }
        let user = users.entry(tried.user).or_default();
        user.forget(per, now);
        let count = count.max(1) as usize;
        let of_session = |(_, session): &&(DateTime<Utc>, SessionId)| *session == tried.session;
        let in_session = user.times.iter().rev().filter(of_session).nth(count - 1);
        let in_all = user.times.iter().rev().nth(SESSIONS * count - 1);
        let (blocking, session) = match (in_session, in_all) {
            (Some((at, _)), _) => (*at, Some(tried.session)),
            (None, Some((at, _))) => (*at, None),
            (None, None) => {
                user.times.push_back((now, tried.session));
                return Ok(reservation(true));
            }
        };
        user.count(session, tried, now);
        Err(per - (now - blocking))
    }

    /// Takes what was counted and not written: all of it, or that of stretches which are over.
    fn take(&self, now: DateTime<Utc>, which: Which) -> Vec<DeniedAttempts> {
        let Some(RateLimit { per, .. }) = self.limit else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        lock(&self.users).retain(|_, user| {
            user.forget(per, now);
            let is_due = |counted: &mut Counted| match which {
                Which::Due => now - counted.since >= per || now < counted.since,
                Which::All => true,
            };
            let due = user.counted.extract_if(.., is_due);
            taken.extend(due.map(|counted| counted.attempts));
            !user.times.is_empty() || !user.counted.is_empty()
        });
        taken
    }

    /// Writes counts into the audit when their time is over, for ever.
    pub(crate) async fn watch(&self, store: &Store, clock: &dyn Clock) -> Infallible {
        let mut looks = tokio::time::interval(POLL_EVERY);
        loop {
            looks.tick().await;
            write(store, self.take(clock.now(), Which::Due)).await;
        }
    }

    /// Writes all counts into the audit, at the end.
    pub(crate) async fn flush(&self, store: &Store, now: DateTime<Utc>) {
        write(store, self.take(now, Which::All)).await;
    }
}

#[derive(Clone, Copy)]
enum Which {
    Due,
    All,
}

async fn write(store: &Store, denied: Vec<DeniedAttempts>) {
    if denied.is_empty() {
        return;
    }
    let attempts: i64 = denied.iter().map(|denied| denied.attempts).sum();
    if let Err(cause) = store.record_denied(denied).await {
        let error = crate::log::chain(&cause);
        error!(
            attempts,
            error, "cannot write {attempts} denied changes into the audit"
        );
    }
}

impl User {
    /// Forgets times that are too old.
    fn forget(&mut self, per: TimeDelta, now: DateTime<Utc>) {
        // A clock that went back must not refuse anything for longer than the limit's time.
        for (at, _) in &mut self.times {
            *at = (*at).min(now);
        }
        while self.times.front().is_some_and(|(at, _)| now - *at >= per) {
            self.times.pop_front();
        }
    }

    fn count(&mut self, session_id: Option<SessionId>, tried: Tried, now: DateTime<Utc>) {
        let known = self.counted.iter_mut().find(|counted| {
            counted.attempts.session_id == session_id && counted.attempts.event == tried.event
        });
        if let Some(known) = known {
            known.attempts.attempts += 1;
            known.attempts.at = now;
            known.attempts.origin = tried.origin;
            return;
        }
        warn!(
            user.id = %tried.user,
            session.id = %tried.session,
            event = tried.event.as_str(),
            "too many denied changes: further ones are refused and counted"
        );
        self.counted.push(Counted {
            since: now,
            attempts: DeniedAttempts {
                user_id: tried.user,
                session_id,
                event: tried.event,
                attempts: 1,
                at: now,
                origin: tried.origin,
            },
        });
    }
}

impl Reservation {
    /// The change was denied: it goes on counting.
    pub(crate) fn deny(mut self) {
        self.gives_back = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.gives_back {
            return;
        }
        let mut users = lock(&self.users);
        let Some(user) = users.get_mut(&self.user) else {
            return;
        };
        // Any of the same session is as good as another; a clock that went back has moved it.
        let is_own =
            |(at, session): &(DateTime<Utc>, SessionId)| *session == self.session && *at <= self.at;
        if let Some(own) = user.times.iter().rposition(is_own) {
            user.times.remove(own);
        }
        if user.times.is_empty() && user.counted.is_empty() {
            users.remove(&self.user);
        }
    }
}

fn lock(users: &Mutex<Users>) -> MutexGuard<'_, Users> {
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit {
        count: 3,
        per: TimeDelta::minutes(5),
    };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn tried(user: i64, session: i64) -> Tried {
        Tried {
            user: UserId::from_stored(user).unwrap(),
            session: SessionId::from_stored(session).unwrap(),
            event: AuditEvent::BackupCodesRegenerated,
            origin: AuditOrigin::default(),
        }
    }

    /// How many seconds a change has to wait, which is denied if it has not.
    fn denied(denials: &Denials, session: i64, seconds: i64) -> i64 {
        match denials.reserve(tried(1, session), at(seconds)) {
            Ok(reservation) => {
                reservation.deny();
                0
            }
            Err(wait) => wait.num_seconds(),
        }
    }

    #[test]
    fn session_is_refused_after_its_limit_until_the_first_denial_is_too_old() {
        let denials = Denials::new(Some(LIMIT));
        for seconds in [0, 10, 20] {
            assert_eq!(denied(&denials, 1, seconds), 0);
        }
        assert_eq!(denied(&denials, 1, 20), 280);
        assert_eq!(denied(&denials, 2, 20), 0, "another session");
        assert_eq!(denied(&denials, 1, 299), 1);
        assert_eq!(denied(&denials, 1, 300), 0);
        assert_eq!(denied(&denials, 1, 301), 9);
    }

    #[test]
    fn change_that_is_not_denied_or_is_given_up_does_not_count() {
        let denials = Denials::new(Some(LIMIT));
        for n in 0..100 {
            drop(denials.reserve(tried(1, 1), at(n)).ok().unwrap());
        }
        assert!(lock(&denials.users).is_empty());
        let under_way: Vec<_> = (0..3)
            .map(|_| denials.reserve(tried(1, 1), at(0)).ok().unwrap())
            .collect();
        assert_eq!(denied(&denials, 1, 0), 300, "all places are taken");
        drop(under_way);
        assert_eq!(denied(&denials, 1, 0), 0);
    }

    #[test]
    fn sessions_of_one_user_share_five_times_as_many() {
        let denials = Denials::new(Some(LIMIT));
        for n in 0..15 {
            assert_eq!(denied(&denials, n / 2 + 1, n), 0, "{n}");
        }
        assert_eq!(denied(&denials, 100, 15), 285);
        let other = denials.reserve(tried(2, 200), at(15));
        assert!(other.is_ok(), "another user");
        let [counted] = &denials.take(at(15), Which::All)[..] else {
            panic!("one record")
        };
        assert_eq!((counted.session_id, counted.attempts), (None, 1));
    }

    #[test]
    fn refused_changes_are_one_record_when_their_time_is_over() {
        let denials = Denials::new(Some(LIMIT));
        for n in 0..1_003 {
            denied(&denials, 1, n / 100);
        }
        assert!(denials.take(at(299), Which::Due).is_empty());
        let [counted] = &denials.take(at(300), Which::Due)[..] else {
            panic!("one record")
        };
        assert_eq!(counted.attempts, 1_000);
        assert_eq!(counted.session_id, SessionId::from_stored(1));
        assert_eq!(counted.at, at(10));
        assert!(denials.take(at(300), Which::All).is_empty());
        assert!(lock(&denials.users).is_empty(), "nothing is remembered");
    }

    #[test]
    fn clock_that_goes_back_prolongs_nothing() {
        let denials = Denials::new(Some(LIMIT));
        for _ in 0..4 {
            denied(&denials, 1, 1_000_000);
        }
        assert_eq!(denials.take(at(0), Which::Due).len(), 1);
        assert_eq!(denied(&denials, 1, 0), 300);
        assert_eq!(denied(&denials, 1, 300), 0);
    }

    #[test]
    fn without_a_limit_nothing_is_refused_or_remembered() {
        let denials = Denials::new(None);
        for _ in 0..1_000 {
            assert_eq!(denied(&denials, 1, 0), 0);
        }
        assert!(lock(&denials.users).is_empty());
    }
}
