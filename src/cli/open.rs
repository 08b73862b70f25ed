//! How a command reads the database: sharing strfry's lock file, or without it.

use std::fmt::Display;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Result};
use super::help::STRFRY;
use crate::doctor::{Opened, Sharing};
use crate::strfry_db::{OpenError, StrfryDb};

#[derive(Debug, Clone, Args)]
pub(super) struct LockArguments {
    /// Whether strfry's lock file is shared, by which strfry knows what is being read
    #[arg(long, value_name = "HOW", help_heading = STRFRY, hide_short_help = true, value_enum,
          default_value_t = Lock::Auto)]
    lock: Lock,
    /// The old name of `--lock none`
    #[arg(long, hide = true, conflicts_with = "lock")]
    no_lock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lock {
    /// Share it to read, where that is safe, and say why where not; backfill, import and diff, which
    /// may run while the database is replaced, read without it
    Auto,
    /// Share it, or end with an error
    Shared,
    /// Read without it: in short steps, each checked and repeated if strfry has overtaken it
    None,
}

impl LockArguments {
    pub(super) fn lock(&self) -> Lock {
        if self.no_lock { Lock::None } else { self.lock }
    }

    /// Opens the database in this directory for a command that only reads. `tell` is given one
    /// sentence if the lock file is not shared, and that was not asked for.
    pub(super) fn open_to_read(&self, path: &Path, tell: impl FnOnce(String)) -> Result<StrfryDb> {
        match self.lock() {
            Lock::None => StrfryDb::open_without_lock(path).or_cannot_run(),
            Lock::Shared => shared(path),
            Lock::Auto => match StrfryDb::open(path) {
                Ok(db) => Ok(db),
                Err(error) => {
                    let Some(why) = why_not_shared(&error) else {
                        return Err(error).or_cannot_run();
                    };
                    let db = StrfryDb::open_without_lock(path).or_cannot_run()?;
                    tell(format!("reading without strfry's lock file: {why}"));
                    Ok(db)
                }
            },
        }
    }

    /// Opens the database in this directory to look how it can be read: without its lock file where
    /// that cannot be shared.
    pub(super) fn look(&self, path: &Path) -> (OpenResult, Sharing) {
        let lock = match self.lock() {
            Lock::None => {
                let opened = StrfryDb::open_without_lock(path);
                return (opened.map(|db| Opened { db, not_shared: None }), Sharing::None);
            }
            Lock::Shared => Sharing::Shared,
            Lock::Auto => Sharing::Auto,
        };
        let opened = match StrfryDb::open(path) {
            Ok(db) => Ok(Opened { db, not_shared: None }),
            Err(why) => match StrfryDb::open_without_lock(path) {
                Ok(db) => Ok(Opened { db, not_shared: Some(why) }),
                Err(_) => Err(why),
            },
        };
        (opened, lock)
    }

    /// Opens the database in this directory for a command that waits for peers or for strfry, and so
    /// may be running when somebody puts another file in the place of `data.mdb`: strfry would then
    /// go by the lock file that the command keeps in use, and may take the new file for an empty one
    /// (`mdb_txn_renew0` goes by the commit number in the lock file).
    pub(super) fn open_for_run(&self, path: &Path) -> Result<StrfryDb> {
        match self.lock() {
            Lock::Auto | Lock::None => StrfryDb::open_without_lock(path).or_cannot_run(),
            Lock::Shared => shared(path),
        }
    }
}

/// The database, or why it cannot be read.
type OpenResult = std::result::Result<Opened, OpenError>;

fn shared(path: &Path) -> Result<StrfryDb> {
    let db = StrfryDb::open(path).or_cannot_run()?;
    if db.has_lock_file() {
        return Ok(db);
    }
    Err(Failure::CannotRun(anyhow!(
        "cannot share strfry's lock file: {} has no lock.mdb; start strfry once, or leave out --lock",
        path.display()
    )))
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
