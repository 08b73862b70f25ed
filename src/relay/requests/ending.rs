//! The ends of requests that no answer brings: completion, gaps, and what is asked again.

use std::collections::HashSet;
use std::time::Instant;

use super::{Open, Request, Requests, Waiting};
use crate::nostr::{EventId, Filter};
use crate::relay::auth::Authentication;
use crate::relay::ledger::Member;
use crate::relay::limits::{COMPARISONS, NOT_GIVEN};
use crate::relay::message;
use crate::relay::outcome::{Gap, GapReason};
use crate::relay::paging::Pager;

impl Requests {
    /// An event that a peer has counted may be gone by the time it is asked for. A second
    /// comparison tells that from one that the peer keeps to itself.
    pub(super) fn look_again_for_what_was_not_given(&mut self) {
        let Some(member) = &self.member else { return };
        self.not_given.retain(|id| !member.is_settled(id));
        let lost = std::mem::take(&mut self.not_given);
        if lost.is_empty() {
            return;
        }
        if self.lost.is_none() && self.compares() {
            self.lost = Some(lost);
            self.forget_compared();
            self.begin();
            return;
        }
        let suspects = std::mem::take(&mut self.suspects);
        if suspects.is_empty() {
            return self.name_what_was_not_given(lost);
        }
        // It names what it does not give by id; perhaps it gives it in pages.
        self.not_given = lost;
        self.outcome.complete -= suspects.len().min(self.outcome.complete);
        self.compared -= suspects.len().min(self.compared);
        let paged = suspects.into_iter().map(|filter| self.paged(filter));
        self.waiting = paged.collect();
    }

    /// What has been compared counts no more.
    fn forget_compared(&mut self) {
        let compared = std::mem::take(&mut self.compared);
        self.outcome.complete -= compared.min(self.outcome.complete);
    }

    /// The peer said that it has these, and did not give them; nobody else has them.
    pub(super) fn note_not_given(&mut self, ids: Vec<EventId>) {
        let known = self.not_given.len();
        // One more than that is enough to know.
        self.not_given.extend(ids.into_iter().take((NOT_GIVEN + 1).saturating_sub(known)));
        if self.not_given.len() > NOT_GIVEN && self.compares() {
            self.distrust();
        }
    }

    /// A peer that promises too much: what it says it has is worth nothing, so all is asked of it
    /// page by page. What comes then was not promised in vain.
    fn distrust(&mut self) {
        let ids = |open: &mut Open| matches!(open.request, Request::Ids(_));
        for open in self.open.extract_if(.., ids) {
            self.outbox.push_back(message::close(&open.subscription));
        }
        if let Some(member) = &self.member {
            member.leave();
        }
        self.stop_comparing();
        if self.compared > 0 {
            self.forget_compared();
            self.begin();
        }
    }

    fn name_what_was_not_given(&mut self, lost: HashSet<EventId>) {
        let reason = GapReason::NotGiven(lost.len() as u64, self.notice.clone());
        let mut ids: Vec<EventId> = lost.into_iter().collect();
        ids.sort_unstable();
        self.outcome
            .gaps
            .push(Gap { filter: Filter { ids: Some(ids), ..Filter::default() }, reason });
    }

    pub(super) fn complete(&mut self, pager: Pager) {
        let query = pager.query().clone();
        let gaps = pager.into_gaps();
        self.budget.note_ended(1, Instant::now());
        if gaps.is_empty() {
            self.outcome.complete += 1;
            self.lacks.all_but_given.push(query);
        }
        self.outcome.gaps.extend(gaps);
    }

    pub(super) fn end_with_gap(&mut self, pager: Pager, reason: GapReason) {
        let filter = pager.query().clone();
        self.outcome.gaps.extend(pager.into_gaps());
        self.outcome.gaps.push(Gap { filter, reason });
    }

    /// Nothing more is asked.
    pub(in crate::relay) fn give_up(&mut self, reason: &GapReason) {
        let is_owed =
            self.member.as_ref().is_some_and(Member::is_waiting) || !self.not_given.is_empty();
        if is_owed && self.compared > 0 {
            // It has been found to have something, and has not given it.
            self.forget_compared();
            self.waiting.clear();
            let gap = |filter: &Filter| Gap { filter: filter.clone(), reason: reason.clone() };
            self.outcome.gaps.extend(self.queries.iter().map(gap));
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Page(pager) => self.end_with_gap(*pager, reason.clone()),
                Waiting::Compare { filter, .. } => {
                    self.outcome.gaps.push(Gap { filter, reason: reason.clone() });
                }
            }
        }
        if let Some(member) = &self.member {
            member.leave();
        }
    }

    /// After the connection has ended: what was open is asked for after what is waiting, and last
    /// what was asked first, so that one request that a peer cannot answer does not keep it from
    /// the others.
    pub(in crate::relay) fn ask_again(&mut self) {
        self.recent.clear();
        self.outbox.clear();
        self.backoff.end_pause();
        if !self.open.is_empty() {
            self.open.rotate_left(1);
        }
        for open in std::mem::take(&mut self.open) {
            self.put_back(open.request);
        }
        self.auth = Authentication::default();
        self.accepted_at = None;
    }

    /// What was asked is asked again, after all that waits.
    pub(super) fn put_back(&mut self, request: Request) {
        match request {
            Request::Pages(request) => {
                // It may have been more than the peer can answer.
                if request.is_shared() {
                    self.manners.pages = 1;
                }
                let pagers = request.into_pagers().map(Box::new);
                self.waiting.extend(pagers.map(Waiting::Page));
            }
            Request::Ids(request) => {
                if let Some(member) = &self.member {
                    member.release(request.missing());
                }
            }
            Request::Nothing => {}
            Request::Compare { comparison, begun, .. } => {
                let filter = comparison.filter().clone();
                self.waiting.push_back(match begun < COMPARISONS {
                    true => Waiting::Compare { filter, begun: begun + 1 },
                    false => self.paged(filter),
                });
            }
        }
    }
}
