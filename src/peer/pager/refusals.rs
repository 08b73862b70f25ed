//! What becomes of a question that the peer refuses: it is asked again smaller or in parts, or it is a
//! gap.

use std::collections::{HashMap, HashSet, VecDeque};

use super::control::{Control, Finding, Question};
use super::paged_query::PagedQuery;
use super::size::{Refused, Size};
use super::{Asked, Pager, fresh};
use crate::nostr::{Filter, kind};
use crate::peer::limits::{LOST_SAMPLES, REFUSALS_IN_A_ROW, SMALLEST_REFUSALS};
use crate::peer::outcome::{Gap, GapReason, Withheld};
use crate::peer::peer_limits::PeerLimits;

/// Refusals of the smallest question, and what is concluded from them.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) by_kind: HashMap<u64, usize>,
    /// Those in a row, without an answer about this kind between them.
    pub(super) in_a_row: HashMap<u64, usize>,
    /// Kinds that are not asked for any more.
    pub(super) kinds: HashMap<u64, Refusal>,
    /// Kinds that were in an answered question.
    pub(super) answered: HashSet<u64>,
}

/// Why a peer refuses a question.
#[derive(Debug, Clone)]
pub(in crate::peer) struct Refusal {
    pub(in crate::peer) reason: GapReason,
    /// Finding that out took a while, or a connection.
    pub(in crate::peer) is_costly: bool,
    /// The peer gives it to others, or wants to know who asks.
    pub(in crate::peer) is_denied: bool,
    /// A smaller question would be refused, too.
    pub(in crate::peer) is_final: bool,
}

impl Pager {
    pub(super) fn without_refused_kinds(&mut self, mut filter: Filter) -> Option<Filter> {
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

    /// The peer refuses what was asked under this name.
    pub(in crate::peer) fn refused(
        &mut self,
        subscription: &str,
        refusal: &Refusal,
        limits: &mut PeerLimits,
    ) {
        match self.take(subscription) {
            Some(Asked::Control(control)) => self.refuse_control(control, &refusal.reason, limits),
            Some(Asked::Page { query, size }) => self.refuse_query(query, size, refusal, limits),
            None => {}
        }
    }

    /// The peer refuses a control question.
    fn refuse_control(&mut self, control: Control, reason: &GapReason, limits: &mut PeerLimits) {
        let finding = control.end(limits.largest_page);
        match control.question {
            // A few relays say that they close what they have answered, and not that it has ended.
            Question::Sample
            | Question::Part
            | Question::Nothing
            | Question::Sized(_)
            | Question::Again { .. }
                if finding == Finding::Something =>
            {
                self.found(finding, &control, limits);
            }
            Question::First(_) | Question::Nearer { .. } => {
                self.found(Finding::NoOrder, &control, limits);
            }
            Question::Flush => self.flushed(limits),
            // It may be refused for the event that it names.
            Question::Sized(size) => self.ask_for_sample_again(size, false),
            Question::Cap { .. } => self.found(Finding::Nothing, &control, limits),
            // Whether something is there is to be found out without it. A relay that takes no question
            // of this sort refuses the largest, too; one that has answered that with nothing may
            // have refused the only one that it does not answer so.
            Question::Sample | Question::Part => {
                self.lost_samples = LOST_SAMPLES + 1;
                let mut empty = self.empty_controls.iter().map(|(_, it)| it.question);
                if control.question == Question::Part && empty.any(|it| it == Question::Sample) {
                    self.disbelieved.get_or_insert_with(|| reason.clone());
                }
            }
            Question::Again { was_answered, .. } => {
                self.lost_samples = LOST_SAMPLES + 1;
                self.sample = None;
                if was_answered {
                    self.disbelieved.get_or_insert_with(|| reason.clone());
                }
            }
            // What is refused is not nothing.
            Question::Nothing => self.refuse_all_doubtful(limits),
        }
        self.look_at_empty_controls(limits);
    }

    pub(super) fn refuse_query(
        &mut self,
        query: PagedQuery,
        size: Size,
        refusal: &Refusal,
        limits: &mut PeerLimits,
    ) {
        self.last_refusal = Some(refusal.reason.clone());
        let (rest, is_empty) = (query.rest(), query.page_is_empty());
        let came = query.page_events();
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
        if refusal.is_costly && came > 0 && limits.sizes.ended_after(came, size) {
            self.waiting.push_front(fresh(rest, limits));
            return;
        }
        let is_one_of_each = limits.sizes.nothing_works() && size.is_of_one_author_and_kind();
        match limits.sizes.refused(size, refusal.is_costly) {
            // What takes its time for one author and one kind is not asked many times.
            Refused::Smaller if is_one_of_each && refusal.is_costly && is_empty => {
                self.note_refusal(rest, refusal, limits);
            }
            Refused::Smaller => {
                self.waiting.push_front(fresh(rest, limits));
                if limits.sizes.divides_time() && !self.has_divided_time {
                    self.has_divided_time = true;
                    self.join_waiting(limits);
                }
            }
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
    pub(super) fn divided(&self, filter: &Filter) -> Option<Vec<Filter>> {
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

    /// It was the time that was too much, so what was divided by authors and kinds before that is
    /// asked together: years in pieces of days are walked through once, not once for each of them.
    fn join_waiting(&mut self, limits: &PeerLimits) {
        let mut joined: Vec<Filter> = Vec::new();
        let mut others = VecDeque::new();
        for query in std::mem::take(&mut self.waiting) {
            let filter = query.query();
            if !query.is_fresh() {
                others.push_back(query);
            } else if !joined.iter_mut().any(|known| join(known, &filter, limits)) {
                joined.push(filter);
            }
        }
        // Those of one kind are of all authors now, so kinds can be joined, too.
        let mut all: Vec<Filter> = Vec::new();
        for filter in joined {
            if !all.iter_mut().any(|known| join(known, &filter, limits)) {
                all.push(filter);
            }
        }
        self.waiting = all.into_iter().map(|filter| fresh(filter, limits)).chain(others).collect();
    }

    /// The connection has ended while a question was open alone: whether that has happened before,
    /// and nothing has come since. Once may have had any reason.
    pub(in crate::peer) fn is_cut_again(&mut self) -> bool {
        self.cuts += 1;
        self.cuts > 1
    }

    /// The smallest question was refused.
    pub(super) fn note_refusal(&mut self, filter: Filter, refusal: &Refusal, limits: &PeerLimits) {
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
    pub(super) fn count_refusal(&mut self, kind: u64, refusal: &Refusal) {
        let count = self.refusals.by_kind.entry(kind).or_default();
        *count += 1;
        if *count >= SMALLEST_REFUSALS && !self.refusals.answered.contains(&kind) {
            self.refusals.kinds.insert(kind, refusal.clone());
        }
    }

    /// This is not given.
    pub(super) fn miss(&mut self, filter: Filter, refusal: &Refusal) {
        if refusal.is_denied && is_private(&filter) {
            let reason = refusal.reason.to_string();
            self.outcome.withheld.push(Withheld { filter, reason });
        } else {
            self.outcome.gaps.push(Gap { filter, reason: refusal.reason.clone() });
        }
    }
}

/// Adds what the other one asks for, if both together are one question that differs from them in
/// its authors alone or in its kinds alone, and no larger than what was asked for at first.
fn join(known: &mut Filter, other: &Filter, limits: &PeerLimits) -> bool {
    let is_of_same_time = (known.since, known.until) == (other.since, other.until);
    if !is_of_same_time || is_private(known) != is_private(other) {
        return false;
    }
    let mut both = known.clone();
    if known.kinds == other.kinds
        && let (Some(authors), Some(more)) = (&mut both.authors, &other.authors)
    {
        authors.extend(more);
        authors.sort_unstable();
        authors.dedup();
    } else if known.authors == other.authors
        && let (Some(kinds), Some(more)) = (&mut both.kinds, &other.kinds)
    {
        kinds.extend(more);
        kinds.sort_unstable();
        kinds.dedup();
    } else {
        return false;
    }
    if !limits.sizes.is_wanted(Size::of(&both, 0)) {
        return false;
    }
    *known = both;
    true
}

/// Kinds that relays may give to those alone whom they concern.
pub(in crate::peer) fn is_private(filter: &Filter) -> bool {
    let is_private = |kind: &u64| is_private_kind(*kind);
    filter.kinds.as_ref().is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(is_private))
}

pub(super) fn is_private_kind(kind: u64) -> bool {
    [kind::DIRECT_MESSAGE, kind::GIFT_WRAP].contains(&kind)
}

pub(super) fn halves<T: Clone>(items: &[T]) -> Option<[Vec<T>; 2]> {
    let (left, right) = items.split_at(items.len() / 2);
    (!left.is_empty()).then(|| [left.to_vec(), right.to_vec()])
}
