//! Whether a run can write its files. None of them is opened to be written to, or created.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::finding::{Check, Finding, Trouble};
use crate::files::{Way, is_refusal, may_create_directory, may_write};
use crate::node::Precious;

/// A file that a run writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it is.
    pub check: Check,
    /// Where it is, or will be.
    pub path: PathBuf,
    /// How it is written.
    pub way: Way,
    /// A run reads it, too.
    pub is_read: bool,
    /// A run makes its directory.
    pub makes_directory: bool,
    /// The option that names another place, if there is one.
    pub option: Option<&'static str>,
}

/// Looks at each of these files.
pub fn files(written: &[Written], precious: &Precious) -> Vec<Finding> {
    written.iter().map(|file| look(file, precious)).collect()
}

fn look(file: &Written, precious: &Precious) -> Finding {
    let subject = file.path.display();
    if let Some(what) = precious.behind(&file.path) {
        let trouble = Trouble::new(
            format!("it is a link to a file that is {what}"),
            "put a file of its own in its place",
        );
        return Finding::error(file.check, subject, trouble);
    }
    // That is named by the operator, who may name anything.
    if let Some(what) = precious.at(&file.path).filter(|_| file.check == Check::FilesMetrics) {
        let trouble = Trouble::new(format!("it is {what}"), "name another file with --metrics");
        return Finding::error(file.check, subject, trouble);
    }
    match may(file) {
        Ok(found) => Finding::ok(file.check, subject, found),
        Err(error) => Finding::error(file.check, subject, trouble_of(file, &error)),
    }
}

fn may(file: &Written) -> io::Result<&'static str> {
    let directory = file.path.parent().unwrap_or(Path::new("."));
    match may_write(&file.path, file.way) {
        Ok(true) if file.is_read => {
            access(&file.path, Access::READ_OK)?;
            Ok("can be read and written")
        }
        Ok(true) => Ok("can be written"),
        Ok(false) => Ok("can be created"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.makes_directory => {
            may_create_directory(directory)?;
            Ok("can be created, with its directory")
        }
        Err(error) => Err(error),
    }
}

fn trouble_of(file: &Written, error: &io::Error) -> Trouble {
    let message = error.to_string();
    if is_refusal(error) {
        return Trouble::of_message(&message, "move it away");
    }
    let elsewhere = file.option.map(|option| format!(", or name another place with {option}"));
    let elsewhere = elsewhere.unwrap_or_default();
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run as the user who owns the file and its directory (chown them to that user)"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount that file system writable",
        io::ErrorKind::IsADirectory => "move away the directory in its place",
        io::ErrorKind::NotADirectory => "move away the file that is in the place of a directory",
        io::ErrorKind::NotFound => "create its directory",
        _ => "check the disk and the path",
    };
    Trouble::new(format!("cannot be written: {message}"), format!("{remedy}{elsewhere}"))
}
