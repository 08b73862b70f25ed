//! How many pages of `data.mdb` are free: LMDB's own list of them, which heed does not reach.
//!
//! Read with ordinary reads while a snapshot of the same commit is open, so that no writer reuses
//! a page of the list. LMDB 0.9, `mdb.c`: a record of the list is a count and that many page
//! numbers, 8 bytes each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::data_file::{
    F_BIGDATA, Meta, NO_PAGE, NODE_HEADER, P_BRANCH, P_LEAF, PAGE_HEADER, newest_meta, read_meta,
    u16_at, u64_at,
};

/// The last commit: its number and what it takes to read its list.
pub(super) fn last_commit(file: &File) -> io::Result<Option<Meta>> {
    let Some(first) = read_meta(file, 0)? else { return Ok(None) };
    newest_meta(file, first.page_size)
}

/// Bytes of free pages. A list that makes no sense ends where it does.
pub(super) fn free_bytes(file: &File, meta: &Meta) -> io::Result<u64> {
    let pages = file.metadata()?.len().checked_div(meta.page_size).unwrap_or(0);
    let mut page = vec![0; usize::try_from(meta.page_size).unwrap_or(0)];
    let mut to_visit = vec![meta.free_root];
    let (mut visited, mut free) = (0, 0_u64);
    while let Some(number) = to_visit.pop() {
        // A tree visits each page once; more visits than pages mean a forged cycle.
        visited += 1;
        if number == NO_PAGE || number >= pages || visited > pages {
            continue;
        }
        file.read_exact_at(&mut page, number * meta.page_size)?;
        let flags = u16_at(&page, 10);
        let lower = usize::from(u16_at(&page, 12)).min(page.len());
        for pointer in (PAGE_HEADER..lower).step_by(2) {
            let node = usize::from(u16_at(&page, pointer));
            let data = node + NODE_HEADER + usize::from(u16_at(&page, node + 6));
            if flags & P_BRANCH != 0 {
                let half = |at| u64::from(u16_at(&page, at));
                to_visit.push(half(node) | half(node + 2) << 16 | half(node + 4) << 32);
            } else if flags & P_LEAF != 0 && u16_at(&page, node + 4) & F_BIGDATA != 0 {
                let overflow = u64_at(&page, data);
                let mut count = [0; 8];
                if overflow < pages {
                    let at = overflow * meta.page_size + PAGE_HEADER as u64;
                    file.read_exact_at(&mut count, at)?;
                }
                free = free.saturating_add(u64::from_ne_bytes(count));
            } else if flags & P_LEAF != 0 {
                free = free.saturating_add(u64_at(&page, data));
            }
        }
    }
    // No more pages can be free than there are.
    Ok(free.min(pages) * meta.page_size)
}
