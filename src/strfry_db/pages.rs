//! LMDB's pages read without LMDB: each is copied with an ordinary read, then it is made sure that
//! strfry cannot have reused it, and only then is it looked at. See `unlocked` for why.
//!
//! Knows trees of named databases whose duplicates are integers of 8 bytes, as strfry's are.
//! Layouts from LMDB 0.9, `mdb.c`: `MDB_page`, `MDB_node`, `MDB_db`, little-endian pages of the
//! machine's own order. Whatever a page says is bounded: depth, page numbers, sizes.

use std::cmp::Ordering;
use std::io;
use std::os::unix::fs::FileExt;

use elsa::{FrozenMap, FrozenVec};

use super::data_file::{
    F_BIGDATA, F_SUBDATA, Meta, NO_PAGE, NODE_HEADER, P_BRANCH, P_LEAF, P_LEAF2, PAGE_HEADER,
    u16_at, u64_at,
};
use super::error::ReadError;
use super::limits::COPIED_RECORD;
use super::snapshot::Entry;
use super::unlocked::{MetaPages, is_overtaken};

/// Deeper trees are forged: LMDB's own cursors hold 32 pages.
const DEPTH: usize = 32;
/// The values of one key are read at once: more than so many in one second are none of strfry's.
const VALUES: usize = 1 << 24;
const VALUE: usize = 8;
const F_DUPDATA: u16 = 0x04;
/// Flag of a database (`MDB_INTEGERKEY`).
const INTEGER_KEYS: u16 = 0x08;
const DB_FLAGS: usize = 4;
const DB_ENTRIES: usize = 32;
const DB_ROOT: usize = 40;
/// Of a page that holds integers only: their size.
const PAGE_PAD: usize = 8;
const PAGE_FLAGS: usize = 10;
const PAGE_LOWER: usize = 12;

pub(super) type Order = fn(&[u8], &[u8]) -> Ordering;

/// One moment of the database, for as long as strfry does not commit twice.
pub(super) struct PageSnapshot<'db> {
    meta_pages: &'db MetaPages,
    meta: Meta,
    pages: FrozenMap<u64, Box<[u8]>>,
    /// Values that are longer than a page, and those of one key.
    values: FrozenVec<Box<[u8]>>,
}

/// A named database.
#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u64,
    entries: u64,
    order: Order,
}

#[derive(Clone, Copy)]
struct Page<'s>(&'s [u8]);

/// A page on the way of a walk, and where in it.
#[derive(Clone, Copy)]
struct Place<'s> {
    number: u64,
    page: Page<'s>,
    at: usize,
}

#[derive(Clone, Copy)]
struct Node<'s> {
    flags: u16,
    /// Size of the value, or the lower half of the child's number.
    low: u64,
    key: &'s [u8],
    /// From the value to the end of the page.
    rest: &'s [u8],
}

impl<'s> Page<'s> {
    fn is_branch(self) -> bool {
        u16_at(self.0, PAGE_FLAGS) & P_BRANCH != 0
    }

    fn is_leaf(self) -> bool {
        u16_at(self.0, PAGE_FLAGS) & (P_LEAF | P_LEAF2) == P_LEAF
    }

    fn len(self) -> usize {
        let lower = usize::from(u16_at(self.0, PAGE_LOWER)).min(self.0.len());
        lower.saturating_sub(PAGE_HEADER) / 2
    }

    fn node(self, at: usize) -> Option<Node<'s>> {
        let start = usize::from(u16_at(self.0, PAGE_HEADER + 2 * at));
        let node = self.0.get(start..).filter(|_| at < self.len())?;
        let body = node.get(NODE_HEADER..)?;
        let (key, rest) = body.split_at_checked(usize::from(u16_at(node, 6)))?;
        let low = u64::from(u16_at(node, 0)) | u64::from(u16_at(node, 2)) << 16;
        Some(Node { flags: u16_at(node, 4), low, key, rest })
    }

    /// The integers of a page that holds nothing else.
    fn integers(self) -> Option<&'s [u8]> {
        let is_of_integers = u16_at(self.0, PAGE_FLAGS) & P_LEAF2 != 0
            && usize::from(u16_at(self.0, PAGE_PAD)) == VALUE;
        self.0.get(PAGE_HEADER..PAGE_HEADER + VALUE * self.len()).filter(|_| is_of_integers)
    }
}

impl<'s> Place<'s> {
    fn node(self) -> Result<Node<'s>, ReadError> {
        self.page.node(self.at).ok_or_else(|| damaged(self.number, "a node is broken"))
    }

    fn child(self) -> Result<u64, ReadError> {
        if !self.page.is_branch() {
            return Err(damaged(self.number, "it is neither branch nor leaf"));
        }
        self.node().map(Node::child)
    }
}

impl Node<'_> {
    fn child(self) -> u64 {
        self.low | u64::from(self.flags) << 32
    }
}

impl<'db> PageSnapshot<'db> {
    pub(super) fn new(meta_pages: &'db MetaPages, meta: Meta) -> Self {
        Self { meta_pages, meta, pages: FrozenMap::new(), values: FrozenVec::new() }
    }

    /// Whether no page of this moment can have been reused yet.
    pub(super) fn is_whole(&self) -> bool {
        self.meta_pages.newest().is_ok_and(|newest| !is_overtaken(self.meta.txn_id, newest.txn_id))
    }

    fn copy(&self, page: u64, skip: usize, bytes: usize) -> Result<Box<[u8]>, ReadError> {
        if page > self.meta.last_page {
            return Err(damaged(page, "there is no such page"));
        }
        let mut copy = vec![0; bytes].into_boxed_slice();
        let offset = page.saturating_mul(self.meta.page_size).saturating_add(skip as u64);
        let read = self.meta_pages.file.read_exact_at(&mut copy, offset);
        if !self.is_whole() {
            return Err(ReadError::Overtaken);
        }
        match read {
            Ok(()) => Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(page, "it lies behind the end of the file"))
            }
            Err(source) => Err(ReadError::ReadPage { page, source }),
        }
    }

    fn page(&self, number: u64) -> Result<Page<'_>, ReadError> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(Page(page));
        }
        let bytes = usize::try_from(self.meta.page_size).unwrap_or(0);
        Ok(Page(self.pages.insert(number, self.copy(number, 0, bytes)?)))
    }

    fn tree(&self, name: &str, order: Order) -> Result<Option<Tree>, ReadError> {
        let main = Tree { root: self.meta.main_root, entries: 0, order: <[u8]>::cmp };
        let mut walk = Walk::new(self, Some(main), true, Some(name.as_bytes()))?;
        let Some((node, _)) = walk.next_node()?.filter(|(node, _)| node.key == name.as_bytes())
        else {
            return Ok(None);
        };
        if node.flags & F_SUBDATA == 0 {
            return Ok(None);
        }
        let is_integer = u16_at(node.rest, DB_FLAGS) & INTEGER_KEYS != 0;
        Ok(Some(Tree {
            root: u64_at(node.rest, DB_ROOT),
            entries: u64_at(node.rest, DB_ENTRIES),
            order: if is_integer { integers } else { order },
        }))
    }

    /// Whether there is a database of this name.
    pub(super) fn has(&self, name: &str) -> Result<bool, ReadError> {
        self.tree(name, <[u8]>::cmp).map(|tree| tree.is_some())
    }

    /// How many entries a database has.
    pub(super) fn len(&self, name: &str) -> Result<u64, ReadError> {
        Ok(self.tree(name, <[u8]>::cmp)?.map_or(0, |tree| tree.entries))
    }

    /// The value of a key of a database of integer keys.
    pub(super) fn get(&self, name: &str, key: &[u8]) -> Result<Option<&[u8]>, ReadError> {
        let entry = self.forward(name, <[u8]>::cmp, Some(key))?.next().transpose()?;
        Ok(entry.filter(|(found, _)| *found == key).map(|(_, value)| value))
    }

    /// From the first entry whose key is at least this one, or from the first of all.
    pub(super) fn forward(
        &self,
        name: &str,
        order: Order,
        from: Option<&[u8]>,
    ) -> Result<Walk<'_>, ReadError> {
        Walk::new(self, self.tree(name, order)?, true, from)
    }

    /// Back from the last entry whose key is less than this one, or from the last of all.
    pub(super) fn backward(
        &self,
        name: &str,
        order: Order,
        before: Option<&[u8]>,
    ) -> Result<Walk<'_>, ReadError> {
        Walk::new(self, self.tree(name, order)?, false, before)
    }

    fn value<'s>(&'s self, node: Node<'s>, page: u64) -> Result<&'s [u8], ReadError> {
        let bytes = usize::try_from(node.low).unwrap_or(usize::MAX);
        if node.flags & F_BIGDATA == 0 {
            return node.rest.get(..bytes).ok_or_else(|| damaged(page, "a value is too long"));
        }
        if bytes > COPIED_RECORD {
            return Err(damaged(page, "a value is over 4 MiB"));
        }
        let value = self.copy(u64_at(node.rest, 0), PAGE_HEADER, bytes)?;
        Ok(self.values.push_get(value))
    }

    /// The values of a key that has several, in order.
    fn values<'s>(&'s self, node: Node<'s>, page: u64) -> Result<&'s [u8], ReadError> {
        let no_integers = || damaged(page, "the values of a key are no integers");
        if node.flags & F_SUBDATA == 0 {
            return Page(node.rest).integers().ok_or_else(no_integers);
        }
        let root = u64_at(node.rest, DB_ROOT);
        let mut values = Vec::new();
        let mut to_visit = vec![root];
        let mut visited = 0;
        while let Some(number) = to_visit.pop() {
            let page = self.page(number)?;
            // A tree visits each page once; more visits than pages mean a forged cycle.
            visited += 1;
            if visited > self.meta.last_page || values.len() > VALUES * VALUE {
                return Err(damaged(number, "a tree of values is too large"));
            }
            if page.is_branch() {
                let children = (0..page.len()).rev().filter_map(|at| page.node(at));
                to_visit.extend(children.map(Node::child));
            } else {
                values.extend_from_slice(page.integers().ok_or_else(no_integers)?);
            }
        }
        Ok(self.values.push_get(values.into_boxed_slice()))
    }
}

/// Entries in order, or backwards.
pub(super) struct Walk<'s> {
    snapshot: &'s PageSnapshot<'s>,
    forward: bool,
    /// From the root down to a leaf; empty at the end.
    stack: Vec<Place<'s>>,
    /// Pages that the walk has come to. A tree has each once; more mean a forged cycle.
    visited: u64,
    key: &'s [u8],
    /// Values of this key that are still to come.
    values: &'s [u8],
}

impl<'s> Walk<'s> {
    fn new(
        snapshot: &'s PageSnapshot<'_>,
        tree: Option<Tree>,
        forward: bool,
        bound: Option<&[u8]>,
    ) -> Result<Self, ReadError> {
        let mut walk =
            Self { snapshot, forward, stack: Vec::new(), visited: 0, key: &[], values: &[] };
        let Some(Tree { root, order, .. }) = tree.filter(|tree| tree.root != NO_PAGE) else {
            return Ok(walk);
        };
        walk.descend(root, |page| {
            let Some(bound) = bound else { return if forward { 0 } else { page.len() } };
            let is_before = |at: usize| {
                page.node(at).is_some_and(|node| {
                    let order = order(node.key, bound);
                    // The key in a branch is the first of its child.
                    order.is_lt() || page.is_branch() && order.is_eq()
                })
            };
            // The first key in a branch is not kept.
            let first = usize::from(page.is_branch());
            partition_point(first, page.len(), is_before).saturating_sub(first)
        })?;
        if forward {
            walk.skip_end()?
        } else {
            walk.step_back()?
        }
        Ok(walk)
    }

    /// Goes down to a leaf. `choose` says where in a page: in a leaf also behind its last.
    fn descend(
        &mut self,
        mut number: u64,
        choose: impl Fn(Page<'s>) -> usize,
    ) -> Result<(), ReadError> {
        loop {
            let page = self.snapshot.page(number)?;
            self.visited += 1;
            if self.stack.len() >= DEPTH || self.visited > self.snapshot.meta.last_page {
                return Err(damaged(number, "its tree is too deep, or leads back to itself"));
            }
            let at = choose(page);
            if page.is_leaf() {
                self.stack.push(Place { number, page, at: at.min(page.len()) });
                return Ok(());
            }
            let place = Place { number, page, at: at.min(page.len().saturating_sub(1)) };
            self.stack.push(place);
            number = place.child()?;
        }
    }

    /// Leaves a place behind the last of a leaf.
    fn skip_end(&mut self) -> Result<(), ReadError> {
        while let Some(&place) = self.stack.last() {
            if place.at >= place.page.len() {
                self.stack.pop();
                if let Some(parent) = self.stack.last_mut() {
                    parent.at += 1;
                }
            } else if place.page.is_leaf() {
                return Ok(());
            } else {
                self.descend(place.child()?, |_| 0)?;
            }
        }
        Ok(())
    }

    /// To the place before, from a leaf.
    fn step_back(&mut self) -> Result<(), ReadError> {
        while let Some(place) = self.stack.last_mut() {
            let Some(before) = place.at.checked_sub(1) else {
                self.stack.pop();
                continue;
            };
            place.at = before;
            let place = *place;
            if place.page.is_leaf() {
                return Ok(());
            }
            // To the last child of each branch, and behind the last of the leaf.
            self.descend(place.child()?, Page::len)?;
        }
        Ok(())
    }

    /// The node of the next key, and the number of its page.
    fn next_node(&mut self) -> Result<Option<(Node<'s>, u64)>, ReadError> {
        let Some(place) = self.stack.last_mut() else { return Ok(None) };
        let (number, node) = (place.number, place.node()?);
        if self.forward {
            place.at += 1;
            self.skip_end()?;
        } else {
            self.step_back()?;
        }
        Ok(Some((node, number)))
    }

    fn next_entry(&mut self) -> Result<Option<Entry<'s>>, ReadError> {
        let next = match self.forward {
            true => self.values.split_first_chunk::<VALUE>(),
            false => self.values.split_last_chunk::<VALUE>().map(|(rest, last)| (last, rest)),
        };
        if let Some((value, rest)) = next {
            self.values = rest;
            return Ok(Some((self.key, value)));
        }
        let Some((node, page)) = self.next_node()? else { return Ok(None) };
        if node.flags & F_DUPDATA == 0 {
            return Ok(Some((node.key, self.snapshot.value(node, page)?)));
        }
        self.key = node.key;
        self.values = self.snapshot.values(node, page)?;
        if self.values.is_empty() {
            return Err(damaged(page, "a key has no value"));
        }
        self.next_entry()
    }
}

impl<'s> Iterator for Walk<'s> {
    type Item = Result<Entry<'s>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// The first place from which it is not so.
fn partition_point(mut low: usize, mut high: usize, is_so: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low.midpoint(high);
        if is_so(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn integers(a: &[u8], b: &[u8]) -> Ordering {
    let integer = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes);
    match (integer(a), integer(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

fn damaged(page: u64, what: &'static str) -> ReadError {
    ReadError::Damaged { table: "(pages)", key: format!("page {page}"), what }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::data_file::{TXN_ID, read_meta};
    use super::super::golden::golden_database;
    use super::*;

    #[test]
    fn a_page_that_may_have_been_reused_is_not_looked_at() {
        let directory = golden_database("strfry-1.1.1");
        let path = directory.path().join("data.mdb");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let page_size = read_meta(&file, 0).unwrap().unwrap().page_size;
        let meta_pages = MetaPages::new(File::open(&path).unwrap(), page_size);
        let snapshot = PageSnapshot::new(&meta_pages, meta_pages.begin().unwrap());
        let commit = |number: u64| {
            let txn_id = (snapshot.meta.txn_id + number).to_ne_bytes();
            file.write_all_at(&txn_id, number % 2 * page_size + TXN_ID as u64).unwrap();
        };
        assert!(snapshot.page(2).is_ok());
        commit(1);
        assert!(snapshot.page(3).is_ok());
        commit(2);
        assert!(matches!(snapshot.page(4), Err(ReadError::Overtaken)));
        // What was copied in time is still what it was.
        assert!(snapshot.page(2).is_ok());
    }
}
