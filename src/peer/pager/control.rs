//! Whether the ends that a relay announces can be believed: small questions whose answers tell
//! whether pages come newest first, and whether "nothing" was true.
//!
//! Pure: says what to ask and is told what came. `docs/control-questions.md` lists them all.

use super::paged_query::{Order, PageOrder};
use super::size::Size;
use crate::nostr::{Filter, Outline, kind};
use crate::peer::limits::{CONTROL_AUTHORS, CONTROL_KINDS, RECENT, SAMPLES};
use crate::peer::message;

/// Kinds that nearly every author has published: these are asked for first.
const COMMON_KINDS: [u64; 3] = [kind::PROFILE, kind::TEXT_NOTE, kind::RELAY_LIST];

/// One small question.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) question: Question,
    filter: Filter,
    /// The first event that came.
    first: Option<u64>,
    /// All that came, whatever it is: the relay's limit counts it.
    came: usize,
    /// Events that came in answer.
    events: usize,
    /// Events that a page leaves out, although it should hold them.
    left_out: usize,
    /// An event of the page's farthest second came.
    reaches_farthest: bool,
    /// Something came that was not asked for.
    has_strayed: bool,
}

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Which event the relay gives first of what it was asked for, if a page has shown this.
    First(PageOrder),
    /// Whether such a page leaves out what is nearer than its farthest event.
    Nearer {
        page: PageOrder,
        /// That second is left out of the question.
        is_strict: bool,
    },
    /// Whether the relay gives more than so many events at once.
    Cap { held: usize },
    /// Any event that the relay has.
    Sample,
    /// Any event of the last month, or of a few of the authors.
    Part,
    /// Whether a question of this size that names an event which the relay has brings it.
    Sized(Size),
    /// Whether the smallest question for that event still brings it; the larger one was answered with
    /// nothing, or refused.
    Again { size: Size, was_answered: bool },
    /// Whether a relay that has given nothing has nothing.
    Nothing,
    /// Asks for nothing: what a relay has sent before its answer has come by then.
    Flush,
}

/// What the answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The relay keeps to the order in which it is asked.
    InOrder,
    /// It keeps to the opposite order.
    Reversed,
    /// Neither: what a page leaves out may be anywhere.
    NoOrder,
    /// This page leaves out nothing that is nearer than what it holds.
    NothingNearer,
    /// The answer may have been cut, so that a stricter question has to tell.
    Unsure,
    /// There is something.
    Something,
    Nothing,
}

impl Control {
    fn new(question: Question, filter: Filter) -> Self {
        Self {
            question,
            filter,
            first: None,
            came: 0,
            events: 0,
            left_out: 0,
            reaches_farthest: false,
            has_strayed: false,
        }
    }

    /// The same question, which is asked again.
    pub(super) fn again(self) -> Self {
        Self::new(self.question, self.filter)
    }

    /// Asks for one event of a page that was asked for with this filter.
    pub(super) fn of_first(page: PageOrder, asked: &Filter) -> Self {
        let filter = Filter { limit: Some(1), ..asked.clone() };
        Self::new(Question::First(page), filter)
    }

    /// Asks for what is nearer than such a page, or as near as its farthest second.
    // A relay may leave out the second from which it is asked, so that second is asked for, too. It is
    // left out only if the answer may have been cut, and has shown that the relay gives it.
    // `most`: events that the page was asked for; a larger limit may be refused.
    pub(super) fn of_nearer(page: PageOrder, nearer: Filter, most: u64) -> Self {
        let limit = u64::try_from(page.events.saturating_add(1)).unwrap_or(most).min(most);
        let filter = Filter { limit: Some(limit), ..nearer };
        Self::new(Question::Nearer { page, is_strict: false }, filter)
    }

    /// Asks the same without that second.
    pub(super) fn stricter(&self, page: PageOrder) -> Self {
        let limit = u64::try_from(page.nearer.saturating_add(page.passed).saturating_add(1)).ok();
        let mut filter = Filter { limit, ..self.filter.clone() };
        let beyond = page.order.turn(page.farthest.saturating_add(1));
        match page.order {
            Order::NewestFirst => filter.since = Some(beyond),
            Order::OldestFirst => filter.until = Some(beyond),
        }
        Self::new(Question::Nearer { page, is_strict: true }, filter)
    }

    /// Asks for more events than so many, whatever they are.
    pub(super) fn of_cap(held: usize) -> Self {
        let limit = u64::try_from(held.saturating_add(1)).ok();
        Self::new(Question::Cap { held }, Filter { limit, ..Filter::default() })
    }

    /// Asks for any events: a few, since the newest may be such as are kept for others.
    pub(super) fn of_sample(until: Option<u64>) -> Self {
        let limit = Some(SAMPLES);
        Self::new(Question::Sample, Filter { until, limit, ..Filter::default() })
    }

    /// Asks for any events of the last month: older ones may be too much to ask for.
    pub(super) fn of_recent(until: Option<u64>) -> Self {
        let since = until.map(|until| until.saturating_sub(RECENT));
        let filter = Filter { since, until, limit: Some(SAMPLES), ..Filter::default() };
        Self::new(Question::Part, filter)
    }

    /// Asks as largely as a question that was answered with nothing, but for an event that the relay
    /// has. It stands at the end of the time that is asked about, so that little else is there.
    pub(super) fn of_size(answered: &Filter, limit: u64, sample: &Outline) -> Self {
        let size = Size::of(answered, limit);
        let mut filter = Filter { limit: Some(limit), ..answered.clone() };
        if let Some(authors) = &mut filter.authors {
            put_in(authors, sample.pubkey);
        }
        if let Some(kinds) = &mut filter.kinds {
            put_in(kinds, sample.kind);
        }
        // A second more on either side: some relays leave out the first, the last, or both.
        let since = sample.created_at.saturating_sub(1);
        if let Some(until) = filter.until {
            let seconds = until.saturating_sub(filter.since.unwrap_or(0));
            filter.until = Some(since.saturating_add(seconds.max(2)));
        }
        filter.since = Some(since);
        Self::new(Question::Sized(size), filter)
    }

    /// Asks for that event alone.
    pub(super) fn of_sample_again(size: Size, was_answered: bool, sample: &Outline) -> Self {
        let filter = Filter {
            authors: Some(vec![sample.pubkey]),
            kinds: Some(vec![sample.kind]),
            since: Some(sample.created_at.saturating_sub(1)),
            until: Some(sample.created_at.saturating_add(1)),
            limit: Some(1),
            ..Filter::default()
        };
        Self::new(Question::Again { size, was_answered }, filter)
    }

    /// Asks for nothing.
    pub(super) fn flush() -> Self {
        Self::new(Question::Flush, message::for_nothing())
    }

    /// Asks for any events of a few of the authors of a question that was answered with nothing.
    pub(super) fn of_few_authors(answered: &Filter) -> Option<Self> {
        let authors = answered.authors.iter().flatten().take(CONTROL_AUTHORS).copied().collect();
        let (authors, until) = (Some(authors), answered.until);
        let filter = Filter { authors, until, limit: Some(SAMPLES), ..Filter::default() };
        answered.authors.is_some().then(|| Self::new(Question::Part, filter))
    }

    /// Asks for one event of a question that was answered with nothing.
    pub(super) fn of_nothing(answered: &Filter) -> Self {
        let mut filter = Filter { limit: Some(1), ..answered.clone() };
        if let Some(kinds) = &mut filter.kinds {
            kinds.sort_by_key(|kind| (!COMMON_KINDS.contains(kind), *kind));
            kinds.truncate(CONTROL_KINDS);
        }
        Self::new(Question::Nothing, filter)
    }

    /// What is asked.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// An event came, which the page in question holds or not; `None`: it was not asked for.
    pub(super) fn event_of(&mut self, event: &Outline, is_held: bool) -> Option<Question> {
        let Outline { id, pubkey, kind, created_at } = event;
        self.came = self.came.saturating_add(1);
        if !self.filter.matches(id, pubkey, *kind, *created_at) {
            self.has_strayed = true;
            return None;
        }
        self.event(*created_at, is_held);
        Some(self.question)
    }

    fn event(&mut self, created_at: u64, is_held: bool) {
        self.first.get_or_insert(created_at);
        self.events = self.events.saturating_add(1);
        if let Question::Nearer { page, .. } = self.question {
            let second = page.order.turn(created_at);
            self.left_out += usize::from(second > page.farthest && !is_held);
            self.reaches_farthest |= second == page.farthest;
        }
    }

    /// Something came in the place of an event that is not taken.
    pub(super) fn pass(&mut self) {
        self.came = self.came.saturating_add(1);
    }

    /// Something has come that was not asked for.
    pub(super) fn has_strayed(&self) -> bool {
        self.has_strayed
    }

    /// Nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.came == 0
    }

    /// Whether it is asked because the peer has given nothing at all.
    pub(super) fn is_about_nothing(&self) -> bool {
        matches!(self.question, Question::Sample | Question::Part | Question::Nothing)
    }

    /// How many events have come.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    /// What the end of the answer shows, if the relay has given `largest` events in one page.
    pub(super) fn end(&self, largest: usize) -> Finding {
        match self.question {
            Question::Flush => Finding::Nothing,
            Question::First(page) => self.end_of_first(page),
            Question::Nearer { page, is_strict } => self.end_of_nearer(page, is_strict, largest),
            Question::Cap { held } if self.came > held => Finding::Something,
            Question::Cap { .. } => Finding::Nothing,
            _ if self.events > 0 => Finding::Something,
            _ => Finding::Nothing,
        }
    }

    fn end_of_first(&self, page: PageOrder) -> Finding {
        match self.first.map(|first| page.order.turn(first)) {
            Some(first) if first >= page.nearest => Finding::InOrder,
            Some(first) if first <= page.farthest => Finding::Reversed,
            _ => Finding::NoOrder,
        }
    }

    fn end_of_nearer(&self, page: PageOrder, is_strict: bool, largest: usize) -> Finding {
        let asked = self.filter.limit.and_then(|limit| usize::try_from(limit).ok());
        // A relay that does not keep to the filter may have cut it at any length.
        let is_whole = self.came < asked.unwrap_or(usize::MAX).min(largest) && !self.has_strayed;
        // What the page holds comes again, or it is no answer.
        let is_answer = self.left_out == 0 && self.came >= page.nearer;
        match is_answer {
            true if is_whole => Finding::NothingNearer,
            true if !is_strict && self.reaches_farthest => Finding::Unsure,
            _ => Finding::NoOrder,
        }
    }
}

/// Puts the item in the place of another one, unless it is there.
fn put_in<T: PartialEq>(items: &mut [T], item: T) {
    if !items.contains(&item)
        && let Some(last) = items.last_mut()
    {
        *last = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Pubkey;

    fn page(order: Order) -> PageOrder {
        let (nearest, farthest) = (order.turn(90), order.turn(60));
        let (nearest, farthest) = (nearest.max(farthest), nearest.min(farthest));
        PageOrder {
            order,
            nearest,
            farthest,
            nearer: 4,
            passed: 0,
            events: 5,
            may_be_reversed: true,
        }
    }

    #[test]
    fn one_event_tells_which_events_a_relay_gives_first() {
        use Finding::{InOrder, NoOrder, Reversed};
        for (order, given, finding) in [
            (Order::NewestFirst, Some(90), InOrder),
            (Order::NewestFirst, Some(95), InOrder),
            (Order::NewestFirst, Some(60), Reversed),
            (Order::NewestFirst, Some(5), Reversed),
            (Order::NewestFirst, Some(70), NoOrder),
            (Order::NewestFirst, None, NoOrder),
            (Order::OldestFirst, Some(60), InOrder),
            (Order::OldestFirst, Some(95), Reversed),
        ] {
            let mut control = Control::of_first(page(order), &Filter::default());
            given.into_iter().for_each(|created_at| control.event(created_at, true));
            assert_eq!(control.end(0), finding, "{order:?} {given:?}");
        }
    }

    #[test]
    fn a_page_is_whole_as_far_as_it_reaches_if_nothing_nearer_is_left_out() {
        use Finding::{NoOrder, NothingNearer, Unsure};
        let held = |second: u64| (second, true);
        let all = [90, 80, 70, 65, 60].map(held);
        for (given, is_strict, finding) in [
            (&all[..4], false, NothingNearer),
            // It is as large as any page, and may have been cut.
            (&all[..], false, Unsure),
            (&[all[0]; 5], false, NoOrder),
            (&[(61, false)], false, NoOrder),
            (&[], false, NoOrder),
            (&all[..4], true, NothingNearer),
            (&all[..], true, NoOrder),
            (&[(90, false)], true, NoOrder),
        ] {
            let mut control = Control::of_nearer(page(Order::NewestFirst), Filter::default(), 500);
            if is_strict {
                control = control.stricter(page(Order::NewestFirst));
                assert_eq!((control.filter.since, control.filter.limit), (Some(61), Some(5)));
            }
            given.iter().for_each(|&(second, is_held)| control.event_and_count(second, is_held));
            assert_eq!(control.end(5), finding, "{given:?} {is_strict}");
        }
    }

    impl Control {
        fn event_and_count(&mut self, second: u64, is_held: bool) {
            self.came += 1;
            self.event(second, is_held);
        }
    }

    #[test]
    fn nothing_is_doubted_for_few_and_common_kinds_and_for_all_kinds_of_few_authors() {
        let authors: Vec<Pubkey> = (0..100).map(|byte| Pubkey::from_bytes([byte; 32])).collect();
        let answered = Filter {
            authors: Some(authors.clone()),
            kinds: Some(vec![0, 1, 3, 5, 7, 10_002]),
            until: Some(9),
            ..Filter::default()
        };
        let mut nothing = Control::of_nothing(&answered);
        let kinds = Some(vec![0, 1, 10_002]);
        let expected = Filter { kinds, limit: Some(1), ..answered.clone() };
        assert_eq!((nothing.filter(), nothing.end(0)), (&expected, Finding::Nothing));
        nothing.event(5, false);
        assert_eq!(nothing.end(0), Finding::Something);
        let few = Control::of_few_authors(&answered).unwrap();
        let authors = Some(authors[..CONTROL_AUTHORS].to_vec());
        let expected =
            Filter { authors, until: Some(9), limit: Some(SAMPLES), ..Filter::default() };
        assert_eq!(few.filter(), &expected);
    }
}
