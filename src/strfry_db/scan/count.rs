//! How many events match, from the index alone where it decides.

use std::ops::ControlFlow;

use super::super::error::ReadError;
use super::super::limits::{ENTRIES_PER_SNAPSHOT, ROWS_PER_SNAPSHOT};
use super::super::lookup::{Snapshot, lmdb, present};
use super::super::open::StrfryDb;
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
        if let [filter] = filters.as_slice() {
            let snapshot = self.snapshot()?;
            let plan = Plan::choose(filter, &snapshot)?;
            // An event may have several of the tag's values, but is counted once.
            let is_once = plan.index != Index::Tag || plan.prefixes.len() == 1;
            // A merge stops early; the sum of all entries would not.
            let stops = filter.limit < ROWS_PER_SNAPSHOT as u64;
            if plan.decides && is_once && !stops {
                return self.count_entries(filter, &plan, snapshot, options);
            }
        }
        let mut count = 0;
        for batch in self.scan(filters, options) {
            count += batch?.len() as u64;
        }
        Ok(count)
    }

    fn count_entries<'db>(
        &'db self,
        filter: &ScanFilter,
        plan: &Plan,
        mut snapshot: Snapshot<'db>,
        options: ScanOptions,
    ) -> Result<u64, ReadError> {
        if plan.index == Index::CreatedAt && (filter.since, filter.until) == (0, u64::MAX) {
            let table = present("Event", self.tables.event)?;
            let events = table.len(snapshot.txn()).map_err(lmdb("Event"))?;
            return Ok(events.min(filter.limit));
        }
        let mut count = 0;
        // Entries of this snapshot.
        let mut walked = 0;
        for prefix in &plan.prefixes {
            let mut before = filter.until.checked_add(1);
            loop {
                let mut second = None;
                let mut is_at_end = true;
                plan.index.walk_back(&snapshot, prefix, before, |found| {
                    if found.created_at < filter.since || count == filter.limit {
                        return ControlFlow::Break(());
                    }
                    if walked >= ENTRIES_PER_SNAPSHOT && second != Some(found.created_at) {
                        is_at_end = false;
                        return ControlFlow::Break(());
                    }
                    second = Some(found.created_at);
                    walked += 1;
                    count += 1;
                    ControlFlow::Continue(())
                })?;
                before = second.or(before);
                if walked >= ENTRIES_PER_SNAPSHOT {
                    walked = 0;
                    if !options.one_snapshot {
                        drop(snapshot);
                        snapshot = self.snapshot()?;
                    }
                }
                if is_at_end {
                    break;
                }
            }
        }
        Ok(count)
    }
}
