//! Searching directories that others fill: bounded in depth and number.
//!
//! It follows no symbolic link below the directory searched, and opens no file.

use std::path::{Path, PathBuf};
use std::{fs, io};

use walkdir::WalkDir;

use super::files::{FileError, FileProblem};

/// Directories deeper than this below the one searched are not entered.
const MAX_DEPTH: usize = 16;
/// Each directory directly below the one searched has this many entries looked at, so that one
/// stranger's tree cannot crowd out the others.
const MAX_ENTRIES: usize = 1_000_000;

/// What a search of a directory tree found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Regular files, the ones nearest to the top first, then by name.
    pub files: Vec<PathBuf>,
    /// What could not be searched, and what has the name but is no regular file.
    pub errors: Vec<FileError>,
}

/// Every file called `name` under `root`. A missing root holds none.
pub(super) fn find(root: &Path, name: &str) -> Found {
    let mut errors = Vec::new();
    let mut files = Vec::new();
    for child in children(root, &mut errors) {
        let mut entries =
            WalkDir::new(&child).follow_root_links(false).max_depth(MAX_DEPTH).into_iter();
        for entry in entries.by_ref().take(MAX_ENTRIES) {
            match entry {
                Ok(entry) if entry.file_name() != name => {}
                Ok(entry) if entry.file_type().is_file() => {
                    files.push((entry.depth(), entry.into_path()));
                }
                Ok(entry) => errors.push(FileProblem::NotAFile.at(entry.path())),
                Err(error) => {
                    let path = error.path().unwrap_or(&child).to_owned();
                    errors.push(FileProblem::from(io::Error::from(error)).at(&path));
                }
            }
        }
        if entries.next().is_some() {
            errors.push(FileProblem::TooManyEntries { limit: MAX_ENTRIES }.at(&child));
        }
    }
    files.sort();
    Found { files: files.into_iter().map(|(_, path)| path).collect(), errors }
}

/// The entries of a directory by name, hidden ones included. A missing directory has none.
pub(super) fn children(directory: &Path, errors: &mut Vec<FileError>) -> Vec<PathBuf> {
    let mut children = Vec::new();
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => errors.push(FileProblem::from(error).at(directory)),
        Ok(mut entries) => {
            for entry in entries.by_ref().take(MAX_ENTRIES) {
                match entry {
                    Ok(entry) => children.push(entry.path()),
                    Err(error) => errors.push(FileProblem::from(error).at(directory)),
                }
            }
            if entries.next().is_some() {
                errors.push(FileProblem::TooManyEntries { limit: MAX_ENTRIES }.at(directory));
            }
        }
    }
    children.sort();
    children
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_search_finds_regular_files_only_and_no_loop_holds_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("b/deep/er")).unwrap();
        fs::create_dir_all(at("a/HEX")).unwrap();
        fs::write(at("b/deep/er/HEX"), "").unwrap();
        fs::write(at("c"), "").unwrap();
        fs::write(at("b/HEX"), "").unwrap();
        symlink(root.path(), at("b/loop")).unwrap();
        symlink(at("b"), at("d")).unwrap();
        symlink(at("b/HEX"), at("b/deep/HEX")).unwrap();
        let _socket = UnixListener::bind(at("HEX")).unwrap();
        assert_eq!(
            find(root.path(), "HEX"),
            Found {
                files: vec![at("b/HEX"), at("b/deep/er/HEX")],
                errors: ["HEX", "a/HEX", "b/deep/HEX"]
                    .map(|name| FileProblem::NotAFile.at(&at(name)))
                    .into(),
            }
        );
        assert_eq!(find(&at("absent"), "HEX"), Found::default());
        assert_eq!(find(&at("c"), "HEX").errors.len(), 1);
    }
}
