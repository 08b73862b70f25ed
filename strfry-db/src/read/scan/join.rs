//! What is in each of several indexes, from new to old: all have the same order, so they are walked
//! side by side, and only what all have come to is in all.

use super::merge::{Entry, Merge, Step};
use super::plan::Plan;
use crate::error::ReadError;
use crate::nostr::filter::Filter;
use crate::read::get::Found;
use crate::txn::snapshot::Snapshot;

/// Merged walks side by side.
#[derive(Clone)]
pub(super) struct Join {
    walks: Vec<(Merge, Option<Entry>)>,
}

impl Join {
    /// `rows`: matches that one snapshot gives out.
    pub(super) fn new(plan: Plan, filter: &Filter, rows: usize) -> Self {
        let walk = |range| (Merge::new(range, filter, rows, !plan.decides), None);
        Self { walks: plan.ranges.into_iter().map(walk).collect() }
    }

    /// Goes on to the next that is in all, or by reading some of one index.
    pub(super) fn step(&mut self, snapshot: &Snapshot<'_>) -> Result<Step, ReadError> {
        if let [(merge, _)] = self.walks.as_mut_slice() {
            return merge.step(snapshot);
        }
        loop {
            let mut oldest: Option<Found> = None;
            for (merge, head) in &mut self.walks {
                let entry = match head {
                    Some(entry) => *entry,
                    None => match merge.step(snapshot)? {
                        Step::Entry(entry) => *head.insert(entry),
                        step => return Ok(step),
                    },
                };
                oldest = oldest.into_iter().chain([entry.found]).min_by_key(Found::order);
            }
            let Some(oldest) = oldest else { return Ok(Step::End) };
            let mut is_in_all = true;
            // The earliest commit that any of them is of.
            let mut txn_id = u64::MAX;
            for (_, head) in &mut self.walks {
                match head {
                    Some(entry) if entry.found == oldest => txn_id = txn_id.min(entry.txn_id),
                    head => {
                        // Newer than what another index has come to.
                        *head = None;
                        is_in_all = false;
                    }
                }
            }
            if is_in_all {
                self.walks.iter_mut().for_each(|(_, head)| *head = None);
                return Ok(Step::Entry(Entry { found: oldest, txn_id }));
            }
        }
    }
}
