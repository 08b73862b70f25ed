//! One page of LMDB's trees, looked at only after it has been checked: it is the page that it is
//! asked for, and what it says of its nodes fills it exactly.
//!
//! Layouts and rules from LMDB 0.9, `mdb.c`: `MDB_page`, `MDB_node`, `MDB_db`, on 64-bit machines,
//! native endian. A page grows from both ends: behind its header the places of its nodes, and at
//! its end the nodes, without gaps (`mdb_node_add`, `mdb_node_del`). That is what tells a page with
//! a damaged header, place or size from a whole one.

use std::cmp::Ordering;

use crate::format::comparators::{self, Comparator};

pub(crate) const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
/// `P_INVALID`: the root of an empty tree.
pub(crate) const NO_PAGE: u64 = u64::MAX;
/// Deeper trees are forged: LMDB's own cursors hold 32 pages (`CURSOR_STACK`).
pub(crate) const DEPTH: u16 = 32;
/// Bytes of the values of a key that has several.
pub(crate) const VALUE: usize = 8;

/// Bytes of a key that are compared as one number.
const FRONT: usize = 8;

/// The page's own number; of a page within a node, anything.
const NUMBER: usize = 0;
/// Of a page of integers: their size.
const PAD: usize = 8;
const FLAGS: usize = 10;
const LOWER: usize = 12;
const UPPER: usize = 14;
/// Of a large value, in place of `LOWER` and `UPPER`: how many pages it has.
const LARGE_PAGES: usize = 12;

const P_BRANCH: u16 = 0x01;
const P_LEAF: u16 = 0x02;
const P_OVERFLOW: u16 = 0x04;
const P_META: u16 = 0x08;
const P_LEAF2: u16 = 0x20;

const F_BIGDATA: u16 = 0x01;
const F_SUBDATA: u16 = 0x02;
const F_DUPDATA: u16 = 0x04;

/// What a page of a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys, and where the pages are that begin with them.
    Branch,
    /// Keys and values.
    Leaf,
    /// Integers of 8 bytes only.
    Integers,
}

/// A page that has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Page<'s> {
    bytes: &'s [u8],
    kind: Kind,
    len: usize,
}

/// Something in a page of nodes.
#[derive(Clone, Copy)]
pub(crate) struct Node<'s> {
    pub(crate) key: &'s [u8],
    /// Size of the value, or the lower half of the child's number.
    low: u64,
    flags: u16,
    /// What lies in the page: the value, or where it is.
    body: &'s [u8],
}

/// The value of a leaf's node.
#[derive(Clone, Copy)]
pub(crate) enum Value<'s> {
    /// It is in the page.
    Here(&'s [u8]),
    /// It has pages of its own, from this one on, and so many bytes.
    Large { page: u64, bytes: u64 },
    /// The values of the key, in a page within the page.
    Several(&'s [u8]),
    /// The values of the key, in a tree of their own.
    Tree(Record),
    /// A named database.
    Database(Record),
}

/// What LMDB keeps of a tree (`MDB_db`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) pad: u32,
    pub(crate) flags: u16,
    /// Pages from the root down to a leaf.
    pub(crate) depth: u16,
    /// Entries, each value of a key counted.
    pub(crate) entries: u64,
    pub(crate) root: u64,
}

/// What is wrong with a page.
pub(crate) type Wrong = &'static str;
pub(crate) const WRONG_DEPTH: Wrong = "its tree is not as deep as it should be";
const OUT_OF_ORDER: Wrong = "its keys are out of order";
const BEYOND_ITS_END: Wrong = "a node reaches beyond its end";

impl<'s> Page<'s> {
    /// Checks a page of a tree of which nothing is known.
    pub(crate) fn of_nodes(bytes: &'s [u8], number: u64) -> Result<Self, Wrong> {
        Self::of_keys(bytes, number, |_| Ok(()))
    }

    /// Checks a page of a tree whose keys are ordered so.
    pub(crate) fn of_tree(
        bytes: &'s [u8],
        number: u64,
        comparator: Comparator,
    ) -> Result<Self, Wrong> {
        match comparator {
            Comparator::Bytes => Self::ascending(bytes, number, comparators::bytes),
            Comparator::StringUint64 => Self::ascending(bytes, number, comparators::string_uint64),
            Comparator::Uint64Uint64 => Self::ascending(bytes, number, comparators::uint64_uint64),
            Comparator::StringUint64Uint64 => {
                Self::ascending(bytes, number, comparators::string_uint64_uint64)
            }
            Comparator::Integers => {
                let mut last = None;
                Self::of_keys(bytes, number, |key| {
                    let key = key.try_into().map_err(|_| "a key is no integer")?;
                    let key = Some(u64::from_ne_bytes(key));
                    if std::mem::replace(&mut last, key) < key { Ok(()) } else { Err(OUT_OF_ORDER) }
                })
            }
        }
    }

    #[inline(always)]
    fn ascending(
        bytes: &'s [u8],
        number: u64,
        order: impl Fn(&[u8], &[u8]) -> Ordering,
    ) -> Result<Self, Wrong> {
        let mut last: Option<&[u8]> = None;
        Self::of_keys(bytes, number, |key| {
            match last.replace(key).is_none_or(|last| order(last, key).is_lt()) {
                true => Ok(()),
                false => Err(OUT_OF_ORDER),
            }
        })
    }

    /// Checks a page, and `check` is shown each key, but for the first of a branch, which is not
    /// kept, and for those of a page of integers, which ascend.
    #[inline(always)]
    fn of_keys(
        bytes: &'s [u8],
        number: u64,
        mut check: impl FnMut(&'s [u8]) -> Result<(), Wrong>,
    ) -> Result<Self, Wrong> {
        has_number(bytes, number)?;
        let page = Self::known(bytes);
        match (page.kind, u16_at(bytes, FLAGS)) {
            (Kind::Integers, _) => return integers(bytes, Some(number)).map(|_| page),
            (Kind::Branch, P_BRANCH) | (Kind::Leaf, P_LEAF) => {}
            _ => return Err("it is neither a branch nor a leaf"),
        }
        let [lower, upper] = [LOWER, UPPER].map(|at| usize::from(u16_at(bytes, at)));
        let is_odd = lower % 2 != 0;
        if lower <= PAGE_HEADER || lower > upper || upper > bytes.len() || is_odd {
            return Err("its free space begins or ends where it cannot");
        }
        let mut filled = 0;
        let (places, _) = bytes.get(PAGE_HEADER..lower).unwrap_or_default().as_chunks::<2>();
        let mut is_kept = !page.is_branch();
        for place in places {
            let start = usize::from(u16::from_ne_bytes(*place));
            if start < upper {
                return Err("a node lies in its free space");
            }
            let node = page.node_from(start)?;
            filled += node.bytes();
            if is_kept {
                check(node.key)?;
            }
            is_kept = true;
        }
        match filled == bytes.len() - upper {
            true => Ok(page),
            false => Err("its nodes do not fill the space that it has for them"),
        }
    }

    /// One that has been checked before.
    #[inline]
    pub(crate) fn known(bytes: &'s [u8]) -> Self {
        let kind = match u16_at(bytes, FLAGS) & (P_BRANCH | P_LEAF2) {
            0 => Kind::Leaf,
            P_LEAF2 => Kind::Integers,
            _ => Kind::Branch,
        };
        let len = usize::from(u16_at(bytes, LOWER)).saturating_sub(PAGE_HEADER) / 2;
        Self { bytes, kind, len }
    }

    pub(crate) fn kind(self) -> Kind {
        self.kind
    }

    pub(crate) fn is_branch(self) -> bool {
        self.kind == Kind::Branch
    }

    /// How many nodes or integers there are, never 0.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The integers of a page of them.
    pub(crate) fn integers(self) -> &'s [u8] {
        self.bytes.get(PAGE_HEADER..PAGE_HEADER + VALUE * self.len).unwrap_or_default()
    }

    /// The first and the last key that it keeps; `None` if it is a branch with one child.
    pub(crate) fn ends(self) -> Result<Option<[&'s [u8]; 2]>, Wrong> {
        if self.kind == Kind::Integers {
            let integers = self.integers();
            let ends = integers.first_chunk::<VALUE>().zip(integers.last_chunk::<VALUE>());
            return Ok(ends.map(|(first, last)| [first.as_slice(), last]));
        }
        let first = usize::from(self.is_branch());
        match first < self.len {
            true => Ok(Some([self.key(first)?, self.key(self.len - 1)?])),
            false => Ok(None),
        }
    }

    /// In a leaf, the place of the first key that is at least this one. In a branch, the place of
    /// the child in which this key is, if it is anywhere.
    pub(crate) fn position(self, comparator: Comparator, key: &[u8]) -> Result<usize, Wrong> {
        match comparator {
            Comparator::Bytes => self.search_fronts(key, 0, comparators::bytes),
            Comparator::Integers => self.search(key, comparators::integers),
            Comparator::StringUint64 => self.search_fronts(key, 8, comparators::string_uint64),
            Comparator::Uint64Uint64 => self.search(key, comparators::uint64_uint64),
            Comparator::StringUint64Uint64 => {
                self.search_fronts(key, 16, comparators::string_uint64_uint64)
            }
        }
    }

    #[inline(always)]
    fn search(
        self,
        key: &[u8],
        compare: impl Fn(&[u8], &[u8]) -> Ordering,
    ) -> Result<usize, Wrong> {
        self.search_by(|page, at| Ok(compare(page.key(at)?, key)))
    }

    /// For keys that begin with bytes, and have this many of integers behind them. They mostly
    /// differ in their first eight bytes, and to compare those as numbers is most of a lookup.
    #[inline(always)]
    fn search_fronts(
        self,
        key: &[u8],
        integers: usize,
        compare: impl Fn(&[u8], &[u8]) -> Ordering,
    ) -> Result<usize, Wrong> {
        let least = FRONT + integers;
        match key.first_chunk().filter(|_| key.len() >= least) {
            None => self.search(key, compare),
            Some(front) => {
                let front = u64::from_be_bytes(*front);
                self.search_by(|page, at| match page.front(at, least) {
                    Some(other) if other != front => Ok(other.cmp(&front)),
                    _ => Ok(compare(page.key(at)?, key)),
                })
            }
        }
    }

    /// Searches by how the key of a node compares with the one that is looked for.
    #[inline(always)]
    fn search_by(
        self,
        compare: impl Fn(Self, usize) -> Result<Ordering, Wrong>,
    ) -> Result<usize, Wrong> {
        // The first key in a branch is not kept.
        let first = usize::from(self.is_branch());
        let (mut low, mut high) = (first, self.len);
        while low < high {
            let middle = low.midpoint(high);
            let compared = compare(self, middle)?;
            // The key in a branch is the first of its child.
            if compared.is_lt() || first == 1 && compared.is_eq() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(first))
    }

    /// The first bytes of a node's key as a number; `None` if it has not at least so many.
    #[inline(always)]
    fn front(self, at: usize, least: usize) -> Option<u64> {
        let start = usize::from(u16_at(self.bytes, PAGE_HEADER + 2 * at));
        let node = self.bytes.get(start..)?.first_chunk::<{ NODE_HEADER + FRONT }>()?;
        let &[_, _, _, _, _, _, g, h, ref front @ ..] = node;
        (usize::from(u16::from_ne_bytes([g, h])) >= least).then(|| u64::from_be_bytes(*front))
    }

    #[inline]
    pub(crate) fn node(self, at: usize) -> Result<Node<'s>, Wrong> {
        self.node_from(u16_at(self.bytes, PAGE_HEADER + 2 * at).into())
    }

    /// The key of a node.
    #[inline]
    pub(crate) fn key(self, at: usize) -> Result<&'s [u8], Wrong> {
        let start = usize::from(u16_at(self.bytes, PAGE_HEADER + 2 * at));
        let node = self.bytes.get(start..).unwrap_or_default();
        let &[_, _, _, _, _, _, g, h, ref rest @ ..] = node else { return Err(BEYOND_ITS_END) };
        rest.get(..u16::from_ne_bytes([g, h]).into()).ok_or(BEYOND_ITS_END)
    }

    #[inline(always)]
    fn node_from(self, start: usize) -> Result<Node<'s>, Wrong> {
        let node = self.bytes.get(start..).unwrap_or_default();
        let &[a, b, c, d, e, f, g, h, ref rest @ ..] = node else { return Err(BEYOND_ITS_END) };
        let low =
            u64::from(u16::from_ne_bytes([a, b])) | u64::from(u16::from_ne_bytes([c, d])) << 16;
        let flags = u16::from_ne_bytes([e, f]);
        let key_bytes = u16::from_ne_bytes([g, h]).into();
        let (key, rest) = rest.split_at_checked(key_bytes).ok_or(BEYOND_ITS_END)?;
        let bytes = match self.is_branch() {
            true => 0,
            false if flags & F_BIGDATA != 0 => 8,
            false => usize::try_from(low).unwrap_or(usize::MAX),
        };
        Ok(Node { key, low, flags, body: rest.get(..bytes).ok_or(BEYOND_ITS_END)? })
    }
}

impl<'s> Node<'s> {
    /// As much of the page as it takes; nodes begin at even places.
    fn bytes(self) -> usize {
        (NODE_HEADER + self.key.len() + self.body.len()).next_multiple_of(2)
    }

    /// The child of a branch.
    pub(crate) fn child(self) -> u64 {
        self.low | u64::from(self.flags) << 32
    }

    /// The value in a leaf.
    #[inline]
    pub(crate) fn value(self) -> Result<Value<'s>, Wrong> {
        let record = || Record::from_bytes(self.body).ok_or("a record of a tree has not its size");
        Ok(match self.flags {
            0 => Value::Here(self.body),
            F_BIGDATA => Value::Large { page: u64_at(self.body, 0), bytes: self.low },
            F_DUPDATA => Value::Several(self.body),
            F_SUBDATA => Value::Database(record()?),
            flags if flags == F_SUBDATA | F_DUPDATA => Value::Tree(record()?),
            _ => return Err("a node is of no kind that there is"),
        })
    }
}

impl Record {
    pub(crate) const BYTES: usize = 48;
    /// Of a tree in which there is nothing.
    pub(crate) const EMPTY: Self = Self { pad: 0, flags: 0, depth: 0, entries: 0, root: NO_PAGE };

    /// `None` if it has not the size of one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES).then(|| Self {
            pad: u32_at(bytes, 0),
            flags: u16_at(bytes, 4),
            depth: u16_at(bytes, 6),
            entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        })
    }

    /// Whether the tree is empty in every way or in none, and not too deep.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        let is_empty = self.root == NO_PAGE;
        let agrees = is_empty == (self.depth == 0) && is_empty == (self.entries == 0);
        if agrees && self.depth <= DEPTH { Ok(()) } else { Err("the record of a tree is wrong") }
    }
}

/// The values of a key in a page of their own, or in a page within a node, which has no number:
/// integers in ascending order, at least one.
pub(crate) fn integers(page: &[u8], number: Option<u64>) -> Result<&[u8], Wrong> {
    if let Some(number) = number {
        has_number(page, number)?;
    }
    if u16_at(page, FLAGS) & (P_LEAF | P_LEAF2 | P_BRANCH) != P_LEAF | P_LEAF2
        || usize::from(u16_at(page, PAD)) != VALUE
    {
        return Err("the values of a key are no integers");
    }
    let [lower, upper] = [LOWER, UPPER].map(|at| usize::from(u16_at(page, at)));
    let count = lower.saturating_sub(PAGE_HEADER) / 2;
    // For each integer two bytes are taken at the front and six at the end, wherever it is.
    let is_filled = lower % 2 == 0 && upper + (VALUE - 2) * count == page.len();
    let integers = page.get(PAGE_HEADER..PAGE_HEADER + VALUE * count);
    let integers = integers.filter(|_| is_filled && count > 0 && lower <= upper);
    let integers = integers.ok_or("the values of a key do not fill the space for them")?;
    let (values, _) = integers.as_chunks::<VALUE>();
    let is_ascending = values.is_sorted_by(|a, b| u64::from_ne_bytes(*a) < u64::from_ne_bytes(*b));
    if is_ascending { Ok(integers) } else { Err("the values of a key are out of order") }
}

/// The number of pages of a large value that begins with this one. It may have more than it needs,
/// if it has taken the place of a larger one.
pub(crate) fn pages_of_large_value(page: &[u8], number: u64) -> Result<u64, Wrong> {
    has_number(page, number)?;
    match u16_at(page, FLAGS) {
        P_OVERFLOW => Ok(u32_at(page, LARGE_PAGES).into()),
        _ => Err("it is not the first page of a large value"),
    }
}

/// Whether it is the meta page of this number.
pub(crate) fn is_meta(page: &[u8], number: u64) -> bool {
    has_number(page, number).is_ok() && u16_at(page, FLAGS) == P_META
}

fn has_number(page: &[u8], number: u64) -> Result<(), Wrong> {
    if u64_at(page, NUMBER) == number { Ok(()) } else { Err("another page is in its place") }
}

// Offsets come from the file, so reading beyond the page yields zeros instead of a panic.

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    field(bytes, at).map_or(0, u16::from_ne_bytes)
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    field(bytes, at).map_or(0, u32::from_ne_bytes)
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    field(bytes, at).map_or(0, u64::from_ne_bytes)
}

#[inline]
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 4096;

    /// A page of nodes with these keys and no values, as LMDB writes one.
    fn page_of(keys: &[Vec<u8>], flags: u16) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let mut upper = PAGE;
        for (at, key) in keys.iter().enumerate() {
            upper -= (NODE_HEADER + key.len()).next_multiple_of(2);
            page[upper + 6..upper + 8].copy_from_slice(&(key.len() as u16).to_ne_bytes());
            page[upper + 8..upper + 8 + key.len()].copy_from_slice(key);
            let place = PAGE_HEADER + 2 * at;
            page[place..place + 2].copy_from_slice(&(upper as u16).to_ne_bytes());
        }
        let lower = PAGE_HEADER + 2 * keys.len();
        for (field, value) in [(FLAGS, flags), (LOWER, lower as u16), (UPPER, upper as u16)] {
            page[field..field + 2].copy_from_slice(&value.to_ne_bytes());
        }
        page
    }

    /// Keys of any length that often begin alike.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        (vec(0_u8..3, 0..12), vec(any::<u8>(), 0..30))
            .prop_map(|(front, back)| [front, back].concat())
    }

    proptest! {
        #[test]
        fn a_search_finds_what_comparing_with_each_key_finds(
            mut keys in vec(key(), 1..40),
            looked_for in key(),
            at in any::<prop::sample::Index>(),
        ) {
            for comparator in [
                Comparator::Bytes,
                Comparator::Integers,
                Comparator::StringUint64,
                Comparator::StringUint64Uint64,
                Comparator::Uint64Uint64,
            ] {
                keys.sort_by(|a, b| comparator.compare(a, b));
                keys.dedup();
                for wanted in [&looked_for, at.get(&keys)] {
                    let leaf = page_of(&keys, P_LEAF);
                    let position = Page::known(&leaf).position(comparator, wanted).unwrap();
                    let less = |key: &Vec<u8>| comparator.compare(key, wanted).is_lt();
                    prop_assert_eq!(position, keys.partition_point(less));

                    let branch = page_of(&keys, P_BRANCH);
                    let position = Page::known(&branch).position(comparator, wanted).unwrap();
                    let not_more = |key: &Vec<u8>| comparator.compare(key, wanted).is_le();
                    prop_assert_eq!(position, keys[1..].partition_point(not_more));
                }
            }
        }
    }
}
