//! Which kinds a node asks its peers for.

use std::ops::RangeInclusive;

use crate::nostr::kind;

/// The kinds of a node, as ranges, in order.
const NODE_KINDS: &[RangeInclusive<u64>] = &[
    0..=1,
    3..=8,
    21..=22,
    40..=42,
    44..=44,
    1063..=1063,
    1111..=1111,
    1222..=1222,
    1244..=1244,
    1506..=1506,
    1984..=1986,
    9735..=9735,
    10_000..=10_002,
    30_001..=30_001,
    30_005..=30_005,
    30_008..=30_009,
    30_023..=30_024,
    30_078..=30_079,
    30_303..=30_303,
    30_312..=30_313,
    30_315..=30_315,
    30_500..=30_506,
    30_508..=30_508,
    30_800..=30_800,
    30_850..=30_851,
    30_904..=30_904,
    31_900..=31_903,
    31_910..=31_910,
    31_922..=31_925,
];

/// What stations publish of themselves; asked for without naming authors.
const STATION_KINDS: &[u64] = &[30_800, 30_850, 30_851];

/// NIP-01 has 16 bits for a kind.
const LARGEST: u64 = 65_535;

/// Most kinds that one run asks for: more than are defined, few enough for any relay's filter.
const MOST: usize = 500;

/// Why a list of kinds cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KindsError {
    #[error("'{0}' is no kind: expected a number from 0 to 65535, or a range such as 30500-30503")]
    NotAKind(String),
    #[error("kind {0} is ephemeral (20000-29999): relays do not store it")]
    Ephemeral(u64),
    #[error("more than 500 kinds: name fewer")]
    TooMany,
    #[error("no kinds are left to ask for")]
    None,
}

/// All kinds of a node, sorted.
pub fn node_kinds() -> Vec<u64> {
    NODE_KINDS.iter().cloned().flatten().collect()
}

/// Those of these kinds that stations publish of themselves.
pub fn station_kinds(kinds: &[u64]) -> Vec<u64> {
    STATION_KINDS.iter().copied().filter(|kind| kinds.contains(kind)).collect()
}

/// Parses a list such as `0,1,30500-30503` (commas or white space); sorted, without repeats.
///
/// # Errors
/// [`KindsError`]
pub fn parse(list: &str) -> Result<Vec<u64>, KindsError> {
    let mut kinds = Vec::new();
    let words = list.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    for word in words {
        let not_a_kind = || KindsError::NotAKind(word.chars().take(40).collect());
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let number = |text: &str| match text.parse::<u64>() {
            Ok(kind) if kind <= LARGEST && !text.starts_with('+') => Ok(kind),
            _ => Err(not_a_kind()),
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(not_a_kind());
        }
        kinds.extend((first..=last).take(MOST + 1));
        if kinds.len() > MOST {
            return Err(KindsError::TooMany);
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    match kinds.iter().find(|&&kind| kind::is_ephemeral(kind)) {
        Some(&ephemeral) => Err(KindsError::Ephemeral(ephemeral)),
        None if kinds.is_empty() => Err(KindsError::None),
        None => Ok(kinds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_kinds_are_those_of_the_script() {
        assert_eq!(
            node_kinds(),
            [
                0, 1, 3, 4, 5, 6, 7, 8, 21, 22, 40, 41, 42, 44, 1063, 1111, 1222, 1244, 1506, 1984,
                1985, 1986, 9735, 10000, 10001, 10002, 30001, 30005, 30008, 30009, 30023, 30024,
                30078, 30079, 30303, 30312, 30313, 30315, 30500, 30501, 30502, 30503, 30504, 30505,
                30506, 30508, 30800, 30850, 30851, 30904, 31900, 31901, 31902, 31903, 31910, 31922,
                31923, 31924, 31925
            ]
        );
    }

    #[test]
    fn a_list_holds_numbers_and_ranges_in_any_order() {
        assert_eq!(parse("3, 0,30500-30502 3"), Ok(vec![0, 3, 30_500, 30_501, 30_502]));
    }

    #[test]
    fn what_is_no_kind_is_named() {
        assert_eq!(parse("0,x"), Err(KindsError::NotAKind("x".into())));
        assert_eq!(parse("-1"), Err(KindsError::NotAKind("-1".into())));
        assert_eq!(parse("5-3"), Err(KindsError::NotAKind("5-3".into())));
        assert_eq!(parse("70000"), Err(KindsError::NotAKind("70000".into())));
        assert_eq!(parse("20001"), Err(KindsError::Ephemeral(20_001)));
        assert_eq!(parse("0-65535"), Err(KindsError::TooMany));
        assert_eq!(parse(" , "), Err(KindsError::None));
    }
}
