//! One request for the pages of several queries.
//!
//! A relay's limit is one for each filter, so a request of several filters brings several pages.
//! That pays for queries that are known to have more than a page left: a query whose pages are cut
//! is divided by authors, until as many pages can be asked for at once as the relay answers.
//!
//! Pure: says what to ask and is told what came.

use std::collections::HashSet;

use super::limits::{FRAME_OVERHEAD, KEY_IN_FILTER, KIND_IN_FILTER, LARGEST_PAGE};
use super::paging::{Half, Novelty, Pager, ShortId};
use crate::nostr::{Filter, Outline};

/// Events of one request, about. One filter may bring as many.
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
const EVENTS: usize = LARGEST_PAGE as usize;

/// One request under way.
#[derive(Debug)]
pub(super) struct PageRequest {
    pages: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    pager: Pager,
    filter: Filter,
}

/// What a request that has ended leaves.
#[derive(Debug)]
pub(super) struct EndedPages {
    /// What goes on.
    pub(super) pagers: Vec<Pager>,
    /// What none of these asks for because all of it has come.
    pub(super) behind: Vec<Filter>,
    /// What was asked.
    pub(super) filters: Vec<Filter>,
    /// The ids that came, and those of a moment before.
    pub(super) known: HashSet<ShortId>,
    /// A page was empty.
    pub(super) is_empty: bool,
}

/// How much one request may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageLimits {
    /// Filters that the peer takes in one request.
    pub(super) filters: usize,
    /// Bytes of a message that it takes.
    pub(super) max_message: usize,
}

impl PageRequest {
    /// The next page of one query. The query itself, if it has ended.
    pub(super) fn new(mut pager: Box<Pager>) -> Result<Self, Box<Pager>> {
        match pager.next() {
            Some(filter) => Ok(Self { pages: vec![Page { pager: *pager, filter }] }),
            None => Err(pager),
        }
    }

    /// Whether the next page of this query can be asked for, too. Only what is alike goes together:
    /// a relay may refuse a request for the sake of one kind.
    pub(super) fn has_room_for(&self, pager: &Pager, limits: &PageLimits) -> bool {
        let mut pagers = self.pages.iter().map(|page| &page.pager).chain([pager]);
        let bytes = self.pages.iter().map(|page| length(page.pager.query())).sum::<usize>();
        let events = self.pages.iter().map(|page| page.pager.largest_page()).sum::<usize>();
        self.pages.len() < limits.filters
            && bytes + length(pager.query()) <= limits.max_message
            && events + pager.largest_page() <= EVENTS
            && pagers.all(|it| it.expects_more() && it.query().kinds == pager.query().kinds)
    }

    /// Asks for the next page of this query, too.
    pub(super) fn add(&mut self, mut pager: Pager) {
        // It has not ended, since it expects more.
        if let Some(filter) = pager.next() {
            self.pages.push(Page { pager, filter });
        }
    }

    pub(super) fn filters(&self) -> Vec<Filter> {
        self.pages.iter().map(|page| page.filter.clone()).collect()
    }

    /// Whether more than one query is asked for.
    pub(super) fn is_shared(&self) -> bool {
        self.pages.len() > 1
    }

    /// Queries that have more than a page left.
    pub(super) fn expecting(&self) -> usize {
        self.pages.iter().filter(|page| page.pager.expects_more()).count()
    }

    /// Something came. `None`: it was not asked for.
    pub(super) fn receive(&mut self, event: &Outline) -> Option<Novelty> {
        let Outline { id, pubkey, kind, created_at } = event;
        let matches = |page: &&mut Page| page.filter.matches(id, pubkey, *kind, *created_at);
        let page = self.pages.iter_mut().find(matches)?;
        Some(page.pager.event(id, pubkey, *kind, *created_at))
    }

    /// Something in the place of an event that was not asked for or is none.
    pub(super) fn stray(&mut self) {
        self.pages.iter_mut().for_each(|page| page.pager.stray());
    }

    /// How many ids its queries keep.
    pub(super) fn ids(&self) -> usize {
        self.pages.iter().map(|page| page.pager.ids()).sum()
    }

    /// Something in the place of an event that is of no use, and says nothing about the relay.
    pub(super) fn pass(&mut self) {
        self.pages.iter_mut().for_each(|page| page.pager.pass());
    }

    /// Whether a page holds more than any relay gives.
    pub(super) fn is_flooded(&self) -> bool {
        self.pages.iter().any(|page| page.pager.is_flooded())
    }

    /// The queries, none of whose pages has ended.
    pub(super) fn into_pagers(self) -> impl Iterator<Item = Pager> {
        self.pages.into_iter().map(|page| page.pager)
    }

    /// The relay says that this is all, and whether it is all that there is. `others`: queries
    /// beside these that have more than a page left.
    pub(super) fn end(self, is_finish: bool, limits: &PageLimits, others: usize) -> EndedPages {
        let is_shared = self.is_shared();
        let mut ended = EndedPages {
            pagers: Vec::new(),
            behind: Vec::new(),
            filters: self.filters(),
            known: HashSet::new(),
            is_empty: false,
        };
        for mut pager in self.into_pagers() {
            let known = match is_shared {
                true => pager.end_of_shared_page(),
                false => pager.end_of_page(is_finish),
            };
            ended.is_empty |= known.is_empty();
            ended.known.extend(known);
            ended.pagers.push(pager);
        }
        ended.divide(limits, others);
        ended
    }
}

impl EndedPages {
    /// Halves what has more than a page left, as long as one request can ask for more of it.
    fn divide(&mut self, limits: &PageLimits, others: usize) {
        let mut parts = others + self.pagers.iter().filter(|it| it.expects_more()).count();
        let mut halves = Vec::new();
        for pager in &mut self.pagers {
            let most = limits.filters.min(EVENTS / pager.largest_page().max(1));
            if parts < most
                && let Some(Half { pager: half, behind }) = pager.halve()
            {
                parts += 1;
                halves.push(half);
                self.behind.extend(behind);
            }
        }
        self.pagers.extend(halves);
    }
}

/// Bytes of a filter, at most.
fn length(filter: &Filter) -> usize {
    let authors = filter.authors.as_deref().map_or(0, <[_]>::len);
    let kinds = filter.kinds.as_deref().map_or(0, <[_]>::len);
    authors * KEY_IN_FILTER + kinds * KIND_IN_FILTER + FRAME_OVERHEAD
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::relay::limits::{PAGE, SMALLEST_PAGE_LIMIT};
    use crate::relay::outcome::{Gap, GapReason};
    use crate::relay::paging::tests::{Relay, Stored, author, id_of};

    const LIMITS: PageLimits = PageLimits { filters: 10, max_message: 65_536 };

    /// What a relay does about several filters in one request.
    #[derive(Debug, Clone, Copy)]
    enum Filters {
        /// Gives a page for each.
        All,
        /// Gives no more events than for one.
        OneLimit,
        /// Gives a page for each of so many, and nothing for the others.
        Some(usize),
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Course {
        received: BTreeSet<Stored>,
        gaps: Vec<Gap>,
        /// Queries of which all has come.
        complete: Vec<Filter>,
        requests: usize,
        /// Events that the relay gave, also again.
        given: usize,
    }

    impl Course {
        fn is_complete_of(&self, event: &Stored) -> bool {
            self.complete.iter().any(|filter| matches(filter, event))
        }
    }

    fn matches(filter: &Filter, event: &Stored) -> bool {
        filter.matches(&id_of(event), &author(event.0), event.1, event.2)
    }

    fn run(relay: &mut Relay, filters: Filters, queries: Vec<Filter>) -> Course {
        let mut course = Course::default();
        let mut waiting: VecDeque<Pager> =
            queries.into_iter().map(|query| Pager::new(query, PAGE)).collect();
        while let Some(pager) = waiting.pop_front() {
            let mut request = match PageRequest::new(Box::new(pager)) {
                Ok(request) => request,
                Err(ended) => {
                    let query = ended.query().clone();
                    let gaps = ended.into_gaps();
                    course.complete.extend(gaps.is_empty().then_some(query));
                    course.gaps.extend(gaps);
                    continue;
                }
            };
            for pager in std::mem::take(&mut waiting) {
                match request.has_room_for(&pager, &LIMITS) {
                    true => request.add(pager),
                    false => waiting.push_back(pager),
                }
            }
            course.requests += 1;
            assert!(course.requests < 10_000, "paging does not end");
            let pages = request.filters();
            let heeded = match filters {
                Filters::Some(count) => &pages[..count.min(pages.len())],
                Filters::All | Filters::OneLimit => &pages[..],
            };
            let mut answer: Vec<Stored> =
                heeded.iter().flat_map(|filter| relay.answer(filter)).collect();
            if matches!(filters, Filters::OneLimit) {
                answer.truncate(relay.limit);
            }
            course.given += answer.len();
            for event in answer {
                let (id, pubkey) = (id_of(&event), author(event.0));
                let novelty = request.pages.iter_mut().find_map(|page| {
                    matches(&page.filter, &event)
                        .then(|| page.pager.event(&id, &pubkey, event.1, event.2))
                });
                assert_eq!(novelty == Some(Novelty::New), course.received.insert(event));
            }
            let others = waiting.iter().filter(|it| it.expects_more()).count();
            let ended = request.end(false, &LIMITS, others);
            course.complete.extend(ended.behind);
            waiting.extend(ended.pagers);
        }
        course
    }

    fn query(authors: std::ops::Range<u8>) -> Filter {
        Filter {
            authors: Some(authors.map(author).collect()),
            kinds: Some(vec![0, 1, 3]),
            ..Filter::default()
        }
    }

    /// So many events of each author, one a second.
    fn many(authors: u8, each: u16) -> BTreeSet<Stored> {
        let of = |author| (0..each).map(move |n| (author, 1, 1_000 + u64::from(n), n));
        (0..authors).flat_map(of).collect()
    }

    #[test]
    fn many_events_of_a_relay_of_small_pages_come_in_few_requests_and_once() {
        let stored = many(10, 400);
        let mut relay = Relay { events: stored.clone(), limit: 20, pages: 0 };
        let course = run(&mut relay, Filters::All, vec![query(0..10)]);
        assert_eq!(course.received, stored);
        assert!(stored.iter().all(|event| course.is_complete_of(event)));
        // Page by page it would be 400 and more.
        assert!(course.requests < 60, "{}", course.requests);
        // Again come those of the second in which a page ends.
        assert!(course.given < stored.len() * 11 / 10, "{}", course.given);
    }

    #[test]
    fn a_quiet_query_is_not_divided() {
        let stored = many(10, 4);
        let mut relay = Relay { events: stored.clone(), limit: 500, pages: 0 };
        let course = run(&mut relay, Filters::All, vec![query(0..10)]);
        let complete = vec![query(0..10)];
        let expected = Course { received: stored, complete, requests: 3, given: 50, gaps: vec![] };
        assert_eq!(course, expected);
    }

    #[test]
    fn a_dense_second_of_many_authors_comes_little_more_than_once() {
        let stored: BTreeSet<Stored> =
            (0..10).flat_map(|author| (0..60).map(move |n| (author, 1, 50, n))).collect();
        let mut relay = Relay { events: stored.clone(), limit: 100, pages: 0 };
        let course = run(&mut relay, Filters::All, vec![query(0..10)]);
        assert_eq!((&course.received, &course.gaps), (&stored, &vec![]));
        assert!(course.given <= stored.len() + 3 * 100, "{}", course.given);
    }

    #[test]
    fn a_dense_second_below_a_query_that_is_divided_comes_too() {
        let dense = (0..4).flat_map(|author| {
            [0, 1].into_iter().flat_map(move |kind| (0..15).map(move |n| (author, kind, 50, n)))
        });
        let stored: BTreeSet<Stored> = dense.chain(many(4, 100)).collect();
        let mut relay = Relay { events: stored.clone(), limit: 20, pages: 0 };
        let course = run(&mut relay, Filters::All, vec![query(0..4)]);
        assert_eq!((&course.received, &course.gaps), (&stored, &vec![]));
        assert!(course.requests < 80, "{}", course.requests);
    }

    #[test]
    fn of_a_query_that_is_divided_behind_a_second_that_did_not_come_nothing_is_said_to_be_whole() {
        let dense = (0..90).map(|number| (2, 1, 9_000, number));
        let newer = (0..15).map(|number| (0, 1, 9_001 + u64::from(number), number));
        let stored: BTreeSet<Stored> = dense.chain(newer).chain(many(4, 100)).collect();
        let mut relay = Relay { events: stored.clone(), limit: 30, pages: 0 };
        let course = run(&mut relay, Filters::All, vec![query(0..4)]);
        assert_eq!(course.received.len(), 445);
        let lost: Vec<&Stored> =
            stored.difference(&course.received).filter(|it| course.is_complete_of(it)).collect();
        assert_eq!(lost, Vec::<&Stored>::new());
        assert!(course.complete.iter().any(|filter| matches(filter, &(3, 1, 1_000, 0))));
    }

    #[test]
    fn only_what_is_alike_and_fits_is_asked_for_in_one_request() {
        let pager = |kinds: &[u64], authors: u8| {
            let query = Filter { kinds: Some(kinds.to_vec()), ..query(0..authors) };
            let mut pager = Pager::new(query, 20);
            pager.next().unwrap();
            for number in 0..20 {
                let event = (0, kinds[0], 100 + u64::from(number), number);
                pager.event(&id_of(&event), &author(0), kinds[0], event.2);
            }
            pager.end_of_page(false);
            pager
        };
        let has_room = |other: &Pager, limits: PageLimits| {
            PageRequest::new(Box::new(pager(&[1], 3))).unwrap().has_room_for(other, &limits)
        };
        assert!(has_room(&pager(&[1], 3), LIMITS));
        assert!(!has_room(&pager(&[4], 3), LIMITS), "private messages are asked for apart");
        assert!(!has_room(&Pager::new(query(0..3), 20), LIMITS), "nothing is known of it");
        assert!(!has_room(&pager(&[1], 3), PageLimits { filters: 1, ..LIMITS }));
        assert!(has_room(&pager(&[1], 3), PageLimits { max_message: 1_000, ..LIMITS }));
        assert!(!has_room(&pager(&[1], 200), PageLimits { max_message: 10_000, ..LIMITS }));
    }

    proptest! {
        #[test]
        fn whatever_a_relay_does_about_several_filters_every_event_comes_or_its_second_is_named(
            stored in vec((0u8..8, prop_oneof![Just(0u64), Just(1), Just(3)], 0u64..40, 0u16..20), 0..1000),
            limit in SMALLEST_PAGE_LIMIT..60,
            since in 0u64..4,
            filters in prop_oneof![
                Just(Filters::All),
                Just(Filters::OneLimit),
                (1usize..4).prop_map(Filters::Some),
            ],
        ) {
            let stored: BTreeSet<Stored> = stored.into_iter().collect();
            let mut relay = Relay { events: stored.clone(), limit, pages: 0 };
            let with = |query| Filter { since: Some(since), ..query };
            let course = run(&mut relay, filters, vec![with(query(0..4)), with(query(4..8))]);
            for event in stored.iter().filter(|event| event.2 >= since) {
                let is_named = course.gaps.iter().any(|gap| {
                    gap.reason == GapReason::DenseSecond(event.2) && matches(&gap.filter, event)
                });
                let has_come = course.received.contains(event);
                prop_assert!(has_come || is_named, "{event:?} is lost");
                prop_assert!(has_come || !course.is_complete_of(event), "{event:?} did not come");
            }
        }
    }
}
