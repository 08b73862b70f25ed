//! Which kinds a node asks its peers for: the list of the constellation
//! (`schema/constellation-kinds.toml`), and lists that change or replace it.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::nostr::kind;

/// NIP-01 has 16 bits for a kind.
const LARGEST: u64 = 65_535;

/// Most kinds that one run asks for: more than are defined, few enough for any relay's filter.
const MOST: usize = 500;

/// The word that stands for the constellation's kinds in a list.
const DEFAULT: &str = "default";

/// A kind that the nodes of a constellation keep in step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConstellationKind {
    /// As events have it.
    pub number: u64,
    /// For people.
    pub name: String,
    /// Where its meaning is written: a NIP, or a document of Astroport.
    pub source: String,
    /// Stations publish it about themselves: it is asked for without naming authors.
    #[serde(default)]
    pub station: bool,
}

#[derive(Deserialize)]
struct List {
    kind: Vec<ConstellationKind>,
}

/// Sorted by number. A test reads it, so that it is never empty.
static LIST: LazyLock<Vec<ConstellationKind>> = LazyLock::new(|| {
    let list = toml::from_str(include_str!("../../schema/constellation-kinds.toml"));
    list.map(|list: List| list.kind).unwrap_or_default()
});

/// Why a list of kinds cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum KindsError {
    #[error(
        "'{0}' is no kind: expected a number from 0 to 65535, a range such as 30500-30503, or \
         'default'"
    )]
    NotAKind(String),
    #[error("'{0}' changes a list, and there is none before it; write default,{0}")]
    NothingBefore(String),
    #[error("kind {0} is ephemeral (20000-29999): relays do not store it")]
    Ephemeral(u64),
    #[error("more than 500 kinds: name fewer")]
    TooMany,
    #[error("no kinds are left to ask for")]
    None,
}

/// The constellation's kinds, sorted by number.
pub fn constellation_kinds() -> &'static [ConstellationKind] {
    &LIST
}

/// The numbers of the constellation's kinds, sorted.
pub fn node_kinds() -> Vec<u64> {
    LIST.iter().map(|kind| kind.number).collect()
}

/// Those of these kinds that stations publish about themselves.
pub fn station_kinds(kinds: &[u64]) -> Vec<u64> {
    let stations = LIST.iter().filter(|kind| kind.station).map(|kind| kind.number);
    stations.filter(|number| kinds.contains(number)).collect()
}

/// Parses a list such as `0,1,30500-30503` or `default,+30510,-4` (commas or white space); sorted,
/// without repeats.
///
/// Words count from left to right. `default` stands for the constellation's kinds, a number or a
/// range adds kinds, with `+` before it or without, and `-` before it takes kinds away.
///
/// # Errors
/// [`KindsError`]
pub fn parse(list: &str) -> Result<Vec<u64>, KindsError> {
    let mut kinds = Vec::new();
    let words = list.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    for (position, word) in words.enumerate() {
        let is_change = word.starts_with(['+', '-']);
        if is_change && position == 0 {
            range(word, word.get(1..).unwrap_or_default())?;
            return Err(KindsError::NothingBefore(word.to_owned()));
        }
        match word.strip_prefix('-') {
            Some(rest) => {
                let (first, last) = range(word, rest)?;
                kinds.retain(|kind| !(first..=last).contains(kind));
            }
            None if word == DEFAULT => kinds.extend(node_kinds()),
            None => {
                let (first, last) = range(word, word.strip_prefix('+').unwrap_or(word))?;
                kinds.extend((first..=last).take(MOST + 1));
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.len() > MOST {
            return Err(KindsError::TooMany);
        }
    }
    match kinds.iter().find(|&&kind| kind::is_ephemeral(kind)) {
        Some(&ephemeral) => Err(KindsError::Ephemeral(ephemeral)),
        None if kinds.is_empty() => Err(KindsError::None),
        None => Ok(kinds),
    }
}

/// The first and the last kind of a word, which errors quote, without its sign.
fn range(word: &str, unsigned: &str) -> Result<(u64, u64), KindsError> {
    let not_a_kind = || KindsError::NotAKind(word.chars().take(40).collect());
    let (first, last) = unsigned.split_once('-').unwrap_or((unsigned, unsigned));
    let number = |text: &str| match text.parse::<u64>() {
        Ok(kind) if kind <= LARGEST && !text.starts_with('+') => Ok(kind),
        _ => Err(not_a_kind()),
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(not_a_kind()) } else { Ok((first, last)) }
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
        assert_eq!(station_kinds(&node_kinds()), [30_800, 30_850, 30_851]);
        assert_eq!(station_kinds(&[0, 30_850]), [30_850]);
    }

    #[test]
    fn each_of_them_has_a_name_and_a_source() {
        let list = include_str!("../../schema/constellation-kinds.toml");
        let list: List = toml::from_str(list).unwrap();
        assert_eq!(list.kind, constellation_kinds());
        let is_nameless =
            |kind: &&ConstellationKind| kind.name.is_empty() || kind.source.is_empty();
        assert_eq!(list.kind.iter().find(is_nameless), None);
        let profile = list.kind.first().unwrap();
        assert_eq!((profile.name.as_str(), profile.source.as_str()), ("profile", "NIP-01"));
    }

    #[test]
    fn a_list_holds_numbers_and_ranges_in_any_order() {
        assert_eq!(parse("3, 0,30500-30502 3"), Ok(vec![0, 3, 30_500, 30_501, 30_502]));
    }

    #[test]
    fn a_list_changes_the_nodes_kinds() {
        let changed = |add: &[u64], remove: &[u64]| {
            let mut kinds = [&node_kinds(), add].concat();
            kinds.retain(|kind| !remove.contains(kind));
            kinds.sort_unstable();
            Ok(kinds)
        };
        assert_eq!(parse("default"), changed(&[], &[]));
        assert_eq!(parse("default,+30510,-4"), changed(&[30_510], &[4]));
        assert_eq!(parse("default 9 -30500-30506"), {
            changed(&[9], &[30_500, 30_501, 30_502, 30_503, 30_504, 30_505, 30_506])
        });
        // From left to right: what is taken away may come back, and the reverse.
        assert_eq!(parse("default,-4,+4"), changed(&[], &[]));
        assert_eq!(parse("default,+9,-9"), changed(&[], &[]));
        assert_eq!(parse("1-5,-2-3"), Ok(vec![1, 4, 5]));
    }

    #[test]
    fn what_is_no_kind_is_named() {
        assert_eq!(parse("0,x"), Err(KindsError::NotAKind("x".into())));
        assert_eq!(parse("5-3"), Err(KindsError::NotAKind("5-3".into())));
        assert_eq!(parse("70000"), Err(KindsError::NotAKind("70000".into())));
        assert_eq!(parse("default,++1"), Err(KindsError::NotAKind("++1".into())));
        assert_eq!(parse("default,-"), Err(KindsError::NotAKind("-".into())));
        assert_eq!(parse("-x"), Err(KindsError::NotAKind("-x".into())));
        assert_eq!(parse("20001"), Err(KindsError::Ephemeral(20_001)));
        assert_eq!(parse("0-65535"), Err(KindsError::TooMany));
        assert_eq!(parse(" , "), Err(KindsError::None));
        assert_eq!(parse("4,-4"), Err(KindsError::None));
        let error = parse("+30510,-4").unwrap_err();
        assert_eq!(error, KindsError::NothingBefore("+30510".into()));
        assert!(error.to_string().ends_with("write default,+30510"));
        assert_eq!(parse("-4"), Err(KindsError::NothingBefore("-4".into())));
    }
}
