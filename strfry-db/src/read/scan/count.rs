//! How many events match, from the index alone where it decides.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::ScanOptions;
use super::index::Index;
use super::plan::Plan;
use crate::error::ReadError;
use crate::format::tables::present;
use crate::limits::{
    ENTRIES_COPIED, ENTRIES_COUNTED_ALONE, ENTRIES_PER_SNAPSHOT, ROWS_PER_SNAPSHOT, SLICES,
};
use crate::nostr::filter::Filter;
use crate::open::{PagesFrom, StrfryDb};
use crate::txn::optimistic::halved;
use crate::txn::snapshot::Snapshot;

impl StrfryDb {
    /// How many events match any of the filters: as many as [`StrfryDb::scan`] gives.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn count(&self, filters: impl Into<Vec<Filter>>) -> Result<u64, ReadError> {
        self.count_with(filters, ScanOptions::default())
    }

    /// As [`StrfryDb::count`], in one moment or in batches of another size.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn count_with(
        &self,
        filters: impl Into<Vec<Filter>>,
        options: ScanOptions,
    ) -> Result<u64, ReadError> {
        let mut filters = filters.into();
        filters.retain(|filter| !filter.finds_nothing());
        if let [filter] = filters.as_slice()
            && let Some(count) = self.count_entries(filter, options)?
        {
            return Ok(count);
        }
        self.scan_with(filters, options).map_batches(|batch| Ok(batch.found().len() as u64)).sum()
    }

    /// `None` if the index alone does not decide.
    fn count_entries(
        &self,
        filter: &Filter,
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
                return Ok(Some((plan, Some(snapshot.number_of_events()?))));
            }
            Ok(Some((plan, None)))
        })?;
        let (plan, mut count) = match begun {
            None => return Ok(None),
            Some((_, Some(all))) => return Ok(Some(all.min(filter.limit))),
            Some((plan, None)) => (plan, 0),
        };
        // What is to be of one moment is read in one snapshot, which one thread has; and with a
        // limit there is no need to look at all.
        let alone = options.one_snapshot || filter.limit != u64::MAX;
        for prefix in &plan.prefixes {
            let mut stretch = Stretch {
                index: plan.index,
                prefix,
                since: filter.since,
                before: filter.until.checked_add(1),
                limit: filter.limit - count,
                count: 0,
            };
            let keep = options.one_snapshot;
            let entries = if keep { ENTRIES_PER_SNAPSHOT } else { ENTRIES_COPIED };
            let mut more = true;
            while more && (alone || stretch.count < ENTRIES_COUNTED_ALONE) {
                more = self.count_on(&mut stretch, entries, &mut kept, keep)?;
            }
            if more {
                count += self.count_on_all_cores(&stretch)?;
            }
            count += stretch.count;
        }
        Ok(Some(count))
    }

    /// Counts so many entries and what is left of their last second; whether there are more.
    fn count_on<'db>(
        &'db self,
        stretch: &mut Stretch<'_>,
        entries: usize,
        kept: &mut Option<Snapshot<'db>>,
        one_snapshot: bool,
    ) -> Result<bool, ReadError> {
        let source = if one_snapshot { PagesFrom::Map } else { PagesFrom::Copies };
        let (walked, more) = self.read_from(source, kept, one_snapshot, |snapshot, attempt| {
            stretch.walk_on(snapshot, halved(entries, attempt))
        })?;
        *stretch = walked;
        Ok(more)
    }

    /// Counts what is left of a stretch, cut into slices of time. They hold unequal numbers of
    /// entries, so there are many.
    fn count_on_all_cores(&self, stretch: &Stretch<'_>) -> Result<u64, ReadError> {
        let created_at = present("Event__created_at", self.tables.created_at)?;
        let oldest = self.read(|snapshot| {
            let first = snapshot.forward(created_at, None)?.next().transpose()?;
            Ok(first.and_then(|(key, _)| key.try_into().ok()).map_or(0, u64::from_ne_bytes))
        })?;
        let before = stretch.before.unwrap_or(u64::MAX);
        let begin = oldest.clamp(stretch.since, before.max(stretch.since));
        let width = before.saturating_sub(begin).div_ceil(SLICES).max(1);
        (0..SLICES)
            .into_par_iter()
            .map(|number| {
                let start = begin.saturating_add(number.saturating_mul(width));
                let mut slice = Stretch {
                    since: if number == 0 { stretch.since } else { start },
                    before: Some(start.saturating_add(width).min(before)),
                    count: 0,
                    ..*stretch
                };
                if slice.before.is_some_and(|before| before <= slice.since) {
                    return Ok(0);
                }
                while self.count_on(&mut slice, ENTRIES_COPIED, &mut None, false)? {}
                Ok(slice.count)
            })
            .sum()
    }
}

/// Entries with one prefix and between two times, and how many of them have been counted.
#[derive(Debug, Clone, Copy)]
struct Stretch<'a> {
    index: Index,
    prefix: &'a [u8],
    since: u64,
    /// Where it goes on.
    before: Option<u64>,
    limit: u64,
    count: u64,
}

impl Stretch<'_> {
    /// Counts entries, so many and what is left of the second; whether there are more.
    fn walk_on(
        mut self,
        snapshot: &Snapshot<'_>,
        entries: usize,
    ) -> Result<(Self, bool), ReadError> {
        let (mut walked, mut second, mut more) = (0, None, false);
        let count = &mut self.count;
        self.index.walk_back(snapshot, self.prefix, self.before, |found| {
            if found.created_at < self.since || *count == self.limit {
                return ControlFlow::Break(());
            }
            if walked >= entries && second != Some(found.created_at) {
                more = true;
                return ControlFlow::Break(());
            }
            second = Some(found.created_at);
            walked += 1;
            *count += 1;
            ControlFlow::Continue(())
        })?;
        self.before = second.or(self.before);
        Ok((self, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden_database;

    /// Every entry of every kind, between all pairs of times: as many in slices as one by one.
    #[test]
    fn slices_of_time_hold_each_entry_once() {
        for name in ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"] {
            let directory = golden_database(name);
            let db = StrfryDb::open(directory.path()).unwrap();
            let stats = db.stats().unwrap();
            let (oldest, newest) = (stats.oldest.unwrap(), stats.newest.unwrap());
            let middle = oldest.midpoint(newest);
            let times = [0, oldest, oldest + 1, middle, newest, newest + 1, u64::MAX];
            for (kind, events) in stats.kinds {
                let prefix = kind.to_ne_bytes();
                for (since, before) in times.iter().flat_map(|&a| times.map(|b| (a, b))) {
                    let stretch = Stretch {
                        index: Index::Kind,
                        prefix: &prefix,
                        since,
                        before: Some(before),
                        limit: u64::MAX,
                        count: 0,
                    };
                    let mut alone = stretch;
                    while db.count_on(&mut alone, 61, &mut None, false).unwrap() {}
                    let counted = db.count_on_all_cores(&stretch).unwrap();
                    assert_eq!(counted, alone.count, "{name} {kind} {since} {before}");
                    if (since, before) == (0, u64::MAX) {
                        assert_eq!(counted, events, "{name} {kind}");
                    }
                }
            }
        }
    }
}
