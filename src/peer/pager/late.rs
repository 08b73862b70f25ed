//! What comes after an end: events that the peer sends late, and what it gives once it knows us.

use std::collections::{HashSet, VecDeque};

use super::control::Control;
use super::paged_query::{PagedQuery, ShortId, short};
use super::{Arrival, Pager, fresh};
use crate::nostr::{Filter, Outline};
use crate::peer::limits::{ASKED_AGAIN, PAGE_IDS, PARALLEL_SUBSCRIPTIONS, PUBLISHED_LATE};
use crate::peer::outcome::{Gap, GapReason};
use crate::peer::peer_limits::{PeerLimits, SaysNothing};

#[derive(Debug)]
pub(super) struct EndedPage {
    pub(super) subscription: String,
    pub(super) filter: Filter,
    pub(super) known: HashSet<ShortId>,
    /// Events that came after the end.
    pub(super) late: u64,
    /// They are named already.
    pub(super) is_named: bool,
}

impl Pager {
    /// Whether it has asked for something that may still arrive after the end that was announced.
    pub(in crate::peer) fn may_be_late(&self) -> bool {
        self.may_be_late
    }

    /// Something else that was asked for may still arrive after its end, too.
    pub(in crate::peer) fn expect_late(&mut self) {
        self.may_be_late = true;
    }

    /// Asks for nothing, so that what was late has come.
    pub(in crate::peer) fn flush(&mut self) {
        self.may_be_late = false;
        self.controls.push_back(Control::flush());
    }

    pub(super) fn late_event(
        &mut self,
        subscription: &str,
        event: &Outline,
        limits: &PeerLimits,
    ) -> Arrival {
        let is_held = self.is_held(event);
        let empty = self.empty_controls.iter_mut().find(|(it, _)| it == subscription);
        if let Some((_, control)) = empty {
            let question = control.event_of(event, is_held);
            return self.event_of_control(question, event);
        }
        let Outline { id, pubkey, kind, created_at } = event;
        let Some(ended) = self.recent.iter_mut().find(|it| it.subscription == subscription) else {
            return Arrival::Unasked;
        };
        let is_asked = ended.filter.matches(id, pubkey, *kind, *created_at);
        if is_asked && !ended.known.insert(short(id)) {
            return Arrival::Repeated;
        }
        ended.late += u64::from(is_asked);
        if ended.late > limits.page {
            return Arrival::Unasked;
        }
        self.has_been_late |= is_asked;
        // What is published meanwhile may come then; of anything else that was no end, also if it was
        // not asked for: a relay that does not keep to the filter may have cut what was.
        let is_new = created_at.saturating_add(PUBLISHED_LATE) >= self.began;
        if !is_new && !std::mem::replace(&mut ended.is_named, true) {
            let filter = ended.filter.clone();
            self.outcome.gaps.push(Gap { filter, reason: GapReason::AfterItsEnd });
            self.may_be_late = true;
        }
        if is_asked { Arrival::New } else { Arrival::Unasked }
    }

    pub(super) fn remember(&mut self, subscription: &str, query: &PagedQuery) {
        self.recent.push_back(EndedPage {
            subscription: subscription.to_owned(),
            filter: query.asked().clone(),
            known: query.known(),
            late: 0,
            is_named: false,
        });
        let ids = |recent: &VecDeque<EndedPage>| -> usize {
            recent.iter().map(|ended| ended.known.len()).sum()
        };
        while self.recent.len() > 2 * PARALLEL_SUBSCRIPTIONS || ids(&self.recent) > PAGE_IDS {
            self.recent.pop_front();
        }
    }

    /// After the connection has ended nothing arrives any more.
    pub(in crate::peer) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Whether what ends with nothing from now on is remembered: the peer may give more to those it
    /// knows.
    pub(in crate::peer) fn remember_empty(&mut self, is_unknown: bool) {
        match is_unknown {
            true => drop(self.empty.get_or_insert_default()),
            false => self.empty = None,
        }
    }

    /// What has ended with nothing is asked again: the peer may have hidden it.
    pub(in crate::peer) fn ask_empty_again(&mut self, limits: &mut PeerLimits) {
        limits.says_nothing = SaysNothing::NotKnown;
        self.disbelieved = None;
        let Some(empty) = self.empty.as_mut().map(std::mem::take) else { return };
        if empty.is_empty() {
            return;
        }
        self.doubtful.clear();
        let (hidden, queries): (Vec<Filter>, Vec<Filter>) = empty.into_iter().unzip();
        self.asked_again += 1;
        self.answered.retain(|answered| !queries.contains(answered));
        if self.asked_again > ASKED_AGAIN {
            let reason =
                GapReason::Closed("auth-required: a challenge after the answer".to_owned());
            let gap = |filter| Gap { filter, reason: reason.clone() };
            self.outcome.gaps.extend(hidden.into_iter().map(gap));
            return;
        }
        self.waiting.extend(hidden.into_iter().map(|filter| fresh(filter, limits)));
    }
}
