//! Asking one query to its end, page by page, of a relay whose page limit is not known.
//!
//! Pure: says what to ask next and is told what came. A relay cuts its answer at a limit of its
//! own and gives the newest first, so each next page reaches up to the oldest second seen,
//! inclusive, because the cut may have been in the middle of that second. The query has ended
//! when nothing new comes and nothing older exists.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::limits::{EVENTS_IN_ONE_PAGE, PAGES_IN_ONE_SECOND, SMALLEST_PAGE_LIMIT};
use super::outcome::{Gap, GapReason};
use crate::nostr::{EventId, Filter, Pubkey};

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

/// One query under way.
#[derive(Debug)]
pub(super) struct Pager {
    query: Filter,
    limit: u64,
    stage: Stage,
    page: Page,
    /// Events that came and may come again, with their second: those of the current page, of an
    /// interrupted attempt at it, and of the seconds that it reaches into once more.
    known: HashMap<ShortId, u64>,
    pages_in_second: usize,
    largest_page: usize,
    /// Whether the last page was as large as a page can be.
    was_cut: bool,
    gaps: Vec<Gap>,
}

#[derive(Debug)]
enum Stage {
    /// Everything up to this second, inclusive.
    UpTo(Option<u64>),
    /// Everything before this second, whose own last page brought nothing new.
    Before {
        second: u64,
        last_page: Page,
    },
    /// The parts of a second that may hold more than a page, then on with the rest.
    Dense {
        parts: Vec<Filter>,
        page_limit: usize,
        then: Option<u64>,
    },
    Ended,
}

/// What the current page brought so far.
#[derive(Debug, Default)]
struct Page {
    /// Also those that are of no use: the relay's limit counts them.
    events: usize,
    new: usize,
    oldest: Option<u64>,
    /// Whose events, and of which kinds, are in the oldest second.
    in_oldest: HashSet<(Pubkey, u64)>,
    /// Whether some were not asked for or are no events.
    strayed: bool,
    /// Of no use for another reason.
    passed: usize,
}

impl Page {
    /// Whether the page brought nothing and may have left out what was asked for.
    fn is_useless(&self) -> bool {
        self.new == 0 && (self.strayed || self.passed >= SMALLEST_PAGE_LIMIT)
    }
}

/// One half of a query that was divided.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) pager: Pager,
    /// What neither half asks for because all of it has come.
    pub(super) behind: Option<Filter>,
}

impl Pager {
    /// `limit`: events to ask for in one page.
    pub(super) fn new(query: Filter, limit: u64) -> Self {
        Self {
            limit,
            stage: Stage::UpTo(query.until),
            query,
            page: Page::default(),
            known: HashMap::new(),
            pages_in_second: 0,
            largest_page: 0,
            was_cut: false,
            gaps: Vec::new(),
        }
    }

    /// The query as it was given; after [`Pager::halve`], what is left of it for this half.
    pub(super) fn query(&self) -> &Filter {
        &self.query
    }

    /// Events in the largest page so far.
    pub(super) fn largest_page(&self) -> usize {
        self.largest_page
    }

    /// The next page will bring events: the last one was as large as a page can be.
    pub(super) fn expects_more(&self) -> bool {
        self.was_cut && matches!(self.stage, Stage::UpTo(_))
    }

    /// Divides what is left between this and another that asks for the second half of the
    /// authors, so that both bring a page at a time. `None`: nothing more is expected, or there is
    /// only one author.
    pub(super) fn halve(&mut self) -> Option<Half> {
        let Stage::UpTo(Some(until)) = self.stage else { return None };
        let (left, right) = self.query.authors.as_deref().and_then(halves)?;
        if !self.was_cut {
            return None;
        }
        let newer = Filter { since: Some(until.saturating_add(1)), ..self.query.clone() };
        let is_whole = self.gaps.is_empty();
        self.query.until = Some(until);
        let query = Filter { authors: Some(right), ..self.query.clone() };
        self.query.authors = Some(left);
        let pager = Self {
            limit: self.limit,
            stage: Stage::UpTo(Some(until)),
            query,
            page: Page::default(),
            known: self.known.clone(),
            pages_in_second: self.pages_in_second,
            largest_page: self.largest_page,
            was_cut: true,
            gaps: Vec::new(),
        };
        Some(Half { pager, behind: is_whole.then_some(newer) })
    }

    /// What could not be had: parts of dense seconds that cannot be split further, and everything
    /// if the relay does not keep to the filter.
    pub(super) fn into_gaps(self) -> Vec<Gap> {
        self.gaps
    }

    /// The next page to ask for, again the same one if the last was not ended; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Filter> {
        // What an interrupted attempt at the page brought is not new the next time.
        self.page = Page { new: self.page.new, ..Page::default() };
        let page = match &self.stage {
            Stage::UpTo(until) => Filter { until: *until, ..self.query.clone() },
            Stage::Before { second, .. } => {
                Filter { until: second.checked_sub(1), ..self.query.clone() }
            }
            Stage::Dense { parts, .. } => parts.last()?.clone(),
            Stage::Ended => return None,
        };
        Some(Filter { limit: Some(self.limit), ..page })
    }

    /// An event of the current page.
    pub(super) fn event(
        &mut self,
        id: &EventId,
        pubkey: &Pubkey,
        kind: u64,
        created_at: u64,
    ) -> Novelty {
        self.page.events += 1;
        if self.page.oldest.is_none_or(|oldest| created_at < oldest) {
            self.page.oldest = Some(created_at);
            self.page.in_oldest.clear();
        }
        if self.page.oldest == Some(created_at) {
            self.page.in_oldest.insert((*pubkey, kind));
        }
        if self.known.insert(short(id), created_at).is_some() {
            return Novelty::Repeated;
        }
        self.page.new += 1;
        Novelty::New
    }

    /// Something in the place of an event of the current page that was not asked for or is none.
    pub(super) fn stray(&mut self) {
        self.page.events += 1;
        self.page.strayed = true;
    }

    /// How many ids it keeps.
    pub(super) fn ids(&self) -> usize {
        self.known.len()
    }

    /// Something in the place of an event of the current page that is dated later than what is
    /// taken. A few of them show nothing; a page full of them hides what was asked for.
    pub(super) fn pass(&mut self) {
        self.page.events += 1;
        self.page.passed += 1;
    }

    /// Whether the current page holds more than any relay gives.
    pub(super) fn is_flooded(&self) -> bool {
        self.page.events > EVENTS_IN_ONE_PAGE
    }

    /// The relay says that the page has ended, and whether that is all that there is. Returns the
    /// ids that the page and its neighbours hold.
    pub(super) fn end_of_page(&mut self, is_finish: bool) -> HashSet<ShortId> {
        let page = self.take_page();
        let known = self.known.keys().copied().collect();
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            _ if page.is_useless() => self.stray_answer(),
            Stage::UpTo(_) if is_finish => Stage::Ended,
            Stage::Before { second, last_page } if is_finish => self.at_the_end(second, &last_page),
            Stage::Dense { mut parts, page_limit, then } if is_finish => {
                parts.pop();
                self.go_on(parts, page_limit, then)
            }
            Stage::UpTo(until) => self.after_page(until, page),
            Stage::Before { second, last_page } => self.after_older(second, &last_page, &page),
            Stage::Dense { parts, page_limit, then } => {
                self.after_part(parts, page_limit, then, &page)
            }
            Stage::Ended => Stage::Ended,
        };
        self.forget();
        known
    }

    /// The same of a page that was asked for together with others. Such an answer brings events
    /// and shows nothing else: a relay may cut it as a whole, or leave filters out. So this goes
    /// on from what came and draws no conclusion; those are left to a page that is asked for
    /// alone.
    pub(super) fn end_of_shared_page(&mut self) -> HashSet<ShortId> {
        let page = self.take_page();
        let known = self.known.keys().copied().collect();
        match (&self.stage, page.oldest) {
            (Stage::UpTo(until), Some(oldest)) if page.new > 0 && *until != Some(oldest) => {
                self.stage = Stage::UpTo(Some(oldest));
                self.pages_in_second = 0;
            }
            _ => self.was_cut = false,
        }
        self.forget();
        known
    }

    fn take_page(&mut self) -> Page {
        let page = std::mem::take(&mut self.page);
        let is_large = page.events >= self.largest_page.max(SMALLEST_PAGE_LIMIT);
        let is_first = self.largest_page == 0;
        let asked = usize::try_from(self.limit).unwrap_or(usize::MAX);
        self.was_cut = page.events >= asked || (is_large && !is_first);
        self.largest_page = self.largest_page.max(page.events);
        page
    }

    /// Forgets what will not come again.
    fn forget(&mut self) {
        match self.stage {
            Stage::UpTo(Some(until)) | Stage::Before { second: until, .. } => {
                self.known.retain(|_, created_at| *created_at <= until);
            }
            Stage::UpTo(None) | Stage::Dense { .. } => {}
            Stage::Ended => self.known = HashMap::new(),
        }
    }

    /// A relay that answers with something else, as one does that ignores `until`, may have cut
    /// off what was asked for: this is no end that can be relied on.
    fn stray_answer(&mut self) -> Stage {
        self.gaps.push(Gap { filter: self.query.clone(), reason: GapReason::IgnoresFilter });
        Stage::Ended
    }

    fn after_page(&mut self, until: Option<u64>, page: Page) -> Stage {
        let Some(oldest) = page.oldest else { return Stage::Ended };
        let same_second = until == Some(oldest);
        self.pages_in_second = if same_second { self.pages_in_second + 1 } else { 0 };
        if page.new > 0 && self.pages_in_second < PAGES_IN_ONE_SECOND {
            return Stage::UpTo(Some(oldest));
        }
        if self.query.since.is_some_and(|since| oldest <= since) || oldest == 0 {
            return self.at_the_end(oldest, &page);
        }
        Stage::Before { second: oldest, last_page: page }
    }

    /// Nothing can be older than this second: is it itself whole?
    fn at_the_end(&mut self, second: u64, last_page: &Page) -> Stage {
        if last_page.events >= SMALLEST_PAGE_LIMIT.max(self.largest_page) {
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
        mut parts: Vec<Filter>,
        page_limit: usize,
        then: Option<u64>,
        page: &Page,
    ) -> Stage {
        if let Some(part) = parts.pop()
            && page.events >= page_limit
        {
            self.push_parts(part, &page.in_oldest, &mut parts);
        }
        self.go_on(parts, page_limit, then)
    }

    fn split_second(&mut self, second: u64, last_page: &Page, then: Option<u64>) -> Stage {
        let whole = Filter { since: Some(second), until: Some(second), ..self.query.clone() };
        let mut parts = Vec::new();
        self.push_parts(whole, &last_page.in_oldest, &mut parts);
        self.go_on(parts, last_page.events, then)
    }

    fn go_on(&mut self, parts: Vec<Filter>, page_limit: usize, then: Option<u64>) -> Stage {
        match then {
            _ if !parts.is_empty() => Stage::Dense { parts, page_limit, then },
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
    fn push_parts(&mut self, part: Filter, seen: &HashSet<(Pubkey, u64)>, parts: &mut Vec<Filter>) {
        let (authors, kinds): (HashSet<Pubkey>, HashSet<u64>) = seen.iter().copied().unzip();
        if let Some(authors) = part.authors.as_deref().and_then(|all| apart(all, &authors)) {
            let of = |authors| Filter { authors: Some(authors), ..part.clone() };
            parts.extend(authors.map(of));
        } else if let Some(kinds) = part.kinds.as_deref().and_then(|all| apart(all, &kinds)) {
            let of = |kinds| Filter { kinds: Some(kinds), ..part.clone() };
            parts.extend(kinds.map(of));
        } else {
            let second = part.until.unwrap_or_default();
            self.gaps.push(Gap { filter: part, reason: GapReason::DenseSecond(second) });
        }
    }
}

/// Each item that has been seen apart, and the others together. `None`: there is only one.
fn apart<T: Copy + Eq + Hash>(
    all: &[T],
    seen: &HashSet<T>,
) -> Option<impl Iterator<Item = Vec<T>>> {
    let (alone, others): (Vec<T>, Vec<T>) = all.iter().partition(|item| seen.contains(item));
    let is_divided = all.len() > 1 && !alone.is_empty();
    let others = Some(others).filter(|others| !others.is_empty());
    is_divided.then(|| alone.into_iter().map(|item| vec![item]).chain(others))
}

fn halves<T: Clone>(items: &[T]) -> Option<(Vec<T>, Vec<T>)> {
    let (left, right) = items.split_at(items.len() / 2);
    (!left.is_empty()).then(|| (left.to_vec(), right.to_vec()))
}

#[cfg(test)]
pub(super) mod tests;
