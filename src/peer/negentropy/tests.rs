use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::nostr::Pubkey;
use crate::peer::fingerprints::Fingerprints;
use crate::peer::limits::{
    IDS_WAITING, OVERVIEW_QUERIES, PARALLEL_COMPARISONS, PARALLEL_SUBSCRIPTIONS,
};
use crate::peer::pager::tests::filter_of;
use crate::peer::want_list::WantList;

/// Comparisons with one peer.
struct Compared {
    negentropy: Negentropy,
    limits: PeerLimits,
    member: Member,
    begun: usize,
}

fn id(number: u64) -> EventId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(id)
}

fn items(numbers: std::ops::Range<u64>) -> ItemSet {
    ItemSet::new(numbers.map(|number| (number, id(number))))
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<EventId> {
    numbers.map(id).collect()
}

/// The query about this kind.
fn about(kind: u64) -> Filter {
    Filter { kinds: Some(vec![kind]), since: Some(0), until: Some(999_999), ..Filter::default() }
}

/// A message of ours: its name, its subscription and what follows.
fn sent(text: Option<&str>) -> Option<(String, String, Vec<Value>)> {
    let Ok(Value::Array(parts)) = serde_json::from_str(text?) else { panic!("{text:?}") };
    let name = |at: usize| parts[at].as_str().unwrap().to_owned();
    Some((name(0), name(1), parts[2..].to_vec()))
}

/// A peer's answer to this message of ours.
fn answer(message: &Value, there: &ItemSet) -> String {
    let message = hex::decode(message.as_str().unwrap()).unwrap();
    let mut peer = ::negentropy::Negentropy::owned(there.clone(), 60_000).unwrap();
    hex::encode(peer.reconcile(&message).unwrap())
}

/// An answer to any comparison: it names `count` events from this one on, and nothing else differs.
fn naming(first: u64, count: u64) -> String {
    // The protocol's version; up to the end of time, a list of 64 to 16,383 ids.
    let length = [0x80 | (count >> 7) as u8, (count & 0x7f) as u8];
    let mut payload = [&[0x61, 0, 0, 2], &length[..]].concat();
    (first..first + count).for_each(|number| payload.extend(id(number).as_bytes()));
    hex::encode(payload)
}

impl Compared {
    /// With so many queries, of kinds 0, 1, …
    fn of(queries: u64, limits: PeerLimits) -> Self {
        let member = Arc::<WantList>::default().join();
        let mut negentropy = Negentropy::default();
        (0..queries).for_each(|kind| negentropy.add(about(kind)));
        Self { negentropy, limits, member, begun: 0 }
    }

    fn compared(&self) -> Vec<Filter> {
        self.negentropy.compared().cloned().collect()
    }

    /// With a peer that says that it compares.
    fn saying(queries: u64) -> Self {
        Self::of(queries, PeerLimits { says_it_compares: true, ..PeerLimits::default() })
    }

    /// With one that also allows many subscriptions.
    fn allowing(queries: u64) -> Self {
        let comparisons = PARALLEL_COMPARISONS;
        Self::of(queries, PeerLimits { says_it_compares: true, comparisons, ..Default::default() })
    }

    fn next_filter(&mut self) -> Option<Filter> {
        self.negentropy
            .look_up(&self.limits, &self.member)
            .map(|it| Arc::unwrap_or_clone(it.filter))
    }

    /// Begins the next one; what came of it.
    fn begin(&mut self, here: Result<ItemSet, LocalError>) -> Round {
        self.open(here.map(Opening::Items))
    }

    fn open(&mut self, here: Result<Opening, LocalError>) -> Round {
        self.begun += 1;
        self.negentropy.begin(&self.begun.to_string(), here, &self.limits)
    }

    /// Begins as many as may be open at once; the kinds that they are about.
    fn begin_all(&mut self, here: &ItemSet) -> Vec<u64> {
        let mut kinds = Vec::new();
        while let Some(filter) = self.next_filter() {
            let round = self.begin(Ok(here.clone()));
            let (name, subscription, rest) = sent(round.send.as_deref()).unwrap();
            assert_eq!((&*name, subscription), ("NEG-OPEN", self.begun.to_string()));
            assert_eq!((filter_of(&rest[0]), round.page), (filter.clone(), None));
            kinds.extend(filter.kinds.unwrap());
        }
        kinds
    }

    fn message(&mut self, subscription: &str, payload: &str) -> Round {
        self.negentropy.message(subscription, payload, &mut self.limits)
    }

    /// Compares everything to the end with a peer that has this; what is needed.
    fn compare_all(&mut self, here: &ItemSet, there: &ItemSet) -> Vec<EventId> {
        self.compare_each(|_| here.clone(), |_| there.clone())
    }

    /// The same, where what is here and there of a question depends on it.
    fn compare_each(
        &mut self,
        here: impl Fn(&Filter) -> ItemSet,
        there: impl Fn(&Filter) -> ItemSet,
    ) -> Vec<EventId> {
        let mut needed = Vec::new();
        let mut message = None;
        loop {
            while message.is_none()
                && let Some(filter) = self.next_filter()
            {
                message = self.begin(Ok(here(&filter))).send;
            }
            let Some((name, subscription, rest)) = sent(message.as_deref()) else { break };
            if name == "NEG-CLOSE" {
                message = None;
                continue;
            }
            let there = there(&self.negentropy.filter_of(&subscription).unwrap());
            let round = self.message(&subscription, &answer(rest.last().unwrap(), &there));
            assert_eq!(round.page, None);
            needed.extend(round.needed);
            message = round.send;
            if message.is_none() {
                message = self.negentropy.go_on(&self.member).map(|(_, text)| text);
            }
        }
        assert!(self.negentropy.is_done());
        needed.sort_unstable();
        needed
    }
}

#[test]
fn a_peer_that_says_that_it_compares_is_compared_with_at_once_and_others_are_tried_first() {
    let here = items(0..100);
    assert_eq!(Compared::saying(9).begin_all(&here), [0, 1, 2, 3]);
    let mut tried = Compared::of(9, PeerLimits::default());
    assert_eq!(tried.begin_all(&here), [0]);
    tried.message("1", &naming(500, 100));
    assert_eq!(tried.limits.comparing, Comparing::Works);
    assert_eq!(tried.begin_all(&here), [1, 2, 3, 4]);
}

#[test]
fn comparisons_that_a_peer_allows_begin_at_once_unless_they_would_fill_the_memory() {
    assert_eq!(Compared::allowing(9).begin_all(&items(0..10_000)).len(), 9);
    assert_eq!(Compared::allowing(9).begin_all(&items(0..32_000)).len(), 3);
}

#[test]
fn few_comparisons_bring_all_that_a_peer_has_at_once() {
    let mut blind = Compared::allowing(9);
    assert_eq!(blind.begin_all(&items(0..0)), [0, 1]);
    // After its answer it is not blind any more.
    blind.message("1", &naming(500, 100));
    assert_eq!(blind.begin_all(&items(0..0)), [2]);
}

#[test]
fn comparisons_take_turns_while_thousands_of_ids_wait() {
    for (waiting, begun) in [
        (IDS_FOR_COMPARING_IN_PARALLEL - 1, PARALLEL_SUBSCRIPTIONS),
        (IDS_FOR_COMPARING_IN_PARALLEL, 1),
        (IDS_OF_ONE_PEER - 1, 1),
        (IDS_OF_ONE_PEER, 0),
    ] {
        let mut compared = Compared::saying(9);
        assert!(compared.member.offer(ids(1_000..1_000 + waiting as u64)));
        assert_eq!(compared.begin_all(&items(0..100)).len(), begun, "{waiting}");
    }
}

#[test]
fn a_comparison_that_goes_on_waits_for_room_for_what_it_may_bring() {
    let mut compared = Compared::saying(1);
    let open = compared.begin(Ok(items(0..5_000))).send;
    let (_, _, rest) = sent(open.as_deref()).unwrap();
    let round = compared.message("1", &answer(&rest[1], &items(0..9_000)));
    assert_eq!((round.send, round.page), (None, None));
    assert!(compared.member.offer(ids(20_000..20_000 + IDS_OF_ONE_PEER as u64)));
    assert_eq!(compared.negentropy.go_on(&compared.member), None);
    assert!(!compared.negentropy.is_done());
    let (waits, all) = (compared.member.claim(IDS_OF_ONE_PEER), IDS_OF_ONE_PEER);
    assert_eq!(waits.len(), all);
    let (name, text) = compared.negentropy.go_on(&compared.member).unwrap();
    let (kind, subscription, _) = sent(Some(&text)).unwrap();
    assert_eq!((&*name, &*kind, &*subscription), ("1", "NEG-MSG", "1"));
    assert_eq!(compared.negentropy.go_on(&compared.member), None);
}

/// What a comparison of these opens with, where only fingerprints are kept.
fn fingerprints(numbers: std::ops::Range<u64>) -> Opening {
    let mut fingerprints = Fingerprints::default();
    numbers.rev().for_each(|number| fingerprints.push(number, &id(number)));
    Opening::Fingerprints(fingerprints)
}

/// One comparison of the numbers up to 100 by fingerprints, and the answer of a peer that has these.
fn opened_with_fingerprints(there: std::ops::Range<u64>) -> (Compared, String) {
    let mut compared = Compared::saying(1);
    let open = compared.open(Ok(fingerprints(0..100))).send;
    let (_, _, rest) = sent(open.as_deref()).unwrap();
    let answer = answer(&rest[1], &items(there));
    (compared, answer)
}

#[test]
fn fingerprints_are_enough_where_nothing_differs() {
    let (mut compared, answer) = opened_with_fingerprints(0..100);
    assert_eq!((&*answer, compared.negentropy.items()), ("61", 0));
    assert_eq!(compared.negentropy.needs_items("1", &answer), None);
    let round = compared.message("1", &answer);
    assert_eq!((round.send, round.needed), (Some(message::neg_close("1")), vec![]));
    assert_eq!(compared.compared(), [about(0)]);
    assert!(compared.limits.compares_truly, "the peer has shown what it has");
}

#[test]
fn the_events_are_needed_where_something_differs_and_what_differs_is_found_as_ever() {
    for there in [0..90, 50..200, 0..0, 100..101] {
        let (mut compared, answer) = opened_with_fingerprints(there.clone());
        assert_eq!(compared.negentropy.needs_items("1", &answer), Some(&about(0).into()));
        assert!(compared.negentropy.learn_items("1", Ok(items(0..100))).is_none());
        assert_eq!(compared.negentropy.items(), 100);
        assert_eq!(compared.negentropy.needs_items("1", &answer), None);
        let mut round = compared.message("1", &answer);
        let mut needed = std::mem::take(&mut round.needed);
        while let Some((_, text)) = compared.negentropy.go_on(&compared.member) {
            let (_, _, rest) = sent(Some(&text)).unwrap();
            let answer = self::answer(&rest[0], &items(there.clone()));
            needed.extend(compared.message("1", &answer).needed);
        }
        let only = |of: std::ops::Range<u64>, without: std::ops::Range<u64>| {
            of.filter(|number| !without.contains(number)).map(id).collect::<Vec<_>>()
        };
        needed.sort_unstable();
        compared.negentropy.only_here.sort_unstable();
        let found = (needed, compared.negentropy.only_here);
        assert_eq!(found, (only(there.clone(), 0..100), only(0..100, there)));
    }
}

#[test]
fn without_the_events_an_answer_that_says_that_anything_differs_makes_no_sense() {
    let (mut compared, answer) = opened_with_fingerprints(0..90);
    let round = compared.message("1", &answer);
    assert_eq!((round.send, round.page), (Some(message::neg_close("1")), Some(about(0))));
}

#[test]
fn where_the_events_are_not_to_be_had_the_comparison_waits_is_divided_or_asked_page_by_page() {
    let close = || Some(message::neg_close("1"));
    let fails = |error| {
        let (mut compared, _) = opened_with_fingerprints(0..90);
        let round = compared.negentropy.learn_items("1", Err(error)).unwrap();
        assert_eq!((round.send, compared.negentropy.names()), (close(), Vec::<String>::new()));
        (compared, round.page)
    };
    let (mut compared, page) = fails(LocalError::NoRoom);
    assert_eq!((page, compared.next_filter()), (None, None));
    compared.negentropy.no_room_until = None;
    // Fingerprints would lead to the same place.
    let next = compared.negentropy.look_up(&compared.limits, &compared.member);
    assert_eq!(next, Some(LookUp { filter: about(0).into(), what: LookedUp::Items }));
    let (mut compared, page) = fails(LocalError::TooMany { middle: 50 });
    let newer = Filter { since: Some(50), ..about(0) };
    assert_eq!((page, compared.next_filter()), (None, Some(newer)));
    let (mut compared, page) = fails(LocalError::Unreadable(String::new()));
    assert_eq!((page, compared.next_filter()), (Some(about(0)), None));
}

#[test]
fn what_more_answers_bring_than_there_is_room_for_is_compared_again_later() {
    const EACH: u64 = 12_000;
    let mut compared = Compared::allowing(9);
    assert_eq!(compared.begin_all(&items(0..100)).len(), 9);
    let mut offered = Vec::new();
    for number in 1..=9 {
        let name = number.to_string();
        let mut needed = compared.message(&name, &naming(number * EACH, EACH)).needed;
        needed.sort_unstable();
        assert!(needed == ids(number * EACH..(number + 1) * EACH));
        if !compared.member.offer(needed.iter().copied()) {
            let filter = about(number - 1);
            assert_eq!(compared.negentropy.compare_again(&name, &filter), None);
        }
        offered.extend(needed);
    }
    let ended: Vec<Filter> = (0..5).map(about).collect();
    assert_eq!((compared.member.waiting(), compared.compared()), (IDS_WAITING, ended));
    assert_eq!(compared.negentropy.take_ended(), 5);
    assert!(offered.iter().take(IDS_WAITING).all(|id| compared.member.settle(id)));
    assert!(!compared.member.is_waiting());
    let mut again = compared.begin_all(&items(0..100));
    again.sort_unstable();
    assert_eq!(again, [5, 6, 7, 8]);
}

#[test]
fn a_comparison_without_room_that_is_still_open_is_ended_and_begun_again() {
    let mut compared = Compared::saying(1);
    let open = compared.begin(Ok(items(0..5_000))).send;
    let (_, _, rest) = sent(open.as_deref()).unwrap();
    compared.message("1", &answer(&rest[1], &items(0..9_000)));
    let close = compared.negentropy.compare_again("1", &about(0));
    assert_eq!(close, Some(message::neg_close("1")));
    assert_eq!(compared.begin_all(&items(0..100)), [0]);
}

#[test]
fn everything_that_only_the_peer_has_is_needed_and_what_only_we_have_is_told() {
    for (here, there) in [
        (0..0, 0..0),
        (0..0, 0..3_000),
        (0..3_000, 0..0),
        (0..3_000, 0..3_000),
        (0..3_000, 1_000..9_000),
        (5_000..9_000, 0..7_000),
    ] {
        let mut compared = Compared::saying(2);
        let is_in = |range: &std::ops::Range<u64>| {
            let range = range.clone();
            move |number: &u64| range.contains(number)
        };
        let only = |one: &std::ops::Range<u64>, other: &std::ops::Range<u64>| -> Vec<EventId> {
            let is_there = is_in(other);
            let twice = |number| [id(number); 2];
            one.clone().filter(|number| !is_there(number)).flat_map(twice).collect()
        };
        let needed = compared.compare_all(&items(here.clone()), &items(there.clone()));
        let expected = only(&there, &here);
        assert_eq!(needed.len(), expected.len(), "{here:?} {there:?}");
        let wrong = needed.iter().zip(&expected).position(|(one, other)| one != other);
        assert_eq!(wrong.map(|at| (at, needed[at], expected[at])), None, "{here:?} {there:?}");
        let mut only_here = std::mem::take(&mut compared.negentropy.only_here);
        only_here.sort_unstable();
        // The same may be told again.
        only_here.dedup();
        let mut expected = only(&here, &there);
        expected.dedup();
        let wrong = only_here.iter().zip(&expected).position(|(one, other)| one != other);
        let wrong = wrong.map(|at| (at, only_here[at], expected[at]));
        let lengths = (only_here.len(), expected.len());
        assert_eq!((wrong, lengths.0), (None, lengths.1), "{here:?} {there:?}");
        assert_eq!(compared.negentropy.has_something(), !there.is_empty(), "{here:?} {there:?}");
        let doubtful = if there.is_empty() { vec![about(0), about(1)] } else { vec![] };
        assert_eq!(
            compared.negentropy.take_doubtful(&compared.limits),
            doubtful,
            "{here:?} {there:?}"
        );
    }
}

/// Of some time, with ten authors who are asked about by a control.
fn two_queries_of_many_authors() -> Compared {
    let mut compared = Compared::saying(0);
    for first in [0, 100] {
        let authors = (first..first + 100).map(|byte| Pubkey::from_bytes([byte; 32])).collect();
        let (kinds, until) = (Some(vec![0, 1, 7]), Some(999_999));
        let since = Some(900_000);
        let filter = Filter { authors: Some(authors), kinds, since, until, ..Filter::default() };
        compared.negentropy.add(filter);
    }
    compared
}

fn control() -> Filter {
    let authors = (0..200).step_by(20).map(|byte| Pubkey::from_bytes([byte; 32])).collect();
    let (authors, kinds) = (Some(authors), Some(vec![0]));
    Filter { authors, kinds, until: Some(999_999), ..Filter::default() }
}

/// What a control finds, where there is nothing in the time of the queries.
fn of_control(numbers: std::ops::Range<u64>) -> impl Fn(&Filter) -> ItemSet {
    move |filter| if filter.since.is_none() { items(numbers.clone()) } else { items(0..0) }
}

#[test]
fn a_control_goes_with_the_first_comparison_of_which_nothing_is_here() {
    let mut compared = two_queries_of_many_authors();
    compared.limits.comparisons = PARALLEL_COMPARISONS;
    assert!(compared.begin(Ok(items(0..0))).send.is_some());
    assert_eq!(compared.next_filter(), Some(control()));
    // Nothing here could show whether the peer compares truly.
    assert_eq!(compared.begin(Ok(items(0..0))).send, None);
    // The peer is not going to name much in so short a time, so all of them begin.
    assert!(compared.next_filter().is_some_and(|filter| filter.since.is_some()));

    let mut compared = two_queries_of_many_authors();
    assert!(compared.begin(Ok(items(0..1))).send.is_some());
    assert_eq!(compared.negentropy.controls, 0);
}

#[test]
fn one_small_control_shows_whether_empty_comparisons_are_true_and_none_is_needed_once_it_has() {
    type Case<'a> = (&'a str, std::ops::Range<u64>, std::ops::Range<u64>, bool);
    let cases: [Case<'_>; 5] = [
        ("the peer has what is here", 0..9, 0..9, true),
        ("the peer has something else", 0..9, 9..12, true),
        ("the peer compares with an empty set", 0..9, 0..0, false),
        ("nothing is here that it could show", 0..0, 0..9, false),
        ("many are here and few of them there", 0..90, 80..81, true),
    ];
    for (case, here, there, is_true) in cases {
        let mut compared = two_queries_of_many_authors();
        let (at_home, at_the_peer) = (of_control(here.clone()), of_control(there));
        let needed = compared.compare_each(&at_home, &at_the_peer);
        assert_eq!((needed, &compared.negentropy.only_here), (vec![], &vec![]), "{case}");
        // Of other kinds there may be something.
        assert_eq!(compared.negentropy.control(&compared.limits), here.is_empty(), "{case}");
        assert_eq!(compared.compare_each(&at_home, &at_the_peer), []);
        assert!(!compared.negentropy.control(&compared.limits), "{case}");
        assert_eq!(compared.limits.compares_truly, is_true, "{case}");
        let doubtful = compared.negentropy.take_doubtful(&compared.limits).len();
        assert_eq!(doubtful, if is_true { 0 } else { 2 }, "{case}");
        assert_eq!(compared.negentropy.compared().len(), 2 - doubtful, "{case}");
        let mut next = two_queries_of_many_authors();
        next.limits = compared.limits;
        assert!(next.begin(Ok(items(0..0))).send.is_some());
        assert_eq!(next.negentropy.controls, usize::from(!is_true), "{case}");
    }
}

#[test]
fn a_control_that_is_refused_or_cannot_be_is_over_and_asks_for_nothing_else() {
    let at_first = || {
        let mut compared = two_queries_of_many_authors();
        assert_eq!(compared.compare_all(&items(0..0), &items(0..0)), []);
        assert!(compared.negentropy.control(&compared.limits));
        compared
    };
    let refuse: [fn(&mut Compared, &str) -> Option<Filter>; 5] = [
        |it, name| it.negentropy.refused(name),
        |it, name| it.negentropy.too_large(name).page,
        |it, name| it.negentropy.put_back(name),
        |it, name| it.message(name, "no hex").page,
        |it, _| it.negentropy.stop(false).pop(),
    ];
    for (number, refuse) in refuse.into_iter().enumerate() {
        let mut compared = at_first();
        assert!(compared.begin(Ok(items(0..9))).send.is_some());
        let name = compared.begun.to_string();
        assert_eq!(refuse(&mut compared, &name), None, "{number}");
        assert!(compared.negentropy.is_done(), "{number}");
        assert!(!compared.negentropy.control(&compared.limits), "{number}");
        assert_eq!(compared.negentropy.take_doubtful(&compared.limits).len(), 2, "{number}");
    }
    for trouble in [LocalError::TooMany { middle: 5 }, LocalError::Unreadable(String::new())] {
        let mut compared = at_first();
        let round = compared.begin(Err(trouble));
        assert_eq!((round.send, round.page, compared.next_filter()), (None, None, None));
    }
    // Where no authors are named, it would be a comparison of everything.
    let mut compared = Compared::saying(2);
    compared.negentropy.waiting.pop_front();
    compared.compare_all(&items(0..0), &items(0..0));
    assert!(!compared.negentropy.control(&compared.limits));
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_comparison_and_is_asked_page_by_page() {
    for payload in ["", "no hex", "62", "6100", "61000003"] {
        let mut compared = Compared::saying(1);
        compared.begin_all(&items(0..100));
        let round = compared.message("1", payload);
        let page = (round.send, round.page, round.needed);
        assert_eq!(page, (Some(message::neg_close("1")), Some(about(0)), vec![]), "{payload}");
        assert!(compared.negentropy.is_done() && compared.compared().is_empty());
        assert_eq!(compared.limits.comparing, Comparing::Untried, "{payload}");
    }
    let round = Compared::saying(1).message("unknown", &naming(0, 100));
    assert_eq!((round.send, round.page, round.needed), (None, None, vec![]));
}

#[test]
fn a_comparison_is_begun_again_twice_and_then_asked_page_by_page() {
    let mut compared = Compared::saying(1);
    for again in 0..=COMPARISONS {
        assert_eq!(compared.begin_all(&items(0..100)), [0]);
        let page = compared.negentropy.put_back(&compared.begun.to_string());
        assert_eq!(page, (again == COMPARISONS).then(|| about(0)));
    }
    assert!(compared.negentropy.is_done());
}

#[test]
fn what_is_put_back_is_compared_after_all_that_waits() {
    let mut compared = Compared::saying(6);
    compared.begin_all(&items(0..100));
    assert_eq!(compared.negentropy.put_back("1"), None);
    assert_eq!(compared.negentropy.refused("2"), Some(about(1)));
    compared.negentropy.stop(false);
    let mut compared = Compared::saying(6);
    compared.begin_all(&items(0..100));
    compared.negentropy.put_back("1");
    compared.negentropy.refused("2");
    assert_eq!(compared.begin_all(&items(0..100)), [4, 5]);
    compared.negentropy.refused("3");
    assert_eq!(compared.begin_all(&items(0..100)), [0]);
}

#[test]
fn after_a_cut_connection_only_what_waits_for_us_is_put_back_apart_from_what_is_owed() {
    let mut compared = Compared::saying(2);
    let open = compared.begin(Ok(items(0..5_000))).send;
    compared.begin(Ok(items(0..5_000)));
    let (_, _, rest) = sent(open.as_deref()).unwrap();
    compared.message("1", &answer(&rest[1], &items(0..9_000)));
    assert_eq!(compared.negentropy.put_back_held(), []);
    assert_eq!(compared.negentropy.names(), ["2"]);
    assert_eq!(compared.begin_all(&items(0..100)), [0]);
}

#[test]
fn what_is_too_large_is_compared_in_parts_that_are_all_of_it() {
    let mut compared = Compared::saying(1);
    compared.begin(Ok(items(0..1_000)));
    assert_eq!(compared.negentropy.too_large("1").page, None);
    let newer = Filter { since: Some(500), ..about(0) };
    assert_eq!(compared.next_filter(), Some(newer));
    compared.begin(Err(LocalError::TooMany { middle: 700 }));
    assert_eq!(compared.next_filter(), Some(Filter { since: Some(700), ..about(0) }));
    compared.begin(Ok(items(0..10)));
    let middle = Filter { since: Some(500), until: Some(699), ..about(0) };
    assert_eq!(compared.next_filter(), Some(middle));
    compared.begin(Ok(items(0..10)));
    compared.negentropy.refused("3");
    let older = Filter { until: Some(499), ..about(0) };
    assert_eq!(compared.next_filter(), Some(older));
}

#[test]
fn what_cannot_be_divided_or_has_been_divided_too_often_is_asked_page_by_page() {
    let second = Filter { since: Some(7), until: Some(7), ..about(0) };
    let mut compared = Compared::saying(0);
    compared.negentropy.add(second.clone());
    compared.begin(Ok(items(0..10)));
    assert_eq!(compared.negentropy.too_large("1").page, Some(second));
    let mut compared = Compared::saying(1);
    let (mut pages, mut begun) = (Vec::new(), 0);
    while compared.next_filter().is_some() {
        begun += 1;
        assert!(begun < 3 * SPLITS, "it does not end");
        pages.extend(compared.begin(Err(LocalError::TooMany { middle: 0 })).page);
    }
    pages.sort_by_key(|page| page.since);
    let ends = pages.iter().map(|page| page.until.unwrap() + 1);
    let ends: Vec<u64> = [0].into_iter().chain(ends).collect();
    let begins: Vec<u64> =
        pages.iter().map(|page| page.since.unwrap()).chain([1_000_000]).collect();
    assert_eq!(ends, begins);
    assert!(compared.negentropy.is_done());
}

#[test]
fn no_more_parts_wait_than_there_is_room_for() {
    let mut compared = Compared::saying(1);
    let mut most = 0;
    while compared.next_filter().is_some() && compared.begun < 500 {
        let middle = compared.next_filter().unwrap().until.unwrap();
        let since = compared.next_filter().unwrap().since.unwrap();
        compared.begin(Err(LocalError::TooMany { middle: (since + 1).min(middle) }));
        most = most.max(compared.negentropy.waiting.len());
    }
    assert!(most <= PARTS_WAITING + 2, "{most}");
}

#[test]
fn without_room_here_a_comparison_waits_and_without_a_database_pages_are_asked_for() {
    let mut compared = Compared::saying(2);
    let round = compared.begin(Err(LocalError::NoRoom));
    assert_eq!((round.send, round.page, compared.next_filter()), (None, None, None));
    let until = compared.negentropy.no_room_until().unwrap();
    assert!(until <= Instant::now() + LOOK_FOR_ROOM);
    compared.negentropy.no_room_until = Some(Instant::now());
    assert_eq!(
        (compared.next_filter(), compared.negentropy.no_room_until()),
        (Some(about(0)), None)
    );
    let round = compared.begin(Err(LocalError::Unreadable("it is gone".into())));
    assert_eq!((round.send, round.page), (None, Some(about(0))));
    assert_eq!(compared.next_filter(), Some(about(1)));
}

#[test]
fn a_second_look_is_taken_once_and_tells_in_which_queries_something_is_named_again() {
    let (here, there) = (items(0..100), items(0..200));
    let mut compared = Compared::saying(2);
    assert_eq!(compared.compare_all(&here, &there).len(), 200);
    let all = vec![about(0), about(1)];
    assert_eq!(compared.compared(), all);
    assert!(compared.negentropy.look_again([id(150), id(160)].into(), false));
    assert_eq!(compared.compared(), []);
    // The first is compared when the two are gone, the second when one of them is back.
    compared.begin_all(&here);
    compared.message(
        "3",
        &naming(140, 100)
            .replace(&id(150).to_string(), &id(999).to_string())
            .replace(&id(160).to_string(), &id(998).to_string()),
    );
    compared.message("4", &naming(140, 100));
    assert_eq!(compared.negentropy.take_named_again(), [about(1)]);
    assert_eq!(compared.compared(), [about(0)]);
    assert_eq!(compared.negentropy.take_named_again(), []);
    assert!(!compared.negentropy.look_again([id(150)].into(), false));
}

#[test]
fn a_second_look_is_taken_at_queries_in_which_something_was_named() {
    for is_cut in [false, true] {
        let mut compared = Compared::saying(2);
        compared.begin_all(&items(0..100));
        compared.message("1", &naming(150, 10));
        compared.message("2", "61");
        assert_eq!(compared.compared(), [about(0), about(1)]);
        assert!(compared.negentropy.look_again([id(150)].into(), is_cut));
        assert_eq!((compared.compared(), compared.next_filter()), (vec![about(1)], Some(about(0))));
        compared.begin_all(&items(0..100));
        // Where more was not given than is known, whatever is named may be of that.
        compared.message("3", &naming(155, 5));
        let named_again = if is_cut { vec![about(0)] } else { vec![] };
        assert_eq!(compared.negentropy.take_named_again(), named_again);
    }
}

#[test]
fn what_is_not_compared_any_more_is_all_that_waits_or_is_open_and_what_was_compared_if_wanted() {
    for and_compared in [false, true] {
        let mut compared = Compared::saying(6);
        compared.begin_all(&items(0..100));
        compared.message("2", &naming(500, 100));
        let mut stopped = compared.negentropy.stop(and_compared);
        stopped.sort_by_key(|filter| filter.kinds.clone());
        let kinds: Vec<u64> =
            stopped.into_iter().flat_map(|filter| filter.kinds.unwrap()).collect();
        let expected = if and_compared { vec![0, 1, 2, 3, 4, 5] } else { vec![0, 2, 3, 4, 5] };
        assert_eq!(kinds, expected);
        assert!(compared.negentropy.is_done());
    }
}

/// With a strfry, and so many queries about one time.
fn overviewed(queries: u64) -> Compared {
    let limits = PeerLimits { keeps_trees: true, says_it_compares: true, ..PeerLimits::default() };
    Compared::of(queries, limits)
}

/// Begins what comes next; what it is about and how that is looked up, and its first message.
fn begin_next(compared: &mut Compared, here: Opening) -> (LookUp, Value) {
    let next = compared.negentropy.look_up(&compared.limits, &compared.member).unwrap();
    let open = compared.open(Ok(here)).send;
    let (name, _, rest) = sent(open.as_deref()).unwrap();
    assert_eq!((&*name, filter_of(&rest[0])), ("NEG-OPEN", Filter::clone(&next.filter)));
    (next, rest[1].clone())
}

const MANY: u64 = OVERVIEW_QUERIES as u64;

/// Everything at the time of these queries.
fn all() -> Filter {
    Filter { since: Some(0), until: Some(999_999), ..Filter::default() }
}

#[test]
fn an_overview_that_a_sample_confirms_spares_all_queries_about_its_time() {
    let mut compared = overviewed(MANY);
    let elsewhere = Filter { until: Some(1_000), ..about(7) };
    compared.negentropy.add(elsewhere.clone());
    let here = || fingerprints(0..100);
    let (overview, message) = begin_next(&mut compared, here());
    let look_up = |filter: Filter, what| LookUp { filter: filter.into(), what };
    assert_eq!(overview, look_up(all(), LookedUp::Overview));
    assert_eq!(compared.next_filter(), None, "what it shows is waited for");
    let round = compared.message("1", &answer(&message, &items(0..100)));
    assert_eq!((round.send, round.needed), (Some(message::neg_close("1")), vec![]));
    let (sample, message) = begin_next(&mut compared, Opening::Items(items(0..7)));
    assert_eq!(sample, look_up(about(0), LookedUp::Opening));
    assert_eq!(compared.next_filter(), None, "what it shows is waited for");
    let round = compared.message("2", &answer(&message, &items(0..7)));
    assert_eq!((round.send, round.needed), (Some(message::neg_close("2")), vec![]));
    assert_eq!(compared.compared(), (0..MANY).map(about).collect::<Vec<_>>());
    assert_eq!((compared.negentropy.take_ended(), compared.limits.compares_truly), (48, true));
    assert_eq!(compared.next_filter(), Some(elsewhere));
}

#[test]
fn where_a_few_seconds_differ_the_queries_are_about_these_alone() {
    let mut compared = overviewed(MANY);
    let (_, message) = begin_next(&mut compared, fingerprints(0..1_000));
    // The newest range.
    compared.message("1", &answer(&message, &items(0..1_001)));
    let (sample, message) = begin_next(&mut compared, Opening::Items(items(0..7)));
    let begin = compared.negentropy.overviews.shown.as_ref().unwrap().rest(&all()).unwrap().since;
    assert!(begin.unwrap() > 900, "{begin:?}");
    let until = begin.map(|begin| begin - 1);
    assert_eq!(*sample.filter, Filter { until, ..about(0) });
    compared.message("2", &answer(&message, &items(0..7)));
    let there = |filter: &Filter| match filter.since == begin {
        true => items(1_000..1_001),
        false => panic!("{filter:?}"),
    };
    assert_eq!(compared.compare_each(|_| items(0..0), there), vec![id(1_000); 48]);
    let left = (0..MANY).map(|kind| Filter { since: begin, ..about(kind) });
    assert_eq!(compared.compared(), left.collect::<Vec<_>>());
}

#[test]
fn a_tree_that_lacks_what_the_peer_has_is_not_believed() {
    for (lacks, there) in [("named", items(0..8)), ("lacked", items(0..6))] {
        let mut compared = overviewed(MANY);
        let (_, message) = begin_next(&mut compared, fingerprints(0..100));
        compared.message("1", &answer(&message, &items(0..100)));
        let (_, message) = begin_next(&mut compared, Opening::Items(items(0..7)));
        let round = compared.message("2", &answer(&message, &there));
        assert_eq!((round.send, round.needed), (Some(message::neg_close("2")), vec![]), "{lacks}");
        assert!(!compared.limits.compares_truly, "{lacks}");
        let needed = compared.compare_each(|_| items(0..7), |_| items(0..8));
        assert_eq!((needed, compared.compared().len()), (vec![id(7); 48], 48), "{lacks}");
    }
}

#[test]
fn without_an_overview_all_is_compared_query_by_query() {
    let all_of = |mut compared: Compared| {
        let needed = compared.compare_each(|_| items(0..7), |_| items(0..8));
        assert_eq!(needed, vec![id(7); compared.compared().len()]);
        compared.compared().len()
    };
    // Too few queries, and a peer that keeps no tree.
    for compared in [overviewed(MANY - 1), Compared::saying(MANY)] {
        let many = compared.negentropy.queries;
        assert_eq!(all_of(compared), many);
    }
    // Nothing is here, or not known.
    for here in [Ok(Fingerprints::default()), Err(LocalError::NoRoom)] {
        let mut compared = overviewed(MANY);
        let is_there = here.is_ok();
        assert_eq!(compared.next_filter(), Some(all()));
        let round = compared.open(here.map(Opening::Fingerprints));
        assert_eq!((round.send, round.page), (None, None));
        if !is_there {
            compared.negentropy.no_room_until = None;
            compared.open(Ok(Opening::Fingerprints(Fingerprints::default())));
        }
        assert_eq!(all_of(compared), 48);
    }
    // The peer refuses an overview, calls it too large, is cut off, or talks nonsense.
    let ends: [fn(&mut Compared); 4] = [
        |compared| assert_eq!(compared.negentropy.refused("1"), None),
        |compared| assert_eq!(compared.negentropy.too_large("1").page, None),
        |compared| assert_eq!(compared.negentropy.put_back("1"), None),
        |compared| assert_eq!(compared.message("1", "6263").page, None),
    ];
    for end in ends {
        let mut compared = overviewed(MANY);
        begin_next(&mut compared, fingerprints(0..100));
        end(&mut compared);
        assert_eq!(all_of(compared), 48);
    }
    // It refuses the sample.
    let mut compared = overviewed(MANY);
    let (_, message) = begin_next(&mut compared, fingerprints(0..100));
    compared.message("1", &answer(&message, &items(0..100)));
    begin_next(&mut compared, Opening::Items(items(0..7)));
    assert_eq!(compared.negentropy.refused("2"), None);
    assert_eq!(all_of(compared), 48);
}

#[test]
fn a_peer_that_is_not_compared_with_any_more_is_asked_for_all_queries_and_no_overview() {
    let mut compared = overviewed(MANY);
    begin_next(&mut compared, fingerprints(0..100));
    assert_eq!(compared.negentropy.stop(true), (0..MANY).map(about).collect::<Vec<_>>());
}
