//! Why the keys cannot be used.

use std::io;
use std::path::PathBuf;

use arklow_domain::{KeyFileError, KeyId, NoEntropy};
use arklow_store::StoreError;

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
