//! The messages of a comparison, byte by byte (NIP-77, negentropy protocol version 1).

/// Of a message (NIP-77, "Message").
pub(super) const VERSION: u8 = 0x61;
/// Modes of a range (NIP-77, "Range").
const SKIP: u64 = 0;
pub(super) const FINGERPRINT: u64 = 1;
const ID_LIST: u64 = 2;
/// Bytes of a fingerprint and of an id.
pub(super) const FINGERPRINT_BYTES: usize = 16;
const ID: usize = 32;

/// Whether a message is one of protocol version 1 from its first byte to its last, with bounds in
/// their order. The library takes what is cut off for ranges that are equal.
pub(super) fn is_well_formed(message: &[u8]) -> bool {
    each_range(message, |_, _| ()).is_some()
}

/// The first and the last second of what an answer does not say to be the same on both sides; within
/// them some may be. The outer `None`: it is not [well formed](is_well_formed).
pub(super) fn seconds_that_differ(answer: &[u8]) -> Option<Option<(u64, u64)>> {
    let mut differs: Option<(u64, u64)> = None;
    let mut begin = 0;
    each_range(answer, |(end, prefix), mode| {
        if mode != SKIP {
            // A bound with digits of an id is in the middle of its second.
            let is_whole = prefix.is_empty() && end < u64::MAX;
            let last = if is_whole { end.saturating_sub(1).max(begin) } else { end };
            let first = differs.map_or(begin, |(first, _)| first);
            differs = Some((first, last));
        }
        begin = end;
    })?;
    Some(differs)
}

/// Calls this for each range of a message, with its end and its mode; `None`: the message is not
/// [well formed](is_well_formed).
fn each_range(message: &[u8], mut each: impl FnMut(RangeBound<'_>, u64)) -> Option<()> {
    let Some((&VERSION, mut rest)) = message.split_first() else { return None };
    let mut before = (0, [].as_slice());
    while !rest.is_empty() {
        let (bound, mode, after) = parse_range(rest, before.0)?;
        if bound < before {
            return None;
        }
        each(bound, mode);
        (before, rest) = (bound, after);
    }
    Some(())
}

/// Where a range ends: its second, [`u64::MAX`] for the end of time, and the first bytes of an id.
type RangeBound<'a> = (u64, &'a [u8]);

/// The bound of the first range of these, its mode, and what follows the range. `before`: the second
/// at which the range before it ends.
fn parse_range(bytes: &[u8], before: u64) -> Option<(RangeBound<'_>, u64, &[u8])> {
    let (step, rest) = parse_varint(bytes)?;
    let second = match step.checked_sub(1) {
        // Nothing is behind the end of time.
        _ if before == u64::MAX => return None,
        None => u64::MAX,
        Some(step) => before.checked_add(step)?,
    };
    let (length, rest) = parse_varint(rest)?;
    let length = usize::try_from(length).ok().filter(|&length| length <= ID)?;
    let (prefix, rest) = rest.split_at_checked(length)?;
    let (mode, rest) = parse_varint(rest)?;
    let (length, rest) = match mode {
        SKIP => (0, rest),
        FINGERPRINT => (FINGERPRINT_BYTES, rest),
        ID_LIST => {
            let (count, rest) = parse_varint(rest)?;
            (usize::try_from(count).ok()?.checked_mul(ID)?, rest)
        }
        _ => return None,
    };
    let (_, rest) = rest.split_at_checked(length)?;
    Some(((second, prefix), mode, rest))
}

/// A number in base 128, most significant digit first.
fn parse_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        number = number.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

/// Appends a number as [`parse_varint`] reads it.
pub(super) fn push_varint(bytes: &mut Vec<u8>, number: u64) {
    let digits = number.max(1).ilog2() / 7;
    for digit in (0..=digits).rev() {
        let more = if digit > 0 { 0x80 } else { 0 };
        bytes.push(more | (number >> (7 * digit) & 0x7f) as u8);
    }
}

#[cfg(test)]
mod tests {
    use negentropy::Negentropy;
    use proptest::prelude::*;

    use super::*;
    use crate::nostr::EventId;
    use crate::peer::{Fingerprints, ItemSet};

    #[test]
    fn a_message_that_is_cut_off_or_out_of_order_is_senseless() {
        let ranges = |ranges: &[&[u8]]| [&[VERSION], &ranges.concat()[..]].concat();
        let [to_the_end, to_nine, again] = [&[0, 0, 0][..], &[10, 2, 7, 7, 0], &[1, 1, 9, 0]];
        let fingerprint = &[&[5, 0, 1][..], &[7; FINGERPRINT_BYTES]].concat();
        let ids = &[&[5, 0, 2, 2][..], &[7; 2 * ID]].concat();
        for message in [
            &[][..],
            &[to_the_end],
            &[fingerprint, ids],
            &[ids, fingerprint, to_nine, again, to_the_end],
        ] {
            assert!(is_well_formed(&ranges(message)), "{message:?}");
        }
        for message in [
            &[to_the_end, to_nine][..],
            &[to_the_end, to_the_end],
            &[again, &[1, 1, 8, 0]],
            &[&fingerprint[..9]],
            &[&ids[..40]],
            &[&[5, 0]],
            &[&[5, 33]],
            &[&[5, 0, 3]],
            &[&[0xff, 0xff, 0xff]],
            &[&[5, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
        ] {
            assert!(!is_well_formed(&ranges(message)), "{message:?}");
        }
        assert!(!is_well_formed(&[]) && !is_well_formed(&[0x62]));
    }

    #[test]
    fn a_range_that_ends_within_a_second_may_differ_in_that_second() {
        let fingerprint = |bound: &[u8]| [bound, &[1], &[7; FINGERPRINT_BYTES]].concat();
        let skip = |bound: &[u8]| [bound, &[0]].concat();
        let of =
            |ranges: &[Vec<u8>]| seconds_that_differ(&[&[VERSION], &ranges.concat()[..]].concat());
        // Each bound: one more than the seconds since the last, and digits of an id.
        assert_eq!(of(&[fingerprint(&[5, 0])]), Some(Some((0, 3))));
        assert_eq!(of(&[fingerprint(&[5, 1, 9])]), Some(Some((0, 4))));
        assert_eq!(of(&[skip(&[5, 1, 9]), fingerprint(&[3, 0])]), Some(Some((4, 5))));
        assert_eq!(of(&[skip(&[5, 0]), fingerprint(&[1, 0])]), Some(Some((4, 4))));
        assert_eq!(of(&[skip(&[5, 0]), fingerprint(&[0, 0])]), Some(Some((4, u64::MAX))));
        assert_eq!(of(&[skip(&[5, 0]), skip(&[0, 0])]), Some(None));
        assert_eq!(of(&[fingerprint(&[5, 0]), vec![1]]), None);
    }

    proptest! {
        #[test]
        fn all_that_differs_is_within_the_seconds_that_differ(
            here in prop::collection::btree_set((0_u64..60, 0_u8..3), 0..150),
            lacks in prop::collection::btree_set((0_u64..60, 0_u8..3), 0..4),
            has_besides in prop::collection::btree_set((0_u64..60, 3_u8..5), 0..4),
        ) {
            let id = |&(second, number): &(u64, u8)| {
                (second, EventId::from_bytes(std::array::from_fn(|at| number + (at == 9) as u8)))
            };
            let mut fingerprints = Fingerprints::default();
            here.iter().rev().for_each(|event| fingerprints.push(event.0, &id(event).1));
            let there = here.difference(&lacks).chain(&has_besides);
            let mut peer = Negentropy::owned(ItemSet::new(there.map(id)), 0).unwrap();
            let answer = peer.reconcile(&fingerprints.message()).unwrap();
            let differs = seconds_that_differ(&answer).unwrap();
            for (second, _) in here.intersection(&lacks).chain(&has_besides) {
                let (first, last) = differs.unwrap();
                prop_assert!((first..=last).contains(second), "{second} of {differs:?}");
            }
            let is_equal = here.is_disjoint(&lacks) && has_besides.is_empty();
            prop_assert_eq!(differs.is_none(), is_equal);
        }
    }

    #[test]
    fn a_number_is_written_as_it_is_read() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 62, 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, number);
            assert_eq!(bytes.len() as u32, number.max(1).ilog2() / 7 + 1);
            assert_eq!(parse_varint(&bytes), Some((number, &[][..])));
        }
    }
}
