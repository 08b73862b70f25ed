//! How many pages of `data.mdb` are free: LMDB's own list of them, which heed does not reach.
//!
//! Read with ordinary reads while a snapshot of the same commit is open, so that no writer reuses
//! a page of the list. LMDB 0.9, `mdb.c`: a record of the list is a count and that many page
//! numbers, 8 bytes each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::data_file::{Meta, read_meta};
use super::error::{ReadError, damaged};
use super::page::{NO_PAGE, PAGE_HEADER, Page, Value, Wrong, each_leaf, u64_at};

/// The last commit: its number and what it takes to read its list.
pub(super) fn last_commit(file: &File) -> io::Result<Option<Meta>> {
    let Some(first) = read_meta(file, 0)? else { return Ok(None) };
    Meta::newest(file, first.page_size)
}

/// Bytes of free pages.
///
/// # Errors
/// The list cannot be read, or is damaged.
pub(super) fn free_bytes(file: &File, meta: &Meta) -> Result<u64, ReadError> {
    let wrong = |page: u64, what: Wrong| damaged("(free pages)", format!("page {page}"), what);
    meta.free.check().map_err(|what| wrong(0, what))?;
    if meta.free.root == NO_PAGE {
        return Ok(0);
    }
    let read = |page: u64, bytes: &mut [u8]| {
        let read = file.read_exact_at(bytes, page.saturating_mul(meta.page_size));
        read.map_err(|source| ReadError::ReadPage { page, source })
    };
    let mut read_page = |page| {
        let mut bytes = vec![0; usize::try_from(meta.page_size).unwrap_or(0)].into_boxed_slice();
        read(page, &mut bytes).map(|()| bytes)
    };
    let (mut free, mut last) = (0_u64, None);
    let mut add = |number: u64, page: &[u8]| {
        for node in Page::of_nodes(page, number).map_err(|what| wrong(number, what))?.nodes() {
            let node = node.map_err(|what| wrong(number, what))?;
            // The commit that has freed them. They ascend, so no page can come twice.
            let commit = Some(u64_at(node.key, 0));
            if node.key.len() != 8 || commit <= last {
                return Err(wrong(number, "its keys are out of order"));
            }
            last = commit;
            let count = match node.value().map_err(|what| wrong(number, what))? {
                Value::Here(pages) => u64_at(pages, 0),
                Value::Large { page, .. } => {
                    let mut head = [0; PAGE_HEADER + 8];
                    read(page, &mut head)?;
                    u64_at(&head, PAGE_HEADER)
                }
                _ => return Err(wrong(number, "a record is not a list of pages")),
            };
            free = free.saturating_add(count);
        }
        Ok(())
    };
    each_leaf(meta.free.root, meta.free.depth, &mut read_page, &wrong, &mut add)?;
    // No more pages can be free than there are.
    match free <= meta.last_page {
        true => Ok(free * meta.page_size),
        false => Err(wrong(meta.free.root, "more pages are free than there are")),
    }
}
