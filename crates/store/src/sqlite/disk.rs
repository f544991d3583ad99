//! Whether the disk still takes changes: the one place where a failure of it is recorded and logged.
//!
//! After a failed sync it is not known which pages are on the disk. The kernel reports the loss once
//! and then treats the lost pages as written, so a second sync may succeed without them, and a
//! checkpoint could then discard the only good copy, which is in the WAL. So no transaction, sync or
//! checkpoint follows the first failure, and the process is expected to end. The next process reads
//! the WAL from its beginning, as after a power cut.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tracing::error;

use super::open::File;

/// Why this process must not write to the file any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskFailure {
    #[error("WAL sync failed")]
    Sync(#[source] io::Error),
    #[error("checkpoint failed")]
    Checkpoint(#[source] diesel::result::Error),
    #[error("`{}` was deleted, renamed or replaced while in use", .0.display())]
    Replaced(PathBuf),
}

/// The first failure, shared by all threads of a store.
#[derive(Debug, Clone)]
pub(super) struct DiskState {
    failure: watch::Sender<Option<Arc<DiskFailure>>>,
}

impl DiskState {
    pub(super) fn new() -> Self {
        Self {
            failure: watch::Sender::new(None),
        }
    }

    /// Records and logs the failure, unless there was one before; returns the first.
    pub(super) fn fail(&self, failure: DiskFailure) -> Arc<DiskFailure> {
        let mut failure = Arc::new(failure);
        self.failure.send_if_modified(|first| match first {
            Some(first) => {
                failure = Arc::clone(first);
                false
            }
            None => {
                *first = Some(Arc::clone(&failure));
                error!(
                    error = chain(failure.as_ref()),
                    "the database cannot be written safely any more: check its files, the disk, the \
                     free space and the kernel's log, then start again"
                );
                true
            }
        });
        failure
    }

    pub(super) fn failure(&self) -> Option<Arc<DiskFailure>> {
        self.failure.borrow().clone()
    }

    /// Waits for a failure.
    pub(super) async fn failed(&self) -> Arc<DiskFailure> {
        let mut failures = self.failure.subscribe();
        loop {
            if let Some(failure) = failures.borrow_and_update().as_ref() {
                return Arc::clone(failure);
            }
            if failures.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

/// The WAL, through one descriptor for as long as the file is open.
///
/// Linux reports a failed write-back once to each descriptor that was open then. A descriptor
/// that is opened for one sync misses earlier reports; and opening can fail for reasons other than the disk.
#[derive(Debug)]
pub(super) struct Wal {
    // SQLite locks the file and the shared memory, never the WAL: closing this drops no lock.
    descriptor: fs::File,
    files: Files,
}

impl Wal {
    /// Needs an open connection that has read, and comes before the first write.
    pub(super) fn open(file: &File) -> io::Result<Self> {
        let descriptor = fs::OpenOptions::new().write(true).open(file.wal())?;
        sync_directory(file.wal())?;
        Ok(Self {
            descriptor,
            files: Files::find(file)?,
        })
    }

    /// Syncs all commits, also those of other processes.
    pub(super) fn sync(&self) -> Result<(), DiskFailure> {
        self.descriptor.sync_data().map_err(DiskFailure::Sync)?;
        self.files.check()
    }
}

/// Syncs the entry of a new WAL. SQLite does so with its first sync, and ignores the error.
fn sync_directory(wal: &Path) -> io::Result<()> {
    let Some(directory) = wal.parent() else {
        return Ok(());
    };
    match fs::File::open(directory)?.sync_all() {
        // A file system that cannot sync directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// The database file and its WAL, as they were when they were opened.
///
/// SQLite goes on writing to a file that was deleted or renamed, and syncing it succeeds; a restart
/// would find nothing of it.
#[derive(Debug)]
struct Files {
    database: Identity,
    wal: Identity,
}

#[derive(Debug)]
struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Files {
    /// Both must exist: a connection is open that has read.
    fn find(file: &File) -> io::Result<Self> {
        Ok(Self {
            database: Identity::find(file.path())?,
            wal: Identity::find(file.wal())?,
        })
    }

    /// Checks that the paths still lead to these files.
    fn check(&self) -> Result<(), DiskFailure> {
        for file in [&self.database, &self.wal] {
            if file.is_replaced() {
                return Err(DiskFailure::Replaced(file.path.clone()));
            }
        }
        Ok(())
    }
}

impl Identity {
    fn find(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// Any other error, such as a missing permission, says nothing about the file.
    fn is_replaced(&self) -> bool {
        let is_same = |found: &Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        match fs::metadata(&self.path) {
            Ok(found) => !is_same(&found),
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        }
    }
}
