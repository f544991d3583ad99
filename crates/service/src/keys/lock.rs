//! Writing the key file: the lock of the command that does, and the replacement of the file.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arklow_domain::Keyring;
use tracing::warn;
use xattr::FileExt as _;

use super::error::KeysError;
use super::file::{MODE, NEW, beside, directory_of, remove_leftovers, remove_new, write_beside};
use crate::log::chain;

/// What the lock file has behind the name of the key file.
const LOCK: &str = ".lock";

/// How long creating a key file waits for another process that is creating it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn write_new(path: &Path, keyring: &Keyring) -> io::Result<()> {
    let _lock = LockFile::wait(path)?;
    remove_new(path)?;
    let file = write_beside(path, keyring)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    // The name is on the disk only when the directory is.
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
