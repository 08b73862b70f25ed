//! How large a question a peer answers: found out by asking, since few relays say it and none says
//! all of it.
//!
//! A refused question is asked again in pieces of the smallest size. When such a piece is answered,
//! the pieces grow in one dimension at a time, until each dimension is as large as it was or has
//! been found to be what the peer refuses. So a refusal costs a few small questions, in whatever
//! words it comes.
//!
//! Pure: it is told what was asked and what came of it.

use crate::nostr::Filter;
use crate::peer::limits::{PROVEN, SMALLEST_PAGE_LIMIT};

/// Authors, kinds, limit and seconds of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct Size([u64; DIMENSIONS]);

const DIMENSIONS: usize = 4;
const AUTHORS: usize = 0;
const KINDS: usize = 1;
const LIMIT: usize = 2;
const SECONDS: usize = 3;

/// The smallest question in each dimension: one author, one kind, a small page, and the time that an
/// hourly run asks about: a day, and some minutes for clocks that differ.
const SMALLEST: [u64; DIMENSIONS] = [1, 1, SMALLEST_PAGE_LIMIT as u64, 90_000];

/// By how much a dimension grows when a question was answered.
const GROWTH: u64 = 8;

impl Size {
    /// The size of a filter that asks for pages of so many events.
    pub(in crate::peer) fn of(filter: &Filter, limit: u64) -> Self {
        let authors = filter.authors.as_deref().map_or(1, <[_]>::len) as u64;
        let kinds = filter.kinds.as_deref().map_or(1, <[_]>::len) as u64;
        // Without a last second time cannot be divided.
        let seconds = filter.until.map_or(SMALLEST[SECONDS], |until| {
            until.saturating_sub(filter.since.unwrap_or(0)).saturating_add(1)
        });
        Self([authors, kinds, limit, seconds])
    }

    /// Whether there is nothing to divide but its limit and its time.
    pub(in crate::peer) fn is_of_one_author_and_kind(self) -> bool {
        self.0[AUTHORS] <= 1 && self.0[KINDS] <= 1
    }

    /// Whether there is no smaller question.
    pub(in crate::peer) fn is_smallest(self) -> bool {
        self.fits(&Self(SMALLEST))
    }

    /// No larger than the other one in any dimension.
    pub(in crate::peer) fn fits(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(one, other)| *one <= other)
    }

    /// As large as both, in each dimension.
    fn joined(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].max(other.0[at])))
    }

    /// The same, whatever the limit and the time: how a peer orders its pages and whether it
    /// leaves something out depends on authors and kinds.
    fn of_lists(self) -> Self {
        let [authors, kinds, ..] = self.0;
        Self([authors, kinds, 0, 0])
    }
}

/// Sizes at which a peer has been seen to do something.
#[derive(Debug, Clone, Default)]
pub(in crate::peer) struct Proven(Vec<Size>);

impl Proven {
    /// It has done so at this size.
    pub(in crate::peer) fn add(&mut self, size: Size) {
        if !self.covers_all(size) {
            self.0.retain(|known| !known.fits(&size));
            if self.0.len() >= PROVEN {
                self.0.remove(0);
            }
            self.0.push(size);
        }
    }

    /// Whether it has done so at this size or at a larger one, whatever the limit and the time.
    pub(in crate::peer) fn covers(&self, size: Size) -> bool {
        self.0.iter().any(|known| size.of_lists().fits(known))
    }

    /// Whether it has done so at this size or at a larger one in every dimension.
    pub(in crate::peer) fn covers_all(&self, size: Size) -> bool {
        self.0.iter().any(|known| size.fits(known))
    }

    pub(in crate::peer) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is to be done about a question that a peer has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) enum Refused {
    /// It is asked again in the pieces that [`Sizes::carve`] now gives.
    Smaller,
    /// Questions of that size are answered: some of what this one names is what is refused.
    Content,
    /// There is no smaller question.
    Smallest,
}

/// The sizes of questions that one peer is asked.
#[derive(Debug, Clone)]
pub(in crate::peer) struct Sizes {
    /// Of the next question, at most.
    now: Size,
    /// The largest that is worth a try.
    most: Size,
    /// The largest in each dimension that was answered.
    works: Size,
    /// The largest in each dimension that there is to ask.
    wanted: Size,
}

impl Default for Sizes {
    /// Of a peer that has refused nothing.
    fn default() -> Self {
        let unbounded = Size([u64::MAX; DIMENSIONS]);
        let nothing = Size([0; DIMENSIONS]);
        Self { now: unbounded, most: unbounded, works: nothing, wanted: nothing }
    }
}

impl Sizes {
    /// Events to ask for in one page, `page` at most.
    pub(in crate::peer) fn limit(&self, page: u64) -> u64 {
        page.min(self.now.0[LIMIT]).max(1)
    }

    /// Whether questions are as large as they are going to be. Until then one is asked at a time,
    /// so that its answer tells of its size.
    pub(in crate::peer) fn is_settled(&self) -> bool {
        (0..DIMENSIONS).all(|at| !self.may_grow(at))
    }

    /// Whether questions are about less time than there is to ask about.
    pub(in crate::peer) fn divides_time(&self) -> bool {
        self.now.0[SECONDS] < self.wanted.0[SECONDS]
    }

    /// Whether there was something so large to ask.
    pub(in crate::peer) fn is_wanted(&self, size: Size) -> bool {
        size.fits(&self.wanted)
    }

    /// Whether a larger size in this dimension is possible, and of use.
    fn may_grow(&self, at: usize) -> bool {
        self.now.0[at] < self.most.0[at] && self.now.0[at] < self.wanted.0[at]
    }

    /// Something of this size is to be asked.
    pub(in crate::peer) fn want(&mut self, size: Size) {
        self.wanted = self.wanted.joined(&size);
    }

    /// Whether something of this size has not been answered yet.
    pub(in crate::peer) fn is_larger_than_what_works(&self, size: Size) -> bool {
        !size.fits(&self.works)
    }

    /// Whether the peer has answered nothing so far.
    pub(in crate::peer) fn nothing_works(&self) -> bool {
        self.works.0[AUTHORS] == 0
    }

    /// The first piece of a question that may be asked now, and the rest of it, newest first.
    pub(in crate::peer) fn carve(&self, mut filter: Filter) -> (Filter, Vec<Filter>) {
        let mut rest = Vec::new();
        let [authors, kinds, _, seconds] = self.now.0;
        // Time first: what is older keeps all of the lists, for when larger ones have been learned.
        if let Some(until) = filter.until
            && Size::of(&filter, 0).0[SECONDS] > seconds
        {
            let since = until.saturating_sub(seconds - 1);
            // Both hold that second and the next: some relays leave out the first, the last, or both.
            rest.push(Filter { until: Some(since.saturating_add(1)), ..filter.clone() });
            filter.since = Some(since);
        }
        if let Some(others) = filter.authors.as_mut().and_then(|it| split_off(it, authors)) {
            rest.push(Filter { authors: Some(others), ..filter.clone() });
        }
        if let Some(others) = filter.kinds.as_mut().and_then(|it| split_off(it, kinds)) {
            rest.push(Filter { kinds: Some(others), ..filter.clone() });
        }
        rest.reverse();
        (filter, rest)
    }

    /// A question of this size brought something, and a larger one nothing, although it should have.
    pub(in crate::peer) fn begin_at(&mut self, answered: Size) {
        self.works = self.works.joined(&answered);
        self.now =
            Size(std::array::from_fn(|at| answered.0[at].max(SMALLEST[at]).min(self.most.0[at])));
    }

    /// A question of this size was answered.
    pub(in crate::peer) fn answered(&mut self, size: Size) {
        self.works = self.works.joined(&size);
        // Time first: where it is short, a query has thousands of pieces.
        let mut all = [SECONDS, AUTHORS, KINDS, LIMIT].into_iter();
        let grows = all.find(|&at| self.may_grow(at) && self.now.0[at] <= self.works.0[at]);
        if let Some(at) = grows {
            self.now.0[at] = self.now.0[at].saturating_mul(GROWTH).min(self.most.0[at]);
        }
    }

    /// The answer to a question of this size broke off after so many events: no larger pages are
    /// asked for. That such limits were accepted where less was to come does not matter. False: a
    /// page was no larger than that, or is as small as it may be.
    pub(in crate::peer) fn ended_after(&mut self, events: usize, size: Size) -> bool {
        let events = events as u64;
        // A page of as many as were asked for has no end either.
        let most = if events < size.0[LIMIT] { events } else { size.0[LIMIT] / 2 };
        let most = most.max(SMALLEST[LIMIT]);
        if size.0[LIMIT] <= most {
            return false;
        }
        for bound in [&mut self.now, &mut self.most, &mut self.works] {
            bound.0[LIMIT] = bound.0[LIMIT].min(most);
        }
        true
    }

    /// A question of this size was refused; `is_costly`: finding that out took a while, so that no
    /// more than one size beyond what works is tried.
    pub(in crate::peer) fn refused(&mut self, size: Size, is_costly: bool) -> Refused {
        if self.nothing_works() {
            return self.refused_at_first(size);
        }
        // What is as small as it may be cannot be made smaller.
        let is_larger = |&at: &usize| size.0[at] > self.works.0[at].max(SMALLEST[at]);
        let mut larger = (0..DIMENSIONS).filter(is_larger);
        match (larger.next(), larger.next()) {
            (None, _) if size.fits(&Size(SMALLEST)) => Refused::Smallest,
            (None, _) => Refused::Content,
            (Some(at), None) => {
                let works = self.works.0[at];
                // A short time costs more than one more refusal.
                let is_worth_it = at == SECONDS && size.0[at] / GROWTH >= works;
                let is_last = is_costly && !is_worth_it;
                let between = match at {
                    // A little more than half of it is a few hundred questions less.
                    SECONDS => works + size.0[at].saturating_sub(works) / 2,
                    _ => size.0[at] / 2,
                };
                let next = if is_last { works } else { works.max(between) };
                self.most.0[at] = next.max(SMALLEST[at]);
                self.now.0[at] = self.most.0[at];
                Refused::Smaller
            }
            (Some(_), Some(_)) => {
                // Which of them is too much shows when one is tried at a time, if that costs little.
                if is_costly {
                    self.most = Size(std::array::from_fn(|at| {
                        if at != SECONDS && size.0[at] > self.works.0[at] {
                            self.works.0[at].max(SMALLEST[at])
                        } else {
                            self.most.0[at]
                        }
                    }));
                }
                self.now = Size(std::array::from_fn(|at| {
                    self.works.0[at].max(SMALLEST[at]).min(self.most.0[at])
                }));
                Refused::Smaller
            }
        }
    }

    fn refused_at_first(&mut self, size: Size) -> Refused {
        let mut smallest = Size(SMALLEST);
        // Time is what relays refuse least: it is divided when nothing else helps.
        let of_lists = Size([SMALLEST[AUTHORS], SMALLEST[KINDS], SMALLEST[LIMIT], u64::MAX]);
        if size.fits(&smallest) {
            return Refused::Smallest;
        }
        if !size.fits(&of_lists) {
            smallest.0[SECONDS] = self.most.0[SECONDS];
        }
        self.now = Size(std::array::from_fn(|at| smallest.0[at].min(self.most.0[at])));
        Refused::Smaller
    }
}

/// What is behind the first `most` items, if there is anything.
fn split_off<T>(items: &mut Vec<T>, most: u64) -> Option<Vec<T>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    (items.len() > most).then(|| items.split_off(most.max(1)))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::nostr::Pubkey;

    fn question(authors: u8, kinds: u64, days: u64) -> Filter {
        Filter {
            authors: Some((0..authors).map(|byte| Pubkey::from_bytes([byte; 32])).collect()),
            kinds: Some((0..kinds).collect()),
            since: Some(1),
            until: Some(days * 86_400),
            ..Filter::default()
        }
    }

    /// Asks a peer that answers questions of at most this size four of these; the number of questions, and of
    /// those that it refused.
    fn ask(question: Filter, takes: impl Fn(&Size) -> bool) -> (usize, usize, Sizes) {
        let mut sizes = Sizes::default();
        let (mut asked, mut refused, mut gaps) = (0, 0, 0);
        sizes.want(Size::of(&question, 500));
        let mut waiting = VecDeque::from(vec![question; 4]);
        while let Some(next) = waiting.pop_front() {
            let (piece, rest) = sizes.carve(next);
            rest.into_iter().rev().for_each(|it| waiting.push_front(it));
            let size = Size::of(&piece, sizes.limit(500));
            asked += 1;
            assert!(asked < 20_000, "it does not end");
            if takes(&size) {
                sizes.answered(size);
                continue;
            }
            refused += 1;
            match sizes.refused(size, false) {
                Refused::Smaller => waiting.push_front(piece),
                Refused::Content | Refused::Smallest => gaps += 1,
            }
        }
        assert_eq!(gaps, 0);
        (asked, refused, sizes)
    }

    #[test]
    fn a_peer_that_takes_everything_is_asked_each_question_once() {
        let (asked, refused, sizes) = ask(question(100, 57, 9_000), |_| true);
        assert_eq!((asked, refused, sizes.is_settled()), (4, 0, true));
    }

    #[test]
    fn what_a_peer_refuses_is_found_out_by_few_refusals_and_nothing_else_is_made_smaller() {
        for (at, most, in_other_dimensions) in
            [(AUTHORS, 20, 57), (KINDS, 10, 100), (LIMIT, 100, 100), (SECONDS, 30 * 86_400, 100)]
        {
            let (asked, refused, sizes) = ask(question(100, 57, 9_000), |size| size.0[at] <= most);
            assert!(refused <= 20, "{at}: {refused} of {asked}");
            assert!(sizes.is_settled(), "{at}: {sizes:?}");
            let works = sizes.works.0[at];
            assert!(works > most / 4 && works <= most, "{at}: {works}");
            let others = if at == AUTHORS { KINDS } else { AUTHORS };
            assert!(sizes.now.0[others] >= in_other_dimensions, "{at}");
        }
    }

    #[test]
    fn a_peer_that_refuses_everything_has_refused_the_smallest_after_three_questions() {
        let mut sizes = Sizes::default();
        let mut verdicts = Vec::new();
        for _ in 0..3 {
            let (piece, _) = sizes.carve(question(100, 57, 9_000));
            verdicts.push(sizes.refused(Size::of(&piece, sizes.limit(500)), false));
        }
        assert_eq!(verdicts, [Refused::Smaller, Refused::Smaller, Refused::Smallest]);
    }

    #[test]
    fn where_a_refusal_costs_time_only_one_size_beyond_what_works_is_tried() {
        let mut sizes = Sizes::default();
        let takes = |size: &Size| size.0[KINDS] <= 10;
        let (mut refused, question) = (0, question(100, 57, 9_000));
        sizes.want(Size::of(&question, 500));
        for _ in 0..50 {
            let (piece, _) = sizes.carve(question.clone());
            let size = Size::of(&piece, sizes.limit(500));
            if takes(&size) {
                sizes.answered(size);
            } else {
                refused += 1;
                sizes.refused(size, true);
            }
        }
        assert_eq!((refused, sizes.works.0), (2, [100, 8, 500, 9_000 * 86_400]));
    }

    #[test]
    fn what_is_refused_although_its_size_is_answered_is_refused_for_what_it_names() {
        let mut sizes = Sizes::default();
        sizes.answered(Size::of(&question(100, 57, 9_000), 500));
        assert_eq!(sizes.refused(Size::of(&question(100, 57, 9), 500), false), Refused::Content);
        assert_eq!(sizes.refused(Size::of(&question(1, 1, 1), 20), false), Refused::Smallest);
    }

    #[test]
    fn what_is_refused_although_it_is_as_short_as_may_be_is_refused_for_what_it_names() {
        let mut sizes = Sizes::default();
        let brief = |authors: u8, seconds: u64| Filter {
            since: Some(1_000),
            until: Some(1_000 + seconds),
            ..question(authors, 2, 1)
        };
        sizes.answered(Size::of(&brief(5, 2), 500));
        assert_eq!(sizes.refused(Size::of(&brief(5, 80_000), 20), false), Refused::Content);
        assert_eq!(sizes.refused(Size::of(&brief(6, 80_000), 20), false), Refused::Smaller);
    }

    #[test]
    fn what_was_proven_holds_for_all_that_is_smaller() {
        let mut proven = Proven::default();
        let size = |authors, kinds| Size::of(&question(authors, kinds, 1), 500);
        proven.add(size(100, 1));
        proven.add(size(3, 5));
        proven.add(size(2, 4));
        assert!(proven.covers(size(99, 1)) && proven.covers(size(1, 5)));
        assert!(!proven.covers(size(4, 2)) && !proven.covers(size(101, 1)));
        assert_eq!(proven.0.len(), 2);
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_question_are_all_of_it(
            authors in 1u8..40, kinds in 1u64..40, days in 1u64..900,
            now in (1u64..50, 1u64..50, 90_000u64..1_000_000),
            event in (0u8..40, 0u64..40, 0u64..900 * 86_400),
        ) {
            let sizes = Sizes {
                now: Size([now.0, now.1, 500, now.2]),
                ..Sizes::default()
            };
            let whole = question(authors, kinds, days);
            let mut waiting = vec![whole.clone()];
            let mut pieces = Vec::new();
            while let Some(next) = waiting.pop() {
                let (piece, rest) = sizes.carve(next);
                prop_assert!(Size::of(&piece, 500).fits(&sizes.now));
                waiting.extend(rest);
                pieces.push(piece);
            }
            let id = crate::nostr::EventId::from_bytes([0; 32]);
            let author = Pubkey::from_bytes([event.0; 32]);
            let is_in = |filter: &Filter| filter.matches(&id, &author, event.1, event.2);
            prop_assert_eq!(pieces.iter().any(is_in), is_in(&whole));
        }
    }
}
