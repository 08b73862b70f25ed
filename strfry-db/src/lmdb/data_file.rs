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
        let metas = MetaPage::both(&file, page_size).map_err(read)?;
        let metas = metas.ok_or_else(|| truncated(metadata.len()))?;
        let newest = MetaPage::newest_of(metas.clone());
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
        // A meta page was read while it was written, or pages that a commit reused meanwhile led the
        // walk astray: look again.
        let now = MetaPage::both(&file, page_size).map_err(read)?;
        if now.is_none_or(|now| now == metas) {
            return Err(wrong);
        }
    }
    // A writer that commits this often is writing to a whole file.
    Ok((file, page_size))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::golden::golden_database;
    use crate::lmdb::meta_page::{LAST_PAGE, TXN_ID};

    /// What is wrong with a golden database once its meta pages have these in that place. Their
    /// commits are 2 and 3.
    fn wrong(at: usize, [first, second]: [u64; 2]) -> Option<&'static str> {
        let directory = golden_database("strfry-1.1.1");
        let path = directory.path().join("data.mdb");
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&first.to_ne_bytes(), at as u64).unwrap();
        file.write_all_at(&second.to_ne_bytes(), 4_096 + at as u64).unwrap();
        match check(&path) {
            Ok(_) => None,
            Err(OpenError::Damaged { what, .. }) => Some(what),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_meta_page_counts_beside_that_of_the_commit_before_it_and_no_other() {
        let wrong = |numbers| wrong(TXN_ID, numbers);
        for numbers in [[2, 3], [4, 3], [2, 1], [0, 1], [8, 1], [1 << 40, (1 << 40) + 1]] {
            assert_eq!(wrong(numbers), None, "{numbers:?}");
        }
        // The older would pass for the newer, with all that it says.
        for numbers in [[2, 5], [6, 3], [1 << 40, 3], [u64::MAX - 1, 3], [3, 2]] {
            let what = "its two meta pages are not those of a commit and the one before it";
            assert_eq!(wrong(numbers), Some(what), "{numbers:?}");
        }
    }

    #[test]
    fn no_more_pages_are_believed_than_the_map_of_a_writer_has() {
        // 10 TiB, as strfry has it by default.
        let most = (10 << 40) / 4_096;
        assert_eq!(wrong(LAST_PAGE, [most, most - 1]), None);
        for last_page in [most, 1 << 40, u64::MAX] {
            let what = "its meta page counts more pages than its map has room for";
            assert_eq!(wrong(LAST_PAGE, [6, last_page]), Some(what), "{last_page}");
        }
    }
}
