//! Writing to standard output and standard error, where a reader may take its time: no longer than
//! the process is to go on.

use std::io::{self, PipeReader, Write};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::report::Progress;
use crate::stop::Stop;

/// As much as a pipe takes without waiting, once it is ready (POSIX, `PIPE_BUF`).
const PIPE_BUF: usize = 4_096;

/// How often a write that waits for a reader looks whether the run is to stop.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Told by signals, where they are to stop a run in order.
pub(super) static STOP: OnceLock<Stop> = OnceLock::new();

/// What shows on a terminal how far a run is, if it is to hear of signals.
pub(super) static PROGRESS: OnceLock<Progress> = OnceLock::new();

/// Can be read from as soon as the process has been told to end.
pub(super) static TOLD: OnceLock<PipeReader> = OnceLock::new();

/// Writes to standard output for as long as nobody has told the process to end.
pub(super) fn write_unless_told(mut bytes: &[u8]) -> io::Result<()> {
    let out = rustix::stdio::stdout();
    while !bytes.is_empty() {
        if let Some(told) = TOLD.get() {
            let mut ready = [PollFd::new(told, PollFlags::IN), PollFd::new(&out, PollFlags::OUT)];
            match poll(&mut ready, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
            if ready[0].revents().contains(PollFlags::IN) {
                return Err(io::Error::other("told to end"));
            }
        }
        let some = bytes.get(..PIPE_BUF).unwrap_or(bytes);
        match rustix::io::write(out, some) {
            Err(rustix::io::Errno::INTR) => {}
            written => bytes = bytes.get(written?..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Writes all of it to standard output, or whatever else this is. Once the run is told to stop and
/// its time is over, what nobody reads is left out.
pub(super) fn write_while_read(out: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    // A process that a signal ends may wait within the write.
    let mut may_wait = STOP.get().is_none();
    while !bytes.is_empty() {
        if !may_wait {
            let mut ready = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
            match poll(&mut ready, Some(&LOOK)) {
                Ok(0) if STOP.get().is_some_and(Stop::is_overdue) => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it"));
                }
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                polled => polled?,
            };
        }
        let some = if may_wait { bytes } else { bytes.get(..PIPE_BUF).unwrap_or(bytes) };
        match rustix::io::write(out, some) {
            Err(rustix::io::Errno::INTR) => {}
            // Its writes do not wait.
            Err(rustix::io::Errno::AGAIN) => may_wait = false,
            written => bytes = bytes.get(written?..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Standard error for a run: see [`write_while_read`].
pub(super) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_while_read(rustix::stdio::stderr(), bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
