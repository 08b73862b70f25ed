//! LMDB's pages read without LMDB: each is copied with an ordinary read, then it is made sure that
//! strfry cannot have reused it, and only then is it looked at. See `unlocked` for why.
//!
//! Knows trees of named databases whose duplicates are integers of 8 bytes, as strfry's are.
//! Nothing that a page says is believed. A page is checked by itself (`page`), its keys must ascend,
//! lie between those that led to it, and be as deep in the tree as all others. So a walk can
//! neither come to a page twice nor leave out one that is there: a damaged tree is an error.

use std::io;
use std::os::unix::fs::FileExt;

use elsa::{FrozenMap, FrozenVec};

use super::data_file::Meta;
use super::error::ReadError;
use super::limits::COPIED_RECORD;
use super::page::{
    self, NO_PAGE, Node, PAGE_HEADER, Page, Record, VALUE, Value, WRONG_DEPTH, Wrong,
};
use super::snapshot::Entry;
use super::tables::{INTEGER_KEY, Shape};
use super::unlocked::{MetaPages, is_overtaken};

/// The values of one key are read at once: more than so many in one second are none of strfry's.
const VALUES: u64 = 1 << 24;

/// One moment of the database, for as long as strfry does not commit twice.
pub(super) struct PageSnapshot<'db> {
    meta_pages: &'db MetaPages,
    meta: Meta,
    /// Pages of nodes that have been checked, by the root of their tree and their number.
    pages: FrozenMap<(u64, u64), Box<[u8]>>,
    /// Values that are longer than a page, and those of one key.
    values: FrozenVec<Box<[u8]>>,
}

/// A tree that is not empty.
#[derive(Debug, Clone, Copy)]
struct Tree {
    record: Record,
    shape: Shape,
}

/// A page on the way of a walk, and where in it.
#[derive(Clone, Copy)]
struct Place<'s> {
    number: u64,
    page: Page<'s>,
    at: usize,
    /// Its keys are at least the first of these, and less than the second.
    bounds: Bounds<'s>,
}

type Bounds<'s> = [Option<&'s [u8]>; 2];

impl<'s> Place<'s> {
    fn node(self) -> Result<Node<'s>, ReadError> {
        self.page.node(self.at).map_err(damaged(self.number))
    }

    /// The child's number, and the bounds of its keys.
    fn child(self) -> Result<(u64, Bounds<'s>), ReadError> {
        let [low, high] = self.bounds;
        let node = self.node()?;
        // The first key of a branch is not kept.
        let low = if self.at == 0 { low } else { Some(node.key) };
        let high = match self.at + 1 {
            next if next < self.page.len() => {
                Some(self.page.node(next).map_err(damaged(self.number))?.key)
            }
            _ => high,
        };
        Ok((node.child(), [low, high]))
    }
}

impl Tree {
    /// A page of it, whose keys ascend.
    fn page<'s>(&self, bytes: &'s [u8], number: u64) -> Result<Page<'s>, Wrong> {
        let Shape { flags, order, .. } = self.shape;
        let mut last: Option<&[u8]> = None;
        Page::of_keys(bytes, number, |key| {
            if flags & INTEGER_KEY != 0 && key.len() != VALUE {
                return Err("a key is no integer");
            }
            if last.is_some_and(|last| !order(last, key).is_lt()) {
                return Err("its keys are out of order");
            }
            last = Some(key);
            Ok(())
        })
    }

    /// Whether the keys of a page, which ascend, are those that are looked for there.
    fn check_bounds(&self, page: Page<'_>, [low, high]: Bounds<'_>) -> Result<(), Wrong> {
        let first = usize::from(page.is_branch());
        if first < page.len() {
            let (first, last) = (page.node(first)?.key, page.node(page.len() - 1)?.key);
            if low.is_some_and(|low| (self.shape.order)(first, low).is_lt())
                || high.is_some_and(|high| !(self.shape.order)(last, high).is_lt())
            {
                return Err("its keys are not those that lead to it");
            }
        }
        Ok(())
    }
}

impl<'db> PageSnapshot<'db> {
    pub(super) fn new(meta_pages: &'db MetaPages, meta: Meta) -> Self {
        Self { meta_pages, meta, pages: FrozenMap::new(), values: FrozenVec::new() }
    }

    /// The number of its commit.
    pub(super) fn txn_id(&self) -> u64 {
        self.meta.txn_id
    }

    /// Whether no page of this moment can have been reused yet.
    pub(super) fn is_whole(&self) -> bool {
        self.meta_pages.newest().is_ok_and(|newest| !is_overtaken(self.meta.txn_id, newest.txn_id))
    }

    fn copy(&self, page: u64, bytes: usize) -> Result<Box<[u8]>, ReadError> {
        if page > self.meta.last_page {
            return Err(damaged(page)("there is no such page"));
        }
        let mut copy = vec![0; bytes].into_boxed_slice();
        let offset = page.saturating_mul(self.meta.page_size);
        let read = self.meta_pages.file.read_exact_at(&mut copy, offset);
        if !self.is_whole() {
            return Err(ReadError::Overtaken);
        }
        match read {
            Ok(()) => Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged(page)("it lies behind the end of the file"))
            }
            Err(source) => Err(ReadError::ReadPage { page, source }),
        }
    }

    fn copy_page(&self, page: u64) -> Result<Box<[u8]>, ReadError> {
        self.copy(page, usize::try_from(self.meta.page_size).unwrap_or(0))
    }

    fn page(&self, tree: &Tree, number: u64) -> Result<Page<'_>, ReadError> {
        let place = (tree.record.root, number);
        if let Some(page) = self.pages.get(&place) {
            return Ok(Page::known(page));
        }
        let copy = self.copy_page(number)?;
        tree.page(&copy, number).map_err(damaged(number))?;
        Ok(Page::known(self.pages.insert(place, copy)))
    }

    /// The tree of a named database; `None` if there is no such database, or nothing in it.
    fn tree(&self, shape: Shape) -> Result<Option<Tree>, ReadError> {
        Ok(self.find(shape)?.filter(|tree| tree.record.root != NO_PAGE))
    }

    fn find(&self, shape: Shape) -> Result<Option<Tree>, ReadError> {
        let main = Tree { record: self.meta.main, shape: Shape::MAIN };
        main.record.check().map_err(damaged(0))?;
        let name = shape.full_name();
        let tree = Some(main).filter(|main| main.record.root != NO_PAGE);
        let mut walk = Walk::new(self, tree, true, Some(name.as_bytes()))?;
        let Some((node, page)) = walk.next_node()?.filter(|(node, _)| node.key == name.as_bytes())
        else {
            return Ok(None);
        };
        let Value::Database(record) = node.value().map_err(damaged(page))? else {
            return Err(damaged(page)("a table has no record"));
        };
        if record.flags != shape.flags {
            return Err(damaged(page)("a table has other flags than strfry gives it"));
        }
        record.check().map_err(damaged(page))?;
        Ok(Some(Tree { record, shape }))
    }

    /// Whether there is a database of this name.
    pub(super) fn has(&self, shape: Shape) -> Result<bool, ReadError> {
        self.find(shape).map(|tree| tree.is_some())
    }

    /// How many entries a database has.
    pub(super) fn len(&self, shape: Shape) -> Result<u64, ReadError> {
        Ok(self.find(shape)?.map_or(0, |tree| tree.record.entries))
    }

    /// The value of a key.
    pub(super) fn get(&self, shape: Shape, key: &[u8]) -> Result<Option<&[u8]>, ReadError> {
        let entry = self.forward(shape, Some(key))?.next().transpose()?;
        Ok(entry.filter(|(found, _)| *found == key).map(|(_, value)| value))
    }

    /// From the first entry whose key is at least this one, or from the first of all.
    pub(super) fn forward(&self, shape: Shape, from: Option<&[u8]>) -> Result<Walk<'_>, ReadError> {
        Walk::new(self, self.tree(shape)?, true, from)
    }

    /// Back from the last entry whose key is less than this one, or from the last of all.
    pub(super) fn backward(
        &self,
        shape: Shape,
        before: Option<&[u8]>,
    ) -> Result<Walk<'_>, ReadError> {
        Walk::new(self, self.tree(shape)?, false, before)
    }

    fn large_value(&self, page: u64, bytes: u64) -> Result<&[u8], ReadError> {
        let wrong = damaged(page);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > COPIED_RECORD {
            return Err(wrong("a value is over 4 MiB"));
        }
        let copy = self.copy(page, PAGE_HEADER + bytes)?;
        let pages = page::pages_of_large_value(&copy, page).map_err(damaged(page))?;
        let needed = (copy.len() as u64).div_ceil(self.meta.page_size);
        let is_inside = page.checked_add(pages).is_some_and(|end| end <= self.meta.last_page + 1);
        if pages < needed || !is_inside {
            return Err(wrong("a large value has not the pages that it needs"));
        }
        Ok(self.values.push_get(copy).get(PAGE_HEADER..).unwrap_or_default())
    }

    /// The values of a key that has a tree of them, in order.
    fn values_of(&self, record: Record, page: u64) -> Result<&[u8], ReadError> {
        record.check().map_err(damaged(page))?;
        if record.entries > VALUES {
            return Err(damaged(page)("a key has too many values"));
        }
        let mut values = Vec::new();
        let mut append = |number: u64, page: &[u8]| {
            let more = page::integers(page, Some(number)).map_err(damaged(number))?;
            let last = values.last_chunk::<VALUE>().map(|last| u64::from_ne_bytes(*last));
            let next = more.first_chunk::<VALUE>().map(|next| u64::from_ne_bytes(*next));
            // So no page can come twice.
            if last >= next || (values.len() + more.len()) as u64 > record.entries * VALUE as u64 {
                return Err(damaged(number)("the values of a key are out of order, or too many"));
            }
            values.extend_from_slice(more);
            Ok(())
        };
        let wrong = |number, what| damaged(number)(what);
        let mut read = |number| self.copy_page(number);
        page::each_leaf(record.root, record.depth, &mut read, &wrong, &mut append)?;
        if values.len() as u64 != record.entries * VALUE as u64 {
            return Err(damaged(page)("a key has not as many values as it says"));
        }
        Ok(self.values.push_get(values.into_boxed_slice()))
    }
}

/// Entries in order, or backwards.
pub(super) struct Walk<'s> {
    snapshot: &'s PageSnapshot<'s>,
    /// `None` if there is nothing in it.
    tree: Option<Tree>,
    forward: bool,
    /// From the root down to a leaf; empty at the end.
    stack: Vec<Place<'s>>,
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
        let mut walk = Self { snapshot, tree, forward, stack: Vec::new(), key: &[], values: &[] };
        let Some(Tree { record, shape }) = tree else { return Ok(walk) };
        walk.descend((record.root, [None; 2]), |page| {
            let Some(bound) = bound else { return if forward { 0 } else { page.len() } };
            let is_before = |at: usize| {
                page.node(at).is_ok_and(|node| {
                    let order = (shape.order)(node.key, bound);
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
        (mut number, mut bounds): (u64, Bounds<'s>),
        choose: impl Fn(Page<'s>) -> usize,
    ) -> Result<(), ReadError> {
        let Some(tree) = self.tree else { return Ok(()) };
        loop {
            let page = self.snapshot.page(&tree, number)?;
            if page.is_branch() != (self.stack.len() + 1 < tree.record.depth.into()) {
                return Err(damaged(number)(WRONG_DEPTH));
            }
            tree.check_bounds(page, bounds).map_err(damaged(number))?;
            let at = choose(page);
            if !page.is_branch() {
                self.stack.push(Place { number, page, at: at.min(page.len()), bounds });
                return Ok(());
            }
            let place = Place { number, page, at: at.min(page.len() - 1), bounds };
            self.stack.push(place);
            (number, bounds) = place.child()?;
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
            } else if place.page.is_branch() {
                self.descend(place.child()?, |_| 0)?;
            } else {
                return Ok(());
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
            if !place.page.is_branch() {
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
        loop {
            let next = match self.forward {
                true => self.values.split_first_chunk::<VALUE>(),
                false => self.values.split_last_chunk::<VALUE>().map(|(rest, last)| (last, rest)),
            };
            if let Some((value, rest)) = next {
                self.values = rest;
                return Ok(Some((self.key, value)));
            }
            let Some((node, page)) = self.next_node()? else { return Ok(None) };
            let has_duplicates = self.tree.is_some_and(|tree| tree.shape.has_duplicates());
            self.key = node.key;
            // Never empty.
            self.values = match node.value().map_err(damaged(page))? {
                Value::Here(value) if !has_duplicates || value.len() == VALUE => {
                    return Ok(Some((node.key, value)));
                }
                Value::Large { page, bytes } if !has_duplicates => {
                    return Ok(Some((node.key, self.snapshot.large_value(page, bytes)?)));
                }
                Value::Several(values) if has_duplicates => {
                    page::integers(values, None).map_err(damaged(page))?
                }
                Value::Tree(record) if has_duplicates => self.snapshot.values_of(record, page)?,
                _ => return Err(damaged(page)("a value is not of the kind that its table has")),
            };
        }
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

fn damaged(page: u64) -> impl Fn(Wrong) -> ReadError {
    move |what| ReadError::Damaged { table: "(pages)", key: format!("page {page}"), what }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::data_file::{TXN_ID, read_meta};
    use super::super::golden::golden_database;
    use super::super::tables::META;
    use super::*;

    #[test]
    fn a_page_that_may_have_been_reused_is_not_looked_at() {
        let directory = golden_database("strfry-1.1.1");
        let path = directory.path().join("data.mdb");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let page_size = read_meta(&file, 0).unwrap().unwrap().page_size;
        let meta_pages = MetaPages::new((File::open(&path).unwrap(), page_size));
        let snapshot = PageSnapshot::new(&meta_pages, meta_pages.begin().unwrap());
        let commit = |number: u64| {
            let txn_id = (snapshot.meta.txn_id + number).to_ne_bytes();
            file.write_all_at(&txn_id, number % 2 * page_size + TXN_ID as u64).unwrap();
        };
        let tree = snapshot.tree(META).unwrap().unwrap();
        let root = tree.record.root;
        assert!(snapshot.copy_page(3).is_ok() && snapshot.page(&tree, root).is_ok());
        commit(1);
        assert!(snapshot.copy_page(3).is_ok());
        commit(2);
        assert!(matches!(snapshot.copy_page(3), Err(ReadError::Overtaken)));
        // What was copied in time is still what it was.
        assert!(snapshot.page(&tree, root).is_ok());
    }
}
