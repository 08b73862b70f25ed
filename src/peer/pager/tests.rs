//! The pager against relays of many sorts, without a connection. One rule holds for all of them:
//! every event comes, or a gap names it.

use std::collections::{BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::*;
use crate::nostr::Pubkey;
use crate::peer::pager::paged_query::tests::{Stored, author, id_of, outline};

/// A REQ of one filter: its subscription and the filter.
pub(in crate::peer) fn request(text: &str) -> (String, Filter) {
    let message: Value = serde_json::from_str(text).unwrap();
    let [name, subscription, filter] = message.as_array().unwrap().as_slice() else {
        panic!("{text}")
    };
    assert_eq!(name, "REQ", "{text}");
    (subscription.as_str().unwrap().to_owned(), filter_of(filter))
}

/// The filter that was written as this.
pub(in crate::peer) fn filter_of(json: &Value) -> Filter {
    let texts = |name: &str| -> Option<Vec<&str>> {
        Some(json.get(name)?.as_array()?.iter().map(|it| it.as_str().unwrap()).collect())
    };
    let number = |name: &str| json.get(name).and_then(Value::as_u64);
    Filter {
        ids: texts("ids").map(|ids| ids.iter().map(|id| id.parse().unwrap()).collect()),
        authors: texts("authors").map(|it| it.iter().map(|key| key.parse().unwrap()).collect()),
        kinds: json.get("kinds").and_then(|kinds| serde_json::from_value(kinds.clone()).ok()),
        since: number("since"),
        until: number("until"),
        limit: number("limit"),
    }
}

/// Which events a relay gives when it does not give all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    NewestFirst,
    OldestFirst,
    /// All of one author, newest first, then all of the next.
    ByAuthor,
    /// All of one kind, newest first, then all of the next.
    ByKind,
}

/// How a relay refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refuses {
    /// A CLOSED.
    InWords,
    /// A CLOSED of a relay that wants to know who asks.
    Denies,
    /// It says nothing.
    Silently,
    /// It ends the connection.
    ByHangingUp,
    /// It announces an end.
    AsNothing,
}

/// The largest question that a relay answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Most {
    authors: usize,
    kinds: usize,
    limit: u64,
    seconds: u64,
    /// Authors times kinds.
    lists: usize,
}

const ANY: Most = Most {
    authors: usize::MAX,
    kinds: usize::MAX,
    limit: u64::MAX,
    seconds: u64::MAX,
    lists: usize::MAX,
};

#[derive(Debug, Clone)]
struct Relay {
    events: Events,
    gives: Gives,
    /// Events in an answer, at most.
    cap: usize,
    most: Most,
    refuses: Refuses,
    /// A kind that it refuses, whoever its author is, and how.
    refused_kind: Option<(u64, Refuses)>,
    until_excludes: bool,
    since_excludes: bool,
    /// It says when there is no more (NIP-67).
    says_finish: bool,
}

/// Shown if they are few.
#[derive(Clone, Default)]
struct Events(BTreeSet<Stored>);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.len() > 60 { write!(f, "{}", self.0.len()) } else { write!(f, "{:?}", self.0) }
    }
}

/// What a relay does about a question.
enum Answer {
    Events(Vec<Stored>, bool),
    Refused(Refuses),
}

impl Relay {
    fn of(events: impl IntoIterator<Item = Stored>) -> Self {
        Self {
            events: Events(events.into_iter().collect()),
            gives: Gives::NewestFirst,
            cap: 500,
            most: ANY,
            refuses: Refuses::InWords,
            refused_kind: None,
            until_excludes: false,
            since_excludes: false,
            says_finish: false,
        }
    }

    fn answer(&self, filter: &Filter) -> Answer {
        let kinds = filter.kinds.as_deref().unwrap_or_default();
        if let Some((kind, how)) = self.refused_kind
            && kinds.contains(&kind)
        {
            return Answer::Refused(how);
        }
        let authors = filter.authors.as_ref().map_or(1, Vec::len);
        let seconds = filter.until.unwrap_or(u64::MAX) - filter.since.unwrap_or(0);
        if filter.ids.is_none()
            && (authors > self.most.authors
                || kinds.len() > self.most.kinds
                || filter.limit.unwrap_or(u64::MAX) > self.most.limit
                || seconds > self.most.seconds
                || authors.saturating_mul(kinds.len()) > self.most.lists)
        {
            return Answer::Refused(self.refuses);
        }
        let mut given: Vec<Stored> = self
            .events
            .0
            .iter()
            .filter(|event| filter.matches(&id_of(event), &author(event.0), event.1, event.2))
            .filter(|event| !(self.until_excludes && filter.until == Some(event.2)))
            .filter(|event| !(self.since_excludes && filter.since == Some(event.2)))
            .copied()
            .collect();
        given.sort_by_key(|event| match self.gives {
            Gives::NewestFirst => (0, u64::MAX - event.2, id_of(event)),
            Gives::OldestFirst => (0, event.2, id_of(event)),
            Gives::ByAuthor => (event.0.into(), u64::MAX - event.2, id_of(event)),
            Gives::ByKind => (event.1, u64::MAX - event.2, id_of(event)),
        });
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize).min(self.cap);
        let is_finish = self.says_finish && given.len() <= limit;
        given.truncate(limit);
        Answer::Events(given, is_finish)
    }
}

/// What came of asking a relay.
struct Asked {
    received: BTreeSet<Stored>,
    pager: Pager,
    questions: usize,
}

fn closed(refuses: Refuses) -> Refusal {
    Refusal {
        reason: match refuses {
            Refuses::Denies => GapReason::Closed("auth-required: who are you?".into()),
            Refuses::Silently => GapReason::Unanswered(10),
            Refuses::ByHangingUp => GapReason::Cut("closed by the relay".into()),
            _ => GapReason::Closed("error: no".into()),
        },
        is_costly: matches!(refuses, Refuses::Silently | Refuses::ByHangingUp),
        is_denied: refuses == Refuses::Denies,
        is_final: false,
    }
}

/// Asks everything to the end, as the conversation does: the answers come in the order of the
/// questions.
fn ask(relay: &Relay, queries: Vec<Filter>) -> Asked {
    let mut limits = PeerLimits::default();
    let mut pager = Pager::new(u64::MAX);
    queries.into_iter().for_each(|query| pager.add(query, &limits));
    let mut received = BTreeSet::new();
    let mut open: VecDeque<(String, Filter)> = VecDeque::new();
    let (mut questions, mut alone, mut cuts) = (0, 0_usize, 0);
    loop {
        while (alone == 0 || open.is_empty())
            && let Some(text) = pager.next(&format!("question {questions}"), &mut limits)
        {
            questions += 1;
            assert!(questions < 100_000, "it does not end: {relay:?}");
            open.push_back(request(&text));
        }
        let Some((name, filter)) = open.pop_front() else {
            if pager.is_done() && pager.may_be_late() {
                pager.flush();
                continue;
            }
            assert!(pager.is_done(), "nothing is open and it is not done: {relay:?}");
            return Asked { received, pager, questions };
        };
        let answer = match relay.answer(&filter) {
            Answer::Refused(Refuses::AsNothing) => Answer::Events(Vec::new(), false),
            answer => answer,
        };
        match answer {
            Answer::Events(events, is_finish) => {
                for event in events {
                    let arrival = pager.event(&name, &outline(&event), &limits);
                    assert_ne!(arrival, Arrival::Unasked, "{event:?} {filter:?}");
                    received.insert(event);
                }
                pager.end(&name, is_finish, &mut limits);
                alone = alone.saturating_sub(1);
                cuts = 0;
            }
            Answer::Refused(how @ (Refuses::Silently | Refuses::ByHangingUp)) => {
                let is_alone = open.is_empty();
                let is_cut = how == Refuses::ByHangingUp;
                cuts += u32::from(is_cut);
                if is_alone && !pager.is_large(&name, &limits) && (!is_cut || cuts >= 4) {
                    pager.give_up(&closed(how).reason, &limits);
                } else if is_alone
                    && pager.is_large(&name, &limits)
                    && (!is_cut || pager.is_cut_again())
                {
                    pager.refused(&name, &closed(how), &mut limits);
                    alone = alone.saturating_sub(1);
                } else {
                    open.push_front((name, filter));
                    alone = open.len();
                    open.rotate_left(1);
                    open.drain(..).for_each(|(name, _)| pager.put_back(&name));
                }
            }
            Answer::Refused(how) => {
                pager.refused(&name, &closed(how), &mut limits);
                alone = alone.saturating_sub(1);
            }
        }
    }
}

impl Asked {
    fn is_named(&self, event: &Stored) -> bool {
        let outcome = &self.pager.outcome;
        let is_in =
            |filter: &Filter| filter.matches(&id_of(event), &author(event.0), event.1, event.2);
        outcome.gaps.iter().any(|gap| is_in(&gap.filter))
            || outcome.withheld.iter().any(|withheld| is_in(&withheld.filter))
    }

    /// The events that are lost: they did not come, and no gap names them.
    fn lost(&self, relay: &Relay, queries: &[Filter]) -> Vec<Stored> {
        let is_asked = |event: &Stored| {
            let matches =
                |query: &Filter| query.matches(&id_of(event), &author(event.0), event.1, event.2);
            queries.iter().any(matches)
        };
        let missing = relay.events.0.difference(&self.received);
        missing.filter(|event| is_asked(event) && !self.is_named(event)).copied().collect()
    }

    /// The events that did not come although their query is called complete.
    fn falsely_complete(&self, relay: &Relay) -> Vec<Stored> {
        let is_complete = |event: &Stored| {
            let matches =
                |query: &Filter| query.matches(&id_of(event), &author(event.0), event.1, event.2);
            self.pager.answered.iter().any(matches)
        };
        relay
            .events
            .0
            .difference(&self.received)
            .filter(|event| is_complete(event))
            .copied()
            .collect()
    }

    /// Authors and kinds of the gaps and what they say, each once.
    fn named(&self) -> BTreeSet<(Vec<u8>, Vec<u64>, String)> {
        let named = |gap: &Gap| {
            let authors = gap.filter.authors.iter().flatten();
            let authors = authors.map(|author| author.as_bytes()[0]).collect();
            (authors, gap.filter.kinds.clone().unwrap_or_default(), gap.reason.to_string())
        };
        self.pager.outcome.gaps.iter().map(named).collect()
    }
}

/// Forty authors, ten kinds, 8,000,000 seconds.
fn query() -> Filter {
    Filter {
        authors: Some((0..40).map(author).collect()),
        kinds: Some(vec![0, 1, 3, 4, 5, 6, 7, 1059, 9735, 10_002]),
        until: Some(8_000_000),
        ..Filter::default()
    }
}

const KINDS: [u64; 6] = [0, 1, 3, 7, 9735, 10_002];

/// 1,200 events of all authors, in no order of time, author or kind.
fn many() -> impl Iterator<Item = Stored> {
    (0..1_200_u64).map(|number| {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        ((number % 40) as u8, KINDS[(mixed % 6) as usize], mixed % 7_900_000 + 1, number as u16)
    })
}

/// Asks for everything; all of it comes, and nothing is missing.
fn gives_everything(relay: &Relay) -> Asked {
    let asked = ask(relay, vec![query()]);
    let named = (asked.named().len(), asked.named().into_iter().next());
    assert_eq!(named, (0, None), "{relay:?}");
    let missing = relay.events.0.difference(&asked.received).count();
    assert_eq!(missing, 0, "{relay:?}");
    assert!(asked.pager.outcome.complete > 0 && asked.pager.outcome.withheld.is_empty());
    asked
}

#[test]
fn a_relay_gives_everything_whichever_events_it_gives_first() {
    for gives in [Gives::NewestFirst, Gives::OldestFirst, Gives::ByAuthor, Gives::ByKind] {
        for cap in [500, 100, 20] {
            gives_everything(&Relay { gives, cap, ..Relay::of(many()) });
        }
    }
}

#[test]
fn a_relay_that_says_when_there_is_no_more_is_asked_once_in_each_direction_of_time() {
    let few = || many().take(100);
    let relay = Relay { says_finish: true, ..Relay::of(few()) };
    assert_eq!(gives_everything(&relay).questions, 1);
}

#[test]
fn what_is_refused_for_its_size_comes_in_smaller_questions_however_it_is_refused() {
    for refuses in [Refuses::InWords, Refuses::Silently, Refuses::ByHangingUp] {
        for most in [
            Most { authors: 7, ..ANY },
            Most { kinds: 3, ..ANY },
            Most { limit: 50, ..ANY },
            Most { seconds: 900_000, ..ANY },
            Most { lists: 30, ..ANY },
            Most { authors: 3, kinds: 2, limit: 100, ..ANY },
        ] {
            if most.seconds < u64::MAX && refuses != Refuses::InWords {
                // Of one author and one kind that is not tried again and again.
                continue;
            }
            gives_everything(&Relay { refuses, most, ..Relay::of(many()) });
        }
    }
}

#[test]
fn an_end_without_events_is_not_believed_where_a_smaller_question_is_answered() {
    for most in [
        Most { authors: 12, ..ANY },
        Most { kinds: 3, ..ANY },
        Most { limit: 50, ..ANY },
        Most { lists: 130, ..ANY },
        Most { authors: 10, kinds: 3, limit: 100, ..ANY },
    ] {
        gives_everything(&Relay { refuses: Refuses::AsNothing, most, ..Relay::of(many()) });
    }
}

#[test]
fn a_relay_that_has_nothing_is_asked_in_two_more_round_trips_and_then_believed() {
    let asked = gives_everything(&Relay::of([]));
    assert_eq!((asked.questions, asked.pager.outcome.complete), (6, 1));
}

#[test]
fn a_relay_that_leaves_out_the_bounds_of_time_gives_everything() {
    for (until_excludes, since_excludes) in [(true, false), (false, true), (true, true)] {
        for gives in [Gives::NewestFirst, Gives::OldestFirst] {
            for most in [ANY, Most { seconds: 900_000, ..ANY }] {
                let relay = Relay::of(many());
                let relay = Relay { until_excludes, since_excludes, gives, most, ..relay };
                gives_everything(&Relay { cap: 60, ..relay });
            }
        }
    }
}

#[test]
fn second_0_is_asked_for_and_ends_a_query() {
    let dense = (0..40).map(|number| (number % 4, 1, 0, number.into()));
    for gives in [Gives::NewestFirst, Gives::OldestFirst] {
        let relay = Relay { gives, cap: 30, ..Relay::of(dense.clone()) };
        let asked = gives_everything(&relay);
        assert!(asked.questions < 20, "{gives:?}: {}", asked.questions);
    }
}

#[test]
fn a_kind_that_is_refused_is_a_gap_and_all_others_come() {
    for refuses in [Refuses::InWords, Refuses::Denies] {
        let relay = Relay { refused_kind: Some((7, refuses)), ..Relay::of(many()) };
        let asked = ask(&relay, vec![query()]);
        let missing: BTreeSet<u64> =
            relay.events.0.difference(&asked.received).map(|event| event.1).collect();
        assert_eq!(missing, BTreeSet::from([7]), "{refuses:?}");
        assert_eq!(asked.lost(&relay, &[query()]), [], "{refuses:?}");
        let kinds: BTreeSet<Vec<u64>> = asked.named().into_iter().map(|named| named.1).collect();
        assert_eq!(kinds, BTreeSet::from([vec![7]]), "{refuses:?}");
        let authors: BTreeSet<u8> = asked.named().into_iter().flat_map(|named| named.0).collect();
        assert_eq!(authors, (0..40).collect(), "{refuses:?}");
        assert!(asked.questions < 200, "{refuses:?}: {}", asked.questions);
    }
}

#[test]
fn a_peer_that_never_answers_about_one_kind_leaves_a_gap_for_all_that_did_not_come() {
    for refuses in [Refuses::Silently, Refuses::ByHangingUp] {
        let relay = Relay { refused_kind: Some((7, refuses)), ..Relay::of(many()) };
        let asked = ask(&relay, vec![query()]);
        assert_eq!(asked.lost(&relay, &[query()]), [], "{refuses:?}");
        assert!(asked.questions < 200, "{refuses:?}: {}", asked.questions);
    }
}

#[test]
fn a_private_kind_that_is_denied_is_withheld_and_another_one_is_a_gap() {
    for (kind, withheld, gaps) in [(4, true, false), (1059, true, false), (7, false, true)] {
        let events = many().chain((0..40).map(|author| (author, kind, 700, 9_999)));
        let relay = Relay { refused_kind: Some((kind, Refuses::Denies)), ..Relay::of(events) };
        let asked = ask(&relay, vec![query()]);
        let outcome = &asked.pager.outcome;
        assert_eq!((!outcome.withheld.is_empty(), !outcome.gaps.is_empty()), (withheld, gaps));
        let named = outcome.gaps.iter().map(|gap| &gap.filter);
        let named = named.chain(outcome.withheld.iter().map(|withheld| &withheld.filter));
        let kinds: BTreeSet<_> = named.map(|filter| filter.kinds.clone().unwrap()).collect();
        assert_eq!(kinds, BTreeSet::from([vec![kind]]));
        let missing: BTreeSet<u64> =
            relay.events.0.difference(&asked.received).map(|event| event.1).collect();
        assert_eq!((missing, asked.lost(&relay, &[query()])), (BTreeSet::from([kind]), vec![]));
    }
}

#[test]
fn a_relay_that_refuses_everything_is_asked_little_and_everything_is_a_gap() {
    for refuses in IN_EARNEST {
        let most = Most { authors: 0, ..ANY };
        let relay = Relay { most, refuses, ..Relay::of(many()) };
        let asked = ask(&relay, vec![query(); 3]);
        assert_eq!((asked.received.len(), asked.pager.outcome.complete), (0, 0), "{refuses:?}");
        assert_eq!(asked.lost(&relay, &[query()]), [], "{refuses:?}");
        assert!(asked.questions <= 20, "{refuses:?}: {}", asked.questions);
    }
}

#[test]
fn a_second_of_one_author_and_kind_that_is_larger_than_a_page_is_named_alone() {
    let dense = (0..90).map(|number| (2, 1, 5_000, number));
    for gives in [Gives::NewestFirst, Gives::OldestFirst, Gives::ByAuthor] {
        let relay = Relay { gives, cap: 60, ..Relay::of(many().chain(dense.clone())) };
        let asked = ask(&relay, vec![query()]);
        let reason = GapReason::DenseSecond(5_000).to_string();
        assert_eq!(asked.named(), BTreeSet::from([(vec![2], vec![1], reason)]), "{gives:?}");
        assert_eq!(asked.lost(&relay, &[query()]), [], "{gives:?}");
    }
}

#[test]
fn what_comes_after_the_end_is_taken_once_and_named_unless_it_is_new() {
    let mut limits = PeerLimits::default();
    let mut pager = Pager::new(7_000_030);
    pager.add(query(), &limits);
    let (name, _) = request(&pager.next("a", &mut limits).unwrap());
    let (first, late, new) = ((1, 1, 900, 1), (1, 1, 800, 2), (1, 1, 7_000_000, 3));
    let event = |pager: &mut Pager, limits: &PeerLimits, event: Stored| {
        pager.event(&name, &outline(&event), limits)
    };
    assert_eq!(event(&mut pager, &limits, first), Arrival::New);
    pager.end("a", true, &mut limits);
    assert_eq!(event(&mut pager, &limits, new), Arrival::New);
    assert_eq!(pager.outcome.gaps, []);
    assert_eq!(event(&mut pager, &limits, late), Arrival::New);
    assert_eq!(event(&mut pager, &limits, late), Arrival::Repeated);
    assert_eq!(event(&mut pager, &limits, first), Arrival::Repeated);
    assert_eq!(event(&mut pager, &limits, (1, 2, 800, 4)), Arrival::Unasked);
    let filter = Filter { until: Some(8_000_001), ..query() };
    assert_eq!(pager.outcome.gaps, [Gap { filter, reason: GapReason::AfterItsEnd }]);
}

#[test]
fn a_query_is_left_with_what_has_not_come_when_it_is_given_up() {
    let mut limits = PeerLimits::default();
    let mut pager = Pager::new(u64::MAX);
    pager.add(query(), &limits);
    pager.add(Filter { kinds: Some(vec![20]), ..query() }, &limits);
    let (name, _) = request(&pager.next("a", &mut limits).unwrap());
    let page = [5_000, 4_800, 4_600, 4_400, 4_000].map(|second| outline(&(1, 1, second, 0)));
    for event in &page {
        pager.event(&name, event, &limits);
    }
    pager.end(&name, false, &mut limits);
    let (name, nearer) = request(&pager.next("b", &mut limits).unwrap());
    let until = Some(8_000_001);
    assert_eq!(nearer, Filter { since: Some(4_000), until, limit: Some(6), ..query() });
    for event in &page {
        pager.event(&name, event, &limits);
    }
    pager.end(&name, false, &mut limits);
    let (name, stricter) = request(&pager.next("c", &mut limits).unwrap());
    assert_eq!(stricter, Filter { since: Some(4_001), limit: Some(5), ..nearer });
    for event in &page[..4] {
        pager.event(&name, event, &limits);
    }
    pager.end(&name, false, &mut limits);
    pager.give_up(&GapReason::Stopped, &limits);
    let reason = || GapReason::Stopped;
    assert_eq!(
        pager.outcome.gaps,
        [
            Gap { filter: Filter { until: Some(4_000), ..query() }, reason: reason() },
            Gap { filter: Filter { kinds: Some(vec![20]), ..query() }, reason: reason() },
        ]
    );
    assert!(pager.is_done());
}

#[test]
fn a_bound_that_another_page_shows_to_be_left_out_is_asked_for_by_each_page_that_was_open_then() {
    let of = |byte: u8| Filter { authors: Some(vec![author(byte)]), ..query() };
    let events = (0..4).flat_map(|byte| (0..30).map(move |n| (byte, 1, 900 - u64::from(n / 7), n)));
    let relay = Relay { until_excludes: true, cap: 24, ..Relay::of(events) };
    let queries: Vec<Filter> = (0..4).map(of).collect();
    let asked = ask(&relay, queries.clone());
    assert_eq!(asked.lost(&relay, &queries), []);
    assert_eq!(asked.named(), BTreeSet::new());
}

const IN_EARNEST: [Refuses; 4] =
    [Refuses::InWords, Refuses::Denies, Refuses::Silently, Refuses::ByHangingUp];

fn relay() -> impl Strategy<Value = Relay> {
    let event = (0u8..14, select(&[0u64, 1, 3, 4, 7][..]), 0u64..60, 0u16..30);
    let dense = vec(event, 0..300);
    let spread = vec((0u8..14, select(&[0u64, 1, 3, 4, 7][..]), 0u64..4_000_000, 0u16..30), 0..300);
    let orders = [Gives::NewestFirst, Gives::OldestFirst, Gives::ByAuthor, Gives::ByKind];
    let gives = select(orders.to_vec());
    let refused_kind = prop_oneof![
        3 => Just(None),
        1 => (select(&[1u64, 4, 7][..]), select(&IN_EARNEST[..])).prop_map(Some),
    ];
    let no_limit = || Just(usize::MAX);
    let most = (
        prop_oneof![2 => no_limit(), 1 => 1usize..12],
        prop_oneof![2 => no_limit(), 1 => 1usize..5],
        prop_oneof![2 => Just(u64::MAX), 1 => 20u64..300],
        prop_oneof![3 => Just(u64::MAX), 1 => 86_400u64..2_000_000],
        prop_oneof![3 => no_limit(), 1 => 1usize..30],
    )
        .prop_map(|(authors, kinds, limit, seconds, lists)| Most {
            authors,
            kinds,
            limit,
            seconds,
            lists,
        });
    let bounds = (proptest::bool::weighted(0.2), proptest::bool::weighted(0.2), any::<bool>());
    (dense, spread, gives, 20usize..100, most, select(&IN_EARNEST[..]), refused_kind, bounds)
        .prop_map(|(dense, spread, gives, cap, most, refuses, refused_kind, bounds)| Relay {
            // What such a relay has of second 0 beyond a page, nobody can ask for.
            events: Events(
                dense.into_iter().chain(spread).filter(|event| event.2 > 0 || !bounds.1).collect(),
            ),
            gives,
            cap,
            most,
            refuses,
            refused_kind,
            until_excludes: bounds.0,
            since_excludes: bounds.1,
            says_finish: bounds.2,
        })
}

/// Two queries; neither begins or ends where an event is.
fn queries() -> Vec<Filter> {
    let of = |authors: std::ops::Range<u8>| Filter {
        authors: Some(authors.map(author).collect::<Vec<Pubkey>>()),
        kinds: Some(vec![0, 1, 3, 4, 7]),
        until: Some(5_000_000),
        ..Filter::default()
    };
    vec![of(0..9), of(9..14)]
}

proptest! {
    #[test]
    fn every_event_of_any_relay_comes_or_is_named_and_nothing_is_complete_and_lost(
        relay in relay(),
    ) {
        let asked = ask(&relay, queries());
        prop_assert_eq!(asked.lost(&relay, &queries()), vec![], "lost");
        prop_assert_eq!(asked.falsely_complete(&relay), vec![], "complete");
    }
}
