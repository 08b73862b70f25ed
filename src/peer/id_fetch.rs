//! Asking for events by their ids: those that a peer has been found to have, shared among all peers
//! by the [`WantList`](super::WantList), of a relay whose limit for an answer is not known.
//!
//! Knows no connection: it says what to send and is told what came.

use std::collections::{HashSet, VecDeque};

use super::limits::{
    ID_REQUESTS_IN_ALL, IDS_PER_FILTER, PARALLEL_ID_REQUESTS, SMALLEST_PAGE_LIMIT,
};
use super::message;
use super::peer_limits::PeerLimits;
use super::want_list::Member;
use crate::nostr::{EventId, Filter};

/// What is asked of one peer by id.
#[derive(Debug)]
pub(super) struct IdFetch {
    /// The peer's place among those that share the work.
    pub(super) member: Member,
    open: Vec<OpenRequest>,
    /// Requests that ended a moment ago, with all that they asked for, sorted: what still arrives
    /// for them was asked for.
    recent: VecDeque<(String, Vec<EventId>)>,
    /// Connections that ended while a request was open alone and had brought nothing, since the last
    /// event.
    cuts: u32,
}

/// What a peer says it has and has not given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NotGiven {
    pub(super) ids: Vec<EventId>,
    /// So many of them nobody else has who has not been asked.
    pub(super) lost: usize,
}

#[derive(Debug)]
struct OpenRequest {
    subscription: String,
    request: IdRequest,
}

impl IdFetch {
    /// For a peer with this place.
    pub(super) fn new(member: Member) -> Self {
        Self { member, open: Vec::new(), recent: VecDeque::new(), cuts: 0 }
    }

    /// The next request, under this name.
    pub(super) fn next(&mut self, subscription: &str, limits: &PeerLimits) -> Option<String> {
        // Where one event is asked for at a time, it is to be found out whether it is given at all.
        let parallel = if limits.ids.per_request() > 1 { limits.parallel_ids } else { 1 };
        let most = parallel.min(self.member.share_of(ID_REQUESTS_IN_ALL));
        if self.open.len() >= most {
            return None;
        }
        let ids = self.member.claim(limits.ids.per_request());
        if ids.is_empty() {
            return None;
        }
        // Without a limit of ours some relays take a smaller one of their own.
        let limit = u64::try_from(ids.len()).ok();
        let request = IdRequest::new(&ids);
        let filter = Filter { ids: Some(ids), limit, ..Filter::default() };
        self.open.push(OpenRequest { subscription: subscription.to_owned(), request });
        Some(message::req(subscription, &filter))
    }

    /// Whether nothing is open and nothing that the peer has is still needed.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && !self.member.is_waiting()
    }

    /// Whether the request of this name asks, or asked a moment ago, for this event.
    pub(super) fn has_asked(&self, subscription: &str, id: &EventId) -> bool {
        let open = self.open.iter().find(|open| open.subscription == subscription);
        let recent = self.recent.iter().find(|(name, _)| name == subscription);
        let asked = open.map(|open| &open.request.asked).or(recent.map(|(_, asked)| asked));
        asked.is_some_and(|asked| asked.binary_search(id).is_ok())
    }

    /// What has not come yet under this name, if it is one event.
    pub(super) fn only_missing(&self, subscription: &str) -> Option<EventId> {
        let open = self.open.iter().find(|open| open.subscription == subscription)?;
        let mut missing = open.request.missing.iter();
        missing.next().copied().filter(|_| missing.next().is_none())
    }

    /// The event has come under this name, from whichever peer first; true if it had not before.
    pub(super) fn receive(&mut self, subscription: &str, id: &EventId) -> bool {
        if let Some(open) = self.open.iter_mut().find(|open| open.subscription == subscription) {
            open.request.missing.remove(id);
        }
        self.cuts = 0;
        self.member.settle(id)
    }

    /// What the peer gave under this id cannot be taken: another peer may have one that can.
    pub(super) fn receive_what_is_not_taken(&mut self, subscription: &str, id: &EventId) {
        if let Some(open) = self.open.iter_mut().find(|open| open.subscription == subscription) {
            open.request.missing.remove(id);
        }
        self.member.refuse([*id]);
    }

    fn take(&mut self, subscription: &str) -> Option<IdRequest> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        Some(self.open.remove(at).request)
    }

    /// The relay says that this is all.
    pub(super) fn end(&mut self, subscription: &str, limits: &mut PeerLimits) -> NotGiven {
        let Some(request) = self.take(subscription) else { return NotGiven::default() };
        self.recent.push_back((subscription.to_owned(), request.asked.clone()));
        while self.recent.len() > 2 * PARALLEL_ID_REQUESTS {
            self.recent.pop_front();
        }
        match request.end(&mut limits.ids) {
            Some(Leftover::Again(ids)) => {
                self.member.release(ids);
                NotGiven::default()
            }
            Some(Leftover::NotGiven(ids)) => {
                // Another that has it may not give it either.
                let lost = self.member.refuse(ids.iter().copied()).len();
                NotGiven { ids, lost }
            }
            None => {
                self.member.announce();
                NotGiven::default()
            }
        }
    }

    /// Whether what is open under this name has brought nothing at all.
    pub(super) fn is_empty(&self, subscription: &str) -> bool {
        let open = self.open.iter().find(|open| open.subscription == subscription);
        open.is_some_and(|open| open.request.missing.len() == open.request.asked.len())
    }

    /// The connection has ended while this was open alone: whether the request may be more than the
    /// peer can answer. Once may have had any reason, and one that has brought something has none.
    pub(super) fn is_cut_again(&mut self, subscription: &str) -> bool {
        if !self.is_empty(subscription) {
            return false;
        }
        self.cuts += 1;
        self.cuts > 1
    }

    /// The peer refuses the request of this name. False: it refuses one for a single event, too.
    /// `is_costly`: finding that out took a while, so that the smallest is tried next.
    pub(super) fn refused(
        &mut self,
        subscription: &str,
        is_costly: bool,
        limits: &mut PeerLimits,
    ) -> bool {
        let Some(request) = self.take(subscription) else { return true };
        let is_smaller = request.asked.len() > 1;
        limits.ids.refused(request.asked.len(), is_costly);
        self.member.release(request.missing);
        is_smaller
    }

    /// What is open under this name is asked again, of this peer or of another.
    pub(super) fn put_back(&mut self, subscription: &str) {
        if let Some(request) = self.take(subscription) {
            self.member.release(request.missing);
        }
    }

    /// Whether something that the peer was asked for by id has not come.
    pub(super) fn is_asking(&self) -> bool {
        self.open.iter().any(|open| !open.request.missing.is_empty())
    }

    /// Nothing more is asked by id; returns the names of what was open.
    pub(super) fn stop(&mut self) -> Vec<String> {
        self.member.leave();
        std::mem::take(&mut self.open).into_iter().map(|open| open.subscription).collect()
    }

    /// After the connection has ended nothing arrives any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }
}

/// One request under way.
#[derive(Debug)]
struct IdRequest {
    /// Sorted.
    asked: Vec<EventId>,
    missing: HashSet<EventId>,
}

/// What is to be done about the ids that an answer did not bring.
#[derive(Debug, PartialEq, Eq)]
enum Leftover {
    /// Ask again: the relay's limit may have cut them off.
    Again(Vec<EventId>),
    /// The relay does not give them.
    NotGiven(Vec<EventId>),
}

/// How many ids a peer answers at once, as far as is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdLimits {
    now: usize,
    most: usize,
}

impl Default for IdLimits {
    fn default() -> Self {
        Self::bounded(IDS_PER_FILTER)
    }
}

impl IdLimits {
    /// No more than so many.
    pub(super) fn bounded(most: usize) -> Self {
        let most = most.clamp(1, IDS_PER_FILTER);
        Self { now: most, most }
    }

    /// Ids in one request.
    pub(super) fn per_request(&self) -> usize {
        self.now
    }

    /// An answer brought all that was asked for: a small limit may have been a mistake.
    fn grow(&mut self, given: usize) {
        if given >= self.now {
            self.now = self.now.saturating_mul(2).min(self.most);
        }
    }

    /// An answer brought fewer than were asked for.
    fn shrink(&mut self, given: usize) {
        self.now = self.now.min(given.max(SMALLEST_PAGE_LIMIT));
    }

    /// A request for so many was refused. What works is found out from below if that takes a while.
    fn refused(&mut self, asked: usize, is_costly: bool) {
        self.most = self.most.min((asked / 2).max(1));
        self.now = self.now.min(if is_costly { 1 } else { (asked / 4).max(1) });
    }
}

impl IdRequest {
    fn new(ids: &[EventId]) -> Self {
        let missing: HashSet<EventId> = ids.iter().copied().collect();
        let mut asked: Vec<EventId> = missing.iter().copied().collect();
        asked.sort_unstable();
        Self { missing, asked }
    }

    /// The relay says that this is all. A relay may cut an answer, or ignore a filter that is too
    /// large for it; only a few ids of which it gives none are taken for not there.
    fn end(self, limits: &mut IdLimits) -> Option<Leftover> {
        let given = self.asked.len() - self.missing.len();
        let (asked, missing) = (self.asked.len(), self.missing.len());
        if missing == 0 {
            limits.grow(given);
            return None;
        }
        let leftover = self.missing.into_iter().collect();
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
mod tests;
