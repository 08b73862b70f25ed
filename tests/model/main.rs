//! A model of what a node promises, against the code that asks peers: constellations of simulated
//! relays, histories of runs, and two rules. Whenever a run says complete, everything that it
//! promised and that its peers have is here. After any history one plain run with honest peers
//! brings everything that was ever promised.
//!
//! `STRFRY_COMPANION_SEED=n` replays one seed and tells its story; `STRFRY_COMPANION_SEEDS=n` takes
//! so many, from `STRFRY_COMPANION_FIRST_SEED` on.

mod draw;
mod found;
mod line;
mod node;
#[path = "../support/quirks/mod.rs"]
mod quirks;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod talk;
mod world;

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use draw::Relays;

/// Seeds of every run of the tests.
const HONEST_SEEDS: u64 = 250;
const WILD_SEEDS: u64 = 1_000;

/// Failures that are told; more say no more.
const TOLD: usize = 5;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Where the standard library gets the keys of its hash maps from: with the same keys in every
/// thread they have the same order in every run, and a seed replays.
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "a function of C")]
extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller gives `length` bytes to write to, as getrandom(2) wants.
    unsafe { buffer.write_bytes(7, length) };
    length.cast_signed()
}

/// Runs a story in virtual time. A thread of its own counts its hash maps from the beginning.
fn told<T: Send>(story: impl Future<Output = T> + Send) -> thread::Result<T> {
    let run = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(story)
    };
    thread::scope(|scope| scope.spawn(run).join())
}

/// Runs a story that is to end well.
fn block_on(story: impl Future<Output = Result<usize, String>> + Send) {
    match told(story) {
        Ok(Ok(_)) => {}
        Ok(Err(fault)) => panic!("{fault}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Lives through the history of one seed; returns how many messages it took.
fn live(seed: u64, relays: Relays) -> Result<usize, String> {
    told(draw::live(seed, relays)).unwrap_or_else(|_| Err(format!("seed {seed}: a panic")))
}

/// Lives through all seeds, and tells the first that fail.
fn live_all(seeds: u64, relays: Relays) {
    if let Some(seed) = number("STRFRY_COMPANION_SEED") {
        let failure = live(seed, relays).err().unwrap_or_default();
        return assert!(failure.is_empty(), "{failure}");
    }
    let (seeds, began) = (number("STRFRY_COMPANION_SEEDS").unwrap_or(seeds), Instant::now());
    let first = number("STRFRY_COMPANION_FIRST_SEED").unwrap_or(0);
    let (next, messages) = (AtomicU64::new(first), AtomicU64::new(0));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    match live(seed, relays) {
                        Ok(count) => drop(messages.fetch_add(count as u64, Ordering::Relaxed)),
                        Err(failure) => {
                            let line = failure.lines().next().unwrap_or_default();
                            println!("! {}", line.chars().take(160).collect::<String>());
                            failures.lock().unwrap().push((seed, failure));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let (messages, seconds) = (messages.into_inner(), began.elapsed().as_secs_f64());
    let count = failures.len();
    println!("{relays:?}: {seeds} seeds, {messages} messages, {seconds:.1} s, {count} failures");
    failures.truncate(TOLD);
    let told: Vec<String> = failures.into_iter().map(|(_, failure)| failure).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}

#[test]
fn with_honest_relays_what_is_called_complete_is_here_and_a_plain_run_brings_all_ever_promised() {
    live_all(HONEST_SEEDS, Relays::Honest);
}

#[test]
fn with_wild_relays_what_is_called_complete_is_here_and_a_plain_run_brings_all_ever_promised() {
    live_all(WILD_SEEDS, Relays::Wild);
}
