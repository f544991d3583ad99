//! The changes of the tables from one version of this program to the next.

use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::url::Target;
use crate::{DatabaseUrl, OpenError, Options, Store};

/// Which changes a database has, by name, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// Those that were made.
    pub applied: Vec<String>,
    /// Those that this program knows and that were not made.
    pub pending: Vec<String>,
    /// Numbers of those that were made and that this program does not know: it is too old.
    pub unknown: Vec<String>,
}

impl Store {
    /// Which changes a database has and lacks.  Changes nothing; a file that does not exist lacks all.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrations(
        url: &DatabaseUrl,
        options: &Options,
    ) -> Result<MigrationState, OpenError> {
        match url.target() {
            Target::Sqlite(path) => Sqlite::migrations(path.clone()).await,
            Target::Postgres(url) => Postgres::migrations(url, options).await,
        }
    }

    /// Brings the tables of a database up to date; which changes that took.  Several processes may do
    /// so at once: they take turns, and all but the first find it done.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn migrate(url: &DatabaseUrl, options: &Options) -> Result<Vec<String>, OpenError> {
        match url.target() {
            Target::Sqlite(path) => {
                let before = Sqlite::migrations(path.clone()).await?;
                // Opening does it.
                Self::open(url, options.clone()).await?.close().await;
                Ok(before.pending)
            }
            Target::Postgres(url) => Postgres::migrate(url, options).await,
        }
    }
}
