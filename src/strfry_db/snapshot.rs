//! One moment of the database, and the few ways in which it is read: through LMDB, or page by page
//! without its lock file. Everything else in this module goes through them.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{Comparator, RoRange, RoRevRange, RoTxn, WithoutTls};

use super::error::ReadError;
use super::open::StrfryDb;
use super::open_snapshots::Open;
use super::pages::{self, PageSnapshot};
use super::tables::{Handle, Table, full_name};

/// One moment of the database: a read transaction, or pages that are checked as they are read.
/// What it returns borrows from the map, or from those pages.
pub struct Snapshot<'db> {
    db: &'db StrfryDb,
    source: Source<'db>,
    _open: Open,
}

/// Where a snapshot reads.
pub(super) enum Source<'db> {
    Lmdb(RoTxn<'db, WithoutTls>),
    /// Without the lock file.
    Pages(PageSnapshot<'db>),
}

/// A key and a value.
pub(super) type Entry<'s> = (&'s [u8], &'s [u8]);

/// Entries of a table, one after the other.
pub(super) enum Entries<'s, C> {
    Forward(&'static str, RoRange<'s, Bytes, Bytes, C>),
    Backward(&'static str, RoRevRange<'s, Bytes, Bytes, C>),
    Pages(pages::Walk<'s>),
}

impl<'s, C: Comparator> Iterator for Entries<'s, C> {
    type Item = Result<Entry<'s>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Forward(name, range) => range.next().map(|entry| entry.map_err(lmdb(name))),
            Self::Backward(name, range) => range.next().map(|entry| entry.map_err(lmdb(name))),
            Self::Pages(walk) => walk.next(),
        }
    }
}

impl<'db> Snapshot<'db> {
    pub(super) fn new(db: &'db StrfryDb, source: Source<'db>, open: Open) -> Self {
        Self { db, source, _open: open }
    }

    /// Whether everything that was read is of this moment: with a slot in the lock file always.
    pub(super) fn is_whole(&self) -> bool {
        match &self.source {
            Source::Lmdb(_) => true,
            Source::Pages(pages) => pages.is_whole(),
        }
    }

    pub(super) fn db(&self) -> &'db StrfryDb {
        self.db
    }
}

impl Snapshot<'_> {
    /// The first value of a key.
    pub(super) fn get<C: Comparator>(
        &self,
        table: Table<C>,
        key: &[u8],
    ) -> Result<Option<&[u8]>, ReadError> {
        match &self.source {
            Source::Lmdb(txn) => handle(table)?.get(txn, key).map_err(lmdb(table.name)),
            Source::Pages(_) => {
                let at = self.first_from(table, key)?;
                Ok(at.filter(|(found, _)| *found == key).map(|(_, value)| value))
            }
        }
    }

    /// The first entry whose key is at least this one.
    pub(super) fn first_from<C: Comparator>(
        &self,
        table: Table<C>,
        key: &[u8],
    ) -> Result<Option<Entry<'_>>, ReadError> {
        match &self.source {
            Source::Lmdb(txn) => {
                handle(table)?.get_greater_than_or_equal_to(txn, key).map_err(lmdb(table.name))
            }
            Source::Pages(_) => self.forward(table, Some(key))?.next().transpose(),
        }
    }

    /// The last entry whose key is less than this one.
    pub(super) fn last_before<C: Comparator>(
        &self,
        table: Table<C>,
        key: &[u8],
    ) -> Result<Option<Entry<'_>>, ReadError> {
        match &self.source {
            Source::Lmdb(txn) => handle(table)?.get_lower_than(txn, key).map_err(lmdb(table.name)),
            Source::Pages(_) => self.backward(table, Some(key))?.next().transpose(),
        }
    }

    /// Entries from this key on, or all.
    pub(super) fn forward<C: Comparator>(
        &self,
        table: Table<C>,
        from: Option<&[u8]>,
    ) -> Result<Entries<'_, C>, ReadError> {
        let name = table.name;
        match &self.source {
            Source::Lmdb(txn) => {
                let from = from.map_or(Bound::Unbounded, Bound::Included);
                let range = (from, Bound::<&[u8]>::Unbounded);
                let range = handle(table)?.range(txn, &range).map_err(lmdb(name))?;
                Ok(Entries::Forward(name, range))
            }
            Source::Pages(pages) => {
                pages.forward(&full_name(name), C::compare, from).map(Entries::Pages)
            }
        }
    }

    /// Entries back from the last before this key, or from the last of all.
    pub(super) fn backward<C: Comparator>(
        &self,
        table: Table<C>,
        before: Option<&[u8]>,
    ) -> Result<Entries<'_, C>, ReadError> {
        let name = table.name;
        match &self.source {
            Source::Lmdb(txn) => {
                let before = before.map_or(Bound::Unbounded, Bound::Excluded);
                let range = (Bound::<&[u8]>::Unbounded, before);
                let range = handle(table)?.rev_range(txn, &range).map_err(lmdb(name))?;
                Ok(Entries::Backward(name, range))
            }
            Source::Pages(pages) => {
                pages.backward(&full_name(name), C::compare, before).map(Entries::Pages)
            }
        }
    }

    /// How many entries a table has.
    pub(super) fn len<C: Comparator>(&self, table: Table<C>) -> Result<u64, ReadError> {
        match &self.source {
            Source::Lmdb(txn) => handle(table)?.len(txn).map_err(lmdb(table.name)),
            Source::Pages(pages) => pages.len(&full_name(table.name)),
        }
    }
}

fn handle<C>(table: Table<C>) -> Result<Handle<C>, ReadError> {
    table.handle.ok_or(ReadError::NoTable { table: table.name })
}

fn lmdb(table: &'static str) -> impl FnOnce(heed::Error) -> ReadError {
    move |source| ReadError::Lmdb { table, source }
}
