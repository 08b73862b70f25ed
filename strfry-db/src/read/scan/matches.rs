//! A scan's matches, batch by batch: which events they are, in which order, each once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::join::Join;
use super::merge::{Entry, Step};
use super::plan::Plan;
use super::{Batch, ScanOptions};
use crate::error::{ReadError, gone};
use crate::format::keys::LevId;
use crate::limits::{ROWS_PER_THREAD, STEPS_OF_A_READ, STEPS_PER_CLOCK, TIME_PER_SNAPSHOT};
use crate::nostr::filter::Filter;
use crate::open::StrfryDb;
use crate::read::get::Found;
use crate::read::in_order::Walk;
use crate::txn::optimistic::halved;
use crate::txn::snapshot::Snapshot;

/// Where a scan is.
pub(super) struct Matches<'db> {
    db: &'db StrfryDb,
    options: ScanOptions,
    place: Place,
    /// What earlier filters have given; only of several filters.
    given: Option<HashSet<LevId>>,
    kept: Option<Snapshot<'db>>,
}

/// What is put back where a batch has to be read again.
#[derive(Clone)]
struct Place {
    /// The filters still to come, the next one last.
    filters: Vec<Filter>,
    current: Option<Current>,
}

/// The filter that is being answered.
#[derive(Clone)]
struct Current {
    filter: Filter,
    join: Join,
    /// Whether what the indexes give needs no look at its record.
    is_decided: bool,
    left: u64,
}

impl<'db> Matches<'db> {
    pub(super) fn new(db: &'db StrfryDb, mut filters: Vec<Filter>, options: ScanOptions) -> Self {
        filters.retain(|filter| !filter.finds_nothing());
        filters.reverse();
        Self {
            db,
            options,
            given: (filters.len() > 1).then(HashSet::new),
            place: Place { filters, current: None },
            kept: None,
        }
    }

    /// The matches of a filter, by this plan.
    pub(super) fn by_plan(db: &'db StrfryDb, filter: Filter, plan: Plan) -> Self {
        let options = ScanOptions::default();
        let current = Current::new(filter, plan, options.rows_per_snapshot);
        let place = Place { filters: Vec::new(), current: Some(current) };
        Self { db, options, place, given: None, kept: None }
    }

    pub(super) fn db(&self) -> &'db StrfryDb {
        self.db
    }

    /// Whether batches may be read by several threads, each in a snapshot of its own.
    pub(super) fn may_be_shared(&self) -> bool {
        !self.options.one_snapshot && !self.db.is_optimistic()
    }

    /// What `take` makes of the next matches, at least one; `None` if there are no more, or there
    /// has been an error.
    pub(super) fn next_batch<T>(
        &mut self,
        take: &mut impl FnMut(&Batch<'_, 'db>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        while !self.place.is_at_end() {
            match self.read_batch(take) {
                Ok(None) => {}
                Ok(taken) => return Ok(taken),
                Err(error) => {
                    self.place.end();
                    self.kept = None;
                    return Err(error);
                }
            }
        }
        self.kept = None;
        Ok(None)
    }

    /// Looks for matches in one snapshot; `None` if there are none in what was looked at.
    fn read_batch<T>(
        &mut self,
        take: &mut impl FnMut(&Batch<'_, 'db>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let db = self.db;
        let one_snapshot = self.options.one_snapshot;
        let mut kept = self.kept.take();
        let before = db.is_optimistic().then(|| self.place.clone());
        let mut found = Vec::new();
        let read = db.read_keeping(&mut kept, one_snapshot, |snapshot, attempt| {
            if let (1.., Some(before)) = (attempt, &before) {
                self.take_back(&found);
                self.place.clone_from(before);
            }
            found.clear();
            let rows = halved(db.bound(self.options.rows_per_snapshot), attempt);
            let time = TIME_PER_SNAPSHOT / (1 << attempt.min(20));
            self.fill(snapshot, rows, time, &mut found)?;
            match found.is_empty() {
                true => Ok(None),
                false => take(&Batch::new(snapshot, &found)).map(Some),
            }
        });
        self.kept = kept;
        read
    }

    fn take_back(&mut self, found: &[Found]) {
        if let Some(given) = &mut self.given {
            for match_ in found {
                given.remove(&match_.lev_id);
            }
        }
    }

    /// Takes matches until there are enough, or no more, or time is up.
    fn fill(
        &mut self,
        snapshot: &Snapshot<'db>,
        rows: usize,
        time: Duration,
        found: &mut Vec<Found>,
    ) -> Result<(), ReadError> {
        let Place { filters, current } = &mut self.place;
        let started = Instant::now();
        let mut steps = 0_u32;
        while found.len() < rows {
            if steps >= STEPS_PER_CLOCK {
                if started.elapsed() > time {
                    return Ok(());
                }
                steps = 0;
            }
            steps += 1;
            let current = match &mut *current {
                Some(current) if current.left > 0 => current,
                current => {
                    let Some(filter) = filters.pop() else {
                        *current = None;
                        return Ok(());
                    };
                    let plan = Plan::choose(&filter, snapshot)?;
                    current.insert(Current::new(filter, plan, rows))
                }
            };
            match current.join.step(snapshot)? {
                Step::Entry(entry) => {
                    if current.matches(entry, snapshot)? {
                        current.left -= 1;
                        let given = self.given.as_mut();
                        if given.is_none_or(|given| given.insert(entry.found.lev_id)) {
                            found.push(entry.found);
                        }
                    }
                }
                // Of two indexes side by side, much may have been passed over.
                Step::Read => steps += STEPS_OF_A_READ,
                Step::End => current.left = 0,
            }
        }
        Ok(())
    }
}

impl<'db> Walk<'db> for Matches<'db> {
    type Batch = Vec<Found>;

    fn is_at_end(&self) -> bool {
        self.place.is_at_end()
    }

    fn next(&mut self, snapshot: &Snapshot<'db>) -> Result<Option<Vec<Found>>, ReadError> {
        let mut found = Vec::new();
        let rows = self.options.rows_per_snapshot.min(ROWS_PER_THREAD);
        if let Err(error) = self.fill(snapshot, rows, TIME_PER_SNAPSHOT, &mut found) {
            self.place.end();
            return Err(error);
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

impl Place {
    fn is_at_end(&self) -> bool {
        self.filters.is_empty() && self.current.is_none()
    }

    fn end(&mut self) {
        self.filters.clear();
        self.current = None;
    }
}

impl Current {
    fn new(filter: Filter, plan: Plan, rows: usize) -> Self {
        let is_decided = plan.decides;
        let join = Join::new(plan, &filter, rows);
        Self { left: filter.limit, filter, join, is_decided }
    }

    /// An entry of an earlier commit is looked at again: its event may be gone since, and strfry
    /// gives the highest levId anew once it is free.
    fn matches(&self, entry: Entry, snapshot: &Snapshot<'_>) -> Result<bool, ReadError> {
        let is_old = entry.txn_id != snapshot.txn_id();
        if self.is_decided && !is_old {
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
