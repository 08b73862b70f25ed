//! The database that is read: whether it can be, and in which way.

use std::fs;
use std::path::Path;

use indicatif::HumanBytes;

use super::finding::{Check, Finding, Level, Trouble};
use crate::import::is_untouched;
use crate::strfry_db::{OpenError, StrfryDb};

const ELSEWHERE: &str = "run 'strfry export' to see whether strfry can read it";

/// Whether strfry's lock file is to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Where that is safe.
    Auto,
    /// It must be.
    Shared,
    /// It must not be.
    None,
}

/// An open database.
#[derive(Debug)]
pub struct Opened {
    /// The database.
    pub db: StrfryDb,
    /// Why its lock file cannot be shared, where that was wanted.
    pub not_shared: Option<OpenError>,
}

/// Looks at the database at this path. `lock` is how it was to be opened.
pub fn database(path: &Path, opened: &Result<Opened, OpenError>, lock: Sharing) -> Vec<Finding> {
    match opened {
        Ok(opened) => vec![contents(&opened.db), how(opened, lock)],
        // A backfill and an import have strfry make it.
        Err(OpenError::Missing { .. }) if is_untouched(directory_of(path)) => {
            let remedy = "start strfry, or let the first backfill or import have strfry make it";
            let trouble = Trouble::new("no database there yet", remedy);
            vec![Finding::warning(Check::DatabaseOpens, path.display(), trouble)]
        }
        Err(error) => {
            vec![Finding::error(Check::DatabaseOpens, path.display(), trouble_of(error))]
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|_| path.ends_with("data.mdb")).unwrap_or(path)
}

fn contents(db: &StrfryDb) -> Finding {
    let file = db.directory().join("data.mdb");
    let subject = file.display();
    match db.event_count() {
        Ok(events) => {
            let bytes = fs::metadata(&file).map_or(0, |file| file.len());
            let (version, size) = (db.meta().db_version, HumanBytes(bytes));
            let found = format!("DB version {version}, {events} events, {size}");
            Finding::ok(Check::DatabaseOpens, subject, found)
        }
        Err(error) => {
            let trouble = Trouble::of_message(&error.to_string(), ELSEWHERE);
            Finding::error(Check::DatabaseOpens, subject, trouble)
        }
    }
}

fn how(opened: &Opened, lock: Sharing) -> Finding {
    let file = opened.db.directory().join("lock.mdb");
    let subject = file.display();
    let check = Check::DatabaseLock;
    if opened.db.has_lock_file() {
        let found = "shared to read; backfill, import and diff do without it";
        return Finding::ok(check, subject, found);
    }
    // Then commands that only read end with an error.
    let level = if lock == Sharing::Shared { Level::Error } else { Level::Warning };
    if let Some(why) = &opened.not_shared {
        return Finding::of(check, level, subject, trouble_of(why));
    }
    if lock == Sharing::None {
        return Finding::ok(check, subject, "not shared, as --lock none says");
    }
    let trouble = Trouble::new(
        "there is none: no strfry has the database open, or it is elsewhere",
        "start strfry; if it runs, name its own database with --db",
    );
    Finding::of(check, level, subject, trouble)
}

fn trouble_of(error: &OpenError) -> Trouble {
    match error {
        OpenError::Version { .. } | OpenError::Endianness { .. } => {
            let message = error.to_string();
            let (found, remedy) = message.split_once(": ").unwrap_or((&message, ELSEWHERE));
            Trouble::new(found, remedy)
        }
        OpenError::NotADatabasePath { path } => Trouble::new(
            format!("{} is not a database", path.display()),
            "name strfry's database directory, or its data.mdb, with --db",
        ),
        _ => Trouble::of_message(&error.to_string(), ELSEWHERE),
    }
}
