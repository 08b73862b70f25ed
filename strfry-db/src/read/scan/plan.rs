//! Which index answers a filter, and with which prefixes.
//!
//! The choice changes how much is read, never what is found or in which order.

use std::ops::ControlFlow;

use super::index::Index;
use crate::error::ReadError;
use crate::limits::{PROBED_ENTRIES, PROBED_PREFIXES, PUBKEY_KIND_PAIRS};
use crate::nostr::filter::{Filter, TagFilter};
use crate::txn::snapshot::Snapshot;

/// How a filter is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) index: Index,
    /// What is walked; no two are the same.
    pub(super) prefixes: Vec<Box<[u8]>>,
    /// Whether everything with these prefixes and between the filter's times matches.
    pub(super) decides: bool,
}

impl Plan {
    /// The plan that seems to read least.
    pub(super) fn choose(filter: &Filter, snapshot: &Snapshot<'_>) -> Result<Self, ReadError> {
        let mut plans = Self::possible(filter);
        if plans.len() > 1 {
            let mut costs = Vec::with_capacity(plans.len());
            for plan in &plans {
                costs.push(plan.cost(filter, snapshot)?);
            }
            let cheapest = costs.iter().enumerate().min_by_key(|&(_, cost)| cost);
            let cheapest = cheapest.map_or(0, |(at, _)| at);
            return Ok(plans.swap_remove(cheapest));
        }
        Ok(plans.pop().unwrap_or_else(|| Self::new(Index::CreatedAt, [Box::from([])], filter, 0)))
    }

    /// The plans worth comparing, the better guess first.
    fn possible(filter: &Filter) -> Vec<Self> {
        if let Some(ids) = &filter.ids {
            return vec![Self::new(
                Index::Id,
                ids.iter().map(|id| id.as_bytes()[..].into()),
                filter,
                1,
            )];
        }
        let mut plans: Vec<Self> =
            filter.tags.iter().map(|tag| Self::new(Index::Tag, prefixes(tag), filter, 1)).collect();
        match (&filter.authors, &filter.kinds) {
            (Some(authors), Some(kinds))
                if authors.len().saturating_mul(kinds.len()) <= PUBKEY_KIND_PAIRS =>
            {
                let pairs = authors.iter().flat_map(|author| {
                    kinds.iter().map(|kind| {
                        [author.as_bytes().as_slice(), &kind.to_ne_bytes()].concat().into()
                    })
                });
                plans.push(Self::new(Index::PubkeyKind, pairs, filter, 2));
            }
            (Some(authors), _) => {
                let pubkeys = authors.iter().map(|author| author.as_bytes()[..].into());
                plans.push(Self::new(Index::Pubkey, pubkeys, filter, 1));
            }
            (None, Some(kinds)) => {
                let kinds = kinds.iter().map(|kind| kind.to_ne_bytes()[..].into());
                plans.push(Self::new(Index::Kind, kinds, filter, 1));
            }
            (None, None) => {}
        }
        plans
    }

    /// `fields`: how many of the filter's fields, times apart, the prefixes stand for.
    fn new(
        index: Index,
        prefixes: impl IntoIterator<Item = Box<[u8]>>,
        filter: &Filter,
        fields: usize,
    ) -> Self {
        let restricting = usize::from(filter.ids.is_some())
            + usize::from(filter.authors.is_some())
            + usize::from(filter.kinds.is_some())
            + filter.tags.len();
        Self { index, prefixes: prefixes.into_iter().collect(), decides: restricting == fields }
    }

    /// Roughly how many entries there are to read: counted in a few prefixes where they are few,
    /// and where they are many, as if they went on as dense in time as the newest are.
    fn cost(&self, filter: &Filter, snapshot: &Snapshot<'_>) -> Result<u64, ReadError> {
        let probed = self.prefixes.len().clamp(1, PROBED_PREFIXES);
        let entries_each = (PROBED_ENTRIES / probed) as u64;
        let mut entries = 0_u64;
        for prefix in self.prefixes.iter().take(probed) {
            let (mut counted, mut newest, mut oldest) = (0, 0, 0);
            let mut is_at_end = true;
            self.index.walk_back(snapshot, prefix, filter.until.checked_add(1), |found| {
                if found.created_at < filter.since {
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
                    let whole = newest.saturating_sub(filter.since);
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

    /// The possible plans of a filter: index, number of prefixes, whether it decides.
    fn plans(json: &str) -> Vec<(Index, usize, bool)> {
        let filter = Filter::parse(json).unwrap().remove(0);
        let plans = Plan::possible(&filter);
        plans.iter().map(|plan| (plan.index, plan.prefixes.len(), plan.decides)).collect()
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
