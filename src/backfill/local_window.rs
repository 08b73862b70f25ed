//! What is here of very many queries about the same time: found in one walk through that time, on all
//! cores, where this takes less than to look for each. It keeps fingerprints, and events only where
//! they are few.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use tokio::sync::OwnedSemaphorePermit;

use super::limits::{
    AUTHORS_SAMPLED, COMPARED_AT_ONCE, EVENTS_WALKED_IN_A_DESCENT, EVENTS_WALKED_IN_A_READ,
    FEW_ITEMS, WINDOW_SLICES,
};
use crate::nostr::{EventId, Filter, Pubkey};
use crate::peer::{Fingerprints, ItemSet, Opening};
use crate::strfry_db::{self, ReadError, StrfryDb};

/// Nostr began in November 2020: earlier events are few.
const FIRST_EVENTS: u64 = 1_604_188_800;

/// What is here of a time.
#[derive(Debug, Default)]
pub(super) struct LocalWindow {
    /// What comparisons open with, by what they are about.
    openings: HashMap<Arc<Filter>, Opening>,
    /// Of all events, whoever has made them.
    overview: Fingerprints,
}

/// From which second to which, both inclusive.
pub(super) type Span = (u64, u64);

impl LocalWindow {
    /// Looks for these queries about one time, if a walk is worth it. `room`: for how many events.
    /// Once `is_over` is set, nobody needs it any more.
    pub(super) fn read(
        db: &StrfryDb,
        span: Span,
        queries: Vec<Arc<Filter>>,
        room: Option<OwnedSemaphorePermit>,
        is_over: &AtomicBool,
    ) -> Result<Self, ReadError> {
        if !is_worth_a_walk(db, span, &queries)? {
            return Ok(Self::default());
        }
        let mut room = Room { kept: AtomicUsize::new(0), permit: room };
        let (sets, overview) = Sets::of(&queries).walk(db, span, &room, is_over)?;
        if is_over.load(Ordering::Relaxed) {
            return Ok(Self::default());
        }
        let found = sets.into_iter().map(|set| set.finish(&mut room));
        Ok(Self { openings: queries.into_iter().zip(found).collect(), overview })
    }

    /// What a comparison about this opens with, if that has been looked for.
    pub(super) fn opening(&self, filter: &Filter) -> Option<&Opening> {
        self.openings.get(filter)
    }

    /// The fingerprints of all events; none if there was no walk.
    pub(super) fn overview(&self) -> &Fingerprints {
        &self.overview
    }
}

/// The time that a query is about, if it is one of those that a walk answers.
pub(super) fn span_of(query: &Filter) -> Option<Span> {
    let Filter { ids: None, authors: Some(_), kinds: Some(_), limit: None, .. } = query else {
        return None;
    };
    Some(bounds_of(query))
}

/// The first and the last second that a filter is about.
pub(super) fn bounds_of(filter: &Filter) -> Span {
    (filter.since.unwrap_or(0), filter.until.unwrap_or(u64::MAX))
}

fn all_of((since, until): Span) -> strfry_db::Filter {
    strfry_db::Filter::new().since(since).until(until)
}

/// Whether one walk takes less time than to look for each of these queries: by author and kind, and
/// then for every event.
fn is_worth_a_walk(db: &StrfryDb, span: Span, queries: &[Arc<Filter>]) -> Result<bool, ReadError> {
    let length = |list: Option<usize>| list.unwrap_or(0);
    let pairs = queries.iter().map(|query| {
        length(query.authors.as_ref().map(Vec::len)) * length(query.kinds.as_ref().map(Vec::len))
    });
    let pairs = pairs.sum::<usize>() as u64;
    if pairs == 0 {
        return Ok(false);
    }
    let walked = db.count(all_of(span))?;
    let descents = pairs.saturating_mul(EVENTS_WALKED_IN_A_DESCENT);
    if descents > walked {
        return Ok(true);
    }
    let mut authors: Vec<Pubkey> =
        queries.iter().flat_map(|query| query.authors.iter().flatten()).copied().collect();
    authors.sort_unstable();
    authors.dedup();
    let step = authors.len().div_ceil(AUTHORS_SAMPLED).max(1);
    let (mut sampled, mut events) = (0, 0_u64);
    for author in authors.iter().step_by(step) {
        sampled += 1;
        events = events.saturating_add(db.count(all_of(span).authors([*author]))?);
    }
    let events = events.saturating_mul(authors.len() as u64) / sampled.max(1);
    Ok(descents.saturating_add(events.saturating_mul(EVENTS_WALKED_IN_A_READ)) > walked)
}

/// Queries, by whom they are about.
struct Sets<'a> {
    queries: &'a [Arc<Filter>],
    /// Which queries are about an author.
    by_author: HashMap<Pubkey, Vec<u32>>,
}

impl<'a> Sets<'a> {
    fn of(queries: &'a [Arc<Filter>]) -> Self {
        let mut by_author: HashMap<Pubkey, Vec<u32>> = HashMap::new();
        for (query, number) in queries.iter().zip(0..) {
            for author in query.authors.iter().flatten() {
                let of_author = by_author.entry(*author).or_default();
                // An author may be named twice.
                if of_author.last() != Some(&number) {
                    of_author.push(number);
                }
            }
        }
        Self { queries, by_author }
    }

    /// What is here of each query, and of the whole time.
    fn walk(
        &self,
        db: &StrfryDb,
        span: Span,
        room: &Room,
        is_over: &AtomicBool,
    ) -> Result<(Vec<Set>, Fingerprints), ReadError> {
        let walk = |slice| self.walk_slice(db, slice, room, is_over);
        let slices: Vec<Result<(Vec<Set>, Fingerprints), ReadError>> =
            slices(span).into_par_iter().map(walk).collect();
        let mut sets = vec![Set::default(); self.queries.len()];
        let mut overview = Fingerprints::default();
        for slice in slices {
            let (older_sets, older) = slice?;
            overview.append(older);
            for (set, older) in sets.iter_mut().zip(older_sets) {
                set.append(older, room);
            }
        }
        Ok((sets, overview))
    }

    /// Newest first.
    fn walk_slice(
        &self,
        db: &StrfryDb,
        slice: Span,
        room: &Room,
        is_over: &AtomicBool,
    ) -> Result<(Vec<Set>, Fingerprints), ReadError> {
        let (mut sets, mut overview) = (Vec::new(), Fingerprints::default());
        let batches = db.scan(all_of(slice)).map_batches(|batch| {
            let mut found: Vec<(u32, u64, EventId)> = Vec::new();
            let mut all: Vec<(u64, EventId)> = Vec::new();
            for event in batch.packed()? {
                let event = event?;
                all.push((event.created_at(), event.id()));
                let Some(numbers) = self.by_author.get(&event.pubkey()) else { continue };
                for &number in numbers {
                    if self.asks_for(number, event.kind()) {
                        found.push((number, event.created_at(), event.id()));
                    }
                }
            }
            Ok((found, all))
        });
        for batch in batches.take_while(|_| !is_over.load(Ordering::Relaxed)) {
            let (found, all) = batch?;
            all.iter().for_each(|(created_at, id)| overview.push(*created_at, id));
            for (number, created_at, id) in found {
                if sets.is_empty() {
                    sets.resize(self.queries.len(), Set::default());
                }
                if let Some(set) = sets.get_mut(number as usize) {
                    set.push(created_at, id, room);
                }
            }
        }
        Ok((sets, overview))
    }

    fn asks_for(&self, query: u32, kind: u64) -> bool {
        let kinds = self.queries.get(query as usize).and_then(|query| query.kinds.as_deref());
        kinds.is_some_and(|kinds| kinds.contains(&kind))
    }
}

/// Slices of a time, the newest first. They hold unequal numbers of events, so there are many.
fn slices((since, until): Span) -> Vec<Span> {
    let begin = since.max(FIRST_EVENTS).min(until);
    let end = until.min(begin.saturating_add(FIRST_EVENTS));
    let width = ((end - begin) / WINDOW_SLICES).max(1);
    let mut slices = Vec::new();
    let mut newest = until;
    for number in (1..WINDOW_SLICES).rev() {
        let oldest = begin.saturating_add(width.saturating_mul(number));
        if oldest <= newest && oldest > since {
            slices.push((oldest, newest));
            newest = oldest - 1;
        }
    }
    slices.push((since, newest));
    slices
}

/// How many events are kept, and may be.
struct Room {
    kept: AtomicUsize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn is_full(&self) -> bool {
        let most = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.kept.load(Ordering::Relaxed) >= most
    }
}

/// What is here of one query, the newest first.
#[derive(Debug, Clone)]
enum Set {
    Items(Vec<(u64, EventId)>),
    Fingerprints(Fingerprints),
}

impl Default for Set {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl Set {
    fn push(&mut self, created_at: u64, id: EventId, room: &Room) {
        match self {
            Self::Fingerprints(fingerprints) => fingerprints.push(created_at, &id),
            Self::Items(items) => {
                items.push((created_at, id));
                room.kept.fetch_add(1, Ordering::Relaxed);
                self.bound(room);
            }
        }
    }

    /// Adds what is older.
    fn append(&mut self, older: Self, room: &Room) {
        match (&mut *self, older) {
            (Self::Items(items), Self::Items(mut older)) => {
                items.append(&mut older);
                self.bound(room);
            }
            (Self::Items(items), older) if items.is_empty() => *self = older,
            (Self::Items(_), older) => {
                self.fingerprint(room);
                self.append(older, room);
            }
            (Self::Fingerprints(fingerprints), Self::Items(older)) => {
                room.kept.fetch_sub(older.len(), Ordering::Relaxed);
                older.iter().for_each(|(created_at, id)| fingerprints.push(*created_at, id));
            }
            (Self::Fingerprints(fingerprints), Self::Fingerprints(older)) => {
                fingerprints.append(older);
            }
        }
    }

    /// Keeps few events, and more as far as there is room.
    fn bound(&mut self, room: &Room) {
        let Self::Items(items) = self else { return };
        let are_many = items.len() > FEW_ITEMS && room.is_full();
        if are_many || items.len() > COMPARED_AT_ONCE {
            self.fingerprint(room);
        }
    }

    fn fingerprint(&mut self, room: &Room) {
        let Self::Items(items) = self else { return };
        room.kept.fetch_sub(items.len(), Ordering::Relaxed);
        let mut fingerprints = Fingerprints::default();
        items.iter().for_each(|(created_at, id)| fingerprints.push(*created_at, id));
        *self = Self::Fingerprints(fingerprints);
    }

    fn finish(self, room: &mut Room) -> Opening {
        match self {
            Self::Fingerprints(fingerprints) => Opening::Fingerprints(fingerprints),
            Self::Items(items) => {
                // Few events take no more than fingerprints.
                let held = match items.len() > FEW_ITEMS {
                    true => room.permit.as_mut().and_then(|permit| permit.split(items.len())),
                    false => None,
                };
                Opening::Items(ItemSet::new(items).holding(held))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use negentropy::Negentropy;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::golden::golden_database;

    struct Golden {
        db: StrfryDb,
        /// Newest first.
        events: Vec<(u64, EventId, Pubkey, u64)>,
        _directory: tempfile::TempDir,
    }

    impl Golden {
        fn open() -> Self {
            let directory = golden_database("strfry-1.1.1");
            let db = StrfryDb::open(directory.path()).unwrap();
            let packed = db.scan(strfry_db::Filter::new()).map_batches(|batch| {
                let header = |event: Result<strfry_db::PackedEvent<'_>, _>| {
                    event.map(|it| (it.created_at(), it.id(), it.pubkey(), it.kind()))
                };
                batch.packed()?.map(header).collect::<Result<Vec<_>, _>>()
            });
            let events = packed.flat_map(Result::unwrap).collect();
            Self { db, events, _directory: directory }
        }

        /// All authors in threes, two kinds and all others.
        fn queries(&self, (since, until): (Option<u64>, Option<u64>)) -> Vec<Arc<Filter>> {
            let mut authors: Vec<Pubkey> = self.events.iter().map(|event| event.2).collect();
            authors.sort_unstable();
            authors.dedup();
            let mut kinds: Vec<u64> = self.events.iter().map(|event| event.3).collect();
            kinds.sort_unstable();
            kinds.dedup();
            let (some, others) = kinds.split_at(2);
            let of = |kinds: &[u64], authors: &[Pubkey]| {
                Arc::new(Filter {
                    authors: Some(authors.to_vec()),
                    kinds: Some(kinds.to_vec()),
                    since,
                    until,
                    ..Filter::default()
                })
            };
            [some, others]
                .iter()
                .flat_map(|kinds| authors.chunks(3).map(|authors| of(kinds, authors)))
                .collect()
        }

        fn matching(&self, query: &Filter) -> Vec<(u64, EventId)> {
            let events = self.events.iter();
            let matching =
                events.filter(|(time, id, author, kind)| query.matches(id, author, *kind, *time));
            matching.map(|(time, id, ..)| (*time, *id)).collect()
        }

        /// What a walk finds with room for so many events.
        fn walk(&self, queries: &[Arc<Filter>], most: u32) -> (Vec<Set>, Room) {
            let permit = Arc::new(Semaphore::new(100_000)).try_acquire_many_owned(most).unwrap();
            let room = Room { kept: AtomicUsize::new(0), permit: Some(permit) };
            let span = span_of(&queries[0]).unwrap();
            let walked = Sets::of(queries).walk(&self.db, span, &room, &AtomicBool::new(false));
            let (sets, overview) = walked.unwrap();
            let all = ItemSet::new(self.matching(&Filter {
                since: Some(span.0),
                until: Some(span.1),
                ..Filter::default()
            }));
            assert_eq!(overview.len(), all.len());
            let answer = Negentropy::owned(all, 0).unwrap().reconcile(&overview.message());
            assert_eq!(answer.unwrap(), [0x61], "nothing differs");
            (sets, room)
        }
    }

    #[test]
    fn a_walk_finds_of_each_query_what_matches_it() {
        let golden = Golden::open();
        let times: Vec<u64> = golden.events.iter().map(|event| event.0).collect();
        let (oldest, newest) = (times[times.len() - 1], times[0]);
        let middle = times[times.len() / 2];
        for span in [
            (None, None),
            (Some(oldest), Some(newest)),
            (Some(middle), None),
            (None, Some(middle)),
            (Some(middle), Some(middle)),
            (Some(newest + 1), Some(u64::MAX)),
            (Some(oldest + 1), Some(newest - 1)),
        ] {
            let queries = golden.queries(span);
            let (sets, room) = golden.walk(&queries, 100_000);
            let mut count = 0;
            for (query, set) in queries.iter().zip(sets) {
                let Set::Items(items) = set else { panic!("there is room") };
                count += items.len();
                assert_eq!(items, golden.matching(query), "{span:?}");
            }
            assert_eq!(room.kept.into_inner(), count);
            let asked = times.iter().filter(|&&time| {
                span.0.is_none_or(|since| time >= since) && span.1.is_none_or(|until| time <= until)
            });
            assert_eq!(count, asked.count(), "{span:?}");
        }
    }

    #[test]
    fn without_room_large_sets_are_fingerprints_that_are_those_of_the_same_events() {
        let golden = Golden::open();
        let queries = golden.queries((None, None));
        let (sets, room) = golden.walk(&queries, 0);
        let mut large = 0;
        for (query, set) in queries.iter().zip(sets) {
            let expected = golden.matching(query);
            match set {
                Set::Items(items) => {
                    assert!(items.len() <= FEW_ITEMS);
                    assert_eq!(items, expected);
                }
                Set::Fingerprints(fingerprints) => {
                    large += 1;
                    assert!(expected.len() > FEW_ITEMS);
                    assert_eq!(fingerprints.len(), expected.len());
                    let there = ItemSet::new(expected);
                    let answer =
                        Negentropy::owned(there, 0).unwrap().reconcile(&fingerprints.message());
                    assert_eq!(answer.unwrap(), [0x61], "nothing differs");
                }
            }
        }
        assert!(large > 1, "{large} large sets");
        assert!(room.kept.into_inner() <= queries.len() * FEW_ITEMS);
    }

    #[test]
    fn slices_are_all_of_a_time_and_no_second_is_in_two() {
        let now = 1_800_000_000;
        for (since, until) in
            [(0, u64::MAX), (0, 0), (7, 7), (0, now), (now - 5, now), (now - 86_400, now), (0, 100)]
        {
            let slices = slices((since, until));
            assert!(slices.len() <= WINDOW_SLICES as usize);
            assert_eq!((slices[0].1, slices[slices.len() - 1].0), (until, since));
            assert!(slices.iter().all(|slice| slice.0 <= slice.1), "{slices:?}");
            for pair in slices.windows(2) {
                assert_eq!(pair[1].1 + 1, pair[0].0, "{slices:?}");
            }
        }
        assert_eq!(slices((now - 86_400, now)).len(), WINDOW_SLICES as usize);
    }

    #[test]
    fn a_walk_is_worth_it_for_many_authors_and_not_for_few() {
        let golden = Golden::open();
        let all = golden.queries((None, None));
        let is_worth =
            |queries: &[Arc<Filter>]| is_worth_a_walk(&golden.db, (0, u64::MAX), queries);
        assert!(is_worth(&all).unwrap());
        let quiet = all.iter().min_by_key(|query| golden.matching(query).len()).unwrap();
        let quiet = Filter { kinds: Some(vec![1]), ..Filter::clone(quiet) };
        assert!(!is_worth(&[quiet.into()]).unwrap());
        assert!(!is_worth(&[]).unwrap());
    }

    #[test]
    fn what_is_over_is_not_walked_to_the_end_and_answers_nothing() {
        let golden = Golden::open();
        let queries = golden.queries((None, None));
        for (is_over, found) in [(false, queries.len()), (true, 0)] {
            let is_over = AtomicBool::new(is_over);
            let all = (0, u64::MAX);
            let read = LocalWindow::read(&golden.db, all, queries.clone(), None, &is_over);
            assert_eq!(read.unwrap().openings.len(), found);
        }
    }
}
