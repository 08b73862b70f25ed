//! What a peer's answers bring: events, ends of pages, rounds of comparisons.

use std::time::Instant;

use super::{Ended, EndedRequest, Open, Request, Requests, Waiting};
use crate::nostr::{Event, EventId, ExpectedId, Filter, Outline};
use crate::relay::by_id::{IdRequest, Leftover};
use crate::relay::forged::ForgedIds;
use crate::relay::limits::{
    PAGE_IDS, PARALLEL_ID_REQUESTS, PARALLEL_SUBSCRIPTIONS, PARTS_WAITING, PUBLISHED_LATE,
};
use crate::relay::manners::Comparing;
use crate::relay::message;
use crate::relay::outcome::{Gap, GapReason};
use crate::relay::paging::{Novelty, short};
use crate::relay::sink::Unwanted;

impl Requests {
    /// Parses an event and accepts it if it is new and was asked for.
    pub(in crate::relay) fn receive<'a>(
        &mut self,
        subscription: &str,
        text: &'a str,
    ) -> Result<Event<'a>, Unwanted> {
        let event = match Event::parse(text) {
            Err(malformed) if self.receive_malformed(subscription, text) => {
                return Err(Unwanted::Malformed(malformed));
            }
            event => event.map_err(Unwanted::Malformed),
        };
        let received = self.receive_event(subscription, event);
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
        let is_this = |open: &&mut Open| open.subscription == subscription;
        let Some(open) = self.open.iter_mut().find(is_this) else { return false };
        match &mut open.request {
            Request::Pages(request) => {
                self.page_events += 1;
                request.receive(&outline).is_some()
            }
            Request::Ids(request) => {
                let is_asked = request.asked().binary_search(&outline.id).is_ok();
                if is_asked {
                    // The peer has given it. Another may have one that can be taken.
                    request.receive(&outline.id);
                    self.member.as_ref().map(|member| member.refuse([outline.id]));
                }
                is_asked
            }
            Request::Compare { .. } | Request::Nothing => false,
        }
    }

    /// An event that is too large for us; false if nothing asked for it.
    pub(in crate::relay) fn receive_too_large(
        &mut self,
        subscription: &str,
        id: Option<EventId>,
    ) -> bool {
        let is_this = |open: &&mut Open| open.subscription == subscription;
        let Some(open) = self.open.iter_mut().find(is_this) else { return false };
        match &mut open.request {
            // It fills a place of the page.
            Request::Pages(request) => {
                self.last_answer = Instant::now();
                request.pass();
                true
            }
            Request::Ids(request) => {
                let id = id.or_else(|| request.only_missing());
                let asked = id.filter(|id| request.asked().binary_search(id).is_ok());
                if let Some(id) = &asked {
                    self.last_answer = Instant::now();
                    // The peer has given it. Another may have one that can be taken.
                    request.receive(id);
                    self.member.as_ref().map(|member| member.refuse([*id]));
                }
                asked.is_some()
            }
            Request::Compare { .. } | Request::Nothing => false,
        }
    }

    fn receive_event<'a>(
        &mut self,
        subscription: &str,
        event: Result<Event<'a>, Unwanted>,
    ) -> Result<Event<'a>, Unwanted> {
        let is_this = |open: &&mut Open| open.subscription == subscription;
        let Some(open) = self.open.iter_mut().find(is_this) else {
            return self.receive_late(subscription, event?);
        };
        match &mut open.request {
            Request::Pages(request) if is_after(&event, self.latest) => {
                request.pass();
                Err(Unwanted::TooNew)
            }
            Request::Ids(request) if is_after(&event, self.latest) => {
                let event = event?;
                // The peer has given what it said it has, and nobody else needs to.
                if request.asked().contains(&event.id) && is_genuine(&event, &self.forged) {
                    request.receive(&event.id);
                    self.member.as_ref().map(|member| member.settle(&event.id));
                }
                Err(Unwanted::TooNew)
            }
            Request::Pages(request) => {
                let event = event.inspect_err(|_| request.stray())?;
                let novelty = request.receive(&Outline::of(&event)).ok_or(Unwanted::Unasked);
                let novelty = novelty.inspect_err(|_| request.stray())?;
                self.last_answer = Instant::now();
                self.page_events += 1;
                if novelty == Novelty::Repeated {
                    return Err(Unwanted::Repeated);
                }
                // From here on no other peer needs to be asked for it; whether it is genuine is
                // found out later, and then it does no harm that it came in two ways.
                if let Some(member) = &self.member
                    && is_genuine(&event, &self.forged)
                {
                    member.settle(&event.id);
                    self.not_given.remove(&event.id);
                }
                self.outcome.events += 1;
                Ok(event)
            }
            Request::Ids(request) => {
                let event = event?;
                if request.asked().binary_search(&event.id).is_err()
                    || !is_about(&self.queries, &event)
                {
                    return Err(Unwanted::Unasked);
                }
                self.last_answer = Instant::now();
                // An event that only claims the id does not stand for it.
                if is_genuine(&event, &self.forged) {
                    let is_first = request.receive(&event.id);
                    let settled = self.member.as_ref().is_none_or(|it| it.settle(&event.id));
                    if !(is_first && settled) {
                        return Err(Unwanted::Repeated);
                    }
                }
                self.outcome.events += 1;
                Ok(event)
            }
            Request::Compare { .. } | Request::Nothing => Err(Unwanted::Unasked),
        }
    }

    fn receive_late<'a>(
        &mut self,
        subscription: &str,
        event: Event<'a>,
    ) -> Result<Event<'a>, Unwanted> {
        if event.created_at > self.latest {
            return Err(Unwanted::TooNew);
        }
        let recent = self.recent.iter_mut().find(|ended| ended.subscription == subscription);
        match &mut recent.ok_or(Unwanted::Unasked)?.what {
            EndedRequest::Pages { filters, known, late, is_named } => {
                let filter = filters.iter().find(|filter| matches(filter, &event));
                let filter = filter.ok_or(Unwanted::Unasked)?;
                if !known.insert(short(&event.id)) {
                    return Err(Unwanted::Repeated);
                }
                *late += 1;
                if *late > self.manners.page.saturating_mul(filters.len() as u64) {
                    return Err(Unwanted::Unasked);
                }
                // What is published meanwhile may come then; of anything else that was no end.
                let is_new = event.created_at.saturating_add(PUBLISHED_LATE) >= self.began;
                if !is_new && !std::mem::replace(is_named, true) {
                    let reason = GapReason::AfterItsEnd;
                    self.outcome.gaps.push(Gap { filter: filter.clone(), reason });
                    self.may_be_late = true;
                }
                self.outcome.events += 1;
                Ok(event)
            }
            EndedRequest::Ids(asked) => {
                if asked.binary_search(&event.id).is_err() || !is_about(&self.queries, &event) {
                    return Err(Unwanted::Unasked);
                }
                let settled = self.member.as_ref().is_none_or(|member| {
                    is_genuine(&event, &self.forged) && member.settle(&event.id)
                });
                if !settled {
                    return Err(Unwanted::Repeated);
                }
                self.outcome.events += 1;
                Ok(event)
            }
        }
    }

    /// Whether there was such an open request, which is to be closed.
    pub(in crate::relay) fn end_of_stored_events(
        &mut self,
        subscription: &str,
        is_finish: bool,
    ) -> bool {
        let Some(open) = self.take(subscription) else { return false };
        self.backoff.answer();
        let is_unknown = self.auth.may_hide() || self.auth.is_pending();
        let was_unknown = is_unknown || self.accepted_at.is_some_and(|it| open.asked < it);
        let may_hide = self.identity.is_some() && was_unknown;
        let what = match open.request {
            // What a relay was asked before it knew us may hide what only those may see who are known.
            Request::Pages(request) if may_hide && request.ids() == 0 => {
                self.auth.want();
                self.put_back(Request::Pages(request));
                return true;
            }
            Request::Pages(request) => {
                let ended = request.end(is_finish, &self.manners.page_limits(), self.expecting());
                self.may_be_late |= ended.is_empty;
                self.lacks.all_but_given.extend(ended.behind);
                for pager in ended.pagers.into_iter().rev() {
                    self.waiting.push_front(Waiting::Page(Box::new(pager)));
                }
                let (filters, known) = (ended.filters, ended.known);
                self.outcome.pages += filters.len() as u64;
                EndedRequest::Pages { filters, known, late: 0, is_named: false }
            }
            Request::Ids(request) => {
                self.outcome.pages += 1;
                let asked = request.asked().to_vec();
                self.end_ids(request);
                EndedRequest::Ids(asked)
            }
            Request::Nothing => return true,
            // No answer to a comparison.
            Request::Compare { .. } => {
                self.open.push(open);
                return false;
            }
        };
        self.recent.push_back(Ended { subscription: open.subscription, what });
        let most = 2 * (PARALLEL_SUBSCRIPTIONS + PARALLEL_ID_REQUESTS);
        while self.recent.len() > most || self.recent_ids() > PAGE_IDS {
            self.recent.pop_front();
        }
        true
    }

    fn end_ids(&mut self, request: IdRequest) {
        let Some(member) = &self.member else { return };
        match request.end(&mut self.manners.ids) {
            Some(Leftover::Again(ids)) => member.release(ids),
            Some(Leftover::NotGiven(ids)) => {
                let lost = member.refuse(ids);
                self.note_not_given(lost);
            }
            None => member.announce(),
        }
    }

    /// Ids of pages that have ended.
    fn recent_ids(&self) -> usize {
        let ids = self.recent.iter().map(|ended| match &ended.what {
            EndedRequest::Pages { known, .. } => known.len(),
            EndedRequest::Ids(_) => 0,
        });
        ids.sum()
    }

    /// A round of a comparison. Returns what the peer has and we had not when that was looked up;
    /// what is still missing is to be [offered](Requests::offer).
    pub(in crate::relay) fn neg_msg(&mut self, subscription: &str, payload: &str) -> Vec<EventId> {
        let Some(mut open) = self.take(subscription) else { return Vec::new() };
        let Request::Compare { comparison, held, begun, names_lost } = &mut open.request else {
            self.open.push(open);
            return Vec::new();
        };
        self.backoff.answer();
        self.outcome.pages += 1;
        let round = hex::decode(payload).ok().and_then(|bytes| comparison.answer(&bytes).ok());
        let Some(round) = round else {
            // Two peers of which one does not understand the other: pages are simpler.
            self.outbox.push_back(message::neg_close(subscription));
            self.page(comparison.filter().clone());
            return Vec::new();
        };
        self.manners.comparing = Comparing::Works;
        if let Some(lost) = &self.lost {
            *names_lost |= round.needed.iter().any(|id| lost.contains(id));
        }
        self.lacks.ids.extend(round.only_here);
        match round.next {
            Some(next) => {
                *held = Some(next);
                self.open.push(open);
            }
            None => {
                let (filter, begun) = (comparison.filter().clone(), *begun);
                self.outbox.push_back(message::neg_close(subscription));
                self.compared += 1;
                self.outcome.complete += 1;
                self.budget.note_ended(1, Instant::now());
                if *names_lost && self.suspects.len() < self.queries.len() + PARTS_WAITING {
                    self.suspects.push(filter.clone());
                }
                let compared = Waiting::Compare { filter, begun };
                self.just_compared = Some((open.subscription, compared));
            }
        }
        self.note_idleness();
        round.needed
    }

    /// The peer has these events and we have not, as a round of this comparison shows. If there is
    /// not room for all of them, many answers came at once. The rest is found out again later; by
    /// then most of it has come from elsewhere.
    pub(in crate::relay) fn offer(&mut self, subscription: &str, ids: Vec<EventId>) {
        let Some(member) = &self.member else { return };
        // It is not asked again for what it has forged.
        if member.offer(ids.into_iter().filter(|id| !self.forged.contains(id))) {
            return;
        }
        let is_this = |open: &Open| open.subscription == subscription;
        if let Some(index) = self.open.iter().position(is_this) {
            let Request::Compare { comparison, begun, .. } = self.open.remove(index).request else {
                return;
            };
            let filter = comparison.filter().clone();
            self.outbox.push_back(message::neg_close(subscription));
            self.waiting.push_front(Waiting::Compare { filter, begun });
            self.note_idleness();
        } else if let Some((_, again)) =
            self.just_compared.take_if(|(name, _)| name == subscription)
        {
            self.compared = self.compared.saturating_sub(1);
            self.outcome.complete = self.outcome.complete.saturating_sub(1);
            self.waiting.push_front(again);
        }
    }
}

fn is_after(event: &Result<Event<'_>, Unwanted>, latest: u64) -> bool {
    event.as_ref().is_ok_and(|event| event.created_at > latest)
}

fn matches(filter: &Filter, event: &Event<'_>) -> bool {
    filter.matches(&event.id, &event.pubkey, event.kind, event.created_at)
}

fn is_about(queries: &[Filter], event: &Event<'_>) -> bool {
    queries.iter().any(|query| matches(query, event))
}

/// Whether the id is the hash of the text, as strfry or NIP-01 want it, and the peer has not been
/// found to forge this event.
fn is_genuine(event: &Event<'_>, forged: &ForgedIds) -> bool {
    let expected = ExpectedId::of(event);
    (event.id == expected.strfry || event.id == expected.nip01) && !forged.contains(&event.id)
}
