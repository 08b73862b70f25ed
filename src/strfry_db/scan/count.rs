//! How many events match, from the index alone where it decides.

use std::ops::ControlFlow;

use super::super::error::ReadError;
use super::super::limits::{ENTRIES_PER_SNAPSHOT, ROWS_PER_SNAPSHOT};
use super::super::lookup::{Snapshot, present};
use super::super::open::StrfryDb;
use super::super::unlocked::halved;
use super::index::Index;
use super::plan::Plan;
use super::{ScanFilter, ScanOptions};

impl StrfryDb {
    /// How many events match any of the filters: as many as [`StrfryDb::scan`] gives.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn count(&self, filters: Vec<ScanFilter>, options: ScanOptions) -> Result<u64, ReadError> {
        let filters: Vec<ScanFilter> =
            filters.into_iter().filter(|filter| !filter.is_empty()).collect();
        if let [filter] = filters.as_slice()
            && let Some(count) = self.count_entries(filter, options)?
        {
            return Ok(count);
        }
        let mut count = 0;
        for batch in self.scan(filters, options).without_json() {
            count += batch?.len() as u64;
        }
        Ok(count)
    }

    /// `None` if the index alone does not decide.
    fn count_entries(
        &self,
        filter: &ScanFilter,
        options: ScanOptions,
    ) -> Result<Option<u64>, ReadError> {
        let mut kept = None;
        let begun = self.read_keeping(&mut kept, options.one_snapshot, |snapshot, _| {
            let plan = Plan::choose(filter, snapshot)?;
            // An event may have several of the tag's values, but is counted once.
            let is_once = plan.index != Index::Tag || plan.prefixes.len() == 1;
            // A merge stops early; the sum of all entries would not.
            let stops = filter.limit < ROWS_PER_SNAPSHOT as u64;
            if !plan.decides || !is_once || stops {
                return Ok(None);
            }
            if plan.index == Index::CreatedAt && (filter.since, filter.until) == (0, u64::MAX) {
                let table = present("Event", self.tables.event)?;
                let count = snapshot.len(table)?;
                let all = Place { prefix: plan.prefixes.len(), before: None, count };
                return Ok(Some((plan, all)));
            }
            let place = Place { prefix: 0, before: filter.until.checked_add(1), count: 0 };
            Ok(Some((plan, place)))
        })?;
        let Some((plan, mut place)) = begun else { return Ok(None) };
        while place.prefix < plan.prefixes.len() {
            place = self.read_keeping(&mut kept, options.one_snapshot, |snapshot, attempt| {
                let entries = halved(self.bound(ENTRIES_PER_SNAPSHOT), attempt);
                place.walk_on(filter, &plan, snapshot, entries)
            })?;
        }
        Ok(Some(place.count.min(filter.limit)))
    }
}

/// How far the counting has come.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The prefix to count under.
    prefix: usize,
    before: Option<u64>,
    count: u64,
}

impl Place {
    /// Counts entries, so many and what is left of the second.
    fn walk_on(
        mut self,
        filter: &ScanFilter,
        plan: &Plan,
        snapshot: &Snapshot<'_>,
        entries: usize,
    ) -> Result<Self, ReadError> {
        let mut walked = 0;
        while let Some(prefix) = plan.prefixes.get(self.prefix) {
            let mut second = None;
            let mut is_at_end = true;
            let count = &mut self.count;
            plan.index.walk_back(snapshot, prefix, self.before, |found| {
                if found.created_at < filter.since || *count == filter.limit {
                    return ControlFlow::Break(());
                }
                if walked >= entries && second != Some(found.created_at) {
                    is_at_end = false;
                    return ControlFlow::Break(());
                }
                second = Some(found.created_at);
                walked += 1;
                *count += 1;
                ControlFlow::Continue(())
            })?;
            if !is_at_end {
                self.before = second.or(self.before);
                return Ok(self);
            }
            self.prefix += 1;
            self.before = filter.until.checked_add(1);
        }
        Ok(self)
    }
}
