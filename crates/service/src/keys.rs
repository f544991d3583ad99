//! The key file: found, read, created for a new database, and compared with the database's key list.
//!
//! The database keeps the id and a check value of every key it was written with. A key file that
//! lacks one of them is refused: with a fresh one all would seem well, and every code and seed
//! would be dead.
//!
//! Two locks guard a key file. A command that writes it holds a lock file next to it. A server
//! holds a shared lock on the file that it has read, so that a rotation can wait until every server
//! has read the new one.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arklow_domain::{KeyFileError, KeyId, Keyring, NoEntropy};
use arklow_store::{DatabaseUrl, RecordKey, Store, StoreError};
use chrono::{DateTime, Utc};
use tracing::{debug, error, info, warn};
use xattr::FileExt as _;
use zeroize::Zeroizing;

use crate::log::chain;
use crate::sources::{Clock, Sources};

/// The largest key file; it has 86 bytes for each key.
const MAX_BYTES: usize = 64 * 1024;
/// Only its owner may read and write the file.
const MODE: u32 = 0o600;
/// What its group and all others may do.
const SHARED: u32 = 0o077;

/// How often a server checks whether the key file has changed.
pub(crate) const POLL_EVERY: Duration = Duration::from_secs(1);

/// What the file that becomes the new key file has behind the name of the old one. A fixed name:
/// the next command finds and removes what a crash has left.
const NEW: &str = ".new";
/// What the lock file has behind the name of the key file.
const LOCK: &str = ".lock";
/// How the temporary files of earlier versions began, and how long their names were.
const FORMER_NEW: (&str, usize) = (".tmp", 10);
/// How long creating a key file waits for another process that is creating it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

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

/// What changes when a file is replaced or written.
type Stamp = (u64, u64, i64, i64);

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

    async fn try_reload(&self, store: &Store) -> Result<(), KeysError> {
        // Before it is read. If it changes meanwhile, the former one is held until it is read again.
        let held = hold(&self.file);
        let stamp = stamp(&self.file);
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
            let found = stamp(&self.file);
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

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// The keys of a database.
pub(crate) struct Opened {
    pub(crate) keyring: Keyring,
    /// Whether the file was made just now.
    pub(crate) created: bool,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("this database is on a server, so nothing says where its key file lies")]
    NoDefault,
    #[error("there is no key file `{}`", .0.display())]
    Unmade(PathBuf),
    #[error("there is a file `{}` already", .0.display())]
    Exists(PathBuf),
    #[error(
        "there is no key file `{}`, and the database was written with key {key}",
        path.display()
    )]
    Missing { path: PathBuf, key: KeyId },
    #[error(
        "`{}` does not hold key {key}, with which the database was written",
        path.display()
    )]
    Lacking { path: PathBuf, key: KeyId },
    #[error(
        "`{}` holds another key under the id {key} than the one with which the database was \
         written",
        path.display()
    )]
    Different { path: PathBuf, key: KeyId },
    #[error("the active key {key} in `{}` is retired", path.display())]
    Retired { path: PathBuf, key: KeyId },
    #[error("another command is changing `{}`", .0.display())]
    Locked(PathBuf),
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` is not a key file", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        cause: KeyFileError,
    },
    #[error("`{}` is not a key file: it is not text", .0.display())]
    NotText(PathBuf),
    #[error("cannot create `{}`", path.display())]
    NotCreated {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error(
        "the database is empty, and `{}` holds the keys of one that has users: it is probably a copy \
         that lacks its `-wal` file, or another database",
        .0.display()
    )]
    Emptied(PathBuf),
    #[error(
        "the symbolic link `{}` points to `{}`, which does not exist",
        path.display(),
        target.display()
    )]
    Dangling { path: PathBuf, target: PathBuf },
    #[error("`{}` is one of {names} hard links, and only one of them can be replaced", path.display())]
    Linked { path: PathBuf, names: u64 },
    #[error("cannot replace `{}` by a file with its owner, group, mode and attributes", path.display())]
    NotKept {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("`{}` was replaced by another process", .0.display())]
    Replaced(PathBuf),
    #[error(
        "a running server has not read the new key file in `{}`; nothing was re-sealed, and the \
         former keys are in the file",
        .0.display()
    )]
    NotRead(PathBuf),
    #[error("the database does not tell its keys")]
    Store(#[from] StoreError),
    #[error("no key could be drawn")]
    Entropy(#[from] NoEntropy),
}

impl KeysError {
    /// What to do next.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDefault => Some(
                "name the key file with --keys; `arklow keys generate --out FILE` makes one for a \
                 new database",
            ),
            Self::Unmade(_) => Some(
                "`arklow keys generate --out FILE` makes one for a new database; all servers of one \
                 database need the same file",
            ),
            Self::Exists(_) => Some("name another file: the keys in this one may be in use"),
            Self::Missing { .. } | Self::Lacking { .. } | Self::Different { .. } => Some(
                "name the right key file with --keys, or restore it from a copy; without its keys \
                 no backup code and no device in the database works",
            ),
            Self::Unreadable { .. } | Self::NotCreated { .. } => {
                Some("check the path and its permissions, or name another file with --keys")
            }
            Self::Dangling { .. } => {
                Some("mount or restore what the link points to, or name another file with --keys")
            }
            Self::Linked { .. } => Some(
                "give each server the same path or a symbolic link to it, and remove the other \
                 hard links",
            ),
            Self::NotKept { .. } => Some(
                "run this as the owner of the file or as root, so that the servers can still read \
                 it; nothing was changed",
            ),
            Self::Replaced(_) => {
                Some("wait until no other process writes the key file, and run this again")
            }
            Self::NotRead(_) => Some(
                "the log of the server says why it cannot read the file; mend that or stop the \
                 server, and run this again",
            ),
            Self::Malformed { .. } | Self::NotText(_) => {
                Some("name the right key file with --keys")
            }
            Self::Retired { .. } => {
                Some("this is an old copy of the key file: restore the newest one")
            }
            Self::Emptied(_) => Some(
                "restore a backup with `arklow restore FILE`; for a new service name another key file \
                 with --keys, or move this one away",
            ),
            Self::Locked(_) => Some("wait until the other `arklow keys` command has ended"),
            Self::Store(_) | Self::Entropy(_) => None,
        }
    }
}

/// The default path of the key file: next to the database.
pub(crate) fn default_path(database: &DatabaseUrl) -> Result<PathBuf, KeysError> {
    let database = database.sqlite_path().ok_or(KeysError::NoDefault)?;
    let mut path = OsString::from(database);
    path.push(".keys");
    Ok(path.into())
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
async fn mark_used(store: &Store, path: &Path, keyring: &Keyring) -> bool {
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
async fn reopen(store: &Store, path: &Path, now: DateTime<Utc>) -> Result<Keyring, KeysError> {
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

/// The keys in the file, or `None` if there is no file.
fn read(path: &Path) -> Result<Option<Keyring>, KeysError> {
    let unreadable = |cause| KeysError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match std::fs::read_link(path) {
                Ok(target) => Err(KeysError::Dangling {
                    path: path.to_owned(),
                    target,
                }),
                Err(_) => Ok(None),
            };
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();

    // Reserved at once: a string that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    match file.take(MAX_BYTES as u64).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(KeysError::NotText(path.to_owned()));
        }
        Err(error) => return Err(unreadable(error)),
    }
    let keyring = Keyring::parse(&text).map_err(|cause| KeysError::Malformed {
        path: path.to_owned(),
        cause,
    })?;
    warn_if_shared(path, mode & 0o777);
    Ok(Some(keyring))
}

fn warn_if_shared(path: &Path, mode: u32) {
    if mode & SHARED != 0 {
        let path = path.display();
        warn!(
            mode = format!("{mode:o}"),
            "the key file `{path}` is open to others than its owner: run `chmod 600 {path}`"
        );
    }
}

/// Makes the file, whole and on the disk or not at all. If another process made one meanwhile,
/// that one counts.
fn create(path: &Path, keyring: Keyring) -> Result<Opened, KeysError> {
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

fn write_new(path: &Path, keyring: &Keyring) -> io::Result<()> {
    let _lock = LockFile::wait(path)?;
    remove_new(path)?;
    let file = write_beside(path, keyring)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    // The name is on the disk only when the directory is.
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The path with more behind its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(more);
    directory_of(path).join(name)
}

/// A file with these keys that can take the place of `path`; removed if it does not. Not synced.
fn write_beside(path: &Path, keyring: &Keyring) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(path.file_name().unwrap_or_default())
        .suffix(NEW)
        .rand_bytes(0)
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory_of(path))?;
    file.write_all(keyring.expose().as_bytes())?;
    Ok(file)
}

/// Removes what a crash left of a new key file: it holds all root keys.
fn remove_new(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(beside(path, NEW)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes temporary files that a crash left next to the key file, also of earlier versions: files with
/// such a name that hold a key of this ring.
fn remove_leftovers(path: &Path, keyring: &Keyring) -> io::Result<()> {
    remove_new(path)?;
    let (prefix, length) = FORMER_NEW;
    for entry in std::fs::read_dir(directory_of(path))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.len() != length
            || !name.as_encoded_bytes().starts_with(prefix.as_bytes())
            || !entry.file_type()?.is_file()
        {
            continue;
        }
        let file = entry.path();
        if let Ok(Some(found)) = read(&file)
            && found.ids().any(|id| keyring.get(&id).is_some())
        {
            std::fs::remove_file(&file)?;
        }
    }
    File::open(directory_of(path))?.sync_all()
}

/// As [`remove_leftovers`], for a command that does not write the file: not while another command
/// does, and what cannot be removed is logged.
pub(crate) fn tidy(path: &Path, keyring: &Keyring) {
    let removed = std::fs::canonicalize(path).and_then(|target| match LockFile::take(&target) {
        Ok(Some(_lock)) => remove_leftovers(&target, keyring),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    });
    if let Err(error) = removed
        && error.kind() != ErrorKind::PermissionDenied
    {
        let path = path.display();
        warn!(
            error = chain(&error),
            "cannot look for old temporary files of `{path}`"
        );
    }
}

/// The lock of a command that writes the key file: an empty, locked file next to it, removed at the
/// end. One that a crash left behind is not locked and is used again.
struct LockFile {
    path: PathBuf,
    /// The lock: it ends when the file is closed.
    _file: File,
}

impl LockFile {
    /// The lock for this key file; `None` if another process has it.
    fn take(keys: &Path) -> io::Result<Option<Self>> {
        let path = beside(keys, LOCK);
        let file = match OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path)
        {
            // `create_new` follows no link; neither does what is opened instead.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                match std::fs::symlink_metadata(&path) {
                    Ok(found) if !found.is_file() => return Err(error),
                    _ => {}
                }
                match OpenOptions::new().read(true).write(true).open(&path) {
                    // It was removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    opened => opened?,
                }
            }
            created => created?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The former owner may have removed it between the opening and the lock.
        let is_named = std::fs::symlink_metadata(&path)
            .is_ok_and(|named| file.metadata().is_ok_and(|file| is_one(&file, &named)));
        Ok(is_named.then_some(Self { path, _file: file }))
    }

    /// As [`LockFile::take`], and waits for it.
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for a lock of another process, with a bound, which `lock` does not have"
    )]
    fn wait(keys: &Path) -> io::Result<Self> {
        let started = std::time::Instant::now();
        loop {
            if let Some(lock) = Self::take(keys)? {
                return Ok(lock);
            }
            if started.elapsed() >= CREATE_TIMEOUT {
                return Err(ErrorKind::ResourceBusy.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While it is locked, so no other command can have it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether both are of the same file.
fn is_one(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A key file that no other command may change while this lives.
pub(crate) struct Exclusive {
    /// How servers name the file.
    path: PathBuf,
    /// The file itself, behind all symbolic links.
    target: PathBuf,
    /// The file, locked as servers lock it. Earlier versions write only files that are not locked.
    file: File,
    /// The file that `file` took the place of.
    former: Option<File>,
    _lock: LockFile,
}

impl Exclusive {
    /// Locks the file, which holds the keys of `keyring` or older ones, and removes temporary files that
    /// a crash left.
    pub(crate) fn lock(path: &Path, keyring: &Keyring) -> Result<Self, KeysError> {
        let unreadable = |cause| KeysError::Unreadable {
            path: path.to_owned(),
            cause,
        };
        let target = std::fs::canonicalize(path).map_err(unreadable)?;
        let not_created = |cause| KeysError::NotCreated {
            path: beside(&target, LOCK),
            cause,
        };
        let lock = LockFile::take(&target).map_err(not_created)?;
        let lock = lock.ok_or_else(|| KeysError::Locked(path.to_owned()))?;
        let file = File::open(&target).map_err(unreadable)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KeysError::Locked(path.to_owned())),
            Err(TryLockError::Error(cause)) => return Err(unreadable(cause)),
        }
        remove_leftovers(&target, keyring).map_err(|cause| KeysError::NotCreated {
            path: beside(&target, NEW),
            cause,
        })?;
        // Another command may have replaced the file before this one got the lock.
        let found = file.metadata().map_err(unreadable)?;
        if !is_one(&found, &std::fs::metadata(path).map_err(unreadable)?) {
            return Err(KeysError::Locked(path.to_owned()));
        }
        if found.nlink() > 1 {
            return Err(KeysError::Linked {
                path: path.to_owned(),
                names: found.nlink(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            target,
            file,
            former: None,
            _lock: lock,
        })
    }

    /// Puts these keys in the place of those in the file, whole and on the disk or not at all.
    /// Who could read the file can read the new one.
    pub(crate) fn replace(&mut self, keyring: &Keyring) -> Result<(), KeysError> {
        let not_created = |cause| KeysError::NotCreated {
            path: self.path.clone(),
            cause,
        };
        let new = write_beside(&self.target, keyring).map_err(not_created)?;
        keep(&self.file, new.as_file()).map_err(|cause| KeysError::NotKept {
            path: self.path.clone(),
            cause,
        })?;
        let replaced = (|| {
            new.as_file().sync_all()?;
            // Before another process can open it.
            new.as_file().lock_shared()?;
            let file = new.persist(&self.target)?;
            File::open(directory_of(&self.target))?.sync_all()?;
            Ok((file.metadata()?, std::fs::metadata(&self.path)?, file))
        })();
        let (made, named, file) = replaced.map_err(not_created)?;
        self.former = Some(std::mem::replace(&mut self.file, file));
        match is_one(&made, &named) {
            true => Ok(()),
            false => Err(KeysError::Replaced(self.path.clone())),
        }
    }

    /// How servers name the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether every server that has read the former file has read the new one by now, as far as
    /// locks tell.
    pub(crate) fn is_read(&self) -> bool {
        let lock = self.former.as_ref().map(File::try_lock);
        !matches!(lock, Some(Err(TryLockError::WouldBlock)))
    }
}

/// Copies the attributes of the old file to the new one: owner, group and mode, and the
/// extended attributes, in which ACLs and security labels are kept.
fn keep(old: &File, new: &File) -> io::Result<()> {
    let (wanted, found) = (old.metadata()?, new.metadata()?);
    let wanted_names = attributes(old)?;
    for name in attributes(new)?.difference(&wanted_names) {
        // An ACL that the directory gives to new files.
        if name.as_encoded_bytes().starts_with(b"system.") {
            new.remove_xattr(name)?;
        }
    }
    let uid = (wanted.uid() != found.uid()).then_some(wanted.uid());
    let gid = (wanted.gid() != found.gid()).then_some(wanted.gid());
    if uid.is_some() || gid.is_some() {
        fchown(new, uid, gid)?;
    }
    // Before the ACL, for they share bits.
    new.set_permissions(Permissions::from_mode(wanted.mode() & 0o7777))?;
    for name in &wanted_names {
        let value = old.get_xattr(name)?.unwrap_or_default();
        if new.get_xattr(name)?.as_ref() != Some(&value) {
            new.set_xattr(name, &value)?;
        }
    }
    let found = new.metadata()?;
    let rights = |of: &Metadata| (of.uid(), of.gid(), of.mode());
    match rights(&found) == rights(&wanted) {
        true => Ok(()),
        // A file system that accepts a change of the owner and ignores it.
        false => Err(io::Error::other("the file system does not keep them")),
    }
}

/// The names of the extended attributes, without those that sign the content.
fn attributes(file: &File) -> io::Result<BTreeSet<OsString>> {
    let names = match file.list_xattr() {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let signed = |name: &OsString| {
        ["security.ima", "security.evm"]
            .map(OsStr::new)
            .contains(&&**name)
    };
    Ok(names.filter(|name| !signed(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{database, sources};

    /// The text of a key file with one key under this id.
    fn key_file(id: &str, digit: &str) -> String {
        let secret = digit.repeat(64);
        format!("arklow-keys-v1\nkey {id} {secret}\nactive {id}\n")
    }

    const ID: &str = "0123456789abcdef";
    const OTHER_ID: &str = "fedcba9876543210";

    async fn refused(store: &Store, path: &Path) -> KeysError {
        match open(store, path, Making::OnDemand, &sources().0).await {
            Ok(opened) => panic!("{:?}", opened.keyring),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn new_database_gets_a_key_file_for_its_owner_alone() {
        let (directory, store) = database().await;
        let path = directory.path().join("arklow.db.keys");
        let made = open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        assert!(made.created);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        assert!(!again.created);
        assert_eq!(again.keyring.active(), made.keyring.active());
        assert_eq!(store.recorded_keys().await.unwrap().len(), 1);
        let files = fs::read_dir(directory.path()).unwrap();
        let made = files.filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            !name.to_string_lossy().starts_with("arklow.db") || name == "arklow.db.keys"
        });
        assert_eq!(made.count(), 1, "nothing else is left behind");
    }

    #[tokio::test]
    async fn key_file_for_several_machines_is_made_by_hand_and_never_overwritten() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let sources = sources().0;
        let by_hand = || open(&store, &path, Making::ByHand, &sources);
        let error = by_hand().await.err().unwrap();
        assert!(matches!(error, KeysError::Unmade(_)), "{error:?}");
        assert!(!path.exists());

        let made = generate(&path, &sources).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(by_hand().await.unwrap().keyring.active(), made);
        let before = fs::read(&path).unwrap();
        let error = generate(&path, &sources).unwrap_err();
        assert!(matches!(error, KeysError::Exists(_)), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[tokio::test]
    async fn who_comes_second_takes_the_keys_of_the_first() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let sources = sources().0;
        let [one, two] = [(); 2].map(|()| Keyring::generate(sources.random.as_ref()).unwrap());
        let one = create(&path, one).unwrap();
        let two = create(&path, two).unwrap();
        assert!(one.created && !two.created);
        assert_eq!(one.keyring.active(), two.keyring.active());
        open(&store, &path, Making::OnDemand, &sources)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn missing_file_of_a_database_that_has_keys_is_not_replaced() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        fs::remove_file(&path).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Missing { .. }), "{error:?}");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn file_with_another_key_is_refused_whatever_its_id() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, key_file(ID, "a")).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();

        fs::write(&path, key_file(ID, "b")).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Different { .. }), "{error:?}");

        fs::write(&path, key_file(OTHER_ID, "a")).unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Lacking { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn file_may_hold_more_keys_than_the_database_knows() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, key_file(ID, "a")).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
        let more = format!("{}key {OTHER_ID} {}\n", key_file(ID, "a"), "b".repeat(64));
        fs::write(&path, more).unwrap();
        open(&store, &path, Making::OnDemand, &sources().0)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_is_no_key_file_is_refused_without_its_content() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, "hunter2\n").unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Malformed { .. }), "{error:?}");
        assert!(!crate::log::chain(&error).contains("hunter2"));
    }

    #[tokio::test]
    async fn directory_that_does_not_exist_is_named() {
        let (directory, store) = database().await;
        let path = directory.path().join("missing/keys");
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::NotCreated { .. }), "{error:?}");
        assert!(error.to_string().contains("missing/keys"), "{error}");
    }

    #[tokio::test]
    async fn changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        let (sources, _) = sources();
        let old = open(&store, &path, Making::OnDemand, &sources)
            .await
            .unwrap()
            .keyring;
        let keys = Keys::new(old.clone(), path.clone(), Arc::clone(&sources.clock));
        assert!(!keys.reload(&store, &old).await, "nothing has changed");

        let new = old.with_new_key(sources.random.as_ref()).unwrap();
        Exclusive::lock(&path, &old).unwrap().replace(&new).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(keys.reload(&store, &old).await);
        assert_eq!(keys.current().active(), new.active());
        assert!(keys.reload(&store, &old).await, "somebody else was faster");
        assert!(!keys.reload(&store, &new).await);

        fs::write(&path, "hunter2\n").unwrap();
        assert!(!keys.reload(&store, &new).await);
        assert_eq!(keys.current().active(), new.active());
    }

    #[test]
    fn default_lies_beside_the_database() {
        let path = default_path(&"sqlite:data/arklow.db".parse().unwrap());
        assert_eq!(path.unwrap(), Path::new("data/arklow.db.keys"));
    }
}
