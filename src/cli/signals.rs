//! Being told to end (SIGINT, SIGTERM, SIGHUP). What only reads ends between two snapshots, so that
//! no slot of strfry's lock file stays taken; who waits for a reader of the output with a snapshot
//! open is woken. A run that imports, or that has tunnels open, is told to stop, and ends in order.

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use super::exit::{OrFail, Result};
use super::wait;
use crate::stop::Stop;
use crate::strfry_db::Ending;

/// From the first signal to the end of a process whose run does not end by itself; time for strfry
/// ([`crate::stop::GRACE`]) and for the summary is in it.
const END_WITHIN: Duration = Duration::from_secs(9);
/// The same from the second signal.
const END_AT_ONCE_WITHIN: Duration = Duration::from_secs(4);

const INCOMPLETE: i32 = 1;

/// Bytes of `/proc/self/status`: about 1,500.
const STATUS: usize = 4_096;

/// What a command says on a terminal when it is told to stop.
pub(super) struct Farewell {
    /// What it still does after the first signal.
    first: &'static str,
    /// What it leaves out after the second.
    second: &'static str,
}

/// From a command that imports.
pub(super) const IMPORTING: Farewell = Farewell {
    first: "Stopping: strfry commits what it has been given, then comes the summary; Ctrl-C again to \
        stop at once",
    second: "Stopping at once: what strfry has not committed is left for the next run",
};

/// From a command that asks peers and shows the answers.
pub(super) const ASKING: Farewell = Farewell {
    first: "Stopping: tunnels are closed, then comes what peers have answered so far; Ctrl-C again to \
        stop at once",
    second: "Stopping at once: no tunnel is waited for",
};

/// From a command that measures programs on copies.
pub(super) const MEASURING: Farewell = Farewell {
    first: "Stopping: the program that is measured is ended, and the copies are removed",
    second: "Stopping at once: copies that are left over can be removed by hand",
};

const HELD: &[u8] = b"strfry-companion: told to stop and held by something, such as a disk or an \
output that nobody reads: ended without a summary; run it again for the rest\n";

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
    let _ = wait::TOLD.set(reader);
    Ok(())
}

/// From now on a file that becomes longer than the user may write (`ulimit -f`) is an error of
/// writing it, and not the end of the process.
pub(super) fn report_long_files_as_errors() {
    // Without it the process is as most are.
    let _ = flag::register(SIGXFSZ, Arc::default());
}

/// From now on a signal tells the run to stop instead of ending the process: the first one in order,
/// the second at once; [`wait::PROGRESS`] says so. Whatever holds the run then, the process ends within
/// [`END_WITHIN`].
pub(super) fn stop_on_signals(stop: &Stop, farewell: Farewell) -> Result<()> {
    listen_to_stop(stop, farewell)
        .context(
            "cannot listen for signals, which takes a thread and five open files; see the limits \
             of them (ulimit -u, ulimit -n)",
        )
        .or_cannot_run()
}

fn listen_to_stop(stop: &Stop, farewell: Farewell) -> io::Result<()> {
    let (reader, writer) = io::pipe()?;
    let _ = wait::STOP.set(stop.clone());
    let stop = stop.clone();
    // Started before it is needed: then there may be no room for one.
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || heed(&reader, &stop, &farewell))?;
    let ignored = ignored_signals();
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored(*signal)) {
        low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    if ignored(SIGCHLD) {
        // Whoever started us ignores it: then nobody could tell how a strfry ended.
        flag::register(SIGCHLD, Arc::default())?;
    }
    Ok(())
}

/// Tells the run of each signal, and ends the process when its time is over.
fn heed(mut signals: &PipeReader, stop: &Stop, farewell: &Farewell) {
    let mut end: Option<Instant> = None;
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            end_by_force();
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut ready = [PollFd::new(&signals, PollFlags::IN)];
        if !matches!(poll(&mut ready, left.as_ref()), Ok(1..)) {
            continue;
        }
        if signals.read(&mut [0]).is_ok_and(|bytes| bytes > 0) {
            stop.tell();
            if let Some(progress) = wait::PROGRESS.get() {
                progress.announce(if end.is_none() { farewell.first } else { farewell.second });
            }
            let now = Instant::now();
            end = Some(end.map_or(now + END_WITHIN, |end| end.min(now + END_AT_ONCE_WITHIN)));
        }
    }
}

/// Something that no look at the clock ends holds the run, such as a disk that does not answer.
/// strfry's input ends with this process, and it commits what it has read.
fn end_by_force() -> ! {
    let mut ready = [PollFd::from_borrowed_fd(rustix::stdio::stderr(), PollFlags::OUT)];
    if matches!(poll(&mut ready, Some(&Timespec::default())), Ok(1..)) {
        let _ = rustix::io::write(rustix::stdio::stderr(), HELD);
    }
    low_level::exit(INCOMPLETE)
}

/// Ends the process as the signal would have without us.
fn end(signal: usize) {
    let _ = low_level::emulate_default_handler(i32::try_from(signal).unwrap_or(SIGTERM));
}

/// What whoever started us, such as nohup, wants to be ignored, stays ignored.
fn ignored_signals() -> impl Fn(i32) -> bool {
    // At once: the kernel says no length, and reading to the end takes eight pieces.
    let mut status = [0; STATUS];
    let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = status.get(..read.unwrap_or(0)).unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    move |signal| mask >> (signal - 1) & 1 == 1
}
