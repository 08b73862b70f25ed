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
