//! Whatever `strfry scan` answers, from the indexes: the events that match a filter, or several.
//!
//! Newest created_at first, of one second the highest levId first; of several filters all that the
//! first finds, then what the second finds besides, and so on. `limit` counts for each filter.
//!
//! # Beside a writer
//!
//! A scan takes its matches batch by batch, each from a snapshot of its own ([`Batch`]), so that a
//! long one never keeps strfry from reusing pages. What that means:
//!
//! - An event that is there from before the start to the end is found, once.
//! - What a batch gives is in the database, and matches, at the moment of that batch.
//! - An event that is stored or deleted meanwhile may be found or not; whether it is depends on how
//!   far the scan has come in time. So a batch may hold an event whose replacement has come since
//!   the batch before, and never comes itself.
//! - If an event is deleted and stored again meanwhile, it may be found twice.
//!
//! Without the lock file a batch is a copy of all that may be asked of it, because only what has
//! been read can be checked (see [`StrfryDb::read`]).
//!
//! [`ScanOptions::one_snapshot`] gives everything as of one moment, and for as long as the scan
//! lives, strfry's file can only grow.

mod count;
mod filter;
mod index;
mod merge;
mod plan;

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::error::{ReadError, gone};
use super::keys::LevId;
use super::limits::{ROWS_PER_SNAPSHOT, STEPS_PER_CLOCK, TIME_PER_SNAPSHOT};
use super::lookup::Found;
use super::open::StrfryDb;
use super::optimistic::halved;
use super::packed::PackedEvent;
use super::snapshot::Snapshot;
use super::whole_event::WholeEvent;
pub use filter::{FilterError, ItemProblem, ScanFilter};
use merge::{Entry, Merge, Step};
use plan::Plan;

/// How to scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanOptions {
    /// Take everything from one snapshot, however long that lasts.
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
    /// The events that match any of the filters, as batches. Nothing is read until the first is
    /// asked for.
    pub fn scan(&self, filters: Vec<ScanFilter>, options: ScanOptions) -> Scan<'_> {
        let mut filters: Vec<ScanFilter> =
            filters.into_iter().filter(|filter| !filter.is_empty()).collect();
        filters.reverse();
        Scan {
            db: self,
            options,
            given: (filters.len() > 1).then(HashSet::new),
            filters,
            current: None,
            kept: None,
            snapshots: 0,
            copies_json: true,
            is_unchecked: false,
        }
    }
}

/// A scan under way; an iterator over its batches. Holds no snapshot between them, unless it is
/// to be one for all.
///
/// After an error there is no more.
pub struct Scan<'db> {
    db: &'db StrfryDb,
    options: ScanOptions,
    /// Those still to come, the next one last.
    filters: Vec<ScanFilter>,
    current: Option<Current>,
    /// What earlier filters have given; only of several filters.
    given: Option<HashSet<LevId>>,
    kept: Option<Rc<Snapshot<'db>>>,
    /// How many there have been; the number of the latest.
    snapshots: u64,
    copies_json: bool,
    /// Whether the database may have been replaced while the last batch was being asked.
    is_unchecked: bool,
}

/// The filter that is being answered.
#[derive(Clone)]
struct Current {
    filter: ScanFilter,
    merge: Merge,
    left: u64,
}

impl<'db> Scan<'db> {
    /// Promises that no event's JSON will be asked for, so that none needs to be copied.
    pub fn without_json(self) -> Self {
        Self { copies_json: false, ..self }
    }

    /// Whether what the last batch was asked came from the database that was opened.
    fn check_last_batch(&mut self) -> Result<(), ReadError> {
        match (std::mem::take(&mut self.is_unchecked), &self.kept) {
            (false, _) => Ok(()),
            (true, Some(snapshot)) => snapshot.is_whole().map(drop),
            (true, None) => self.db.check_files().map(drop),
        }
    }

    /// The next matches, at least one; `None` if there are no more.
    fn next_batch(&mut self) -> Result<Option<Batch<'db>>, ReadError> {
        loop {
            let (batch, is_at_end) = self.read_batch()?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            if is_at_end {
                return Ok(None);
            }
        }
    }

    /// Matches of one snapshot, if there are any in what was looked at; whether there are no more.
    fn read_batch(&mut self) -> Result<(Batch<'db>, bool), ReadError> {
        let db = self.db;
        let one_snapshot = self.options.one_snapshot;
        let mut kept = self.kept.take();
        if kept.is_none() {
            self.snapshots += 1;
        }
        let before = db.is_unlocked().then(|| (self.filters.clone(), self.current.clone()));
        let mut found = Vec::new();
        let read = db.read_keeping(&mut kept, one_snapshot, |snapshot, attempt| {
            if let (1.., Some((filters, current))) = (attempt, &before) {
                self.take_back(&found);
                self.filters.clone_from(filters);
                self.current.clone_from(current);
                self.snapshots += 1;
            }
            found.clear();
            let rows = halved(db.bound(self.options.rows_per_snapshot), attempt);
            let time = TIME_PER_SNAPSHOT / (1 << attempt.min(20));
            let is_at_end = self.fill(snapshot, rows, time, &mut found)?;
            let source = match db.is_unlocked() {
                false => Source::Snapshot(Rc::clone(snapshot)),
                true => Source::Copies(self.copy(snapshot, &found)?),
            };
            Ok((source, is_at_end))
        });
        self.kept = kept;
        let (source, is_at_end) = read?;
        Ok((Batch { source, found }, is_at_end))
    }

    fn take_back(&mut self, found: &[Found]) {
        if let Some(given) = &mut self.given {
            for match_ in found {
                given.remove(&match_.lev_id);
            }
        }
    }

    fn copy(
        &self,
        snapshot: &Snapshot<'db>,
        found: &[Found],
    ) -> Result<Vec<WholeEvent>, ReadError> {
        let lev_ids = found.iter().map(|found| found.lev_id).collect();
        match self.copies_json {
            true => snapshot.whole_of(lev_ids),
            false => snapshot.whole_without_json_of(lev_ids),
        }
    }

    /// Takes matches until there are enough or time is up; returns whether there are no more.
    fn fill(
        &mut self,
        snapshot: &Snapshot<'db>,
        rows: usize,
        time: Duration,
        found: &mut Vec<Found>,
    ) -> Result<bool, ReadError> {
        let started = Instant::now();
        let mut steps = 0_u32;
        while found.len() < rows {
            steps = steps.wrapping_add(1);
            if steps.is_multiple_of(STEPS_PER_CLOCK) && started.elapsed() > time {
                return Ok(false);
            }
            let current = match &mut self.current {
                Some(current) if current.left > 0 => current,
                current => {
                    let Some(filter) = self.filters.pop() else {
                        *current = None;
                        return Ok(true);
                    };
                    let merge = Merge::new(Plan::choose(&filter, snapshot)?, &filter, rows);
                    current.insert(Current { left: filter.limit, filter, merge })
                }
            };
            match current.merge.step(snapshot, self.snapshots)? {
                Step::Entry(entry) => {
                    if current.matches(entry, snapshot, self.snapshots)? {
                        current.left -= 1;
                        let given = self.given.as_mut();
                        if given.is_none_or(|given| given.insert(entry.found.lev_id)) {
                            found.push(entry.found);
                        }
                    }
                }
                Step::Read => {}
                Step::End => current.left = 0,
            }
        }
        Ok(false)
    }
}

impl Current {
    /// An entry out of an earlier snapshot is looked at again: its event may be gone since, and
    /// strfry gives the highest levId anew once it is free.
    fn matches(
        &self,
        entry: Entry,
        snapshot: &Snapshot<'_>,
        number: u64,
    ) -> Result<bool, ReadError> {
        let is_old = entry.read_in != number;
        if self.merge.plan.decides && !is_old {
            return Ok(true);
        }
        match snapshot.packed(entry.found.lev_id)? {
            Some(event) => {
                Ok(event.created_at() == entry.found.created_at && self.filter.matches(&event))
            }
            None if is_old => Ok(false),
            None => Err(gone("Event", entry.found.lev_id)),
        }
    }
}

impl<'db> Iterator for Scan<'db> {
    type Item = Result<Batch<'db>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.filters.is_empty() && self.current.is_none() {
            return self.check_last_batch().err().map(Err);
        }
        let batch = self.next_batch();
        // Copies have been checked.
        self.is_unchecked = matches!(batch, Ok(Some(_))) && !self.db.is_unlocked();
        if batch.is_err() {
            self.filters.clear();
            self.current = None;
        }
        batch.transpose()
    }
}

/// Matches of one moment, and the snapshot of that moment, or copies. Drop it before waiting for
/// anything: while it lives, strfry's file can only grow.
pub struct Batch<'db> {
    source: Source<'db>,
    found: Vec<Found>,
}

/// Where a batch reads what it is asked for.
enum Source<'db> {
    Snapshot(Rc<Snapshot<'db>>),
    /// Of each match, in order.
    Copies(Vec<WholeEvent>),
}

impl<'db> Batch<'db> {
    /// How many there are, never 0.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The matches in order. Of each nothing but the index has been read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Match<'_, 'db>> {
        let events = self.found.iter().enumerate();
        events.map(|(at, &found)| Match { source: &self.source, at, found })
    }

    /// The matches as stored JSON, in order; borrowed unless compressed. Faster than asking each.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn json(&self) -> Result<Each<'_, Cow<'_, str>>, ReadError> {
        Ok(match &self.source {
            Source::Snapshot(snapshot) => Box::new(snapshot.json_of(self.lev_ids())?),
            Source::Copies(copies) => Box::new(copies.iter().map(WholeEvent::json)),
        })
    }

    /// What strfry indexes of the matches, in order. Faster than asking each.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn packed(&self) -> Result<Each<'_, PackedEvent<'_>>, ReadError> {
        Ok(match &self.source {
            Source::Snapshot(snapshot) => Box::new(snapshot.packed_of(self.lev_ids())?),
            Source::Copies(copies) => Box::new(copies.iter().map(WholeEvent::packed)),
        })
    }

    /// The matches in both stored forms, copied, in order; damage of one is in its place.
    ///
    /// # Errors
    /// [`ReadError`], but for damage of one event.
    pub fn whole(&self) -> Result<Vec<WholeEvent>, ReadError> {
        match &self.source {
            Source::Snapshot(snapshot) => snapshot.whole_of(self.lev_ids()),
            Source::Copies(copies) => Ok(copies.clone()),
        }
    }

    fn lev_ids(&self) -> Vec<LevId> {
        self.found.iter().map(|found| found.lev_id).collect()
    }
}

/// Something of each match of a batch.
pub type Each<'a, T> = Box<dyn ExactSizeIterator<Item = Result<T, ReadError>> + 'a>;

/// An event that matches; reads of it what it is asked for.
#[derive(Clone, Copy)]
pub struct Match<'a, 'db> {
    source: &'a Source<'db>,
    at: usize,
    found: Found,
}

impl<'a> Match<'a, '_> {
    /// strfry's number of the event.
    pub fn lev_id(&self) -> LevId {
        self.found.lev_id
    }

    /// Seconds since 1970.
    pub fn created_at(&self) -> u64 {
        self.found.created_at
    }

    /// What strfry indexes of the event.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn packed(&self) -> Result<PackedEvent<'a>, ReadError> {
        let not_there = || gone("Event", self.found.lev_id);
        match self.source {
            Source::Snapshot(snapshot) => snapshot.packed(self.found.lev_id)?.ok_or_else(not_there),
            Source::Copies(copies) => copies.get(self.at).ok_or_else(not_there)?.packed(),
        }
    }

    /// The event as stored JSON; borrowed unless it is compressed.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn json(&self) -> Result<Cow<'a, str>, ReadError> {
        let not_there = || gone("EventPayload", self.found.lev_id);
        match self.source {
            Source::Snapshot(snapshot) => snapshot.json(self.found.lev_id)?.ok_or_else(not_there),
            Source::Copies(copies) => copies.get(self.at).ok_or_else(not_there)?.json(),
        }
    }
}
