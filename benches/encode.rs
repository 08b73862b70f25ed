//! From a line of JSON to the two forms that strfry stores, and to the id that it must have: one
//! core, nanoseconds for each event.

mod support;

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::Event;
use support::events::Author;

const EVENTS: usize = 5_000;
const RUNS: usize = 9;

fn main() {
    let authors = Author::all(0..100);
    let text = "What everybody writes about on an ordinary day.\n".repeat(6);
    let lines = support::events::events(EVENTS, |number| {
        let author = &authors[number as usize % authors.len()];
        let parent = format!("{number:064x}");
        let tags = json!([["t", "day"], ["e", parent, "", "root"], ["p", author.pubkey()]]);
        author.event(1, number, tags, &text)
    });
    println!("{EVENTS} events of {} bytes, medians of {RUNS}", lines[0].len());
    let limits = EventLimits::default();
    report("parsed", &lines, |line| Event::parse(line).unwrap());
    report("parsed and encoded", &lines, |line| {
        StoredEvent::encode(&Event::parse(line).unwrap(), &limits).unwrap()
    });
    let stored: Vec<StoredEvent> = lines.iter().map(|line| support::stored(line)).collect();
    report("hashed", &stored, StoredEvent::hash);
    let mut out = Vec::new();
    report("fried", &stored, |event| {
        out.clear();
        event.push_fried_line(&mut out);
    });
}

fn report<'a, I, O>(what: &str, items: &'a [I], mut run: impl FnMut(&'a I) -> O) {
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        for item in items {
            black_box(run(black_box(item)));
        }
        start.elapsed()
    });
    let time = support::median(times.collect());
    println!("{what:<20} {:>7} ns", time.as_nanos() / items.len() as u128);
}
