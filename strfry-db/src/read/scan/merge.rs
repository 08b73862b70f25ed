//! Many walks through one index, merged into one from new to old.
//!
//! Each walk is read in pieces that end between two seconds, so a walk goes on from a time alone,
//! in whichever snapshot there is by then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::ControlFlow;

use super::index::Index;
use super::plan::IndexRange;
use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::format::tables::present;
use crate::limits::{BUFFERED_ENTRIES, ENTRIES_PER_READ, ROWS_PER_SNAPSHOT};
use crate::nostr::filter::Filter;
use crate::read::get::Found;
use crate::read::stored_event::EVENTS;
use crate::txn::snapshot::Snapshot;

const CREATED_AT: &str = "Event__created_at";

/// An entry of the index, and the commit that it was read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) found: Found,
    pub(super) txn_id: u64,
}

/// What one step of the merge came to.
pub(super) enum Step {
    /// The next entry; one that has several of the prefixes comes once.
    Entry(Entry),
    /// A walk has been begun or gone on with: a good place to look at the clock.
    Read,
    /// There is no more.
    End,
}

/// One walk: what has been read ahead of it, and where to read on.
#[derive(Clone)]
struct Source {
    prefix: Box<[u8]>,
    before: Option<u64>,
    is_at_end: bool,
    /// Newest first.
    entries: Vec<Found>,
    at: usize,
    /// The commit that they are of.
    txn_id: u64,
    counted: Counted,
}

/// Entries of a walk over a whole index. While all are of one commit, at its end they must be as
/// many as the table says.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// Before the first.
    None,
    /// So many, in this commit.
    In { txn_id: u64, entries: u64 },
    /// Of several commits, or of a part of the index.
    Unknown,
}

/// Where a source is. The newest is the greatest; of equal ones the first source.
type Head = (u64, LevId, Reverse<usize>);

/// The merged walks of one index.
#[derive(Clone)]
pub(super) struct Merge {
    index: Index,
    since: u64,
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    /// Sources that are not in `heads` because they must be read first.
    unread: Vec<usize>,
    last: Option<Found>,
    first_read: usize,
    longest_read: usize,
    /// The records of what is in the index are looked at too.
    reads_records: bool,
}

impl Counted {
    /// With so many more entries.
    fn and(self, more: u64, now: u64) -> Self {
        match self {
            Self::None => Self::In { txn_id: now, entries: more },
            Self::In { txn_id, entries } if txn_id == now => {
                Self::In { txn_id, entries: entries + more }
            }
            Self::In { .. } | Self::Unknown => Self::Unknown,
        }
    }
}

impl Merge {
    /// `rows`: matches that one snapshot gives out; to read more ahead would be to read it twice.
    pub(super) fn new(
        range: IndexRange,
        filter: &Filter,
        rows: usize,
        reads_records: bool,
    ) -> Self {
        let source = |prefix| Source {
            prefix,
            before: filter.until.checked_add(1),
            is_at_end: false,
            entries: Vec::new(),
            at: 0,
            txn_id: 0,
            counted: match range.index {
                Index::CreatedAt if filter.until == u64::MAX => Counted::None,
                _ => Counted::Unknown,
            },
        };
        let sources: Vec<Source> = range.prefixes.into_iter().map(source).collect();
        let count = sources.len().max(1);
        let longest_read = (BUFFERED_ENTRIES / count)
            .clamp(*ENTRIES_PER_READ.start(), *ENTRIES_PER_READ.end())
            .min(rows);
        let share = usize::try_from(filter.limit).unwrap_or(usize::MAX) / count;
        Self {
            index: range.index,
            since: filter.since,
            unread: (0..sources.len()).rev().collect(),
            heads: BinaryHeap::with_capacity(sources.len()),
            sources,
            last: None,
            first_read: share.clamp(1, longest_read),
            longest_read,
            reads_records,
        }
    }

    /// Goes on by one entry, or by reading one source.
    pub(super) fn step(&mut self, snapshot: &Snapshot<'_>) -> Result<Step, ReadError> {
        if let Some(&at) = self.unread.last() {
            self.read(at, snapshot)?;
            self.unread.pop();
            return Ok(Step::Read);
        }
        loop {
            let Some(mut head) = self.heads.peek_mut() else {
                return Ok(if self.unread.is_empty() { Step::End } else { Step::Read });
            };
            let (created_at, lev_id, Reverse(at)) = *head;
            let found = Found { lev_id, created_at };
            let Some(source) = self.sources.get_mut(at) else { return Ok(Step::End) };
            source.at += 1;
            let txn_id = source.txn_id;
            match source.entries.get(source.at) {
                Some(next) => *head = (next.created_at, next.lev_id, Reverse(at)),
                None => {
                    PeekMut::pop(head);
                    if !source.is_at_end {
                        self.unread.push(at);
                    }
                }
            }
            if self.last.replace(found) != Some(found) {
                return Ok(Step::Entry(Entry { found, txn_id }));
            }
            if !self.unread.is_empty() {
                return Ok(Step::Read);
            }
        }
    }

    /// Reads on in a source, to the end of the second in which enough has been read.
    fn read(&mut self, at: usize, snapshot: &Snapshot<'_>) -> Result<(), ReadError> {
        let Some(source) = self.sources.get_mut(at) else { return Ok(()) };
        let wanted = match source.entries.len() {
            0 => self.first_read,
            read => read.saturating_mul(4).min(self.longest_read),
        };
        let (since, before) = (self.since, source.before);
        source.entries.clear();
        source.is_at_end = true;
        let entries = &mut source.entries;
        let is_at_end = &mut source.is_at_end;
        let mut is_older = false;
        self.index.walk_back(snapshot, &source.prefix, before, |found| {
            if found.created_at < since {
                is_older = true;
                return ControlFlow::Break(());
            }
            let is_new_second =
                entries.last().is_none_or(|last| last.created_at != found.created_at);
            if entries.len() >= wanted && is_new_second {
                *is_at_end = false;
                return ControlFlow::Break(());
            }
            entries.push(found);
            ControlFlow::Continue(())
        })?;
        source.counted = match is_older {
            true => Counted::Unknown,
            false => source.counted.and(source.entries.len() as u64, snapshot.txn_id()),
        };
        if let Counted::In { entries, .. } = source.counted
            && source.is_at_end
        {
            let table = present(CREATED_AT, snapshot.db().tables.created_at)?;
            if snapshot.len(table)? != entries {
                return Err(damaged(CREATED_AT, "all", "it has not as many entries as it says"));
            }
        }
        if self.reads_records && snapshot.reads_ahead() {
            let mut lev_ids: Vec<LevId> = source.entries.iter().map(|entry| entry.lev_id).collect();
            lev_ids.sort_unstable();
            let events = present(EVENTS, snapshot.db().tables.event)?;
            snapshot.read_ahead(events, lev_ids.into_iter().map(LevId::to_ne_bytes));
        }
        source.at = 0;
        source.txn_id = snapshot.txn_id();
        if let Some(last) = source.entries.last() {
            source.before = Some(last.created_at);
        }
        if let Some(first) = source.entries.first() {
            self.heads.push((first.created_at, first.lev_id, Reverse(at)));
        }
        Ok(())
    }
}

const _: () = assert!(*ENTRIES_PER_READ.end() <= ROWS_PER_SNAPSHOT);
