//! One moment of the database, read without LMDB: its tables, and what is in each.

use std::sync::{Arc, OnceLock};

use crate::error::ReadError;
use crate::format::tables::{FREE, MAIN, SHAPES, Table};
use crate::limits::PAGES_AHEAD;
use crate::lmdb::meta_page::{MetaPage, MetaPages};
use crate::lmdb::page::{PAGE_HEADER, Record, Value, u64_at};
use crate::txn::copies::Copies;
use crate::txn::cursor::{Cursor, Entries, Start, Tree};
use crate::txn::page_reader::{PageReader, Pages, damaged};

/// A moment of the database.
pub(crate) struct PageTxn<'db> {
    pages: PageReader<'db>,
    /// Tables that have been looked for, by number; `None` if they are not there.
    records: [OnceLock<Option<Record>>; SHAPES],
}

impl<'db> PageTxn<'db> {
    pub(crate) fn new(meta_pages: &'db MetaPages, meta: MetaPage, pages: Pages<'db>) -> Self {
        let pages = PageReader::new(meta_pages, meta, pages);
        Self { pages, records: [const { OnceLock::new() }; SHAPES] }
    }

    /// On copies.
    pub(crate) fn copying(meta_pages: &'db MetaPages, meta: MetaPage, copies: Arc<Copies>) -> Self {
        Self::new(meta_pages, meta, Pages::copied(copies, None))
    }

    /// The number of its commit.
    pub(crate) fn txn_id(&self) -> u64 {
        self.pages.txn_id()
    }

    /// Whether no page that has been read can have been reused before.
    pub(crate) fn is_whole(&self) -> bool {
        self.pages.is_whole()
    }

    #[cfg(test)]
    pub(super) fn pages(&self) -> &PageReader<'db> {
        &self.pages
    }

    /// The tree of a named database; `None` if there is no such database.
    fn find(&self, shape: Table) -> Result<Option<Tree>, ReadError> {
        let known = self.records.get(usize::from(shape.number));
        if let Some(record) = known.and_then(OnceLock::get) {
            return Ok(record.map(|record| Tree { record, shape }));
        }
        let record = self.look_for(shape)?;
        known.map(|known| known.set(record));
        Ok(record.map(|record| Tree { record, shape }))
    }

    fn look_for(&self, shape: Table) -> Result<Option<Record>, ReadError> {
        self.pages.meta.main.check().map_err(damaged(&MAIN, 0))?;
        let main = Tree { record: self.pages.meta.main, shape: &MAIN };
        let name = shape.full_name.as_bytes();
        let mut cursor = Cursor::new(&self.pages, main, Start::Key(name))?;
        let Some((node, page)) = cursor.next(true)?.filter(|(node, _)| node.key == name) else {
            return Ok(None);
        };
        let Value::Database(record) = node.value().map_err(damaged(&MAIN, page))? else {
            return Err(damaged(&MAIN, page)("a table has no record"));
        };
        if record.flags != shape.flags {
            return Err(damaged(&MAIN, page)("a table has other flags than strfry gives it"));
        }
        record.check().map_err(damaged(&MAIN, page))?;
        Ok(Some(record))
    }

    /// Whether there is a database of this name.
    pub(crate) fn has(&self, shape: Table) -> Result<bool, ReadError> {
        self.find(shape).map(|tree| tree.is_some())
    }

    /// How many entries a database has.
    pub(crate) fn len(&self, shape: Table) -> Result<u64, ReadError> {
        Ok(self.find(shape)?.map_or(0, |tree| tree.record.entries))
    }

    /// The first value of a key.
    pub(crate) fn get(&self, shape: Table, key: &[u8]) -> Result<Option<&[u8]>, ReadError> {
        let entry = self.forward(shape, Some(key))?.next().transpose()?;
        Ok(entry.filter(|(found, _)| *found == key).map(|(_, value)| value))
    }

    /// From the first entry whose key is at least this one, or from the first of all.
    pub(crate) fn forward(
        &self,
        shape: Table,
        from: Option<&[u8]>,
    ) -> Result<Entries<'_>, ReadError> {
        let start = from.map_or(Start::First, Start::Key);
        Entries::new(&self.pages, self.tree(shape)?, start, true)
    }

    /// Back from the last entry whose key is less than this one, or from the last of all.
    pub(crate) fn backward(
        &self,
        shape: Table,
        before: Option<&[u8]>,
    ) -> Result<Entries<'_>, ReadError> {
        let start = before.map_or(Start::Last, Start::Key);
        Entries::new(&self.pages, self.tree(shape)?, start, false)
    }

    /// Entries that begin nowhere yet ([`Entries::seek`]).
    pub(crate) fn seeker(&self, shape: Table, forward: bool) -> Result<Entries<'_>, ReadError> {
        Ok(Entries::at_end(&self.pages, self.tree(shape)?, forward))
    }

    /// Has the kernel begin to read what is under these keys, which ascend, if it is not in memory:
    /// all leaves at once, then all values that have pages of their own. Pages above leaves are waited
    /// for.
    ///
    /// Damage is left to whoever comes to it.
    pub(crate) fn read_ahead<K: AsRef<[u8]>>(&self, shape: Table, keys: &[K]) {
        let mut pages = Vec::with_capacity(keys.len());
        let _ = self.leaves_of(shape, keys, &mut pages);
        self.pages.ask_for(std::mem::take(&mut pages));
        let _ = self.large_values_of(shape, keys, &mut pages);
        self.pages.ask_for(pages);
    }

    fn leaves_of<K: AsRef<[u8]>>(
        &self,
        shape: Table,
        keys: &[K],
        leaves: &mut Vec<(u64, u64)>,
    ) -> Result<(), ReadError> {
        let mut cursor = Cursor::at_end(&self.pages, self.tree(shape)?);
        for key in keys {
            let leaf = cursor.leaf_of(key.as_ref())?.map(|leaf| (leaf, 1));
            if leaf.as_ref() != leaves.last() {
                leaves.extend(leaf);
            }
        }
        Ok(())
    }

    fn large_values_of<K: AsRef<[u8]>>(
        &self,
        shape: Table,
        keys: &[K],
        values: &mut Vec<(u64, u64)>,
    ) -> Result<(), ReadError> {
        let mut left = PAGES_AHEAD;
        let mut cursor = Cursor::at_end(&self.pages, self.tree(shape)?);
        for key in keys {
            cursor.seek(key.as_ref())?;
            let Some((node, leaf)) = cursor.next(true)? else { return Ok(()) };
            if node.key != key.as_ref() {
                continue;
            }
            if let Value::Large { page, bytes } = node.value().map_err(damaged(shape, leaf))? {
                let bytes = bytes.saturating_add(PAGE_HEADER as u64);
                let pages = bytes.div_ceil(self.pages.meta.page_size);
                let Some(rest) = left.checked_sub(pages) else { continue };
                left = rest;
                values.push((page, pages));
            }
        }
        Ok(())
    }

    /// As [`PageTxn::find`]; a database that is not there is empty.
    pub(super) fn tree(&self, shape: Table) -> Result<Tree, ReadError> {
        Ok(self.find(shape)?.unwrap_or(Tree { record: Record::EMPTY, shape }))
    }

    /// Bytes of pages that a writer may reuse, by LMDB's own list of them.
    ///
    /// LMDB 0.9, `mdb.c`: a record of the list is a count and that many page numbers, 8 bytes each.
    pub(crate) fn free_bytes(&self) -> Result<u64, ReadError> {
        self.pages.meta.free.check().map_err(damaged(&FREE, 0))?;
        let list = Tree { record: self.pages.meta.free, shape: &FREE };
        let mut cursor = Cursor::new(&self.pages, list, Start::First)?;
        let mut free = 0_u64;
        while let Some((node, page)) = cursor.next(true)? {
            let count = match node.value().map_err(damaged(&FREE, page))? {
                Value::Here(pages) => u64_at(pages, 0),
                // As much of it as holds the count.
                Value::Large { page, .. } => u64_at(self.pages.large_value(&FREE, page, 8)?, 0),
                _ => return Err(damaged(&FREE, page)("a record is not a list of pages")),
            };
            free = free.saturating_add(count);
        }
        // No more pages can be free than there are.
        match free <= self.pages.meta.last_page {
            true => Ok(free.saturating_mul(self.pages.meta.page_size)),
            false => {
                Err(damaged(&FREE, self.pages.meta.free.root)("more pages are free than there are"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;
    use crate::format::tables::{META, Tables};
    use crate::golden::golden_database;
    use crate::lmdb::meta_page::{TXN_ID, read_meta};

    /// The first of some pages, and how many.
    type Ranges = Vec<(u64, u64)>;

    /// The leaves and the large values of every record, as a walk over all comes to them.
    fn under_each_key(txn: &PageTxn<'_>, shape: Table) -> (Ranges, Ranges) {
        let (mut leaves, mut values) = (Vec::new(), Vec::new());
        let tree = txn.tree(shape).unwrap();
        let mut cursor = Cursor::new(&txn.pages, tree, Start::First).unwrap();
        while let Some((node, leaf)) = cursor.next(true).unwrap() {
            if tree.record.depth > 1 && leaves.last() != Some(&(leaf, 1)) {
                leaves.push((leaf, 1));
            }
            if let Value::Large { page, bytes } = node.value().unwrap() {
                let value = txn.pages.large_value(shape, page, bytes).unwrap();
                values.push((page, (PAGE_HEADER + value.len()).div_ceil(4_096) as u64));
            }
        }
        (leaves, values)
    }

    /// How many leaves and large values there are.
    fn is_asked_for_as_it_is_looked_at(directory: &Path) -> (usize, usize) {
        let file = File::open(directory.join("data.mdb")).unwrap();
        let meta_pages = MetaPages::new((file, 4_096));
        let copies = Arc::new(Copies::new(&Arc::default(), 8));
        let txn = PageTxn::copying(&meta_pages, meta_pages.begin().unwrap(), copies);
        let mut found = (0, 0);
        let each = |shape: Table| -> Result<bool, ReadError> {
            let keys = txn.forward(shape, None)?.map(|entry| entry.unwrap().0.to_vec());
            let mut keys: Vec<Vec<u8>> = keys.collect();
            keys.dedup();
            let (mut leaves, mut values) = (Vec::new(), Vec::new());
            txn.leaves_of(shape, &keys, &mut leaves)?;
            txn.large_values_of(shape, &keys, &mut values)?;
            let expected = under_each_key(&txn, shape);
            found = (found.0 + leaves.len(), found.1 + values.len());
            assert_eq!((leaves, values), expected, "{}", shape.name);
            // From one key to the next, and from the root.
            for key in keys.iter().step_by(7) {
                let mut leaves = Vec::new();
                txn.leaves_of(shape, &[key], &mut leaves)?;
                let tree = txn.tree(shape)?;
                let mut cursor = Cursor::new(&txn.pages, tree, Start::Key(key))?;
                let leaf = cursor.next(true)?.map(|(_, leaf)| (leaf, 1));
                assert_eq!(leaves, Vec::from_iter(leaf.filter(|_| tree.record.depth > 1)));
            }
            Ok(true)
        };
        Tables::find(each).unwrap();
        found
    }

    #[test]
    fn what_is_asked_for_beforehand_is_what_is_looked_at_then() {
        let strfrys = golden_database("strfry-1.1.1");
        let found = is_asked_for_as_it_is_looked_at(strfrys.path());
        assert!(found.0 > 100 && found.1 > 1, "{found:?}");
    }

    #[cfg(feature = "lmdb")]
    #[test]
    fn of_deep_trees_too() {
        let deep = crate::golden::deep_file();
        let found = is_asked_for_as_it_is_looked_at(deep.path());
        assert!(found.0 > 500 && found.1 == 39, "{found:?}");
    }

    #[test]
    fn copies_count_until_the_second_commit_after_theirs() {
        let directory = golden_database("strfry-1.1.1");
        let path = directory.path().join("data.mdb");
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let page_size = read_meta(&file, 0).unwrap().unwrap().page_size;
        let meta_pages = MetaPages::new((File::open(&path).unwrap(), page_size));
        let copies = Arc::new(Copies::new(&Arc::default(), 8));
        let txn = PageTxn::copying(&meta_pages, meta_pages.begin().unwrap(), copies);
        let is_whole_after = |commits: u64| {
            let txn_id = (txn.txn_id() + commits).to_ne_bytes();
            file.write_all_at(&txn_id, commits % 2 * page_size + TXN_ID as u64).unwrap();
            assert!(txn.has(&META).unwrap());
            txn.is_whole()
        };
        assert_eq!([0, 1, 2, 3].map(is_whole_after), [true, true, false, false]);
    }
}
