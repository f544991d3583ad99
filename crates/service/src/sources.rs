//! Where time and random bytes come from.
//!
//! The only place that reads the clock. Everything else takes the time and the random bytes as
//! arguments, so that tests choose them.

use std::sync::Arc;

use arklow_domain::{Random, SystemRandom};
use chrono::{DateTime, Utc};

/// Tells the time.
pub(crate) trait Clock: Send + Sync {
    /// The current time. An operation reads it once, so that all its rules use the same time.
    fn now(&self) -> DateTime<Utc>;
}

/// Where time and random bytes come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Sources {
    /// The clock and the generator of the operating system.
    pub(crate) fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::new()),
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the clock that is to be used instead"
    )]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
