use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::nostr::Pubkey;
use crate::peer::limits::PAGE;

/// A stored event: author, kind, created_at, number.
pub(in crate::peer) type Stored = (u8, u64, u64, u16);

pub(in crate::peer) fn id_of(event: &Stored) -> EventId {
    let mut id = [event.0; 32];
    id[..2].copy_from_slice(&event.3.to_be_bytes());
    id[2..10].copy_from_slice(&event.1.to_be_bytes());
    id[10..18].copy_from_slice(&event.2.to_be_bytes());
    EventId::from_bytes(id)
}

pub(in crate::peer) fn author(byte: u8) -> Pubkey {
    Pubkey::from_bytes([byte; 32])
}

/// What is known of an event that came.
pub(in crate::peer) fn outline(event: &Stored) -> Outline {
    let (id, pubkey) = (id_of(event), author(event.0));
    Outline { id, pubkey, kind: event.1, created_at: event.2 }
}

/// One event of that second.
fn of_second(created_at: u64) -> Outline {
    Outline { id: EventId::from_bytes([1; 32]), pubkey: author(1), kind: 1, created_at }
}

fn asking(query: Filter) -> PagedQuery {
    PagedQuery::new(query, PAGE, Order::NewestFirst)
}

fn end(query: &mut PagedQuery, is_finish: bool) {
    query.end_of_page(is_finish, SMALLEST_PAGE_LIMIT);
}

/// A relay that gives the newest events first and at most `limit` of them.
pub(in crate::peer) struct Relay {
    pub(in crate::peer) events: BTreeSet<Stored>,
    pub(in crate::peer) limit: usize,
    pub(in crate::peer) pages: usize,
}

impl Relay {
    pub(in crate::peer) fn answer(&mut self, filter: &Filter) -> Vec<Stored> {
        self.pages += 1;
        let mut matching: Vec<Stored> = self
            .events
            .iter()
            .filter(|event| filter.matches(&id_of(event), &author(event.0), event.1, event.2))
            .copied()
            .collect();
        matching.sort_by_key(|event| (std::cmp::Reverse(event.2), id_of(event)));
        matching.truncate(self.limit);
        matching
    }
}

/// Checks that no event is said to be new twice.
fn fetch(relay: &mut Relay, query: Filter) -> (BTreeSet<Stored>, Vec<Gap>) {
    let mut pager = asking(query);
    let mut received = BTreeSet::new();
    while let Some(filter) = pager.next(LeftOut::default()) {
        for event in relay.answer(&filter) {
            let novelty = pager.event(&outline(&event));
            assert_eq!(novelty == Some(Novelty::New), received.insert(event), "{event:?}");
        }
        end(&mut pager, false);
        assert!(relay.pages < 10_000, "paging does not end");
    }
    (received, pager.into_gaps(0))
}

fn query() -> Filter {
    Filter {
        authors: Some((0..4).map(author).collect()),
        kinds: Some(vec![0, 1, 3]),
        ..Filter::default()
    }
}

fn events(of: impl IntoIterator<Item = Stored>) -> BTreeSet<Stored> {
    of.into_iter().collect()
}

#[test]
fn an_empty_answer_ends_the_query_after_one_page() {
    let mut relay = Relay { events: BTreeSet::new(), limit: 500, pages: 0 };
    assert_eq!(fetch(&mut relay, query()), (BTreeSet::new(), vec![]));
    assert_eq!(relay.pages, 1);
}

#[test]
fn a_few_events_cost_three_pages() {
    let stored = events((0..9).map(|number| (1, 1, 100 + number, 0)));
    let mut relay = Relay { events: stored.clone(), limit: 500, pages: 0 };
    assert_eq!(fetch(&mut relay, query()), (stored, vec![]));
    assert_eq!(relay.pages, 3);
}

#[test]
fn a_relay_that_says_that_there_is_no_more_is_asked_once() {
    let stored = events((0..9).map(|number| (1, 1, 100 + number, 0)));
    let mut relay = Relay { events: stored, limit: 500, pages: 0 };
    let mut pager = asking(query());
    for event in relay.answer(&pager.next(LeftOut::default()).unwrap()) {
        pager.event(&outline(&event));
    }
    end(&mut pager, true);
    assert_eq!(pager.next(LeftOut::default()), None);
    assert_eq!(pager.into_gaps(0), []);
}

#[test]
fn a_page_that_is_cut_in_the_middle_of_a_second_loses_nothing() {
    let stored = events((0..100).map(|number| (1, 1, 1000 + u64::from(number) / 7, number)));
    let mut relay = Relay { events: stored.clone(), limit: 20, pages: 0 };
    assert_eq!(fetch(&mut relay, query()), (stored, vec![]));
}

#[test]
fn a_second_denser_than_a_page_is_split_by_author_and_kind() {
    let dense = (0..4).flat_map(|author| {
        [0, 1, 3].into_iter().flat_map(move |kind| (0..15).map(move |n| (author, kind, 50, n)))
    });
    let stored = events(dense.chain([(0, 0, 49, 0), (3, 3, 51, 0)]));
    let mut relay = Relay { events: stored.clone(), limit: 20, pages: 0 };
    assert_eq!(fetch(&mut relay, query()), (stored, vec![]));
}

#[test]
fn a_second_that_cannot_be_split_is_named_and_the_rest_still_comes() {
    let dense = (0..90).map(|number| (2, 1, 50, number));
    let rest = events((0..60).map(|number| (1, 1, 10 + number % 30, number as u16)));
    let stored = events(dense.chain(rest.iter().copied()));
    let mut relay = Relay { events: stored, limit: 30, pages: 0 };
    let (received, gaps) = fetch(&mut relay, query());
    let part = Filter {
        authors: Some(vec![author(2)]),
        kinds: Some(vec![1]),
        since: Some(50),
        until: Some(50),
        ..Filter::default()
    };
    assert_eq!(gaps, [Gap { filter: part, reason: GapReason::DenseSecond(50) }]);
    assert!(rest.is_subset(&received));
    assert_eq!(received.len(), rest.len() + 30);
}

#[test]
fn a_relay_that_never_runs_out_of_new_events_in_one_second_is_not_asked_for_ever() {
    let mut pager = asking(query());
    let mut number = 0;
    let mut pages = 0;
    while let Some(filter) = pager.next(LeftOut::default()) {
        for _ in 0..30 {
            number += 1;
            let event = (1, 1, 77, number);
            if filter.matches(&id_of(&event), &author(1), 1, 77) {
                pager.event(&outline(&event));
            }
        }
        end(&mut pager, false);
        pages += 1;
        assert!(pages < 1_000);
    }
    assert!(!pager.into_gaps(0).is_empty());
}

#[test]
fn a_page_asked_for_again_after_a_lost_connection_loses_nothing() {
    let stored = events((0..100).map(|number| (1, 1, 1000 - u64::from(number) / 3, number)));
    let mut relay = Relay { events: stored.clone(), limit: 40, pages: 0 };
    let mut pager = asking(query());
    let mut received = BTreeSet::new();
    let mut attempt = 0;
    while let Some(filter) = pager.next(LeftOut::default()) {
        attempt += 1;
        let cut_after = if attempt % 2 == 1 { 17 } else { 500 };
        for event in relay.answer(&filter).into_iter().take(cut_after) {
            let novelty = pager.event(&outline(&event));
            assert_eq!(novelty == Some(Novelty::New), received.insert(event), "{event:?}");
        }
        if cut_after == 500 {
            end(&mut pager, false);
        }
    }
    assert_eq!(received, stored);
}

#[test]
fn an_answer_of_nothing_but_what_was_not_asked_for_is_no_end() {
    let mut pager = asking(query());
    pager.next(LeftOut::default()).unwrap();
    pager.event(&of_second(1_000));
    pager.stray();
    end(&mut pager, false);
    pager.next(LeftOut::default()).unwrap();
    pager.event(&of_second(1_000));
    pager.stray();
    end(&mut pager, false);
    assert_eq!(pager.next(LeftOut::default()), None);
    let reason = GapReason::IgnoresFilter;
    assert_eq!(pager.into_gaps(0), [Gap { filter: query(), reason }]);
}

#[test]
fn what_is_dated_too_far_ahead_ends_a_query_only_where_it_may_hide_something() {
    for (passed, gaps) in [(SMALLEST_PAGE_LIMIT - 1, 0), (SMALLEST_PAGE_LIMIT, 1)] {
        let mut pager = asking(query());
        for second in [1_000, 999] {
            pager.next(LeftOut::default()).unwrap();
            (0..passed).for_each(|_| pager.pass());
            pager.event(&of_second(second));
            end(&mut pager, false);
        }
        while pager.next(LeftOut::default()).is_some() {
            (0..passed).for_each(|_| pager.pass());
            end(&mut pager, false);
        }
        let found = pager.into_gaps(0);
        assert_eq!(found.len(), gaps, "{found:?}");
        assert!(found.iter().all(|gap| gap.reason == GapReason::IgnoresFilter));
    }
}

proptest! {
    #[test]
    fn every_event_comes_or_its_second_is_named(
        stored in vec((0u8..4, prop_oneof![Just(0u64), Just(1), Just(3)], 0u64..12, 0u16..40), 0..600),
        limit in SMALLEST_PAGE_LIMIT..80,
        since in 0u64..4,
    ) {
        let stored = events(stored);
        let mut relay = Relay { events: stored.clone(), limit, pages: 0 };
        let (received, gaps) = fetch(&mut relay, Filter { since: Some(since), ..query() });
        for event in stored.iter().filter(|event| event.2 >= since) {
            let named = gaps.iter().any(|gap| {
                gap.reason == GapReason::DenseSecond(event.2)
                    && gap.filter.matches(&id_of(event), &author(event.0), event.1, event.2)
            });
            prop_assert!(received.contains(event) || named, "{event:?} is lost");
        }
    }
}
