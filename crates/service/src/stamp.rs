//! Whether a file has changed, without reading it.

use std::fs::metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What changes when a file is replaced or written.
pub(crate) type Stamp = (u64, u64, i64, i64);

/// The stamp of a file; `None` if it cannot be looked at.
pub(crate) fn stamp(file: &Path) -> Option<Stamp> {
    let found = metadata(file).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
