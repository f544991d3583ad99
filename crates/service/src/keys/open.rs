//! Opening the keys of a database: reads or creates the file, and compares it with the database's
//! key list.

use std::io::ErrorKind;
use std::path::Path;

use arklow_domain::{KeyId, Keyring};
use arklow_store::{DatabaseUrl, RecordKey, Store};
use chrono::{DateTime, Utc};
use tracing::info;

use super::error::KeysError;
use super::file::read;
use super::lock::{Exclusive, write_new};
use crate::log::chain;
use crate::sources::Sources;

/// The keys of a database.
pub(crate) struct Opened {
    pub(crate) keyring: Keyring,
    /// Whether the file was made just now.
    pub(crate) created: bool,
}

/// Who makes a key file for a database that never had keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Making {
    /// This program, because the database is a local file.
    OnDemand,
    /// An operator: other machines need the same file.
    ByHand,
}

impl Making {
    pub(crate) fn of(database: &DatabaseUrl) -> Self {
        match database.sqlite_path() {
            Some(_) => Self::OnDemand,
            None => Self::ByHand,
        }
    }
}

/// Makes a new key file with one key, which is not on record anywhere yet.
pub(crate) fn generate(path: &Path, sources: &Sources) -> Result<KeyId, KeysError> {
    let keyring = Keyring::generate(sources.random.as_ref())?;
    write_new(path, &keyring).map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => KeysError::Exists(path.to_owned()),
        _ => KeysError::NotCreated {
            path: path.to_owned(),
            cause,
        },
    })?;
    Ok(keyring.active())
}

/// The keys in `path`, which is made if the database never had any and `making` says so, and their
/// active one on record in the database.
pub(crate) async fn open(
    store: &Store,
    path: &Path,
    making: Making,
    sources: &Sources,
) -> Result<Opened, KeysError> {
    let recorded = store.recorded_keys().await?;
    let opened = match (read(path)?, recorded.first()) {
        (Some(keyring), _) => Opened {
            keyring,
            created: false,
        },
        (None, None) if making == Making::ByHand => {
            return Err(KeysError::Unmade(path.to_owned()));
        }
        (None, None) => create(path, Keyring::generate(sources.random.as_ref())?)?,
        (None, Some(&(key, _))) => {
            let path = path.to_owned();
            return Err(KeysError::Missing { path, key });
        }
    };

    refuse_emptied(store, path, &opened.keyring).await?;
    check(store, path, &opened.keyring, sources.clock.now()).await?;
    mark_used(store, path, &opened.keyring).await;
    Ok(opened)
}

/// Fails if the database has neither users nor audit records, and `path` is a key file of one that has.
pub(crate) async fn check_not_emptied(store: &Store, path: &Path) -> Result<(), KeysError> {
    match read(path)? {
        Some(keyring) => refuse_emptied(store, path, &keyring).await,
        None => Ok(()),
    }
}

async fn refuse_emptied(store: &Store, path: &Path, keyring: &Keyring) -> Result<(), KeysError> {
    if keyring.is_used() && store.is_empty().await? {
        return Err(KeysError::Emptied(path.to_owned()));
    }
    Ok(())
}

/// Whether `path` is a key file that is marked as one of a database that has users.
pub(crate) fn is_used(path: &Path) -> bool {
    matches!(read(path), Ok(Some(keyring)) if keyring.is_used())
}

/// Marks the key file once the database has users or audit records. Whether there is nothing left to try.
pub(super) async fn mark_used(store: &Store, path: &Path, keyring: &Keyring) -> bool {
    if keyring.is_used() {
        return true;
    }
    if !matches!(store.is_empty().await, Ok(false)) {
        return false;
    }
    let file = path.to_owned();
    let marked = tokio::task::spawn_blocking(move || {
        let Some(keyring) = read(&file)? else {
            return Ok(());
        };
        let mut exclusive = Exclusive::lock(&file, &keyring)?;
        match read(&file)? {
            Some(keyring) if !keyring.is_used() => exclusive.replace(&keyring.used()),
            _ => Ok(()),
        }
    });
    match marked.await.unwrap_or(Ok(())) {
        Ok(()) => true,
        Err(KeysError::Locked(_)) => false,
        Err(error) => {
            info!(
                error = chain(&error),
                "the key file cannot be marked as used; a database that lost its rows will not be noticed"
            );
            true
        }
    }
}

/// The keys in `path`, which a server has read before.
pub(super) async fn reopen(
    store: &Store,
    path: &Path,
    now: DateTime<Utc>,
) -> Result<Keyring, KeysError> {
    let file = path.to_owned();
    let keyring = tokio::task::spawn_blocking(move || read(&file))
        .await
        .unwrap_or(Ok(None))?;
    let keyring = keyring.ok_or_else(|| KeysError::Unreadable {
        path: path.to_owned(),
        cause: ErrorKind::NotFound.into(),
    })?;
    check(store, path, &keyring, now).await?;
    Ok(keyring)
}

/// Whether the keys are those that the database was written with; the active one is on record
/// then.
async fn check(
    store: &Store,
    path: &Path,
    keyring: &Keyring,
    now: DateTime<Utc>,
) -> Result<(), KeysError> {
    for (key, check) in store.recorded_keys().await? {
        let path = || path.to_owned();
        match keyring.get(&key) {
            None => return Err(KeysError::Lacking { path: path(), key }),
            Some(held) if held.check() != check => {
                return Err(KeysError::Different { path: path(), key });
            }
            Some(_) => {}
        }
    }
    let key = keyring.active();
    let root = keyring.get(&key).expect("a ring holds its active key");
    match store.record_key(key, root.check(), now).await? {
        RecordKey::Recorded | RecordKey::AlreadyRecorded => Ok(()),
        RecordKey::Retired => Err(KeysError::Retired {
            path: path.to_owned(),
            key,
        }),
        RecordKey::Contradicted => Err(KeysError::Different {
            path: path.to_owned(),
            key,
        }),
    }
}

/// Makes the file, whole and on the disk or not at all. If another process made one meanwhile,
/// that one counts.
pub(super) fn create(path: &Path, keyring: Keyring) -> Result<Opened, KeysError> {
    match write_new(path, &keyring) {
        Ok(()) => Ok(Opened {
            keyring,
            created: true,
        }),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => match read(path)? {
            Some(keyring) => Ok(Opened {
                keyring,
                created: false,
            }),
            None => Err(KeysError::NotCreated {
                path: path.to_owned(),
                cause,
            }),
        },
        Err(cause) => Err(KeysError::NotCreated {
            path: path.to_owned(),
            cause,
        }),
    }
}
