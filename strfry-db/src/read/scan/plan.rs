//! Which index answers a filter, or which several together, and with which prefixes.
//!
//! The choice changes how much is read, never what is found or in which order.

use std::ops::ControlFlow;

use super::index::Index;
use crate::error::ReadError;
use crate::limits::{
    ENTRIES_INSTEAD_OF_RECORD, PROBED_ENTRIES, PROBED_PREFIXES, PUBKEY_KIND_PAIRS,
};
use crate::nostr::filter::{Filter, TagFilter};
use crate::txn::snapshot::Snapshot;

/// How a filter is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// What is walked, at least one. Only what is in all of them can match.
    pub(super) ranges: Vec<IndexRange>,
    /// Whether everything that is in all of them and between the filter's times matches.
    pub(super) decides: bool,
}

/// A part of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexRange {
    pub(super) index: Index,
    /// No two are the same.
    pub(super) prefixes: Vec<Box<[u8]>>,
    /// For how many of the filter's fields, times apart, the prefixes stand.
    fields: usize,
}

impl Plan {
    /// The plan that seems to read least: one index and the records of what is in it, or as many as
    /// decide without records.
    pub(super) fn choose(filter: &Filter, snapshot: &Snapshot<'_>) -> Result<Self, ReadError> {
        let mut ranges = IndexRange::possible(filter);
        if ranges.is_empty() {
            ranges.push(IndexRange::new(Index::CreatedAt, [Box::from([])], 0));
        }
        if ranges.len() == 1 {
            return Ok(Self::of(ranges, filter));
        }
        let costs = costs(&ranges, filter, snapshot)?;
        let cheapest = costs.iter().enumerate().min_by_key(|&(_, cost)| cost);
        let (cheapest, cost) = cheapest.map_or((0, 0), |(at, cost)| (at, *cost));
        let together = costs.iter().copied().fold(0, u64::saturating_add);
        let with_records = cost.saturating_mul(1 + ENTRIES_INSTEAD_OF_RECORD);
        let all = Self::of(ranges, filter);
        if all.decides && together <= with_records {
            return Ok(all);
        }
        let mut ranges = all.ranges;
        Ok(Self::of(vec![ranges.swap_remove(cheapest)], filter))
    }

    /// Roughly how many entries there are to read.
    pub(super) fn cost(&self, filter: &Filter, snapshot: &Snapshot<'_>) -> Result<u64, ReadError> {
        let costs = costs(&self.ranges, filter, snapshot)?;
        Ok(costs.into_iter().fold(0, u64::saturating_add))
    }

    /// How many walks there are.
    pub(super) fn walks(&self) -> usize {
        self.ranges.iter().map(|range| range.prefixes.len()).sum()
    }

    /// Walks these.
    pub(super) fn of(ranges: Vec<IndexRange>, filter: &Filter) -> Self {
        let restricting = usize::from(filter.ids.is_some())
            + usize::from(filter.authors.is_some())
            + usize::from(filter.kinds.is_some())
            + filter.tags.len();
        let fields: usize = ranges.iter().map(|range| range.fields).sum();
        Self { ranges, decides: fields == restricting }
    }
}

/// What each of these costs.
fn costs(
    ranges: &[IndexRange],
    filter: &Filter,
    snapshot: &Snapshot<'_>,
) -> Result<Vec<u64>, ReadError> {
    let since = filter.since.max(snapshot.oldest_time()?.unwrap_or(0));
    let times = (since, filter.until.checked_add(1));
    ranges.iter().map(|range| range.cost(times, snapshot)).collect()
}

impl IndexRange {
    /// What is worth comparing, the better guess first; no two stand for the same field.
    pub(super) fn possible(filter: &Filter) -> Vec<Self> {
        if let Some(ids) = &filter.ids {
            return vec![Self::new(Index::Id, ids.iter().map(|id| id.as_bytes()[..].into()), 1)];
        }
        let tag = |tag| Self::new(Index::Tag, prefixes(tag), 1);
        let mut ranges: Vec<Self> = filter.tags.iter().map(tag).collect();
        match (&filter.authors, &filter.kinds) {
            (Some(authors), Some(kinds))
                if authors.len().saturating_mul(kinds.len()) <= PUBKEY_KIND_PAIRS =>
            {
                let pairs = authors.iter().flat_map(|author| {
                    kinds.iter().map(|kind| {
                        [author.as_bytes().as_slice(), &kind.to_ne_bytes()].concat().into()
                    })
                });
                ranges.push(Self::new(Index::PubkeyKind, pairs, 2));
            }
            (Some(authors), _) => {
                let pubkeys = authors.iter().map(|author| author.as_bytes()[..].into());
                ranges.push(Self::new(Index::Pubkey, pubkeys, 1));
            }
            (None, Some(kinds)) => {
                let kinds = kinds.iter().map(|kind| kind.to_ne_bytes()[..].into());
                ranges.push(Self::new(Index::Kind, kinds, 1));
            }
            (None, None) => {}
        }
        ranges
    }

    fn new(index: Index, prefixes: impl IntoIterator<Item = Box<[u8]>>, fields: usize) -> Self {
        Self { index, prefixes: prefixes.into_iter().collect(), fields }
    }

    /// Roughly how many entries there are to read: counted in a few prefixes where they are few,
    /// and where they are many, as if they went on as dense in time as the newest are.
    fn cost(
        &self,
        (since, before): (u64, Option<u64>),
        snapshot: &Snapshot<'_>,
    ) -> Result<u64, ReadError> {
        let probed = self.prefixes.len().clamp(1, PROBED_PREFIXES);
        let entries_each = (PROBED_ENTRIES / probed) as u64;
        let mut entries = 0_u64;
        for prefix in self.prefixes.iter().take(probed) {
            let (mut counted, mut newest, mut oldest) = (0, 0, 0);
            let mut is_at_end = true;
            self.index.walk_back(snapshot, prefix, before, |found| {
                if found.created_at < since {
                    return ControlFlow::Break(());
                }
                if counted == entries_each {
                    is_at_end = false;
                    return ControlFlow::Break(());
                }
                if counted == 0 {
                    newest = found.created_at;
                }
                oldest = found.created_at;
                counted += 1;
                ControlFlow::Continue(())
            })?;
            entries = entries.saturating_add(match is_at_end {
                true => counted,
                false => {
                    let whole = newest.saturating_sub(since);
                    counted.saturating_mul(whole) / newest.saturating_sub(oldest).saturating_add(1)
                }
            });
        }
        // A prefix costs a descent into the index even if there is nothing.
        let prefixes = self.prefixes.len() as u64;
        Ok(entries.saturating_add(probed as u64).saturating_mul(prefixes) / probed as u64)
    }
}

fn prefixes(tag: &TagFilter) -> impl Iterator<Item = Box<[u8]>> {
    tag.values.iter().map(|value| [&[tag.name], value.as_slice()].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What can be walked for a filter: index, number of prefixes, whether it decides alone.
    fn plans(json: &str) -> Vec<(Index, usize, bool)> {
        let filter = Filter::parse(json).unwrap().remove(0);
        let ranges = IndexRange::possible(&filter);
        let plan = |range: IndexRange| {
            let (index, prefixes) = (range.index, range.prefixes.len());
            (index, prefixes, Plan::of(vec![range], &filter).decides)
        };
        ranges.into_iter().map(plan).collect()
    }

    #[test]
    fn every_index_serves_the_filters_that_it_can() {
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(64));
        assert_eq!(plans(r#"{"since":1,"limit":5}"#), []);
        assert_eq!(plans(r#"{"kinds":[1,2],"since":1}"#), [(Index::Kind, 2, true)]);
        assert_eq!(plans(&format!(r#"{{"authors":["{one}"]}}"#)), [(Index::Pubkey, 1, true)]);
        assert_eq!(
            plans(&format!(r#"{{"authors":["{one}","{two}"],"kinds":[1,2,3]}}"#)),
            [(Index::PubkeyKind, 6, true)]
        );
        assert_eq!(
            plans(&format!(r#"{{"ids":["{one}"],"authors":["{two}"]}}"#)),
            [(Index::Id, 1, false)]
        );
        assert_eq!(
            plans(r##"{"#t":["a","b"],"#d":["c"],"kinds":[1]}"##),
            [(Index::Tag, 1, false), (Index::Tag, 2, false), (Index::Kind, 1, false)]
        );
        assert_eq!(plans(r##"{"#t":["a","b"]}"##), [(Index::Tag, 2, true)]);
    }

    #[test]
    fn with_too_many_pairs_the_kinds_are_looked_at_instead() {
        let kinds: Vec<usize> = (0..=PUBKEY_KIND_PAIRS).collect();
        let filter = format!(r#"{{"authors":["{}"],"kinds":{kinds:?}}}"#, "1".repeat(64));
        assert_eq!(plans(&filter), [(Index::Pubkey, 1, false)]);
    }
}
