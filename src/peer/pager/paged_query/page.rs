//! What one page brought, and what its end shows.

use std::collections::HashSet;
use std::hash::Hash;

use super::{LeftOut, Order};
use crate::nostr::Pubkey;
use crate::peer::limits::SMALLEST_PAGE_LIMIT;

/// What the current page brought so far.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// All that came.
    pub(super) came: usize,
    /// Also those that are of no use: the relay's limit counts them.
    pub(super) events: usize,
    pub(super) new: usize,
    /// Those beyond what the page is about.
    pub(super) beyond: usize,
    pub(super) newest: Option<u64>,
    pub(super) oldest: Option<u64>,
    /// Whose events, and of which kinds, are in the oldest second.
    pub(super) in_oldest: HashSet<(Pubkey, u64)>,
    /// How many events of the oldest second it holds.
    pub(super) of_oldest: usize,
    /// In which order their authors and their kinds came.
    pub(super) authors: Turns<Pubkey>,
    pub(super) kinds: Turns<u64>,
    /// An event is newer than the one before it.
    pub(super) has_risen: bool,
    /// So many events are older than the one before them.
    pub(super) falls: usize,
    pub(super) latest: Option<u64>,
    /// Whether some were not asked for or are no events.
    pub(super) strayed: bool,
    /// Of no use for another reason.
    pub(super) passed: usize,
}

/// Whether events of one author, or of one kind, came before and after those of another.
#[derive(Debug)]
pub(super) struct Turns<T> {
    seen: HashSet<T>,
    last: Option<T>,
    pub(super) is_interleaved: bool,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { seen: HashSet::new(), last: None, is_interleaved: false }
    }
}

impl<T: Copy + Eq + Hash> Turns<T> {
    fn note(&mut self, one: T) {
        let is_again = !self.seen.insert(one);
        self.is_interleaved |= is_again && self.last != Some(one);
        self.last = Some(one);
    }
}

/// What a page shows of the order in which a relay gives its events. Seconds are as they are inside:
/// the nearest is the one that the relay is to give first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer::pager) struct PageOrder {
    pub(in crate::peer::pager) order: Order,
    pub(in crate::peer::pager) nearest: u64,
    pub(in crate::peer::pager) farthest: u64,
    /// So many events that are taken are nearer than the farthest second.
    pub(in crate::peer::pager) nearer: usize,
    /// So many are dated later than what is taken: a relay that gives them does not heed `until`.
    pub(in crate::peer::pager) passed: usize,
    pub(in crate::peer::pager) events: usize,
    /// No event is farther than the one before it: the relay may give them the other way round.
    pub(in crate::peer::pager) may_be_reversed: bool,
}

/// What the end of a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer::pager) enum PageEnd {
    GoesOn,
    /// The relay leaves out these bounds. The page is to be asked for again.
    LeavesOut(LeftOut),
}

impl Page {
    pub(super) fn note(&mut self, pubkey: &Pubkey, kind: u64, second: u64) {
        self.events += 1;
        self.newest = self.newest.max(Some(second));
        self.authors.note(*pubkey);
        self.kinds.note(kind);
        if self.oldest.is_none_or(|oldest| second < oldest) {
            self.oldest = Some(second);
            self.in_oldest.clear();
            self.of_oldest = 0;
        }
        if self.oldest == Some(second) {
            self.in_oldest.insert((*pubkey, kind));
            self.of_oldest += 1;
        }
        if let Some(before) = self.latest.replace(second) {
            self.has_risen |= second > before;
            self.falls += usize::from(second < before);
        }
    }

    /// Whether the page brought nothing and may have left out what was asked for.
    pub(super) fn is_useless(&self) -> bool {
        self.new == 0 && (self.strayed || self.passed >= SMALLEST_PAGE_LIMIT)
    }
}
