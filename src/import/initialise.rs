//! A database that no strfry has opened yet: strfry makes it, as it does for an import of nothing.

use std::path::Path;
use std::thread;
use std::time::Instant;

use super::child::{Form, Gathering, ImportChild, ImportError};
use super::command::StrfryCommand;
use super::limits::{EXIT_POLL, LAST_WORDS};
use crate::stop::Stop;

/// Whether no strfry has ever opened a database in this directory, which is there: LMDB makes both
/// files when it is opened for the first time.
pub fn is_untouched(directory: &Path) -> bool {
    let is_missing = |name| {
        let found = directory.join(name).symlink_metadata();
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    directory.is_dir() && is_missing("data.mdb") && is_missing("lock.mdb")
}

/// Has strfry make its database, which is to be in this directory.
///
/// # Errors
/// strfry cannot be started, fails, hangs, or makes its database elsewhere; or the run is to stop.
pub fn initialise(
    command: &StrfryCommand,
    directory: &Path,
    stop: &Stop,
) -> Result<(), ImportError> {
    command.check()?;
    let mut child = ImportChild::start(command, Form::Plain, Gathering::PROMPT)?;
    child.end_input();
    let deadline = Instant::now() + command.patience;
    while !child.has_exited() {
        if stop.is_overdue() || Instant::now() >= deadline {
            child.kill();
            let log = child.log.quote().with_disk_of(directory);
            return Err(match stop.is_overdue() {
                true => ImportError::Stopped { log },
                false => {
                    let seconds = command.patience.as_secs();
                    ImportError::Hung { seconds, has_read: true, log }
                }
            });
        }
        thread::sleep(EXIT_POLL);
    }
    child.log.wait_for_end(LAST_WORDS);
    let log = child.log.quote().with_disk_of(directory);
    let status = child.reap()?;
    if !status.success() {
        return Err(ImportError::Died { status, log });
    }
    if directory.join("data.mdb").exists() {
        return Ok(());
    }
    let what_to_check = command.what_to_check();
    Err(ImportError::NotMade { db: directory.to_owned(), what_to_check, log })
}
