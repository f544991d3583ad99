//! Deleting rows that have served their purpose, in small steps while changes run.

use chrono::{DateTime, Utc};

use crate::dispatch::dispatch;
use crate::{Store, StoreError};

/// Rows that can be deleted after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prunable {
    /// Sessions that expired or were revoked.
    Sessions,
    /// Devices that were not confirmed in time.
    Enrollments,
    /// Messages in the outbox that were delivered, or are dead letters.
    Messages,
    /// Audit records, except the newest one. They are deleted from the first one on and without a gap: a process that
    /// looks for the records that it acknowledged takes those before the first one for deleted, and others for lost.
    Audit,
}

impl Prunable {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Sessions,
        Self::Enrollments,
        Self::Messages,
        Self::Audit,
    ];
}

/// One step of [`Store::prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows were deleted.
    pub deleted: usize,
    /// Where to go on; `None` if all rows were looked at.
    pub next: Option<i64>,
}

/// Rows to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// The key of the last one that may be deleted.
    pub(crate) last: i64,
    /// After which one the next page begins.
    pub(crate) next: Option<i64>,
}

impl Store {
    /// Looks at `count` rows after the one with the number `after`, and deletes those that ended before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune(
        &self,
        what: Prunable,
        before: DateTime<Utc>,
        after: i64,
        count: u32,
    ) -> Result<Pruned, StoreError> {
        // Read first: looking for rows needs no lock.
        let page = dispatch!(self.read(retention::find_page(what, before, after, count)))?;
        let Some(page) = page else {
            return Ok(Pruned {
                deleted: 0,
                next: None,
            });
        };
        let deleted = dispatch!(self.write(retention::delete(what, before, after, page.last)))?;
        Ok(Pruned {
            deleted,
            next: page.next,
        })
    }
}
