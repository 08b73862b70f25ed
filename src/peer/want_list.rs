//! Which events are needed and which peers have them: one list for all peers, so that each event
//! is fetched from one of them.
//!
//! A peer claims the ids that it is going to ask for. What it does not give, or leaves behind when
//! it fails, goes to the next that has it; what a slow one has claimed long ago may be claimed
//! again. Never waits, and is never locked across a wait.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::limits::{IDS_IN_ALL, IDS_KEPT, IDS_OF_EACH, IDS_WAITING, SETTLED_IDS, STEAL_AFTER};
use super::wanted_ids::{Claim, HalfId, Place, Wanted, WantedIds, half_of};
use crate::nostr::EventId;

/// The needed events of a run.
#[derive(Debug)]
pub struct WantList {
    /// Claims are dated from here.
    began: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    settled: Settled,
    wanted: WantedIds,
    queues: Vec<Queue>,
    clocks: Clocks,
    /// How often something has become free that was claimed.
    releases: u64,
}

/// Events that have come a short while ago. What came before that is found where it went: whoever
/// offers ids knows what is here by then (see [`LocalEvents::missing`](super::LocalEvents::missing)).
#[derive(Debug, Default)]
struct Settled {
    latest: HashSet<HalfId>,
    before: HashSet<HalfId>,
}

/// For how long each peer has waited for us, while its own time stood still.
#[derive(Debug, Default)]
struct Clocks(Vec<Duration>);

/// What one peer has and has not been asked for.
#[derive(Debug, Default)]
struct Queue {
    fresh: VecDeque<Place>,
    /// What others had claimed when it was this peer's turn.
    deferred: VecDeque<Place>,
    /// [`State::releases`] when `deferred` was last looked through.
    seen: u64,
}

/// One peer's place in the want list. When it is dropped, all that the peer has claimed is free for
/// others.
#[derive(Debug)]
pub struct Member {
    list: Arc<WantList>,
    number: u32,
}

impl Default for WantList {
    fn default() -> Self {
        Self { began: Instant::now(), state: Mutex::default(), changed: Notify::default() }
    }
}

impl WantList {
    /// A place for one more peer.
    pub fn join(self: &Arc<Self>) -> Member {
        let mut state = self.lock();
        let number = u32::try_from(state.queues.len()).unwrap_or(u32::MAX);
        state.queues.push(Queue::default());
        state.clocks.0.push(Duration::ZERO);
        Member { number, list: Arc::clone(self) }
    }

    /// These events have come, but were not genuine: they are needed again.
    pub fn reopen<'a>(&self, ids: impl IntoIterator<Item = &'a EventId>) {
        let mut state = self.lock();
        for id in ids {
            state.settled.remove(id);
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
    /// The peer has these events and we have not. False: there is no room for all of them.
    pub(super) fn offer(&self, ids: impl IntoIterator<Item = EventId>) -> bool {
        let mut state = self.list.lock();
        let State { settled, wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number as usize) else { return false };
        for id in ids {
            if settled.contains(&id) {
                continue;
            }
            let is_full = wanted.len() >= IDS_KEPT || queue.len() >= IDS_WAITING;
            if is_full && queue.len() >= IDS_OF_EACH {
                return false;
            }
            let place = wanted.find_or_add(id);
            if let Some(entry) = wanted.get_mut(place) {
                entry.holders = entry.holders.saturating_add(1);
            }
            queue.fresh.push_back(place);
        }
        true
    }

    /// Whether more can be offered, while fewer than so many of this peer wait: otherwise the ids
    /// that peers name would fill the memory.
    pub(super) fn has_room(&self, most: usize) -> bool {
        let state = self.list.lock();
        let own = state.queues.get(self.number as usize).map_or(0, Queue::len);
        own == 0 || (own < most && state.wanted.len() < IDS_IN_ALL)
    }

    /// How many ids of this peer wait, also for what others have claimed.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.list.lock().queues.get(self.number as usize).map_or(0, Queue::len)
    }

    /// How many of so many requests are this peer's share: at least one.
    pub(super) fn share_of(&self, requests: usize) -> usize {
        let state = self.list.lock();
        let peers = state.queues.iter().filter(|queue| queue.len() > 0).count();
        (requests / peers.max(1)).max(1)
    }

    /// The peer has waited for us for so long: its claims are no older than before.
    pub(super) fn excuse(&self, time: Duration) {
        let mut state = self.list.lock();
        if let Some(waited) = state.clocks.0.get_mut(self.number as usize) {
            *waited = waited.saturating_add(time);
        }
    }

    /// Ids to ask this peer for, at most so many.
    pub(super) fn claim(&self, most: usize) -> Vec<EventId> {
        let mut state = self.list.lock();
        let releases = state.releases;
        let State { wanted, queues, clocks, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number as usize) else { return Vec::new() };
        let elapsed = self.list.began.elapsed();
        let claim = Claim { by: self.number, since: clocks.now(self.number, elapsed) };
        let is_free = |entry: &Wanted| clocks.is_free(entry, elapsed);
        let mut claimed = Vec::new();
        while claimed.len() < most {
            let Some(place) = queue.fresh.pop_front() else { break };
            match wanted.get_mut(place) {
                Some(entry) if entry.claim.is_none() => {
                    entry.claim = Some(claim);
                    claimed.push(entry.id);
                }
                Some(_) => queue.deferred.push_back(place),
                None => {}
            }
        }
        let is_due = queue.seen != releases || queue.oldest_claim_is_old(wanted, is_free);
        if claimed.is_empty() && is_due {
            queue.seen = releases;
            queue.deferred.retain(|&place| {
                let Some(entry) = wanted.get_mut(place) else { return false };
                if claimed.len() >= most || !is_free(entry) {
                    return true;
                }
                entry.claim = Some(claim);
                claimed.push(entry.id);
                false
            });
        }
        claimed
    }

    /// The event has come; false if it had come already.
    pub(super) fn settle(&self, id: &EventId) -> bool {
        let mut state = self.list.lock();
        state.wanted.remove(id);
        state.settled.insert(id)
    }

    /// Whether the event has come, a short while ago, from whichever peer.
    pub(super) fn is_settled(&self, id: &EventId) -> bool {
        self.list.lock().settled.contains(id)
    }

    /// The peer did not give these after all; returns those that nobody else has.
    pub(super) fn refuse(&self, ids: impl IntoIterator<Item = EventId>) -> Vec<EventId> {
        let mut state = self.list.lock();
        let mut lost = Vec::new();
        for id in ids {
            let place = state.wanted.find(&id);
            if place.is_some_and(|place| state.give_up(self.number, place)) {
                lost.push(id);
            }
        }
        drop(state);
        self.announce();
        lost
    }

    /// The peer is not asked for these now; it, or others, will be later.
    pub(super) fn release(&self, ids: impl IntoIterator<Item = EventId>) {
        let mut state = self.list.lock();
        let State { wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number as usize) else { return };
        for id in ids {
            let Some(place) = wanted.find(&id) else { continue };
            if let Some(entry) = wanted.get_mut(place) {
                entry.claim = entry.claim.filter(|claim| claim.by != self.number);
            }
            queue.fresh.push_front(place);
        }
        drop(state);
        self.announce();
    }

    /// Some of what was claimed has come: whoever waits may look.
    pub(super) fn announce(&self) {
        self.list.lock().releases += 1;
        self.list.changed.notify_waiters();
    }

    /// The ledger that this is a place in.
    pub(super) fn want_list(&self) -> Arc<WantList> {
        Arc::clone(&self.list)
    }

    /// Whether some of what the peer has is still needed: unclaimed, or claimed by another peer
    /// that may yet fail.
    pub(super) fn is_waiting(&self) -> bool {
        let mut state = self.list.lock();
        let State { wanted, queues, .. } = &mut *state;
        let Some(queue) = queues.get_mut(self.number as usize) else { return false };
        while queue.fresh.front().is_some_and(|&place| !wanted.contains(place)) {
            queue.fresh.pop_front();
        }
        while queue.deferred.front().is_some_and(|&place| !wanted.contains(place)) {
            queue.deferred.pop_front();
        }
        queue.len() > 0
    }

    /// Nothing more is asked of the peer.
    pub(super) fn leave(&self) {
        let mut state = self.list.lock();
        let Some(queue) = state.queues.get_mut(self.number as usize) else { return };
        let Queue { fresh, deferred, .. } = std::mem::take(queue);
        let claimed = state.wanted.claimed_by(self.number);
        for place in claimed.into_iter().chain(fresh).chain(deferred) {
            state.give_up(self.number, place);
        }
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
    fn give_up(&mut self, number: u32, place: Place) -> bool {
        let Some(entry) = self.wanted.get_mut(place) else { return false };
        entry.holders = entry.holders.saturating_sub(1);
        entry.claim = entry.claim.filter(|claim| claim.by != number);
        let (id, nobody) = (entry.id, entry.holders == 0);
        if nobody {
            self.wanted.remove(&id);
        }
        nobody
    }
}

impl Clocks {
    /// Milliseconds that this peer has had, `elapsed` after the want list began.
    fn now(&self, peer: u32, elapsed: Duration) -> u32 {
        let waited = self.0.get(peer as usize).copied().unwrap_or_default();
        u32::try_from(elapsed.saturating_sub(waited).as_millis()).unwrap_or(u32::MAX)
    }

    /// Whether an event is not claimed, or has been for too long.
    fn is_free(&self, wanted: &Wanted, elapsed: Duration) -> bool {
        wanted.claim.is_none_or(|claim| {
            let age = self.now(claim.by, elapsed).saturating_sub(claim.since);
            Duration::from_millis(age.into()) > STEAL_AFTER
        })
    }
}

impl Settled {
    fn contains(&self, id: &EventId) -> bool {
        let half = half_of(id);
        self.latest.contains(&half) || self.before.contains(&half)
    }

    /// False if it is there already.
    fn insert(&mut self, id: &EventId) -> bool {
        if self.contains(id) {
            return false;
        }
        if self.latest.len() >= SETTLED_IDS {
            self.before = std::mem::take(&mut self.latest);
        }
        self.latest.insert(half_of(id))
    }

    fn remove(&mut self, id: &EventId) {
        let half = half_of(id);
        self.latest.remove(&half);
        self.before.remove(&half);
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.fresh.len() + self.deferred.len()
    }

    /// Claims are made in about the order of the queue, so the first tells of the others.
    fn oldest_claim_is_old(
        &mut self,
        wanted: &WantedIds,
        is_free: impl Fn(&Wanted) -> bool,
    ) -> bool {
        while self.deferred.front().is_some_and(|&place| !wanted.contains(place)) {
            self.deferred.pop_front();
        }
        let first = self.deferred.front().and_then(|&place| wanted.get(place));
        first.is_some_and(is_free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u8>) -> Vec<EventId> {
        numbers.map(|number| EventId::from_bytes([number; 32])).collect()
    }

    fn ledger() -> (Arc<WantList>, Member, Member) {
        let ledger = Arc::<WantList>::default();
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
    fn requests_are_shared_among_the_peers_that_have_something_to_give() {
        let (ledger, first, second) = ledger();
        let _idle = ledger.join();
        first.offer(ids(0..6));
        assert_eq!(first.share_of(32), 32);
        second.offer(ids(0..6));
        assert_eq!(first.share_of(32), 16);
        let others: Vec<Member> = (0..50).map(|_| ledger.join()).collect();
        assert!(others.iter().all(|other| other.offer(ids(0..6))));
        assert_eq!(first.share_of(32), 1);
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

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_peer_has_claimed_goes_to_another_unless_the_peer_has_waited_for_us() {
        let just = Duration::from_millis(1);
        for (waited, is_taken) in [(Duration::ZERO, true), (STEAL_AFTER, false)] {
            let (_, first, second) = ledger();
            first.offer(ids(0..2));
            second.offer(ids(0..2));
            assert_eq!(first.claim(9), ids(0..2));
            assert_eq!(second.claim(9), []);
            tokio::time::advance(STEAL_AFTER).await;
            assert_eq!(second.claim(9), []);
            first.excuse(waited);
            tokio::time::advance(just).await;
            let taken = if is_taken { ids(0..2) } else { vec![] };
            assert_eq!(second.claim(9), taken, "{waited:?}");
            // What it is late with since counts.
            tokio::time::advance(STEAL_AFTER).await;
            let taken = if is_taken { vec![] } else { ids(0..2) };
            assert_eq!(second.claim(9), taken, "{waited:?}");
        }
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
    fn what_a_peer_names_again_is_not_asked_for_again_unless_it_does_not_come() {
        let (_, first, second) = ledger();
        first.offer(ids(0..2));
        first.offer(ids(0..2));
        assert_eq!(first.claim(9), ids(0..2));
        assert_eq!(first.claim(9), []);
        first.settle(&ids(0..1)[0]);
        assert_eq!(first.refuse(ids(1..2)), []);
        assert_eq!(first.claim(9), ids(1..2));
        assert_eq!(first.refuse(ids(1..2)), ids(1..2));
        assert!(!first.is_waiting() && !second.is_waiting());
    }

    #[test]
    fn a_peer_that_leaves_takes_with_it_all_that_nobody_else_has() {
        let (_, first, second) = ledger();
        first.offer(ids(0..3));
        first.offer(ids(0..3));
        second.offer(ids(0..1));
        assert_eq!(first.claim(2), ids(0..2));
        first.leave();
        assert_eq!(second.claim(9), ids(0..1));
        assert_eq!(second.refuse(ids(0..1)), ids(0..1));
        first.offer(ids(1..2));
        assert_eq!(first.claim(9), ids(1..2));
        assert_eq!(first.refuse(ids(1..2)), ids(1..2));
    }

    #[test]
    fn what_came_long_ago_is_forgotten_and_what_came_lately_is_not() {
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            EventId::from_bytes(id)
        };
        let (_, first, second) = ledger();
        let came = 3 * SETTLED_IDS + SETTLED_IDS / 2;
        assert!((0..came).all(|number| first.settle(&id(number))));
        let remembered = (0..came).filter(|&number| second.is_settled(&id(number)));
        assert!(remembered.eq(2 * SETTLED_IDS..came));
        assert!(!first.settle(&id(2 * SETTLED_IDS)) && first.settle(&id(0)));
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
