//! The log of one run: the log file, the error log, and what of both the terminal shows.
//!
//! Not a global logger: each run has its own, so that many can live in one process. Trouble with
//! the files never stops a run; it is remembered, to be told at the end.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Zoned;

use super::{Color, Progress, clean};
use crate::files;

/// The error log is rotated when a run finds it larger than this many bytes.
const ROTATED_PAST: u64 = 10 * 1024 * 1024;
/// Rotated error logs that are kept, as `.1` (newest) to `.3`.
pub(crate) const ROTATED_KEPT: u8 = 3;

/// Why a run has no log.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}{}", path.display(), self.advice())]
pub struct OpenLogError {
    /// What was tried, such as `open the log`.
    pub step: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl OpenLogError {
    /// What to do, unless the source says it.
    fn advice(&self) -> &'static str {
        match files::is_refusal(&self.source) {
            true => "",
            false => {
                ": check that its directory exists and is writable, and that the disk is not full"
            }
        }
    }
}

/// Lines that should be in a log file and are not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{lost} log lines are lost: cannot write {}: {reason}; check the disk", path.display())]
pub struct WriteFailed {
    /// The file whose writing went wrong first.
    pub path: PathBuf,
    /// What the system said then.
    pub reason: String,
    /// Lines lost since, of both files.
    pub lost: u64,
}

/// What the terminal (stderr) gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// If false, nothing at all.
    pub enabled: bool,
    /// Every line; otherwise WARN and ERROR only, and of these not what [`RunLog::record`] writes.
    pub verbose: bool,
}

/// A level, as lines name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What a run does.
    Info,
    /// Something is missing or was refused, and the run goes on.
    Warn,
    /// A part of the run was not done.
    Error,
    /// For whoever looks for a fault.
    Debug,
    /// How long something took.
    Perf,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Debug => "DEBUG",
            Self::Perf => "PERF",
        }
    }

    /// A line of this level, with its name in its colour.
    fn paint_in(self, line: &str) -> String {
        let color = match self {
            Self::Warn => Color::Yellow,
            Self::Error => Color::Red,
            Self::Info | Self::Debug | Self::Perf => return line.to_owned(),
        };
        let name = format!("[{}]", self.name());
        line.replacen(&name, &color.paint(&name), 1)
    }

    const fn is_trouble(self) -> bool {
        matches!(self, Self::Warn | Self::Error)
    }
}

/// The log of a run. Clones write to the same files, from any thread.
///
/// Every message becomes one line: control and bidi characters in it are escaped. Text from
/// outside needs [`super::clean_for_log`] besides, which also defuses the words that other
/// programs look for.
#[derive(Clone)]
pub struct RunLog {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    files: Option<Files>,
    write_failed: Option<WriteFailed>,
    terminal: Terminal,
    terminal_output: Box<dyn Write + Send>,
    progress: Option<Progress>,
    is_colored: bool,
}

struct Files {
    log: LogFile,
    error_log: Option<LogFile>,
}

struct LogFile {
    path: PathBuf,
    file: File,
    /// The last write may have left half a line.
    torn: bool,
}

impl RunLog {
    /// Starts the log afresh and appends to the error log, after rotating it if it has grown past
    /// 10 MiB. Only for the run that holds the lock: it empties the log of any other.
    ///
    /// # Errors
    /// If a file cannot be opened, emptied or rotated. Directories are not created.
    pub fn open(
        log_path: &Path,
        error_log_path: &Path,
        terminal: Terminal,
    ) -> Result<Self, OpenLogError> {
        let error_log = LogFile::open_rotated(error_log_path)?;
        let files = Files { log: LogFile::open_empty(log_path)?, error_log: Some(error_log) };
        Ok(Self::new(Some(files), terminal, Box::new(io::stderr())))
    }

    /// Starts a log afresh that neither the terminal nor an error log shows.
    ///
    /// # Errors
    /// As [`RunLog::open`].
    pub fn open_quiet(path: &Path) -> Result<Self, OpenLogError> {
        let files = Files { log: LogFile::open_empty(path)?, error_log: None };
        let terminal = Terminal { enabled: false, verbose: false };
        Ok(Self::new(Some(files), terminal, Box::new(io::sink())))
    }

    /// For a run that must not or cannot write files.
    pub fn terminal_only(terminal: Terminal) -> Self {
        Self::new(None, terminal, Box::new(io::stderr()))
    }

    /// Writes nothing anywhere.
    pub fn discard() -> Self {
        Self::terminal_only(Terminal { enabled: false, verbose: false })
    }

    fn new(
        files: Option<Files>,
        terminal: Terminal,
        terminal_output: Box<dyn Write + Send>,
    ) -> Self {
        let shared = Shared {
            files,
            write_failed: None,
            terminal,
            terminal_output,
            progress: None,
            is_colored: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// From now on, lines on the terminal make this progress line step aside.
    pub fn attach(&self, progress: Progress) {
        self.with(|shared| shared.progress = Some(progress));
    }

    /// From now on the terminal shows trouble in colours, or not.
    pub fn show_colors(&self, is_colored: bool) {
        self.with(|shared| shared.is_colored = is_colored);
    }

    /// From now on, lines for the terminal go there instead of to standard error.
    pub fn show_on(&self, output: impl Write + Send + 'static) {
        self.with(|shared| shared.terminal_output = Box::new(output));
    }

    /// Writes an INFO line.
    pub fn info(&self, text: impl Display) {
        self.write(Level::Info, text);
    }

    /// Writes a WARN line.
    pub fn warn(&self, text: impl Display) {
        self.write(Level::Warn, text);
    }

    /// Writes an ERROR line.
    pub fn error(&self, text: impl Display) {
        self.write(Level::Error, text);
    }

    /// Writes a DEBUG line.
    pub fn debug(&self, text: impl Display) {
        self.write(Level::Debug, text);
    }

    /// Writes a PERF line.
    pub fn perf(&self, text: impl Display) {
        self.write(Level::Perf, text);
    }

    /// Writes a line of this level.
    pub fn write(&self, level: Level, text: impl Display) {
        self.put(level, text, level.is_trouble());
    }

    /// Writes a line of this level that a quiet terminal does not show, because the summary at the
    /// end of the run tells the same.
    pub fn record(&self, level: Level, text: impl Display) {
        self.put(level, text, false);
    }

    fn put(&self, level: Level, text: impl Display, is_for_all: bool) {
        // Before the lock, because showing `text` may itself want to log.
        let text = text.to_string();
        self.with(|shared| {
            let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S");
            let line = format!("[{time}] [{}] {}\n", level.name(), clean(&text));
            shared.write(level, &line, is_for_all);
        });
    }

    /// If lines are missing in the files: why and how many.
    pub fn write_failed(&self) -> Option<WriteFailed> {
        self.with(|shared| shared.write_failed.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for RunLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunLog").finish_non_exhaustive()
    }
}

impl Shared {
    fn write(&mut self, level: Level, line: &str, is_for_all: bool) {
        if let Some(files) = &mut self.files {
            files.log.write(line, &mut self.write_failed);
            if let Some(error_log) = files.error_log.as_mut().filter(|_| level.is_trouble()) {
                error_log.write(line, &mut self.write_failed);
            }
        }
        if self.terminal.enabled && (self.terminal.verbose || is_for_all) {
            // A terminal that is gone is no reason to stop, and there is nobody left to tell.
            let output = &mut self.terminal_output;
            let line = match self.is_colored {
                true => Cow::Owned(level.paint_in(line)),
                false => Cow::Borrowed(line),
            };
            let mut show = || {
                let _ = output.write_all(line.as_bytes());
                let _ = output.flush();
            };
            match &self.progress {
                Some(progress) => progress.suspend(show),
                None => show(),
            }
        }
    }
}

impl LogFile {
    fn open(path: &Path, step: &'static str) -> Result<Self, OpenLogError> {
        // Appending also in the log: should anybody else empty it, no hole of zeroes follows.
        let file = files::open_to_append(path);
        let file = file.map_err(|source| OpenLogError { step, path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, torn: false })
    }

    fn open_rotated(path: &Path) -> Result<Self, OpenLogError> {
        const STEP: &str = "open the error log";
        let log = Self::open(path, STEP)?;
        if !log.file.metadata().is_ok_and(|metadata| metadata.len() > ROTATED_PAST) {
            return Ok(log);
        }
        files::rotate(path, ROTATED_KEPT).map_err(|error| OpenLogError {
            step: "rotate the error log",
            path: error.path,
            source: error.source,
        })?;
        Self::open(path, STEP)
    }

    fn open_empty(path: &Path) -> Result<Self, OpenLogError> {
        let log = Self::open(path, "open the log")?;
        log.file.set_len(0).map_err(|source| OpenLogError {
            step: "empty the log",
            path: path.to_owned(),
            source,
        })?;
        Ok(log)
    }

    fn write(&mut self, line: &str, failed: &mut Option<WriteFailed>) {
        let written = match self.torn {
            true => self.file.write_all(format!("\n{line}").as_bytes()),
            false => self.file.write_all(line.as_bytes()),
        };
        self.torn = written.is_err();
        if let Err(error) = written {
            let failed = failed.get_or_insert_with(|| WriteFailed {
                path: self.path.clone(),
                reason: error.to_string(),
                lost: 0,
            });
            failed.lost = failed.lost.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
