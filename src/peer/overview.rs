//! An overview: one comparison of all events of a time, before many queries about that time. strfry
//! answers it from a tree that it keeps for the filter `{}`, in a millisecond, where each query takes
//! it as long as it has events to look up. What an overview shows to be the same on both sides is
//! not compared query by query.
//!
//! A tree may be out of step with the peer's events, so nothing is left out before one query has
//! been compared about the time in which nothing seems to differ ([`Shown::sample`]).

use super::fingerprints::Fingerprints;
use super::ranges::seconds_that_differ;
use crate::nostr::Filter;

/// The first and the last second that a query is about, as it gives them.
pub(super) type Time = (Option<u64>, Option<u64>);

/// The time that a query is about.
pub(super) fn time_of(filter: &Filter) -> Time {
    (filter.since, filter.until)
}

/// All events of a time. Without any other field a filter is the one that strfry keeps a tree for.
pub(super) fn everything((since, until): Time) -> Filter {
    Filter { since, until, ..Filter::default() }
}

/// What an overview has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// What it was about.
    pub(super) time: Time,
    /// Nothing differs before the first of these seconds and after the last; `None`: nothing differs.
    differs: Option<(u64, u64)>,
    /// A time in which nothing differs.
    equal: Time,
}

impl Shown {
    /// From a peer's answer to the fingerprints of what is here. `None`: the answer is senseless, or
    /// too little of what is here is shown to be there.
    pub(super) fn by(answer: &[u8], time: Time, here: &Fingerprints) -> Option<Self> {
        let Some((first, last)) = seconds_that_differ(answer)? else {
            return (!here.is_empty()).then_some(Self { time, differs: None, equal: time });
        };
        let (since, until) = time;
        let (older, newer) = here.outside(first, last);
        let equal = match older >= newer {
            true => (since, Some(first.checked_sub(1)?)),
            false => (Some(last.checked_add(1)?), until),
        };
        let is_worth_it = older + newer > here.len() / 2;
        is_worth_it.then_some(Self { time, differs: Some((first, last)), equal })
    }

    /// The part of a query about the same time in which nothing differs, as it seems.
    pub(super) fn sample(&self, query: &Filter) -> Filter {
        let (since, until) = self.equal;
        Filter { since, until, ..query.clone() }
    }

    /// What is left to compare of a query about the same time.
    pub(super) fn rest(&self, query: &Filter) -> Option<Filter> {
        let (first, last) = self.differs?;
        let since = query.since.map_or(first, |since| since.max(first));
        let until = query.until.map_or(last, |until| until.min(last));
        // Where the time has no bound, neither has the rest.
        let since = Some(since).filter(|&since| since > 0);
        let until = Some(until).filter(|&until| until < u64::MAX);
        Some(Filter { since, until, ..query.clone() })
    }
}

#[cfg(test)]
mod tests {
    use negentropy::Negentropy;

    use super::*;
    use crate::nostr::EventId;
    use crate::peer::ItemSet;

    const TIME: Time = (Some(1_000), Some(9_999));

    fn id(second: u64) -> EventId {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&second.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        EventId::from_bytes(id)
    }

    /// Of an event in each of these seconds.
    fn fingerprints(seconds: impl DoubleEndedIterator<Item = u64>) -> Fingerprints {
        let mut fingerprints = Fingerprints::default();
        seconds.rev().for_each(|second| fingerprints.push(second, &id(second)));
        fingerprints
    }

    /// What an overview of events in each of these seconds shows of a peer that has those from 2,000 to
    /// 4,000, each of them once, and others in these seconds.
    fn shown(here: std::ops::Range<u64>, besides: &[u64]) -> Option<Shown> {
        let here = fingerprints(here);
        let there =
            (2_000..4_000).filter(|it| !besides.contains(it)).chain(besides.iter().copied());
        let name = |second| if besides.contains(&second) { id(second + 9) } else { id(second) };
        let there = ItemSet::new(there.map(|second| (second, name(second))));
        let answer = Negentropy::owned(there, 0).unwrap().reconcile(&here.message()).unwrap();
        Shown::by(&answer, TIME, &here)
    }

    fn query(since: Option<u64>, until: Option<u64>) -> Filter {
        Filter { kinds: Some(vec![1]), since, until, ..Filter::default() }
    }

    #[test]
    fn where_nothing_differs_nothing_is_left_and_a_sample_is_a_whole_query() {
        let shown = shown(2_000..4_000, &[]).unwrap();
        let asked = query(TIME.0, TIME.1);
        assert_eq!((shown.sample(&asked), shown.rest(&asked)), (asked, None));
    }

    #[test]
    fn what_is_left_is_where_something_differs_and_the_sample_is_the_larger_part_besides() {
        let (since, until) = TIME;
        let asked = query(since, until);
        let left = |besides: &[u64]| {
            let shown = shown(2_000..4_000, besides).unwrap();
            (shown.rest(&asked).unwrap(), shown.sample(&asked))
        };
        let expected =
            |rest: Time, sample: Time| (query(rest.0, rest.1), query(sample.0, sample.1));
        let [newest, older] = [3_856, 3_855].map(Some);
        for besides in [&[5_000][..], &[3_900, 5_000], &[3_900]] {
            assert_eq!(left(besides), expected((newest, until), (since, older)), "{besides:?}");
        }
        assert_eq!(left(&[1_500]), expected((since, Some(2_015)), (Some(2_016), until)));
        let two = [1_500, 2_200];
        assert_eq!(left(&two), expected((since, Some(2_255)), (Some(2_256), until)));
        let within = [[3_472, 3_599], [2_496, 2_615]].map(|it| it.map(Some));
        assert_eq!(left(&[3_500]), expected(within[0].into(), (since, Some(3_471))));
        assert_eq!(left(&[2_500]), expected(within[1].into(), (Some(2_616), until)));
    }

    #[test]
    fn an_overview_shows_nothing_where_half_of_what_is_here_may_differ() {
        assert_eq!(shown(2_000..4_000, &[1_500, 5_000]), None);
        assert_eq!(shown(2_000..9_000, &[]), None);
        assert_eq!(shown(2_000..2_000, &[]), None);
    }

    #[test]
    fn a_tree_that_holds_nothing_shows_nothing_even_if_nothing_is_here() {
        let nothing = Fingerprints::default();
        let mut tree = Negentropy::owned(ItemSet::new([]), 0).unwrap();
        let answer = tree.reconcile(&nothing.message()).unwrap();
        assert_eq!(answer, [0x61]);
        assert_eq!(Shown::by(&answer, TIME, &nothing), None);
    }

    #[test]
    fn a_senseless_answer_shows_nothing() {
        let here = fingerprints(2_000..4_000);
        for answer in [&[][..], &[0x62], &[0x61, 1], &[0x61, 0, 0, 9]] {
            assert_eq!(Shown::by(answer, TIME, &here), None, "{answer:?}");
        }
    }
}
