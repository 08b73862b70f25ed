//! How the program ends: the one place where an outcome becomes an exit code.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use super::wait::StandardError;
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
    /// The reader of the output is gone. Exit code 0, unless the exit code is an answer: see
    /// [`answer`].
    Unread,
}

const USAGE: u8 = 2;
const CANNOT_RUN: u8 = 3;

impl Failure {
    /// Lets a log show the failure in place of the exit.
    pub(super) fn told_by(self, tell: impl FnOnce(&str)) -> Self {
        let (error, code) = match self {
            Self::Usage(error) => (error, USAGE),
            Self::CannotRun(error) => (error, CANNOT_RUN),
            Self::Told(_) | Self::Unread => return self,
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
        Outcome::Failure(Failure::Unread) => return ExitCode::SUCCESS,
        Outcome::Failure(Failure::Told(code)) => return ExitCode::from(code),
        Outcome::Failure(Failure::Usage(error)) => (error, USAGE),
        Outcome::Failure(Failure::CannotRun(error)) => (error, CANNOT_RUN),
    };
    tell(with_causes(error.as_ref()));
    ExitCode::from(code)
}

/// Prints what clap has to say: help, or what is wrong with an argument, which it quotes.
pub(super) fn code_of_arguments(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match report::clean_lines(&text) {
        // As clap does it, with colours.
        Cow::Borrowed(_) => drop(error.print()),
        Cow::Owned(cleaned) => drop(io::stderr().lock().write_all(cleaned.as_bytes())),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// How tokio, rayon and the standard library panic when the system starts no thread for them.
const NO_THREAD: [&str; 3] = [
    "OS can't spawn worker thread",
    "The global thread pool has not been initialized",
    "failed to spawn thread",
];

/// Ends the process if a thread cannot be started: what needs it would wait for it without end. Of
/// any other panic it says that it is a bug, in one line without what a terminal would obey.
pub(super) fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or("an unknown place".to_owned(), ToString::to_string);
    let (text, owned) = (panic.payload().downcast_ref(), panic.payload().downcast_ref());
    let message = text.copied().or(owned.map(String::as_str)).unwrap_or("no message");
    if NO_THREAD.iter().any(|words| message.contains(words)) {
        tell("cannot start a thread; raise the limit of them (ulimit -u) and run it again");
        signal_hook::low_level::exit(CANNOT_RUN.into());
    }
    tell(format_args!("bug at {place}, please report it: {message}"));
}

/// The end of a command whose exit code is an answer: the code is the same whether anybody reads the
/// output or not.
pub(super) fn answer(outcome: Outcome, printed: Result<()>) -> Result<Outcome> {
    match printed {
        Ok(()) | Err(Failure::Unread) => Ok(outcome),
        Err(failure) => Err(failure),
    }
}

/// How a run ends, once its summary has been printed, or could not be.
pub(super) fn outcome_of(status: Status, printed: Result<()>) -> Result<Outcome> {
    let outcome = match status {
        Status::Complete => Outcome::Complete,
        Status::Incomplete => Outcome::Incomplete,
        // The run has told why, on the terminal too.
        Status::Failed => Outcome::Failure(Failure::Told(CANNOT_RUN)),
    };
    answer(outcome, printed)
}

/// One line on the terminal, if there is still somebody to read it.
pub(super) fn tell(text: impl Display) {
    let text = text.to_string();
    let line = format!("strfry-companion: {}\n", report::clean(&text));
    let _ = StandardError.write_all(line.as_bytes());
}
