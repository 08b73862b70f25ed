//! Overviews: one comparison of everything in a time shows which of many queries about it need not
//! be compared one by one.

use std::collections::HashSet;

use super::{Compared, Negentropy, OpenComparison, Purpose, Query, Round};
use crate::peer::fingerprints::Fingerprints;
use crate::peer::limits::OVERVIEW_QUERIES;
use crate::peer::message;
use crate::peer::overview::{Shown, Time, everything, time_of};
use crate::peer::peer_limits::{Comparing, PeerLimits};

/// Overviews of the time that many queries are about; one at a time.
#[derive(Debug, Default)]
pub(super) struct Overviews {
    /// Times of which there has been one, or is to be none.
    done: HashSet<Time>,
    /// What is here, while the peer is asked.
    pub(super) here: Fingerprints,
    /// What one has shown, until a sample tells whether that is true.
    pub(super) shown: Option<Shown>,
}

impl Negentropy {
    /// Before the first of many queries about one time, an overview of that time, if the peer keeps
    /// what it takes to answer that at once.
    pub(super) fn plan_overview(&mut self, limits: &PeerLimits) {
        if !limits.keeps_trees || self.has_open_overview() {
            return;
        }
        let first = self.waiting.front().filter(|query| query.purpose == Purpose::Fetch);
        let Some(time) = first.map(|query| time_of(&query.filter)) else { return };
        if self.overviews.done.insert(time) {
            let about_it = self.waiting.iter().filter(|query| query.is_about(time)).count();
            if about_it >= OVERVIEW_QUERIES {
                let filter = everything(time).into();
                self.waiting.push_front(Query::new(filter, Purpose::Overview));
            }
        }
    }

    /// What an overview shows is waited for.
    pub(super) fn has_open_overview(&self) -> bool {
        self.open.iter().any(|it| matches!(it.purpose, Purpose::Overview | Purpose::Sample))
    }

    /// An answer to an overview. If much is the same on both sides, a sample is to tell whether that
    /// is true.
    pub(super) fn see_overview(
        &mut self,
        open: &OpenComparison,
        payload: &str,
        limits: &mut PeerLimits,
    ) -> Round {
        let here = std::mem::take(&mut self.overviews.here);
        let time = time_of(open.comparison.filter());
        let shown = hex::decode(payload).ok().and_then(|it| Shown::by(&it, time, &here));
        let first = self.waiting.iter().find(|query| query.is_about(time));
        if let (Some(shown), Some(first)) = (shown, first) {
            limits.comparing = Comparing::Works;
            let sample = shown.sample(&first.filter).into();
            self.waiting.push_front(Query::new(sample, Purpose::Sample));
            self.overviews.shown = Some(shown);
        }
        Round { send: Some(message::neg_close(&open.subscription)), ..Round::default() }
    }

    /// An answer to a sample: if nothing differs in it, what the overview has shown to be the same is
    /// not compared any more.
    pub(super) fn see_sample(
        &mut self,
        mut open: OpenComparison,
        payload: &str,
        limits: &mut PeerLimits,
    ) -> Round {
        let answer = hex::decode(payload).unwrap_or_default();
        let is_readable = !open.comparison.needs_items(&answer);
        let round = is_readable.then(|| open.comparison.answer(&answer).ok()).flatten();
        let shown = self.overviews.shown.take();
        if let Some(shown) = shown.filter(|_| round.is_some_and(|round| round.is_equal())) {
            // The overview was about something that is here, and it is there.
            self.has_something = true;
            limits.compares_truly = true;
            self.leave_out(&shown);
        }
        Round { send: Some(message::neg_close(&open.subscription)), ..Round::default() }
    }

    /// Does not compare what an overview has shown to be the same.
    fn leave_out(&mut self, shown: &Shown) {
        for query in std::mem::take(&mut self.waiting) {
            if !query.is_about(shown.time) {
                self.waiting.push_back(query);
            } else if let Some(rest) = shown.rest(&query.filter) {
                self.overviews.done.insert(time_of(&rest));
                self.waiting.push_back(Query::new(rest.into(), Purpose::Fetch));
            } else {
                self.ended += 1;
                self.compared.push(Compared { filter: query.filter, has_named: false });
            }
        }
    }
}
