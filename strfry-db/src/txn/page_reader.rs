//! One moment of the database, read page by page without LMDB: where a page comes from, and that it
//! has been checked before anything in it is believed.
//!
//! Pages come from the map where they cannot change: a slot in the lock file pins them, or nobody
//! writes. Else each is copied with an ordinary read, and whoever reads asks afterwards whether
//! strfry can have reused any of them meanwhile (`optimistic`); until then what the copies say may
//! be nonsense, but never more than that.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use elsa::sync::FrozenVec;

use crate::error::{ReadError, refused};
use crate::format::tables::Table;
use crate::limits::{CHECKED_PAGES, COPIED_RECORD, PAGES_AHEAD};
use crate::lmdb::map::Map;
use crate::lmdb::meta_page::{MetaPage, MetaPages, is_overtaken};
use crate::lmdb::page::{self, PAGE_HEADER, Page, Wrong};
use crate::lmdb::read_ahead;
use crate::txn::copies::Copies;

/// The pages of one moment.
pub(crate) struct PageReader<'db> {
    meta_pages: &'db MetaPages,
    pub(crate) meta: MetaPage,
    pages: Pages<'db>,
}

/// Where pages come from.
pub(crate) enum Pages<'db> {
    /// A map in which they do not change.
    Mapped {
        map: Arc<Map>,
        /// Where the file ends.
        end: usize,
        checked: &'db CheckedPages,
    },
    /// Copies, which may be of a later moment.
    Copied {
        copies: Arc<Copies>,
        /// Values that are longer than a page.
        large: FrozenVec<Box<[u8]>>,
        /// A map from which those are read that cannot change, and where the file ends.
        map: Option<(Arc<Map>, usize)>,
    },
}

impl Pages<'_> {
    pub(crate) fn copied(copies: Arc<Copies>, map: Option<(Arc<Map>, usize)>) -> Self {
        Self::Copied { copies, large: FrozenVec::new(), map }
    }
}

/// The pages of the map that have been checked last, so that the upper ones of a tree are not
/// checked for each entry that is looked up. A note is of a page, its shape, the place that led to
/// it and a commit: the page does not change as long as somebody reads that commit.
///
/// Notes are hashes, so one page in 2^64 is mistaken for a checked one. That does no harm to the
/// process: whatever is read of a page is looked for in its bounds each time.
#[derive(Debug)]
pub(crate) struct CheckedPages(Box<[AtomicU64]>);

impl Default for CheckedPages {
    fn default() -> Self {
        Self((0..CHECKED_PAGES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl CheckedPages {
    /// Where the note of a page is kept.
    #[inline]
    fn place(&self, page: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(page).ok()? % CHECKED_PAGES)
    }
}

/// Stands for a page of a tree of this shape that is reached from that place; never 0.
#[inline]
fn note(commit: u64, shape: Table, page: u64, (above, at): (u64, usize)) -> u64 {
    let place = (at as u64) << 8 | u64::from(shape.number);
    let hash = commit.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ page.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).rotate_left(17)
        ^ above.wrapping_mul(0x1656_67b1_9e37_79f9).rotate_left(31)
        ^ place.wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(47);
    hash | 1
}

impl<'db> PageReader<'db> {
    pub(crate) fn new(meta_pages: &'db MetaPages, meta: MetaPage, pages: Pages<'db>) -> Self {
        Self { meta_pages, meta, pages }
    }

    /// The number of its commit.
    pub(crate) fn txn_id(&self) -> u64 {
        self.meta.txn_id
    }

    /// Whether no page that has been read can have been reused before.
    pub(crate) fn is_whole(&self) -> bool {
        match self.pages {
            Pages::Mapped { .. } => true,
            Pages::Copied { .. } => {
                let newest = self.meta_pages.newest();
                newest.is_ok_and(|newest| !is_overtaken(self.meta.txn_id, newest.txn_id))
            }
        }
    }

    /// Whether pages should be asked for before they are looked at ([`PageReader::ask_for`]).
    #[inline]
    pub(crate) fn reads_ahead(&self) -> bool {
        self.meta_pages.read_ahead.is_on()
    }

    /// Has the kernel begin to read these pages: the first of some, and how many.
    pub(crate) fn ask_for(&self, mut pages: Vec<(u64, u64)>) {
        let behind = self.meta.last_page.saturating_add(1);
        pages.retain(|&(page, count)| page.saturating_add(count) <= behind);
        read_ahead::ask_for(&self.meta_pages.file, self.meta.page_size, pages);
    }

    /// Fills a buffer from this page on.
    fn copy(&self, shape: Table, page: u64, copy: &mut [u8]) -> Result<(), ReadError> {
        let behind = || damaged(shape, page)(BEHIND_THE_END);
        let offset = page.checked_mul(self.meta.page_size);
        // No file is longer.
        let offset = offset.filter(|offset| i64::try_from(*offset).is_ok()).ok_or_else(behind)?;
        match self.meta_pages.file.read_exact_at(copy, offset) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(behind()),
            Err(source) => Err(refused(&format!("read page {page}"))(source)),
        }
    }

    fn page_bytes(&self) -> usize {
        usize::try_from(self.meta.page_size).unwrap_or(0)
    }

    fn is_there(&self, shape: Table, page: u64) -> Result<(), ReadError> {
        if page <= self.meta.last_page {
            Ok(())
        } else {
            Err(damaged(shape, page)("there is no such page"))
        }
    }

    /// A page of a tree of this shape, reached from this place (0 and 0: the root), which `check`
    /// may say cannot lead to it. Checked once for all who come to it from there. `is_read_whole`:
    /// whoever comes goes through all of it.
    #[inline]
    pub(crate) fn page(
        &self,
        shape: Table,
        number: u64,
        from: (u64, usize),
        is_read_whole: bool,
        check: impl FnOnce(Page<'_>) -> Result<(), Wrong>,
    ) -> Result<Page<'_>, ReadError> {
        let note = note(self.meta.txn_id, shape, number, from);
        match &self.pages {
            Pages::Mapped { map, end, checked } => {
                self.is_there(shape, number)?;
                let bytes = mapped(map, *end, number, self.page_bytes(), self.page_bytes());
                let bytes = bytes.ok_or_else(|| damaged(shape, number)(BEHIND_THE_END))?;
                let known = checked.place(number);
                if known.is_some_and(|known| known.load(Ordering::Relaxed) == note) {
                    return Ok(Page::known(bytes));
                }
                if is_read_whole || shape.has_long_values() {
                    fetch(bytes);
                }
                let page = Page::of_tree(bytes, number, shape.comparator)
                    .and_then(|page| check(page).map(|()| page))
                    .map_err(damaged(shape, number))?;
                if let Some(known) = known {
                    known.store(note, Ordering::Relaxed);
                }
                Ok(page)
            }
            Pages::Copied { copies, .. } => {
                if let Some(copy) = copies.get(note, number) {
                    return Ok(Page::known(copy));
                }
                self.is_there(shape, number)?;
                let mut copy = copies.buffer(self.page_bytes());
                self.copy(shape, number, &mut copy)?;
                Page::of_tree(&copy, number, shape.comparator)
                    .and_then(check)
                    .map_err(damaged(shape, number))?;
                Ok(Page::known(copies.insert(note, number, copy)))
            }
        }
    }

    /// A value that has pages of its own.
    pub(crate) fn large_value(
        &self,
        shape: Table,
        page: u64,
        bytes: u64,
    ) -> Result<&[u8], ReadError> {
        let wrong = damaged(shape, page);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(PAGE_HEADER);
        self.is_there(shape, page)?;
        if bytes > self.page_bytes() && self.reads_ahead() {
            let pages = (bytes as u64).div_ceil(self.meta.page_size);
            self.ask_for(vec![(page, pages.min(PAGES_AHEAD))]);
        }
        let value = match &self.pages {
            Pages::Mapped { map, end, .. } | Pages::Copied { map: Some((map, end)), .. } => {
                let found = mapped(map, *end, page, self.page_bytes(), bytes);
                found.ok_or_else(|| wrong(BEHIND_THE_END))?
            }
            Pages::Copied { large, .. } => {
                if bytes > COPIED_RECORD + PAGE_HEADER {
                    return Err(wrong("a value is over 4 MiB"));
                }
                let mut copy = vec![0; bytes].into_boxed_slice();
                self.copy(shape, page, &mut copy)?;
                large.push_get(copy)
            }
        };
        let pages = page::pages_of_large_value(value, page).map_err(damaged(shape, page))?;
        let needed = (bytes as u64).div_ceil(self.meta.page_size);
        let end = page.checked_add(pages);
        if pages < needed || end.is_none_or(|end| end > self.meta.last_page.saturating_add(1)) {
            return Err(wrong("a large value has not the pages that it needs"));
        }
        Ok(value.get(PAGE_HEADER..).unwrap_or_default())
    }
}

/// Bytes of the map from this page on; `None` if they are not in the file.
#[inline]
fn mapped(map: &Map, end: usize, page: u64, page_bytes: usize, bytes: usize) -> Option<&[u8]> {
    map.get(usize::try_from(page).ok()?.checked_mul(page_bytes)?, bytes, end)
}

/// Has the processor fetch a page into its cache at once. As the page is checked and read, it would
/// wait for one line after the other, which is most of the time that it takes to read events.
fn fetch(page: &[u8]) {
    let lines = page.iter().step_by(CACHE_LINE);
    std::hint::black_box(lines.fold(0, |all, byte| all | byte));
}

/// Bytes that a processor fetches at once, on most.
const CACHE_LINE: usize = 64;

const BEHIND_THE_END: Wrong = "it lies behind the end of the file";

/// What is wrong with a page of a table.
pub(crate) fn damaged(shape: Table, page: u64) -> impl Fn(Wrong) -> ReadError {
    move |what| ReadError::Damaged { table: shape.name, key: format!("page {page}"), what }
}
