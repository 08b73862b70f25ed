//! One moment of the database, and the few ways in which it is read. Everything else in this module
//! goes through them.

use std::sync::Arc;

use crate::error::{ReadError, damaged};
use crate::format::tables::{Table, present};
use crate::lmdb::read_ahead::blocks_read;
use crate::open::StrfryDb;
use crate::txn::cursor::{Entries, Entry};
use crate::txn::moment::Moment;
use crate::txn::open_snapshots::Open;
use crate::txn::page_txn::PageTxn;
#[cfg(feature = "lmdb")]
use crate::txn::registered::Slot;

/// There is none without LMDB.
#[cfg(not(feature = "lmdb"))]
pub(crate) type Slot<'db> = &'db std::convert::Infallible;

/// Whether the thread of a snapshot has had to wait for the disk meanwhile.
struct Waits<'db> {
    db: &'db StrfryDb,
    /// Blocks that it had read before.
    blocks_read: i64,
}

impl Waits<'_> {
    fn some(&self) -> bool {
        blocks_read() != self.blocks_read
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        match self.some() {
            true => self.db.begin_to_read_ahead(),
            false => self.db.meta_pages().read_ahead.note_no_wait(),
        }
    }
}

/// One moment of the database. What it returns borrows from the map of its file, or from copies of
/// its pages.
pub struct Snapshot<'db> {
    db: &'db StrfryDb,
    txn: PageTxn<'db>,
    /// `None` if its commit could not be looked at any more.
    moment: Option<Arc<Moment>>,
    /// Keeps its pages, where it has one. To be given back before the snapshot counts as closed.
    slot: Option<Slot<'db>>,
    waits: Waits<'db>,
    _open: Open,
}

impl<'db> Snapshot<'db> {
    pub(crate) fn new(
        db: &'db StrfryDb,
        txn: PageTxn<'db>,
        moment: Option<Arc<Moment>>,
        slot: Option<Slot<'db>>,
        open: Open,
    ) -> Self {
        let waits = Waits { db, blocks_read: blocks_read() };
        Self { db, txn, moment, slot, waits, _open: open }
    }

    /// Whether everything that was read is of this moment: with a slot in the lock file that
    /// strfry uses always.
    ///
    /// # Errors
    /// As [`StrfryDb::check_files`].
    pub(crate) fn is_whole(&self) -> Result<bool, ReadError> {
        if !self.is_unspoilt() {
            return Ok(false);
        }
        let now = self.db.check_files()?;
        let Some(moment) = &self.moment else { return Ok(true) };
        match moment.is_in(&now) || moment.is_as_it_was(self.db.meta_pages())? {
            true => Ok(true),
            // Reused since it was asked.
            false if !self.is_unspoilt() => Ok(false),
            false => Err(self.db.replaced()),
        }
    }

    /// Whether strfry cannot have reused any page that was read: what must be asked before anything
    /// of it is kept for longer than the snapshot.
    pub(crate) fn is_unspoilt(&self) -> bool {
        // A slot keeps the pages, also those that have been copied.
        self.slot.is_some() || self.txn.is_whole()
    }

    /// The number of the commit that it shows.
    pub(crate) fn txn_id(&self) -> u64 {
        self.txn.txn_id()
    }

    pub(crate) fn db(&self) -> &'db StrfryDb {
        self.db
    }
}

impl Snapshot<'_> {
    /// Whether records should be asked for before they are looked at ([`Snapshot::read_ahead`]).
    pub(crate) fn reads_ahead(&self) -> bool {
        if self.db.meta_pages().read_ahead.is_on() {
            return true;
        }
        let waits = self.waits.some();
        if waits {
            self.db.begin_to_read_ahead();
        }
        waits
    }

    /// Has the kernel begin to read the records under these keys, which ascend, if they are not in
    /// memory.
    pub(crate) fn read_ahead<K: AsRef<[u8]>>(&self, table: Table, keys: impl Iterator<Item = K>) {
        self.txn.read_ahead(table, &keys.collect::<Vec<_>>());
    }

    /// The first value of a key.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, ReadError> {
        self.txn.get(table, key)
    }

    /// Entries from this key on, or all.
    pub(crate) fn forward(
        &self,
        table: Table,
        from: Option<&[u8]>,
    ) -> Result<Entries<'_>, ReadError> {
        self.txn.forward(table, from)
    }

    /// Entries back from the last before this key, or from the last of all.
    pub(crate) fn backward(
        &self,
        table: Table,
        before: Option<&[u8]>,
    ) -> Result<Entries<'_>, ReadError> {
        self.txn.backward(table, before)
    }

    /// Entries from wherever they are told to begin, once or many times: on from there, or back from
    /// the one before.
    pub(crate) fn seeker(&self, table: Table, forward: bool) -> Result<Entries<'_>, ReadError> {
        self.txn.seeker(table, forward)
    }

    /// How many events there are, as the table of events and each index that has every event say.
    pub(crate) fn number_of_events(&self) -> Result<u64, ReadError> {
        let tables = &self.db.tables;
        let events = self.len(present("Event", tables.event)?)?;
        let indexes =
            [tables.created_at, tables.id, tables.pubkey, tables.kind, tables.pubkey_kind];
        // An index that is missing is the error of whoever needs it.
        for table in indexes.into_iter().flatten() {
            if self.len(table)? != events {
                let wrong = "it has not as many entries as table Event";
                return Err(damaged(table.name, "all", wrong));
            }
        }
        Ok(events)
    }

    /// When the oldest event was made; `None` if there is none.
    pub(crate) fn oldest_time(&self) -> Result<Option<u64>, ReadError> {
        let Some(table) = self.db.tables.created_at else { return Ok(None) };
        self.forward(table, None)?.next().map_or(Ok(None), time_of)
    }

    /// When the newest event was made, likewise.
    pub(crate) fn newest_time(&self) -> Result<Option<u64>, ReadError> {
        let Some(table) = self.db.tables.created_at else { return Ok(None) };
        self.backward(table, None)?.next().map_or(Ok(None), time_of)
    }

    /// How many entries a table has.
    pub(crate) fn len(&self, table: Table) -> Result<u64, ReadError> {
        self.txn.len(table)
    }

    /// Bytes of pages that a writer may reuse.
    pub(crate) fn free_bytes(&self) -> Result<u64, ReadError> {
        self.txn.free_bytes()
    }
}

fn time_of(entry: Result<Entry<'_>, ReadError>) -> Result<Option<u64>, ReadError> {
    entry.map(|(key, _)| key.try_into().ok().map(u64::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Advice, fadvise};

    use super::*;
    use crate::format::keys::LevId;
    use crate::golden::golden_database;
    use crate::limits::SNAPSHOTS_AFTER_A_WAIT;

    /// A database of which next to nothing is in memory; `None`, and it says so, where files are always
    /// in memory, or Linux does not count what it reads.
    fn on_the_disk() -> Option<(tempfile::TempDir, StrfryDb)> {
        let directory = golden_database("strfry-1.1.1");
        let file = File::open(directory.path().join("data.mdb")).unwrap();
        let forget = || {
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        };
        forget();
        let before = blocks_read();
        file.read_exact_at(&mut [0], 0).unwrap();
        if blocks_read() == before {
            eprintln!("skipped: no file is read from a disk here, or Linux does not count it");
            return None;
        }
        let db = StrfryDb::open(directory.path()).unwrap();
        forget();
        Some((directory, db))
    }

    fn by_time(snapshot: &Snapshot<'_>) -> Result<Vec<LevId>, ReadError> {
        let index = present("Event__created_at", snapshot.db().tables.created_at)?;
        let lev_id = |(_, lev_id): Entry<'_>| LevId::from_ne_bytes(lev_id.try_into().unwrap());
        snapshot.forward(index, None)?.map(|entry| entry.map(lev_id)).collect()
    }

    #[test]
    fn pages_are_asked_for_as_soon_as_the_disk_was_waited_for_and_not_much_longer() {
        let Some((_directory, db)) = on_the_disk() else { return };
        let asks = || db.meta_pages().read_ahead.is_on();
        let read_all = || {
            let asks_meanwhile = db.read(|snapshot| {
                assert!(snapshot.packed_of(by_time(snapshot)?)?.len() > 100);
                Ok(asks())
            });
            (asks_meanwhile.unwrap(), asks())
        };
        assert!(!asks());
        assert_eq!(read_all(), (true, true));
        // This thread may have to read something else.
        assert!((0..100 * SNAPSHOTS_AFTER_A_WAIT).any(|_| read_all() == (false, false)));
    }

    #[test]
    fn after_a_walk_that_had_to_wait_pages_are_asked_for() {
        let Some((_directory, db)) = on_the_disk() else { return };
        assert!(db.read(by_time).unwrap().len() > 100);
        assert!(db.meta_pages().read_ahead.is_on());
    }
}
