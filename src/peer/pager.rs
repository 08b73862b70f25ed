//! Asking page by page: the queries of one peer that are asked in this way, made as small as the
//! peer wants them, and what came of each.
//!
//! Knows neither comparisons nor ids, and no connection: it says what to send and is told what
//! came. An end is not believed for its own sake (see [`Control`]).

mod control;
pub(super) mod paged_query;
pub(super) mod size;

use std::collections::{HashMap, HashSet, VecDeque};

use super::limits::{
    DOUBTS, EVENTS_IN_ONE_PAGE, GAPS, LOST_SAMPLES, PAGE_IDS, PARALLEL_SUBSCRIPTIONS,
    PUBLISHED_LATE, REFUSALS_IN_A_ROW, SMALLEST_PAGE_LIMIT, SMALLEST_REFUSALS, TIME_PIECES,
};
use super::message;
use super::outcome::{FetchOutcome, Gap, GapReason, Withheld};
use super::peer_limits::{PeerLimits, SaysNothing};
use crate::nostr::{Filter, Outline, kind};
use control::{Control, Finding, Question};
use paged_query::{LeftOut, Novelty, Order, PageEnd, PagedQuery, ShortId, short};
use size::{Refused, Size};

/// The queries of one fetch that are asked page by page.
#[derive(Debug, Default)]
pub(super) struct Pager {
    waiting: VecDeque<PagedQuery>,
    open: Vec<OpenPage>,
    /// Pages that ended a moment ago: what still arrives for them was asked for.
    recent: VecDeque<EndedPage>,
    /// Pages that have come, and whose meaning depends on an order that is not known yet.
    held: Vec<HeldPage>,
    /// Queries that were answered with nothing, which is not believed yet.
    doubtful: Vec<PagedQuery>,
    /// Queries that have ended with a second that may hold more than a page, if the relay does not
    /// give more at once.
    dense: Vec<PagedQuery>,
    /// An event that the peer has.
    sample: Option<Outline>,
    /// How often such an event was not there any more.
    lost_samples: u32,
    control: Option<Control>,
    open_control: Option<(String, Control)>,
    /// A control question whose answer was empty: its events may come after its end.
    empty_control: Option<(String, Control)>,
    /// Events have come after an end.
    has_been_late: bool,
    /// Queries that have ended with nothing, if they are to be asked again once the peer knows us.
    empty: Option<Vec<Filter>>,
    /// A page was empty: its events may come after its end.
    may_be_late: bool,
    refusals: Refusals,
    /// A question that was open alone when the connection ended.
    cut: Option<Filter>,
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
struct OpenPage {
    subscription: String,
    query: PagedQuery,
    size: Size,
}

#[derive(Debug)]
struct HeldPage {
    query: PagedQuery,
    size: Size,
    is_finish: bool,
}

#[derive(Debug)]
struct EndedPage {
    subscription: String,
    filter: Filter,
    known: HashSet<ShortId>,
    /// Events that came after the end.
    late: u64,
    /// They are named already.
    is_named: bool,
}

/// Refusals of the smallest question, and what is concluded from them.
#[derive(Debug, Default)]
struct Refusals {
    by_kind: HashMap<u64, usize>,
    /// Those in a row, without an answer about this kind between them.
    in_a_row: HashMap<u64, usize>,
    /// Kinds that are not asked for any more.
    kinds: HashMap<u64, Refusal>,
    /// Kinds that were in an answered question.
    answered: HashSet<u64>,
}

/// What an event of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    Repeated,
    Unasked,
}

/// Why a peer refuses a question.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) reason: GapReason,
    /// Finding that out took a while, or a connection.
    pub(super) is_costly: bool,
    /// The peer gives it to others, or wants to know who asks.
    pub(super) is_denied: bool,
    /// A smaller question would be refused, too.
    pub(super) is_final: bool,
}

impl Pager {
    /// Asks this, after what waits already.
    pub(super) fn add(&mut self, filter: Filter, limits: &PeerLimits) {
        self.waiting.push_back(fresh(filter, limits));
    }

    /// Asks this before what waits already.
    pub(super) fn add_first(&mut self, filter: Filter, limits: &PeerLimits) {
        self.waiting.push_front(fresh(filter, limits));
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && self.open.is_empty()
            && self.held.is_empty()
            && self.doubtful.is_empty()
            && self.dense.is_empty()
            && self.control.is_none()
            && self.open_control.is_none()
    }

    /// Whether it has asked for something that may still arrive after the end that was announced.
    pub(super) fn may_be_late(&self) -> bool {
        self.may_be_late
    }

    /// Asks for nothing, so that what was late has come.
    pub(super) fn flush(&mut self) {
        self.may_be_late = false;
        self.control = Some(Control::flush());
    }

    /// The next request, under this name.
    pub(super) fn next(&mut self, subscription: &str, limits: &mut PeerLimits) -> Option<String> {
        if self.open_control.is_none() && self.control.is_none() {
            self.control = self.next_control(limits);
        }
        if let Some(control) = self.control.take_if(|_| self.open_control.is_none()) {
            let text = message::req(subscription, control.filter());
            self.open_control = Some((subscription.to_owned(), control));
            return Some(text);
        }
        let parallel = if limits.sizes.is_settled() { limits.parallel } else { 1 };
        if self.open_control.is_some() || self.open.len() >= parallel {
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
            self.open.push(OpenPage { subscription: subscription.to_owned(), query, size });
            return Some(text);
        }
        // What ended just now may have been all that a control question waited for.
        let is_doubted =
            self.open.is_empty() && !(self.doubtful.is_empty() && self.dense.is_empty());
        is_doubted.then(|| self.next(subscription, limits)).flatten()
    }

    /// A question about what is held or doubted, once nothing else is open.
    fn next_control(&mut self, limits: &PeerLimits) -> Option<Control> {
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
    fn most_doubted(&self) -> Option<&PagedQuery> {
        self.doubtful.iter().max_by_key(|query| (!is_private(&query.query()), query.lists()))
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
            if self.time_pieces > TIME_PIECES
                && let Some(reason) = self.last_refusal.clone()
            {
                // The next fetch goes on from there.
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

    fn without_refused_kinds(&mut self, mut filter: Filter) -> Option<Filter> {
        let Some(kinds) = filter.kinds.as_mut() else { return Some(filter) };
        let refused: Vec<(u64, Refusal)> = kinds
            .extract_if(.., |kind| self.refusals.kinds.contains_key(kind))
            .filter_map(|kind| Some((kind, self.refusals.kinds.get(&kind)?.clone())))
            .collect();
        let is_left = !kinds.is_empty();
        for (kind, refusal) in refused {
            self.miss(Filter { kinds: Some(vec![kind]), ..filter.clone() }, &refusal);
        }
        is_left.then_some(filter)
    }

    /// Something that came under this name, and claims this.
    pub(super) fn event(
        &mut self,
        subscription: &str,
        event: &Outline,
        limits: &PeerLimits,
        began: u64,
    ) -> Arrival {
        let controls = self.open_control.iter_mut().chain(&mut self.empty_control);
        if let Some((_, control)) = controls.into_iter().find(|(it, _)| it == subscription) {
            let Outline { id, pubkey, kind, created_at } = event;
            if !control.filter().matches(id, pubkey, *kind, *created_at) {
                return Arrival::Unasked;
            }
            control.event(*created_at);
            let is_held = || self.held.first().is_some_and(|held| held.query.knows(id));
            return match control.question {
                Question::Sample => {
                    self.note_sample(event);
                    Arrival::Repeated
                }
                Question::Newer(_) if !is_held() => Arrival::New,
                Question::Nothing { .. } => Arrival::New,
                // What comes only to show something is not taken: nobody has asked for it.
                _ => Arrival::Repeated,
            };
        }

        if let Some(open) = self.open.iter_mut().find(|open| open.subscription == subscription) {
            let novelty = open.query.event(event);
            if novelty.is_some() {
                self.note_sample(event);
            }
            return match novelty {
                Some(Novelty::New) => Arrival::New,
                Some(Novelty::Repeated) => Arrival::Repeated,
                None => Arrival::Unasked,
            };
        }
        self.late_event(subscription, event, limits, began)
    }

    /// The peer has this event. The newest one tells most: least is asked for beside it.
    fn note_sample(&mut self, event: &Outline) {
        let is_newest = self.sample.is_none_or(|sample| sample.created_at < event.created_at);
        if is_newest && !is_private_kind(event.kind) && !is_ephemeral(event.kind) {
            self.sample = Some(*event);
        }
    }

    fn late_event(
        &mut self,
        subscription: &str,
        event: &Outline,
        limits: &PeerLimits,
        began: u64,
    ) -> Arrival {
        let Outline { id, pubkey, kind, created_at } = event;
        let Some(ended) = self.recent.iter_mut().find(|it| it.subscription == subscription) else {
            return Arrival::Unasked;
        };
        if !ended.filter.matches(id, pubkey, *kind, *created_at) {
            return Arrival::Unasked;
        }
        if !ended.known.insert(short(id)) {
            return Arrival::Repeated;
        }
        ended.late += 1;
        if ended.late > limits.page {
            return Arrival::Unasked;
        }
        self.has_been_late = true;
        // What is published meanwhile may come then; of anything else that was no end.
        let is_new = created_at.saturating_add(PUBLISHED_LATE) >= began;
        if !is_new && !std::mem::replace(&mut ended.is_named, true) {
            let filter = ended.filter.clone();
            self.outcome.gaps.push(Gap { filter, reason: GapReason::AfterItsEnd });
            self.may_be_late = true;
        }
        Arrival::New
    }

    /// Something in the place of an event that was not asked for or is none.
    pub(super) fn stray(&mut self, subscription: &str) {
        self.page(subscription).map(PagedQuery::stray);
    }

    /// An event of an open page that is dated later than what is taken; false: there is none.
    pub(super) fn pass(&mut self, subscription: &str) -> bool {
        if let Some((_, control)) = self.open_control.as_mut().filter(|(it, _)| it == subscription)
        {
            control.pass();
            return true;
        }
        self.page(subscription).map(PagedQuery::pass).is_some()
    }

    fn page(&mut self, subscription: &str) -> Option<&mut PagedQuery> {
        let open = self.open.iter_mut().find(|open| open.subscription == subscription);
        open.map(|open| &mut open.query)
    }

    fn take(&mut self, subscription: &str) -> Option<OpenPage> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        Some(self.open.remove(at))
    }

    /// The control question that has been answered: of a flush it is the one before.
    fn flushed(&mut self, control: Control) -> Control {
        let flushed = self.empty_control.take_if(|_| control.question == Question::Flush);
        flushed.map_or(control, |(_, control)| control)
    }

    /// The peer has not given any event: whether it has something of what is doubted is asked.
    fn doubt_all(&mut self) {
        self.control = self.most_doubted().map(|it| Control::of_nothing(&it.query(), true));
    }

    /// Whether it is to be waited for what comes after the end of this answer.
    fn may_come_late(&self, control: &Control) -> bool {
        control.is_empty()
            && match control.question {
                Question::Flush | Question::Cap { .. } => false,
                Question::Order(_) | Question::Newer(_) => self.has_been_late,
                _ => true,
            }
    }

    /// Whether the open page of this name has brought nothing at all.
    pub(super) fn is_empty(&self, subscription: &str) -> bool {
        if let Some((_, control)) = self.open_control.as_ref().filter(|(it, _)| it == subscription)
        {
            return control.is_empty();
        }
        let open = self.open.iter().find(|open| open.subscription == subscription);
        open.is_some_and(|open| open.query.page_is_empty())
    }

    /// Whether a question as large as this one has not been answered yet.
    pub(super) fn is_large(&self, subscription: &str, limits: &PeerLimits) -> bool {
        let is_control = self.open_control.as_ref().is_some_and(|(it, _)| it == subscription);
        let open = self.open.iter().find(|open| open.subscription == subscription);
        is_control || open.is_some_and(|open| limits.sizes.is_larger_than_what_works(open.size))
    }

    /// The relay says that this is all that it gives, and whether it is all that there is.
    pub(super) fn end(&mut self, subscription: &str, is_finish: bool, limits: &mut PeerLimits) {
        if let Some((_, control)) = self.open_control.take_if(|(it, _)| it == subscription) {
            self.outcome.pages += u64::from(control.question != Question::Flush);
            if self.may_come_late(&control) {
                let is_sample = control.question == Question::Sample;
                self.empty_control = Some((subscription.to_owned(), control));
                if is_sample {
                    // It may come while the next question is open.
                    self.doubt_all();
                } else {
                    self.flush();
                }
                return;
            }
            let control = self.flushed(control);
            let finding = control.end(limits.largest_page);
            limits.largest_page = limits.largest_page.max(control.came());
            self.found(finding, &control, limits);
            return;
        }
        let Some(OpenPage { query, size, .. }) = self.take(subscription) else { return };
        self.outcome.pages += 1;
        self.remember(subscription, &query);
        limits.largest_page = limits.largest_page.max(query.largest_page());
        let is_empty = query.page_is_empty();
        self.may_be_late |= is_empty;
        if !is_empty {
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

    fn remember(&mut self, subscription: &str, query: &PagedQuery) {
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
        self.waiting.push_front(query);
    }

    /// What a control question has found.
    fn found(&mut self, finding: Finding, control: &Control, limits: &mut PeerLimits) {
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
    fn found_of_size(&mut self, finding: Finding, size: Size, limits: &mut PeerLimits) {
        if finding == Finding::Something {
            limits.given.add(size);
            limits.sizes.answered(size);
            let fits = |query: &mut PagedQuery| size_of(query).fits(&size);
            let believed: Vec<PagedQuery> = self.doubtful.extract_if(.., fits).collect();
            believed.into_iter().for_each(|query| self.complete(query, limits));
        } else {
            self.control = self.sample.map(|sample| Control::of_sample_again(size, &sample));
        }
    }

    /// Whether that event is still there.
    fn found_again(&mut self, finding: Finding, size: Size, limits: &mut PeerLimits) {
        if finding != Finding::Something {
            self.sample = None;
            self.lost_samples += 1;
            return;
        }
        limits.says_nothing = SaysNothing::Falsely;
        self.refuse_doubtful(size, limits);
    }

    /// What was asked at this size and answered with nothing is asked again, smaller.
    fn refuse_doubtful(&mut self, size: Size, limits: &mut PeerLimits) {
        let is_as_large = |query: &mut PagedQuery| size.fits(&size_of(query));
        let refused: Vec<PagedQuery> = self.doubtful.extract_if(.., is_as_large).collect();
        for query in refused {
            let size = size_of(&query);
            self.nothing_is_no_answer(query, size, limits);
        }
    }

    fn found_of_order(&mut self, finding: Finding, limits: &mut PeerLimits) {
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
    fn turn_round(&mut self, held: Vec<HeldPage>, limits: &mut PeerLimits) {
        limits.order = Order::OldestFirst;
        limits.left_out = LeftOut::default();
        held.iter().for_each(|page| limits.ordered.add(page.size));
        let waiting = std::mem::take(&mut self.waiting);
        let queries = held.into_iter().map(|page| page.query).chain(waiting);
        self.waiting = queries.map(|query| fresh(query.query(), limits)).collect();
    }

    fn found_of_nothing(
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
            limits.says_nothing = SaysNothing::Falsely;
            // It was asked for one event: nothing is known of larger pages.
            let page = limits.sizes.limit(SMALLEST_PAGE_LIMIT as u64);
            let answered = Size::of(control.filter(), page);
            limits.given.add(answered);
            limits.sizes.begin_at(answered);
            for query in doubtful {
                let size = size_of(&query);
                self.nothing_is_no_answer(query, size, limits);
            }
        } else if let Some(query) = doubtful.iter().find(|_| !is_last)
            && lists(control.filter()) > super::limits::CONTROL_AUTHORS
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
    fn nothing_is_no_answer(&mut self, query: PagedQuery, size: Size, limits: &mut PeerLimits) {
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

    /// The peer refuses what was asked under this name.
    pub(super) fn refused(
        &mut self,
        subscription: &str,
        refusal: &Refusal,
        limits: &mut PeerLimits,
    ) {
        if let Some((_, control)) = self.open_control.take_if(|(it, _)| it == subscription) {
            if control.question == Question::Flush {
                let control = self.flushed(control);
                let finding = control.end(limits.largest_page);
                return self.found(finding, &control, limits);
            }
            let finding = match control.question {
                Question::Order(_) | Question::Newer(_) => Finding::NoOrder,
                // What is refused is not nothing.
                Question::Nothing { .. } if !refusal.is_denied => Finding::Something,
                // It may be refused for the event that it names.
                Question::Sized(_) => Finding::Nothing,
                Question::Sample | Question::Again(_) => {
                    // Whether something is there is to be found out without it.
                    self.lost_samples = LOST_SAMPLES + 1;
                    self.sample = None;
                    return;
                }
                Question::Nothing { .. } | Question::Flush | Question::Cap { .. } => {
                    Finding::Nothing
                }
            };
            self.found(finding, &control, limits);
        } else if let Some(OpenPage { query, size, .. }) = self.take(subscription) {
            self.refuse_query(query, size, refusal, limits);
        }
    }

    fn refuse_query(
        &mut self,
        query: PagedQuery,
        size: Size,
        refusal: &Refusal,
        limits: &mut PeerLimits,
    ) {
        self.last_refusal = Some(refusal.reason.clone());
        let (rest, is_empty) = (query.rest(), query.page_is_empty());
        self.outcome.gaps.extend(query.into_gaps(limits.largest_page));
        if refusal.is_denied && is_private(&rest) {
            for kind in rest.kinds.iter().flatten() {
                self.count_refusal(*kind, refusal);
            }
            self.miss(rest, refusal);
            return;
        }
        if refusal.is_final {
            self.outcome.gaps.push(Gap { filter: rest, reason: refusal.reason.clone() });
            return;
        }
        if refusal.is_denied && size.is_of_one_author_and_kind() {
            // Who may not ask for this may not ask for less of it either.
            self.note_refusal(rest, refusal, limits);
            return;
        }
        let is_one_of_each = limits.sizes.nothing_works() && size.is_of_one_author_and_kind();
        match limits.sizes.refused(size, refusal.is_costly) {
            // What takes its time for one author and one kind is not asked many times.
            Refused::Smaller if is_one_of_each && refusal.is_costly && is_empty => {
                self.note_refusal(rest, refusal, limits);
            }
            Refused::Smaller => self.waiting.push_front(fresh(rest, limits)),
            Refused::Content => match self.divided(&rest) {
                // What is not refused comes first.
                Some(parts) => {
                    parts.into_iter().for_each(|it| self.waiting.push_back(fresh(it, limits)));
                }
                None => self.note_refusal(rest, refusal, limits),
            },
            Refused::Smallest => self.note_refusal(rest, refusal, limits),
        }
    }

    /// Parts of a question that is refused for something that it names. Whether a kind is refused
    /// whoever its author is shows at a few of them.
    fn divided(&self, filter: &Filter) -> Option<Vec<Filter>> {
        let kinds = filter.kinds.as_deref().unwrap_or_default();
        if let Some(parts) = halves(kinds) {
            let of = |kinds| Filter { kinds: Some(kinds), ..filter.clone() };
            return Some(parts.map(of).into());
        }
        let authors = filter.authors.as_deref()?;
        let is_known = kinds.iter().all(|kind| self.refusals.answered.contains(kind));
        let (first, second) = authors.split_at_checked(SMALLEST_REFUSALS).unzip();
        let parts: Vec<Vec<_>> = match (first, second) {
            (Some(first), Some(others)) if !is_known && !others.is_empty() => {
                first.iter().map(|author| vec![*author]).chain([others.to_vec()]).collect()
            }
            _ => halves(authors)?.into(),
        };
        let of = |authors| Filter { authors: Some(authors), ..filter.clone() };
        Some(parts.into_iter().map(of).collect())
    }

    /// The connection has ended while this was open alone: whether that has happened to this question
    /// before. Once may have had any reason.
    pub(super) fn is_cut_again(&mut self, subscription: &str) -> bool {
        let control = self.open_control.as_ref().filter(|(it, _)| it == subscription);
        let page = self.open.iter().find(|open| open.subscription == subscription);
        let asked = control.map(|it| it.1.filter()).or(page.map(|open| open.query.asked()));
        let Some(asked) = asked.cloned() else { return false };
        let is_again = self.cut.as_ref() == Some(&asked);
        self.cut = Some(asked);
        is_again
    }

    /// The smallest question was refused.
    fn note_refusal(&mut self, filter: Filter, refusal: &Refusal, limits: &PeerLimits) {
        let reason = &refusal.reason;
        let kind = filter.kinds.as_ref().and_then(|kinds| kinds.first()).copied();
        let lists = (filter.authors.clone(), filter.kinds.clone());
        self.outcome.gaps.push(Gap { filter, reason: reason.clone() });
        let Some(kind) = kind else { return };
        self.count_refusal(kind, refusal);
        let in_a_row = self.refusals.in_a_row.entry(kind).or_default();
        *in_a_row += 1;
        if *in_a_row >= REFUSALS_IN_A_ROW {
            // The rest of the time is not asked for in vain, piece by piece.
            let is_rest = |query: &PagedQuery| {
                let query = query.query();
                (query.authors, query.kinds) == lists
            };
            let waiting = std::mem::take(&mut self.waiting);
            let (rest, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_rest);
            self.waiting = others.into();
            self.end_with_gaps(rest, reason, limits.largest_page);
        }
        let all: usize = self.refusals.by_kind.values().sum();
        if limits.sizes.nothing_works() && all >= SMALLEST_REFUSALS {
            // Whether it has nothing of what it has not refused is still to be found out.
            let refused = std::mem::take(&mut self.waiting);
            self.end_with_gaps(refused, reason, limits.largest_page);
        }
    }

    /// A question for this kind was refused, and there is no smaller one.
    fn count_refusal(&mut self, kind: u64, refusal: &Refusal) {
        let count = self.refusals.by_kind.entry(kind).or_default();
        *count += 1;
        if *count >= SMALLEST_REFUSALS && !self.refusals.answered.contains(&kind) {
            self.refusals.kinds.insert(kind, refusal.clone());
        }
    }

    /// This is not given.
    fn miss(&mut self, filter: Filter, refusal: &Refusal) {
        if refusal.is_denied && is_private(&filter) {
            let reason = refusal.reason.to_string();
            self.outcome.withheld.push(Withheld { filter, reason });
        } else {
            self.outcome.gaps.push(Gap { filter, reason: refusal.reason.clone() });
        }
    }

    /// What is open under this name is asked again, after all that waits.
    pub(super) fn put_back(&mut self, subscription: &str) {
        if let Some((_, control)) = self.open_control.take_if(|(it, _)| it == subscription) {
            self.control = Some(control);
        } else if let Some(open) = self.take(subscription) {
            self.waiting.push_back(open.query);
        }
    }

    /// After the connection has ended nothing arrives any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// Nothing more is asked.
    pub(super) fn give_up(&mut self, reason: &GapReason, limits: &PeerLimits) {
        let open = std::mem::take(&mut self.open).into_iter().map(|open| open.query);
        let held = std::mem::take(&mut self.held).into_iter().map(|page| page.query);
        let doubtful = std::mem::take(&mut self.doubtful);
        let waiting = std::mem::take(&mut self.waiting);
        let all: Vec<PagedQuery> = open.chain(held).chain(doubtful).chain(waiting).collect();
        self.end_with_gaps(all, reason, limits.largest_page);
        for query in std::mem::take(&mut self.dense) {
            self.finish(query, limits.largest_page);
        }
        (self.control, self.open_control, self.empty_control) = (None, None, None);
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

    /// Whether what ends with nothing from now on is remembered: the peer may give more to those it
    /// knows.
    pub(super) fn remember_empty(&mut self, is_unknown: bool) {
        match is_unknown {
            true => drop(self.empty.get_or_insert_default()),
            false => self.empty = None,
        }
    }

    /// What has ended with nothing is asked again: the peer may have hidden it.
    pub(super) fn ask_empty_again(&mut self, limits: &mut PeerLimits) {
        limits.says_nothing = SaysNothing::NotKnown;
        let doubtful = std::mem::take(&mut self.doubtful);
        self.waiting.extend(doubtful.into_iter().map(|query| fresh(query.query(), limits)));
        for filter in self.empty.iter_mut().flat_map(std::mem::take) {
            self.answered.retain(|answered| *answered != filter);
            self.waiting.push_back(fresh(filter, limits));
        }
    }

    fn finish(&mut self, query: PagedQuery, largest: usize) {
        self.ended += 1;
        let filter = query.query();
        if let Some(empty) = self.empty.as_mut().filter(|_| query.largest_page() == 0) {
            empty.push(filter.clone());
        }
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
        let is_endless = |(_, control): &(String, Control)| control.came() > EVENTS_IN_ONE_PAGE;
        self.outcome.gaps.len() > GAPS
            || self.open.iter().any(|open| open.query.is_flooded())
            || self.open_control.as_ref().is_some_and(is_endless)
    }

    /// How many ids its queries keep.
    pub(super) fn ids(&self) -> usize {
        let open = self.open.iter().map(|open| &open.query);
        let held = self.held.iter().map(|page| &page.query);
        self.waiting.iter().chain(open).chain(held).map(PagedQuery::ids).sum()
    }
}

fn fresh(filter: Filter, limits: &PeerLimits) -> PagedQuery {
    PagedQuery::new(filter, limits.sizes.limit(limits.page), limits.order)
}

/// The size that it is asked at.
fn size_of(query: &PagedQuery) -> Size {
    Size::of(&query.query(), query.limit())
}

/// Whether an answer of nothing to a question of this size is believed: the peer has given
/// something at this size, or there is no smaller question that could tell, or control questions
/// to a peer that has never given anything have found nothing either.
fn is_believed(size: Size, limits: &PeerLimits) -> bool {
    let is_empty = limits.says_nothing == SaysNothing::Truly && limits.given.is_empty();
    let is_shown = limits.given.covers_all(size) || limits.confirmed.covers_all(size);
    is_empty || is_shown || size.is_smallest()
}

/// Whether what a page leaves out depends on an order that the peer has not shown yet.
fn must_know_order(page: &HeldPage, limits: &PeerLimits) -> bool {
    let HeldPage { query, size, .. } = page;
    if query.is_whole(limits.largest_page) || (limits.ordered.covers(*size) && !query.is_mixed()) {
        return false;
    }
    let is_of_one_second = limits.order == Order::NewestFirst && query.newest().is_some();
    let may_be_cut = query.is_fresh() && query.largest_page() >= 2;
    query.page_order().is_some() || (may_be_cut && is_of_one_second)
}

/// Whether it is to be found out if the peer gives more than so many events at once.
fn is_open_question(held: usize, limits: &PeerLimits) -> bool {
    let is_unknown = held >= limits.largest_page.max(1) && held > limits.cap_sought;
    is_unknown && (held as u64) < limits.sizes.limit(limits.page)
}

/// Kinds that relays may give to those alone whom they concern.
pub(super) fn is_private(filter: &Filter) -> bool {
    let is_private = |kind: &u64| is_private_kind(*kind);
    filter.kinds.as_ref().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(is_private))
}

fn is_private_kind(kind: u64) -> bool {
    [kind::DIRECT_MESSAGE, kind::GIFT_WRAP].contains(&kind)
}

/// Kinds that relays need not keep (NIP-01).
fn is_ephemeral(kind: u64) -> bool {
    (20_000..30_000).contains(&kind)
}

fn halves<T: Clone>(items: &[T]) -> Option<[Vec<T>; 2]> {
    let (left, right) = items.split_at(items.len() / 2);
    (!left.is_empty()).then(|| [left.to_vec(), right.to_vec()])
}

#[cfg(test)]
pub(super) mod tests;
