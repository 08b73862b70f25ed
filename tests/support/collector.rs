//! Conversations with relays in tests: a sink that remembers, and queries to ask.

use std::sync::Mutex;
use std::time::Duration;

use strfry_companion::nostr::{Event, Filter};
use strfry_companion::relay::{Dialler, FetchOutcome, Pace, PeerSession, Sink, Stopped, Unwanted};

use super::events::Author;

/// Long enough for everything that is going to happen, with pauses too short to notice.
pub const PATIENT: Pace =
    Pace { time_out: Duration::from_secs(20), first_pause: Duration::from_millis(1) };

/// For peers that will not answer.
pub const IMPATIENT: Pace =
    Pace { time_out: Duration::from_millis(500), first_pause: Duration::from_millis(1) };

/// Remembers the ids of events and what was unwanted; knows forged events by their content.
#[derive(Debug, Default)]
pub struct Collector {
    collected: Mutex<Collected>,
    /// Takes so many events.
    stop_after: Option<usize>,
}

/// What has arrived so far.
#[derive(Debug, Default)]
struct Collected {
    ids: Vec<String>,
    unwanted: Vec<Unwanted>,
    forged: u64,
}

impl Collector {
    pub fn that_stops_after(events: usize) -> Self {
        Self { stop_after: Some(events), ..Self::default() }
    }

    /// How many events came.
    pub fn count(&self) -> usize {
        self.collected.lock().unwrap().ids.len()
    }

    /// The ids of the events, sorted; an event that came twice is there twice.
    pub fn ids(&self) -> Vec<String> {
        let mut ids = self.collected.lock().unwrap().ids.clone();
        ids.sort();
        ids
    }

    pub fn dropped(&self) -> Vec<Unwanted> {
        self.collected.lock().unwrap().unwanted.clone()
    }
}

impl Sink for Collector {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let mut collected = self.collected.lock().unwrap();
        if self.stop_after.is_some_and(|most| collected.ids.len() >= most) {
            return Err(Stopped);
        }
        if event.content == "forged" {
            collected.forged += 1;
        }
        collected.ids.push(event.id.to_string());
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        self.collected.lock().unwrap().unwanted.push(what);
    }

    fn forged(&self) -> u64 {
        self.collected.lock().unwrap().forged
    }
}

/// A peer that may be on this machine.
pub fn peer(url: &str) -> PeerSession {
    let time_out = Duration::from_secs(20);
    PeerSession::new(Dialler { url: url.parse().unwrap(), allow_local: true, time_out })
}

/// Asks a new peer.
pub async fn fetch(url: &str, queries: Vec<Filter>, pace: Pace) -> (FetchOutcome, Collector) {
    let collector = Collector::default();
    let outcome = peer(url).fetch(queries, pace, &collector).await;
    (outcome, collector)
}

/// Everything of these authors and kinds.
pub fn query(authors: &[Author], kinds: &[u64]) -> Filter {
    let mut pubkeys: Vec<_> = authors.iter().map(Author::pubkey).collect();
    pubkeys.sort();
    Filter { authors: Some(pubkeys), kinds: Some(kinds.to_vec()), ..Filter::default() }
}
