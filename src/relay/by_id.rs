//! Asking for events by their ids, of a relay whose limit for an answer is not known.
//!
//! Pure: says what to ask and is told what came.

use std::collections::HashSet;

use super::limits::{IDS_PER_FILTER, SMALLEST_PAGE_LIMIT};
use crate::nostr::{EventId, Filter};

/// One request under way.
#[derive(Debug)]
pub(super) struct IdRequest {
    /// Sorted.
    asked: Vec<EventId>,
    missing: HashSet<EventId>,
}

/// What is to be done about the ids that an answer did not bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// Ask again: the relay's limit may have cut them off.
    Again(Vec<EventId>),
    /// The relay does not give them.
    NotGiven(Vec<EventId>),
}

/// How many ids a peer answers at once, as far as is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdLimits {
    /// In one filter.
    pub(super) per_filter: usize,
    /// Filters in one request.
    pub(super) filters: usize,
    /// In one filter, as far as the relay has said.
    pub(super) most: usize,
}

impl Default for IdLimits {
    fn default() -> Self {
        Self { per_filter: IDS_PER_FILTER, filters: 1, most: IDS_PER_FILTER }
    }
}

impl IdLimits {
    /// Ids in one request.
    pub(super) fn per_request(&self) -> usize {
        self.per_filter.saturating_mul(self.filters).clamp(1, IDS_PER_FILTER)
    }

    /// An answer brought all that was asked for: a small limit may have been a mistake.
    fn grow(&mut self, given: usize) {
        if given >= self.per_filter {
            self.per_filter = self.per_filter.saturating_mul(2).min(self.most);
        }
    }

    /// An answer brought fewer than were asked for.
    fn shrink(&mut self, given: usize) {
        self.filters = 1;
        self.per_filter = self.per_filter.min(given.max(SMALLEST_PAGE_LIMIT));
    }
}

impl IdRequest {
    pub(super) fn new(ids: &[EventId]) -> Self {
        let missing: HashSet<EventId> = ids.iter().copied().collect();
        let mut asked: Vec<EventId> = missing.iter().copied().collect();
        asked.sort_unstable();
        Self { missing, asked }
    }

    /// The filters that ask for these ids.
    pub(super) fn filters(ids: &[EventId], limits: &IdLimits) -> Vec<Filter> {
        let filter = |ids: &[EventId]| {
            // Without a limit of ours some relays take a smaller one of their own.
            let limit = u64::try_from(ids.len()).ok();
            Filter { ids: Some(ids.to_vec()), limit, ..Filter::default() }
        };
        ids.chunks(limits.per_filter.max(1)).map(filter).collect()
    }

    /// The event has come; false if it had come already.
    pub(super) fn receive(&mut self, id: &EventId) -> bool {
        self.missing.remove(id)
    }

    /// What has not come yet, if it is one event.
    pub(super) fn only_missing(&self) -> Option<EventId> {
        let mut missing = self.missing.iter();
        missing.next().copied().filter(|_| missing.next().is_none())
    }

    /// All that was asked for; sorted.
    pub(super) fn asked(&self) -> &[EventId] {
        &self.asked
    }

    /// The request is too large for the relay: whether a smaller one is worth a try.
    pub(super) fn shrink(&self, limits: &mut IdLimits) -> bool {
        limits.shrink(self.asked.len() / 4);
        self.asked.len() > SMALLEST_PAGE_LIMIT
    }

    /// What has not come yet.
    pub(super) fn missing(self) -> Vec<EventId> {
        self.missing.into_iter().collect()
    }

    /// The relay says that this is all. A relay may cut an answer, or ignore a filter that is too
    /// large for it; only a few ids of which it gives none are taken for not there.
    pub(super) fn end(self, limits: &mut IdLimits) -> Option<Leftover> {
        let given = self.asked.len() - self.missing.len();
        let (asked, missing) = (self.asked.len(), self.missing.len());
        if missing == 0 {
            limits.grow(given);
            return None;
        }
        let leftover = self.missing();
        if given == 0 && asked <= SMALLEST_PAGE_LIMIT {
            return Some(Leftover::NotGiven(leftover));
        }
        if given < asked / 2 {
            limits.shrink(given);
        }
        Some(Leftover::Again(leftover))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<EventId> {
        (0..count)
            .map(|number| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&number.to_be_bytes());
                EventId::from_bytes(id)
            })
            .collect()
    }

    /// Asks a relay that gives `limit` events of each filter, and has those that `has` says.
    fn ask(count: usize, limit: usize, has: impl Fn(usize) -> bool) -> (usize, usize, usize) {
        let all = ids(count);
        let has: HashSet<EventId> =
            all.iter().enumerate().filter(|(at, _)| has(*at)).map(|(_, id)| *id).collect();
        let (mut waiting, mut limits) = (all, IdLimits::default());
        let (mut came, mut refused, mut requests) = (0, 0, 0);
        while !waiting.is_empty() {
            requests += 1;
            assert!(requests < 10_000);
            let batch: Vec<_> = waiting.drain(..limits.per_request().min(waiting.len())).collect();
            let mut request = IdRequest::new(&batch);
            for filter in IdRequest::filters(&batch, &limits) {
                let given = filter.ids.unwrap().into_iter().filter(|id| has.contains(id));
                came += given.take(limit).filter(|id| request.receive(id)).count();
            }
            match request.end(&mut limits) {
                Some(Leftover::Again(ids)) => waiting.extend(ids),
                Some(Leftover::NotGiven(ids)) => refused += ids.len(),
                None => {}
            }
        }
        (came, refused, requests)
    }

    #[test]
    fn a_relay_that_gives_all_is_asked_once_for_each() {
        assert_eq!(ask(1_500, 500, |_| true), (1_500, 0, 3));
    }

    #[test]
    fn a_relay_of_a_small_limit_gives_all_in_smaller_requests() {
        let (came, refused, requests) = ask(1_000, 20, |_| true);
        assert_eq!((came, refused), (1_000, 0));
        assert!(requests < 60, "{requests}");
    }

    #[test]
    fn what_is_not_there_is_found_out_and_the_rest_comes() {
        let (came, refused, _) = ask(1_000, 500, |number| number % 3 > 0);
        assert_eq!((came, refused), (666, 334));
        let (came, refused, _) = ask(1_000, 500, |_| false);
        assert_eq!((came, refused), (0, 1_000));
    }
}
