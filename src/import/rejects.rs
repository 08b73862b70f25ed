//! The file of those events that were not imported and are not in the database: a line of JSON
//! for each, with where it stood, why, and the event itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::accounts::Class;

/// One line of the file.
#[derive(Debug, Serialize)]
pub(super) struct Reject<'a> {
    /// The input that it came from.
    pub(super) input: Cow<'a, str>,
    /// Its line there; the first is 1.
    pub(super) line: u64,
    pub(super) class: &'static str,
    pub(super) reason: &'a str,
    /// The line as it came, or the event as strfry would store it; null if it was too long to keep.
    pub(super) event: Option<Cow<'a, str>>,
}

/// Writes rejects, or nothing. Shared by all threads.
#[derive(Debug, Default)]
pub(super) struct Rejects(Option<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    out: BufWriter<File>,
    error: Option<io::Error>,
}

impl Rejects {
    /// Begins the file anew.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let out = BufWriter::new(File::create(path)?);
        Ok(Self(Some(Mutex::new(Open { path: path.to_owned(), out, error: None }))))
    }

    pub(super) fn write(&self, reject: &Reject<'_>) {
        let Some(open) = &self.0 else { return };
        let Ok(mut line) = serde_json::to_vec(reject) else { return };
        line.push(b'\n');
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.error.is_none() {
            open.error = open.out.write_all(&line).err();
        }
    }

    /// Writes what is buffered; says what went wrong since the beginning.
    pub(super) fn finish(&self) -> Option<String> {
        let open = self.0.as_ref()?;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = open.out.flush().err();
        let error = open.error.take().or(flushed)?;
        Some(format!("cannot write all rejects to {}: {error}", open.path.display()))
    }
}

/// Whether events of this class are in the file: they are not in the database afterwards.
pub(super) fn is_listed(class: Class) -> bool {
    !matches!(
        class,
        Class::Imported | Class::WouldImport | Class::AlreadyPresent | Class::Duplicate
    )
}
