//! Which events are needed and which peers have them: one list for all peers, so that each event
//! is fetched from one of them.
//!
//! A peer claims the ids that it is going to ask for. What it does not give, or leaves behind when
//! it fails, goes to the next that has it; what a slow one has claimed long ago may be claimed
//! again. Never waits, and is never locked across a wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::limits::{IDS_IN_ALL, IDS_OF_ONE_PEER, STEAL_AFTER};
use crate::nostr::EventId;

/// The needed events of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Events that have come. Half of each id is enough: to make another genuine event share that
    /// half of a given id takes 2^128 attempts.
    settled: HashSet<[u8; 16]>,
    wanted: HashMap<EventId, Wanted>,
    queues: Vec<Queue>,
    /// How often something has become free that was claimed.
    releases: u64,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Peers that have it and have not failed to give it.
    holders: Vec<usize>,
    claim: Option<(usize, Instant)>,
}

/// What one peer has and has not been asked for.
#[derive(Debug, Default)]
struct Queue {
    fresh: VecDeque<EventId>,
    /// What others had claimed when it was this peer's turn.
    deferred: VecDeque<EventId>,
    /// [`State::releases`] when `deferred` was last looked through.
    seen: u64,
}

/// One peer's place in the ledger. When it is dropped, all that the peer has claimed is free for
/// others.
#[derive(Debug)]
pub struct Member {
    ledger: Arc<Ledger>,
    number: usize,
}

impl Ledger {
    /// A place for one more peer.
    pub fn join(self: &Arc<Self>) -> Member {
        let mut state = self.lock();
        state.queues.push(Queue::default());
        Member { number: state.queues.len() - 1, ledger: Arc::clone(self) }
    }

    /// These events have come, but were not genuine: they are needed again.
    pub fn reopen<'a>(&self, ids: impl IntoIterator<Item = &'a EventId>) {
        let mut state = self.lock();
        for id in ids {
            state.settled.remove(&half_of(id));
        }
    }

    /// Ends at the next announcement of any peer; called before looking, it misses none.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// The peer has these events and we have not.
    pub(super) fn offer(&self, ids: impl IntoIterator<Item = EventId>) {
        let mut state = self.ledger.lock();
        let State { settled, wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number) else { return };
        for id in ids {
            if settled.contains(&half_of(&id)) {
                continue;
            }
            let holders = &mut wanted.entry(id).or_default().holders;
            if !holders.contains(&self.number) {
                holders.push(self.number);
                queue.fresh.push_back(id);
            }
        }
    }

    /// Whether more can be offered: otherwise the ids that peers name would fill the memory.
    pub(super) fn has_room(&self) -> bool {
        let state = self.ledger.lock();
        let own = state.queues.get(self.number).map_or(0, Queue::len);
        own == 0 || (own < IDS_OF_ONE_PEER && state.wanted.len() < IDS_IN_ALL)
    }

    /// Ids to ask this peer for, at most so many.
    pub(super) fn claim(&self, most: usize) -> Vec<EventId> {
        let mut state = self.ledger.lock();
        let releases = state.releases;
        let State { wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number) else { return Vec::new() };
        let now = Instant::now();
        let mut claimed = Vec::new();
        while claimed.len() < most {
            let Some(id) = queue.fresh.pop_front() else { break };
            match wanted.get_mut(&id) {
                Some(entry) if entry.claim.is_none() => {
                    entry.claim = Some((self.number, now));
                    claimed.push(id);
                }
                Some(_) => queue.deferred.push_back(id),
                None => {}
            }
        }
        let is_due = queue.seen != releases || queue.oldest_claim_is_old(wanted, now);
        if claimed.is_empty() && is_due {
            queue.seen = releases;
            queue.deferred.retain(|id| {
                let Some(entry) = wanted.get_mut(id) else { return false };
                let is_free = entry.claim.is_none_or(|(_, since)| now - since > STEAL_AFTER);
                if claimed.len() >= most || !is_free {
                    return true;
                }
                entry.claim = Some((self.number, now));
                claimed.push(*id);
                false
            });
        }
        claimed
    }

    /// The event has come; false if it had come already.
    pub(super) fn settle(&self, id: &EventId) -> bool {
        let mut state = self.ledger.lock();
        state.wanted.remove(id);
        state.settled.insert(half_of(id))
    }

    /// Whether the event has come, from whichever peer.
    pub(super) fn is_settled(&self, id: &EventId) -> bool {
        self.ledger.lock().settled.contains(&half_of(id))
    }

    /// The peer did not give these after all; returns those that nobody else has.
    pub(super) fn refuse(&self, ids: impl IntoIterator<Item = EventId>) -> Vec<EventId> {
        let mut state = self.ledger.lock();
        let mut lost = Vec::new();
        for id in ids {
            if state.give_up(self.number, &id) {
                lost.push(id);
            }
        }
        drop(state);
        self.announce();
        lost
    }

    /// The peer is not asked for these now; it, or others, will be later.
    pub(super) fn release(&self, ids: impl IntoIterator<Item = EventId>) {
        let mut state = self.ledger.lock();
        let State { wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number) else { return };
        for id in ids {
            let Some(entry) = wanted.get_mut(&id) else { continue };
            if entry.claim.is_some_and(|(claimant, _)| claimant == self.number) {
                entry.claim = None;
            }
            queue.fresh.push_front(id);
        }
        drop(state);
        self.announce();
    }

    /// Some of what was claimed has come: whoever waits may look.
    pub(super) fn announce(&self) {
        self.ledger.lock().releases += 1;
        self.ledger.changed.notify_waiters();
    }

    /// The ledger that this is a place in.
    pub(super) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Whether some of what the peer has is still needed: unclaimed, or claimed by another peer
    /// that may yet fail.
    pub(super) fn is_waiting(&self) -> bool {
        let mut state = self.ledger.lock();
        let State { wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number) else { return false };
        while queue.fresh.front().is_some_and(|id| !wanted.contains_key(id)) {
            queue.fresh.pop_front();
        }
        while queue.deferred.front().is_some_and(|id| !wanted.contains_key(id)) {
            queue.deferred.pop_front();
        }
        queue.len() > 0
    }

    /// Nothing more is asked of the peer.
    pub(super) fn leave(&self) {
        let mut state = self.ledger.lock();
        let Some(queue) = state.queues.get_mut(self.number) else { return };
        let Queue { fresh, deferred, .. } = std::mem::take(queue);
        for id in fresh.iter().chain(&deferred) {
            state.give_up(self.number, id);
        }
        for entry in state.wanted.values_mut() {
            if entry.claim.is_some_and(|(claimant, _)| claimant == self.number) {
                entry.claim = None;
                entry.holders.retain(|&holder| holder != self.number);
            }
        }
        state.wanted.retain(|_, entry| !entry.holders.is_empty());
        drop(state);
        self.announce();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

impl State {
    /// Whether nobody else has it.
    fn give_up(&mut self, number: usize, id: &EventId) -> bool {
        let Some(entry) = self.wanted.get_mut(id) else { return false };
        entry.holders.retain(|&holder| holder != number);
        if entry.claim.is_some_and(|(claimant, _)| claimant == number) {
            entry.claim = None;
        }
        let nobody = entry.holders.is_empty();
        if nobody {
            self.wanted.remove(id);
        }
        nobody
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.fresh.len() + self.deferred.len()
    }

    /// Claims are made in about the order of the queue, so the first tells of the others.
    fn oldest_claim_is_old(&mut self, wanted: &HashMap<EventId, Wanted>, now: Instant) -> bool {
        while self.deferred.front().is_some_and(|id| !wanted.contains_key(id)) {
            self.deferred.pop_front();
        }
        let first = self.deferred.front().and_then(|id| wanted.get(id));
        first.is_some_and(|entry| entry.claim.is_none_or(|(_, since)| now - since > STEAL_AFTER))
    }
}

fn half_of(id: &EventId) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&id.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u8>) -> Vec<EventId> {
        numbers.map(|number| EventId::from_bytes([number; 32])).collect()
    }

    fn ledger() -> (Arc<Ledger>, Member, Member) {
        let ledger = Arc::<Ledger>::default();
        let (first, second) = (ledger.join(), ledger.join());
        (ledger, first, second)
    }

    #[test]
    fn each_id_is_claimed_by_one_peer() {
        let (_, first, second) = ledger();
        first.offer(ids(0..6));
        second.offer(ids(0..6));
        assert_eq!(first.claim(4), ids(0..4));
        assert_eq!(second.claim(4), ids(4..6));
        assert_eq!(second.claim(4), []);
        assert!(second.is_waiting());
    }

    #[test]
    fn what_has_come_is_offered_in_vain() {
        let (_, first, second) = ledger();
        first.offer(ids(0..2));
        assert_eq!(first.claim(9), ids(0..2));
        assert!(ids(0..2).iter().all(|id| first.settle(id)));
        assert!(!second.settle(&ids(0..1)[0]));
        second.offer(ids(0..3));
        assert_eq!(second.claim(9), ids(2..3));
    }

    #[test]
    fn what_a_peer_does_not_give_goes_to_the_next_that_has_it() {
        let (_, first, second) = ledger();
        first.offer(ids(0..3));
        second.offer(ids(0..2));
        assert_eq!(first.claim(9), ids(0..3));
        assert_eq!(second.claim(9), []);
        assert_eq!(first.refuse(ids(1..3)), ids(2..3));
        assert_eq!(second.claim(9), ids(1..2));
        assert_eq!(second.refuse(ids(1..2)), ids(1..2));
        first.settle(&ids(0..1)[0]);
        assert!(!first.is_waiting() && !second.is_waiting());
    }

    #[test]
    fn what_a_peer_leaves_behind_goes_to_the_next_that_has_it() {
        let (_, first, second) = ledger();
        first.offer(ids(0..4));
        second.offer(ids(0..3));
        assert_eq!(first.claim(2), ids(0..2));
        assert_eq!(second.claim(9), ids(2..3));
        drop(first);
        assert_eq!(second.claim(9), ids(0..2));
        assert!(!second.is_waiting());
    }

    #[test]
    fn what_is_released_is_claimed_again_by_whoever_comes_first() {
        let (_, first, second) = ledger();
        first.offer(ids(0..2));
        second.offer(ids(0..2));
        assert_eq!(first.claim(9), ids(0..2));
        first.release(ids(0..2));
        second.claim(0);
        assert_eq!(second.claim(1), ids(0..1));
        assert_eq!(first.claim(9), ids(1..2));
    }

    #[test]
    fn a_peer_that_names_the_same_ids_again_has_them_once() {
        let (_, first, _) = ledger();
        first.offer(ids(0..2));
        first.offer(ids(0..2));
        assert_eq!(first.claim(9), ids(0..2));
        assert_eq!(first.claim(9), []);
        assert!(!first.is_waiting());
    }

    #[test]
    fn a_forged_event_is_needed_again() {
        let (ledger, first, second) = ledger();
        first.offer(ids(0..1));
        first.settle(&ids(0..1)[0]);
        ledger.reopen(&ids(0..1));
        second.offer(ids(0..1));
        assert_eq!(second.claim(9), ids(0..1));
    }
}
