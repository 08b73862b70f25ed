//! How a command reads the database: sharing strfry's lock file, or without it.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Result};
use crate::strfry_db::{OpenError, StrfryDb};

#[derive(Debug, Clone, Args)]
pub(super) struct LockArguments {
    /// Whether strfry's lock file is shared, by which strfry knows what is being read
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Lock::Auto)]
    lock: Lock,
    /// The old name of `--lock none`
    #[arg(long, hide = true, conflicts_with = "lock")]
    no_lock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lock {
    /// Share it where that is safe; else read without it, and say why
    Auto,
    /// Share it, or end with an error
    Shared,
    /// Read without it: in short steps, each checked and repeated if strfry has overtaken it
    None,
}

/// What strfry does while the database is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// If there is no lock file, nobody writes, and reading ends with an error once somebody does.
    Nobody,
    /// It is made to import, or may be started: then it creates a lock file.
    Strfry,
}

impl LockArguments {
    pub(super) fn lock(&self) -> Lock {
        if self.no_lock { Lock::None } else { self.lock }
    }

    /// Opens the database in this directory. `tell` is given one sentence if the lock file is not
    /// shared, and that was not asked for.
    pub(super) fn open(
        &self,
        path: &Path,
        beside: Beside,
        tell: impl FnOnce(String),
    ) -> Result<StrfryDb> {
        let lock = self.lock();
        let why = match lock {
            Lock::None => return StrfryDb::open_without_lock(path).or_cannot_run(),
            Lock::Auto | Lock::Shared => match StrfryDb::open(path) {
                Ok(db) if db.has_lock_file() => return Ok(db),
                Ok(db) if lock == Lock::Auto && beside == Beside::Nobody => return Ok(db),
                Ok(_) => format!("{} has no lock.mdb", path.display()),
                Err(error) => match why_not_shared(&error).filter(|_| lock == Lock::Auto) {
                    Some(why) => why,
                    None => return Err(error).or_cannot_run(),
                },
            },
        };
        if lock == Lock::Shared {
            return Err(Failure::CannotRun(anyhow!(
                "cannot share strfry's lock file: {why}; start strfry once, or leave out --lock"
            )));
        }
        let db = StrfryDb::open_without_lock(path).or_cannot_run()?;
        tell(format!("reading without strfry's lock file: {why}"));
        Ok(db)
    }
}

impl Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Shared => "shared",
            Self::None => "none",
        })
    }
}

/// Why the lock file cannot be shared, if nothing else is wrong. To share it takes a map of the whole
/// database.
fn why_not_shared(error: &OpenError) -> Option<String> {
    Some(match error {
        OpenError::LockFile { path, source } if source.kind() == ErrorKind::PermissionDenied => {
            format!("cannot write to {}: {source}", path.display())
        }
        OpenError::LockFileReadOnly { path } => {
            format!("{} is on a read-only file system", path.display())
        }
        OpenError::LockFileOfOtherLibc { path, theirs, ours } => format!(
            "a program built with {theirs} has initialised {}, and this one is built with {ours}",
            path.display()
        ),
        OpenError::NoReaderNumber { path } => {
            format!(
                "too many readers with the same PID, in other containers, use {}",
                path.display()
            )
        }
        // A map is as large as the file.
        OpenError::Lmdb { path, source } if source.kind() == ErrorKind::OutOfMemory => {
            format!("{} does not fit into this process's address space", path.display())
        }
        _ => return None,
    })
}
