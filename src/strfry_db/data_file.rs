//! A look at `data.mdb` before LMDB maps it: is it LMDB's, of our format, and all there?
//!
//! LMDB trusts the sizes in its meta pages; reading a mapped page that lies behind the end of a
//! truncated file kills the process. So the end is checked here, with ordinary reads.
//!
//! Offsets from LMDB 0.9, `mdb.c`: `MDB_page` (header 16 bytes), `MDB_meta`, `MDB_db`, `MDB_node`,
//! on 64-bit machines, native endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::OpenError;

pub(super) const PAGE_HEADER: usize = 16;
/// From the start of a meta page.
const MAGIC: usize = PAGE_HEADER;
const VERSION: usize = PAGE_HEADER + 4;
const FREE_DB: usize = PAGE_HEADER + 24;
const MAIN_DB: usize = FREE_DB + DB_RECORD;
const LAST_PAGE: usize = MAIN_DB + DB_RECORD;
pub(super) const TXN_ID: usize = LAST_PAGE + 8;
const META_END: usize = TXN_ID + 8;
/// `MDB_db`: its root page is the last of its fields.
const DB_RECORD: usize = 48;
const DB_ROOT: usize = 40;

const LMDB_MAGIC: u32 = 0xBEEF_C0DE;
const LMDB_DATA_VERSION: u32 = 1;
/// `P_INVALID`: the root of an empty tree.
pub(super) const NO_PAGE: u64 = u64::MAX;

pub(super) const P_BRANCH: u16 = 0x01;
pub(super) const P_LEAF: u16 = 0x02;
pub(super) const P_LEAF2: u16 = 0x20;
pub(super) const NODE_HEADER: usize = 8;
/// Looks at a file that seems truncated while somebody commits to it.
const ATTEMPTS: usize = 5;
pub(super) const F_BIGDATA: u16 = 0x01;
pub(super) const F_SUBDATA: u16 = 0x02;

/// Checks the data file.
///
/// # Errors
/// Missing, empty, foreign, of another format version or page order, or truncated.
pub(super) fn check(path: &Path) -> Result<(), OpenError> {
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
    if !(256..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
        return Err(not_lmdb("its page size is impossible"));
    }
    for _ in 0..ATTEMPTS {
        let newest = newest_meta(&file, page_size).map_err(read)?;
        let newest = newest.ok_or_else(|| truncated(metadata.len()))?;
        // The length is asked for after the meta pages: strfry may be making the file longer.
        let bytes = file.metadata().map_err(read)?.len();
        let pages = bytes / page_size;
        // Pages at the very end may be counted but not written: LMDB skips those that a
        // transaction both took and gave back. So a short file is only truncated if something
        // points behind its end.
        let tree = Tree { file: &file, page_size, pages };
        let roots = [newest.free_root, newest.main_root];
        if newest.last_page < pages || tree.lies_within_file(roots).map_err(read)? {
            return Ok(());
        }
        // Pages that a commit reused meanwhile led the walk astray: look again.
        let now = newest_meta(&file, page_size).map_err(read)?;
        if now.is_none_or(|now| now.txn_id == newest.txn_id) {
            return Err(truncated(bytes));
        }
    }
    // A writer that commits this often is writing to a whole file.
    Ok(())
}

/// The meta page of the last commit; `None` if the file ends before both do.
pub(super) fn newest_meta(file: &File, page_size: u64) -> io::Result<Option<Meta>> {
    let (first, second) = (read_meta(file, 0)?, read_meta(file, page_size)?);
    Ok(first.zip(second).map(
        |(first, second)| {
            if second.txn_id > first.txn_id { second } else { first }
        },
    ))
}

/// What is looked at of a meta page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    magic: u32,
    version: u32,
    pub(super) page_size: u64,
    pub(super) free_root: u64,
    pub(super) main_root: u64,
    pub(super) last_page: u64,
    pub(super) txn_id: u64,
}

/// `None` if the file ends before the meta page does.
pub(super) fn read_meta(file: &File, offset: u64) -> io::Result<Option<Meta>> {
    let mut page = [0; META_END];
    match file.read_exact_at(&mut page, offset) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(Meta {
        magic: u32_at(&page, MAGIC),
        version: u32_at(&page, VERSION),
        // LMDB keeps the page size in the otherwise unused first field of the free-list's record.
        page_size: u64::from(u32_at(&page, FREE_DB)),
        free_root: u64_at(&page, FREE_DB + DB_ROOT),
        main_root: u64_at(&page, MAIN_DB + DB_ROOT),
        last_page: u64_at(&page, LAST_PAGE),
        txn_id: u64_at(&page, TXN_ID),
    }))
}

/// The B-trees of a data file, walked with ordinary reads.
struct Tree<'a> {
    file: &'a File,
    page_size: u64,
    pages: u64,
}

impl Tree<'_> {
    /// Whether every page that can be reached from these roots is in the file.
    fn lies_within_file(&self, roots: [u64; 2]) -> io::Result<bool> {
        let mut to_visit: Vec<u64> = roots.into_iter().filter(|&root| root != NO_PAGE).collect();
        let mut visited = 0;
        let mut page = vec![0; usize::try_from(self.page_size).unwrap_or(0)];
        while let Some(number) = to_visit.pop() {
            // A tree visits each page once; more visits than pages mean a forged cycle.
            visited += 1;
            if number >= self.pages || visited > self.pages {
                return Ok(false);
            }
            self.file.read_exact_at(&mut page, number * self.page_size)?;
            if !self.visit(&page, &mut to_visit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Collects the children of one page; false if an overflow value lies behind the end.
    fn visit(&self, page: &[u8], children: &mut Vec<u64>) -> io::Result<bool> {
        let flags = u16_at(page, 10);
        if flags & P_LEAF2 != 0 || flags & (P_BRANCH | P_LEAF) == 0 {
            return Ok(true);
        }
        let lower = usize::from(u16_at(page, 12)).min(page.len());
        for pointer in (PAGE_HEADER..lower).step_by(2) {
            let node = usize::from(u16_at(page, pointer));
            let (low, high) = (u16_at(page, node), u16_at(page, node + 2));
            let (node_flags, key) = (u16_at(page, node + 4), usize::from(u16_at(page, node + 6)));
            let data = node + NODE_HEADER + key;
            if flags & P_BRANCH != 0 {
                let (low, high, top) = (u64::from(low), u64::from(high), u64::from(node_flags));
                children.push(low | high << 16 | top << 32);
            } else if node_flags & F_BIGDATA != 0 {
                let bytes = u64::from(low) | u64::from(high) << 16;
                let pages = (PAGE_HEADER as u64 + bytes).div_ceil(self.page_size);
                if u64_at(page, data).saturating_add(pages) > self.pages {
                    return Ok(false);
                }
            } else if node_flags & F_SUBDATA != 0 {
                let root = u64_at(page, data + DB_ROOT);
                if root != NO_PAGE {
                    children.push(root);
                }
            }
        }
        Ok(true)
    }
}

// Offsets come from the file, so reading beyond the page yields zeros instead of a panic.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u16::from_ne_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u32::from_ne_bytes(*field))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u64::from_ne_bytes(*field))
}
