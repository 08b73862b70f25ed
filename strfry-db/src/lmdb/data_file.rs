//! A look at `data.mdb` before it is mapped: is it LMDB's, of our format, and all there?
//!
//! What refers to pages behind the end of a truncated file is refused here, so that nobody takes a
//! part of a database for the whole.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::OpenError;
use crate::lmdb::meta_page::{MetaPage, PAGE_SIZES, read_meta};
use crate::lmdb::reach::{Astray, Reach};

const LMDB_MAGIC: u32 = 0xBEEF_C0DE;
const LMDB_DATA_VERSION: u32 = 1;
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
