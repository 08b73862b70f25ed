//! A look at strfry's `lock.mdb` before LMDB maps it: can we have a slot there, and do we speak of
//! the same mutexes?
//!
//! Offsets from LMDB 0.9, `mdb.c`: `MDB_txbody`. Its first mutex lies at 8. glibc (64 bit,
//! `struct __pthread_mutex_s`) keeps the kind of a mutex in bytes 16 to 20, and LMDB's, which is
//! robust (16) and shared by processes (128), is of kind 144. musl keeps the type in bytes 0 to 4,
//! robust being 4 there, and never writes to bytes 16 to 20.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::Access;
use rustix::io::Errno;

use super::files::open_to_read;
use crate::error::OpenError;

const MAGIC: u32 = 0xBEEF_C0DE;
const MUTEX: usize = 8;
const GLIBC_KIND: usize = MUTEX + 16;
const MUSL_TYPE: usize = MUTEX;
const HEADER: usize = GLIBC_KIND + 4;

const GLIBC_ROBUST_SHARED: u32 = 144;
const MUSL_ROBUST_SHARED: u32 = 132;

const OURS: Libc = if cfg!(target_env = "musl") { Libc::Musl } else { Libc::Glibc };

/// A C library, by how it lays out a mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Libc {
    /// GNU, of most distributions.
    Glibc,
    /// musl, of Alpine and of strfry's container image.
    Musl,
}

impl Libc {
    fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        }
    }
}

/// Whether there is a lock file, and one that can be shared.
///
/// Only while no environment of this process has it open: closing a file drops this process's
/// POSIX locks on it, by which others see that our slots are in use.
pub(crate) fn check(path: &Path) -> Result<bool, OpenError> {
    match rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) if path.is_dir() => {
            let source = io::ErrorKind::IsADirectory.into();
            return Err(OpenError::LockFile { path: path.to_owned(), source });
        }
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(problem(path, error)),
    }
    let unreadable = |source| OpenError::LockFile { path: path.to_owned(), source };
    let mut header = [0; HEADER];
    let file = open_to_read(path).map_err(unreadable)?;
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        // LMDB makes it as long as it should be, if nobody else has it open.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
        Err(error) => return Err(unreadable(error)),
    }
    match libc_of(&header) {
        Some(theirs) if theirs != OURS => {
            let [theirs, ours] = [theirs, OURS].map(Libc::name);
            Err(OpenError::LockFileOfOtherLibc { path: path.to_owned(), theirs, ours })
        }
        _ => Ok(true),
    }
}

fn problem(path: &Path, error: Errno) -> OpenError {
    let path = path.to_owned();
    match error {
        Errno::ROFS => OpenError::LockFileReadOnly { path },
        error => OpenError::LockFile { path, source: error.into() },
    }
}

/// Who initialised the mutexes; `None` if nobody has, or it cannot be told.
fn libc_of(header: &[u8; HEADER]) -> Option<Libc> {
    let word = |at: usize| {
        header
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |word| u32::from_ne_bytes(*word))
    };
    match (word(0), word(GLIBC_KIND), word(MUSL_TYPE)) {
        // Before the type there is glibc's lock word, which is any thread's number.
        (MAGIC, GLIBC_ROBUST_SHARED, _) => Some(Libc::Glibc),
        (MAGIC, 0, MUSL_ROBUST_SHARED) => Some(Libc::Musl),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(magic: u32, musl_type: u32, glibc_kind: u32) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&magic.to_ne_bytes());
        header[MUSL_TYPE..MUSL_TYPE + 4].copy_from_slice(&musl_type.to_ne_bytes());
        header[GLIBC_KIND..].copy_from_slice(&glibc_kind.to_ne_bytes());
        header
    }

    #[test]
    fn who_initialised_a_mutex_is_told_by_its_bytes() {
        for (bytes, libc) in [
            (header(MAGIC, 0, 144), Some(Libc::Glibc)),
            // Held by thread 132.
            (header(MAGIC, 132, 144), Some(Libc::Glibc)),
            (header(MAGIC, 132, 0), Some(Libc::Musl)),
            // Not initialised yet, or by somebody unknown.
            (header(MAGIC, 0, 0), None),
            (header(0, 0, 0), None),
            (header(0, 132, 0), None),
            (header(MAGIC, 132, 7), None),
        ] {
            assert_eq!(libc_of(&bytes), libc, "{bytes:?}");
        }
    }

    #[test]
    fn each_reason_why_it_cannot_be_written_has_its_words() {
        let said = |error| problem(Path::new("db/lock.mdb"), error).to_string();
        assert_eq!(
            said(Errno::ACCESS),
            "cannot write to db/lock.mdb: permission denied; a reader has its slot there, so run \
             as the user that strfry runs as, or read without it (--lock none)"
                .replace("permission denied", &io::Error::from(Errno::ACCESS).to_string())
        );
        assert_eq!(
            said(Errno::ROFS),
            "cannot write to db/lock.mdb: it is on a read-only file system, and a reader has its \
             slot there; mount it writable here, or read without it (--lock none)"
        );
    }
}
