//! The bound on what strangers can bring. What stations publish of themselves is asked for whoever
//! its authors are, and anybody can make new keys and sign without end. So one peer may bring to a
//! run only so many genuine new events by authors whom the node does not know; then it is given up,
//! as one is that sends what is of no use. Those that came stay; a later run does not count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::nostr::Pubkey;
use crate::peer::limits::USELESS_MESSAGES;
use crate::peer::{FetchOutcome, GapReason};

/// Genuine new events of one peer by authors whom the node does not know.
#[derive(Debug)]
pub(super) struct UnknownAuthorQuota {
    /// Whom it knows; sorted.
    known: Arc<[Pubkey]>,
    most: u64,
    count: AtomicU64,
}

impl UnknownAuthorQuota {
    /// No more than `most`.
    pub(super) fn bounded(known: &Arc<[Pubkey]>, most: u64) -> Self {
        Self { known: Arc::clone(known), most, count: AtomicU64::new(0) }
    }

    /// A genuine event by this author came that was not here.
    pub(super) fn note(&self, author: &Pubkey) {
        if self.known.binary_search(author).is_err() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn are_too_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.most
    }

    /// As [`crate::peer::Sink::forged`]: `forged`, or more than a peer may send.
    pub(super) fn or_forged(&self, forged: u64) -> u64 {
        if self.are_too_many() { USELESS_MESSAGES + 1 } else { forged }
    }

    /// Names what the peer was given up for, if it was for this.
    pub(super) fn explain(&self, outcome: &mut FetchOutcome) {
        if self.are_too_many() {
            let gaps = outcome.gaps.iter_mut().filter(|gap| gap.reason == GapReason::Useless);
            gaps.for_each(|gap| gap.reason = GapReason::Strangers(self.most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Filter;
    use crate::peer::Gap;

    #[test]
    fn a_peer_is_given_up_for_more_strangers_than_allowed_and_for_nobody_whom_the_node_knows() {
        let [known, stranger] = [1, 2].map(|byte| Pubkey::from_bytes([byte; 32]));
        let strangers = UnknownAuthorQuota::bounded(&[known].into(), 2);
        let reasons = || {
            let gap = |reason| Gap { filter: Filter::default(), reason };
            let gaps = [GapReason::Useless, GapReason::Stopped].map(gap).into();
            let mut outcome = FetchOutcome { gaps, ..FetchOutcome::default() };
            strangers.explain(&mut outcome);
            outcome.gaps.into_iter().map(|gap| gap.reason).collect::<Vec<_>>()
        };
        for author in [known, known, known, stranger, stranger] {
            strangers.note(&author);
        }
        assert_eq!(strangers.or_forged(7), 7);
        assert_eq!(reasons(), [GapReason::Useless, GapReason::Stopped]);
        strangers.note(&stranger);
        assert_eq!(strangers.or_forged(7), USELESS_MESSAGES + 1);
        assert_eq!(reasons(), [GapReason::Strangers(2), GapReason::Stopped]);
    }
}
