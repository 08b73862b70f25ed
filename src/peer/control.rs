//! Whether the ends that a relay announces can be believed: small questions whose answers tell
//! whether pages come newest first, and whether "nothing" was true.
//!
//! Pure: says what to ask and is told what came.

use super::limits::{CONTROL_AUTHORS, CONTROL_KINDS};
use super::message;
use super::paged_query::PageOrder;
use crate::nostr::{Filter, Pubkey, kind};

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
    came: u64,
}

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The order of a page, of which this is known.
    Order(PageOrder),
    /// Whether authors of whom a page holds nothing have something newer than its oldest event: a
    /// relay may give one author after the other.
    Others,
    /// Whether there is something newer than the oldest event of a page beside the so many events
    /// that it holds: a relay may give the events of a part of what it was asked for.
    Rest { held: u64 },
    /// Whether something is newer than a page whose events are all of one second.
    Newer,
    /// Whether a relay that has given nothing has nothing.
    Nothing { is_last: bool },
    /// Asks for nothing: what a relay has sent before its answer has come by then.
    Flush,
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
    /// There is something.
    Something,
    Nothing,
}

impl Control {
    fn new(question: Question, filter: Filter) -> Self {
        Self { question, filter, newest: None, is_passed: false, came: 0 }
    }

    /// Asks for one event of a page that was asked for with this filter.
    pub(super) fn of_order(page: PageOrder, asked: &Filter) -> Self {
        let filter = Filter { limit: Some(1), ..asked.clone() };
        Self::new(Question::Order(page), filter)
    }

    /// Asks these authors, of whom a page holds nothing, for one event newer than its oldest.
    pub(super) fn of_others(page: PageOrder, authors: Vec<Pubkey>, asked: &Filter) -> Self {
        let (authors, since) = (Some(authors), Some(page.oldest.saturating_add(1)));
        let filter = Filter { limit: Some(1), authors, since, ..asked.clone() };
        Self::new(Question::Others, filter)
    }

    /// Asks for one event more than the so many of a page that are newer than its oldest second.
    pub(super) fn of_rest(page: PageOrder, held: u64, asked: &Filter) -> Self {
        let (since, until) = (Some(page.oldest.saturating_add(1)), Some(page.newest));
        let limit = Some(held.saturating_add(1));
        let filter = Filter { since, until, limit, ..asked.clone() };
        Self::new(Question::Rest { held }, filter)
    }

    /// Asks for one event that is newer than this page, all of whose events are of this second.
    pub(super) fn of_newer(second: u64, asked: &Filter) -> Self {
        let since = Some(second.saturating_add(1));
        let filter = Filter { limit: Some(1), since, ..asked.clone() };
        Self::new(Question::Newer, filter)
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

    /// An event that was asked for came.
    pub(super) fn event(&mut self, created_at: u64) {
        self.newest = self.newest.max(Some(created_at));
        self.came = self.came.saturating_add(1);
    }

    /// Something came in the place of an event that is not taken.
    pub(super) fn pass(&mut self) {
        self.is_passed = true;
    }

    /// Nothing has come.
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none() && !self.is_passed
    }

    /// What the end of the answer shows.
    pub(super) fn end(&self) -> Finding {
        match (self.question, self.newest) {
            (Question::Nothing { .. }, None) | (Question::Flush, _) => Finding::Nothing,
            (Question::Others, None) => Finding::NewestFirst,
            (Question::Rest { held }, _) if self.came <= held => Finding::NewestFirst,
            (Question::Rest { .. }, _) => Finding::NoOrder,
            (Question::Others, Some(_)) => Finding::NoOrder,
            (Question::Newer, None) => Finding::NothingNewer,
            (Question::Newer, Some(_)) => Finding::OldestFirst,
            (Question::Nothing { .. }, Some(_)) => Finding::Something,
            (Question::Order(page), Some(newest)) if newest >= page.newest => Finding::NewestFirst,
            (Question::Order(page), Some(newest)) if page.is_rising && newest <= page.oldest => {
                Finding::OldestFirst
            }
            // It shows nothing, and what the page shows is all that is known.
            (Question::Order(_), None) if self.is_passed => Finding::NewestFirst,
            (Question::Order(_), _) => Finding::NoOrder,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(newest: u64, oldest: u64, is_rising: bool, given: Option<u64>) -> Finding {
        let page = PageOrder { newest, oldest, is_rising, mixed: None };
        let mut control = Control::of_order(page, &Filter::default());
        given.into_iter().for_each(|created_at| control.event(created_at));
        control.end()
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
        assert_eq!((last.filter(), last.end()), (&few, Finding::Nothing));
        last.event(5);
        assert_eq!(last.end(), Finding::Something);
    }
}
