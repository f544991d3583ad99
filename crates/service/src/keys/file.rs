//! The key file itself: where it is, how it is read, and the temporary file that replaces it.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use arklow_domain::Keyring;
use arklow_store::DatabaseUrl;
use tracing::warn;
use zeroize::Zeroizing;

use super::error::KeysError;

/// The largest key file; it has 86 bytes for each key.
const MAX_BYTES: usize = 64 * 1024;

/// Only its owner may read and write the file.
pub(super) const MODE: u32 = 0o600;

/// What its group and all others may do.
const SHARED: u32 = 0o077;

/// What the file that becomes the new key file has behind the name of the old one. A fixed name:
/// the next command finds and removes what a crash has left.
pub(super) const NEW: &str = ".new";

/// How the temporary files of earlier versions began, and how long their names were.
const FORMER_NEW: (&str, usize) = (".tmp", 10);

/// The default path of the key file: next to the database.
pub(crate) fn default_path(database: &DatabaseUrl) -> Result<PathBuf, KeysError> {
    let database = database.sqlite_path().ok_or(KeysError::NoDefault)?;
    let mut path = OsString::from(database);
    path.push(".keys");
    Ok(path.into())
}

/// The keys in the file, or `None` if there is no file. Warns if others than its owner can read it.
pub(super) fn read(path: &Path) -> Result<Option<Keyring>, KeysError> {
    let found = peek(path)?;
    Ok(found.map(|(keyring, mode)| {
        warn_if_shared(path, mode & 0o777);
        keyring
    }))
}

/// The keys in the file and its mode, or `None` if there is no file.
pub(crate) fn peek(path: &Path) -> Result<Option<(Keyring, u32)>, KeysError> {
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
    Ok(Some((keyring, mode)))
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

pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The path with more behind its name.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(more);
    directory_of(path).join(name)
}

/// A file with these keys that can take the place of `path`; removed if it does not. Not synced.
pub(super) fn write_beside(path: &Path, keyring: &Keyring) -> io::Result<tempfile::NamedTempFile> {
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
pub(super) fn remove_new(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(beside(path, NEW)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes temporary files that a crash left next to the key file, also of earlier versions: files with
/// such a name that hold a key of this ring.
pub(super) fn remove_leftovers(path: &Path, keyring: &Keyring) -> io::Result<()> {
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
