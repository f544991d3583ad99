//! Why a file of `arklow backup` or `arklow restore` cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use arklow_store::BackupError;

/// Why a backup was not made or not restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupFileError {
    #[error(transparent)]
    Store(#[from] BackupError),
    #[error("there is a file `{}` already", .0.display())]
    Exists(PathBuf),
    #[error("there is a database `{}` already", .0.display())]
    DatabaseExists(PathBuf),
    #[error("`{}` is the database itself or belongs to it", .0.display())]
    IsDatabase(PathBuf),
    #[error("`{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("`{}` is not the manifest of this backup: {reason}", path.display())]
    Manifest { path: PathBuf, reason: &'static str },
    #[error("another `arklow restore` is at work in `{}`", .0.display())]
    AtWork(PathBuf),
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl BackupFileError {
    /// For [`Result::map_err`].
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::File {
            path: path.clone(),
            cause,
        }
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(BackupError::OnServer) => Some(
                "use `pg_dump` or base backups of the server, keep the key file of the same time, and run \
                 `arklow restored` after restoring one",
            ),
            Self::Store(BackupError::InUse(_)) => {
                Some("stop the servers and everything else that uses the database first")
            }
            Self::Store(BackupError::Beside(_)) => Some(
                "it belongs to a database that was in use: a copy of such a file alone is not a backup; \
                 move it away if you know that it belongs to another database",
            ),
            Self::Store(BackupError::NoTables(_)) => Some(
                "it is probably a copy that lacks its `-wal` file; `arklow backup FILE` makes a whole one",
            ),
            Self::Store(BackupError::Damaged { .. }) | Self::Manifest { .. } => {
                Some("use another backup, or another copy of this one")
            }
            Self::Store(_) | Self::File { .. } => None,
            Self::Exists(_) => Some("name another file, or replace this one with --replace"),
            Self::DatabaseExists(_) => Some(
                "use `--replace` to restore the backup and keep the present database under another name",
            ),
            Self::IsDatabase(_) | Self::NotAFile(_) => Some("name another file"),
            Self::AtWork(_) => Some("wait until it has ended"),
        }
    }
}
