//! One `strfry import` process: started, written to, and never left behind.
//!
//! Nothing here waits for strfry to do anything: whoever waits also looks at the clock, and into
//! the database. Its exit status 0 and its totals are not believed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::child_log::{ChildLog, Quote};
use super::command::StrfryCommand;
use super::encode::StoredEvent;
use super::limits::{
    DEBOUNCE, EXIT_POLL, PATIENCE_AFTER_END_OF_INPUT, PATIENCE_AFTER_SIGKILL,
    PATIENCE_AFTER_SIGTERM, WRITE_BATCH, WRITE_BUFFER,
};

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
#[non_exhaustive]
pub enum ImportError {
    #[error("cannot start strfry ({program}): {source}; {remedy}")]
    Start { program: String, source: io::Error, remedy: &'static str },
    #[error("{program} is not an executable file; {remedy}")]
    NotExecutable { program: String, remedy: &'static str },
    #[error("strfry import ended with {status}{}{log}", log.cause())]
    Died { status: ExitStatus, log: Quote },
    #[error(
        "strfry import ended with {status} before the end of its input, and left {unread} bytes of it unread{}{log}",
        hint(*.has_read)
    )]
    EndedEarly { status: ExitStatus, unread: u64, has_read: bool, log: Quote },
    #[error("strfry import did nothing for {seconds} s and was ended{}{log}", hint(*.has_read))]
    Hung { seconds: u64, has_read: bool, log: Quote },
    /// What strfry has committed is settled all the same.
    #[error(
        "strfry import was ended before it had committed everything, because this run was told \
         to stop; run it again for the rest{log}"
    )]
    Stopped { log: Quote },
    #[error(
        "strfry says that it added {added} events and held {dups} before, and the database at {db} \
         holds none of them: it writes into another database; {what_to_check}"
    )]
    Elsewhere { added: u64, dups: u64, db: PathBuf, what_to_check: String },
    #[error(
        "strfry was to make a database in {db} and has made none there: it uses another one; \
         {what_to_check}{log}"
    )]
    NotMade { db: PathBuf, what_to_check: String, log: Quote },
    #[error("cannot wait for strfry: {0}")]
    Wait(#[source] io::Error),
    #[error(
        "cannot read again an event that strfry was given: {0}; look whether the disk of the state \
         directory is sound, and run it again for the rest"
    )]
    Spool(#[source] io::Error),
    #[error("cannot see what the database holds: {0}")]
    Database(#[from] crate::strfry_db::ReadError),
    #[error("a thread of the import panicked")]
    Panicked,
}

impl ImportError {
    /// Whether the import failed; else it was told to stop before its end.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Stopped { .. })
    }
}

fn hint(has_read: bool) -> &'static str {
    if has_read {
        ""
    } else {
        "; it has read nothing at all: whatever starts it must pass standard input on to it (such \
         as docker with -i)"
    }
}

/// How strfry gathers the events of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gathering {
    /// How long it waits for more than there are, unless its input ends.
    pub(super) time: Duration,
    /// It commits no more together, and waits for no more.
    pub(super) most: usize,
}

impl Gathering {
    /// Where commits are cheap, or somebody waits for them.
    pub(super) const PROMPT: Self = Self { time: DEBOUNCE, most: WRITE_BATCH };
}

/// A running `strfry import`.
#[derive(Debug)]
pub(super) struct ImportChild {
    child: Child,
    pid: Pid,
    /// `None` once the end of input has been signalled.
    stdin: Option<ChildStdin>,
    /// Lines, of which the first `in_pipe` bytes have been written.
    buffer: Vec<u8>,
    begun: usize,
    /// Bytes that have been written into the pipe.
    written: u64,
    /// Nobody can read what is written.
    is_deaf: bool,
    pub(super) log: ChildLog,
    form: Form,
    is_reaped: bool,
}

impl ImportChild {
    /// Starts `strfry import --no-verify`: only for events that were checked.
    pub(super) fn start(
        command: &StrfryCommand,
        form: Form,
        gathering: Gathering,
    ) -> Result<Self, ImportError> {
        let start = |source| command.cannot_start(source);
        let mut child = command
            .process()
            .args(["import", "--show-rejected", "--no-verify"])
            .arg(format!("--write-batch={}", gathering.most))
            .arg(format!("--debounce-millis={}", gathering.time.as_millis()))
            .args((form == Form::Fried).then_some("--fried"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for us: we end its input and let it commit. And what a wrapper has started
            // can be ended with it.
            .process_group(0)
            .spawn()
            .map_err(start)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let this = Self {
            pid: Pid::from_child(&child),
            child,
            stdin,
            buffer: Vec::with_capacity(2 * WRITE_BUFFER),
            begun: 0,
            written: 0,
            is_deaf: false,
            log: ChildLog::default(),
            form,
            is_reaped: false,
        };
        if let Some(stdin) = &this.stdin {
            // Writes that would block are waited for with a time-out instead.
            let flags = rustix::fs::fcntl_getfl(stdin).map_err(|error| start(error.into()))?;
            rustix::fs::fcntl_setfl(stdin, flags | OFlags::NONBLOCK)
                .map_err(|error| start(error.into()))?;
        }
        if let Some(stderr) = stderr {
            this.log.drain(stderr).map_err(start)?;
        }
        Ok(this)
    }

    /// Puts an event behind what is to be written. True: there is enough to be written now.
    pub(super) fn push(&mut self, event: &StoredEvent) -> bool {
        match self.form {
            Form::Plain => event.push_line(&mut self.buffer),
            Form::Fried => event.push_fried_line(&mut self.buffer),
        }
        self.buffer.len() >= WRITE_BUFFER
    }

    /// Writes what the pipe takes without waiting. True: nothing is left.
    pub(super) fn write_some(&mut self) -> bool {
        while let Some(rest @ [_, ..]) = self.buffer.get(self.begun..) {
            let Some(stdin) = &mut self.stdin else { return false };
            match stdin.write(rest) {
                Ok(bytes) => {
                    self.begun = self.begun.saturating_add(bytes);
                    self.written = self.written.saturating_add(bytes as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.is_deaf = true;
                    return false;
                }
            }
        }
        self.buffer.clear();
        self.begun = 0;
        true
    }

    /// Bytes that strfry has read: a pipe takes some without being read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.written.saturating_sub(self.in_pipe())
    }

    /// Bytes that it has been given, or was to be given, and has not read.
    pub(super) fn unread(&self) -> u64 {
        self.in_pipe().saturating_add(self.buffer.len().saturating_sub(self.begun) as u64)
    }

    /// Linux tells it at this end of the pipe too, also when nobody holds the other end any more.
    fn in_pipe(&self) -> u64 {
        self.stdin.as_ref().and_then(|stdin| ioctl_fionread(stdin).ok()).unwrap_or(0)
    }

    /// Whether it has closed its standard input, and so has everything that it has started.
    pub(super) fn is_deaf(&mut self) -> bool {
        if let Some(stdin) = &self.stdin
            && !self.is_deaf
        {
            let mut ready = [PollFd::new(stdin, PollFlags::OUT)];
            let polled = poll(&mut ready, Some(&Timespec::default()));
            let [ready] = ready;
            self.is_deaf = polled.is_ok() && ready.revents().contains(PollFlags::ERR);
        }
        self.is_deaf
    }

    /// Waits until the pipe takes something, not longer than this.
    pub(super) fn wait_until_writable(&self, longest: Duration) {
        match &self.stdin {
            Some(stdin) if !self.is_deaf => {
                let mut ready = [PollFd::new(stdin, PollFlags::OUT)];
                // An interrupted or failed poll shows in the next write.
                let _ = poll(&mut ready, Timespec::try_from(longest).ok().as_ref());
            }
            _ => thread::sleep(longest),
        }
    }

    /// Bytes that it, and what it has started and waited for, has written; its few lines of log are
    /// among them. `None` where Linux does not count them, or for somebody else's process.
    ///
    /// Not `write_bytes`, which counts the whole of a large folio for each page in it that is
    /// written: 39 GB where the disk got 6.8.
    pub(super) fn bytes_written(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid.as_raw_nonzero())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("wchar:"))?;
        line.trim().parse().ok()
    }

    /// Tells it that nothing more comes.
    pub(super) fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Whether it has exited; what it has started may still run.
    pub(super) fn has_exited(&self) -> bool {
        // It is not waited for yet, so that its process group keeps its number.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.is_reaped || !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// The exit status of one that has exited.
    pub(super) fn reap(mut self) -> Result<ExitStatus, ImportError> {
        self.is_reaped = true;
        self.child.wait().map_err(ImportError::Wait)
    }

    /// Asks it, and everything that it has started, to end now.
    pub(super) fn terminate(&self) {
        if !self.is_reaped {
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Ends it by force if it does not end by itself within a moment.
    pub(super) fn kill(&mut self) {
        self.stdin = None;
        self.terminate();
        self.wait_for_exit(PATIENCE_AFTER_SIGTERM);
        let _ = kill_process_group(self.pid, Signal::KILL);
        // One that the disk holds does not even end then: it is not waited for without end.
        self.wait_for_exit(PATIENCE_AFTER_SIGKILL);
        let _ = self.child.try_wait();
        self.is_reaped = true;
    }

    fn wait_for_exit(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !(self.has_exited() && self.log.has_ended()) && Instant::now() < deadline {
            thread::sleep(EXIT_POLL);
        }
    }
}

impl Drop for ImportChild {
    /// Whatever happened: strfry gets its end of input and time to commit, and is not left behind.
    fn drop(&mut self) {
        if !self.is_reaped {
            self.stdin = None;
            self.wait_for_exit(PATIENCE_AFTER_END_OF_INPUT);
            self.kill();
        }
        self.log.close();
    }
}
