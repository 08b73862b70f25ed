//! The two meta pages of a data file: what LMDB says of each of the last two commits.
//!
//! Offsets from LMDB 0.9, `mdb.c`: `MDB_page` (header 16 bytes), `MDB_meta`, `MDB_db`, `MDB_node`,
//! on 64-bit machines, native endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};

use crate::error::{ReadError, damaged, refused};
use crate::lmdb::page::{self, NO_PAGE, PAGE_HEADER, Record, Wrong, u32_at, u64_at};
use crate::lmdb::read_ahead::ReadAhead;

/// From the start of a meta page.
const MAGIC: usize = PAGE_HEADER;
const VERSION: usize = PAGE_HEADER + 4;
const MAP_SIZE: usize = PAGE_HEADER + 16;
const FREE_DB: usize = PAGE_HEADER + 24;
const MAIN_DB: usize = FREE_DB + Record::BYTES;
pub(crate) const LAST_PAGE: usize = MAIN_DB + Record::BYTES;
pub(crate) const TXN_ID: usize = LAST_PAGE + 8;
const META_END: usize = TXN_ID + 8;

/// LMDB's smallest and largest, `MAX_PAGESIZE`.
pub(crate) const PAGE_SIZES: std::ops::RangeInclusive<u64> = 256..=32_768;

/// What is looked at of the meta pages: of one of them, and whether both belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaPage {
    number: u64,
    /// Whether it is a meta page, or both are, of one file and of a commit and the next.
    is_meta: bool,
    pub(crate) magic: u32,
    pub(crate) version: u32,
    pub(crate) page_size: u64,
    /// Bytes; the largest that a writer ever had.
    map_size: u64,
    pub(crate) free: Record,
    pub(crate) main: Record,
    pub(crate) last_page: u64,
    pub(crate) txn_id: u64,
}

impl MetaPage {
    /// Both meta pages; `None` if the file ends before they do.
    pub(crate) fn both(file: &File, page_size: u64) -> io::Result<Option<[Self; 2]>> {
        // In one read, because they are read at the beginning and the end of every batch.
        let second = usize::try_from(page_size.min(*PAGE_SIZES.end())).unwrap_or(0);
        let mut pages = vec![0; second + META_END];
        if !read_whole(file, &mut pages, 0)? {
            return Ok(None);
        }
        let (first, second) = pages.split_at(second);
        Ok(Some([Self::from_page(first, 0), Self::from_page(second, 1)]))
    }

    /// Of the beginning of the meta page of this number.
    fn from_page(page: &[u8], number: u64) -> Self {
        let record = |at: usize| {
            let record = page.get(at..at + Record::BYTES).and_then(Record::from_bytes);
            record.unwrap_or_default()
        };
        let free = record(FREE_DB);
        Self {
            number,
            is_meta: page::is_meta(page, number),
            magic: u32_at(page, MAGIC),
            version: u32_at(page, VERSION),
            // LMDB keeps the page size in the otherwise unused first field of the free-list's record.
            page_size: free.pad.into(),
            map_size: u64_at(page, MAP_SIZE),
            free,
            main: record(MAIN_DB),
            last_page: u64_at(page, LAST_PAGE),
            txn_id: u64_at(page, TXN_ID),
        }
    }

    /// The one of the last commit.
    pub(crate) fn newest_of([first, second]: [Self; 2]) -> Self {
        let are_meta = Self::belong_together(&first, &second);
        let newest = if second.txn_id > first.txn_id { second } else { first };
        Self { is_meta: are_meta, ..newest }
    }

    /// The one of this commit, if it has not been written over.
    #[cfg(feature = "lmdb")]
    pub(crate) fn of_commit([first, second]: [Self; 2], txn_id: u64) -> Option<Self> {
        let are_meta = Self::belong_together(&first, &second);
        let meta = if txn_id.is_multiple_of(2) { first } else { second };
        (meta.txn_id == txn_id).then_some(Self { is_meta: are_meta, ..meta })
    }

    /// Each commit writes its number, which is one more than that of the commit before, over the
    /// meta page that is not of that commit (`mdb_txn_renew0`, `mdb_env_write_meta`). Otherwise a
    /// damaged number would make the older page pass for the newer one.
    ///
    /// The pages of a compacted copy are 0 and 1. One that is put in the place of a file whose lock
    /// file stays in use goes on with the number from there, over the first of them.
    fn belong_together(first: &Self, second: &Self) -> bool {
        let same = |meta: &Self| (meta.magic, meta.version, meta.page_size);
        let follow = first.txn_id.abs_diff(second.txn_id) <= 1;
        let is_compacted = first.txn_id.min(second.txn_id) <= 1;
        first.is_meta && second.is_meta && same(first) == same(second) && (follow || is_compacted)
    }

    /// Whether what it says can be; of meta pages that were read while nobody wrote them.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        // The first commit is number 1.
        let is_its_turn = self.txn_id == 0 || self.txn_id % 2 == self.number;
        if !self.is_meta || !is_its_turn {
            return Err("its two meta pages are not those of a commit and the one before it");
        }
        // A writer takes no page behind the end of its map (`mdb_page_alloc`). LMDB believes the
        // number, and would map as much, or say that there is no memory.
        let bytes = self.last_page.saturating_add(1).saturating_mul(self.page_size);
        if bytes > self.map_size {
            return Err("its meta page counts more pages than its map has room for");
        }
        for tree in [self.free, self.main] {
            tree.check()?;
            if tree.root != NO_PAGE && tree.root > self.last_page {
                return Err("its meta page names a page that there is not");
            }
        }
        Ok(())
    }
}

/// `None` if the file ends before the meta page does.
pub(crate) fn read_meta(file: &File, offset: u64) -> io::Result<Option<MetaPage>> {
    let mut page = [0; META_END];
    let is_whole = read_whole(file, &mut page, offset)?;
    Ok(is_whole.then(|| MetaPage::from_page(&page, u64::from(offset > 0))))
}

/// False if the file ends before that.
fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tries to begin a snapshot with nobody committing at that moment, which takes microseconds.
const ATTEMPTS_TO_BEGIN: u32 = 1_000;

/// What a snapshot without a slot goes by.
#[derive(Debug)]
pub(crate) struct MetaPages {
    pub(crate) file: File,
    page_size: u64,
    /// Of all who read the file.
    pub(crate) read_ahead: ReadAhead,
}

impl MetaPages {
    /// Of a file that has been checked, which is so the size of its pages too.
    pub(crate) fn new((file, page_size): (File, u64)) -> Self {
        Self { file, page_size, read_ahead: ReadAhead::default() }
    }

    /// The length of the file.
    pub(crate) fn length(&self) -> Result<u64, ReadError> {
        let metadata = self.file.metadata().map_err(refused("tell the size"))?;
        Ok(metadata.len())
    }

    /// The meta page of the last commit.
    pub(crate) fn newest(&self) -> Result<MetaPage, ReadError> {
        self.both().map(MetaPage::newest_of)
    }

    pub(crate) fn both(&self) -> Result<[MetaPage; 2], ReadError> {
        fence(Ordering::Acquire);
        match MetaPage::both(&self.file, self.page_size) {
            Ok(Some(metas)) => Ok(metas),
            Ok(None) => Err(ReadError::NoMetaPages),
            Err(source) => Err(refused("read the meta pages")(source)),
        }
    }

    /// Both meta pages, at a moment at which nobody is writing them: this look at them, if another
    /// shows the same.
    pub(crate) fn at_one_moment(
        &self,
        mut metas: [MetaPage; 2],
    ) -> Result<[MetaPage; 2], ReadError> {
        for _ in 0..ATTEMPTS_TO_BEGIN {
            let again = self.both()?;
            if again == metas {
                return Ok(metas);
            }
            metas = again;
        }
        Err(ReadError::Overtaken)
    }

    /// The meta page of the last commit, at such a moment.
    pub(crate) fn begin(&self) -> Result<MetaPage, ReadError> {
        let meta = MetaPage::newest_of(self.at_one_moment(self.both()?)?);
        meta.check().map_err(|what| damaged("(pages)", "the meta pages", what))?;
        Ok(meta)
    }
}

/// Whether pages of snapshot `begun` may have been reused, with `newest` the last commit.
pub(crate) fn is_overtaken(begun: u64, newest: u64) -> bool {
    // A number that goes back is that of another file.
    newest.checked_sub(begun).is_none_or(|commits| commits >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_overtaken_by_the_second_commit() {
        for (begun, newest, overtaken) in [
            (7, 7, false),
            (7, 8, false),
            (7, 9, true),
            (7, 1_000, true),
            (7, 6, true),
            (0, 0, false),
            (u64::MAX, u64::MAX, false),
            (u64::MAX, 0, true),
        ] {
            assert_eq!(is_overtaken(begun, newest), overtaken, "{begun} {newest}");
        }
    }
}
