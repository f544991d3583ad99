//! The keys of a running server, which change when the key file does.

use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arklow_domain::Keyring;
use arklow_store::Store;
use tracing::{debug, error, info};

use super::error::KeysError;
use super::file::peek;
use super::open::{mark_used, reopen};
use crate::log::chain;
use crate::sources::Clock;
use crate::stamp::{Stamp, stamp};

/// How often a server checks whether the key file has changed.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(1);

/// The keys that a server works with, which change while it runs when they are rotated.
pub(crate) struct Keys {
    current: RwLock<Arc<Keyring>>,
    file: PathBuf,
    /// The file as it was when [`Keys::watch`] last read it.
    stamp: Mutex<Option<Stamp>>,
    /// The file that was read, locked: as long as it is, a rotation waits.
    held: Mutex<Option<File>>,
    clock: Arc<dyn Clock>,
}

impl Keys {
    /// The keys that were read from `file`.
    pub(crate) fn new(keyring: Keyring, file: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            current: RwLock::new(Arc::new(keyring)),
            // Not of the file as it is now: it may have changed since it was read.
            stamp: Mutex::new(None),
            held: Mutex::new(None),
            file,
            clock,
        }
    }

    /// The keys as they are now. A question to the store keeps those it began with.
    pub(crate) fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the key file can be read.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn check(&self) -> Result<(), KeysError> {
        // Other keys than those in use are no fault: a rotation has just replaced the file.
        match peek(&self.file)? {
            Some(_) => Ok(()),
            None => Err(KeysError::Unmade(self.file.clone())),
        }
    }

    /// Reads the file again, for something that did not work with the keys `used`. Whether there
    /// are others now; a file that cannot be used is logged, and the former keys stay.
    pub(crate) async fn reload(&self, store: &Store, used: &Keyring) -> bool {
        match self.try_reload(store).await {
            // Another task may have reloaded it already.
            Ok(()) => !is_same(&self.current(), used),
            Err(error) => {
                error!(
                    error = chain(&error),
                    "the key file cannot be used; the former keys stay"
                );
                false
            }
        }
    }

    /// Does something with the file on a thread that may wait for it: on a network file system it can hang. Returns the
    /// default if that panics.
    async fn at<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> T {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.unwrap_or_default()
    }

    async fn try_reload(&self, store: &Store) -> Result<(), KeysError> {
        // Before it is read. If it changes meanwhile, the former one is held until it is read again.
        let (held, stamp) = self.at(|file| (hold(file), stamp(file))).await;
        let keyring = reopen(store, &self.file, self.clock.now()).await?;
        *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        if !is_same(&self.current(), &keyring) {
            info!(key.active = %keyring.active(), "the key file has changed and is in use");
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
        }
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    /// Reads the file again whenever it has changed, for ever.
    pub(crate) async fn watch(&self, store: &Store) -> Infallible {
        let mut looks = tokio::time::interval(POLL_EVERY);
        let mut is_marked = false;
        loop {
            looks.tick().await;
            if !is_marked {
                is_marked = mark_used(store, &self.file, &self.current()).await;
            }
            let seen = *self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
            let found = self.at(stamp).await;
            if found != seen {
                match self.try_reload(store).await {
                    Ok(()) => {}
                    // The database is away, of which requests tell. The file is read again at the next look.
                    Err(KeysError::Store(error)) => {
                        debug!(%error, "cannot compare the key file with the database");
                        continue;
                    }
                    Err(error) => error!(
                        error = chain(&error),
                        "the key file cannot be used; the former keys stay"
                    ),
                }
                // Once for each change, also if the file cannot be used.
                *self.stamp.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
        }
    }
}

/// The file with a shared lock; `None` on a file system without locks.
fn hold(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock_shared().is_ok().then_some(file)
}

/// Whether both hold the same keys, and use the same one.
pub(crate) fn is_same(one: &Keyring, other: &Keyring) -> bool {
    one.active() == other.active() && one.ids().eq(other.ids())
}
