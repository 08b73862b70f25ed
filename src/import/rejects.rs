//! The file of those events that were not imported and are not in the database: a line of JSON
//! for each, with where it stood, why, and the event itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::accounts::Class;
use crate::files::{is_refusal, open_to_append};
use crate::jsonl::Source;
use crate::node::Precious;

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

/// Why a file is not opened for rejects. Nothing of it has been changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
#[non_exhaustive]
pub enum RejectsError {
    #[error("cannot create the file of rejects {path}: {source}")]
    Open { path: PathBuf, source: io::Error },
    #[error("the file of rejects {path} is {what}; name another one with --rejects")]
    InUse { path: PathBuf, what: String },
}

impl RejectsError {
    /// Whether another file is to be named, and not whatever went wrong mended.
    pub fn is_of_usage(&self) -> bool {
        match self {
            Self::Open { source, .. } => is_refusal(source),
            Self::InUse { .. } => true,
        }
    }
}

impl Rejects {
    /// Begins the file anew, unless it is one of these.
    pub(super) fn create(
        path: &Path,
        inputs: &[Source],
        precious: &Precious,
    ) -> Result<Self, RejectsError> {
        let cannot = |source| RejectsError::Open { path: path.to_owned(), source };
        let refuse_precious = || match precious.at(path) {
            Some(what) => Err(RejectsError::InUse { path: path.to_owned(), what }),
            None => Ok(()),
        };
        // Before it is opened, too: to close strfry's lock file would give up the locks on it.
        refuse_precious()?;
        let file = open_to_append(path).map_err(cannot)?;
        refuse_precious()?;
        let metadata = file.metadata().map_err(cannot)?;
        if let Some(input) = inputs.iter().find(|input| input.is(&metadata)) {
            let what = match input.path.to_str() {
                Some("-") => "also the input (standard input)".to_owned(),
                _ => format!("also the input {}", input.path.display()),
            };
            return Err(RejectsError::InUse { path: path.to_owned(), what });
        }
        file.set_len(0).map_err(cannot)?;
        let out = BufWriter::new(file);
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
