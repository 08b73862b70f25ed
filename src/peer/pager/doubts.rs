//! What an answer does not prove by itself, and the control questions that tell: whether "nothing" was
//! true, in which order pages come, and whether a second was cut.

use super::control::{Control, Finding, Question};
use super::paged_query::{LeftOut, Order, PagedQuery};
use super::refusals::{Refusal, is_private, is_private_kind};
use super::size::{Refused, Size};
use super::{Arrival, HeldPage, Pager, fresh};
use crate::nostr::{Filter, Outline};
use crate::peer::limits::{
    CONTROL_AUTHORS, DOUBTS, LOST_SAMPLES, SMALLEST_CAP, SMALLEST_PAGE_LIMIT,
};
use crate::peer::outcome::GapReason;
use crate::peer::peer_limits::{PeerLimits, SaysNothing};

impl Pager {
    /// A question about what is held or doubted, once nothing else is open.
    pub(super) fn next_control(&mut self, limits: &PeerLimits) -> Option<Control> {
        if let Some(held) = self.held.first() {
            let query = &held.query;
            return Some(match query.page_order() {
                Some(order) => Control::of_order(order, query.asked()),
                None => Control::of_one_second(query.newest()?, query.page_events(), query.asked()),
            });
        }
        let has_ended = self.waiting.is_empty() && self.open.is_empty();
        let most = if limits.sizes.is_settled() { DOUBTS } else { 1 };
        if !has_ended && self.doubtful.len() < most {
            return None;
        }
        let believed = |query: &mut PagedQuery| is_believed(size_of(query), limits);
        let believed: Vec<PagedQuery> = self.doubtful.extract_if(.., believed).collect();
        believed.into_iter().for_each(|query| self.complete(query, limits));
        if let Some(doubted) = self.most_doubted() {
            let query = doubted.query();
            return Some(match &self.sample {
                Some(sample) => Control::of_size(&query, doubted.limit(), sample),
                None if self.lost_samples > LOST_SAMPLES => Control::of_nothing(&query, false),
                None => Control::of_sample(query.until),
            });
        }
        if !has_ended {
            return None;
        }
        let most = self.dense.iter().map(PagedQuery::doubted).max()?;
        if is_open_question(most, limits) {
            return Some(Control::of_cap(most));
        }
        // Meanwhile a larger page has come.
        let dense = std::mem::take(&mut self.dense);
        dense.into_iter().for_each(|query| self.complete(query, limits));
        None
    }

    /// The largest of the queries that were answered with nothing.
    pub(super) fn most_doubted(&self) -> Option<&PagedQuery> {
        self.doubtful.iter().max_by_key(|query| (!is_private(&query.query()), query.lists()))
    }

    /// The peer has this event. The newest one tells most: least is asked for beside it.
    pub(super) fn note_sample(&mut self, event: &Outline) {
        let is_newest = self.sample.is_none_or(|sample| sample.created_at < event.created_at);
        if is_newest && !is_private_kind(event.kind) && !is_ephemeral(event.kind) {
            self.sample = Some(*event);
        }
    }

    /// An event that a control question has brought; `None`: it was not asked for.
    pub(super) fn event_of_control(
        &mut self,
        question: Option<Question>,
        event: &Outline,
    ) -> Arrival {
        let is_held = || self.held.first().is_some_and(|held| held.query.knows(&event.id));
        match question {
            None => Arrival::Unasked,
            Some(Question::Sample) => {
                self.note_sample(event);
                Arrival::Repeated
            }
            Some(Question::Newer(_)) if !is_held() => Arrival::New,
            Some(Question::Nothing { .. }) => Arrival::New,
            // What comes only to show something is not taken: nobody has asked for it.
            Some(_) => Arrival::Repeated,
        }
    }

    /// The answer to a control question has ended.
    pub(super) fn end_control(
        &mut self,
        subscription: &str,
        control: Control,
        limits: &mut PeerLimits,
    ) {
        self.outcome.pages += u64::from(control.question != Question::Flush);
        if self.may_come_late(&control) {
            let is_sample = control.question == Question::Sample;
            self.empty_control = Some((subscription.to_owned(), control));
            // A sample may come while the next question is open.
            return if is_sample { self.doubt_all() } else { self.flush() };
        }
        let control = self.flushed(control);
        let finding = control.end(limits.largest_page);
        limits.largest_page = limits.largest_page.max(control.came());
        self.found(finding, &control, limits);
    }

    /// Whether it is to be waited for what comes after the end of this answer.
    pub(super) fn may_come_late(&self, control: &Control) -> bool {
        control.is_empty()
            && match control.question {
                Question::Flush | Question::Cap { .. } => false,
                Question::Order(_) | Question::Newer(_) => self.has_been_late,
                _ => true,
            }
    }

    /// The control question that has been answered: of a flush it is the one before.
    pub(super) fn flushed(&mut self, control: Control) -> Control {
        let flushed = self.empty_control.take_if(|_| control.question == Question::Flush);
        flushed.map_or(control, |(_, control)| control)
    }

    /// The peer has not given any event: whether it has something of what is doubted is asked.
    pub(super) fn doubt_all(&mut self) {
        self.control = self.most_doubted().map(|it| Control::of_nothing(&it.query(), true));
    }

    /// What a control question has found.
    pub(super) fn found(&mut self, finding: Finding, control: &Control, limits: &mut PeerLimits) {
        let first = self.held.first().map(|held| &held.query);
        match control.question {
            Question::Flush => {}
            Question::Nothing { is_last } => {
                self.found_of_nothing(finding, is_last, control, limits)
            }
            Question::Cap { held } => {
                if finding == Finding::Nothing {
                    limits.cap_sought = limits.cap_sought.max(held);
                }
            }
            Question::Sample => {
                if self.sample.is_none() {
                    self.doubt_all();
                }
            }
            Question::Sized(size) => self.found_of_size(finding, size, limits),
            Question::Again(size) => self.found_again(finding, size, limits),
            Question::Order(page) if finding == Finding::NewestFirst => {
                self.control = first.and_then(|query| match page.mixed {
                    Some(held) => {
                        Some(Control::of_rest(page, held, query.page_events(), query.asked()))
                    }
                    None => Some(query.others())
                        .filter(|others| !others.is_empty())
                        .map(|others| Control::of_others(page, others, query.asked())),
                });
                if self.control.is_none() {
                    self.found_of_order(finding, limits);
                }
            }
            Question::Newer(newer) if finding == Finding::Unsure => {
                self.control = Some(control.stricter(newer));
            }
            Question::Order(_) | Question::Newer(_) => self.found_of_order(finding, limits),
        }
    }

    /// Whether a question of this size brings an event that the peer has: then its "nothing" is
    /// true at this size.
    pub(super) fn found_of_size(&mut self, finding: Finding, size: Size, limits: &mut PeerLimits) {
        if finding == Finding::Something {
            let is_first = limits.given.is_empty();
            limits.given.add(size);
            limits.sizes.answered(size);
            let fits = |query: &mut PagedQuery| size_of(query).fits(&size);
            let believed: Vec<PagedQuery> = self.doubtful.extract_if(.., fits).collect();
            for (at, query) in believed.into_iter().enumerate() {
                // Some relays answer the very first question before they are ready.
                if is_first && at == 0 {
                    self.waiting.push_front(fresh(query.query(), limits));
                } else {
                    self.complete(query, limits);
                }
            }
        } else {
            self.control = self.sample.map(|sample| Control::of_sample_again(size, &sample));
        }
    }

    /// Whether that event is still there.
    pub(super) fn found_again(&mut self, finding: Finding, size: Size, limits: &mut PeerLimits) {
        if finding != Finding::Something {
            self.sample = None;
            self.lost_samples += 1;
            return;
        }
        limits.says_nothing = SaysNothing::Falsely;
        self.refuse_doubtful(size, limits);
    }

    /// What was asked at this size and answered with nothing is asked again, smaller.
    pub(super) fn refuse_doubtful(&mut self, size: Size, limits: &mut PeerLimits) {
        let is_as_large = |query: &mut PagedQuery| size.fits(&size_of(query));
        let refused: Vec<PagedQuery> = self.doubtful.extract_if(.., is_as_large).collect();
        for query in refused {
            let size = size_of(&query);
            self.nothing_is_no_answer(query, size, limits);
        }
    }

    /// Whatever was answered with nothing is asked again, smaller.
    pub(super) fn refuse_all_doubtful(&mut self, limits: &mut PeerLimits) {
        limits.says_nothing = SaysNothing::Falsely;
        for query in std::mem::take(&mut self.doubtful) {
            let size = size_of(&query);
            self.nothing_is_no_answer(query, size, limits);
        }
    }

    pub(super) fn found_of_order(&mut self, finding: Finding, limits: &mut PeerLimits) {
        let held = std::mem::take(&mut self.held);
        // It was asked about the first of them.
        let size = held.first().map(|page| page.size);
        let finding = match (finding, limits.order) {
            (Finding::OldestFirst, Order::NewestFirst) => return self.turn_round(held, limits),
            (Finding::NewestFirst, Order::NewestFirst)
            | (Finding::OldestFirst, Order::OldestFirst) => {
                let is_proof = held.first().is_some_and(|page| page.query.proves_order());
                size.filter(|_| is_proof).into_iter().for_each(|size| limits.ordered.add(size));
                // Else it has been found out for this page alone.
                if is_proof { finding } else { Finding::NothingNewer }
            }
            (Finding::NewestFirst, Order::OldestFirst) => Finding::NoOrder,
            (finding, _) => finding,
        };
        for (at, page) in held.into_iter().enumerate() {
            let is_first = at == 0;
            match finding {
                Finding::NothingNewer if is_first => self.end_page(page, limits),
                Finding::NoOrder if is_first => {
                    let reason = GapReason::NoOrder;
                    let refusal =
                        Refusal { reason, is_costly: false, is_denied: false, is_final: false };
                    self.refuse_query(page.query, page.size, &refusal, limits);
                }
                _ if must_know_order(&page, limits) => self.held.push(page),
                _ => self.end_page(page, limits),
            }
        }
    }

    /// The relay gives the oldest first: everything that is not complete is begun anew.
    pub(super) fn turn_round(&mut self, held: Vec<HeldPage>, limits: &mut PeerLimits) {
        limits.order = Order::OldestFirst;
        limits.left_out = LeftOut::default();
        held.iter().for_each(|page| limits.ordered.add(page.size));
        let waiting = std::mem::take(&mut self.waiting);
        let queries = held.into_iter().map(|page| page.query).chain(waiting);
        self.waiting = queries.map(|query| fresh(query.query(), limits)).collect();
    }

    pub(super) fn found_of_nothing(
        &mut self,
        finding: Finding,
        is_last: bool,
        control: &Control,
        limits: &mut PeerLimits,
    ) {
        if finding == Finding::Nothing && self.sample.is_some() {
            // It has something, which has come late.
            return;
        }
        let lists = |filter: &Filter| filter.authors.as_ref().map_or(0, Vec::len);
        let doubtful = std::mem::take(&mut self.doubtful);
        if finding == Finding::Something {
            // It was asked for one event: nothing is known of larger pages.
            let page = limits.sizes.limit(SMALLEST_PAGE_LIMIT as u64);
            let answered = Size::of(control.filter(), page);
            limits.given.add(answered);
            limits.sizes.begin_at(answered);
            self.doubtful = doubtful;
            self.refuse_all_doubtful(limits);
        } else if let Some(query) = doubtful.iter().find(|_| !is_last)
            && lists(control.filter()) > CONTROL_AUTHORS
        {
            self.control = Some(Control::of_nothing(&query.query(), true));
            self.doubtful = doubtful;
        } else {
            limits.says_nothing = SaysNothing::Truly;
            doubtful.iter().for_each(|query| limits.confirmed.add(size_of(query)));
            doubtful.into_iter().for_each(|query| self.complete(query, limits));
        }
    }

    /// A relay that says "nothing" where it has something: a smaller question may be answered.
    pub(super) fn nothing_is_no_answer(
        &mut self,
        query: PagedQuery,
        size: Size,
        limits: &mut PeerLimits,
    ) {
        match limits.sizes.refused(size, false) {
            Refused::Smaller => self.waiting.push_front(fresh(query.query(), limits)),
            Refused::Content => match self.divided(&query.query()) {
                Some(parts) => {
                    parts.into_iter().for_each(|it| self.waiting.push_back(fresh(it, limits)));
                }
                None => self.complete(query, limits),
            },
            Refused::Smallest => self.complete(query, limits),
        }
    }
}

/// The size that it is asked at.
pub(super) fn size_of(query: &PagedQuery) -> Size {
    Size::of(&query.query(), query.limit())
}

/// Whether an answer of nothing to a question of this size is believed: the peer has given
/// something at this size, or there is no smaller question that could tell, or control questions
/// to a peer that has never given anything have found nothing either.
pub(super) fn is_believed(size: Size, limits: &PeerLimits) -> bool {
    let is_empty = limits.says_nothing == SaysNothing::Truly && limits.given.is_empty();
    let is_shown = limits.given.covers_all(size) || limits.confirmed.covers_all(size);
    is_empty || is_shown || size.is_smallest()
}

/// Whether what a page leaves out depends on an order that the peer has not shown yet.
pub(super) fn must_know_order(page: &HeldPage, limits: &PeerLimits) -> bool {
    let HeldPage { query, size, .. } = page;
    if query.is_whole(limits.largest_page) || (limits.ordered.covers(*size) && !query.is_mixed()) {
        return false;
    }
    let is_of_one_second = limits.order == Order::NewestFirst && query.newest().is_some();
    let may_be_cut = query.is_fresh() && query.largest_page() >= 2;
    query.page_order().is_some() || (may_be_cut && is_of_one_second)
}

/// Whether it is to be found out if the peer gives more than so many events at once.
pub(super) fn is_open_question(held: usize, limits: &PeerLimits) -> bool {
    let is_unknown = held >= limits.largest_page.max(SMALLEST_CAP) && held > limits.cap_sought;
    is_unknown && (held as u64) < limits.sizes.limit(limits.page)
}

/// Kinds that relays need not keep (NIP-01).
pub(super) fn is_ephemeral(kind: u64) -> bool {
    (20_000..30_000).contains(&kind)
}
