//! A look at `data.mdb` before it is mapped: is it LMDB's, of our format, and all there?
//!
//! What refers to pages behind the end of a truncated file is refused here, so that nobody takes a
//! part of a database for the whole.
//!
//! Offsets from LMDB 0.9, `mdb.c`: `MDB_page` (header 16 bytes), `MDB_meta`, `MDB_db`, `MDB_node`,
//! on 64-bit machines, native endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::OpenError;
use crate::lmdb::page::{self, NO_PAGE, PAGE_HEADER, Record, Wrong, u32_at, u64_at};
use crate::lmdb::reach::{Astray, Reach};

/// From the start of a meta page.
const MAGIC: usize = PAGE_HEADER;
const VERSION: usize = PAGE_HEADER + 4;
const FREE_DB: usize = PAGE_HEADER + 24;
const MAIN_DB: usize = FREE_DB + Record::BYTES;
const LAST_PAGE: usize = MAIN_DB + Record::BYTES;
pub(crate) const TXN_ID: usize = LAST_PAGE + 8;
const META_END: usize = TXN_ID + 8;

const LMDB_MAGIC: u32 = 0xBEEF_C0DE;
const LMDB_DATA_VERSION: u32 = 1;
/// LMDB's smallest and largest, `MAX_PAGESIZE`.
const PAGE_SIZES: std::ops::RangeInclusive<u64> = 256..=32_768;
/// Looks at a file that seems truncated while somebody commits to it.
const ATTEMPTS: usize = 5;

/// Checks the data file; returns it, open, and the size of its pages.
///
/// # Errors
/// Missing, empty, foreign, of another format version or page order, damaged, or truncated.
pub(crate) fn check(path: &Path) -> Result<(File, u64), OpenError> {
    let read = |source| OpenError::ReadDataFile { path: path.to_owned(), source };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(read(error)),
    };
    if !metadata.is_file() {
        return Err(OpenError::NotLmdb { path: path.to_owned(), what: "it is not a file" });
    }
    if metadata.len() == 0 {
        return Err(OpenError::Empty { path: path.to_owned() });
    }
    let file = File::open(path).map_err(read)?;
    let not_lmdb = |what| OpenError::NotLmdb { path: path.to_owned(), what };
    let truncated = |bytes| OpenError::Truncated { path: path.to_owned(), bytes };
    let damaged = |what| OpenError::Damaged { path: path.to_owned(), what };

    let first = read_meta(&file, 0).map_err(read)?.ok_or_else(|| not_lmdb("it is too short"))?;
    let page_size = first.page_size;
    if first.magic == LMDB_MAGIC.swap_bytes() {
        return Err(not_lmdb("it was written on a machine of the other endianness"));
    }
    if first.magic != LMDB_MAGIC {
        return Err(not_lmdb("it does not begin with LMDB's magic number"));
    }
    if first.version != LMDB_DATA_VERSION {
        return Err(not_lmdb("its LMDB data format is not version 1, the one of LMDB 0.9"));
    }
    if !PAGE_SIZES.contains(&page_size) || !page_size.is_power_of_two() {
        return Err(not_lmdb("its page size is impossible"));
    }
    for _ in 0..ATTEMPTS {
        let newest = MetaPage::newest(&file, page_size).map_err(read)?;
        let newest = newest.ok_or_else(|| truncated(metadata.len()))?;
        // The length is asked for after the meta pages: strfry may be making the file longer.
        let bytes = file.metadata().map_err(read)?.len();
        let pages = bytes / page_size;
        // Pages at the very end may be counted but not written: LMDB skips those that a
        // transaction both took and gave back. So a short file is only truncated if something
        // points behind its end.
        let wrong = match newest.check() {
            Ok(()) if newest.last_page < pages => return Ok((file, page_size)),
            Ok(()) => match Reach::of(&file, page_size, pages, &newest) {
                Ok(()) => return Ok((file, page_size)),
                Err(Astray::Behind) => truncated(bytes),
                Err(Astray::Damaged(what)) => damaged(what),
                Err(Astray::Read(source)) => return Err(read(source)),
            },
            Err(what) => damaged(what),
        };
        // Pages that a commit reused meanwhile led the walk astray: look again.
        let now = MetaPage::newest(&file, page_size).map_err(read)?;
        if now.is_none_or(|now| now.txn_id == newest.txn_id) {
            return Err(wrong);
        }
    }
    // A writer that commits this often is writing to a whole file.
    Ok((file, page_size))
}

/// What is looked at of the meta pages: of one of them, and whether both are meta pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaPage {
    number: u64,
    is_meta: bool,
    magic: u32,
    version: u32,
    pub(crate) page_size: u64,
    pub(crate) free: Record,
    pub(crate) main: Record,
    pub(crate) last_page: u64,
    pub(crate) txn_id: u64,
}

impl MetaPage {
    /// The meta page of the last commit; `None` if the file ends before both do.
    pub(crate) fn newest(file: &File, page_size: u64) -> io::Result<Option<Self>> {
        Ok(Self::both(file, page_size)?.map(Self::newest_of))
    }

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
            free,
            main: record(MAIN_DB),
            last_page: u64_at(page, LAST_PAGE),
            txn_id: u64_at(page, TXN_ID),
        }
    }

    /// The one of the last commit.
    pub(crate) fn newest_of([first, second]: [Self; 2]) -> Self {
        let are_meta = Self::are_of_one_file(&first, &second);
        let newest = if second.txn_id > first.txn_id { second } else { first };
        Self { is_meta: are_meta, ..newest }
    }

    /// The one of this commit, if it has not been written over.
    #[cfg(feature = "lmdb")]
    pub(crate) fn of_commit([first, second]: [Self; 2], txn_id: u64) -> Option<Self> {
        let are_meta = Self::are_of_one_file(&first, &second);
        let meta = if txn_id.is_multiple_of(2) { first } else { second };
        (meta.txn_id == txn_id).then_some(Self { is_meta: are_meta, ..meta })
    }

    fn are_of_one_file(first: &Self, second: &Self) -> bool {
        let same = |meta: &Self| (meta.magic, meta.version, meta.page_size);
        first.is_meta && second.is_meta && same(first) == same(second)
    }

    /// Whether what it says can be.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        // The first commit is number 1.
        let is_its_turn = self.txn_id == 0 || self.txn_id % 2 == self.number;
        if !self.is_meta || !is_its_turn {
            return Err("one of its two meta pages is none");
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
