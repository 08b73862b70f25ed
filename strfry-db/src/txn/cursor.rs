//! Goes through one of LMDB's trees, forward or backward, with a stack in place of recursion.
//!
//! Nothing that a page says is believed. A page is checked by itself (`page`), its keys must lie
//! between those that led to it, and it must be as deep in the tree as all others. So a walk can
//! neither come to a page twice nor leave out one that is there: a damaged tree is an error.
//!
//! Knows trees whose duplicates are integers of 8 bytes, as strfry's are.

use crate::error::ReadError;
use crate::format::comparators::Comparator;
use crate::format::tables::{OF_ONE_KEY, Table};
use crate::limits::LEAVES_AHEAD;
use crate::lmdb::page::{
    self, Kind, NO_PAGE, Node, Page, Record, VALUE, Value, WRONG_DEPTH, Wrong,
};
use crate::txn::page_reader::{PageReader, damaged};

/// A key and a value.
pub(crate) type Entry<'s> = (&'s [u8], &'s [u8]);

/// A tree, which may be empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree {
    pub(crate) record: Record,
    pub(crate) shape: Table,
}

/// Where a walk begins.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
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
}

impl Place<'_> {
    /// The last place in the page.
    fn last(&self) -> usize {
        if self.page.is_branch() { self.page.len() - 1 } else { self.page.len() }
    }

    /// Goes to the child in which this key is, or in front of the first key that is at least it.
    fn seek(&mut self, shape: Table, key: &[u8]) -> Result<(), ReadError> {
        let at = self.page.position(shape.comparator, key).map_err(damaged(shape, self.number))?;
        self.at = at.min(self.last());
        Ok(())
    }

    /// Whether this key, if it is anywhere below this branch, is in the child that the place names.
    fn leads_to(&self, comparator: Comparator, key: &[u8]) -> Result<bool, Wrong> {
        let (page, next) = (self.page, self.at + 1);
        Ok((self.at == 0 || comparator.compare(page.key(self.at)?, key).is_le())
            && (next >= page.len() || comparator.compare(key, page.key(next)?).is_lt()))
    }
}

/// A place between two entries of a tree, or at an end.
pub(crate) struct Cursor<'s> {
    pages: &'s PageReader<'s>,
    tree: Tree,
    /// From the root down to a leaf; empty behind the last entry and in front of the first.
    stack: Vec<Place<'s>>,
    /// From one leaf to the next, since it was told where to go.
    turns: u32,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(
        pages: &'s PageReader<'_>,
        tree: Tree,
        start: Start<'_>,
    ) -> Result<Self, ReadError> {
        let mut cursor = Self::at_end(pages, tree);
        if tree.record.root != NO_PAGE {
            cursor.descend(start)?;
        }
        Ok(cursor)
    }

    /// One that has no more to come, until it is told where to go.
    pub(crate) fn at_end(pages: &'s PageReader<'_>, tree: Tree) -> Self {
        Self { pages, tree, stack: Vec::with_capacity(tree.record.depth.into()), turns: 0 }
    }

    /// Goes down to a leaf, from the root or from the child that the last place names. Where that
    /// cannot be, there is no more to come.
    fn descend(&mut self, start: Start<'_>) -> Result<(), ReadError> {
        let descended = self.descend_to_leaf(start);
        if descended.is_err() {
            self.stack.clear();
        }
        descended
    }

    fn descend_to_leaf(&mut self, start: Start<'_>) -> Result<(), ReadError> {
        let Tree { record, shape } = self.tree;
        let leaf = if shape.number == OF_ONE_KEY.number { Kind::Integers } else { Kind::Leaf };
        loop {
            let (number, from) = match self.stack.last() {
                None => (record.root, (0, 0)),
                Some(above) => {
                    let child = above.page.node(above.at).map_err(damaged(shape, above.number))?;
                    (child.child(), (above.number, above.at))
                }
            };
            let is_above = self.stack.len() + 1 < record.depth.into();
            let is_walk = !is_above && !matches!(start, Start::Key(_));
            if is_walk && self.turns > 0 && self.pages.reads_ahead() {
                self.pages.ask_for(self.leaves_ahead(matches!(start, Start::First)));
            }
            let check = |page: Page<'_>| self.check_bounds(page);
            let page = self.pages.page(shape, number, from, is_walk, check)?;
            if page.kind() != if is_above { Kind::Branch } else { leaf } {
                return Err(damaged(shape, number)(WRONG_DEPTH));
            }
            let mut place = Place { number, page, at: 0 };
            match start {
                Start::First => {}
                Start::Key(key) => place.seek(shape, key)?,
                Start::Last => place.at = place.last(),
            }
            self.stack.push(place);
            if !is_above {
                return Ok(());
            }
        }
    }

    /// The leaf in which this key is, if it is anywhere; `None` if there are no branches. No leaf is
    /// looked at, and for keys in order few branches are looked for again.
    pub(crate) fn leaf_of(&mut self, key: &[u8]) -> Result<Option<u64>, ReadError> {
        let Tree { record, shape } = self.tree;
        let branches = usize::from(record.depth).saturating_sub(1);
        if branches == 0 {
            return Ok(None);
        }
        self.keep_what_leads_to(key)?;
        if self.stack.is_empty() {
            self.push_branch(record.root, (0, 0))?;
        }
        while let Some(above) = self.stack.last_mut() {
            above.seek(shape, key)?;
            let child = above.page.node(above.at).map_err(damaged(shape, above.number))?;
            let (number, from) = (child.child(), (above.number, above.at));
            if self.stack.len() >= branches {
                return Ok(Some(number));
            }
            self.push_branch(number, from)?;
        }
        Ok(None)
    }

    fn push_branch(&mut self, number: u64, from: (u64, usize)) -> Result<(), ReadError> {
        let shape = self.tree.shape;
        let check = |page: Page<'_>| self.check_bounds(page);
        let page = self.pages.page(shape, number, from, false, check)?;
        if page.kind() != Kind::Branch {
            return Err(damaged(shape, number)(WRONG_DEPTH));
        }
        self.stack.push(Place { number, page, at: 0 });
        Ok(())
    }

    /// Goes in front of the first key that is at least this one. The pages that lead to the place
    /// that it comes from are not looked for again as far as they lead to this key.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let Tree { record, shape } = self.tree;
        if record.root == NO_PAGE {
            return Ok(());
        }
        self.turns = 0;
        self.keep_what_leads_to(key)?;
        let Some(place) = self.stack.last_mut() else { return self.descend(Start::Key(key)) };
        place.seek(shape, key)?;
        if place.page.is_branch() { self.descend(Start::Key(key)) } else { Ok(()) }
    }

    /// Forgets the places below the first that does not lead to this key.
    fn keep_what_leads_to(&mut self, key: &[u8]) -> Result<(), ReadError> {
        let shape = self.tree.shape;
        let mut kept = 0;
        while let Some(place) = self.stack.get(kept) {
            kept += 1;
            let leads_to_key = || place.leads_to(shape.comparator, key);
            if !place.page.is_branch() || !leads_to_key().map_err(damaged(shape, place.number))? {
                break;
            }
        }
        self.stack.truncate(kept);
        Ok(())
    }

    /// The leaves that a walk is to ask for as it turns to the one that the last place names: at the
    /// first of some below one branch all of these, and the first time those that are left of them.
    fn leaves_ahead(&self, forward: bool) -> Vec<(u64, u64)> {
        let Some(above) = self.stack.last() else { return Vec::new() };
        let begin = above.at - above.at % LEAVES_AHEAD;
        let end = above.page.len().min(begin + LEAVES_AHEAD);
        let left = if forward { above.at..end } else { begin..above.at + 1 };
        let leaves = if self.turns == 1 || left == (begin..end) { left } else { 0..0 };
        // Damage is left to whoever comes to it.
        leaves.filter_map(|at| Some((above.page.node(at).ok()?.child(), 1))).collect()
    }

    /// Whether the keys of a page, which ascend, are those that belong where the last place leads:
    /// at least the key that leads there, and less than the next.
    fn check_bounds(&self, page: Page<'_>) -> Result<(), Wrong> {
        let comparator = self.tree.shape.comparator;
        let Some([first, last]) = page.ends()? else { return Ok(()) };
        // The first key of a branch is not kept: then one above it is the bound.
        let low = self.stack.iter().rev().find(|place| place.at > 0);
        let high = self.stack.iter().rev().find(|place| place.at + 1 < place.page.len());
        let is_too_low = match low {
            Some(place) => comparator.compare(first, place.page.key(place.at)?).is_lt(),
            None => false,
        };
        let is_too_high = match high {
            Some(place) => comparator.compare(last, place.page.key(place.at + 1)?).is_ge(),
            None => false,
        };
        match is_too_low || is_too_high {
            true => Err("its keys are not those that lead to it"),
            false => Ok(()),
        }
    }

    /// To the beginning of the next leaf, or to the end of the one before; false if there is none.
    fn turn(&mut self, forward: bool) -> Result<bool, ReadError> {
        self.stack.pop();
        self.turns = self.turns.saturating_add(1);
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
            self.descend(if forward { Start::First } else { Start::Last })?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The next node, and the number of its page.
    #[inline]
    pub(crate) fn next(&mut self, forward: bool) -> Result<Option<(Node<'s>, u64)>, ReadError> {
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
            let node = place.page.node(at).map_err(damaged(self.tree.shape, place.number))?;
            return Ok(Some((node, place.number)));
        }
    }
}

/// Entries in order, or backward.
pub(crate) struct Entries<'s> {
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
    of: Table,
    page: u64,
}

impl<'s> Values<'s> {
    fn new(
        pages: &'s PageReader<'_>,
        record: Record,
        (of, page): (Table, u64),
        forward: bool,
    ) -> Result<Self, ReadError> {
        record.check().map_err(damaged(of, page))?;
        if record.root == NO_PAGE {
            return Err(damaged(of, page)("a key has no values"));
        }
        let tree = Tree { record, shape: &OF_ONE_KEY };
        let start = if forward { Start::First } else { Start::Last };
        Ok(Self { cursor: Cursor::new(pages, tree, start)?, left: record.entries, of, page })
    }

    /// The values in the next page; `None` if there are no more.
    fn next(&mut self, forward: bool) -> Result<Option<&'s [u8]>, ReadError> {
        let wrong = damaged(self.of, self.page);
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
    pub(crate) fn new(
        pages: &'s PageReader<'_>,
        tree: Tree,
        start: Start<'_>,
        forward: bool,
    ) -> Result<Self, ReadError> {
        let cursor = Cursor::new(pages, tree, start)?;
        Ok(Self { cursor, forward, key: &[], values: &[], more: None })
    }

    /// None, until they are told where to begin ([`Entries::seek`]).
    pub(crate) fn at_end(pages: &'s PageReader<'_>, tree: Tree, forward: bool) -> Self {
        Self { cursor: Cursor::at_end(pages, tree), forward, key: &[], values: &[], more: None }
    }

    /// Begins anew in front of the first key that is at least this one. For keys in order faster
    /// than from the root.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), ReadError> {
        (self.values, self.more) = (&[], None);
        self.cursor.seek(key)
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
            let shape = self.cursor.tree.shape;
            let has_duplicates = shape.has_duplicates();
            self.key = node.key;
            match node.value().map_err(damaged(shape, page))? {
                Value::Here(value) if !has_duplicates || value.len() == VALUE => {
                    return Ok(Some((node.key, value)));
                }
                Value::Large { page, bytes } if !has_duplicates => {
                    return Ok(Some((
                        node.key,
                        self.cursor.pages.large_value(shape, page, bytes)?,
                    )));
                }
                Value::Several(values) if has_duplicates => {
                    self.values = page::integers(values, None).map_err(damaged(shape, page))?;
                }
                Value::Tree(record) if has_duplicates => {
                    let values =
                        Values::new(self.cursor.pages, record, (shape, page), self.forward)?;
                    self.more = Some(values);
                }
                _ => {
                    return Err(damaged(shape, page)(
                        "a value is not of the kind that its table has",
                    ));
                }
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::format::tables::Tables;
    use crate::golden::golden_database;
    use crate::lmdb::meta_page::MetaPages;
    use crate::txn::copies::Copies;
    use crate::txn::page_txn::PageTxn;

    /// Leaves of the largest table.
    fn asks_for_each_leaf_once(directory: &Path) -> usize {
        let file = File::open(directory.join("data.mdb")).unwrap();
        let meta_pages = MetaPages::new((file, 4_096));
        let copies = Arc::new(Copies::new(&Arc::default(), 8));
        let txn = PageTxn::copying(&meta_pages, meta_pages.begin().unwrap(), copies);
        let mut most = 0;
        let walk = |shape: Table| -> Result<bool, ReadError> {
            for (forward, start) in [(true, Start::First), (false, Start::Last)] {
                let mut cursor = Cursor::new(txn.pages(), txn.tree(shape)?, start)?;
                let (mut asked_for, mut come_to) = (Vec::new(), Vec::new());
                while cursor.turn(forward)? {
                    let leaf = cursor.stack.pop().unwrap();
                    asked_for.extend(cursor.leaves_ahead(forward));
                    come_to.push((leaf.number, 1));
                    assert!(asked_for.contains(&(leaf.number, 1)), "{}", shape.name);
                    cursor.stack.push(leaf);
                }
                most = most.max(come_to.len());
                asked_for.sort_unstable();
                come_to.sort_unstable();
                assert_eq!(asked_for, come_to, "{}", shape.name);
            }
            Ok(true)
        };
        Tables::find(walk).unwrap();
        most
    }

    #[test]
    fn a_walk_asks_for_every_leaf_before_it_turns_to_it_and_for_none_twice() {
        let strfrys = golden_database("strfry-1.1.1");
        assert!(asks_for_each_leaf_once(strfrys.path()) > LEAVES_AHEAD);
    }

    #[cfg(feature = "lmdb")]
    #[test]
    fn so_it_does_in_deep_trees() {
        let deep = crate::golden::deep_file();
        assert!(asks_for_each_leaf_once(deep.path()) > 500);
    }
}
