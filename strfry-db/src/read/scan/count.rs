//! How many events match, from the index alone where it decides.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::ScanOptions;
use super::index::Index;
use super::matches::Matches;
use super::plan::{IndexRange, Plan};
use crate::error::ReadError;
use crate::limits::{
    ENTRIES_COPIED, ENTRIES_COUNTED_ALONE, ENTRIES_OF_A_WALK, ENTRIES_PER_SNAPSHOT,
    ROWS_PER_SNAPSHOT, SLICES,
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
            && let Some(count) = self.count_one(filter, options)?
        {
            return Ok(count);
        }
        self.scan_with(filters, options).map_batches(|batch| Ok(batch.found().len() as u64)).sum()
    }

    /// `None` if there is no better way than to scan.
    fn count_one(&self, filter: &Filter, options: ScanOptions) -> Result<Option<u64>, ReadError> {
        let mut kept = None;
        let way = self.read_keeping(&mut kept, options.one_snapshot, |snapshot, _| {
            Way::choose(filter, snapshot)
        })?;
        match way {
            Way::Known(events) => Ok(Some(events.min(filter.limit))),
            Way::Entries(range) => self.count_entries(filter, &range, options, kept).map(Some),
            Way::Matches { plan, slices } if slices > 1 && !options.one_snapshot => {
                self.count_matches(filter, &plan, slices).map(Some)
            }
            Way::Matches { .. } => Ok(None),
        }
    }

    /// Counts the entries of an index, prefix by prefix.
    fn count_entries<'db>(
        &'db self,
        filter: &Filter,
        range: &IndexRange,
        options: ScanOptions,
        mut kept: Option<Snapshot<'db>>,
    ) -> Result<u64, ReadError> {
        // What is to be of one moment is read in one snapshot, which one thread has; and with a
        // limit there is no need to look at all.
        let alone = options.one_snapshot || filter.limit != u64::MAX;
        let mut count = 0;
        for prefix in &range.prefixes {
            let mut stretch = Stretch {
                index: range.index,
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
        Ok(count)
    }

    /// Counts what matches on all cores.
    fn count_matches(&self, filter: &Filter, plan: &Plan, slices: u64) -> Result<u64, ReadError> {
        let times = self.slices(filter.since, filter.until.checked_add(1), slices)?;
        sum_of(&times, |(since, before)| {
            let until = before.map_or(u64::MAX, |before| before.saturating_sub(1));
            let slice = Filter { since, until, ..filter.clone() };
            let mut matches = Matches::by_plan(self, slice, plan.clone());
            let mut count = 0;
            while let Some(found) =
                matches.next_batch(&mut |batch| Ok(batch.found().len() as u64))?
            {
                count += found;
            }
            Ok(count)
        })
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

    /// Counts what is left of a stretch on all cores.
    fn count_on_all_cores(&self, stretch: &Stretch<'_>) -> Result<u64, ReadError> {
        let times = self.slices(stretch.since, stretch.before, SLICES)?;
        sum_of(&times, |(since, before)| {
            let mut slice = Stretch { since, before, count: 0, ..*stretch };
            while self.count_on(&mut slice, ENTRIES_COPIED, &mut None, false)? {}
            Ok(slice.count)
        })
    }

    /// Cuts a stretch of time into at most so many slices: the first second of each, and the one
    /// behind it. They hold unequal numbers of events, so there should be many.
    fn slices(&self, since: u64, before: Option<u64>, count: u64) -> Result<Vec<Slice>, ReadError> {
        let (oldest, newest) =
            self.read(|snapshot| Ok((snapshot.oldest_time()?, snapshot.newest_time()?)))?;
        // At other times there is nothing.
        let begin = since.max(oldest.unwrap_or(0));
        let newest = newest.unwrap_or(u64::MAX);
        let last = before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
        let width = (last.saturating_sub(begin) / count.max(1)).saturating_add(1);
        let starts = (1..count).map(|number| begin.saturating_add(number.saturating_mul(width)));
        let starts = starts.take_while(|start| *start <= last);
        let mut slices = vec![(since, before)];
        for start in starts {
            if let Some((_, behind)) = slices.last_mut() {
                *behind = Some(start);
            }
            slices.push((start, before));
        }
        Ok(slices)
    }
}

/// Its first second, and the one behind it.
type Slice = (u64, Option<u64>);

/// What there is in all slices: counted on all cores, or one after the other where there are not
/// reader slots enough for that.
fn sum_of(
    slices: &[Slice],
    count: impl Fn(Slice) -> Result<u64, ReadError> + Sync,
) -> Result<u64, ReadError> {
    match slices.par_iter().copied().map(&count).sum() {
        Err(ReadError::ReadersFull) => slices.iter().copied().map(&count).sum(),
        sum => sum,
    }
}

/// How to count what matches a filter.
enum Way {
    /// It is known.
    Known(u64),
    /// As many as there are entries in this part of an index, each of another event.
    Entries(IndexRange),
    /// One by one, in so many slices of time at once.
    Matches { plan: Plan, slices: u64 },
}

impl Way {
    fn choose(filter: &Filter, snapshot: &Snapshot<'_>) -> Result<Self, ReadError> {
        let mut plan = Plan::choose(filter, snapshot)?;
        // A scan stops early; the sum of all entries would not.
        let stops = filter.limit < ROWS_PER_SNAPSHOT as u64;
        if let [range] = plan.ranges.as_slice()
            && plan.decides
            && !stops
        {
            if range.index == Index::CreatedAt && (filter.since, filter.until) == (0, u64::MAX) {
                return Ok(Self::Known(snapshot.number_of_events()?));
            }
            // An event may have several of the tag's values, but is counted once.
            if (range.index != Index::Tag || range.prefixes.len() == 1)
                && let Some(range) = plan.ranges.pop()
            {
                return Ok(Self::Entries(range));
            }
        }
        let slices = match filter.limit {
            u64::MAX => {
                let cost = plan.cost(filter, snapshot)?;
                // Each slice begins each walk anew.
                let walks = (plan.walks() as u64).saturating_mul(ENTRIES_OF_A_WALK).max(1);
                if cost < ENTRIES_COUNTED_ALONE { 1 } else { (cost / walks).min(SLICES) }
            }
            _ => 1,
        };
        Ok(Self::Matches { plan, slices })
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
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::golden::golden_database;
    use crate::nostr::filter::TagFilter;
    use crate::read::stored_event::copied::StoredEvent;

    #[test]
    fn a_count_for_which_there_are_not_slots_enough_is_one_threads_and_other_errors_stay() {
        let slices: Vec<Slice> = (0..64).map(|number| (number, None)).collect();
        let sum_if = |first: fn() -> ReadError| {
            let calls = AtomicUsize::new(0);
            let sum = sum_of(&slices, |(since, _)| match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Err(first()),
                _ => Ok(since),
            });
            sum.map_err(|error| error.to_string())
        };
        assert_eq!(sum_if(|| ReadError::ReadersFull), Ok(63 * 64 / 2));
        let overtaken = ReadError::Overtaken.to_string();
        assert_eq!(sum_if(|| ReadError::Overtaken), Err(overtaken));
    }

    /// Matches that several indexes decide together, or one and the records, between all pairs of times.
    #[test]
    fn slices_of_time_hold_each_match_once() {
        let directory = golden_database("strfry-1.1.1");
        let db = StrfryDb::open(directory.path()).unwrap();
        let stats = db.stats().unwrap();
        let (oldest, newest) = (stats.oldest.unwrap(), stats.newest.unwrap());
        let middle = oldest.midpoint(newest);
        let times = [0, oldest + 1, middle, newest, u64::MAX];
        let events: Vec<_> = db.scan(Filter::new()).map(Result::unwrap).collect();
        let mut some = 0;
        for name in *b"tpd" {
            let values = events.iter().flat_map(|event| {
                let tags = event.packed().tags().filter(|(found, _)| *found == name);
                tags.map(|(_, value)| value.to_vec()).collect::<Vec<_>>()
            });
            let values = values.take(30).collect::<BTreeSet<_>>().into_iter().collect();
            let kinds = [0, 1, 3, 7, 1_111, 10_002, 30_023];
            let mut filter = Filter::new().kinds(kinds);
            filter.tags.push(TagFilter { name, values });
            for (since, until) in times.iter().flat_map(|&a| times.map(|b| (a, b))) {
                let filter = filter.clone().since(since).until(until);
                let together = Plan::of(IndexRange::possible(&filter), &filter);
                assert_eq!((together.ranges.len(), together.decides), (2, true));
                let chosen = db.read(|snapshot| Plan::choose(&filter, snapshot)).unwrap();
                let is_match = |event: &StoredEvent<'_>| filter.matches(&event.packed());
                let counted = events.iter().filter(|event| is_match(event)).count() as u64;
                for slices in [1, 2, 7, 64] {
                    let times = db.slices(since, until.checked_add(1), slices).unwrap();
                    let ends = (times[0].0, times.last().unwrap().1);
                    assert_eq!(ends, (since, until.checked_add(1)));
                    assert!(times.windows(2).all(|pair| pair[0].1 == Some(pair[1].0)));
                    assert!(times.len() as u64 <= slices);
                    for plan in [&together, &chosen] {
                        let sliced = db.count_matches(&filter, plan, slices).unwrap();
                        assert_eq!(sliced, counted, "{filter:?} in {slices} by {plan:?}");
                    }
                }
                some += counted;
            }
        }
        assert!(some > 0);
    }

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
