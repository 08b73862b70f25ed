//! Events of a peer, ends of its answers, and rounds of comparisons.

use std::sync::Arc;

use super::{Conversation, Way};
use crate::nostr::{Event, EventId, ExpectedId, Filter, Outline};
use crate::peer::forged::ForgedIds;
use crate::peer::host::{LocalError, Unwanted};
use crate::peer::item_set::ItemSet;
use crate::peer::message;
use crate::peer::pager::Arrival;

impl Conversation {
    /// Parses an event and accepts it if it is new and was asked for.
    pub(in crate::peer) fn receive<'a>(
        &mut self,
        subscription: &str,
        text: &'a str,
    ) -> Result<Event<'a>, Unwanted> {
        let received = match Event::parse(text) {
            Ok(event) => self.receive_event(subscription, event),
            Err(malformed) => {
                if self.receive_malformed(subscription, text) {
                    return Err(Unwanted::Malformed(malformed));
                }
                self.pager.stray(subscription);
                Err(Unwanted::Malformed(malformed))
            }
        };
        if received.as_ref().is_err_and(|what| *what != Unwanted::Repeated) {
            self.budget.note_useless();
        }
        received
    }

    /// What this program does not take, and other relays store, such as an id in uppercase: it is
    /// what was asked for, and where it stands in the order of time is known. False: it is nothing
    /// of that sort.
    fn receive_malformed(&mut self, subscription: &str, text: &str) -> bool {
        let Some(outline) = Outline::parse(text) else { return false };
        match Way::of(subscription) {
            Some(Way::Page) => {
                self.memory.events += 1;
                let arrival = self.pager.event(subscription, &outline, &self.limits);
                arrival != Arrival::Unasked
            }
            Some(Way::Ids) => {
                let Some(ids) = &mut self.ids else { return false };
                let is_asked = ids.has_asked(subscription, &outline.id);
                if is_asked {
                    // The peer has given it. Another may have one that can be taken.
                    ids.receive_what_is_not_taken(subscription, &outline.id);
                }
                is_asked
            }
            _ => false,
        }
    }

    /// An event that is too large for us; false if nothing asked for it.
    pub(in crate::peer) fn receive_too_large(
        &mut self,
        subscription: &str,
        id: Option<EventId>,
    ) -> bool {
        let is_asked = match (Way::of(subscription), &mut self.ids) {
            // It fills a place of the page.
            (Some(Way::Page), _) => self.pager.pass(subscription),
            (Some(Way::Ids), Some(ids)) => {
                let id = id.or_else(|| ids.only_missing(subscription));
                let asked = id.filter(|id| ids.has_asked(subscription, id));
                if let Some(id) = &asked {
                    // The peer has given it. Another may have one that can be taken.
                    ids.receive_what_is_not_taken(subscription, id);
                }
                asked.is_some()
            }
            _ => false,
        };
        if is_asked {
            self.clock.note_answer(subscription);
        }
        is_asked
    }

    fn receive_event<'a>(
        &mut self,
        subscription: &str,
        event: Event<'a>,
    ) -> Result<Event<'a>, Unwanted> {
        match Way::of(subscription) {
            Some(Way::Page) => self.receive_of_page(subscription, event),
            Some(Way::Ids) => self.receive_by_id(subscription, event),
            _ => Err(Unwanted::Unasked),
        }
    }

    fn receive_of_page<'a>(
        &mut self,
        subscription: &str,
        event: Event<'a>,
    ) -> Result<Event<'a>, Unwanted> {
        if event.created_at > self.taken.latest {
            let is_open = self.pager.pass(subscription);
            return Err(if is_open { Unwanted::TooNew } else { Unwanted::Unasked });
        }
        let outline = Outline::of(&event);
        match self.pager.event(subscription, &outline, &self.limits) {
            Arrival::Unasked => Err(Unwanted::Unasked),
            arrival => {
                self.clock.note_answer(subscription);
                self.memory.events += 1;
                if arrival == Arrival::Repeated {
                    return Err(Unwanted::Repeated);
                }
                // From here on no other peer needs to be asked for it; whether it is genuine is
                // found out later, and then it does no harm that it came in two ways.
                if let Some(ids) = &self.ids
                    && is_genuine(&event, &self.taken.forged)
                {
                    ids.member.settle(&event.id);
                    self.not_given.remove(&event.id);
                }
                self.outcome.events += 1;
                Ok(event)
            }
        }
    }

    fn receive_by_id<'a>(
        &mut self,
        subscription: &str,
        event: Event<'a>,
    ) -> Result<Event<'a>, Unwanted> {
        let Some(ids) = &mut self.ids else { return Err(Unwanted::Unasked) };
        let is_asked = ids.has_asked(subscription, &event.id);
        let is_too_new = event.created_at > self.taken.latest;
        if !is_asked || !(is_too_new || is_about(&self.queries, &event)) {
            return Err(if is_too_new { Unwanted::TooNew } else { Unwanted::Unasked });
        }
        let is_genuine = is_genuine(&event, &self.taken.forged);
        if is_too_new {
            if is_genuine {
                // The peer has given what it said it has, and nobody else needs to.
                ids.receive(subscription, &event.id);
            }
            return Err(Unwanted::TooNew);
        }
        self.clock.note_answer(subscription);
        // An event that only claims the id does not stand for it; it is looked at all the same.
        if is_genuine && !ids.receive(subscription, &event.id) {
            return Err(Unwanted::Repeated);
        }
        self.outcome.events += 1;
        Ok(event)
    }

    /// Whether there was such an open request, which is to be closed.
    pub(in crate::peer) fn end_of_stored_events(
        &mut self,
        subscription: &str,
        is_finish: bool,
    ) -> bool {
        let way = Way::of(subscription).filter(|way| *way != Way::Compare);
        let Some(open) = way.and_then(|_| self.clock.take(subscription)) else {
            self.budget.note_idle();
            return false;
        };
        if let Some(notice) = &open.notice
            && self.is_empty(subscription)
        {
            // It was no answer, but what a relay says after it has refused one in words for people.
            self.note_refusal_in_words(subscription, notice);
            return true;
        }
        if self.is_empty(subscription) && self.login.may_hide(open.asked) {
            // What a relay was asked before it knew us may hide what only those may see who are
            // known.
            self.login.want();
            self.put_back(&open);
            return true;
        }
        self.backoff.answer();
        if open.is_alone && way == Some(Way::Page) && std::mem::take(&mut self.was_refused_beside) {
            // What was refused beside others is answered alone.
            self.limits.parallel = (self.limits.parallel / 2).max(1);
        }
        match way {
            Some(Way::Page) => self.pager.end(subscription, is_finish, &mut self.limits),
            _ => {
                self.outcome.pages += 1;
                if self.is_empty(subscription) {
                    self.pager.expect_late();
                }
                let ids = self.ids.as_mut();
                let not_given = ids.map(|ids| ids.end(subscription, &mut self.limits));
                self.note_not_given(not_given.unwrap_or_default());
            }
        }
        true
    }

    /// Whether what is open under this name has brought nothing at all.
    pub(super) fn is_empty(&self, subscription: &str) -> bool {
        self.pager.is_empty(subscription)
            || self.ids.as_ref().is_some_and(|ids| ids.is_empty(subscription))
    }

    /// What is to be looked up here, for [`Conversation::learn_items`], before this round of a
    /// comparison can be read.
    pub(in crate::peer) fn needs_items(
        &self,
        subscription: &str,
        payload: &str,
    ) -> Option<Arc<Filter>> {
        let is_asked = self.clock.open().iter().any(|open| open.subscription == subscription);
        self.negentropy.needs_items(subscription, payload).filter(|_| is_asked).cloned()
    }

    /// What [`Conversation::needs_items`] asked for. False: the comparison does not go on.
    pub(in crate::peer) fn learn_items(
        &mut self,
        subscription: &str,
        here: Result<ItemSet, LocalError>,
    ) -> bool {
        let Some(round) = self.negentropy.learn_items(subscription, here) else { return true };
        // The peer has answered.
        self.clock.take(subscription);
        self.backoff.answer();
        self.follow(round);
        false
    }

    /// A round of a comparison. Returns what the peer has and we had not when that was looked up;
    /// what is still missing is to be [offered](Conversation::offer).
    pub(in crate::peer) fn neg_msg(
        &mut self,
        subscription: &str,
        payload: &str,
    ) -> Option<(Vec<EventId>, Arc<Filter>)> {
        let Some(open) = self.clock.take(subscription) else {
            self.budget.note_idle();
            return None;
        };
        let filter = self.negentropy.filter_of(subscription)?;
        self.backoff.answer();
        let had_something = self.negentropy.has_something();
        let mut round = self.negentropy.message(subscription, payload, &mut self.limits);
        if !(had_something || self.negentropy.has_something()) && self.login.may_hide(open.asked) {
            // A relay may compare an empty set with those whom it does not know.
            self.login.want();
            self.compare_again(subscription, &filter);
            return None;
        }
        let needed = std::mem::take(&mut round.needed);
        self.follow(round);
        (!needed.is_empty()).then_some((needed, filter))
    }

    /// The peer has these events and we have not, as a round of the comparison of this filter shows.
    pub(in crate::peer) fn offer(
        &mut self,
        subscription: &str,
        filter: &Filter,
        ids: Vec<EventId>,
    ) {
        let Some(fetch) = &self.ids else { return };
        // It is not asked again for what it has forged.
        let ids = ids.into_iter().filter(|id| !self.taken.forged.contains(id));
        if !fetch.member.offer(ids) {
            self.compare_again(subscription, filter);
        }
    }

    /// What a round of this comparison has brought is not taken: it is found out again.
    pub(in crate::peer) fn compare_again(&mut self, subscription: &str, filter: &Filter) {
        self.outbox.extend(self.negentropy.compare_again(subscription, filter));
    }

    /// A message that brings nothing.
    pub(in crate::peer) fn close_request(&mut self, subscription: &str) {
        self.outbox.push_back(match Way::of(subscription) {
            Some(Way::Compare) => message::neg_close(subscription),
            _ => message::close(subscription),
        });
    }
}

fn is_about(queries: &[Arc<Filter>], event: &Event<'_>) -> bool {
    let Event { id, pubkey, kind, created_at, .. } = event;
    queries.iter().any(|query| query.matches(id, pubkey, *kind, *created_at))
}

/// Whether the id is the hash of the text, as strfry or NIP-01 want it, and the peer has not been
/// found to forge this event.
fn is_genuine(event: &Event<'_>, forged: &ForgedIds) -> bool {
    let expected = ExpectedId::of(event);
    (event.id == expected.strfry || event.id == expected.nip01) && !forged.contains(&event.id)
}
