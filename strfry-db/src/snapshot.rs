//! One moment of the database, and the few ways in which it is read: through LMDB, or page by page
//! without its lock file. Everything else in this module goes through them.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use heed::types::Bytes;
use heed::{Comparator, RoRange, RoRevRange, RoTxn, WithoutTls};

use super::error::{ReadError, damaged};
use super::moment::Moment;
use super::open::StrfryDb;
use super::open_snapshots::Open;
use super::orders::integers;
use super::pages::{self, PageSnapshot};
use super::tables::{Handle, Shape, Table, present};

/// One moment of the database: a read transaction, or pages that are checked as they are read.
/// What it returns borrows from the map, or from those pages.
pub struct Snapshot<'db> {
    db: &'db StrfryDb,
    source: Source<'db>,
    /// `None` if its commit could not be looked at any more.
    moment: Option<Arc<Moment>>,
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

/// Entries of a table, one after the other, each only if it comes behind the one before.
pub(super) struct Entries<'s, C> {
    shape: Shape,
    direction: Ordering,
    range: Range<'s, C>,
    /// Only of what LMDB reads, which believes its pages: one that leads back has no end.
    last: Option<Entry<'s>>,
}

enum Range<'s, C> {
    Forward(RoRange<'s, Bytes, Bytes, C>),
    Backward(RoRevRange<'s, Bytes, Bytes, C>),
    Pages(pages::Walk<'s>),
}

impl<'s, C: Comparator> Entries<'s, C> {
    fn is_next(&self, (key, value): Entry<'s>) -> bool {
        let Some((last_key, last_value)) = self.last else { return true };
        let order = match std::ptr::eq(last_key, key) {
            // The values of one key.
            true => Ordering::Equal,
            false => (self.shape.order)(last_key, key),
        };
        let order = match order {
            Ordering::Equal if self.shape.has_duplicates() => integers(last_value, value),
            order => order,
        };
        order == self.direction
    }
}

impl<'s, C: Comparator> Iterator for Entries<'s, C> {
    type Item = Result<Entry<'s>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.shape.name;
        let entry = match &mut self.range {
            Range::Forward(range) => range.next()?.map_err(lmdb(name)),
            Range::Backward(range) => range.next()?.map_err(lmdb(name)),
            Range::Pages(walk) => return walk.next(),
        };
        let Ok(entry) = entry else { return Some(entry) };
        if !self.is_next(entry) {
            return Some(Err(damaged(name, hex::encode(entry.0), "its keys are out of order")));
        }
        self.last = Some(entry);
        Some(Ok(entry))
    }
}

impl<'db> Snapshot<'db> {
    pub(super) fn new(
        db: &'db StrfryDb,
        source: Source<'db>,
        moment: Option<Arc<Moment>>,
        open: Open,
    ) -> Self {
        Self { db, source, moment, _open: open }
    }

    /// Whether everything that was read is of this moment: with a slot in the lock file that
    /// strfry uses always.
    ///
    /// # Errors
    /// As [`StrfryDb::check_files`].
    pub(super) fn is_whole(&self) -> Result<bool, ReadError> {
        let is_whole = || match &self.source {
            Source::Lmdb(_) => true,
            Source::Pages(pages) => pages.is_whole(),
        };
        if !is_whole() {
            return Ok(false);
        }
        let now = self.db.check_files()?;
        let Some(moment) = &self.moment else { return Ok(true) };
        match moment.is_in(&now) || moment.is_as_it_was(self.db.meta_pages())? {
            true => Ok(true),
            // Reused since it was asked.
            false if !is_whole() => Ok(false),
            false => Err(self.db.replaced()),
        }
    }

    /// The number of the commit that it shows.
    pub(super) fn txn_id(&self) -> u64 {
        match &self.source {
            Source::Lmdb(txn) => txn.id() as u64,
            Source::Pages(pages) => pages.txn_id(),
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
            Source::Lmdb(txn) => handle(table)?.get(txn, key).map_err(lmdb(table.shape.name)),
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
            Source::Lmdb(txn) => handle(table)?
                .get_greater_than_or_equal_to(txn, key)
                .map_err(lmdb(table.shape.name)),
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
            Source::Lmdb(txn) => {
                handle(table)?.get_lower_than(txn, key).map_err(lmdb(table.shape.name))
            }
            Source::Pages(_) => self.backward(table, Some(key))?.next().transpose(),
        }
    }

    /// Entries from this key on, or all.
    pub(super) fn forward<C: Comparator>(
        &self,
        table: Table<C>,
        from: Option<&[u8]>,
    ) -> Result<Entries<'_, C>, ReadError> {
        let name = table.shape.name;
        let range = match &self.source {
            Source::Lmdb(txn) => {
                let from = from.map_or(Bound::Unbounded, Bound::Included);
                let range = (from, Bound::<&[u8]>::Unbounded);
                Range::Forward(handle(table)?.range(txn, &range).map_err(lmdb(name))?)
            }
            Source::Pages(pages) => Range::Pages(pages.forward(table.shape, from)?),
        };
        Ok(Entries { shape: table.shape, direction: Ordering::Less, range, last: None })
    }

    /// Entries back from the last before this key, or from the last of all.
    pub(super) fn backward<C: Comparator>(
        &self,
        table: Table<C>,
        before: Option<&[u8]>,
    ) -> Result<Entries<'_, C>, ReadError> {
        let name = table.shape.name;
        let range = match &self.source {
            Source::Lmdb(txn) => {
                let before = before.map_or(Bound::Unbounded, Bound::Excluded);
                let range = (Bound::<&[u8]>::Unbounded, before);
                Range::Backward(handle(table)?.rev_range(txn, &range).map_err(lmdb(name))?)
            }
            Source::Pages(pages) => Range::Pages(pages.backward(table.shape, before)?),
        };
        Ok(Entries { shape: table.shape, direction: Ordering::Greater, range, last: None })
    }

    /// How many events there are, as the table of events and each index that has every event say.
    pub(super) fn number_of_events(&self) -> Result<u64, ReadError> {
        let tables = &self.db.tables;
        let events = self.len(present("Event", tables.event)?)?;
        self.has_so_many(events, tables.created_at)?;
        self.has_so_many(events, tables.id)?;
        self.has_so_many(events, tables.pubkey)?;
        self.has_so_many(events, tables.kind)?;
        self.has_so_many(events, tables.pubkey_kind)?;
        Ok(events)
    }

    fn has_so_many<C: Comparator>(
        &self,
        events: u64,
        table: Option<Table<C>>,
    ) -> Result<(), ReadError> {
        // An index that is missing is the error of whoever needs it.
        let Some(table) = table else { return Ok(()) };
        match self.len(table)? == events {
            true => Ok(()),
            false => {
                Err(damaged(table.shape.name, "all", "it has not as many entries as table Event"))
            }
        }
    }

    /// How many entries a table has.
    pub(super) fn len<C: Comparator>(&self, table: Table<C>) -> Result<u64, ReadError> {
        match &self.source {
            Source::Lmdb(txn) => handle(table)?.len(txn).map_err(lmdb(table.shape.name)),
            Source::Pages(pages) => pages.len(table.shape),
        }
    }
}

fn handle<C>(table: Table<C>) -> Result<Handle<C>, ReadError> {
    table.handle.ok_or(ReadError::NoTable { table: table.shape.name })
}

fn lmdb(table: &'static str) -> impl FnOnce(heed::Error) -> ReadError {
    move |source| ReadError::Lmdb { table, source }
}
