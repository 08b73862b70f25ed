//! What becomes of a request that a peer refuses, in whatever way it does so: it is asked again
//! later, smaller, in another way, or it is a gap.

use tokio::time::Instant;

use super::clock::Open;
use super::{Conversation, Way, shortened};
use crate::peer::outcome::{GapReason, Withheld};
use crate::peer::pager::{Refusal, is_private};
use crate::peer::peer_limits::Comparing;
use crate::peer::wording::Wording;

impl Conversation {
    /// The peer ends a request.
    pub(in crate::peer) fn closed(&mut self, subscription: &str, message: &str) {
        let Some(open) = self.clock.take(subscription) else {
            self.budget.note_idle();
            // A comparison that waits for us is not owed.
            if let Some(filter) = self.negentropy.refused(subscription) {
                self.page(filter);
            }
            return;
        };
        self.refuse_because(&open, message, false);
    }

    /// The peer ends a comparison.
    pub(in crate::peer) fn neg_err(&mut self, subscription: &str, reason: &str, has_maximum: bool) {
        if Way::of(subscription) != Some(Way::Compare) {
            self.budget.note_idle();
            return;
        }
        match self.clock.take(subscription) {
            Some(open) => self.refuse_because(&open, reason, has_maximum),
            None => self.closed(subscription, reason),
        }
    }

    /// A text of the peer is the answer to this request.
    fn refuse_because(&mut self, open: &Open, text: &str, has_maximum: bool) {
        let wording = Wording::of(text);
        if self.may_repeat(wording, open.asked) {
            self.put_back(open);
            return;
        }
        let is_denied = matches!(wording, Wording::AuthRequired | Wording::Restricted);
        let others = self.clock.open().len();
        if open.way == Way::Page && !is_denied && (others > 0 || !open.is_alone) {
            // It may be one too many at once: what was open beside it may have ended since.
            self.pager.put_back_first(&open.subscription);
            self.clock.ask_alone(others + 1);
            self.was_refused_beside = true;
        } else if open.way == Way::Compare {
            self.refuse_comparison(open, text, wording, has_maximum);
        } else {
            let words = self.words(text, is_denied);
            self.notice = Some(words.clone());
            let reason = GapReason::Closed(words);
            // Asked alone, too: it was not one too many.
            self.was_refused_beside = false;
            // It has been asked as slowly as it wants, for long enough.
            let is_final = wording == Wording::RateLimited;
            self.refuse(open, &Refusal { reason, is_costly: false, is_denied, is_final });
        }
    }

    fn refuse_comparison(&mut self, open: &Open, text: &str, wording: Wording, has_maximum: bool) {
        if wording == Wording::TooLarge || has_maximum {
            let round = self.negentropy.too_large(&open.subscription);
            self.follow(round);
        } else if wording == Wording::Ended {
            self.put_back(open);
        } else if let Some(filter) = self.negentropy.refused(&open.subscription) {
            let is_denied = matches!(wording, Wording::AuthRequired | Wording::Restricted);
            if is_denied && is_private(&filter) {
                let reason = GapReason::Closed(self.words(text, true)).to_string();
                self.outcome.withheld.push(Withheld { filter, reason });
            } else {
                self.page(filter);
            }
        }
    }

    /// A question is refused: a smaller one may be answered.
    fn refuse(&mut self, open: &Open, refusal: &Refusal) {
        match open.way {
            Way::Page => self.pager.refused(&open.subscription, refusal, &mut self.limits),
            Way::Ids => {
                let Some(ids) = &mut self.ids else { return };
                if !ids.refused(&open.subscription, refusal.is_costly, &mut self.limits) {
                    self.distrust();
                }
            }
            Way::Compare => {
                if let Some(filter) = self.negentropy.refused(&open.subscription) {
                    self.page(filter);
                }
            }
        }
    }

    /// What was asked is asked again as it is.
    pub(super) fn put_back(&mut self, open: &Open) {
        match open.way {
            Way::Page => self.pager.put_back(&open.subscription),
            Way::Ids => {
                if let Some(ids) = &mut self.ids {
                    ids.put_back(&open.subscription);
                }
            }
            Way::Compare => {
                if let Some(filter) = self.negentropy.put_back(&open.subscription) {
                    self.page(filter);
                }
            }
        }
    }

    /// Whether a request that was refused is to be sent again as it is, later.
    fn may_repeat(&mut self, wording: Wording, asked: Instant) -> bool {
        match wording {
            // Several requests that are refused at the same time count once.
            Wording::RateLimited if self.backoff.is_paused() => true,
            Wording::RateLimited => {
                self.limits.slow_down();
                let until = self.backoff.back_off(self.limits.complaints);
                if let Some(until) = until {
                    self.budget.pause_until(until);
                    self.clock.end_idleness();
                }
                until.is_some()
            }
            Wording::AuthRequired => self.login.required(asked),
            // Some say so to whom they do not know, before they send the challenge or after it.
            Wording::Restricted if self.login.may_help(asked) => self.login.required(asked),
            _ => false,
        }
    }

    /// The relay's words for a refusal, with those about our key.
    fn words(&self, text: &str, is_denied: bool) -> String {
        match self.login.refusal().filter(|_| is_denied) {
            Some(why) => shortened(&format!("{text} (it did not accept our key: {why})")),
            None => shortened(text),
        }
    }

    /// The relay wants to know who we are; that is answered when it refuses something for it.
    pub(in crate::peer) fn challenge(&mut self, challenge: &str) {
        self.budget.note_idle();
        self.login.challenge(challenge);
        if self.login.may_hide(Instant::now()) {
            // It may have hidden what it was asked before.
            self.pager.ask_empty_again(&mut self.limits);
            // It may be all that the relay says to what is open.
            for open in self.clock.open_mut() {
                open.notice.get_or_insert_with(|| "auth-required: a challenge".to_owned());
            }
        }
    }

    /// What the relay thinks of an event that it was sent.
    pub(in crate::peer) fn ok(&mut self, id: &str, accepted: bool, message: &str) {
        if self.login.ok(id, accepted, &shortened(message)) {
            self.pager.remember_empty(self.login.may_help(Instant::now()));
            self.clock.note_answer("");
        } else {
            self.budget.note_idle();
        }
    }

    /// A text for people: it may be the refusal of anything that is open.
    pub(in crate::peer) fn notice(&mut self, text: &str) {
        self.budget.note_idle();
        let text = shortened(text);
        if Wording::of(&text) == Wording::RateLimited {
            // Several requests that are refused at the same time count once.
            if self.clock.open().iter().all(|open| open.notice.is_none()) {
                self.limits.slow_down();
            }
        } else if self.limits.comparing == Comparing::Untried
            && !self.limits.says_it_compares
            && self.clock.open().iter().any(|open| open.way == Way::Compare)
        {
            // It does not know what a comparison is.
            self.stop_comparing();
        }
        for open in self.clock.open_mut() {
            open.notice.get_or_insert_with(|| text.clone());
        }
        self.notice = Some(text);
    }

    /// No answer has come since a text for people: what is open alone was refused by it.
    pub(super) fn take_notices_for_refusals(&mut self) {
        let [Open { subscription, notice: Some(notice), .. }] = self.clock.open() else {
            return self.ask_one_at_a_time();
        };
        let (subscription, notice) = (subscription.clone(), notice.clone());
        self.close_request(&subscription);
        if Wording::of(&notice) == Wording::RateLimited {
            // Fewer at once is not few enough: a pause may be.
            let Some(open) = self.clock.take(&subscription) else { return };
            self.refuse_because(&open, &notice, false);
        } else {
            self.note_refusal_in_words(&subscription, &notice);
        }
    }

    /// A request that was open together with a text for people brought nothing: it is refused if it
    /// was open alone, else it is asked again alone.
    pub(super) fn note_refusal_in_words(&mut self, subscription: &str, notice: &str) {
        let Some(way) = Way::of(subscription) else { return };
        let is_alone = self.clock.open().iter().all(|open| open.subscription == subscription);
        let open = self.clock.take(subscription).unwrap_or_else(|| Open {
            subscription: subscription.to_owned(),
            way,
            asked: Instant::now(),
            notice: None,
            is_alone: true,
        });
        if is_alone {
            self.refuse_because(&open, notice, false);
        } else {
            let others = self.clock.open().len();
            self.put_back(&open);
            self.clock.ask_alone(others + 1);
        }
    }

    /// The peer has been silent about a question that is larger than any that it has answered.
    pub(super) fn take_silence_for_refusal(&mut self) {
        let [open] = self.clock.open() else { return self.ask_one_at_a_time() };
        let subscription = open.subscription.clone();
        self.close_request(&subscription);
        let Some(open) = self.clock.take(&subscription) else { return };
        if self.login.may_hide(open.asked) && self.login.required(open.asked) {
            self.put_back(&open);
            return;
        }
        let reason = GapReason::Unanswered(self.clock.time_out().as_secs() / 3);
        let refusal = Refusal { reason, is_costly: true, is_denied: false, is_final: false };
        self.refuse(&open, &refusal);
    }

    /// Closes everything and asks it again, so that it shows what the peer does not answer.
    fn ask_one_at_a_time(&mut self) {
        let open = self.clock.take_all();
        for open in &open {
            self.close_request(&open.subscription);
            self.put_back(open);
        }
        self.clock.ask_alone(open.len());
        self.clock.note_idleness(self.backoff.is_paused());
    }

    /// Whether the end of the connection shows that what is open is too large: it is asked again
    /// smaller, which is worth another attempt.
    pub(in crate::peer) fn learns_from_the_end(&self) -> bool {
        matches!(self.clock.open(), [alone] if self.is_large(alone))
    }

    /// Whether the connection has ended before while this was asked alone: once may have had any
    /// reason.
    fn is_cut_again(&mut self, open: &Open) -> bool {
        match (open.way, &mut self.ids) {
            (Way::Page, _) => self.pager.is_cut_again(),
            (Way::Ids, Some(ids)) => ids.is_cut_again(&open.subscription),
            _ => true,
        }
    }

    /// The connection has ended. What was open alone was perhaps more than the peer can answer; of
    /// several requests each is asked again, one at a time and last what was asked first.
    pub(in crate::peer) fn connection_ended(&mut self, reason: &GapReason) {
        self.pager.forget_recent();
        if let Some(ids) = &mut self.ids {
            ids.forget_recent();
        }
        self.outbox.clear();
        self.backoff.end_pause();
        let mut open = self.clock.take_all();
        if self.limits.comparing == Comparing::Untried
            && open.iter().any(|open| open.way == Way::Compare)
        {
            self.stop_comparing();
            self.outbox.clear();
            open.retain(|open| open.way != Way::Compare);
        }
        for filter in self.negentropy.put_back_held() {
            self.page(filter);
        }
        match &open[..] {
            [alone] if self.is_large(alone) && self.is_cut_again(alone) => {
                let reason = reason.clone();
                let refusal =
                    Refusal { reason, is_costly: true, is_denied: false, is_final: false };
                self.refuse(alone, &refusal);
            }
            _ => {
                if !open.is_empty() {
                    open.rotate_left(1);
                }
                open.iter().for_each(|open| self.put_back(open));
                self.clock.ask_alone(open.len());
            }
        }
        self.login.reset();
        self.pager.remember_empty(self.login.may_help(Instant::now()));
    }
}
