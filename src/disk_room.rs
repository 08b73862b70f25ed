//! How much room a disk has.

use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;

/// Bytes. With less free, an import is about to fail: a commit of 10,000 events into a small database
/// takes some 50 MiB, into a large one eight times as much.
pub(crate) const NEARLY_FULL: u64 = 100 << 20;

/// Bytes. With less free, an import will fail before long: the largest commits take 512 MiB, a run of
/// a month for 500 pubkeys some 200 MiB.
pub(crate) const SCARCE: u64 = 1 << 30;

/// What a file system has for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    /// Files that can still be made; `None`: it does not count them.
    pub(crate) files: Option<u64>,
    /// Those with the same one share their room (`man 2 statfs`, `f_fsid`).
    pub(crate) file_system: u64,
}

impl Room {
    /// Of the file system on which this directory is, or would be.
    pub(crate) fn of(directory: &Path) -> rustix::io::Result<Self> {
        let mut at = directory;
        loop {
            let there = if at.as_os_str().is_empty() { Path::new(".") } else { at };
            match statvfs(there) {
                Ok(found) => {
                    return Ok(Self {
                        bytes: found.f_bavail.saturating_mul(found.f_frsize),
                        files: (found.f_files > 0).then_some(found.f_favail),
                        file_system: found.f_fsid,
                    });
                }
                Err(Errno::NOENT) => at = at.parent().ok_or(Errno::NOENT)?,
                Err(error) => return Err(error),
            }
        }
    }
}
