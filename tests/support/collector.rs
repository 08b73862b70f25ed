//! Conversations with relays in tests: a sink that remembers, and queries to ask.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use strfry_companion::nostr::{Event, EventId, Filter};
use strfry_companion::peer::{
    Dialler, EventSink, FetchOutcome, Fingerprints, ItemSet, LocalError, LocalEvents, LocalItems,
    LocalOpening, MissingIds, Opening, Pace, PeerSession, Share, Standing, Stopped, Unwanted,
    WantList,
};

use super::events::Author;
use super::scripted_line::ScriptedLine;

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
    genuine: HashSet<EventId>,
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

impl EventSink for Collector {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let mut collected = self.collected.lock().unwrap();
        if self.stop_after.is_some_and(|most| collected.ids.len() >= most) {
            return Err(Stopped);
        }
        if event.content == "forged" {
            collected.forged += 1;
        } else {
            collected.genuine.insert(event.id);
        }
        collected.ids.push(event.id.to_string());
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        self.collected.lock().unwrap().unwanted.push(what);
    }

    fn standing(&self) -> Standing {
        let collected = self.collected.lock().unwrap();
        let genuine = collected.genuine.len() as u64;
        Standing { genuine, forged: collected.forged, is_waiting: false }
    }
}

/// A peer that may be on this machine.
pub fn peer(url: &str) -> PeerSession {
    let time_out = Duration::from_secs(20);
    PeerSession::new(Dialler::new(url.parse().unwrap(), true, time_out))
}

/// Asks a new peer.
pub async fn fetch(url: &str, queries: Vec<Filter>, pace: Pace) -> (FetchOutcome, Collector) {
    let collector = Collector::default();
    let outcome = peer(url).fetch(queries, pace, &collector).await;
    (outcome, collector)
}

/// A new peer at the end of this line.
pub fn peer_over(line: &ScriptedLine) -> PeerSession {
    peer("ws://relay.example").over(Arc::new(line.clone()))
}

/// Asks it.
pub async fn fetch_over(
    line: &ScriptedLine,
    queries: Vec<Filter>,
    pace: Pace,
) -> (FetchOutcome, Collector) {
    let collector = Collector::default();
    let outcome = peer_over(line).fetch(queries, pace, &collector).await;
    (outcome, collector)
}

/// What is here already: these events, one line of JSON each.
#[derive(Debug)]
pub struct Here {
    events: Vec<Value>,
    /// So many are compared at once.
    most: usize,
    /// These have come since.
    came: Vec<EventId>,
    /// Comparisons open with fingerprints.
    by_fingerprints: bool,
}

impl Here {
    pub fn of(events: &[String]) -> Self {
        Self::in_parts(events, usize::MAX)
    }

    pub fn in_parts(events: &[String], most: usize) -> Self {
        let events = events.iter().map(|event| serde_json::from_str(event).unwrap());
        Self { events: events.collect(), most, came: Vec::new(), by_fingerprints: false }
    }

    /// Comparisons open with fingerprints.
    pub fn by_fingerprints(self) -> Self {
        Self { by_fingerprints: true, ..self }
    }

    fn matching(&self, filter: &Filter) -> Vec<(u64, EventId)> {
        let items = self.events.iter().filter_map(|event| {
            let id: EventId = event["id"].as_str()?.parse().ok()?;
            let pubkey = event["pubkey"].as_str()?.parse().ok()?;
            let (kind, created_at) = (event["kind"].as_u64()?, event["created_at"].as_u64()?);
            filter.matches(&id, &pubkey, kind, created_at).then_some((created_at, id))
        });
        let mut items: Vec<_> = items.collect();
        items.sort_unstable();
        items
    }

    /// These have come after what is compared was read.
    pub fn and_since(self, events: &[String]) -> Self {
        let id = |event: &String| super::events::id_of(event).parse().unwrap();
        Self { came: events.iter().map(id).collect(), ..self }
    }
}

impl LocalEvents for Here {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        let items = self.matching(filter);
        let result = if items.len() > self.most {
            Err(LocalError::TooMany { middle: items[items.len() / 2].0 })
        } else {
            Ok(ItemSet::new(items))
        };
        Box::pin(async { result })
    }

    fn opening<'a>(&'a self, filter: &'a Filter) -> LocalOpening<'a> {
        if !self.by_fingerprints {
            return Box::pin(async { self.items(filter).await.map(Opening::Items) });
        }
        let mut fingerprints = Fingerprints::default();
        let newest_first = self.matching(filter).into_iter().rev();
        newest_first.for_each(|(created_at, id)| fingerprints.push(created_at, &id));
        Box::pin(async { Ok(Opening::Fingerprints(fingerprints)) })
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        let missing = ids.into_iter().filter(|id| !self.came.contains(id)).collect();
        Box::pin(async { missing })
    }
}

/// A peer that may be on this machine, for what is needed beside these events.
pub fn sharing_peer(url: &str, ledger: &Arc<WantList>, here: Here) -> PeerSession {
    let time_out = Duration::from_secs(20);
    let dialler = Dialler::new(url.parse().unwrap(), true, time_out);
    PeerSession::sharing(dialler, Share::new(ledger, Arc::new(here)))
}

/// Asks a new peer for what is needed beside these events.
pub async fn compare(
    url: &str,
    queries: Vec<Filter>,
    pace: Pace,
    here: Here,
) -> (FetchOutcome, Collector) {
    let collector = Collector::default();
    let outcome = sharing_peer(url, &Arc::default(), here).fetch(queries, pace, &collector).await;
    (outcome, collector)
}

/// Everything of these authors and kinds.
pub fn query(authors: &[Author], kinds: &[u64]) -> Filter {
    let mut pubkeys: Vec<_> = authors.iter().map(Author::pubkey).collect();
    pubkeys.sort();
    Filter { authors: Some(pubkeys), kinds: Some(kinds.to_vec()), ..Filter::default() }
}
