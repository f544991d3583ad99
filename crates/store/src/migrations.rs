//! The changes of the tables from one version of this program to the next.

use std::collections::BTreeSet;

use diesel::backend::Backend as Dialect;
use diesel::migration::{self, Migration, MigrationSource as _};
use diesel_migrations::EmbeddedMigrations;

use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::url::Target;
use crate::{Backend, DatabaseUrl, OpenError, Options, Store};

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

impl MigrationState {
    /// Where a database stands on which the changes with these numbers were made.
    pub(crate) fn of<DB: Dialect>(
        migrations: &EmbeddedMigrations,
        made: &BTreeSet<String>,
    ) -> migration::Result<Self> {
        let known: Vec<Box<dyn Migration<DB>>> = migrations.migrations()?;
        let mut known: Vec<(String, String)> = known
            .iter()
            .map(|migration| {
                let name = migration.name();
                (name.version().to_string(), name.to_string())
            })
            .collect();
        known.sort();
        let unknown = made
            .iter()
            .filter(|number| !known.iter().any(|(version, _)| version == *number));
        let unknown = unknown.cloned().collect();
        let (applied, pending): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|(version, _)| made.contains(version));
        let names = |known: Vec<(String, String)>| known.into_iter().map(|(_, name)| name);
        Ok(Self {
            applied: names(applied).collect(),
            pending: names(pending).collect(),
            unknown,
        })
    }
}

/// The name of the last migration that this program knows.
pub(crate) fn newest<DB: Dialect>(migrations: &EmbeddedMigrations) -> Option<String> {
    let known = MigrationState::of::<DB>(migrations, &BTreeSet::new());
    known.ok()?.pending.pop()
}

/// The numbers of all migrations that this program knows.
fn numbers<DB: Dialect>(migrations: &EmbeddedMigrations) -> Vec<String> {
    let known: migration::Result<Vec<Box<dyn Migration<DB>>>> = migrations.migrations();
    let known = known.unwrap_or_default();
    let numbers = known
        .iter()
        .map(|migration| migration.name().version().to_string());
    numbers.collect()
}

impl Store {
    pub(crate) fn known_migrations(&self) -> Vec<String> {
        match &self.backend {
            Backend::Sqlite(_) => numbers::<crate::sqlite::Db>(&crate::sqlite::MIGRATIONS),
            Backend::Postgres(_) => numbers::<crate::postgres::Db>(&crate::postgres::MIGRATIONS),
        }
    }

    /// The name of the last migration that the tables have. An open database is up to date, so it is the
    /// last one that this program knows.
    pub fn newest_migration(&self) -> Option<String> {
        match &self.backend {
            Backend::Sqlite(_) => newest::<crate::sqlite::Db>(&crate::sqlite::MIGRATIONS),
            Backend::Postgres(_) => newest::<crate::postgres::Db>(&crate::postgres::MIGRATIONS),
        }
    }

    /// Which changes a database has and lacks. Changes nothing; a file that does not exist lacks all.
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

    /// Brings the tables of a database up to date; which changes that took. Several processes may do
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
