//! Asking page by page: the queries of one peer that are asked in this way, made as small as the
//! peer wants them, and what came of each.
//!
//! Knows neither comparisons nor ids, and no connection: it says what to send and is told what
//! came. An end is not believed for its own sake (see [`Control`]).

mod control;
mod doubts;
mod late;
pub(super) mod paged_query;
mod refusals;
pub(super) mod size;

use std::collections::VecDeque;

use super::limits::{EVENTS_IN_ONE_PAGE, GAPS, TIME_PIECES};
use super::message;
use super::outcome::{FetchOutcome, Gap, GapReason};
use super::peer_limits::PeerLimits;
use crate::nostr::{Filter, Outline};
use control::Control;
use doubts::{is_believed, is_open_question, must_know_order};
use late::EndedPage;
use paged_query::{LeftOut, Novelty, PageEnd, PagedQuery};
use refusals::Refusals;
pub(super) use refusals::{Refusal, is_private};
use size::Size;

/// The queries of one fetch that are asked page by page.
#[derive(Debug, Default)]
pub(super) struct Pager {
    /// Seconds since 1970: when the fetch began.
    began: u64,
    waiting: VecDeque<PagedQuery>,
    open: Vec<Open>,
    /// Pages that ended a moment ago: what still arrives for them was asked for.
    recent: VecDeque<EndedPage>,
    /// Pages that have come, and whose meaning depends on an order that is not known yet.
    held: Vec<HeldPage>,
    /// Queries that were answered with nothing, which is not believed yet.
    doubtful: Vec<PagedQuery>,
    /// Queries that have ended with a second that may hold more than a page, if the relay does not
    /// give more at once.
    dense: Vec<PagedQuery>,
    /// The last second that any query asks for.
    until: Option<u64>,
    /// An event that the peer has.
    sample: Option<Outline>,
    /// What a control question has brought shows that "nothing" was not true.
    has_lied: bool,
    /// Why "nothing" is not believed any more in this fetch while nothing is known that the peer has.
    disbelieved: Option<GapReason>,
    /// How often such an event was not there any more.
    lost_samples: u32,
    /// Control questions to ask.
    controls: VecDeque<Control>,
    /// Those whose answer was empty: its events may come after its end.
    empty_controls: Vec<(String, Control)>,
    /// Events have come after an end.
    has_been_late: bool,
    /// What was answered with nothing, and of which query it is, if that is to be asked again once
    /// the peer knows us.
    empty: Option<Vec<(Filter, Filter)>>,
    /// How often that has been done.
    asked_again: u32,
    /// A page was empty: its events may come after its end.
    may_be_late: bool,
    refusals: Refusals,
    /// Connections that ended while a question was open alone, since something came. An answer of
    /// nothing may come from a relay that does not know us, in each connection again.
    cuts: u32,
    /// Time has been found to be what the peer refuses.
    has_divided_time: bool,
    /// Questions that were asked while time was divided.
    time_pieces: usize,
    /// Why the last question was refused that was.
    last_refusal: Option<GapReason>,
    /// Pieces into which queries were divided since somebody looked.
    pieces: usize,
    /// How many queries have ended since somebody looked.
    ended: usize,
    /// What was answered to the end since somebody looked.
    pub(super) answered: Vec<Filter>,
    /// What came of the queries that have ended.
    pub(super) outcome: FetchOutcome,
}

#[derive(Debug)]
struct Open {
    subscription: String,
    asked: Asked,
}

/// What a peer was asked.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few questions are open at once")]
enum Asked {
    Control(Control),
    Page { query: PagedQuery, size: Size },
}

impl Asked {
    fn query(&self) -> Option<&PagedQuery> {
        match self {
            Self::Page { query, .. } => Some(query),
            Self::Control(_) => None,
        }
    }

    fn into_query(self) -> Option<PagedQuery> {
        match self {
            Self::Page { query, .. } => Some(query),
            Self::Control(_) => None,
        }
    }
}

#[derive(Debug)]
struct HeldPage {
    query: PagedQuery,
    size: Size,
    is_finish: bool,
}

/// What an event of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    Repeated,
    Unasked,
}

impl Pager {
    /// For a fetch that has begun then, seconds since 1970.
    pub(super) fn new(began: u64) -> Self {
        Self { began, ..Self::default() }
    }

    /// Asks this, after what waits already.
    pub(super) fn add(&mut self, filter: Filter, limits: &PeerLimits) {
        self.until = self.until.max(filter.until);
        self.waiting.push_back(fresh(filter, limits));
    }

    /// Asks this before what waits already.
    pub(super) fn add_first(&mut self, filter: Filter, limits: &PeerLimits) {
        self.until = self.until.max(filter.until);
        self.waiting.push_front(fresh(filter, limits));
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && self.open.is_empty()
            && self.held.is_empty()
            && self.doubtful.is_empty()
            && self.dense.is_empty()
            && self.controls.is_empty()
    }

    /// The next request, under this name.
    pub(super) fn next(&mut self, subscription: &str, limits: &mut PeerLimits) -> Option<String> {
        if self.controls.is_empty() {
            if self.is_control_open() {
                return None;
            }
            self.controls = self.next_controls(limits);
        }
        if let Some(control) = self.controls.pop_front() {
            let text = message::req(subscription, control.filter());
            self.note_open(subscription, Asked::Control(control));
            return Some(text);
        }
        let parallel = if limits.sizes.is_settled() { limits.parallel } else { 1 };
        if self.open.len() >= parallel {
            return None;
        }
        while let Some(query) = self.waiting.pop_front() {
            let Some(mut query) = self.made_fit(query, limits) else { continue };
            let Some(filter) = query.next(limits.left_out) else {
                self.complete(query, limits);
                continue;
            };
            let size = Size::of(&query.query(), filter.limit.unwrap_or(0));
            let text = message::req(subscription, &filter);
            self.note_open(subscription, Asked::Page { query, size });
            return Some(text);
        }
        // What ended just now may have been all that a control question waited for.
        let is_doubted =
            self.open.is_empty() && !(self.doubtful.is_empty() && self.dense.is_empty());
        is_doubted.then(|| self.next(subscription, limits)).flatten()
    }

    fn note_open(&mut self, subscription: &str, asked: Asked) {
        self.open.push(Open { subscription: subscription.to_owned(), asked });
    }

    /// The query, or a piece of it that the peer takes; the rest waits. `None`: none of it is asked.
    fn made_fit(&mut self, query: PagedQuery, limits: &mut PeerLimits) -> Option<PagedQuery> {
        if !query.is_fresh() {
            return Some(query);
        }
        let whole = query.query();
        limits.sizes.want(Size::of(&whole, limits.page));
        let asked = self.without_refused_kinds(whole.clone())?;
        if limits.sizes.divides_time() {
            self.time_pieces += 1;
            if self.time_pieces > TIME_PIECES {
                // Also an answer of "nothing" that was not true makes the time smaller. The next fetch
                // goes on from there.
                let reason = self.last_refusal.clone().unwrap_or(GapReason::SaysNothing);
                self.outcome.gaps.push(Gap { filter: asked, reason });
                return None;
            }
        }
        let (piece, rest) = limits.sizes.carve(asked);
        self.pieces += rest.len();
        for part in rest.into_iter().rev() {
            self.waiting.push_front(fresh(part, limits));
        }
        let fits = piece == whole && query.limit() <= limits.sizes.limit(limits.page);
        Some(if fits { query } else { fresh(piece, limits) })
    }

    /// Something that came under this name, and claims this.
    pub(super) fn event(
        &mut self,
        subscription: &str,
        event: &Outline,
        limits: &PeerLimits,
    ) -> Arrival {
        let is_held = self.is_held(event);
        match self.asked_mut(subscription) {
            Some(Asked::Page { query, .. }) => {
                let arrival = match query.event(event) {
                    Some(Novelty::New) => Arrival::New,
                    Some(Novelty::Repeated) => Arrival::Repeated,
                    None => return Arrival::Unasked,
                };
                self.note_sample(event);
                arrival
            }
            Some(Asked::Control(control)) => {
                let question = control.event_of(event, is_held);
                self.event_of_control(question, event)
            }
            None => self.late_event(subscription, event, limits),
        }
    }

    /// Something in the place of an event that was not asked for or is none.
    pub(super) fn stray(&mut self, subscription: &str) {
        match self.asked_mut(subscription) {
            Some(Asked::Page { query, .. }) => query.stray(),
            Some(Asked::Control(control)) => control.pass(),
            None => {}
        }
    }

    /// An event of an open page that is dated later than what is taken; false: there is none.
    pub(super) fn pass(&mut self, subscription: &str) -> bool {
        match self.asked_mut(subscription) {
            Some(Asked::Control(control)) => control.pass(),
            Some(Asked::Page { query, .. }) => query.pass(),
            None => return false,
        }
        true
    }

    /// What is open under this name.
    fn asked(&self, subscription: &str) -> Option<&Asked> {
        self.open.iter().find(|open| open.subscription == subscription).map(|open| &open.asked)
    }

    fn asked_mut(&mut self, subscription: &str) -> Option<&mut Asked> {
        let open = self.open.iter_mut().find(|open| open.subscription == subscription);
        open.map(|open| &mut open.asked)
    }

    /// The same, which is not open any more.
    fn take(&mut self, subscription: &str) -> Option<Asked> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        Some(self.open.remove(at).asked)
    }

    fn is_control_open(&self) -> bool {
        self.open.iter().any(|open| matches!(open.asked, Asked::Control(_)))
    }

    /// Whether what is open under this name has brought nothing at all.
    pub(super) fn is_empty(&self, subscription: &str) -> bool {
        self.asked(subscription).is_some_and(|asked| match asked {
            Asked::Control(control) => control.is_empty(),
            Asked::Page { query, .. } => query.page_is_empty(),
        })
    }

    /// Whether a question as large as this one has not been answered yet.
    pub(super) fn is_large(&self, subscription: &str, limits: &PeerLimits) -> bool {
        self.asked(subscription).is_some_and(|asked| match asked {
            Asked::Control(_) => true,
            Asked::Page { size, .. } => limits.sizes.is_larger_than_what_works(*size),
        })
    }

    /// The relay says that this is all that it gives, and whether it is all that there is.
    pub(super) fn end(&mut self, subscription: &str, is_finish: bool, limits: &mut PeerLimits) {
        let (query, size) = match self.take(subscription) {
            Some(Asked::Page { query, size }) => (query, size),
            Some(Asked::Control(control)) => {
                return self.end_control(subscription, control, limits);
            }
            None => return,
        };
        self.outcome.pages += 1;
        self.remember(subscription, &query);
        limits.largest_page = limits.largest_page.max(query.largest_page());
        let is_empty = query.page_is_empty();
        self.may_be_late |= is_empty;
        if let Some(empty) = self.empty.as_mut().filter(|_| is_empty) {
            empty.push((query.rest(), query.query()));
        }
        if !is_empty {
            self.cuts = 0;
            limits.given.add(size);
        } else if query.is_fresh() && !is_finish && !is_believed(size, limits) {
            self.ended += 1;
            self.doubtful.push(query);
            return;
        }
        let page = HeldPage { query, size, is_finish };
        if !is_finish && must_know_order(&page, limits) {
            self.held.push(page);
        } else {
            self.end_page(page, limits);
        }
    }

    fn end_page(&mut self, page: HeldPage, limits: &mut PeerLimits) {
        let HeldPage { mut query, size, is_finish } = page;
        match query.end_of_page(is_finish, limits.largest_page) {
            PageEnd::GoesOn => {
                for kind in query.query().kinds.iter().flatten() {
                    self.refusals.answered.insert(*kind);
                    self.refusals.in_a_row.remove(kind);
                }
                limits.sizes.answered(size);
            }
            PageEnd::LeavesOut(LeftOut { last, first }) => {
                limits.left_out.last |= last;
                limits.left_out.first |= first;
            }
        }
        if query.has_ended() {
            // Not later: what ends with nothing is known when a challenge comes.
            self.complete(query, limits);
        } else {
            self.waiting.push_front(query);
        }
    }

    /// What is open under this name is asked again, after all that waits.
    pub(super) fn put_back(&mut self, subscription: &str) {
        match self.take(subscription) {
            Some(Asked::Control(control)) => self.controls.push_front(control.again()),
            Some(Asked::Page { query, .. }) => self.waiting.push_back(query),
            None => {}
        }
    }

    /// The same, before all that waits.
    pub(super) fn put_back_first(&mut self, subscription: &str) {
        match self.take(subscription) {
            Some(Asked::Control(control)) => self.controls.push_front(control.again()),
            Some(Asked::Page { query, .. }) => self.waiting.push_front(query),
            None => {}
        }
    }

    /// Nothing more is asked.
    pub(super) fn give_up(&mut self, reason: &GapReason, limits: &PeerLimits) {
        let open =
            std::mem::take(&mut self.open).into_iter().filter_map(|it| it.asked.into_query());
        let held = std::mem::take(&mut self.held).into_iter().map(|page| page.query);
        let doubtful = std::mem::take(&mut self.doubtful);
        let waiting = std::mem::take(&mut self.waiting);
        let all: Vec<PagedQuery> = open.chain(held).chain(doubtful).chain(waiting).collect();
        self.end_with_gaps(all, reason, limits.largest_page);
        for query in std::mem::take(&mut self.dense) {
            self.finish(query, limits.largest_page);
        }
        self.controls.clear();
        self.empty_controls.clear();
    }

    fn end_with_gaps(
        &mut self,
        queries: impl IntoIterator<Item = PagedQuery>,
        reason: &GapReason,
        largest: usize,
    ) {
        for query in queries {
            let filter = query.rest();
            self.outcome.gaps.extend(query.into_gaps(largest));
            self.outcome.gaps.push(Gap { filter, reason: reason.clone() });
        }
    }

    /// Into how many more pieces queries were divided since this was called last.
    pub(super) fn take_pieces(&mut self) -> usize {
        std::mem::take(&mut self.pieces)
    }

    /// How many queries have ended since this was called last.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }

    fn complete(&mut self, query: PagedQuery, limits: &PeerLimits) {
        if is_open_question(query.doubted(), limits) {
            self.dense.push(query);
        } else {
            self.finish(query, limits.largest_page);
        }
    }

    fn finish(&mut self, query: PagedQuery, largest: usize) {
        self.ended += 1;
        let filter = query.query();
        let gaps = query.into_gaps(largest);
        if gaps.is_empty() {
            self.outcome.complete += 1;
            self.answered.push(filter);
        }
        self.outcome.gaps.extend(gaps);
    }

    /// Whether the peer fills the memory: with a page that does not end, or with parts of queries
    /// that cannot be had.
    pub(super) fn is_flooded(&self) -> bool {
        let is_endless = |open: &Open| match &open.asked {
            Asked::Control(control) => control.came() > EVENTS_IN_ONE_PAGE,
            Asked::Page { query, .. } => query.is_flooded(),
        };
        self.outcome.gaps.len() > GAPS || self.open.iter().any(is_endless)
    }

    /// How many ids its queries keep.
    pub(super) fn ids(&self) -> usize {
        let open = self.open.iter().filter_map(|open| open.asked.query());
        let held = self.held.iter().map(|page| &page.query);
        self.waiting.iter().chain(open).chain(held).map(PagedQuery::ids).sum()
    }
}

fn fresh(filter: Filter, limits: &PeerLimits) -> PagedQuery {
    PagedQuery::new(filter, limits.sizes.limit(limits.page), limits.order)
}

#[cfg(test)]
pub(super) mod tests;
