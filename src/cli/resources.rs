//! Whether the process may open enough files and start enough threads, asked before threads are
//! started that cannot say so; and how it takes memory.

use std::io::{self, PipeReader, PipeWriter};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use clap::Args;

use super::exit::{OrFail, Result};

/// Pairs of files that must be there to be opened: what tokio needs for its threads (which panics
/// without), the pipes to one strfry and the socket of one peer take 20.
const PAIRS: usize = 16;
/// Threads beside those that are one for each core: of an import three, for the names of peers some,
/// and those of two strfrys, which the same limit counts.
const MORE_THREADS: usize = 16;

/// How many threads may compute.
#[derive(Debug, Clone, Args)]
pub(super) struct ThreadArguments {
    /// Threads that compute, one for each core by default
    ///
    /// They check, count or read events. Fewer leave more to the relay.
    #[arg(long, value_name = "N", hide_short_help = true,
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: Option<u16>,
}

impl ThreadArguments {
    /// What was said; 0 if nothing was.
    pub(super) fn named(&self) -> usize {
        self.threads.unwrap_or(0).into()
    }

    /// What was said, or a thread for each core.
    pub(super) fn count(&self) -> usize {
        self.threads.map_or_else(cores, usize::from)
    }

    /// Refuses to go on if there is no room for them.
    pub(super) fn need(&self) -> Result<()> {
        need_so_many_threads(self.count())
    }

    /// From now on this process computes with so many threads as were named, unless it has begun to.
    pub(super) fn apply(&self) -> Result<()> {
        if self.threads.is_none() {
            return Ok(());
        }
        self.need()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.count()).build_global();
        pool.context("cannot start the threads that compute").or_cannot_run()
    }
}

/// Refuses to go on if few files can be opened.
pub(super) fn need_open_files() -> Result<()> {
    let pipes: io::Result<Vec<(PipeReader, PipeWriter)>> = (0..PAIRS).map(|_| io::pipe()).collect();
    pipes
        .map(drop)
        .with_context(|| {
            format!("cannot open {} files at once; raise the limit (ulimit -n)", 2 * PAIRS)
        })
        .or_cannot_run()
}

/// Refuses to go on if there is no room for so many threads for each core and some more.
pub(super) fn need_threads(for_each_core: usize) -> Result<()> {
    need_so_many_threads(for_each_core * cores() + MORE_THREADS)
}

pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn need_so_many_threads(count: usize) -> Result<()> {
    start_threads(count)
        .with_context(|| {
            format!("cannot start {count} threads at once; raise the limit (ulimit -u)")
        })
        .or_cannot_run()
}

/// Has so many threads at once, and waits until they have ended.
fn start_threads(count: usize) -> io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut threads = Vec::new();
    let mut started = Ok(());
    for _ in 0..count {
        let gate = Arc::clone(&gate);
        match thread::Builder::new().spawn(move || drop(gate.lock())) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                started = Err(error);
                break;
            }
        }
    }
    drop(closed);
    for thread in threads {
        // They cannot panic.
        let _ = thread.join();
    }
    started
}

/// Makes glibc return memory to the system when a piece of 128 KiB or more, such as a large message,
/// is freed. By default glibc stops doing so after the first few, and 150 peers then take twice the
/// memory that is in use. And it takes memory from as many places as there are cores, at least two,
/// not from eight times as many, each of which keeps what is free in it: with 50 peers that compare
/// these are 10 MiB, in an import 15, and two cores are no faster with more.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "a function of C")]
pub(super) fn keep_little_free_memory() {
    let arenas = libc::c_int::try_from(cores().max(2)).unwrap_or(2);
    for (option, value) in [(libc::M_MMAP_THRESHOLD, 128 << 10), (libc::M_ARENA_MAX, arenas)] {
        // SAFETY: mallopt(3) takes two numbers, is thread-safe, and changes nothing that is
        // allocated. If it refuses, the program only takes more memory.
        let _ = unsafe { libc::mallopt(option, value) };
    }
}

/// Other allocators do so by default.
#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_little_free_memory() {}
