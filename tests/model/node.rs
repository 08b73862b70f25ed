//! The node of the simulation: what its database holds, and what becomes of events that come in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use strfry_companion::nostr::{Event, EventId, Filter, Pubkey};
use strfry_companion::peer::{
    EventSink, Fingerprints, ItemSet, LocalEvents, LocalItems, LocalOpening, MissingIds, Opening,
    Standing, Stopped, Unwanted,
};

/// An event that is here, or was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub id: EventId,
    pub author: Pubkey,
    pub kind: u64,
    pub second: u64,
}

/// The database, shared by all conversations.
#[derive(Debug, Clone, Default)]
pub struct Database(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    here: BTreeMap<EventId, Header>,
    /// Came in, and is not committed yet.
    pending: Vec<Header>,
}

impl Database {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn holds(&self, id: &EventId) -> bool {
        self.state().here.contains_key(id)
    }

    pub fn has_kind(&self, author: Pubkey, kind: u64) -> bool {
        self.state().here.values().any(|it| it.author == author && it.kind == kind)
    }

    pub fn len(&self) -> usize {
        self.state().here.len()
    }

    /// Everything that came in is committed.
    pub fn commit(&self) {
        let state = &mut *self.state();
        state.here.extend(state.pending.drain(..).map(|it| (it.id, it)));
    }

    /// What is not committed yet is lost.
    pub fn die(&self) {
        self.state().pending.clear();
    }

    fn take(&self, header: Header, window: usize) {
        self.state().pending.push(header);
        if self.state().pending.len() >= window {
            self.commit();
        }
    }
}

impl Database {
    fn matching(&self, filter: &Filter) -> Vec<(u64, EventId)> {
        let state = self.state();
        let here = state.here.values();
        let matching = here.filter(|it| filter.matches(&it.id, &it.author, it.kind, it.second));
        matching.map(|it| (it.second, it.id)).collect()
    }
}

impl LocalEvents for Database {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        let items = ItemSet::new(self.matching(filter));
        Box::pin(async { Ok(items) })
    }

    fn opening<'a>(&'a self, filter: &'a Filter) -> LocalOpening<'a> {
        let mut items = self.matching(filter);
        if items.len().is_multiple_of(2) {
            return Box::pin(async { Ok(Opening::Items(ItemSet::new(items))) });
        }
        items.sort_unstable_by(|one, other| other.cmp(one));
        let mut fingerprints = Fingerprints::default();
        items.iter().for_each(|(created_at, id)| fingerprints.push(*created_at, id));
        Box::pin(async { Ok(Opening::Fingerprints(fingerprints)) })
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        let state = self.state();
        let missing: Vec<_> = ids.into_iter().filter(|id| !state.here.contains_key(id)).collect();
        Box::pin(async { missing })
    }
}

/// What the database makes of events.
#[derive(Debug, Clone, Copy)]
pub struct Intake {
    /// So many are committed at once.
    pub window: usize,
    /// One of so many is rejected; 0: none.
    pub rejects: u64,
    /// After so many from one peer the run is told to stop.
    pub stops_after: Option<usize>,
}

/// Where the events of one peer go.
#[derive(Debug)]
pub struct PeerSink {
    database: Database,
    intake: Intake,
    state: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    count: usize,
    rejected: Vec<Header>,
    unwanted: Vec<Unwanted>,
}

impl PeerSink {
    pub fn new(database: &Database, intake: Intake) -> Self {
        Self { database: database.clone(), intake, state: Mutex::default() }
    }

    /// Events that came and are not here.
    pub fn rejected(&self) -> Vec<Header> {
        self.state.lock().unwrap().rejected.clone()
    }
}

impl EventSink for PeerSink {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let header = Header {
            id: event.id,
            author: event.pubkey,
            kind: event.kind,
            second: event.created_at,
        };
        {
            let mut given = self.state.lock().unwrap();
            if self.intake.stops_after.is_some_and(|most| given.count >= most) {
                // It has come, and is dropped.
                given.rejected.push(header);
                return Err(Stopped);
            }
            given.count += 1;
            // By its id, so that it is the same whoever gives it.
            let number = u64::from(header.id.as_bytes()[31]);
            if self.intake.rejects > 0 && number.is_multiple_of(self.intake.rejects) {
                given.rejected.push(header);
                return Ok(());
            }
        }
        self.database.take(header, self.intake.window);
        tokio::task::yield_now().await;
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        self.state.lock().unwrap().unwanted.push(what);
    }

    fn standing(&self) -> Standing {
        let genuine = self.state.lock().unwrap().count as u64;
        Standing { genuine, forged: 0, is_waiting: false }
    }
}
