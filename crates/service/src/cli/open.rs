//! Opens the database and the keys that the flags of a command name, after checking them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arklow_domain::{Keyring, UserId};
use arklow_store::{AuditOrigin, DatabaseUrl, OpenError, Options, Store};
use chrono::TimeDelta;
use tracing::warn;

use crate::cli::args::{ActorArgs, KeysArgs, Switch, UserRef};
use crate::cli::error::{CliError, DatabaseFlag};
use crate::cli::output;
use crate::http::server::ServerError;
use crate::keys::{KeysError, Making};
use crate::log::ServedDatabase;
use crate::sources::Sources;

/// Opens the database.
pub(crate) async fn open(url: &DatabaseUrl, options: Options) -> Result<Store, CliError> {
    Store::open(url, options).await.map_err(unopened(url))
}

/// The database as the log names it.
pub(super) fn served(url: &DatabaseUrl, store: &Store) -> ServedDatabase {
    ServedDatabase {
        url: Some(url.to_string()),
        migration: store.newest_migration(),
    }
}

/// The error for a database that does not open.
pub(crate) fn unopened(url: &DatabaseUrl) -> impl FnOnce(OpenError) -> CliError {
    unopened_by(DatabaseFlag::DatabaseUrl, url)
}

/// As [`unopened`], for a database that another flag names.
fn unopened_by(flag: DatabaseFlag, url: &DatabaseUrl) -> impl FnOnce(OpenError) -> CliError {
    move |cause| CliError::Open {
        flag,
        url: url.clone(),
        cause,
    }
}

/// Opens a database that must be there and up to date: only `serve` and `migrate up` make and migrate one.
pub(super) async fn open_existing(url: &DatabaseUrl) -> Result<Store, CliError> {
    open_existing_by(DatabaseFlag::DatabaseUrl, url).await
}

/// As [`open_existing`], for a database that another flag names.
pub(super) async fn open_existing_by(
    flag: DatabaseFlag,
    url: &DatabaseUrl,
) -> Result<Store, CliError> {
    let opened = Store::open(url, Options::for_commands()).await;
    opened.map_err(unopened_by(flag, url))
}

/// The id of a user who is named by id or e-mail address.
pub(super) async fn resolve_user(store: &Store, user: &UserRef) -> Result<UserId, CliError> {
    match user {
        UserRef::Id(id) => Ok(*id),
        UserRef::Email(email) => {
            let found = store.user_id_of(email.clone()).await?;
            found.ok_or_else(|| CliError::NoSuchEmail(email.clone()))
        }
    }
}

/// The path of the key file that the flags name, or its default.
pub(crate) fn key_path(database: &DatabaseUrl, args: &KeysArgs) -> Result<PathBuf, CliError> {
    Ok(match &args.keys {
        Some(path) => path.clone(),
        None => crate::keys::default_path(database)?,
    })
}

/// The keys that the flags name. The file must be there: only `serve` and `keys generate` make one.
pub(super) async fn existing_keys(
    store: &Store,
    database: &DatabaseUrl,
    args: &KeysArgs,
    sources: &Sources,
) -> Result<Keyring, CliError> {
    let path = key_path(database, args)?;
    let opened = crate::keys::open(store, &path, Making::ByHand, sources).await?;
    Ok(opened.keyring)
}

/// How often, and how long apart, a file without tables is polled: another server may be creating it.
pub(super) const POLLS: u32 = 10;
pub(super) const POLL_EVERY: Duration = Duration::from_millis(100);

/// Fails if the SQLite file has no tables though a key file was made for it: a copy without its WAL looks so.
/// A file that does not exist is refused only if the keys are those of a database that has users.
pub(crate) async fn check_tables(url: &DatabaseUrl, keys: &Path) -> Result<(), CliError> {
    let Some(file) = url.sqlite_path() else {
        return Ok(());
    };
    for _ in 0..POLLS {
        if !keys.exists() {
            return Ok(());
        }
        if !file.exists() {
            return match crate::keys::is_used(keys) {
                true => Err(KeysError::Emptied(keys.to_owned()).into()),
                false => Ok(()),
            };
        }
        let state = Store::migrations(url, &Options::default()).await;
        let state = state.map_err(unopened(url))?;
        if !(state.applied.is_empty() && state.unknown.is_empty()) {
            return Ok(());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
    Err(CliError::NoTables {
        url: url.clone(),
        keys: keys.to_owned(),
    })
}

/// The keys that the flags name, and the path of their file. Prints a note if it created the file.
pub(crate) async fn open_keys(
    store: &Store,
    database: &DatabaseUrl,
    args: &KeysArgs,
    sources: &Sources,
) -> Result<(Keyring, PathBuf), CliError> {
    let path = key_path(database, args)?;
    let making = Making::of(database);
    let opened = crate::keys::open(store, &path, making, sources).await?;
    if opened.created {
        let path = path.display();
        output::note(&format!(
            "created the key file `{path}`: keep a copy of it, apart from the database; without \
             it no backup code and no device works"
        ));
    }
    Ok((opened.keyring, path))
}

/// Who runs the command, as the audit records it.
pub(crate) fn operator(actor: &ActorArgs) -> AuditOrigin {
    AuditOrigin::operator(crate::cli::operator::describe(actor.actor.as_deref()))
}

/// How far the clock may be behind the newest record: servers of one database differ a little.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Refuses a clock that is far behind the audit: with it used codes and ended step-ups could count
/// again.
pub(crate) async fn check_clock(
    store: &Store,
    sources: &Sources,
    check: Switch,
) -> Result<(), CliError> {
    let now = sources.clock.now();
    let Some(newest) = store.newest_record().await? else {
        return Ok(());
    };
    if newest - now <= CLOCK_TOLERANCE {
        return Ok(());
    }
    match check {
        Switch::On => Err(CliError::ClockBehind { now, newest }),
        Switch::Off => {
            warn!("the clock is behind the newest record of the audit, of {newest}");
            Ok(())
        }
    }
}

/// Runs `work`, then closes the store, also after an error.
pub(crate) async fn closing<T>(
    store: &Store,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let outcome = work.await;
    // A second signal stops at once: closing would wait for writes.
    if !matches!(outcome, Err(CliError::Server(ServerError::Interrupted))) {
        store.close().await;
    }
    outcome
}
