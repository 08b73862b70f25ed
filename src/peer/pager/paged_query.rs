//! Asking one query to its end, page by page, of a relay whose page limit is not known.
//!
//! Pure: says what to ask next and is told what came. A relay cuts its answer at a limit of its
//! own and gives the newest first, so each next page reaches up to the oldest second seen,
//! inclusive, because the cut may have been in the middle of that second. The query has ended
//! when nothing new comes and nothing older exists.
//!
//! Of a relay that gives the oldest first the same is asked with time turned round: inside, each
//! second is as far from the end of time as it is from its beginning outside.

mod page;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::nostr::{EventId, Filter, Outline, Pubkey};
use crate::peer::limits::{
    EVENTS_IN_ONE_PAGE, FALLS, PAGES_IN_ONE_SECOND, SMALLEST_CAP, SMALLEST_PAGE_LIMIT,
};
use crate::peer::outcome::{Gap, GapReason};
use page::Page;
pub(super) use page::{PageEnd, PageOrder};

/// A quarter of an id's length. Whoever makes up an event that shares it with another one hides only
/// an event of its own.
pub(super) type ShortId = u64;

pub(super) fn short(id: &EventId) -> ShortId {
    // All of it counts, in case that a relay makes up ids that differ in a few bytes only.
    id.as_bytes().as_chunks::<8>().0.iter().fold(0, |short: ShortId, part| {
        (short.rotate_left(5) ^ ShortId::from_ne_bytes(*part)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// What to do with an event of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    New,
    Repeated,
}

/// Which events a relay gives when it does not give all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::peer) enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

impl Order {
    /// A second as it is inside, or the other way round.
    pub(super) fn turn(self, second: u64) -> u64 {
        match self {
            Self::NewestFirst => second,
            Self::OldestFirst => u64::MAX - second,
        }
    }

    /// A filter as it is inside, or the other way round.
    pub(super) fn turn_filter(self, filter: Filter) -> Filter {
        match self {
            Self::NewestFirst => filter,
            Self::OldestFirst => Filter {
                since: filter.until.map(|until| self.turn(until)),
                until: filter.since.map(|since| self.turn(since)),
                ..filter
            },
        }
    }
}

/// One query under way.
#[derive(Debug)]
pub(super) struct PagedQuery {
    order: Order,
    /// As it is inside, like every second below.
    query: Filter,
    limit: u64,
    stage: Stage,
    page: Page,
    /// What was asked for last, as it was sent.
    asked: Filter,
    /// The bounds that it reached beyond then.
    widened: LeftOut,
    /// The relay has been seen not to leave out the last second.
    gives_last: bool,
    /// Pages that came to their end.
    pages: u64,
    /// Events that came and may come again, with their second: those of the current page, of an
    /// interrupted attempt at it, and of the seconds that it reaches into once more.
    known: HashMap<ShortId, u64>,
    pages_in_second: usize,
    largest_page: usize,
    /// A page of fewer events was not cut.
    cut_from: usize,
    /// A page of so many has been found to be cut.
    cut_at: usize,
    gaps: Vec<Gap>,
    /// What is whole if the relay is able to give more events at once than this.
    doubts: Vec<Doubt>,
}

/// A second of one author and kind of which a page holds as many events as any page of this relay.
#[derive(Debug)]
struct Doubt {
    held: usize,
    gap: Gap,
}

#[derive(Debug)]
enum Stage {
    /// Everything up to this second, inclusive.
    UpTo(Option<u64>),
    /// Everything before this second, whose own last page brought nothing new.
    Before {
        second: u64,
        last_page: Box<Page>,
    },
    /// The parts of a second that may hold more than a page, then on with the rest.
    Dense {
        second: u64,
        parts: Vec<Part>,
        cut: Cut,
        then: Option<u64>,
    },
    Ended,
}

/// How many events a relay gives of a second, as a page has shown that held nothing else.
#[derive(Debug, Clone, Copy)]
struct Cut {
    limit: usize,
    /// It was cut there; else it may be all that there is.
    is_certain: bool,
}

/// Some authors and kinds of a second that may hold more than a page.
#[derive(Debug)]
struct Part {
    filter: Filter,
    /// A page has shown an event of it.
    is_seen: bool,
}

/// The bounds of time that a relay leaves out of its answers, as NIP-01 does not have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::peer) struct LeftOut {
    /// The second up to which it is asked; of a relay that gives the oldest first, the first one.
    pub(in crate::peer) last: bool,
    /// The other one.
    pub(in crate::peer) first: bool,
}

impl PagedQuery {
    /// `limit`: events to ask for in one page.
    pub(super) fn new(query: Filter, limit: u64, order: Order) -> Self {
        let query = order.turn_filter(query);
        Self {
            order,
            limit,
            stage: Stage::UpTo(query.until),
            asked: query.clone(),
            widened: LeftOut::default(),
            gives_last: false,
            query,
            page: Page::default(),
            pages: 0,
            known: HashMap::new(),
            pages_in_second: 0,
            largest_page: 0,
            cut_from: SMALLEST_PAGE_LIMIT,
            cut_at: usize::MAX,
            gaps: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// The query as it was given.
    pub(super) fn query(&self) -> Filter {
        self.order.turn_filter(self.query.clone())
    }

    /// What has not come yet, or not surely all of it.
    pub(super) fn rest(&self) -> Filter {
        let until = match &self.stage {
            Stage::UpTo(until) => *until,
            Stage::Before { second, .. } | Stage::Dense { second, .. } => Some(*second),
            Stage::Ended => self.query.since.or(Some(0)),
        };
        self.order.turn_filter(Filter { until, ..self.query.clone() })
    }

    /// Whether no page has come to its end.
    pub(super) fn is_fresh(&self) -> bool {
        self.pages == 0
    }

    /// Whether nothing is left to ask.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// What could not be had: parts of dense seconds that cannot be split further, and everything
    /// if the relay does not keep to the filter. Of a relay that has given `largest` events in one
    /// page, fewer of a second are all of it.
    pub(super) fn into_gaps(mut self, largest: usize) -> Vec<Gap> {
        let largest = largest.max(SMALLEST_CAP);
        let doubts = self.doubts.into_iter().filter(|doubt| doubt.held >= largest);
        self.gaps.extend(doubts.map(|doubt| doubt.gap));
        self.gaps
    }

    /// So many events are in the largest page of one second of which it is not known whether it was
    /// cut; 0: there is none.
    pub(super) fn doubted(&self) -> usize {
        self.doubts.iter().map(|doubt| doubt.held).max().unwrap_or(0)
    }

    /// The next page to ask for, again the same one if the last was not ended; `None` at the end.
    /// `left_out`: bounds that the relay is known to leave out.
    pub(super) fn next(&mut self, left_out: LeftOut) -> Option<Filter> {
        // What an interrupted attempt at the page brought is not new the next time.
        self.page = Page { new: self.page.new, ..Page::default() };
        let left_out = LeftOut { last: left_out.last && !self.gives_last, ..left_out };
        self.widened = left_out;
        let page = match &self.stage {
            Stage::UpTo(until) => Filter { until: *until, ..self.query.clone() },
            Stage::Before { second, .. } => {
                Filter { until: second.checked_sub(1), ..self.query.clone() }
            }
            Stage::Dense { parts, .. } => parts.last()?.filter.clone(),
            Stage::Ended => return None,
        };
        // The bounds of the query itself are always left behind by a second: whether the relay leaves
        // them out cannot be seen where nothing is known of them.
        let is_dense = matches!(self.stage, Stage::Dense { .. });
        let beyond = |is_beyond: bool| u64::from(is_beyond);
        let last = beyond(left_out.last || (!is_dense && self.is_fresh()));
        let until = page.until.map(|until| until.saturating_add(last));
        let first = beyond(left_out.first || !is_dense);
        let since = page.since.map(|since| since.saturating_sub(first));
        self.asked = self.order.turn_filter(Filter { since, until, ..page });
        Some(Filter { limit: Some(self.limit), ..self.asked.clone() })
    }

    /// What was asked for last, without a limit.
    pub(super) fn asked(&self) -> &Filter {
        &self.asked
    }

    /// An event of the current page; `None`: it was not asked for.
    pub(super) fn event(&mut self, event: &Outline) -> Option<Novelty> {
        let Outline { id, pubkey, kind, created_at } = event;
        if !self.asked.matches(id, pubkey, *kind, *created_at) {
            self.stray();
            return None;
        }
        let second = self.order.turn(*created_at);
        self.page.came += 1;
        // There may be what belongs to the bounds that are reached beyond.
        let is_beyond = match &self.stage {
            Stage::Dense { second: dense, .. } => second != *dense,
            Stage::Before { second: before, .. } => second >= *before,
            Stage::UpTo(Some(until)) => self.pages > 0 && second > *until,
            Stage::UpTo(None) | Stage::Ended => false,
        };
        if is_beyond {
            self.page.beyond += 1;
        } else {
            self.page.note(pubkey, *kind, second);
        }
        if self.known.insert(short(id), second).is_some() {
            return Some(Novelty::Repeated);
        }
        self.page.new += 1;
        Some(Novelty::New)
    }

    /// Something in the place of an event of the current page that was not asked for or is none.
    pub(super) fn stray(&mut self) {
        self.page.came += 1;
        self.page.events += 1;
        self.page.strayed = true;
    }

    /// How many ids it keeps.
    pub(super) fn ids(&self) -> usize {
        self.known.len()
    }

    /// Whether the page or one of its neighbours holds this event.
    pub(super) fn knows(&self, id: &EventId) -> bool {
        self.known.contains_key(&short(id))
    }

    /// The ids that the page and its neighbours hold.
    pub(super) fn known(&self) -> HashSet<ShortId> {
        self.known.keys().copied().collect()
    }

    /// Something in the place of an event of the current page that is dated later than what is
    /// taken. A few of them show nothing; a page full of them hides what was asked for.
    pub(super) fn pass(&mut self) {
        self.page.came += 1;
        self.page.events += 1;
        self.page.passed += 1;
    }

    /// Whether the current page holds more than any relay gives.
    pub(super) fn is_flooded(&self) -> bool {
        self.page.came > EVENTS_IN_ONE_PAGE
    }

    /// Whether the current page has brought nothing at all so far.
    pub(super) fn page_is_empty(&self) -> bool {
        self.page.came == 0
    }

    /// Events that are asked for in one page.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Authors times kinds.
    pub(super) fn lists(&self) -> usize {
        let authors = self.query.authors.as_ref().map_or(1, Vec::len);
        authors.saturating_mul(self.query.kinds.as_ref().map_or(1, Vec::len))
    }

    /// Events in the largest page so far, the current one among them.
    pub(super) fn largest_page(&self) -> usize {
        self.largest_page.max(self.page.events)
    }

    /// Events of the current page.
    pub(super) fn page_events(&self) -> usize {
        self.page.events
    }

    /// What the current page shows of the relay's order; `None`: there can be nothing that is nearer
    /// than what it holds.
    pub(super) fn page_order(&self) -> Option<PageOrder> {
        let (nearest, farthest) = (self.page.newest?, self.page.oldest?);
        let bound = match &self.stage {
            Stage::UpTo(until) => until.unwrap_or(u64::MAX),
            Stage::Before { second, .. } => second.saturating_sub(1),
            Stage::Dense { .. } | Stage::Ended => return None,
        };
        (farthest < bound).then_some(PageOrder {
            order: self.order,
            nearest,
            farthest,
            nearer: self.page.events.saturating_sub(self.page.of_oldest + self.page.passed),
            passed: self.page.passed,
            events: self.page.events,
            may_be_reversed: self.page.falls == 0,
        })
    }

    /// Whether chance, or a relay that gives one author after the other, one kind after the other, or
    /// both, cannot have given the current page.
    pub(super) fn proves_order(&self) -> bool {
        let is_one = |length: Option<usize>| length.is_some_and(|length| length <= 1);
        let is_by_author =
            !is_one(self.asked.authors.as_ref().map(Vec::len)) && !self.page.authors.is_interleaved;
        let is_by_kind =
            !is_one(self.asked.kinds.as_ref().map(Vec::len)) && !self.page.kinds.is_interleaved;
        let is_chance = self.page.has_risen || self.page.falls < FALLS;
        !(is_by_author || is_by_kind || is_chance)
    }

    /// What a page would hold of what is nearer than this one is, or as near as its farthest second.
    /// What is published meanwhile is left out, as far as it is newer than the page: `latest` is the
    /// last second of which everything has been published.
    pub(super) fn nearer(&self, latest: u64) -> Filter {
        let mut filter = self.asked.clone();
        let (Some(newest), Some(oldest)) = (self.page.newest, self.page.oldest) else {
            return filter;
        };
        match self.order {
            Order::NewestFirst => {
                filter.since = Some(oldest);
                let until = filter.until.unwrap_or(u64::MAX).min(latest.max(newest));
                filter.until = Some(until);
            }
            Order::OldestFirst => filter.until = Some(self.order.turn(oldest)),
        }
        filter
    }

    /// Whether the events of the current page came in no order.
    pub(super) fn is_mixed(&self) -> bool {
        self.page.has_risen && self.page.falls > 0
    }

    /// Whether the current page was not cut, if the relay has given `largest` events in one page.
    pub(super) fn is_whole(&self, largest: usize) -> bool {
        // A relay that does not keep to the filter may have cut it at any length.
        self.page.events < self.whole_below(largest) && !self.page.strayed
    }

    /// A page of fewer events was not cut.
    fn whole_below(&self, largest: usize) -> usize {
        largest.max(SMALLEST_CAP).min(usize::try_from(self.limit).unwrap_or(usize::MAX))
    }

    /// The relay says that the page has ended, and whether that is all that there is. `largest`:
    /// events in the largest page that it has given.
    pub(super) fn end_of_page(&mut self, is_finish: bool, largest: usize) -> PageEnd {
        let leaves_out = self.leaves_out();
        // What another page has shown meanwhile does not help this one.
        let widened = self.widened;
        if (leaves_out.last && !widened.last) || (leaves_out.first && !widened.first) {
            return PageEnd::LeavesOut(leaves_out);
        }
        if matches!(self.stage, Stage::Before { .. }) && widened.last && self.page.beyond > 0 {
            // The second that was to be left out came again, and may have filled the page.
            self.gives_last = true;
            return PageEnd::GoesOn;
        }
        // No relay is known to give one at a time.
        self.cut_from = self.whole_below(largest);
        let page = std::mem::take(&mut self.page);
        self.largest_page = self.largest_page.max(page.events);
        self.pages += 1;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            _ if page.is_useless() => self.stray_answer(),
            Stage::UpTo(_) if is_finish => Stage::Ended,
            Stage::Before { second, last_page } if is_finish => self.at_the_end(second, &last_page),
            Stage::Dense { second, mut parts, cut, then } if is_finish => {
                parts.pop();
                self.go_on(second, parts, cut, then)
            }
            Stage::UpTo(until) => self.after_page(until, page),
            Stage::Before { second, last_page } => self.after_older(second, &last_page, &page),
            Stage::Dense { second, parts, cut, then } => {
                self.after_part(second, parts, cut, then, &page)
            }
            Stage::Ended => Stage::Ended,
        };
        self.forget();
        PageEnd::GoesOn
    }

    /// The bounds of which something is known, and of which the page holds nothing.
    fn leaves_out(&self) -> LeftOut {
        let is_clean = !self.page.strayed && self.page.passed == 0;
        let has_known = |bound| self.known.values().any(|&second| second == bound);
        match &self.stage {
            Stage::UpTo(Some(until)) => {
                let lacks_it = self.page.newest.is_none_or(|newest| newest < *until);
                // What was not asked for may have taken its place: asking beyond it costs one page.
                let is_clean = self.page.passed == 0;
                let last = self.pages > 0 && is_clean && lacks_it && has_known(*until);
                LeftOut { last, first: false }
            }
            Stage::Dense { parts, .. } => {
                let is_seen = parts.last().is_some_and(|part| part.is_seen);
                LeftOut { last: false, first: is_seen && is_clean && self.page.events == 0 }
            }
            _ => LeftOut::default(),
        }
    }

    /// Forgets what will not come again.
    fn forget(&mut self) {
        match self.stage {
            Stage::UpTo(Some(until)) | Stage::Before { second: until, .. } => {
                self.known.retain(|_, second| *second <= until);
            }
            Stage::UpTo(None) | Stage::Dense { .. } => {}
            Stage::Ended => self.known = HashMap::new(),
        }
    }

    /// A relay that answers with something else, as one does that ignores `until`, may have cut
    /// off what was asked for: this is no end that can be relied on.
    fn stray_answer(&mut self) -> Stage {
        self.gaps.push(Gap { filter: self.query(), reason: GapReason::IgnoresFilter });
        Stage::Ended
    }

    fn after_page(&mut self, until: Option<u64>, page: Page) -> Stage {
        let Some(oldest) = page.oldest else {
            // A page of nothing but what is not taken may have been cut.
            let may_be_cut = page.passed >= self.cut_from;
            return if may_be_cut { self.stray_answer() } else { Stage::Ended };
        };
        let same_second = until == Some(oldest);
        self.pages_in_second = if same_second { self.pages_in_second + 1 } else { 0 };
        if page.new > 0 && self.pages_in_second < PAGES_IN_ONE_SECOND {
            return Stage::UpTo(Some(oldest));
        }
        if self.query.since.is_some_and(|since| oldest <= since) || oldest == 0 {
            return self.at_the_end(oldest, &page);
        }
        Stage::Before { second: oldest, last_page: Box::new(page) }
    }

    /// Nothing can be older than this second: is it itself whole?
    fn at_the_end(&mut self, second: u64, last_page: &Page) -> Stage {
        if last_page.events >= self.cut_from.min(self.cut_at) {
            self.split_second(second, last_page, None)
        } else {
            Stage::Ended
        }
    }

    fn after_older(&mut self, second: u64, last_page: &Page, page: &Page) -> Stage {
        match page.oldest {
            None => self.at_the_end(second, last_page),
            // There is more, and yet the page before held only this second: the relay's limit cut
            // it there, so the second may hold more than was given.
            Some(oldest) => self.split_second(second, last_page, Some(oldest)),
        }
    }

    fn after_part(
        &mut self,
        second: u64,
        mut parts: Vec<Part>,
        cut: Cut,
        then: Option<u64>,
        page: &Page,
    ) -> Stage {
        if let Some(part) = parts.pop() {
            if part.is_seen && page.events == 0 {
                // It is there, and is not given when it is asked for alone.
                self.note_dense(second, part.filter);
            } else if page.events >= cut.limit {
                let cut = Cut { limit: page.events, ..cut };
                self.push_parts(second, part.filter, cut, &page.in_oldest, &mut parts);
            }
        }
        self.go_on(second, parts, cut, then)
    }

    fn split_second(&mut self, second: u64, last_page: &Page, then: Option<u64>) -> Stage {
        let whole = Filter { since: Some(second), until: Some(second), ..self.query.clone() };
        let limit = last_page.events;
        if then.is_some() {
            self.cut_at = self.cut_at.min(limit);
        }
        let cut = Cut { limit, is_certain: limit >= self.cut_at };
        let mut parts = Vec::new();
        self.push_parts(second, whole, cut, &last_page.in_oldest, &mut parts);
        self.go_on(second, parts, cut, then)
    }

    fn go_on(&mut self, second: u64, parts: Vec<Part>, cut: Cut, then: Option<u64>) -> Stage {
        match then {
            _ if !parts.is_empty() => Stage::Dense { second, parts, cut, then },
            Some(until) => {
                self.pages_in_second = 0;
                Stage::UpTo(Some(until))
            }
            None => Stage::Ended,
        }
    }

    /// Splits a part of a second by author, then by kind; one author and kind cannot be split.
    /// Each of whom a page of it has shown something is asked about apart, all others together: so
    /// little comes again, and few requests are in vain.
    fn push_parts(
        &mut self,
        second: u64,
        part: Filter,
        cut: Cut,
        seen: &HashSet<(Pubkey, u64)>,
        parts: &mut Vec<Part>,
    ) {
        let (authors, kinds): (HashSet<Pubkey>, HashSet<u64>) = seen.iter().copied().unzip();
        if let Some(authors) = part.authors.as_deref().and_then(|all| apart(all, &authors)) {
            parts.extend(authors.map(|(authors, is_seen)| {
                let filter = Filter { authors: Some(authors), ..part.clone() };
                Part { filter, is_seen }
            }));
        } else if let Some(kinds) = part.kinds.as_deref().and_then(|all| apart(all, &kinds)) {
            parts.extend(kinds.map(|(kinds, is_seen)| {
                let filter = Filter { kinds: Some(kinds), ..part.clone() };
                Part { filter, is_seen }
            }));
        } else if cut.is_certain || cut.limit as u64 >= self.limit {
            self.note_dense(second, part);
        } else {
            self.doubts.push(Doubt { held: cut.limit, gap: self.dense(second, part) });
        }
    }

    fn note_dense(&mut self, second: u64, part: Filter) {
        self.gaps.push(self.dense(second, part));
    }

    fn dense(&self, second: u64, part: Filter) -> Gap {
        let reason = GapReason::DenseSecond(self.order.turn(second));
        Gap { filter: self.order.turn_filter(part), reason }
    }
}

/// Each item that has been seen apart, with true, and before them the others together. `None`: there
/// is only one. The last is asked about first: what has been seen tells whether bounds are left out.
fn apart<T: Copy + Eq + Hash>(
    all: &[T],
    seen: &HashSet<T>,
) -> Option<impl Iterator<Item = (Vec<T>, bool)>> {
    let (alone, others): (Vec<T>, Vec<T>) = all.iter().partition(|item| seen.contains(item));
    let is_divided = all.len() > 1 && !alone.is_empty();
    let others = Some(others).filter(|others| !others.is_empty());
    let others = others.map(|others| (others, false));
    is_divided.then(|| others.into_iter().chain(alone.into_iter().map(|item| (vec![item], true))))
}

#[cfg(test)]
pub(super) mod tests;
