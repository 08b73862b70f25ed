//! What an answer does not prove by itself, and the control questions that tell: whether "nothing" was
//! true, in which order pages come, and whether a second was cut (`docs/control-questions.md`).

use std::collections::VecDeque;

use super::control::{Control, Finding, Question};
use super::paged_query::{LeftOut, Order, PageOrder, PagedQuery};
use super::refusals::{Refusal, is_private, is_private_kind};
use super::size::{Refused, Size};
use super::{Arrival, HeldPage, Pager, fresh};
use crate::nostr::Outline;
use crate::peer::limits::{
    DOUBTS, LOST_SAMPLES, PUBLISHED_LATE, SMALLEST_CAP, SMALLEST_PAGE_LIMIT,
};
use crate::peer::outcome::GapReason;
use crate::peer::peer_limits::{PeerLimits, SaysNothing};

impl Pager {
    /// Questions about what is held or doubted, once nothing else is open. They are asked together.
    pub(super) fn next_controls(&mut self, limits: &PeerLimits) -> VecDeque<Control> {
        if let Some(control) = self.held.first().and_then(|held| self.about_order(held, limits)) {
            return [control].into();
        }
        let has_ended = self.waiting.is_empty() && self.open.is_empty();
        let most = if limits.sizes.is_settled() { DOUBTS } else { 1 };
        if !has_ended && self.doubtful.len() < most {
            return VecDeque::new();
        }
        let believed = |query: &mut PagedQuery| is_believed(size_of(query), limits);
        let believed: Vec<PagedQuery> = self.doubtful.extract_if(.., believed).collect();
        believed.into_iter().for_each(|query| self.complete(query, limits));
        if let Some(doubted) = self.most_doubted() {
            return self.about_nothing(doubted);
        }
        if !has_ended {
            return VecDeque::new();
        }
        let Some(most) = self.dense.iter().map(PagedQuery::doubted).max() else {
            return VecDeque::new();
        };
        if is_open_question(most, limits) {
            return [Control::of_cap(most)].into();
        }
        // Meanwhile a larger page has come.
        let dense = std::mem::take(&mut self.dense);
        dense.into_iter().for_each(|query| self.complete(query, limits));
        VecDeque::new()
    }

    /// Whether a page that may have been cut leaves out anything nearer than what it holds: one that
    /// shows an order by itself tells it of all that are asked for like it.
    fn about_order(&self, held: &HeldPage, limits: &PeerLimits) -> Option<Control> {
        let (query, page) = (&held.query, held.query.page_order()?);
        let is_proof = query.proves_order() && !limits.ordered.covers(held.size);
        Some(match is_proof {
            true => Control::of_first(page, query.asked()),
            false => self.about_page(query, page),
        })
    }

    fn about_page(&self, query: &PagedQuery, page: PageOrder) -> Control {
        let nearer = query.nearer(self.began.saturating_sub(PUBLISHED_LATE));
        Control::of_nearer(page, nearer, query.limit())
    }

    /// Whether it is true that there is nothing: a question of the same size about something that
    /// the peer has tells that, and as long as nothing is known, it is asked for anything.
    fn about_nothing(&self, doubted: &PagedQuery) -> VecDeque<Control> {
        let query = doubted.query();
        if let Some(sample) = &self.sample {
            return [Control::of_size(&query, doubted.limit(), sample)].into();
        }
        let mut controls = VecDeque::new();
        if self.lost_samples <= LOST_SAMPLES {
            controls.extend([Control::of_sample(self.until), Control::of_recent(self.until)]);
            controls.extend(Control::of_few_authors(&query));
        }
        controls.push_back(Control::of_nothing(&query));
        controls
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

    /// What was answered with nothing although this matches it was no answer.
    fn note_contradiction(&mut self, event: &Outline) {
        let Outline { id, pubkey, kind, created_at } = event;
        // What is published meanwhile shows nothing.
        if created_at.saturating_add(PUBLISHED_LATE) < self.began {
            let is_of = |query: &PagedQuery| query.query().matches(id, pubkey, *kind, *created_at);
            self.has_lied |= self.doubtful.iter().any(is_of);
        }
    }

    /// An event that a control question has brought; `None`: it was not asked for.
    pub(super) fn event_of_control(
        &mut self,
        question: Option<Question>,
        event: &Outline,
    ) -> Arrival {
        match question {
            None => Arrival::Unasked,
            Some(Question::Sample | Question::Part) => {
                self.note_sample(event);
                self.note_contradiction(event);
                Arrival::Repeated
            }
            Some(Question::Nearer { .. }) if !self.is_held(event) => Arrival::New,
            Some(Question::Nothing) => Arrival::New,
            // What comes only to show something is not taken: nobody has asked for it.
            Some(_) => Arrival::Repeated,
        }
    }

    /// Whether the page that is asked about holds this event.
    pub(super) fn is_held(&self, event: &Outline) -> bool {
        self.held.first().is_some_and(|held| held.query.knows(&event.id))
    }

    /// The answer to a control question has ended.
    pub(super) fn end_control(
        &mut self,
        subscription: &str,
        control: Control,
        limits: &mut PeerLimits,
    ) {
        self.outcome.pages += u64::from(control.question != Question::Flush);
        if control.question == Question::Flush {
            return self.flushed(limits);
        }
        let finding = control.end(limits.largest_page);
        limits.largest_page = limits.largest_page.max(control.came());
        let is_nothing = finding == Finding::Nothing && control.is_about_nothing();
        if is_nothing || self.may_come_late(&control) {
            self.empty_controls.push((subscription.to_owned(), control));
        } else {
            self.found(finding, &control, limits);
        }
        self.look_at_empty_controls(limits);
    }

    /// Whether it is to be waited for what comes after the end of this answer.
    fn may_come_late(&self, control: &Control) -> bool {
        control.is_empty()
            && match control.question {
                Question::Flush | Question::Cap { .. } => false,
                Question::First(_) | Question::Nearer { .. } => self.has_been_late,
                _ => true,
            }
    }

    /// Control questions that have ended with nothing, once all that were asked together have ended.
    pub(super) fn look_at_empty_controls(&mut self, limits: &mut PeerLimits) {
        if !self.controls.is_empty() || self.is_control_open() {
            return;
        }
        if self.sample.is_some() {
            let about_nothing =
                self.empty_controls.extract_if(.., |(_, control)| control.is_about_nothing());
            // It has something, and has said that there is nothing at all.
            let is_a_lie = |control: &Control| {
                control.question == Question::Sample && control.end(0) == Finding::Nothing
            };
            self.has_lied |= about_nothing.filter(|(_, it)| is_a_lie(it)).count() > 0;
        }
        if std::mem::take(&mut self.has_lied) {
            self.disbelieved = Some(GapReason::SaysNothing);
            self.refuse_all_doubtful(limits);
        }
        if !self.empty_controls.is_empty() {
            self.flush();
        }
    }

    /// What the peer has sent late has come.
    pub(super) fn flushed(&mut self, limits: &mut PeerLimits) {
        let ended = std::mem::take(&mut self.empty_controls);
        let is_about_nothing = ended.iter().any(|(_, control)| control.is_about_nothing());
        let has_strayed = ended.iter().any(|(_, control)| control.has_strayed());
        for (_, control) in ended {
            let finding = control.end(limits.largest_page);
            limits.largest_page = limits.largest_page.max(control.came());
            self.found(finding, &control, limits);
        }
        if is_about_nothing && self.sample.is_none() && has_strayed {
            // What it gives in place of an answer may hide one.
            let doubtful = std::mem::take(&mut self.doubtful);
            self.end_with_gaps(doubtful, &GapReason::IgnoresFilter, limits.largest_page);
        } else if is_about_nothing
            && self.sample.is_none()
            && let Some(reason) = self.disbelieved.clone()
        {
            // What it has been seen to have cannot tell any more whether it says so again.
            let doubtful = std::mem::take(&mut self.doubtful);
            self.end_with_gaps(doubtful, &reason, limits.largest_page);
        } else if is_about_nothing && self.sample.is_none() && !self.doubtful.is_empty() {
            limits.says_nothing = SaysNothing::Truly;
            for query in std::mem::take(&mut self.doubtful) {
                limits.confirmed.add(size_of(&query));
                self.complete(query, limits);
            }
        }
    }

    /// What a control question has found.
    pub(super) fn found(&mut self, finding: Finding, control: &Control, limits: &mut PeerLimits) {
        match control.question {
            // What they have brought is noted already.
            Question::Flush | Question::Sample | Question::Part => {}
            Question::Nothing if finding == Finding::Something => {
                // It was asked for one event: nothing is known of larger pages.
                let page = limits.sizes.limit(SMALLEST_PAGE_LIMIT as u64);
                let answered = Size::of(control.filter(), page);
                limits.given.add(answered);
                limits.sizes.begin_at(answered);
                self.refuse_all_doubtful(limits);
            }
            Question::Nothing => {}
            Question::Cap { held } => {
                if finding == Finding::Nothing {
                    limits.cap_sought = limits.cap_sought.max(held);
                }
            }
            Question::Sized(size) => self.found_of_size(finding, size, limits),
            Question::Again { size, .. } => self.found_again(finding, size, limits),
            Question::First(page) => self.found_of_first(finding, page, limits),
            Question::Nearer { page, .. } => match finding {
                Finding::Unsure => self.controls.push_back(control.stricter(page)),
                Finding::NothingNearer => self.end_held_page(limits),
                // Is it the other way round?
                _ if page.may_be_reversed && limits.order == Order::NewestFirst => {
                    let first = self.held.first();
                    let control = first.map(|it| Control::of_first(page, it.query.asked()));
                    self.controls.extend(control);
                }
                _ => self.refuse_held_page(limits),
            },
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
            self.ask_for_sample_again(size, true);
        }
    }

    /// A question of this size has not brought the event that the peer has.
    pub(super) fn ask_for_sample_again(&mut self, size: Size, was_answered: bool) {
        let again = |sample| Control::of_sample_again(size, was_answered, &sample);
        self.controls.extend(self.sample.map(again));
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

    /// Which event the peer gives first of what a page was asked for.
    fn found_of_first(&mut self, finding: Finding, page: PageOrder, limits: &mut PeerLimits) {
        let Some(first) = self.held.first() else { return };
        match finding {
            Finding::Reversed if page.may_be_reversed && limits.order == Order::NewestFirst => {
                self.turn_round(limits);
            }
            Finding::InOrder if first.query.proves_order() => {
                limits.ordered.add(first.size);
                let held = std::mem::take(&mut self.held);
                let ends = |page: &HeldPage| !must_know_order(page, limits);
                let (ended, held): (Vec<_>, Vec<_>) = held.into_iter().partition(ends);
                self.held = held;
                ended.into_iter().for_each(|page| self.end_page(page, limits));
            }
            // What it shows is doubtful, and still the page may leave out nothing.
            _ if !page.may_be_reversed => {
                let control = self.about_page(&first.query, page);
                self.controls.push_back(control);
            }
            _ => self.refuse_held_page(limits),
        }
    }

    /// The page that was asked about leaves out nothing that is nearer than what it holds.
    fn end_held_page(&mut self, limits: &mut PeerLimits) {
        if !self.held.is_empty() {
            let page = self.held.remove(0);
            self.end_page(page, limits);
        }
    }

    /// It may leave out anything.
    fn refuse_held_page(&mut self, limits: &mut PeerLimits) {
        if !self.held.is_empty() {
            let HeldPage { query, size, .. } = self.held.remove(0);
            let reason = GapReason::NoOrder;
            let refusal = Refusal { reason, is_costly: false, is_denied: false, is_final: false };
            self.refuse_query(query, size, &refusal, limits);
        }
    }

    /// The relay gives the oldest first: everything that is not complete is begun anew.
    fn turn_round(&mut self, limits: &mut PeerLimits) {
        limits.order = Order::OldestFirst;
        limits.left_out = LeftOut::default();
        let held = std::mem::take(&mut self.held);
        let waiting = std::mem::take(&mut self.waiting);
        let queries = held.into_iter().map(|page| page.query).chain(waiting);
        self.waiting = queries.map(|query| fresh(query.query(), limits)).collect();
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
    let is_known = limits.ordered.covers(*size) && !query.is_mixed();
    !is_known && !query.is_whole(limits.largest_page) && query.page_order().is_some()
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
