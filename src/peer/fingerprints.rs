//! The fingerprints of a set of events (NIP-77), made while the events go by: the first message of a
//! comparison needs none of them in memory, and where nothing differs, it is the only one.

use sha2::{Digest, Sha256};

use super::item_set::before_the_end;
use super::ranges::{FINGERPRINT, FINGERPRINT_BYTES, VERSION, push_varint};
use crate::nostr::EventId;

/// Most ranges of a set: one that differs is a thirtieth of it or more, and all together stay below
/// [`FIRST_ROUND`](super::limits::FIRST_ROUND).
const RANGES: usize = 32;

/// The fingerprints of a set of events; at most 1.5 KiB, however many events there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// The newest first. No second is in two of them.
    ranges: Vec<Range>,
    /// Events after which another range begins.
    events_each: usize,
}

/// Events that follow each other in time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    /// The second of its oldest event.
    oldest: u64,
    events: usize,
    sum: Sum,
}

/// The sum of ids, modulo 2^256; least significant digit first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum([u64; 4]);

impl Fingerprints {
    /// Adds an event that is no newer than all before it.
    pub fn push(&mut self, created_at: u64, id: &EventId) {
        let oldest = before_the_end(created_at);
        let event = Range { oldest, events: 1, sum: Sum::of(id) };
        match self.ranges.last_mut() {
            Some(last) if last.events < self.events_each || last.oldest == oldest => {
                last.add(&event);
            }
            _ => {
                self.ranges.push(event);
                self.coarsen();
            }
        }
    }

    /// Adds events that are all older than those before them.
    pub fn append(&mut self, older: Self) {
        self.events_each = self.events_each.max(older.events_each);
        self.ranges.extend(older.ranges);
        self.coarsen();
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|range| range.events).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many events are in ranges that end before the first of these seconds, and in ranges that
    /// begin after the last.
    pub(super) fn outside(&self, first: u64, last: u64) -> (usize, usize) {
        let (mut older, mut newer) = (0, 0);
        let mut end = u64::MAX;
        for range in &self.ranges {
            if range.oldest > last {
                newer += range.events;
            } else if end <= first {
                older += range.events;
            }
            end = range.oldest;
        }
        (older, newer)
    }

    /// Keeps the ranges few: two neighbours become one.
    fn coarsen(&mut self) {
        while self.ranges.len() > RANGES {
            let pair = |pair: &[Range]| {
                let mut both = pair.first()?.clone();
                pair.iter().skip(1).for_each(|older| both.add(older));
                Some(both)
            };
            self.ranges = self.ranges.chunks(2).filter_map(pair).collect();
            self.events_each = self.len() / self.ranges.len().max(1);
        }
    }

    /// A second about as many events before which as after it.
    pub(super) fn middle(&self) -> Option<u64> {
        let half = self.len() / 2;
        let mut newer = 0;
        let middle = self.ranges.iter().find(|range| {
            newer += range.events;
            newer >= half
        });
        middle.map(|range| range.oldest)
    }

    /// The first message of a comparison.
    pub fn message(&self) -> Vec<u8> {
        let mut message = vec![VERSION];
        let mut before = 0;
        // That there is nothing is to be said, too.
        let nothing = [Range { oldest: 0, events: 0, sum: Sum::default() }];
        let ranges = if self.is_empty() { &nothing } else { self.ranges.as_slice() };
        // Each ends where the next, which is newer, begins; the newest at the end of time.
        let ends = ranges.iter().map(|range| Some(range.oldest));
        let ends = [None].into_iter().chain(ends);
        let ranges: Vec<_> = ranges.iter().zip(ends).collect();
        for (range, end) in ranges.into_iter().rev() {
            let step = end.map_or(0, |end| end.saturating_sub(before).saturating_add(1));
            before = end.unwrap_or(before);
            push_varint(&mut message, step);
            // No digit of an id.
            push_varint(&mut message, 0);
            push_varint(&mut message, FINGERPRINT);
            message.extend(range.fingerprint());
        }
        message
    }
}

impl Range {
    fn add(&mut self, older: &Self) {
        self.oldest = older.oldest;
        self.events += older.events;
        self.sum.add(older.sum);
    }

    fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        let mut text: Vec<u8> = self.sum.0.iter().flat_map(|digit| digit.to_le_bytes()).collect();
        push_varint(&mut text, self.events as u64);
        let hash = Sha256::digest(&text);
        std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default())
    }
}

impl Sum {
    fn of(id: &EventId) -> Self {
        let mut digits = [0; 4];
        for (digit, bytes) in digits.iter_mut().zip(id.as_bytes().as_chunks().0) {
            *digit = u64::from_le_bytes(*bytes);
        }
        Self(digits)
    }

    fn add(&mut self, other: Self) {
        let mut carry = false;
        for (digit, more) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = digit.overflowing_add(more);
            let (sum, over_again) = sum.overflowing_add(carry.into());
            (*digit, carry) = (sum, over || over_again);
        }
    }
}

#[cfg(test)]
mod tests {
    use negentropy::Negentropy;
    use proptest::prelude::*;

    use super::*;
    use crate::peer::ItemSet;

    fn id(number: u64) -> EventId {
        EventId::from_bytes(Sha256::digest(number.to_be_bytes()).into())
    }

    /// Of these seconds, of which each event has another id.
    fn events(seconds: &[u64]) -> Vec<(u64, EventId)> {
        let mut seconds = seconds.to_vec();
        seconds.sort_unstable_by(|a, b| b.cmp(a));
        seconds.into_iter().zip(0..).map(|(second, number)| (second, id(number))).collect()
    }

    fn of(events: &[(u64, EventId)]) -> Fingerprints {
        let mut fingerprints = Fingerprints::default();
        events.iter().for_each(|(second, id)| fingerprints.push(*second, id));
        fingerprints
    }

    /// A peer's answer.
    fn answer(there: &[(u64, EventId)], message: &[u8]) -> Vec<u8> {
        let set = ItemSet::new(there.iter().copied());
        Negentropy::owned(set, 0).unwrap().reconcile(message).unwrap()
    }

    #[test]
    fn ids_are_added_with_carries_and_without_what_is_beyond_256_bits() {
        let mut sum = Sum([u64::MAX, u64::MAX, 7, u64::MAX]);
        sum.add(Sum([1, 0, 0, 1]));
        assert_eq!(sum, Sum([0, 0, 8, 0]));
        let mut bytes = [0; 32];
        (bytes[0], bytes[8], bytes[31]) = (1, 2, 0x80);
        assert_eq!(Sum::of(&EventId::from_bytes(bytes)), Sum([1, 2, 0, 1 << 63]));
    }

    #[test]
    fn a_hundred_thousand_events_take_few_ranges_of_similar_size() {
        let events = events(&(0..100_000).map(|number| number / 3).collect::<Vec<_>>());
        let fingerprints = of(&events);
        assert_eq!(fingerprints.len(), 100_000);
        let counts: Vec<usize> = fingerprints.ranges.iter().map(|range| range.events).collect();
        assert!((RANGES / 2..=RANGES).contains(&counts.len()), "{counts:?}");
        let most = counts.iter().max().unwrap();
        assert!(*most <= 100_000 / 12, "{counts:?}");
        let middle = fingerprints.middle().unwrap();
        assert!((11_000..23_000).contains(&middle), "{middle}");
    }

    #[test]
    fn the_message_is_small_whatever_the_seconds_are() {
        let seconds: Vec<u64> = (0..RANGES as u64).map(|number| number << 59).collect();
        let digits = 2 * of(&events(&seconds)).message().len();
        assert!((1_500..=crate::peer::limits::FIRST_ROUND).contains(&digits), "{digits}");
        let nothing = Fingerprints::default().message();
        assert_eq!(answer(&[], &nothing), [VERSION]);
        assert_ne!(answer(&events(&[1]), &nothing), [VERSION]);
    }

    proptest! {
        #[test]
        fn a_peer_that_has_the_same_answers_that_nothing_differs_and_another_what_does(
            seconds in prop::collection::vec(prop_oneof![0_u64..300, Just(u64::MAX)], 1..900),
            cut in 0..900_usize,
            lacks in 0..900_usize,
        ) {
            let all = events(&seconds);
            // Where two threads meet, no second is divided.
            let cut = all.get(cut).map_or(0, |event| event.0);
            let at = all.partition_point(|event| event.0 > cut);
            let mut fingerprints = of(&all[..at]);
            fingerprints.append(of(&all[at..]));
            prop_assert_eq!(fingerprints.len(), all.len());
            let message = fingerprints.message();
            prop_assert_eq!(answer(&all, &message), [VERSION]);
            let mut there = all.clone();
            there.remove(lacks % all.len());
            prop_assert_ne!(answer(&there, &message), [VERSION]);
        }
    }
}
