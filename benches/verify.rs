//! Our checks of ids and signatures on all cores, as a ratio to bare libsecp256k1 calls on the
//! same cores: interleaved runs, medians.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use secp256k1::{XOnlyPublicKey, schnorr};
use serde_json::json;
use strfry_companion::import::StoredEvent;
use strfry_companion::nostr::signature;
use support::events::Author;

const EVENTS: usize = 20_000;
const RUNS: usize = 7;

/// What libsecp256k1 is given, parsed beforehand.
type Bare = (schnorr::Signature, [u8; 32], XOnlyPublicKey);

fn main() {
    let authors = Author::all(0..100);
    let text = "What everybody writes about on an ordinary day. ".repeat(6);
    let lines = support::events::events(EVENTS, |number| {
        authors[number as usize % authors.len()].event(1, number, json!([["t", "day"]]), &text)
    });
    let events: Vec<StoredEvent> = lines.par_iter().map(|line| support::stored(line)).collect();
    let bare: Vec<Bare> = events.iter().map(bare).collect();
    let cores = thread::available_parallelism().unwrap().get();

    let (mut bare_times, mut our_times) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bare_times.push(timed(|| bare_calls(&bare)));
        our_times.push(timed(|| our_checks(&events)));
    }
    let (bare, ours) = (support::median(bare_times), support::median(our_times));
    let rate = |time: Duration| EVENTS as f64 / time.as_secs_f64();
    println!("{EVENTS} events of {} bytes, {cores} cores, medians of {RUNS}", lines[0].len());
    println!("bare libsecp256k1 calls   {:>8.0} signatures/s", rate(bare));
    println!("ours, ids and signatures  {:>8.0} events/s", rate(ours));
    println!("ratio {:.1} %", 100.0 * bare.as_secs_f64() / ours.as_secs_f64());
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn our_checks(events: &[StoredEvent]) {
    let verdicts = signature::check_all(events, |event| {
        event.hash() == event.id()
            && signature::is_valid(&event.id(), &event.packed().pubkey(), &event.sig)
    });
    assert!(verdicts.into_iter().all(|valid| valid));
}

/// The least that any program can do: the library's function on everything, by the same threads.
fn bare_calls(bare: &[Bare]) {
    bare.par_iter().for_each(|(sig, id, pubkey)| assert!(schnorr::verify(sig, id, pubkey).is_ok()));
}

fn bare(event: &StoredEvent) -> Bare {
    let pubkey = XOnlyPublicKey::from_byte_array(*event.packed().pubkey().as_bytes()).unwrap();
    let sig = schnorr::Signature::from_byte_array(*event.sig.as_bytes());
    (sig, *event.id().as_bytes(), pubkey)
}
