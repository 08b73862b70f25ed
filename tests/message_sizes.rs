//! No message to a relay is longer than what it says that it takes, and none is needlessly short.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use strfry_companion::peer::FetchOutcome;
use support::collector::{Here, PATIENT, compare, query};
use support::events::{Author, START, events, sorted_ids};
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};

/// A relay that says how long messages may be, and does not take longer ones.
struct Narrow {
    relay: ScriptedRelay,
    longest: Arc<AtomicUsize>,
}

impl Narrow {
    /// `refuse`: what it does to those.
    fn start(archive: &Archive, most: usize, refuse: fn() -> Act) -> Self {
        let longest = Arc::<AtomicUsize>::default();
        let takes = {
            let longest = Arc::clone(&longest);
            move |length: usize| longest.fetch_max(length, Ordering::SeqCst).max(length) <= most
        };
        let (archive, comparer, takes_too) = (archive.clone(), archive.comparer(), takes.clone());
        let relay = ScriptedRelay::start_informing(
            Some(json!({"supported_nips": [1, 77], "limitation": {"max_message_length": most}})),
            |_| Arrival::Welcome,
            move |request| match takes(request.length) {
                true => archive.answer(request),
                false => answer([refuse()]),
            },
            move |round| match takes_too(round.length) {
                true => comparer(round),
                false => answer([refuse()]),
            },
        );
        Self { relay, longest }
    }

    fn longest(&self) -> usize {
        self.longest.load(Ordering::SeqCst)
    }
}

fn cut() -> Act {
    Act::Cut
}

fn complain() -> Act {
    Act::Notice("ERROR: message too large".into())
}

#[tokio::test]
async fn comparisons_fit_into_the_messages_that_a_relay_takes_and_use_them() {
    let author = Author::new(1);
    let all = events(9_000, |number| author.note(START + number / 3, &number.to_string()));
    // Of every three neighbours both have one, and each another: all ranges differ, at all levels.
    let only = |rest: usize| -> Vec<String> {
        all.iter().enumerate().filter(|(at, _)| at % 3 != rest).map(|(_, it)| it.clone()).collect()
    };
    let (here, there) = (only(0), only(1));
    let missing: Vec<String> = all.iter().step_by(3).cloned().collect();
    let archive = Archive::new(&there, 500);
    let mut rounds = Vec::new();
    for (most, refuse) in
        [(16_384, cut as fn() -> Act), (16_384, complain), (65_536, cut), (65_536, complain)]
    {
        let narrow = Narrow::start(&archive, most, refuse);
        let queries = vec![query(std::slice::from_ref(&author), &[1])];
        let (outcome, collector) =
            compare(&narrow.relay.url(), queries, PATIENT, Here::of(&here)).await;
        assert!(collector.ids() == sorted_ids(&missing), "{} events", collector.count());
        let FetchOutcome { complete, gaps, .. } = outcome;
        assert_eq!((complete, gaps), (1, vec![]));
        let record = narrow.relay.record();
        println!("{most}: {} rounds, longest {}", record.rounds, narrow.longest());
        let range = most * 3 / 4..=most;
        assert!(range.contains(&narrow.longest()), "{} of {most}", narrow.longest());
        assert_eq!(record.connections, 1);
        assert!(record.requests.iter().all(|filter| filter["ids"].is_array()));
        rounds.push(record.rounds);
    }
    let [narrow, narrow_too, wide, wide_too] = rounds[..] else { unreachable!() };
    assert_eq!((narrow, wide), (narrow_too, wide_too));
    assert!(wide < narrow, "{rounds:?}");
}

#[tokio::test]
async fn a_comparison_begins_in_a_message_that_a_relay_takes() {
    let authors = Author::all(0..200);
    let all = events(2_000, |number| {
        authors[number as usize % 200].note(START + number, &number.to_string())
    });
    let kinds: Vec<u64> = [1].into_iter().chain(30_000..30_060).collect();
    for most in [4_096, 6_000, 7_150, 8_192, 16_384] {
        let narrow = Narrow::start(&Archive::new(&all, 500), most, cut);
        let queries = authors.chunks(100).map(|authors| query(authors, &kinds)).collect();
        let here = Here::of(&all[..1_000]);
        let (outcome, collector) = compare(&narrow.relay.url(), queries, PATIENT, here).await;
        assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all[1_000..]), vec![]));
        assert!(narrow.longest() <= most, "{} of {most}", narrow.longest());
        assert!(narrow.relay.record().comparisons.len() >= 2);
    }
}
