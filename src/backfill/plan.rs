//! What is asked of a peer: filters for authors, kinds and a time.

use crate::nostr::{Filter, Pubkey, kind};
use crate::relay::limits::AUTHORS_PER_FILTER;

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

/// One filter for each batch of authors, private messages apart (kinds 4 and 1059): relays may
/// hide them after counting them, or refuse the whole request.
pub(super) fn author_queries(authors: &[Pubkey], kinds: &[u64], span: Span) -> Vec<Filter> {
    let of_one_sort = |wanted: Option<u64>| -> Vec<u64> {
        let sort = |kind| Some(kind).filter(|kind| PRIVATE.contains(kind));
        kinds.iter().copied().filter(|&kind| sort(kind) == wanted).collect()
    };
    let mut queries = Vec::new();
    for kinds in [None, Some(PRIVATE[0]), Some(PRIVATE[1])].map(of_one_sort) {
        if kinds.is_empty() {
            continue;
        }
        queries.extend(authors.chunks(AUTHORS_PER_FILTER).map(|authors| Filter {
            authors: Some(authors.to_vec()),
            kinds: Some(kinds.clone()),
            since: span.since,
            until: Some(span.until),
            ..Filter::default()
        }));
    }
    queries
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
