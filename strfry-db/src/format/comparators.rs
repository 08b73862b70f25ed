//! The key orders of LMDB's tables as strfry makes them: LMDB's own two, and the three that
//! strfry's indexes use beside them.
//!
//! Each is a total order on byte strings of any length, because a corrupt database can hold any
//! key. What is no total order leads a search astray, and then what is there is not found.

use std::cmp::Ordering;

/// How the keys of a table are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparator {
    /// LMDB's default: byte by byte, the shorter first.
    Bytes,
    /// [`integers`]
    Integers,
    /// [`string_uint64`]
    StringUint64,
    /// [`string_uint64_uint64`]
    StringUint64Uint64,
    /// [`uint64_uint64`]
    Uint64Uint64,
}

impl Comparator {
    #[inline]
    pub(crate) fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Self::Bytes => bytes(a, b),
            Self::Integers => integers(a, b),
            Self::StringUint64 => string_uint64(a, b),
            Self::StringUint64Uint64 => string_uint64_uint64(a, b),
            Self::Uint64Uint64 => uint64_uint64(a, b),
        }
    }
}

/// Byte by byte, the shorter first. Ids and pubkeys mostly differ in their first bytes, so those are
/// compared as one number before the rest is looked at.
#[inline]
pub fn bytes(a: &[u8], b: &[u8]) -> Ordering {
    match (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        (Some(first_a), Some(first_b)) if first_a != first_b => {
            u64::from_be_bytes(*first_a).cmp(&u64::from_be_bytes(*first_b))
        }
        _ => a.cmp(b),
    }
}

/// Bytes, then one u64: `Event__id`, `Event__pubkey`, `Event__tag`.
#[inline]
pub fn string_uint64(a: &[u8], b: &[u8]) -> Ordering {
    let ((front_a, a), (front_b, b)) = (split_integer(a), split_integer(b));
    bytes(front_a, front_b).then_with(|| a.cmp(&b))
}

/// Bytes, then two u64s: `Event__pubkeyKind`.
#[inline]
pub fn string_uint64_uint64(a: &[u8], b: &[u8]) -> Ordering {
    let ((front_a, a), (front_b, b)) = (split_two_integers(a), split_two_integers(b));
    bytes(front_a, front_b).then_with(|| a.cmp(&b))
}

/// Two u64s: `Event__kind`.
#[inline]
pub fn uint64_uint64(a: &[u8], b: &[u8]) -> Ordering {
    // A well-formed key has nothing in front of its integers; in a malformed one the rest
    // decides last, so that unequal keys never compare equal.
    let ((rest_a, a), (rest_b, b)) = (split_two_integers(a), split_two_integers(b));
    a.cmp(&b).then_with(|| rest_a.cmp(rest_b))
}

/// Native-endian integers of 8 bytes, as LMDB's `MDB_INTEGERKEY` has them; behind them keys of any
/// other length, which a whole database has not.
#[inline]
pub fn integers(a: &[u8], b: &[u8]) -> Ordering {
    let integer = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes);
    match (integer(a), integer(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

/// The bytes in front and the native-endian u64 at the end, which short keys do not have.
fn split_integer(key: &[u8]) -> (&[u8], Option<u64>) {
    match key.split_last_chunk::<8>() {
        Some((front, integer)) => (front, Some(u64::from_ne_bytes(*integer))),
        None => (key, None),
    }
}

fn split_two_integers(key: &[u8]) -> (&[u8], Option<(u64, u64)>) {
    match key.split_last_chunk::<16>() {
        Some((front, integers)) => {
            let (first, second) = integers.split_at(8);
            (front, Some((native(first), native(second))))
        }
        None => (key, None),
    }
}

fn native(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key(front: &[u8], integers: &[u64]) -> Vec<u8> {
        integers.iter().fold(front.to_vec(), |mut key, integer| {
            key.extend(integer.to_ne_bytes());
            key
        })
    }

    #[test]
    fn integers_are_compared_as_numbers_and_not_as_little_endian_bytes() {
        let sorted = [key(b"a", &[255]), key(b"a", &[256]), key(b"aa", &[1]), key(b"b", &[0])];
        assert!(sorted.is_sorted_by(|a, b| string_uint64(a, b).is_lt()));
        let sorted = [key(b"a", &[0, 256]), key(b"a", &[1, 255]), key(b"b", &[0, 0])];
        assert!(sorted.is_sorted_by(|a, b| string_uint64_uint64(a, b).is_lt()));
        let sorted = [key(b"", &[0, 256]), key(b"", &[1, 255]), key(b"", &[256, 0])];
        assert!(sorted.is_sorted_by(|a, b| uint64_uint64(a, b).is_lt()));
    }

    /// Short alphabets and lengths around the integers' borders make ties likely.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(0u8..3, 0..20), vec(any::<u8>(), 0..40), vec(0u8..3, 7..10)]
    }

    type Compare = fn(&[u8], &[u8]) -> Ordering;

    const ALL: [Compare; 5] = [bytes, string_uint64, string_uint64_uint64, uint64_uint64, integers];

    fn is_a_total_order(
        compare: Compare,
        a: &[u8],
        b: &[u8],
        c: &[u8],
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(compare(a, b) == Ordering::Equal, a == b);
        prop_assert_eq!(compare(a, b), compare(b, a).reverse());
        if compare(a, b).is_le() && compare(b, c).is_le() {
            prop_assert!(compare(a, c).is_le());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bytes_are_compared_as_slices_are(a in any_key(), b in any_key(), front in any_key()) {
            let [a, b] = [a, b].map(|end| [front.as_slice(), &end].concat());
            prop_assert_eq!(bytes(&a, &b), a.cmp(&b));
        }

        #[test]
        fn every_order_is_total_on_arbitrary_bytes(a in any_key(), b in any_key(), c in any_key()) {
            for order in ALL {
                is_a_total_order(order, &a, &b, &c)?;
            }
        }

        /// Nothing that is there is missed by a search, whatever else is there.
        #[test]
        fn every_key_is_found_among_any_others(mut keys in vec(any_key(), 1..60)) {
            for order in ALL {
                keys.sort_unstable_by(|a, b| order(a, b));
                for key in &keys {
                    prop_assert!(keys.binary_search_by(|other| order(other, key)).is_ok());
                }
            }
        }
    }
}
