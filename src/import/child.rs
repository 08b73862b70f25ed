//! One `strfry import` process: started, written to, listened to, and never left behind.
//!
//! Its standard error is drained by a thread of its own, so that it can never block on its log
//! while we block on its input. Nothing here believes its totals or its exit status 0.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};

use super::encode::StoredEvent;
use super::limits::{
    DEBOUNCE, LOG_LINE, PATIENCE_AFTER_SIGTERM, QUOTED_LINES, REMEMBERED_REJECTIONS, WRITE_BATCH,
    WRITE_BUFFER,
};

/// How strfry is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrfryCommand {
    /// The executable.
    pub binary: PathBuf,
    /// Passed as `--config`; relative paths in it are relative to `directory`.
    pub config: PathBuf,
    /// strfry's working directory.
    pub directory: PathBuf,
    /// How long it may do nothing before it counts as hanging.
    pub patience: Duration,
}

/// In which form strfry is given events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// JSON, which strfry parses and packs again.
    Plain,
    /// JSON and the PackedEvent; strfry trusts both.
    Fried,
}

/// Why strfry could not be given everything. Its own last lines are quoted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImportError {
    #[error("cannot start strfry ({binary}): {source}; name it with --strfry-bin")]
    Start { binary: PathBuf, source: io::Error },
    #[error("{binary} is not an executable file; name strfry with --strfry-bin")]
    NotExecutable { binary: PathBuf },
    #[error("strfry import ended with {status}{log}")]
    Died { status: ExitStatus, log: Quote },
    #[error("strfry import stopped taking events ({source}){log}")]
    Pipe { source: io::Error, log: Quote },
    #[error("strfry import did nothing for {seconds} s and was ended{log}")]
    Hung { seconds: u64, log: Quote },
    #[error("cannot wait for strfry: {0}")]
    Wait(#[source] io::Error),
    #[error("cannot see what the database holds: {0}")]
    Database(#[from] crate::strfry_db::ReadError),
    #[error("a thread of the import panicked")]
    Panicked,
}

/// The last lines of strfry's log, for an error message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quote(Vec<String>);

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str(" and wrote nothing to its log"),
            lines => write!(f, "; its last lines: {}", lines.join(" | ")),
        }
    }
}

impl StrfryCommand {
    /// Whether there is something to execute.
    ///
    /// # Errors
    /// [`ImportError::Start`] or [`ImportError::NotExecutable`]
    pub fn check(&self) -> Result<(), ImportError> {
        let binary = self.binary.clone();
        match std::fs::metadata(&binary) {
            Err(source) => Err(ImportError::Start { binary, source }),
            Ok(metadata) => {
                let may_run = rustix::fs::access(&binary, rustix::fs::Access::EXEC_OK).is_ok();
                if metadata.is_file() && may_run {
                    Ok(())
                } else {
                    Err(ImportError::NotExecutable { binary })
                }
            }
        }
    }
}

/// What the child has said.
#[derive(Debug)]
struct ChildLog {
    last_lines: VecDeque<String>,
    rejections: VecDeque<String>,
    /// Events of which it has said that it is through with them, for better or worse.
    taken: u64,
    last_line_at: Instant,
    ended: bool,
}

#[derive(Debug)]
struct SharedLog {
    log: Mutex<ChildLog>,
    changed: Condvar,
}

/// A running `strfry import`.
#[derive(Debug)]
pub(super) struct ImportChild {
    child: Child,
    /// `None` once the end of input has been signalled.
    stdin: Option<ChildStdin>,
    buffer: Vec<u8>,
    log: Arc<SharedLog>,
    form: Form,
    patience: Duration,
    reaped: bool,
}

impl ImportChild {
    /// Starts `strfry import --no-verify`: only for events that were checked.
    pub(super) fn start(command: &StrfryCommand, form: Form) -> Result<Self, ImportError> {
        let start = |source| ImportError::Start { binary: command.binary.clone(), source };
        let mut child = Command::new(&command.binary)
            .arg("--config")
            .arg(&command.config)
            .args(["import", "--show-rejected", "--no-verify"])
            .arg(format!("--write-batch={WRITE_BATCH}"))
            .arg(format!("--debounce-millis={}", DEBOUNCE.as_millis()))
            .args((form == Form::Fried).then_some("--fried"))
            .current_dir(&command.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: we end its input and let it commit.
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let log = Arc::new(SharedLog {
            log: Mutex::new(ChildLog {
                last_lines: VecDeque::new(),
                rejections: VecDeque::new(),
                taken: 0,
                last_line_at: Instant::now(),
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let stdin = child.stdin.take();
        let stderr = child.stderr.take();
        let this = Self {
            child,
            stdin,
            buffer: Vec::with_capacity(2 * WRITE_BUFFER),
            log: Arc::clone(&log),
            form,
            patience: command.patience,
            reaped: false,
        };
        if let Some(stdin) = &this.stdin {
            // Writes that would block are waited for with a time-out instead.
            let flags = rustix::fs::fcntl_getfl(stdin).map_err(|error| start(error.into()))?;
            rustix::fs::fcntl_setfl(stdin, flags | OFlags::NONBLOCK)
                .map_err(|error| start(error.into()))?;
        }
        if let Some(stderr) = stderr {
            thread::Builder::new()
                .name("strfry-log".to_owned())
                .spawn(move || log.drain(stderr))
                .map_err(start)?;
        }
        Ok(this)
    }

    /// Hands an event over. May wait for strfry.
    pub(super) fn write(&mut self, event: &StoredEvent) -> Result<(), ImportError> {
        match self.form {
            Form::Plain => event.push_line(&mut self.buffer),
            Form::Fried => event.push_fried_line(&mut self.buffer),
        }
        if self.buffer.len() >= WRITE_BUFFER { self.flush() } else { Ok(()) }
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), ImportError> {
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let mut written = 0;
        let mut last_progress = Instant::now();
        while let Some(rest) = self.buffer.get(written..).filter(|rest| !rest.is_empty()) {
            match stdin.write(rest) {
                Ok(bytes) => {
                    written += bytes;
                    last_progress = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let patience = self
                        .patience
                        .saturating_sub(last_progress.max(self.log.lock().last_line_at).elapsed());
                    if patience.is_zero() {
                        return Err(self.end_hung());
                    }
                    wait_until_writable(stdin, patience);
                }
                Err(source) => {
                    self.buffer.clear();
                    return Err(self.end_broken(source));
                }
            }
        }
        self.buffer.clear();
        Ok(())
    }

    /// How many of the events that it was given strfry says that it is through with. A hint when
    /// to look: nothing is believed of it.
    pub(super) fn taken(&self) -> u64 {
        self.log.lock().taken
    }

    /// Waits for strfry to be through with more events than these, at most for its patience.
    /// False: it has ended, or said nothing for too long.
    pub(super) fn wait_for_more_than(&self, taken: u64) -> bool {
        let log = self.log.lock();
        let (log, result) = self
            .log
            .changed
            .wait_timeout_while(log, self.patience, |log| log.taken <= taken && !log.ended)
            .unwrap_or_else(PoisonError::into_inner);
        !log.ended && !result.timed_out()
    }

    /// Signals the end of input, waits for strfry to commit and exit. Returns the rejections that
    /// it logged, each from the words `Rejected event` on.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ImportError> {
        self.flush()?;
        let status = self.end()?;
        let log = self.log.lock();
        if !status.success() {
            return Err(ImportError::Died { status, log: log.quote() });
        }
        Ok(log.rejections.iter().cloned().collect())
    }

    /// Ends a child whose input broke: it is dead or dying, and its status says more than the
    /// broken pipe does.
    fn end_broken(&mut self, source: io::Error) -> ImportError {
        match self.end() {
            Ok(status) if !status.success() => {
                ImportError::Died { status, log: self.log.lock().quote() }
            }
            Ok(_) => ImportError::Pipe { source, log: self.log.lock().quote() },
            Err(error) => error,
        }
    }

    /// End of input first, then patience for as long as it keeps saying something, then force.
    fn end(&mut self) -> Result<ExitStatus, ImportError> {
        self.stdin = None;
        loop {
            let log = self.log.lock();
            let quiet = log.last_line_at.elapsed();
            if log.ended {
                break;
            }
            if quiet >= self.patience {
                drop(log);
                return Err(self.end_hung());
            }
            let (log, _) = self
                .log
                .changed
                .wait_timeout_while(log, self.patience - quiet, |log| !log.ended)
                .unwrap_or_else(PoisonError::into_inner);
            drop(log);
        }
        // Its standard error is closed: it has exited, or is about to.
        match self.wait_for_exit(self.patience)? {
            Some(status) => Ok(status),
            None => Err(self.end_hung()),
        }
    }

    /// It may still be waiting for the database's lock and commit: so the end of input and more
    /// patience come before force.
    fn end_hung(&mut self) -> ImportError {
        let had_its_chance = self.stdin.take().is_none();
        let seconds = self.patience.as_secs();
        if !had_its_chance && matches!(self.wait_for_exit(self.patience), Ok(Some(_))) {
            return ImportError::Hung { seconds, log: self.log.lock().quote() };
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if !matches!(self.wait_for_exit(PATIENCE_AFTER_SIGTERM), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.reaped = true;
        }
        ImportError::Hung { seconds, log: self.log.lock().quote() }
    }

    fn wait_for_exit(&mut self, patience: Duration) -> Result<Option<ExitStatus>, ImportError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().map_err(ImportError::Wait)? {
                self.reaped = true;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ImportChild {
    /// Whatever happened: strfry gets its end of input and the time to commit.
    fn drop(&mut self) {
        if !self.reaped {
            let _ = self.end();
        }
    }
}

fn wait_until_writable(stdin: &ChildStdin, patience: Duration) {
    let mut fds = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT)];
    // Woken at least once a second to look whether strfry has said something meanwhile.
    let patience = patience.min(Duration::from_secs(1));
    let patience = Timespec::try_from(patience).ok();
    // An interrupted or failed poll shows in the next write.
    let _ = poll(&mut fds, patience.as_ref());
}

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, ChildLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the child's standard error to its end.
    fn drain(&self, stderr: ChildStderr) {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut head = (&mut stderr).take(LOG_LINE as u64);
            match head.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if line.last() != Some(&b'\n') && !skip_line(&mut stderr) {
                self.lock().push(&line);
                break;
            }
            self.lock().push(&line);
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

/// Skips the rest of a line that is too long; false at the end.
fn skip_line(stderr: &mut impl BufRead) -> bool {
    loop {
        let Ok(buffer) = stderr.fill_buf() else { return false };
        if buffer.is_empty() {
            return false;
        }
        match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                stderr.consume(end + 1);
                return true;
            }
            None => {
                let length = buffer.len();
                stderr.consume(length);
            }
        }
    }
}

impl ChildLog {
    fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        self.taken += taken(&line);
        self.last_line_at = Instant::now();
        if let Some(start) = line.find("Rejected event") {
            let rejection = line.get(start..).unwrap_or_default().to_owned();
            push_bounded(&mut self.rejections, rejection, REMEMBERED_REJECTIONS);
        }
        push_bounded(&mut self.last_lines, line, QUOTED_LINES);
    }

    fn quote(&self) -> Quote {
        Quote(self.last_lines.iter().cloned().collect())
    }
}

/// The sum of strfry's line `Writer: added: 1 dups: 2 replaced: 3 deleted: 4`, which it writes
/// after each commit; 0 for any other.
fn taken(line: &str) -> u64 {
    let Some((_, counts)) = line.split_once("Writer: added: ") else { return 0 };
    let numbers = counts.split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
}

fn push_bounded(queue: &mut VecDeque<String>, item: String, bound: usize) {
    queue.push_back(item);
    if queue.len() > bound {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_says_how_many_events_are_through() {
        let line = "2026-01-01 00:00:00.000 (   1.0s) [Writer          ]INFO| \
                    Writer: added: 1 dups: 20 replaced: 300 deleted: 4000";
        assert_eq!(taken(line), 4_321);
        assert_eq!(taken("Committed 7. Processed 7 lines. 7 added, 0 rejected, 0 dups"), 0);
    }
}
