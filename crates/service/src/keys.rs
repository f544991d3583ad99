//! The key file: found, read, made for a new database, and compared with what the database knows.
//!
//! The database keeps the id and a check value of every key it was written with.  A key file that
//! lacks one of them is refused: with a fresh one all would seem well, and every code and seed
//! would be dead.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use arklow_domain::{KeyFileError, KeyId, Keyring, NoEntropy};
use arklow_store::{DatabaseUrl, RecordKey, Store, StoreError};
use tracing::warn;
use zeroize::Zeroizing;

use crate::app::Sources;

/// The largest key file; it has 86 bytes for each key.
const MAX_BYTES: usize = 64 * 1024;
/// Read and written by its owner, and nobody else.
const MODE: u32 = 0o600;
/// What its group and all others may do.
const SHARED: u32 = 0o077;

/// The keys of a database.
pub(crate) struct Opened {
    pub(crate) keyring: Keyring,
    /// Whether the file was made just now.
    pub(crate) created: bool,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("this database has no file beside which keys could lie")]
    NoDefault,
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
    #[error("the database does not tell its keys")]
    Store(#[from] StoreError),
    #[error("no key could be drawn")]
    Entropy(#[from] NoEntropy),
}

impl KeysError {
    /// What to do next.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDefault => Some("name the key file with --keys"),
            Self::Missing { .. } | Self::Lacking { .. } | Self::Different { .. } => Some(
                "name the right key file with --keys, or restore it from a copy; without its keys \
                 no backup code and no device in the database works",
            ),
            Self::Unreadable { .. } | Self::NotCreated { .. } => {
                Some("check the path and its permissions, or name another file with --keys")
            }
            Self::Malformed { .. } | Self::NotText(_) => {
                Some("name the right key file with --keys")
            }
            Self::Store(_) | Self::Entropy(_) => None,
        }
    }
}

/// Where the key file of a database lies if nobody says otherwise: beside it.
pub(crate) fn default_path(database: &DatabaseUrl) -> Result<PathBuf, KeysError> {
    let database = database.sqlite_path().ok_or(KeysError::NoDefault)?;
    let mut path = OsString::from(database);
    path.push(".keys");
    Ok(path.into())
}

/// The keys in `path`, which is made if the database never had any, and their active one on record
/// in the database.
pub(crate) async fn open(
    store: &Store,
    path: &Path,
    sources: &Sources,
) -> Result<Opened, KeysError> {
    let recorded = store.recorded_keys().await?;
    let opened = match (read(path)?, recorded.first()) {
        (Some(keyring), _) => Opened {
            keyring,
            created: false,
        },
        (None, None) => create(path, Keyring::generate(sources.random.as_ref())?)?,
        (None, Some(&(key, _))) => {
            let path = path.to_owned();
            return Err(KeysError::Missing { path, key });
        }
    };

    let keyring = &opened.keyring;
    for (key, check) in recorded {
        let path = || path.to_owned();
        match keyring.get(&key) {
            None => return Err(KeysError::Lacking { path: path(), key }),
            Some(held) if held.check() != check => {
                return Err(KeysError::Different { path: path(), key });
            }
            Some(_) => {}
        }
    }
    record_active(store, path, keyring, sources).await?;
    Ok(opened)
}

async fn record_active(
    store: &Store,
    path: &Path,
    keyring: &Keyring,
    sources: &Sources,
) -> Result<(), KeysError> {
    let key = keyring.active();
    let root = keyring.get(&key).expect("a ring holds its active key");
    let now = sources.clock.now();
    match store.record_key(key, root.check(), now).await? {
        RecordKey::Recorded | RecordKey::AlreadyRecorded => Ok(()),
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
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
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

/// Makes the file, whole and on the disk or not at all.  If another process made one meanwhile,
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
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)?;
    file.write_all(keyring.expose().as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    // The name is on the disk only when the directory is.
    File::open(directory)?.sync_all()
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
        match open(store, path, &sources().0).await {
            Ok(opened) => panic!("{:?}", opened.keyring),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn new_database_gets_a_key_file_for_its_owner_alone() {
        let (directory, store) = database().await;
        let path = directory.path().join("arklow.db.keys");
        let made = open(&store, &path, &sources().0).await.unwrap();
        assert!(made.created);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = open(&store, &path, &sources().0).await.unwrap();
        assert!(!again.created);
        assert_eq!(again.keyring.active(), made.keyring.active());
        assert_eq!(store.recorded_keys().await.unwrap().len(), 1);
        assert_eq!(
            fs::read_dir(&directory).unwrap().count(),
            4,
            "{directory:?}"
        );
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
        open(&store, &path, &sources).await.unwrap();
    }

    #[tokio::test]
    async fn missing_file_of_a_database_that_has_keys_is_not_replaced() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        open(&store, &path, &sources().0).await.unwrap();
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
        open(&store, &path, &sources().0).await.unwrap();

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
        open(&store, &path, &sources().0).await.unwrap();
        let more = format!("{}key {OTHER_ID} {}\n", key_file(ID, "a"), "b".repeat(64));
        fs::write(&path, more).unwrap();
        open(&store, &path, &sources().0).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_key_file_is_refused_without_its_content() {
        let (directory, store) = database().await;
        let path = directory.path().join("keys");
        fs::write(&path, "hunter2\n").unwrap();
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::Malformed { .. }), "{error:?}");
        assert!(!crate::error::chain(&error).contains("hunter2"));
    }

    #[tokio::test]
    async fn directory_that_does_not_exist_is_named() {
        let (directory, store) = database().await;
        let path = directory.path().join("missing/keys");
        let error = refused(&store, &path).await;
        assert!(matches!(error, KeysError::NotCreated { .. }), "{error:?}");
        assert!(error.to_string().contains("missing/keys"), "{error}");
    }

    #[test]
    fn default_lies_beside_the_database() {
        let path = default_path(&"sqlite:data/arklow.db".parse().unwrap());
        assert_eq!(path.unwrap(), Path::new("data/arklow.db.keys"));
    }
}
