//! Which data files LMDB has open in this process: it cannot have one open twice.

use std::sync::{Mutex, PoisonError};

use crate::lmdb::files::{FileId, Files};

/// A data file that LMDB has open.
#[derive(Debug)]
pub(crate) struct OpenHere(FileId);

static OPEN_HERE: Mutex<Vec<FileId>> = Mutex::new(Vec::new());

impl OpenHere {
    /// `None` if it is open already.
    pub(crate) fn new(files: &Files) -> Option<Self> {
        let mut open = OPEN_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains(&files.data()) {
            return None;
        }
        open.push(files.data());
        Some(Self(files.data()))
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        OPEN_HERE.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| *open != self.0);
    }
}
