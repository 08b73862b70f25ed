//! Finding out what a peer has of a filter and we have not, by comparing fingerprints (NIP-77,
//! negentropy protocol version 1). The rounds of one comparison; what it finds is for others to
//! fetch.

use std::sync::Arc;

use negentropy::{Error, Id, Negentropy};

use super::host::Opening;
use super::item_set::ItemSet;
use super::limits::{
    FRAME_OVERHEAD, IDS_OF_A_COMPARISON, IDS_OF_A_ROUND, LARGEST_FRAME, ROUNDS, SMALLEST_FRAME,
};
use super::ranges::{VERSION, is_well_formed};
use crate::nostr::{EventId, Filter};

/// Nostr began in November 2020: earlier events are few, so it is no use to halve that time.
const FIRST_EVENTS: u64 = 1_604_188_800;

/// Of fewer events the ids are sent instead of fingerprints (the crate's `BUCKETS * 2`).
const FEW: usize = 32;

/// The answer of a peer that has the same events.
const NOTHING_DIFFERS: &[u8] = &[VERSION];

/// One comparison under way.
#[derive(Debug)]
pub(super) struct Reconciliation {
    filter: Arc<Filter>,
    /// A second in which many of the events are, as far as is known here.
    middle: Option<u64>,
    /// Events that are here.
    items: usize,
    /// What they are; `None`: only their fingerprints are known.
    negentropy: Option<Negentropy<'static, ItemSet>>,
    /// Bytes of our messages.
    frame: u64,
    /// So little is here that the first message tells it all, and the answer names all that is there.
    is_blind: bool,
    rounds: usize,
    /// Ids of events that only one side has, as often as they were named.
    named: usize,
}

/// What a round brought.
#[derive(Debug)]
pub(super) struct Round {
    /// Events that the peer has and we have not.
    pub(super) needed: Vec<EventId>,
    /// Events that we have and the peer has not.
    pub(super) only_here: Vec<EventId>,
    /// What to send next; `None`: everything has been compared.
    pub(super) next: Option<Vec<u8>>,
}

impl Round {
    /// Both sides have the same.
    pub(super) fn is_equal(&self) -> bool {
        self.needed.is_empty() && self.only_here.is_empty() && self.next.is_none()
    }
}

/// Not a valid message, or one too many of them.
#[derive(Debug)]
pub(super) struct Senseless;

impl Reconciliation {
    /// Compares with a peer that takes messages of so many bytes. Also returns the first message.
    pub(super) fn begin(
        filter: impl Into<Arc<Filter>>,
        here: impl Into<Opening>,
        max_message: usize,
    ) -> Result<(Self, Vec<u8>), Error> {
        // Two hex digits a byte.
        let frame = (max_message.saturating_sub(FRAME_OVERHEAD) / 2)
            .clamp(SMALLEST_FRAME, LARGEST_FRAME) as u64;
        let (filter, here) = (filter.into(), here.into());
        let items = here.len();
        let (middle, negentropy, first) = match here {
            Opening::Items(here) => {
                let middle = here.middle();
                let mut negentropy = Negentropy::owned(here, frame)?;
                let first = negentropy.initiate()?;
                (middle, Some(negentropy), first)
            }
            Opening::Fingerprints(here) => (here.middle(), None, here.message()),
        };
        let is_blind = negentropy.is_some() && items < FEW;
        let begun =
            Self { filter, middle, items, negentropy, frame, is_blind, rounds: 0, named: 0 };
        Ok((begun, first))
    }

    /// Whether the events that are here are needed to read this answer, and are not known.
    pub(super) fn needs_items(&self, message: &[u8]) -> bool {
        self.negentropy.is_none() && message != NOTHING_DIFFERS
    }

    /// The events that are here.
    pub(super) fn learn_items(&mut self, here: ItemSet) -> Result<(), Error> {
        (self.items, self.middle) = (here.len(), here.middle());
        let mut negentropy = Negentropy::owned(here, self.frame)?;
        negentropy.set_initiator();
        self.negentropy = Some(negentropy);
        Ok(())
    }

    pub(super) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// How many events are here.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// How many of them are in memory.
    pub(super) fn items_held(&self) -> usize {
        if self.negentropy.is_some() { self.items } else { 0 }
    }

    /// Whether the peer is going to name all that it has.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// A second in which many of the events are.
    pub(super) fn middle(&self) -> Option<u64> {
        self.middle
    }

    /// What the peer's answer says.
    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Round, Senseless> {
        if !is_well_formed(message) {
            return Err(Senseless);
        }
        self.is_blind = false;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = match &mut self.negentropy {
            Some(negentropy) => negentropy.reconcile_with_ids(message, &mut have, &mut need),
            None if message == NOTHING_DIFFERS => Ok(None),
            None => return Err(Senseless),
        };
        let next = next.map_err(|_| Senseless)?;
        self.rounds += 1;
        self.named += need.len();
        // An honest peer names each of its ids once, and a round without ids divides what differs.
        let most = ROUNDS + (self.items + self.named) / IDS_OF_A_ROUND;
        if self.rounds > most || self.named > IDS_OF_A_COMPARISON {
            return Err(Senseless);
        }
        let ids = |ids: Vec<Id>| -> Vec<EventId> {
            ids.into_iter().map(|id| EventId::from_bytes(id.to_bytes())).collect()
        };
        Ok(Round { needed: ids(need), only_here: ids(have), next })
    }
}

/// Two filters for what one filter asks: the newer part and the older one, or two halves of its
/// authors or kinds if it is about one second. `None`: it cannot be split. `middle`: a second in
/// which many of the events are; `now`: no event is newer.
pub(super) fn split(filter: &Filter, middle: Option<u64>, now: u64) -> Option<[Filter; 2]> {
    let since = filter.since.unwrap_or(0);
    let until = filter.until.unwrap_or(now);
    if since < until {
        let from = if until > FIRST_EVENTS { since.max(FIRST_EVENTS) } else { since };
        let half = from + (until - from) / 2;
        // The newer part begins with the middle, so neither part is empty or the whole.
        let middle = middle.filter(|&middle| since < middle && middle <= until);
        let begin = middle.unwrap_or(half.max(since + 1));
        let newer = Filter { since: Some(begin), ..filter.clone() };
        let older = Filter { until: Some(begin - 1), ..filter.clone() };
        return Some([newer, older]);
    }
    if let Some(halves) = filter.authors.as_deref().and_then(half) {
        return Some(halves.map(|part| Filter { authors: Some(part.to_vec()), ..filter.clone() }));
    }
    let halves = filter.kinds.as_deref().and_then(half)?;
    Some(halves.map(|part| Filter { kinds: Some(part.to_vec()), ..filter.clone() }))
}

fn half<T>(items: &[T]) -> Option<[&[T]; 2]> {
    let (left, right) = items.split_at(items.len() / 2);
    (!left.is_empty()).then_some([left, right])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nostr::Pubkey;

    const NOW: u64 = 1_800_000_000;

    fn filter(since: u64, until: u64) -> Filter {
        let authors = Some(vec![Pubkey::from_bytes([1; 32]), Pubkey::from_bytes([2; 32])]);
        let kinds = Some(vec![1, 7]);
        Filter { authors, kinds, since: Some(since), until: Some(until), ..Filter::default() }
    }

    fn id(number: u64) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        EventId::from_bytes(id)
    }

    /// Compares two sets of numbers in frames as small as there are: what is only there, and what
    /// is only here.
    fn compare(here: &[u64], there: &[u64]) -> [Vec<EventId>; 2] {
        let set =
            |numbers: &[u64]| ItemSet::new(numbers.iter().map(|number| (number / 3, id(*number))));
        let mut peer = Negentropy::owned(set(there), 4_096).unwrap();
        let (mut ours, mut message) =
            Reconciliation::begin(Filter::default(), set(here), 0).unwrap();
        let (mut needed, mut only_here) = (Vec::new(), Vec::new());
        loop {
            let round = ours.answer(&peer.reconcile(&message).unwrap()).unwrap();
            needed.extend(round.needed);
            only_here.extend(round.only_here);
            match round.next {
                Some(next) => message = next,
                None => break,
            }
        }
        [needed, only_here].map(|mut ids| {
            ids.sort();
            ids.dedup();
            ids
        })
    }

    fn ids(numbers: impl Iterator<Item = u64>) -> Vec<EventId> {
        let mut ids: Vec<EventId> = numbers.map(id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn every_difference_is_found_in_the_smallest_frames() {
        let here: Vec<u64> = (0..9_000).filter(|number| number % 7 > 0).collect();
        let there: Vec<u64> = (0..9_000).filter(|number| number % 5 > 0).collect();
        let needed = ids((0..9_000).filter(|number| number % 7 == 0 && number % 5 > 0));
        let only_here = ids((0..9_000).filter(|number| number % 5 == 0 && number % 7 > 0));
        assert_eq!(compare(&here, &there), [needed, only_here]);
        assert_eq!(compare(&here, &here), [vec![], vec![]]);
    }

    #[test]
    fn an_event_of_the_last_second_that_there_is_counts_as_any_other() {
        let set = |items: &[(u64, u64)]| {
            ItemSet::new(items.iter().map(|&(second, number)| (second, id(number))))
        };
        let (last, both) = ((u64::MAX, 1), (5, 2));
        for (here, there, needed, only_here) in [
            (vec![both, last], vec![both], vec![], vec![id(1)]),
            (vec![both], vec![both, last], vec![id(1)], vec![]),
            (vec![both, last], vec![both, last], vec![], vec![]),
        ] {
            let mut peer = Negentropy::owned(set(&there), 4_096).unwrap();
            let (mut ours, first) =
                Reconciliation::begin(Filter::default(), set(&here), 0).unwrap();
            let round = ours.answer(&peer.reconcile(&first).unwrap()).unwrap();
            assert_eq!((round.needed, round.only_here), (needed, only_here));
        }
    }

    #[test]
    fn a_peer_that_never_comes_to_the_end_is_senseless() {
        let items = (0..1_000).map(|number| (number, id(number)));
        let (mut ours, first) =
            Reconciliation::begin(Filter::default(), ItemSet::new(items), 0).unwrap();
        let rounds = (0..1_000).map(|_| ours.answer(&first)).take_while(Result::is_ok).count();
        assert_eq!(rounds, ROUNDS + 1_000 / IDS_OF_A_ROUND);
    }

    #[test]
    fn time_is_split_where_the_events_are() {
        let parts = |from, middle, to| Some([filter(middle, to), filter(from, middle - 1)]);
        assert_eq!(split(&filter(5, 9), Some(6), NOW), parts(5, 6, 9));
        assert_eq!(split(&filter(5, 9), None, NOW), parts(5, 7, 9));
        assert_eq!(split(&filter(5, 9), Some(5), NOW), parts(5, 7, 9));
        assert_eq!(split(&filter(5, 6), None, NOW), parts(5, 6, 6));
        let unbounded = Filter { since: None, until: None, ..filter(0, 0) };
        let begin = FIRST_EVENTS + (NOW - FIRST_EVENTS) / 2;
        let newer = Filter { since: Some(begin), ..unbounded.clone() };
        let older = Filter { until: Some(begin - 1), ..unbounded.clone() };
        assert_eq!(split(&unbounded, None, NOW), Some([newer, older]));
    }

    #[test]
    fn a_second_is_split_by_author_and_then_by_kind() {
        let [left, right] = split(&filter(5, 5), None, NOW).unwrap();
        assert_eq!(left.authors.as_deref().map(<[_]>::len), Some(1));
        assert_ne!(left.authors, right.authors);
        let [left, right] = split(&left, None, NOW).unwrap();
        assert_eq!((left.kinds, right.kinds.as_deref()), (Some(vec![1]), Some(&[7][..])));
        assert_eq!(split(&right, None, NOW).map(|parts| parts.map(|it| it.kinds)), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_a_comparison_panic(bytes: Vec<u8>, protocol: bool) {
            let items = (0..100).map(|number| (number, id(number)));
            let (mut ours, _) =
                Reconciliation::begin(Filter::default(), ItemSet::new(items), 0).unwrap();
            let message = if protocol { [&[0x61], &bytes[..]].concat() } else { bytes };
            let _ = ours.answer(&message);
        }
    }
}
