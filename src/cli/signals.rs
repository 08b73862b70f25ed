//! Being told to end (SIGINT, SIGTERM, SIGHUP): between two snapshots, so that no slot of strfry's
//! lock file stays taken. Who waits for a reader of the output with a snapshot open is woken.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exit::{OrFail, Result};
use crate::strfry_db::close_to_new_snapshots;

/// A snapshot that lasts longer waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much as a pipe takes without waiting, once it is ready (POSIX, `PIPE_BUF`).
const PIPE_BUF: usize = 4_096;

/// Can be read from as soon as the process has been told to end.
static TOLD: OnceLock<OwnedFd> = OnceLock::new();

/// From now on a signal ends the process when no snapshot is open, as it would without this.
pub(super) fn end_between_snapshots() -> Result<()> {
    listen().context("cannot listen for signals").or_cannot_run()
}

fn listen() -> io::Result<()> {
    let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let told = TOLD.get_or_init(|| told);
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored(*signal));
    let mut signals = Signals::new(wanted)?;
    let listen = move || {
        for signal in signals.forever() {
            let _ = rustix::io::write(told, &1_u64.to_ne_bytes());
            close_to_new_snapshots(PATIENCE);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(())
}

/// What whoever started us, such as nohup, wants to be ignored, stays ignored.
fn ignored_signals() -> impl Fn(i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    move |signal| mask >> (signal - 1) & 1 == 1
}

/// Writes to standard output while a snapshot is open, for as long as nobody has told the process
/// to end; then it waits for that end no longer than it takes to drop the snapshot.
pub(super) fn write_in_snapshot(bytes: &[u8]) -> Result<()> {
    write_unless_told(bytes).context("cannot write to standard output").or_cannot_run()
}

fn write_unless_told(mut bytes: &[u8]) -> io::Result<()> {
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

/// If the process has been told to end, that is how it ends, and not in its own way.
pub(super) fn leave_the_end_to_a_signal() {
    let Some(told) = TOLD.get() else { return };
    let mut ready = [PollFd::new(told, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    while poll(&mut ready, Some(&now)).is_ok_and(|ready| ready > 0) {
        thread::sleep(PATIENCE);
    }
}
