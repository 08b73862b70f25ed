//! Opening files that others write: regular ones of a bounded size.
//!
//! It never opens a pipe or a device, and never writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {path:?}: {problem}")]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Nothing has this name.
    #[error("it does not exist")]
    Missing,
    /// The operating system says no, in its words.
    #[error("{0}; check its permissions")]
    Unreadable(String),
    /// A directory, a pipe, a device or, where links are not followed, a link.
    #[error("not a regular file; remove it or put a file in its place")]
    NotAFile,
    /// Larger than such a file can sensibly be.
    #[error("larger than {limit} bytes; remove it or split it")]
    TooLarge {
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// A directory tree of which only the beginning was searched.
    #[error("more than {limit} entries in it; the rest was not looked at")]
    TooManyEntries {
        /// The most that is looked at.
        limit: usize,
    },
}

impl FileProblem {
    pub(super) fn at(self, path: &Path) -> FileError {
        FileError { path: path.to_owned(), problem: self }
    }
}

impl From<io::Error> for FileProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if crate::files::is_refusal(&error) => Self::NotAFile,
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// Opens a regular file, or a link to one, of at most `limit` bytes. What the file grows by
/// afterwards is not read.
pub(super) fn open(path: &Path, limit: u64) -> Result<io::Take<File>, FileProblem> {
    let file = crate::files::open_to_read(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileProblem::NotAFile);
    }
    if metadata.len() > limit {
        return Err(FileProblem::TooLarge { limit });
    }
    Ok(file.take(limit))
}

/// The content of a regular file, or of a link to one.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileProblem> {
    let mut content = Vec::new();
    open(path, limit)?.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_small_regular_file_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5), Ok(b"12345".to_vec()));
        assert_eq!(read(&file, 4), Err(FileProblem::TooLarge { limit: 4 }));
        assert_eq!(read(root.path(), 5), Err(FileProblem::NotAFile));
        assert_eq!(read(Path::new("/dev/zero"), 5), Err(FileProblem::NotAFile));
        assert_eq!(read(&root.path().join("absent"), 5), Err(FileProblem::Missing));
        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(read(&pipe, 5), Err(FileProblem::NotAFile));
    }
}
