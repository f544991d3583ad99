//! Deletes rows that have served their purpose, in small steps while the server runs.

use std::convert::Infallible;
use std::time::Duration;

use arklow_store::{Prunable, Store, StoreError};
use chrono::TimeDelta;
use tracing::{info, warn};

use crate::log::chain;
use crate::sources::Clock;

/// How many rows a step looks at: few, for changes wait while it runs.
const STEP: u32 = 500;
/// The pause after each step, in which changes run.
const PAUSE: Duration = Duration::from_millis(50);
/// How often all rows are looked through.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// How long rows are kept after their end; `None` forever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    pub(crate) sessions: Option<TimeDelta>,
    pub(crate) enrollments: Option<TimeDelta>,
    pub(crate) messages: Option<TimeDelta>,
    pub(crate) audit: Option<TimeDelta>,
}

impl Retention {
    fn of(self, what: Prunable) -> Option<TimeDelta> {
        match what {
            Prunable::Sessions => self.sessions,
            Prunable::Enrollments => self.enrollments,
            Prunable::Messages => self.messages,
            Prunable::Audit => self.audit,
        }
    }

    /// Looks through all tables at the start and then every hour. Several servers may do so at once: what one has deleted,
    /// the others do not find.
    pub(crate) async fn watch(self, store: &Store, clock: &dyn Clock) -> Infallible {
        let mut rounds = tokio::time::interval(EVERY);
        loop {
            rounds.tick().await;
            for what in Prunable::ALL {
                let Some(kept) = self.of(what) else { continue };
                match prune(store, what, kept, clock).await {
                    Ok(0) => {}
                    Ok(deleted) => info!(
                        ?what,
                        deleted, "deleted {deleted} rows after their retention"
                    ),
                    // The next round tries again.
                    Err(error) => warn!(?what, error = chain(&error), "cannot delete old rows"),
                }
            }
        }
    }
}

async fn prune(
    store: &Store,
    what: Prunable,
    kept: TimeDelta,
    clock: &dyn Clock,
) -> Result<usize, StoreError> {
    let before = clock.now() - kept;
    let (mut deleted, mut after) = (0, 0);
    loop {
        let pruned = store.prune(what, before, after, STEP).await?;
        deleted += pruned.deleted;
        let Some(next) = pruned.next else {
            return Ok(deleted);
        };
        after = next;
        tokio::time::sleep(PAUSE).await;
    }
}
