//! What becomes of a request that a peer refuses, or of one that it cannot answer at once.

use std::time::Instant;

use super::{Open, Request, Requests, Waiting, shortened, unix_time};
use crate::nostr::Filter;
use crate::relay::auth::AuthStep;
use crate::relay::limits::{COMPARISONS, PARTS_WAITING, SPLITS};
use crate::relay::manners::Comparing;
use crate::relay::message;
use crate::relay::outcome::GapReason;
use crate::relay::reconcile::split;
use crate::relay::refusal::Refusal;

impl Requests {
    /// The peer ends a comparison.
    pub(in crate::relay) fn neg_err(
        &mut self,
        subscription: &str,
        reason: &str,
        has_maximum: bool,
    ) {
        let Some(open) = self.take(subscription) else { return };
        let Request::Compare { comparison, begun, .. } = open.request else {
            self.open.push(open);
            return;
        };
        let (filter, middle) = (comparison.filter().clone(), comparison.middle());
        let refusal = Refusal::of(reason);
        if self.may_repeat(refusal, open.asked) {
            self.waiting.push_front(Waiting::Compare { filter, begun });
        } else if refusal == Refusal::TooLarge || has_maximum {
            self.split_or_page(filter, middle);
        } else if refusal == Refusal::Ended && begun < COMPARISONS {
            self.waiting.push_back(Waiting::Compare { filter, begun: begun + 1 });
        } else {
            self.page(filter);
        }
    }

    /// Whether a request that was refused is to be sent again as it is, later.
    pub(super) fn may_repeat(&mut self, refusal: Refusal, asked: Instant) -> bool {
        match refusal {
            // Several requests that are refused at the same time count once.
            Refusal::RateLimited if self.backoff.is_paused() => true,
            Refusal::RateLimited => {
                self.manners.slow_down();
                let until = self.backoff.back_off(self.manners.complaints);
                if let Some(until) = until {
                    self.budget.pause_until(until);
                    self.idle_since = None;
                }
                until.is_some()
            }
            Refusal::AuthRequired => {
                let was_before = self.accepted_at.is_none_or(|accepted| asked < accepted);
                let step = self.auth.required(self.identity.is_some(), was_before);
                if self.auth.is_pending() {
                    // Until then the relay may send its challenge.
                    self.last_answer = Instant::now();
                }
                step == AuthStep::Repeat
            }
            _ => false,
        }
    }

    /// Why a request was refused for good: in the relay's words, with those about our key.
    fn reason(&self, refusal: Refusal, message: &str) -> String {
        let is_about_us = matches!(refusal, Refusal::AuthRequired | Refusal::Restricted);
        match self.auth.refusal().filter(|_| is_about_us) {
            Some(why) => shortened(&format!("{message} (it did not accept our key: {why})")),
            None => shortened(message),
        }
    }

    /// The answer to a challenge, if it is to be sent now.
    pub(super) fn say_who_we_are(&mut self) -> Option<String> {
        let identity = self.identity.as_ref()?;
        let answer = self.auth.answer(&identity.key, &identity.relay)?;
        self.last_answer = Instant::now();
        Some(answer)
    }

    /// The relay wants to know who we are; that is answered when it refuses something for it.
    pub(in crate::relay) fn challenge(&mut self, challenge: &str) {
        self.budget.note_idle();
        self.auth.challenge(challenge);
    }

    /// What the relay thinks of an event that it was sent.
    pub(in crate::relay) fn ok(&mut self, id: &str, accepted: bool, message: &str) {
        if self.auth.ok(id, accepted, &shortened(message)) {
            self.last_answer = Instant::now();
            self.accepted_at = accepted.then(Instant::now);
        } else {
            self.budget.note_idle();
        }
    }

    /// The peer ends a request.
    pub(in crate::relay) fn closed(&mut self, subscription: &str, message: &str) {
        let Some(open) = self.take(subscription) else { return };
        let refusal = Refusal::of(message);
        let again = self.may_repeat(refusal, open.asked);
        let reason = self.reason(refusal, message);
        match open.request {
            Request::Pages(request) if again || request.is_shared() => {
                if !again {
                    self.manners.pages = 1;
                }
                for pager in request.into_pagers() {
                    self.waiting.push_front(Waiting::Page(Box::new(pager)));
                }
            }
            Request::Pages(request) => {
                for pager in request.into_pagers() {
                    self.end_with_gap(pager, GapReason::Closed(reason.clone()));
                }
            }
            Request::Ids(request) => {
                let Some(member) = &self.member else { return };
                if again || (refusal == Refusal::TooLarge && request.shrink(&mut self.manners.ids))
                {
                    member.release(request.missing());
                } else {
                    let lost = member.refuse(request.missing());
                    self.notice = Some(reason);
                    self.note_not_given(lost);
                }
            }
            Request::Nothing => {}
            Request::Compare { comparison, begun, .. } => {
                let filter = comparison.filter().clone();
                match again {
                    true => self.waiting.push_front(Waiting::Compare { filter, begun }),
                    false => self.page(filter),
                }
            }
        }
    }

    /// A text for people. Before anything else it is the answer of a relay that does not know
    /// what a comparison is; it may be that to a request for several pages, too.
    pub(in crate::relay) fn notice(&mut self, text: &str) {
        self.budget.note_idle();
        self.notice = Some(shortened(text));
        if Refusal::of(text) == Refusal::RateLimited {
            // Several requests that are refused at the same time count once.
            if !std::mem::replace(&mut self.is_one_refused, true) {
                self.manners.slow_down();
            }
            return;
        }
        if self.manners.comparing == Comparing::Untried {
            self.stop_comparing();
        }
        self.is_one_refused |= self.open.iter().any(Open::asks_for_several_pages);
    }

    /// Until when requests of which the peer has refused one, without saying which, are waited for.
    pub(super) fn refused_until(&self) -> Option<Instant> {
        let is_open = self.is_one_refused && !self.open.is_empty();
        is_open.then(|| self.last_answer + self.time_out / 10)
    }

    /// The others have been answered by now.
    pub(super) fn ask_all_again(&mut self) {
        self.is_one_refused = false;
        for open in std::mem::take(&mut self.open) {
            self.outbox.push_back(match open.request {
                Request::Compare { .. } => message::neg_close(&open.subscription),
                _ => message::close(&open.subscription),
            });
            self.put_back(open.request);
        }
        self.note_idleness();
    }

    pub(super) fn page(&mut self, filter: Filter) {
        if self.manners.comparing == Comparing::Untried {
            self.stop_comparing();
        }
        self.waiting.push_front(self.paged(filter));
    }

    /// The peer does not compare: what was to be compared is asked page by page.
    pub(super) fn stop_comparing(&mut self) {
        if self.manners.comparing == Comparing::Untried {
            // It happens once that this is found out.
            self.budget.pause_until(Instant::now());
        }
        self.manners.comparing = Comparing::Refused;
        let (comparing, others) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| matches!(open.request, Request::Compare { .. }));
        self.open = others;
        for Open { subscription, request, .. } in comparing {
            if let Request::Compare { comparison, .. } = request {
                self.outbox.push_back(message::neg_close(&subscription));
                self.waiting.push_front(self.paged(comparison.filter().clone()));
            }
        }
        self.note_idleness();
    }

    /// What the peer, or we, cannot compare at once.
    pub(super) fn split_or_page(&mut self, filter: Filter, middle: Option<u64>) {
        self.splits += 1;
        let may = self.splits <= SPLITS && self.waiting.len() < self.queries.len() + PARTS_WAITING;
        let parts = split(&filter, middle, unix_time()).filter(|_| may);
        match parts {
            Some(parts) => {
                for filter in parts.into_iter().rev() {
                    self.waiting.push_front(Waiting::Compare { filter, begun: 0 });
                }
            }
            None => self.waiting.push_front(self.paged(filter)),
        }
    }
}
