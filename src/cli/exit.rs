//! How the program ends: the one place where an outcome becomes an exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use super::signals::StandardError;
use crate::import::Status;
use crate::report::{self, with_causes};

/// How a command ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done. Exit code 0.
    Complete,
    /// Finished, and something is incomplete or missing. Exit code 1.
    Incomplete,
    /// Not done.
    Failure(Failure),
}

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// Wrong usage or configuration. Exit code 2.
    Usage(anyhow::Error),
    /// Trouble with the database, strfry, or the files of a run. Exit code 3.
    CannotRun(anyhow::Error),
    /// Either of them, with its exit code, when the run's log has shown it already.
    Told(u8),
}

const USAGE: u8 = 2;
const CANNOT_RUN: u8 = 3;

impl Failure {
    /// Whether whoever read the program's output has gone.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let Self::CannotRun(error) = self else { return false };
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Lets a log show the failure in place of the exit.
    pub(super) fn told_by(self, tell: impl FnOnce(&str)) -> Self {
        let (error, code) = match self {
            Self::Usage(error) => (error, USAGE),
            Self::CannotRun(error) => (error, CANNOT_RUN),
            Self::Told(_) => return self,
        };
        tell(&with_causes(error.as_ref()));
        Self::Told(code)
    }
}

/// What a command returns.
pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Tells the two kinds of failure apart at the place where they come up.
pub(super) trait OrFail<T> {
    /// An error here is one of usage or configuration.
    fn or_usage(self) -> Result<T>;
    /// An error here means that the program cannot do its work.
    fn or_cannot_run(self) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_usage(self) -> Result<T> {
        self.map_err(|error| Failure::Usage(error.into()))
    }

    fn or_cannot_run(self) -> Result<T> {
        self.map_err(|error| Failure::CannotRun(error.into()))
    }
}

/// Prints what must be said and returns the exit code.
pub(super) fn code(outcome: Outcome) -> ExitCode {
    let (error, code) = match outcome {
        Outcome::Complete => return ExitCode::SUCCESS,
        Outcome::Incomplete => return ExitCode::from(1),
        // Whoever read our output has seen enough.
        Outcome::Failure(failure) if failure.is_broken_pipe() => return ExitCode::SUCCESS,
        Outcome::Failure(Failure::Told(code)) => return ExitCode::from(code),
        Outcome::Failure(Failure::Usage(error)) => (error, USAGE),
        Outcome::Failure(Failure::CannotRun(error)) => (error, CANNOT_RUN),
    };
    tell(with_causes(error.as_ref()));
    ExitCode::from(code)
}

/// How a run ends whose summary has been printed, or could not be. Whether anybody reads it or
/// not, the exit code tells how the run went.
pub(super) fn outcome_of(status: Status, printed: Result<()>) -> Result<Outcome> {
    if let Err(failure) = printed
        && !failure.is_broken_pipe()
    {
        return Err(failure);
    }
    match status {
        Status::Complete => Ok(Outcome::Complete),
        Status::Incomplete => Ok(Outcome::Incomplete),
        // The run has told why, on the terminal too.
        Status::Failed => Err(Failure::Told(CANNOT_RUN)),
    }
}

/// One line on the terminal, if there is still somebody to read it.
pub(super) fn tell(text: impl Display) {
    let text = text.to_string();
    let line = format!("strfry-companion: {}\n", report::clean(&text));
    let _ = StandardError.write_all(line.as_bytes());
}
