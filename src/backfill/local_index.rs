//! What is here already, for comparisons with peers: read once for all peers that are asked the
//! same, in short snapshots. A few peers look into the database at a time, and all sets together
//! are bounded: peers that make us divide what is compared, each in another way, wait for room.
//!
//! What peers are going to be asked is told before ([`LocalIndex::expect`]), so that one walk
//! answers very many queries about the same time ([`LocalWindow`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::mem::replace;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::limits::{
    COMPARED_AT_ONCE, ITEMS_IN_ALL, KEPT_ITEMS, KEPT_SETS, LOOKUPS_AT_ONCE, WINDOW_ITEMS,
    WINDOW_QUERIES,
};
use super::local_window::{LocalWindow, Span, bounds_of, span_of};
use crate::nostr::{EventId, Filter};
use crate::peer::{
    Fingerprints, ItemSet, LocalError, LocalEvents, LocalItems, LocalOpening, LocalOverview,
    MissingIds, Opening,
};
use crate::strfry_db::{self, PackedEvent, ReadError, StrfryDb};

/// The events of the database.
pub(super) struct LocalIndex {
    reader: Reader,
    /// The latest sets, the newest last.
    kept: Mutex<VecDeque<(Filter, Arc<Set>)>>,
    /// What peers are going to be asked, what is about the latest time first.
    expected: Mutex<Arc<[Arc<Expected>]>>,
}

/// Looks into the database. A clone is of the same.
#[derive(Clone)]
struct Reader {
    db: Arc<StrfryDb>,
    /// Looks at once.
    lookups: Arc<Semaphore>,
    /// Events in all sets.
    room: Arc<Semaphore>,
}

/// What peers are going to be asked about one time.
struct Expected {
    span: Span,
    queries: HashSet<Arc<Filter>>,
    window: OnceCell<LocalWindow>,
    is_begun: AtomicBool,
    /// Nobody is going to ask for it.
    is_over: AtomicBool,
}

struct Set {
    items: OnceCell<Result<ItemSet, LocalError>>,
    /// For as many events as are compared at once, until they have been read.
    room: Mutex<Option<OwnedSemaphorePermit>>,
}

impl LocalIndex {
    pub(super) fn new(db: Arc<StrfryDb>) -> Self {
        let [lookups, room] =
            [LOOKUPS_AT_ONCE, ITEMS_IN_ALL].map(|most| Arc::new(Semaphore::new(most)));
        let reader = Reader { db, lookups, room };
        Self { reader, kept: Mutex::default(), expected: Mutex::new(Arc::default()) }
    }

    /// Peers are going to be asked these queries. Reads everything afresh from now on.
    pub(super) fn expect<'a>(&self, queries: impl IntoIterator<Item = &'a Arc<Filter>>) {
        self.lock().clear();
        let mut spans: BTreeMap<Reverse<Span>, HashSet<Arc<Filter>>> = BTreeMap::new();
        let mut room = WINDOW_QUERIES;
        for query in queries {
            let Some(span) = span_of(query).filter(|_| room > 0) else { continue };
            if spans.entry(Reverse(span)).or_default().insert(Arc::clone(query)) {
                room -= 1;
            }
        }
        let expected = spans.into_iter().map(|(Reverse(span), queries)| {
            let [is_begun, is_over] = [(); 2].map(|()| AtomicBool::new(false));
            Arc::new(Expected { span, queries, window: OnceCell::new(), is_begun, is_over })
        });
        let before = replace(&mut *self.lock_expected(), expected.collect());
        before.iter().for_each(|expected| expected.is_over.store(true, Ordering::Relaxed));
    }

    /// What this query was expected with, and what comes after that. Another query about the same
    /// time does not wait for what was expected.
    fn expected(&self, query: &Filter) -> Option<(Arc<Expected>, Option<Arc<Expected>>)> {
        let span = span_of(query)?;
        let expected = self.lock_expected();
        let at = expected.iter().position(|expected| expected.span == span)?;
        let with = expected.get(at).filter(|expected| expected.queries.contains(query))?;
        Some((Arc::clone(with), expected.get(at + 1).cloned()))
    }

    /// `None`: there is no room for another set now.
    fn set(&self, filter: &Filter) -> Option<Arc<Set>> {
        let mut kept = self.lock();
        if let Some((_, set)) = kept.iter().find(|(of, _)| of == filter) {
            return Some(Arc::clone(set));
        }
        let mut items: usize = kept.iter().map(|(_, set)| size_of(set)).sum();
        while kept.len() >= KEPT_SETS || items > KEPT_ITEMS {
            let Some((_, oldest)) = kept.pop_front() else { break };
            items -= size_of(&oldest).min(items);
        }
        let take =
            || Arc::clone(&self.reader.room).try_acquire_many_owned(permits(COMPARED_AT_ONCE)).ok();
        let room = take().or_else(|| {
            // What is kept for later gives way to what is needed now.
            kept.clear();
            take()
        })?;
        let set = Arc::new(Set { items: OnceCell::new(), room: Mutex::new(Some(room)) });
        kept.push_back((filter.clone(), Arc::clone(&set)));
        Some(set)
    }

    fn lock_expected(&self) -> std::sync::MutexGuard<'_, Arc<[Arc<Expected>]>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Filter, Arc<Set>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Looks into the database when it is this look's turn. An error is a panic.
    async fn look_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StrfryDb) -> T + Send + 'static,
    ) -> Result<T, String> {
        // It is never closed.
        let _turn = self.lookups.acquire().await;
        let db = Arc::clone(&self.db);
        let looked = tokio::task::spawn_blocking(move || look(&db)).await;
        looked.map_err(|error| error.to_string())
    }

    /// What is here of what is expected about one time.
    async fn window<'a>(&self, expected: &'a Arc<Expected>) -> &'a LocalWindow {
        let read = || async {
            expected.is_begun.store(true, Ordering::Relaxed);
            let room = Arc::clone(&self.room).try_acquire_many_owned(permits(WINDOW_ITEMS)).ok();
            let of = Arc::clone(expected);
            let read = self.look_up(move |db| {
                let queries = of.queries.iter().cloned().collect();
                LocalWindow::read(db, of.span, queries, room, &of.is_over)
            });
            let read = read.await;
            // What cannot be read shows again where it is needed.
            read.ok().and_then(Result::ok).unwrap_or_default()
        };
        expected.window.get_or_init(read).await
    }

    /// Begins to look for what is going to be asked later.
    fn read_ahead(&self, expected: Arc<Expected>) {
        if !expected.is_begun.swap(true, Ordering::Relaxed) {
            let reader = self.clone();
            tokio::spawn(async move {
                reader.window(&expected).await;
            });
        }
    }
}

impl LocalEvents for LocalIndex {
    fn overview<'a>(&'a self, time: &'a Filter) -> LocalOverview<'a> {
        Box::pin(async move {
            let span = bounds_of(time);
            let expected = Arc::clone(&self.lock_expected());
            let expected = expected.iter().find(|expected| expected.span == span);
            match expected {
                Some(expected) => self.reader.window(expected).await.overview().clone(),
                None => Fingerprints::default(),
            }
        })
    }

    fn opening<'a>(&'a self, filter: &'a Filter) -> LocalOpening<'a> {
        Box::pin(async move {
            if let Some((expected, next)) = self.expected(filter) {
                let window = self.reader.window(&expected).await;
                next.into_iter().for_each(|next| self.reader.read_ahead(next));
                if let Some(opening) = window.opening(filter) {
                    return Ok(opening.clone());
                }
            }
            self.items(filter).await.map(Opening::Items)
        })
    }

    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        Box::pin(async move {
            let expected = self.expected(filter);
            let window = expected.as_ref().and_then(|(expected, _)| expected.window.get());
            if let Some(Opening::Items(items)) = window.and_then(|it| it.opening(filter)) {
                return Ok(items.clone());
            }
            let Some(set) = self.set(filter) else { return Err(LocalError::NoRoom) };
            let read = || async {
                let room = set.room.lock().unwrap_or_else(PoisonError::into_inner).take();
                let filter = filter.clone();
                let read = self.reader.look_up(move |db| read(db, &filter, room)).await;
                read.unwrap_or_else(|error| Err(LocalError::Unreadable(error)))
            };
            set.items.get_or_init(read).await.clone()
        })
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        Box::pin(async move {
            let missing = self.reader.look_up(move |db| {
                // What cannot be looked up is asked for: the checks look again before it is imported.
                let Ok(found) = db.contains_each(&ids) else { return ids };
                let missing = ids.into_iter().zip(found).filter(|&(_, is_here)| !is_here);
                missing.map(|(id, _)| id).collect()
            });
            // What a panic took away is named again by whoever has it.
            missing.await.unwrap_or_default()
        })
    }
}

impl Drop for LocalIndex {
    fn drop(&mut self) {
        // A walk that has begun ends early.
        self.expect([]);
    }
}

impl std::fmt::Debug for LocalIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalIndex").finish_non_exhaustive()
    }
}

/// How many events are in a set; none while it is being read.
fn size_of(set: &Set) -> usize {
    set.items.get().and_then(|set| set.as_ref().ok()).map_or(0, ItemSet::len)
}

fn permits(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn read(
    db: &StrfryDb,
    filter: &Filter,
    room: Option<OwnedSemaphorePermit>,
) -> Result<ItemSet, LocalError> {
    let unreadable = |error: ReadError| LocalError::Unreadable(error.to_string());
    let most = COMPARED_AT_ONCE;
    let mut items = Vec::new();
    // Newest first.
    let found = db.scan(strfry_db::Filter::from(filter)).map_batches(|batch| {
        let item = |event: Result<PackedEvent<'_>, _>| event.map(|it| (it.created_at(), it.id()));
        batch.packed()?.map(item).collect::<Result<Vec<_>, _>>()
    });
    for found in found {
        items.append(&mut found.map_err(unreadable)?);
        if items.len() > most {
            let middle = items.get(most / 2).map_or(0, |&(created_at, _)| created_at);
            return Err(LocalError::TooMany { middle });
        }
    }
    let held = room.and_then(|mut room| room.split(items.len()));
    Ok(ItemSet::new(items).holding(held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden_database;

    #[tokio::test]
    async fn of_ids_that_a_peer_names_those_that_are_here_are_not_missing() {
        let directory = golden_database("strfry-1.1.1");
        let here = LocalIndex::new(Arc::new(StrfryDb::open(directory.path()).unwrap()));
        let export = include_str!("../../tests/fixtures/strfry-1.1.1/export.jsonl");
        let id = |line| crate::nostr::Event::parse(line).unwrap().id;
        let known: Vec<EventId> = export.lines().map(id).collect();
        let unknown = [[0; 32], [255; 32]].map(EventId::from_bytes);
        let named = [&unknown[1..], &known, &unknown[..1]].concat();
        assert_eq!(here.missing(named).await, [unknown[1], unknown[0]]);
    }

    #[tokio::test]
    async fn very_many_pairs_are_found_in_one_walk_and_are_the_same_as_if_each_was_looked_for() {
        let directory = golden_database("strfry-1.1.1");
        let db = Arc::new(StrfryDb::open(directory.path()).unwrap());
        let export = include_str!("../../tests/fixtures/strfry-1.1.1/export.jsonl");
        let events: Vec<_> =
            export.lines().map(|line| crate::nostr::Event::parse(line).unwrap()).collect();
        let authors = events.iter().map(|event| event.pubkey).collect::<Vec<_>>();
        let kinds = events.iter().map(|event| event.kind).collect::<Vec<_>>();
        let query = |since: Option<u64>, kinds: &[u64]| {
            Arc::new(Filter {
                authors: Some(authors.clone()),
                kinds: Some(kinds.to_vec()),
                since,
                ..Filter::default()
            })
        };
        let middle = Some(events[events.len() / 2].created_at);
        let expected = [None, middle].map(|since| query(since, &kinds));
        let [expecting, other] = [(); 2].map(|()| LocalIndex::new(Arc::clone(&db)));
        expecting.expect(&expected);
        for query in &expected {
            let all = other.items(query).await.unwrap().len();
            assert!(all > 100);
            assert_eq!(expecting.opening(query).await.unwrap().len(), all);
            assert_eq!(expecting.items(query).await.unwrap().len(), all);
            // Of all authors and kinds, which are asked for here.
            let time = Filter { since: query.since, until: query.until, ..Filter::default() };
            assert_eq!(expecting.overview(&time).await.len(), all);
            let other_time = Filter { since: Some(1), ..time };
            assert_eq!(expecting.overview(&other_time).await.len(), 0);
        }
        assert!(expecting.lock().is_empty(), "nothing was looked for by itself");
        // What is not expected, and what is not of that sort.
        let no_authors = Arc::new(Filter { authors: None, ..Filter::clone(&query(None, &[1])) });
        for query in [query(middle, &[1]), query(Some(1), &[1]), no_authors] {
            let all = other.items(&query).await.unwrap().len();
            assert_eq!(expecting.opening(&query).await.unwrap().len(), all);
        }
        assert_eq!(expecting.lock().len(), 3);
        // Nor does it wait for the walk.
        expecting.expect(&expected);
        expecting.opening(&query(None, &[1])).await.unwrap();
        let is_begun = |it: &Arc<Expected>| it.is_begun.load(Ordering::Relaxed);
        assert!(!expecting.lock_expected().iter().any(is_begun));
        expecting.expect([]);
        assert_eq!(expecting.opening(&expected[0]).await.unwrap().len(), events.len());
        assert_eq!(expecting.lock().len(), 1);
    }
}
