//! Scans: what `strfry scan` answers, from the indexes: the events that match a filter, or several.
//!
//! Newest created_at first, of one second the highest levId first; of several filters all that the
//! first finds, then what the second finds besides, and so on. `limit` counts for each filter.
//!
//! # Beside a writer
//!
//! A scan takes its matches batch by batch, each from a snapshot of its own, so that a long one
//! never keeps strfry from reusing pages, and none is open while the caller has the answer. What
//! that means:
//!
//! - An event that is there from the start to the end is found, once.
//! - What a batch gives is in the database, and matches, at the moment of that batch.
//! - An event that is stored or deleted meanwhile may be found or not; whether it is depends on how
//!   far the scan has come in time. So a batch may hold an event whose replacement has come since
//!   the batch before, and never comes itself.
//! - If an event is deleted and stored again meanwhile, it may be found twice.
//!
//! [`ScanOptions::one_snapshot`] gives everything as of one moment, and for as long as the scan
//! lives, strfry's file can only grow.

mod batch;
mod count;
mod index;
mod join;
mod matches;
mod merge;
mod newer;
mod plan;

use std::iter::FusedIterator;
use std::ops::ControlFlow;

use crate::error::ReadError;
use crate::limits::{BATCHES_READ_ALONE, ROWS_PER_SNAPSHOT};
use crate::nostr::filter::Filter;
use crate::open::StrfryDb;
use crate::read::get::Found;
use crate::read::in_order::read_in_order;
use crate::read::stored_event::copied::StoredEvent;
use crate::txn::snapshot::Snapshot;
pub use batch::Batch;
use matches::Matches;
pub use newer::Newer;

/// How to scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanOptions {
    /// Take everything from one snapshot, however long that lasts. Not without the lock file.
    pub one_snapshot: bool,
    /// Matches in a batch, at least 1; by default [`ROWS_PER_SNAPSHOT`].
    pub rows_per_snapshot: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { one_snapshot: false, rows_per_snapshot: ROWS_PER_SNAPSHOT }
    }
}

impl StrfryDb {
    /// The events that match the filter, or any of several (`Vec<Filter>`), newest first. Nothing
    /// is read until the first is asked for.
    pub fn scan(&self, filters: impl Into<Vec<Filter>>) -> Scan<'_> {
        self.scan_with(filters, ScanOptions::default())
    }

    /// As [`StrfryDb::scan`], in one moment or in batches of another size.
    pub fn scan_with(&self, filters: impl Into<Vec<Filter>>, options: ScanOptions) -> Scan<'_> {
        Scan {
            matches: Matches::new(self, filters.into(), options),
            copied: Vec::new().into_iter(),
        }
    }
}

/// A scan under way: an iterator over its events. Holds no snapshot while the caller has an event,
/// unless it is to be one for all.
///
/// Damage of one event is in that event's place, and the scan goes on. After any other error there
/// is no more.
#[must_use = "a scan reads nothing until it is iterated"]
pub struct Scan<'db> {
    matches: Matches<'db>,
    /// What is left of the last batch.
    copied: std::vec::IntoIter<Result<StoredEvent<'db>, ReadError>>,
}

impl<'db> Scan<'db> {
    /// What `take` makes of each batch, where it lies, with no event copied. As with
    /// [`StrfryDb::read`], what `take` returns counts, and not how often it is called. A snapshot is
    /// open meanwhile, and strfry's file can only grow: `take` must not wait for anything.
    #[doc(hidden)]
    pub fn map_batches<T, F>(self, take: F) -> impl Iterator<Item = Result<T, ReadError>>
    where
        F: FnMut(&Batch<'_, 'db>) -> Result<T, ReadError>,
    {
        let Self { mut matches, .. } = self;
        let mut take = take;
        std::iter::from_fn(move || matches.next_batch(&mut take).transpose())
    }

    /// Gives `each` what `take` makes of each batch, as [`Scan::map_batches`] does, until `each`
    /// breaks off. Of a long scan batches are read by so many threads at once; `each` gets them
    /// in order, in the thread that calls, while no snapshot is open on its behalf.
    ///
    /// One thread reads what is to be of one moment, and without the lock file.
    #[doc(hidden)]
    pub fn each_batch<T: Send, B>(
        self,
        threads: usize,
        take: impl Fn(&Batch<'_, 'db>) -> Result<T, ReadError> + Sync,
        mut each: impl FnMut(Result<T, ReadError>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Self { mut matches, .. } = self;
        let is_alone = threads < 2 || !matches.may_be_shared();
        let mut batches = 0;
        while is_alone || batches < BATCHES_READ_ALONE {
            let Some(taken) = matches.next_batch(&mut |batch| take(batch)).transpose() else {
                return ControlFlow::Continue(());
            };
            each(taken)?;
            batches += 1;
        }
        let take =
            |snapshot: &Snapshot<'db>, found: &Vec<Found>| take(&Batch::new(snapshot, found));
        read_in_order(matches.db(), matches, threads, take, each)
    }
}

impl<'db> Iterator for Scan<'db> {
    type Item = Result<StoredEvent<'db>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(event) = self.copied.next() {
            return Some(event);
        }
        match self.matches.next_batch(&mut |batch| batch.copied()) {
            Ok(Some(events)) => {
                self.copied = events.into_iter();
                self.copied.next()
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for Scan<'_> {}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

/// A scan can go from thread to thread, and so can its events.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Scan<'static>>();
    is_send::<StoredEvent<'static>>();
    is_send::<Newer<'static>>();
};
