//! Goes through one of LMDB's trees, forward or backward, with a stack in place of recursion.
//!
//! Nothing that a page says is believed. A page is checked by itself (`page`), its keys must lie
//! between those that led to it, and it must be as deep in the tree as all others. So a walk can
//! neither come to a page twice nor leave out one that is there: a damaged tree is an error.
//!
//! Knows trees whose duplicates are integers of 8 bytes, as strfry's are.

use super::error::ReadError;
use super::page::{self, Kind, NO_PAGE, Node, Page, Record, VALUE, Value, WRONG_DEPTH, Wrong};
use super::page_txn::{PageTxn, damaged};
use super::tables::{OF_ONE_KEY, Table};

/// A key and a value.
pub(super) type Entry<'s> = (&'s [u8], &'s [u8]);

/// A tree, which may be empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    pub(super) record: Record,
    pub(super) shape: Table,
}

/// Where a walk begins.
#[derive(Clone, Copy)]
pub(super) enum Start<'a> {
    /// In front of all.
    First,
    /// In front of the first key that is at least this one.
    Key(&'a [u8]),
    /// Behind all.
    Last,
}

/// A page on the way down, and where in it.
#[derive(Clone, Copy)]
struct Place<'s> {
    number: u64,
    page: Page<'s>,
    /// In a branch, the child that the next place is in. In a leaf, how many lie in front.
    at: usize,
    /// Its keys are at least the first of these, and less than the second.
    bounds: Bounds<'s>,
}

type Bounds<'s> = [Option<&'s [u8]>; 2];

impl<'s> Place<'s> {
    /// The child's number, and the bounds of its keys.
    fn child(&self) -> Result<(u64, Bounds<'s>), ReadError> {
        let read = || -> Result<_, Wrong> {
            let [low, high] = self.bounds;
            let node = self.page.node(self.at)?;
            // The first key of a branch is not kept.
            let low = if self.at == 0 { low } else { Some(node.key) };
            let next = self.at + 1;
            let high = if next < self.page.len() { Some(self.page.key(next)?) } else { high };
            Ok((node.child(), [low, high]))
        };
        read().map_err(damaged(self.number))
    }
}

/// A place between two entries of a tree, or at an end.
pub(super) struct Cursor<'s> {
    txn: &'s PageTxn<'s>,
    tree: Tree,
    /// From the root down to a leaf; empty behind the last entry and in front of the first.
    stack: Vec<Place<'s>>,
}

impl<'s> Cursor<'s> {
    pub(super) fn new(
        txn: &'s PageTxn<'_>,
        tree: Tree,
        start: Start<'_>,
    ) -> Result<Self, ReadError> {
        let mut cursor = Self { txn, tree, stack: Vec::new() };
        if tree.record.root != NO_PAGE {
            cursor.stack.reserve_exact(tree.record.depth.into());
            cursor.descend((tree.record.root, [None; 2]), start)?;
        }
        Ok(cursor)
    }

    /// Goes down to a leaf.
    fn descend(
        &mut self,
        (mut number, mut bounds): (u64, Bounds<'s>),
        start: Start<'_>,
    ) -> Result<(), ReadError> {
        let Tree { record, shape } = self.tree;
        let leaf = if shape.number == OF_ONE_KEY.number { Kind::Integers } else { Kind::Leaf };
        loop {
            let page = self.txn.page(shape, number)?;
            let is_above = self.stack.len() + 1 < record.depth.into();
            if page.kind() != if is_above { Kind::Branch } else { leaf } {
                return Err(damaged(number)(WRONG_DEPTH));
            }
            check_bounds(shape, page, bounds).map_err(damaged(number))?;
            let at = match start {
                Start::First => 0,
                Start::Key(key) => page.position(shape.order, key).map_err(damaged(number))?,
                Start::Last => page.len(),
            };
            let last = if is_above { page.len() - 1 } else { page.len() };
            let place = Place { number, page, at: at.min(last), bounds };
            self.stack.push(place);
            if !is_above {
                return Ok(());
            }
            (number, bounds) = place.child()?;
        }
    }

    /// To the beginning of the next leaf, or to the end of the one before; false if there is none.
    fn turn(&mut self, forward: bool) -> Result<bool, ReadError> {
        self.stack.pop();
        while let Some(place) = self.stack.last_mut() {
            let next = match forward {
                true => Some(place.at + 1).filter(|next| *next < place.page.len()),
                false => place.at.checked_sub(1),
            };
            let Some(next) = next else {
                self.stack.pop();
                continue;
            };
            place.at = next;
            let child = place.child()?;
            self.descend(child, if forward { Start::First } else { Start::Last })?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The next node, and the number of its page.
    #[inline]
    pub(super) fn next(&mut self, forward: bool) -> Result<Option<(Node<'s>, u64)>, ReadError> {
        loop {
            let Some(place) = self.stack.last_mut() else { return Ok(None) };
            let at = match forward {
                true if place.at < place.page.len() => {
                    place.at += 1;
                    place.at - 1
                }
                false if place.at > 0 => {
                    place.at -= 1;
                    place.at
                }
                _ => {
                    self.turn(forward)?;
                    continue;
                }
            };
            let node = place.page.node(at).map_err(damaged(place.number))?;
            return Ok(Some((node, place.number)));
        }
    }
}

/// Whether the keys of a page, which ascend, are those that are looked for there.
#[inline]
fn check_bounds(shape: Table, page: Page<'_>, [low, high]: Bounds<'_>) -> Result<(), Wrong> {
    if let (None, None) = (low, high) {
        return Ok(());
    }
    let Some([first, last]) = page.ends()? else { return Ok(()) };
    if low.is_some_and(|low| shape.order.compare(first, low).is_lt())
        || high.is_some_and(|high| shape.order.compare(last, high).is_ge())
    {
        return Err("its keys are not those that lead to it");
    }
    Ok(())
}

/// Entries in order, or backward.
pub(super) struct Entries<'s> {
    cursor: Cursor<'s>,
    forward: bool,
    key: &'s [u8],
    /// Values of this key that are still to come.
    values: &'s [u8],
    /// More of them, in a tree of their own.
    more: Option<Values<'s>>,
}

/// The values of one key in a tree of their own, page by page.
struct Values<'s> {
    cursor: Cursor<'s>,
    /// That the key is said to have and that have not come.
    left: u64,
    /// Where it is said.
    page: u64,
}

impl<'s> Values<'s> {
    fn new(
        txn: &'s PageTxn<'_>,
        record: Record,
        page: u64,
        forward: bool,
    ) -> Result<Self, ReadError> {
        record.check().map_err(damaged(page))?;
        if record.root == NO_PAGE {
            return Err(damaged(page)("a key has no values"));
        }
        let tree = Tree { record, shape: &OF_ONE_KEY };
        let start = if forward { Start::First } else { Start::Last };
        Ok(Self { cursor: Cursor::new(txn, tree, start)?, left: record.entries, page })
    }

    /// The values in the next page; `None` if there are no more.
    fn next(&mut self, forward: bool) -> Result<Option<&'s [u8]>, ReadError> {
        let wrong = damaged(self.page);
        let Some(place) = self.cursor.stack.last() else {
            let is_complete = self.left == 0;
            return if is_complete { Ok(None) } else { Err(wrong(NOT_AS_MANY)) };
        };
        let values = place.page.integers();
        let count = (values.len() / VALUE) as u64;
        self.left = self.left.checked_sub(count).ok_or_else(|| wrong(NOT_AS_MANY))?;
        self.cursor.turn(forward)?;
        Ok(Some(values))
    }
}

const NOT_AS_MANY: Wrong = "a key has not as many values as it says";

impl<'s> Entries<'s> {
    pub(super) fn new(
        txn: &'s PageTxn<'_>,
        tree: Tree,
        start: Start<'_>,
        forward: bool,
    ) -> Result<Self, ReadError> {
        let cursor = Cursor::new(txn, tree, start)?;
        Ok(Self { cursor, forward, key: &[], values: &[], more: None })
    }

    #[inline]
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
            if let Some(more) = &mut self.more {
                match more.next(self.forward)? {
                    Some(values) => self.values = values,
                    None => self.more = None,
                }
                continue;
            }
            let Some((node, page)) = self.cursor.next(self.forward)? else { return Ok(None) };
            let has_duplicates = self.cursor.tree.shape.has_duplicates();
            self.key = node.key;
            match node.value().map_err(damaged(page))? {
                Value::Here(value) if !has_duplicates || value.len() == VALUE => {
                    return Ok(Some((node.key, value)));
                }
                Value::Large { page, bytes } if !has_duplicates => {
                    return Ok(Some((node.key, self.cursor.txn.large_value(page, bytes)?)));
                }
                Value::Several(values) if has_duplicates => {
                    self.values = page::integers(values, None).map_err(damaged(page))?;
                }
                Value::Tree(record) if has_duplicates => {
                    let values = Values::new(self.cursor.txn, record, page, self.forward)?;
                    self.more = Some(values);
                }
                _ => return Err(damaged(page)("a value is not of the kind that its table has")),
            }
        }
    }
}

impl<'s> Iterator for Entries<'s> {
    type Item = Result<Entry<'s>, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
