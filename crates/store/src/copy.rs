//! Moving a deployment from SQLite to PostgreSQL: every row, in one transaction on either side.
//!
//! The copy blocks writes to the source, and the target gets all rows or none: an interrupted copy
//! has no effect and can be run again. It is committed only after every table was
//! read back and has as many rows, with the same digest, as the source.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::tables::CopiedTable;
use crate::{Backend, Store, StoreError};

/// How many batches may wait between reader and writer.
const QUEUE: usize = 4;

/// What [`Store::copy_to`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The tables.
    pub tables: Vec<CopiedTable>,
    /// Whether all of it was there before, so that nothing was written.
    pub was_there: bool,
}

/// How far a copy is, in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// How many rows were written or compared, and then read back.
    pub done: u64,
    /// How many that will be in the end.
    pub total: u64,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Another direction than from SQLite to PostgreSQL.
    #[error("a copy goes from SQLite to PostgreSQL")]
    Direction,
    /// The target has rows, and they are not those of the source.
    #[error("the target has rows that are not those of the source, the first in table `{table}`")]
    NotEmpty {
        /// The first table that differs.
        table: &'static str,
    },
    /// What was read back is not what was written.
    #[error("table `{table}` reads back other than it was written")]
    Differs {
        /// The first table that differs.
        table: &'static str,
    },
    /// The source failed.
    #[error("the source cannot be read")]
    Source(#[source] StoreError),
    /// The target failed.
    #[error("the target cannot be written")]
    Target(#[source] StoreError),
}

impl Store {
    /// Copies every row to a store with empty tables, or confirms that all rows are there. Writers to
    /// this store wait until the end, or fail with [`StoreError::Busy`].
    ///
    /// # Errors
    /// [`CopyError`]; nothing was copied then.
    pub async fn copy_to(
        &self,
        target: &Self,
        progress: Arc<dyn Fn(CopyProgress) + Send + Sync>,
    ) -> Result<Copied, CopyError> {
        let (Backend::Sqlite(source), Backend::Postgres(target)) = (&self.backend, &target.backend)
        else {
            return Err(CopyError::Direction);
        };
        let (batches, incoming) = mpsc::channel(QUEUE);
        let (ended, end) = oneshot::channel::<()>();
        let reading = source.write(move |conn| {
            crate::sqlite::copy::send(conn, &batches)?;
            drop(batches);
            // Until all is said and done over there, for what is written now would be lost.
            drop(end.blocking_recv());
            Ok(())
        });
        let writing = async {
            let written = target.copy_in(incoming, progress).await;
            drop(ended);
            written
        };
        let (read, written) = tokio::join!(reading, writing);
        // What stopped the reader has stopped the writer, too.
        read.map_err(CopyError::Source)?;
        written
    }
}
