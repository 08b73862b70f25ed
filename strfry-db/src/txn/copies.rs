//! Copies of checked pages, for readers without a slot in the lock file: found again by what they
//! are of, as long as strfry commits nothing, and their memory used again afterwards.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use elsa::sync::FrozenMap;

use crate::limits::COPIED_PAGES;

/// Pages of one commit. What is kept stays where it is as long as this lives.
#[derive(Debug)]
pub(crate) struct Copies {
    places: Box<[OnceLock<Copied>]>,
    /// Those whose place was taken.
    others: FrozenMap<u64, Box<[u8]>>,
    count: AtomicUsize,
    spare: Arc<SparePages>,
}

/// A page, by the note that stands for it.
#[derive(Debug)]
struct Copied {
    note: u64,
    page: Box<[u8]>,
}

/// Memory of pages that nobody reads any more.
#[derive(Debug, Default)]
pub(crate) struct SparePages(Mutex<Vec<Box<[u8]>>>);

impl Copies {
    /// Of about so many pages.
    pub(crate) fn new(spare: &Arc<SparePages>, pages: usize) -> Self {
        // Twice as many places as copies, so that most have one of their own.
        let places = pages.saturating_mul(2).max(1);
        Self {
            places: (0..places).map(|_| OnceLock::new()).collect(),
            others: FrozenMap::new(),
            count: AtomicUsize::new(0),
            spare: Arc::clone(spare),
        }
    }

    /// Whether there is no room for more in another batch.
    pub(crate) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= COPIED_PAGES
    }

    fn place(&self, page: u64) -> Option<&OnceLock<Copied>> {
        self.places.get(usize::try_from(page).ok()? % self.places.len())
    }

    /// The copy that this note stands for, if there is one.
    #[inline]
    pub(crate) fn get(&self, note: u64, page: u64) -> Option<&[u8]> {
        let copied = self.place(page)?.get()?;
        if copied.note == note { Some(&copied.page) } else { self.others.get(&note) }
    }

    /// Memory for a page, with anything in it.
    pub(crate) fn buffer(&self, bytes: usize) -> Box<[u8]> {
        let spare = self.spare.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare
            .filter(|spare| spare.len() == bytes)
            .unwrap_or_else(|| vec![0; bytes].into_boxed_slice())
    }

    /// Keeps a copy, unless there is one.
    pub(crate) fn insert(&self, note: u64, number: u64, page: Box<[u8]>) -> &[u8] {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut page = Some(page);
        if let Some(place) = self.place(number) {
            let copied =
                place.get_or_init(|| Copied { note, page: page.take().unwrap_or_default() });
            if copied.note == note {
                return &copied.page;
            }
        }
        self.others.insert(note, page.unwrap_or_default())
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let mut spare = self.spare.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = self.places.iter_mut().filter_map(OnceLock::take).map(|copied| copied.page);
        let room = COPIED_PAGES.saturating_sub(spare.len());
        spare.extend(pages.take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_is_found_by_its_note_whatever_place_it_shares() {
        let spare = Arc::default();
        let copies = Copies::new(&spare, 4);
        let page = |note: u64| note.to_ne_bytes().repeat(512).into_boxed_slice();
        let numbers = [1, 2, 1 + 8, 1 + 2 * 8];
        for (note, number) in (1..).zip(numbers) {
            assert_eq!(copies.get(note, number), None);
            assert_eq!(*copies.insert(note, number, page(note)), *page(note));
        }
        // The first copy stays.
        copies.insert(1, 1, page(7));
        for (note, number) in (1..).zip(numbers) {
            assert_eq!(copies.get(note, number), Some(&*page(note)));
        }
        assert_eq!(copies.get(5, 1), None);
        drop(copies);
        let again = Copies::new(&spare, 4);
        assert_eq!(again.buffer(4_096).len(), 4_096);
        assert_eq!(again.buffer(512), vec![0; 512].into());
    }
}
