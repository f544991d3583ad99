//! How often something may happen.

use chrono::TimeDelta;

/// How often something may happen: in no stretch of `per`, wherever it begins, more than `count`
/// times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many times; zero counts as one.
    pub count: u32,
    /// In how long a time.
    pub per: TimeDelta,
}
