//! What counts as progress of a peer: its genuine events, each once in a run.
//!
//! What a peer has given before is remembered for all peers in one filter of a fixed size. It may
//! take a new event for a known one, never the reverse: nobody makes progress by going round in
//! circles, and an honest peer that gives thousands of events a second loses a few of them here and
//! nowhere else.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits::{CHECKS_ARE_LATE, SEEN_BITS};
use crate::nostr::EventId;

/// Which events each peer has given in this run. With its 2 MiB it errs once in 50 times at 1.6
/// million events, and lets a fifth of the new ones through at 15 million (a Bloom filter of three
/// hashes).
#[derive(Debug)]
pub(super) struct Seen {
    words: Box<[AtomicU64]>,
    /// Seeded by chance, so that no peer can choose events that fill it for another.
    hasher: RandomState,
}

impl Default for Seen {
    fn default() -> Self {
        let words = (0..SEEN_BITS / 64).map(|_| AtomicU64::new(0)).collect();
        Self { words, hasher: RandomState::new() }
    }
}

impl Seen {
    /// Whether this peer gives the event for the first time; from now on it has.
    fn is_first(&self, peer: u64, id: &EventId) -> bool {
        let hash = self.hasher.hash_one((peer, id.as_bytes()));
        let (first, step) = (hash >> 32, hash & 0xffff_ffff | 1);
        // Not `any`, which would leave bits unset.
        (0..3).fold(false, |is_first, number| {
            let bit = usize::try_from(first + number * step).unwrap_or(0) % SEEN_BITS;
            let mask = 1 << (bit % 64);
            let word = self.words.get(bit / 64).map(|word| word.fetch_or(mask, Ordering::Relaxed));
            is_first | word.is_some_and(|word| word & mask == 0)
        })
    }
}

/// The progress of one peer.
#[derive(Debug)]
pub(super) struct PeerProgress {
    seen: Arc<Seen>,
    /// Stands for the peer; by chance, so that no two are the same.
    peer: u64,
    began: Instant,
    genuine: AtomicU64,
    /// Events that went to the checks, and those that came back.
    entered: AtomicU64,
    checked: AtomicU64,
    /// When one came back last, or the first of those that have not went there: milliseconds.
    since: AtomicU64,
}

impl PeerProgress {
    /// Of a peer that has given nothing.
    pub(super) fn new(seen: &Arc<Seen>) -> Self {
        let peer = fastrand::u64(..);
        let zero = || AtomicU64::new(0);
        let (genuine, entered, checked, since) = (zero(), zero(), zero(), zero());
        let (seen, began) = (Arc::clone(seen), Instant::now());
        Self { seen, peer, began, genuine, entered, checked, since }
    }

    /// One of its events goes to the checks.
    pub(super) fn enter(&self) {
        if self.entered.fetch_add(1, Ordering::Relaxed) == self.checked.load(Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// One of its events comes back from the checks.
    pub(super) fn leave(&self, id: &EventId, is_genuine: bool) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        self.since.store(self.now(), Ordering::Relaxed);
        if is_genuine && self.seen.is_first(self.peer, id) {
            self.genuine.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Its genuine events, each counted once.
    pub(super) fn genuine(&self) -> u64 {
        self.genuine.load(Ordering::Relaxed)
    }

    /// Whether some of its events have been waiting for a while although none of them came back.
    pub(super) fn is_waiting(&self) -> bool {
        let waiting = self.entered.load(Ordering::Relaxed) > self.checked.load(Ordering::Relaxed);
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        waiting && self.began.elapsed().saturating_sub(since) > CHECKS_ARE_LATE
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EventId::from_bytes(id)
    }

    #[test]
    fn an_event_is_progress_once_for_each_peer_that_gives_it() {
        let seen = Arc::<Seen>::default();
        let [one, other] = [0, 1].map(|_| PeerProgress::new(&seen));
        for _ in 0..3 {
            one.leave(&id(1), true);
            one.leave(&id(2), false);
        }
        assert_eq!((one.genuine(), other.genuine()), (1, 0));
        other.leave(&id(1), true);
        one.leave(&id(2), true);
        assert_eq!((one.genuine(), other.genuine()), (2, 1));
    }

    #[test]
    fn of_a_million_events_nearly_all_count_and_none_counts_again() {
        let progress = PeerProgress::new(&Arc::default());
        (0..1_000_000).for_each(|number| progress.leave(&id(number), true));
        let counted = progress.genuine();
        assert!(counted > 990_000, "{counted}");
        (0..1_000_000).for_each(|number| progress.leave(&id(number), true));
        assert_eq!(progress.genuine(), counted);
    }

    #[test]
    fn a_peer_waits_for_checks_that_are_late_and_for_nothing_else() {
        let mut progress = PeerProgress::new(&Arc::default());
        progress.enter();
        assert!(!progress.is_waiting());
        progress.began -= 2 * CHECKS_ARE_LATE;
        assert!(progress.is_waiting());
        progress.leave(&id(1), false);
        progress.began -= 2 * CHECKS_ARE_LATE;
        assert!(!progress.is_waiting());
    }
}
