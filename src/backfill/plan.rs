//! What is asked of a peer: filters for authors, kinds and a time.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::OWED_PARTS;
use crate::nostr::{Filter, Pubkey, kind};
use crate::peer::limits::AUTHORS_PER_FILTER;

/// Kinds that relays may give to those alone whom they concern.
const PRIVATE: [u64; 2] = [kind::DIRECT_MESSAGE, kind::GIFT_WRAP];

/// From which second to which events are asked for, both inclusive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// `None` is all time.
    pub(super) since: Option<u64>,
    /// A later event the relay would refuse. Whoever has events dated far ahead is not asked for
    /// them: a strfry that has stored some can be ended by a query that meets them.
    pub(super) until: u64,
}

/// What a peer owes, as queries to it: authors in batches, private messages apart (kinds 4 and 1059:
/// relays may hide them after counting them, or refuse the whole request), recent events first, and
/// what is asked of everybody last.
pub(super) fn queries(owed: Vec<Filter>) -> Vec<Filter> {
    let owed = if owed.len() > OWED_PARTS { hulls(&owed) } else { owed };
    let mut queries: Vec<Filter> = owed.iter().flat_map(batches).collect();
    queries.sort_by_key(|query| (query.authors.is_none(), sort_of(query), Reverse(query.since)));
    queries
}

fn batches(owed: &Filter) -> Vec<Filter> {
    let kinds = owed.kinds.as_deref().unwrap_or_default();
    let authors: Vec<Option<Vec<Pubkey>>> = match &owed.authors {
        None => vec![None],
        Some(authors) => {
            authors.chunks(AUTHORS_PER_FILTER).map(|authors| Some(authors.to_vec())).collect()
        }
    };
    let with_kinds = |kinds: Vec<u64>| {
        let filter = move |authors: &Option<Vec<Pubkey>>| Filter {
            authors: authors.clone(),
            kinds: Some(kinds.clone()),
            ..owed.clone()
        };
        authors.iter().map(filter).collect::<Vec<_>>()
    };
    sorts(kinds).flat_map(with_kinds).collect()
}

/// Kinds that are asked for in one query: public ones, and each private one by itself.
fn sorts(kinds: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let of_one_sort = |wanted: Option<u64>| -> Vec<u64> {
        let sort = |kind| Some(kind).filter(|kind| PRIVATE.contains(kind));
        kinds.iter().copied().filter(|&kind| sort(kind) == wanted).collect()
    };
    [None, Some(PRIVATE[0]), Some(PRIVATE[1])]
        .map(of_one_sort)
        .into_iter()
        .filter(|it| !it.is_empty())
}

fn sort_of(query: &Filter) -> usize {
    let kind = query.kinds.as_deref().and_then(|kinds| kinds.first());
    PRIVATE.iter().position(|private| kind == Some(private)).map_or(0, |sort| sort + 1)
}

/// A few needs in place of many, which together are more: full histories apart, and what is asked
/// of everybody.
fn hulls(owed: &[Filter]) -> Vec<Filter> {
    let sort = |filter: &Filter| (filter.authors.is_some(), filter.since.is_some());
    let sorts: BTreeSet<(bool, bool)> = owed.iter().map(sort).collect();
    sorts.into_iter().map(|of| hull(owed.iter().filter(|filter| sort(filter) == of))).collect()
}

/// All authors, all kinds, from the first second to the last.
fn hull<'a>(parts: impl Iterator<Item = &'a Filter> + Clone) -> Filter {
    let authors = parts.clone().filter_map(|filter| filter.authors.as_ref()).flatten().copied();
    let authors: BTreeSet<Pubkey> = authors.collect();
    let kinds: BTreeSet<u64> =
        parts.clone().flat_map(|it| it.kinds.iter().flatten()).copied().collect();
    Filter {
        authors: (!authors.is_empty()).then(|| authors.into_iter().collect()),
        kinds: Some(kinds.into_iter().collect()),
        since: parts.clone().map(|filter| filter.since).min().flatten(),
        until: parts.filter_map(|filter| filter.until).max(),
        ..Filter::default()
    }
}

/// The same, for all who need them.
pub(super) fn shared(queries: Vec<Filter>) -> Vec<Arc<Filter>> {
    queries.into_iter().map(Arc::new).collect()
}

/// The earliest second of these queries; `None` is all time.
pub(super) fn earliest(queries: &[impl Borrow<Filter>]) -> Option<u64> {
    queries.iter().map(|query| query.borrow().since).min().flatten()
}

/// The same for authors of whom the same kinds and time are asked for.
pub(super) fn author_queries(authors: &[Pubkey], kinds: &[u64], span: Span) -> Vec<Filter> {
    batches(&Filter {
        authors: Some(authors.to_vec()),
        kinds: Some(kinds.to_vec()),
        since: span.since,
        until: Some(span.until),
        ..Filter::default()
    })
}

/// The filter for what stations publish of themselves, whoever they are.
pub(super) fn station_query(kinds: Vec<u64>, span: Span) -> Option<Filter> {
    (!kinds.is_empty()).then(|| Filter {
        kinds: Some(kinds),
        since: span.since,
        until: Some(span.until),
        ..Filter::default()
    })
}

/// The second from which on events are recent: so many days before `now`; 0 is all time.
pub fn since(now: u64, days: u32) -> Option<u64> {
    (days > 0).then(|| now.saturating_sub(u64::from(days) * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(byte: u8) -> Pubkey {
        Pubkey::from_bytes([byte; 32])
    }

    #[test]
    fn authors_are_asked_for_in_batches_and_private_messages_apart() {
        let authors: Vec<Pubkey> = (0..150).map(author).collect();
        let queries = author_queries(&authors, &[0, 1, 4, 1059], Span { since: Some(7), until: 9 });
        let filter = |authors: &[Pubkey], kinds: &[u64]| Filter {
            authors: Some(authors.to_vec()),
            kinds: Some(kinds.to_vec()),
            since: Some(7),
            until: Some(9),
            ..Filter::default()
        };
        assert_eq!(
            queries,
            [
                filter(&authors[..100], &[0, 1]),
                filter(&authors[100..], &[0, 1]),
                filter(&authors[..100], &[4]),
                filter(&authors[100..], &[4]),
                filter(&authors[..100], &[1059]),
                filter(&authors[100..], &[1059]),
            ]
        );
    }

    #[test]
    fn what_is_owed_is_asked_for_recent_events_first_private_ones_apart_and_stations_last() {
        let authors: Vec<Pubkey> = (0..101).map(author).collect();
        let filter = |authors: Option<&[Pubkey]>, kinds: &[u64], since, until| Filter {
            authors: authors.map(<[Pubkey]>::to_vec),
            kinds: Some(kinds.to_vec()),
            since,
            until: Some(until),
            ..Filter::default()
        };
        let owed = vec![
            filter(Some(&authors[..1]), &[1, 4], None, 9),
            filter(Some(&authors), &[1, 4], Some(5), 7),
            filter(None, &[30_800], Some(6), 9),
        ];
        let expected = [
            filter(Some(&authors[..100]), &[1], Some(5), 7),
            filter(Some(&authors[100..]), &[1], Some(5), 7),
            filter(Some(&authors[..1]), &[1], None, 9),
            filter(Some(&authors[..100]), &[4], Some(5), 7),
            filter(Some(&authors[100..]), &[4], Some(5), 7),
            filter(Some(&authors[..1]), &[4], None, 9),
            filter(None, &[30_800], Some(6), 9),
        ];
        assert_eq!(queries(owed), expected);
    }

    #[test]
    fn what_is_owed_in_too_many_parts_is_asked_for_as_a_whole_full_histories_apart() {
        let part = |byte: u8, since: Option<u64>| Filter {
            authors: Some(vec![author(byte)]),
            kinds: Some(vec![u64::from(byte)]),
            since,
            until: Some(1_000 + since.unwrap_or(0)),
            ..Filter::default()
        };
        let parts = |count: u64| -> Vec<Filter> {
            let recent = (1..=count).map(|since| part(10 + (since % 3) as u8, Some(since)));
            [part(8, None), part(9, None)].into_iter().chain(recent).collect()
        };
        let few = OWED_PARTS as u64 - 2;
        assert_eq!(queries(parts(few)).len(), OWED_PARTS);
        let whole = |bytes: &[u8], since, until| Filter {
            authors: Some(bytes.iter().map(|&byte| author(byte)).collect()),
            kinds: Some(bytes.iter().map(|&byte| u64::from(byte)).collect()),
            since,
            until: Some(until),
            ..Filter::default()
        };
        let count = few + 1;
        assert_eq!(
            queries(parts(count)),
            [whole(&[10, 11, 12], Some(1), 1_000 + count), whole(&[8, 9], None, 1_000)]
        );
    }

    #[test]
    fn stations_are_asked_for_no_later_events_either() {
        let span = Span { since: None, until: 9 };
        let expected = Filter { kinds: Some(vec![30_800]), until: Some(9), ..Filter::default() };
        assert_eq!(station_query(vec![30_800], span), Some(expected));
        assert_eq!(station_query(vec![], span), None);
    }

    #[test]
    fn no_days_means_all_time() {
        assert_eq!(since(1_000_000, 0), None);
        assert_eq!(since(1_000_000, 2), Some(827_200));
        assert_eq!(since(5, 36_500), Some(0));
    }
}
