//! How often something may happen.

use chrono::TimeDelta;

/// A rate limit: at most `count` times within any period of length `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many times; zero counts as one.
    pub count: u32,
    /// In how long a time.
    pub per: TimeDelta,
}
