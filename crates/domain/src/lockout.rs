//! What failures in a row lead to.
//!
//! NIST SP 800-63B-4 §3.2.2 asks for at most 100 of them for each authenticator; the locks before
//! that slow an attacker down and give the owner time (OWASP ASVS 6.3.1).

use chrono::{DateTime, TimeDelta, Utc};

/// What failures in a row lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// After how many failures a lock begins, and after how many more the next one.
    pub failures_per_lock: u32,
    /// How long the first lock lasts; each later one lasts twice as long as the one before.
    pub first_lock: TimeDelta,
    /// How long a lock lasts at most.
    pub longest_lock: TimeDelta,
    /// After how many failures the factor that was tried is locked until somebody unlocks it.
    pub factor_lock_after: u32,
}

impl Default for LockoutPolicy {
    /// Five failures lock for 15 minutes, doubling up to an hour; a hundred lock the factor.
    fn default() -> Self {
        Self {
            failures_per_lock: 5,
            first_lock: TimeDelta::minutes(15),
            longest_lock: TimeDelta::hours(1),
            factor_lock_after: 100,
        }
    }
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequence {
    /// From now until then no code of the user is looked at; `None` if this failure begins no
    /// lock.
    pub locked_until: Option<DateTime<Utc>>,
    /// Whether the factor that was tried is locked until somebody unlocks it.
    pub factor_locked: bool,
}

impl LockoutPolicy {
    /// What the last of `failures` in a row leads to at `now`.
    pub fn after_failure(self, failures: i64, now: DateTime<Utc>) -> Consequence {
        let per_lock = i64::from(self.failures_per_lock.max(1));
        let begins_lock = failures > 0 && failures % per_lock == 0;
        Consequence {
            locked_until: begins_lock.then(|| now + self.lock(failures / per_lock)),
            factor_locked: failures >= i64::from(self.factor_lock_after),
        }
    }

    /// How long the `count`th lock in a row lasts.
    fn lock(self, count: i64) -> TimeDelta {
        // Beyond 30 doublings every first lock is longer than any longest one.
        let doublings = u32::try_from(count - 1).unwrap_or(u32::MAX).min(30);
        let doubled = self.first_lock.checked_mul(1 << doublings);
        doubled.map_or(self.longest_lock, |lock| lock.min(self.longest_lock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_after(failures: i64) -> Option<i64> {
        let now = DateTime::UNIX_EPOCH;
        let consequence = LockoutPolicy::default().after_failure(failures, now);
        consequence
            .locked_until
            .map(|until| (until - now).num_minutes())
    }

    #[test]
    fn every_fifth_failure_locks_for_twice_as_long_up_to_an_hour() {
        for failures in [1, 2, 3, 4, 6, 9, 11, 99] {
            assert_eq!(lock_after(failures), None, "{failures}");
        }
        let locks = [5, 10, 15, 20, 100, 1_000, i64::MAX - i64::MAX % 5].map(lock_after);
        let expected = [15, 30, 60, 60, 60, 60, 60].map(Some);
        assert_eq!(locks, expected);
    }

    #[test]
    fn hundredth_failure_and_every_later_one_locks_the_factor() {
        let policy = LockoutPolicy::default();
        for (failures, locked) in [(1, false), (99, false), (100, true), (101, true)] {
            let consequence = policy.after_failure(failures, DateTime::UNIX_EPOCH);
            assert_eq!(consequence.factor_locked, locked, "{failures}");
        }
    }

    #[test]
    fn first_lock_that_is_longer_than_the_longest_is_cut() {
        let policy = LockoutPolicy {
            first_lock: TimeDelta::hours(3),
            ..LockoutPolicy::default()
        };
        let consequence = policy.after_failure(5, DateTime::UNIX_EPOCH);
        let hour = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        assert_eq!(consequence.locked_until, Some(hour));
    }
}
