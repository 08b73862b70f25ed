//! One moment of the database, read without LMDB: its tables, and what is in each.

use std::sync::{Arc, OnceLock};

use crate::error::ReadError;
use crate::format::tables::{FREE, MAIN, SHAPES, Table};
use crate::lmdb::meta_page::{MetaPage, MetaPages};
use crate::lmdb::page::{Record, Value, u64_at};
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

    /// As [`PageTxn::find`]; a database that is not there is empty.
    fn tree(&self, shape: Table) -> Result<Tree, ReadError> {
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

    use super::*;
    use crate::format::tables::META;
    use crate::golden::golden_database;
    use crate::lmdb::meta_page::{TXN_ID, read_meta};

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
