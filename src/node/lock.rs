//! One run at a time: a lock file that names the process which holds it.
//!
//! It never deletes the file, and never changes one that another run holds.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::lock_holder::{self, Holder};
use crate::files;

/// A file that keeps vanishing while it is being locked is tried this often.
const MAX_ATTEMPTS: u32 = 16;

/// Why it is not known whether another run is going on.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The directory for the lock file is not there.
    #[error(
        "cannot create the lock file {path:?}: its directory does not exist; create it, or name \
         another one with --state-dir"
    )]
    DirectoryMissing {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file, or the directory for it, does not let this user write.
    #[error(
        "cannot write the lock file {path:?}: {source}; run as the user who owns the directory, \
         or name another one with --state-dir"
    )]
    NotWritable {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something else is in the place of the lock file.
    #[error("cannot open the lock file {path:?}: {source}")]
    Refused {
        /// The lock file.
        path: PathBuf,
        /// A [`files::Refused`], which says what to do.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {operation} the lock file {path:?}: {source}; check the disk and the path")]
    Failed {
        /// What was being done.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another program keeps replacing the lock file.
    #[error(
        "cannot lock {path:?}: another program keeps deleting it; stop that program and try again"
    )]
    Unstable {
        /// The lock file.
        path: PathBuf,
    },
}

/// The answer of [`RunLock::acquire`].
#[derive(Debug)]
pub enum Acquired {
    /// This run may go on for as long as it keeps the value.
    Held(RunLock),
    /// Another run is going on, and nothing was touched.
    HeldByAnother(Holder),
}

/// The answer of [`RunLock::look`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// No run is going on.
    Free,
    /// A run is going on.
    Held(Holder),
    /// The file names a process that holds no lock: a run that was killed, or one in another
    /// container.
    Named(u32),
}

/// A held lock.
///
/// The file's text is the PID and a line feed. The lock is `flock(2)`'s: the kernel releases it
/// with the process, however that ends, and a child does not inherit it. When the value is dropped
/// the file is emptied, so that nobody takes an old PID for a running one, and stays in place:
/// to delete it would let a second run lock the old file and a third one a new file.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`LockError`] when the file cannot be created, written or locked.
    pub fn acquire(path: &Path) -> Result<Acquired, LockError> {
        let failed = |operation| move |source| LockError::of(operation, path, source);
        for _ in 0..MAX_ATTEMPTS {
            let mut file = files::open_to_update(path).map_err(failed("open"))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Acquired::HeldByAnother(Holder::of(&file))),
                Err(error) => return Err(failed("lock")(error.into())),
            }
            // A program that deletes the file may have done so since it was opened.
            if !files::is_at(&file, path).map_err(failed("inspect"))? {
                continue;
            }
            file.set_len(0).map_err(failed("empty"))?;
            writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
            return Ok(Acquired::Held(Self { file }));
        }
        Err(LockError::Unstable { path: path.to_owned() })
    }

    /// Whether a run holds the lock. Takes nothing and writes nothing.
    ///
    /// # Errors
    /// [`LockError`] when the file is there and cannot be read, or the system does not tell who
    /// holds which lock.
    pub fn look(path: &Path) -> Result<LockState, LockError> {
        let failed = |operation| move |source| LockError::of(operation, path, source);
        let file = match files::open_to_read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockState::Free),
            file => file.map_err(failed("read"))?,
        };
        if lock_holder::is_held(&file).map_err(failed("look up who holds"))? {
            return Ok(LockState::Held(Holder::of(&file)));
        }
        let named = || lock_holder::read_pid(&file).map_or(LockState::Free, LockState::Named);
        Ok(lock_holder::named_run(&file).map_or_else(named, LockState::Held))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // What remains otherwise is an old PID; the lock itself goes with the file handle.
        let _ = self.file.set_len(0);
    }
}

impl LockError {
    fn of(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            _ if files::is_refusal(&source) => Self::Refused { path, source },
            io::ErrorKind::NotFound => Self::DirectoryMissing { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Failed { operation, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn held(path: &Path) -> RunLock {
        match RunLock::acquire(path).unwrap() {
            Acquired::Held(lock) => lock,
            Acquired::HeldByAnother(holder) => panic!("held by {holder:?}"),
        }
    }

    fn holder(path: &Path) -> Option<u32> {
        match RunLock::acquire(path).unwrap() {
            Acquired::Held(_) => panic!("not held by another"),
            Acquired::HeldByAnother(holder) => holder.pid,
        }
    }

    #[test]
    fn a_second_run_learns_the_pid_of_the_first_and_touches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = held(&path);
        let text = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(holder(&path), Some(std::process::id()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        drop(lock);
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        drop(held(&path));
    }

    #[test]
    fn a_look_tells_who_holds_the_lock_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(RunLock::look(&path).unwrap(), LockState::Free);
        assert!(!path.exists());
        let lock = held(&path);
        let LockState::Held(holder) = RunLock::look(&path).unwrap() else { panic!("it is held") };
        assert_eq!(holder.pid, Some(std::process::id()));
        drop(lock);
        assert_eq!(RunLock::look(&path).unwrap(), LockState::Free);
        fs::write(&path, "4194304\n").unwrap();
        assert_eq!(RunLock::look(&path).unwrap(), LockState::Named(4_194_304));
        assert_eq!(fs::read_to_string(&path).unwrap(), "4194304\n");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(RunLock::look(&path).unwrap(), LockState::Free);
    }

    #[test]
    fn what_an_interrupted_run_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, "4194304 and a longer text than any PID").unwrap();
        let _lock = held(&path);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn junk_in_a_held_file_is_no_pid() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _lock = held(&path);
        for junk in ["", "0", "-5", "99999999999", "12 34", "\u{1b}[31m7", &"1".repeat(1 << 20)] {
            fs::write(&path, junk).unwrap();
            assert_eq!(holder(&path), None, "{junk:.20}");
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        assert_eq!(holder(&path), None);
        fs::write(&path, " 77 \r\n").unwrap();
        assert_eq!(holder(&path), Some(77));
    }

    #[test]
    fn a_lock_file_deleted_by_another_program_does_not_let_a_later_run_fail() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = held(&path);
        fs::remove_file(&path).unwrap();
        let second = held(&path);
        drop(first);
        assert_eq!(holder(&path), Some(std::process::id()));
        drop(second);
    }

    #[test]
    fn a_missing_directory_and_an_unusable_path_are_clear_errors() {
        let directory = tempfile::tempdir().unwrap();
        let missing = RunLock::acquire(&directory.path().join("absent/lock")).unwrap_err();
        assert!(missing.to_string().ends_with(
            "its directory does not exist; create it, or name another one with --state-dir"
        ));
        let path = directory.path().join("lock");
        fs::create_dir(&path).unwrap();
        let unusable = RunLock::acquire(&path).unwrap_err();
        assert!(
            matches!(&unusable, LockError::Failed { operation: "open", path: at, .. } if *at == path)
        );
    }
}
