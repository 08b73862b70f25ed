//! Whether the ends that a relay announces can be believed: small questions whose answers tell
//! whether pages come newest first, and whether "nothing" was true.
//!
//! Pure: says what to ask and is told what came.

use super::paged_query::PageOrder;
use super::size::Size;
use crate::nostr::{Filter, Outline, Pubkey, kind};
use crate::peer::limits::{CONTROL_AUTHORS, CONTROL_KINDS, SAMPLES, SMALLEST_PAGE_LIMIT};
use crate::peer::message;

/// Kinds that nearly every author has published: these are asked for first.
const COMMON_KINDS: [u64; 3] = [kind::PROFILE, kind::TEXT_NOTE, kind::RELAY_LIST];

/// One small question.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) question: Question,
    filter: Filter,
    /// The newest event that came.
    newest: Option<u64>,
    /// Something came that is not taken, in its place.
    is_passed: bool,
    /// Events that came.
    came: usize,
    /// Those of them that are newer than what is asked about.
    newer: usize,
}

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The order of a page, of which this is known.
    Order(PageOrder),
    /// Whether there are more events newer than something that a page holds than the page shows.
    Newer(Newer),
    /// Whether the relay gives more than so many events at once.
    Cap { held: usize },
    /// Any event that the relay has.
    Sample,
    /// Whether a question of this size that names an event which the relay has brings it.
    Sized(Size),
    /// Whether the smallest question for that event still brings it.
    Again(Size),
    /// Whether a relay that has given nothing has nothing.
    Nothing { is_last: bool },
    /// Asks for nothing: what a relay has sent before its answer has come by then.
    Flush,
}

/// What [`Question::Newer`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newer {
    /// The oldest second of the page.
    than: u64,
    /// So many events of the page are newer.
    held: usize,
    /// All events of the page are of one second.
    is_of_one_second: bool,
    /// That second is left out of the question.
    is_strict: bool,
}

/// What the answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    NewestFirst,
    OldestFirst,
    /// Neither: what a page leaves out may be anywhere.
    NoOrder,
    /// Nothing is newer than this page.
    NothingNewer,
    /// It may have been cut, so that a stricter question has to tell.
    Unsure,
    /// There is something.
    Something,
    Nothing,
}

impl Control {
    fn new(question: Question, filter: Filter) -> Self {
        Self { question, filter, newest: None, is_passed: false, came: 0, newer: 0 }
    }

    /// Asks for one event of a page that was asked for with this filter.
    pub(super) fn of_order(page: PageOrder, asked: &Filter) -> Self {
        let filter = Filter { limit: Some(1), ..asked.clone() };
        Self::new(Question::Order(page), filter)
    }

    // A relay may leave out the second from which it is asked. So each of the next three asks from
    // the oldest second of the page, counts what is newer, and asks without that second only if the
    // answer may have been cut; it is known by then that the second is not left out.

    /// Asks these authors, of whom a page holds nothing, for what is newer than its oldest event: a
    /// relay may give one author after the other.
    pub(super) fn of_others(page: PageOrder, authors: Vec<Pubkey>, asked: &Filter) -> Self {
        let (than, authors) = (page.oldest, Some(authors));
        let filter = Filter { authors, ..asked.clone() };
        let newer = Newer { than, held: 0, is_of_one_second: false, is_strict: false };
        Self::of_newer(newer, filter, SMALLEST_PAGE_LIMIT)
    }

    /// Asks for what is newer than the oldest second of a page of so many events, of which so many
    /// are newer: a relay may give the events of a part of what it was asked for.
    pub(super) fn of_rest(page: PageOrder, held: usize, events: usize, asked: &Filter) -> Self {
        let filter = Filter { until: Some(page.newest), ..asked.clone() };
        let newer = Newer { than: page.oldest, held, is_of_one_second: false, is_strict: false };
        Self::of_newer(newer, filter, events + 1)
    }

    /// Asks for what is newer than a page of so many events, which are all of this second.
    pub(super) fn of_one_second(than: u64, events: usize, asked: &Filter) -> Self {
        let newer = Newer { than, held: 0, is_of_one_second: true, is_strict: false };
        Self::of_newer(newer, asked.clone(), events + 1)
    }

    fn of_newer(newer: Newer, filter: Filter, limit: usize) -> Self {
        let limit = u64::try_from(limit).ok();
        let filter = Filter { since: Some(newer.than), limit, ..filter };
        Self::new(Question::Newer(newer), filter)
    }

    /// Asks the same without the oldest second.
    pub(super) fn stricter(&self, newer: Newer) -> Self {
        let limit = u64::try_from(newer.held.saturating_add(1)).ok();
        let since = Some(newer.than.saturating_add(1));
        let question = Question::Newer(Newer { is_strict: true, ..newer });
        Self::new(question, Filter { since, limit, ..self.filter.clone() })
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
    pub(super) fn of_sample_again(size: Size, sample: &Outline) -> Self {
        let filter = Filter {
            authors: Some(vec![sample.pubkey]),
            kinds: Some(vec![sample.kind]),
            since: Some(sample.created_at.saturating_sub(1)),
            until: Some(sample.created_at.saturating_add(1)),
            limit: Some(1),
            ..Filter::default()
        };
        Self::new(Question::Again(size), filter)
    }

    /// Asks for nothing.
    pub(super) fn flush() -> Self {
        Self::new(Question::Flush, message::for_nothing())
    }

    /// Asks for one event of a question that was answered with nothing. The last one is about a
    /// few of the authors alone.
    pub(super) fn of_nothing(answered: &Filter, is_last: bool) -> Self {
        let mut filter = Filter { limit: Some(1), ..answered.clone() };
        if let Some(kinds) = &mut filter.kinds {
            kinds.sort_by_key(|kind| (!COMMON_KINDS.contains(kind), *kind));
            kinds.truncate(CONTROL_KINDS);
        }
        if is_last && let Some(authors) = &mut filter.authors {
            authors.truncate(CONTROL_AUTHORS);
        }
        Self::new(Question::Nothing { is_last }, filter)
    }

    /// What is asked.
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// An event came; `None`: it was not asked for.
    pub(super) fn event_of(&mut self, event: &Outline) -> Option<Question> {
        let Outline { id, pubkey, kind, created_at } = event;
        if !self.filter.matches(id, pubkey, *kind, *created_at) {
            return None;
        }
        self.event(*created_at);
        Some(self.question)
    }

    fn event(&mut self, created_at: u64) {
        self.newest = self.newest.max(Some(created_at));
        self.came = self.came.saturating_add(1);
        if let Question::Newer(newer) = self.question
            && created_at > newer.than
        {
            self.newer = self.newer.saturating_add(1);
        }
    }

    /// Something came in the place of an event that is not taken.
    pub(super) fn pass(&mut self) {
        self.is_passed = true;
    }

    /// Nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none() && !self.is_passed
    }

    /// How many events have come.
    pub(super) fn came(&self) -> usize {
        self.came
    }

    /// What the end of the answer shows, if the relay has given `largest` events in one page.
    pub(super) fn end(&self, largest: usize) -> Finding {
        match (self.question, self.newest) {
            (Question::Flush, _) => Finding::Nothing,
            (Question::Newer(newer), _) => self.end_of_newer(newer, largest),
            (Question::Cap { held }, _) if self.came > held => Finding::Something,
            (Question::Cap { .. }, _) => Finding::Nothing,
            (Question::Order(page), Some(newest)) if newest >= page.newest => Finding::NewestFirst,
            (Question::Order(page), Some(newest)) if page.is_rising && newest <= page.oldest => {
                Finding::OldestFirst
            }
            // It shows nothing, and what the page shows is all that is known.
            (Question::Order(_), None) if self.is_passed => Finding::NewestFirst,
            (Question::Order(_), _) => Finding::NoOrder,
            (_, Some(_)) => Finding::Something,
            (_, None) => Finding::Nothing,
        }
    }

    fn end_of_newer(&self, newer: Newer, largest: usize) -> Finding {
        let asked = self.filter.limit.and_then(|limit| usize::try_from(limit).ok());
        let is_whole = self.came < asked.unwrap_or(usize::MAX).min(largest);
        match (self.newer > newer.held, newer.is_of_one_second) {
            (true, true) => Finding::OldestFirst,
            (true, false) => Finding::NoOrder,
            (false, _) if !is_whole && !newer.is_strict => Finding::Unsure,
            (false, true) => Finding::NothingNewer,
            (false, false) => Finding::NewestFirst,
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

    fn order_of(newest: u64, oldest: u64, is_rising: bool, given: Option<u64>) -> Finding {
        let page = PageOrder { newest, oldest, is_rising, mixed: None };
        let mut control = Control::of_order(page, &Filter::default());
        given.into_iter().for_each(|created_at| control.event(created_at));
        control.end(0)
    }

    #[test]
    fn one_event_tells_which_events_a_relay_gives_first() {
        use Finding::{NewestFirst, NoOrder, OldestFirst};
        for (is_rising, given, finding) in [
            (false, Some(90), NewestFirst),
            (false, Some(95), NewestFirst),
            (true, Some(90), NewestFirst),
            (true, Some(10), OldestFirst),
            (true, Some(5), OldestFirst),
            (false, Some(10), NoOrder),
            (true, Some(50), NoOrder),
            (true, None, NoOrder),
        ] {
            assert_eq!(order_of(90, 10, is_rising, given), finding, "{is_rising} {given:?}");
        }
    }

    #[test]
    fn a_control_of_nothing_is_about_few_and_common_kinds_and_at_last_about_few_authors() {
        let authors: Vec<Pubkey> = (0..100).map(|byte| Pubkey::from_bytes([byte; 32])).collect();
        let answered = Filter {
            authors: Some(authors.clone()),
            kinds: Some(vec![0, 1, 3, 5, 7, 10_002]),
            until: Some(9),
            ..Filter::default()
        };
        let expected = |authors: &[Pubkey]| Filter {
            authors: Some(authors.to_vec()),
            kinds: Some(vec![0, 1, 10_002]),
            until: Some(9),
            limit: Some(1),
            ..Filter::default()
        };
        assert_eq!(Control::of_nothing(&answered, false).filter(), &expected(&authors));
        let few = expected(&authors[..CONTROL_AUTHORS]);
        let mut last = Control::of_nothing(&answered, true);
        assert_eq!((last.filter(), last.end(0)), (&few, Finding::Nothing));
        last.event(5);
        assert_eq!(last.end(0), Finding::Something);
    }
}
