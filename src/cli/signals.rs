//! Being told to end (SIGINT, SIGTERM, SIGHUP): between two snapshots, so that no slot of strfry's
//! lock file stays taken. Who waits for a reader of the output with a snapshot open is woken.

use std::fs;
use std::io::{self, PipeReader};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{OrFail, Result};
use crate::strfry_db::Ending;

/// As much as a pipe takes without waiting, once it is ready (POSIX, `PIPE_BUF`).
const PIPE_BUF: usize = 4_096;

/// Can be read from as soon as the process has been told to end.
static TOLD: OnceLock<PipeReader> = OnceLock::new();

/// From now on a signal ends the process when no snapshot is open, as it would without this.
///
/// No thread waits for signals: a process of two threads is a third of a millisecond slower. The
/// price: with several threads that read, one can begin a snapshot in the very instant in which
/// another one's signal ends the process. The slot is then cleared by whoever opens next.
pub(super) fn end_between_snapshots() -> Result<()> {
    let listening = listen().context(
        "cannot listen for signals, which takes five open files; see the limit of them (ulimit -n)",
    );
    listening.or_cannot_run()
}

fn listen() -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let (may_end, told) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let ending = Ending { may_end: Arc::clone(&may_end), told: Arc::clone(&told), end };
    ending.between_snapshots();
    let ignored = ignored_signals();
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored(*signal)) {
        // They are done in this order.
        flag::register_conditional_default(signal, Arc::clone(&may_end))?;
        flag::register_usize(signal, Arc::clone(&told), signal.unsigned_abs() as usize)?;
        low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    let _ = TOLD.set(reader);
    Ok(())
}

/// Ends when the process is told to stop. From now on that does not end the process by itself.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let ignored = ignored_signals();
    let listen = |kind: SignalKind| match ignored(kind.as_raw_value()) {
        true => Ok(None),
        false => signal(kind).map(Some),
    };
    let interrupt = listen(SignalKind::interrupt())?;
    let terminate = listen(SignalKind::terminate())?;
    let hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            () = came(interrupt) => {}
            () = came(terminate) => {}
            () = came(hang_up) => {}
        }
    })
}

async fn came(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Ends the process as the signal would have without us.
fn end(signal: usize) {
    let _ = low_level::emulate_default_handler(i32::try_from(signal).unwrap_or(SIGTERM));
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
