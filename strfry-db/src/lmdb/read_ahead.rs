//! Pages that are asked for before they are looked at, where the file is not in memory.
//!
//! Whoever looks at a page that is on the disk waits for it, and Linux reads what lies around it as
//! well. In LMDB's file that is mostly of other tables, or of another time: of a database that is
//! larger than memory, most of it is dropped again unused, and pushes out pages that a relay needs.
//! So once something had to be read from the disk, the pages that will be needed are named all at
//! once, and no others are read. Where everything is in memory, that would only take time, and
//! nothing is asked for.

use std::fs::File;
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Advice, fadvise};

use crate::limits::{BYTES_PER_REQUEST, SNAPSHOTS_AFTER_A_WAIT};

/// Whether the disk had to be waited for not long ago: how many snapshots on pages are asked for.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(AtomicU32);

impl ReadAhead {
    /// Whether pages should be asked for.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The disk has been waited for.
    pub(crate) fn turn_on(&self) {
        self.0.store(SNAPSHOTS_AFTER_A_WAIT, Ordering::Relaxed);
    }

    /// A snapshot has not had to wait for it.
    pub(crate) fn note_no_wait(&self) {
        // Of threads that do so at once, one may be lost.
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
        }
    }
}

/// Has the kernel begin to read these pages: the first of some, and how many. Those that are in memory
/// are not read, and none is waited for, unless the disk has too much to do already.
pub(crate) fn ask_for(file: &File, page_size: u64, pages: Vec<(u64, u64)>) {
    for (page, end) in ranges(pages) {
        let (mut from, end) = (page.saturating_mul(page_size), end.saturating_mul(page_size));
        // No length at all would stand for everything to the end of the file.
        while let Some(bytes) = NonZeroU64::new((end - from).min(BYTES_PER_REQUEST)) {
            // Where it is refused, pages are read when they are looked at.
            let _ = fadvise(file, from, Some(bytes), Advice::WillNeed);
            from += bytes.get();
        }
    }
}

/// The first page of each range, and the one behind it.
fn ranges(mut pages: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    pages.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(pages.len());
    for (page, count) in pages {
        let end = page.saturating_add(count);
        match ranges.last_mut() {
            Some((_, last)) if *last >= page => *last = end.max(*last),
            _ => ranges.push((page, end)),
        }
    }
    ranges
}

/// Blocks of 512 bytes that the disk has been asked for by this thread so far, by its looking at
/// pages or asking for them, of whatever file; 0 where Linux does not count them. `man 2 getrusage`:
/// `ru_inblock`.
pub(crate) fn blocks_read() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it writes to the place that it is given, which is as large as it needs, and zeros are a
    // valid value if it does not.
    #[allow(unsafe_code)]
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_inblock
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn what_was_asked_for_is_not_read_again_when_it_is_looked_at() {
        const PAGES: u64 = 8_192;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; 4_096 * PAGES as usize]).unwrap();
        let mut read_from_disk = |asked_for| {
            file.sync_all().unwrap();
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            ask_for(&file, 4_096, asked_for);
            let before = blocks_read();
            file.rewind().unwrap();
            file.read_exact(&mut vec![0; 4_096 * PAGES as usize]).unwrap();
            blocks_read() - before
        };
        if read_from_disk(Vec::new()) == 0 {
            eprintln!("skipped: no file is read from a disk here, or Linux does not count it");
            return;
        }
        // This thread may have to read something else.
        let quarter = 4_096 / 512 * PAGES as i64 / 4;
        assert!(read_from_disk(vec![(0, PAGES)]) < quarter);
        assert!(read_from_disk(vec![(0, PAGES / 2)]) > quarter);
    }

    #[test]
    fn it_ends_when_so_many_snapshots_have_not_had_to_wait() {
        let read_ahead = ReadAhead::default();
        read_ahead.note_no_wait();
        assert!(!read_ahead.is_on());
        read_ahead.turn_on();
        (1..SNAPSHOTS_AFTER_A_WAIT).for_each(|_| read_ahead.note_no_wait());
        assert!(read_ahead.is_on());
        read_ahead.note_no_wait();
        assert!(!read_ahead.is_on());
    }

    #[test]
    fn pages_that_lie_side_by_side_are_asked_for_together() {
        let pages = vec![(9, 1), (3, 2), (5, 1), (3, 1), (20, 4), (10, 1), (21, 1)];
        assert_eq!(ranges(pages), [(3, 6), (9, 11), (20, 24)]);
        assert_eq!(ranges(vec![(u64::MAX, 2), (1, 0)]), [(1, 1), (u64::MAX, u64::MAX)]);
    }
}
