//! Which version a strfry says it is: whether it starts at all, asked without any database.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};

use super::child::ImportError;
use super::command::StrfryCommand;
use super::limits::EXIT_POLL;
use crate::report::clean_to;
use crate::stop::Stop;

/// What is read of each output, bytes: strfry says a line.
const READ: u64 = 2_000;
/// Columns that are kept of it.
const COLUMNS: usize = 200;

/// Why the version is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// There is no such program.
    #[error(transparent)]
    Start(#[from] ImportError),
    /// It has ended in another way, with these last words.
    #[error("strfry --version ended with {status}{said}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its words, behind a colon, or nothing.
        said: String,
    },
    /// It goes on and on.
    #[error("strfry --version did not end within {0} s")]
    Hung(u64),
}

/// Runs `strfry --version`, which opens no database, for as long as the command's patience lasts.
/// Returns the first line that it says.
///
/// # Errors
/// [`VersionError`]
pub fn version(command: &StrfryCommand, stop: &Stop) -> Result<String, VersionError> {
    command.check()?;
    let mut child = command
        .process_for_version()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| command.cannot_start(source))?;
    let deadline = Instant::now() + command.patience;
    let status = loop {
        match child.try_wait().map_err(ImportError::Wait)? {
            Some(status) => break status,
            None if stop.is_told() || Instant::now() >= deadline => {
                end(&mut child);
                return Err(VersionError::Hung(command.patience.as_secs()));
            }
            None => thread::sleep(EXIT_POLL),
        }
    };
    if status.success() {
        return Ok(lines_of(child.stdout.take()).into_iter().next().unwrap_or_default());
    }
    let said = lines_of(child.stderr.take()).pop().map(|line| format!(": {line}"));
    Err(VersionError::Ended { status, said: said.unwrap_or_default() })
}

/// Ends it with what it has started.
fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    // It may wait for a disk.
    let _ = child.try_wait();
}

/// The lines that are there: something that the program has left running may keep the other end
/// open.
fn lines_of(output: Option<impl Read + AsFd>) -> Vec<String> {
    let Some(mut output) = output else { return Vec::new() };
    let mut said = Vec::new();
    let _ = ioctl_fionbio(&output, true);
    // What was there before the end, or the pause, is kept.
    let _ = output.by_ref().take(READ).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| clean_to(line, COLUMNS).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(words: &str) -> Result<String, String> {
        let command = StrfryCommand::by_words(words, Duration::from_millis(500)).unwrap();
        version(&command, &Stop::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_says_its_version_or_why_it_does_not() {
        assert_eq!(said("sh -c 'echo strfry 1.1.1; echo more'"), Ok("strfry 1.1.1".to_owned()));
        assert_eq!(said("sh -c 'echo; printf \"\\033[2Jx\"'"), Ok("\\u{1b}[2Jx".to_owned()));
        assert_eq!(said("sh -c 'exit 0'"), Ok(String::new()));
        assert_eq!(said("sh -c 'sleep 9 & echo x'"), Ok("x".to_owned()));
        assert_eq!(
            said("sh -c 'echo no library >&2; exit 127'"),
            Err("strfry --version ended with exit status: 127: no library".to_owned())
        );
        assert_eq!(
            said("sh -c 'exit 1'"),
            Err("strfry --version ended with exit status: 1".to_owned())
        );
        assert_eq!(
            said("sh -c 'yes; sleep 99'"),
            Err("strfry --version did not end within 0 s".to_owned())
        );
        let missing = said("no-such-program").unwrap_err();
        assert!(missing.starts_with("cannot start strfry (no-such-program): "), "{missing}");
    }
}
