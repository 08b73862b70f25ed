//! Figures about the database as a whole, from its indexes and its file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::ReadError;
use crate::format::tables::present;
use crate::nostr::Pubkey;
use crate::open::StrfryDb;
use crate::read::batched_walk::{BatchedWalk, Direction, Step};
use crate::txn::cursor::Entry;

/// What `stats` shows. Counts are exact for a database at rest; beside a writing strfry each kind
/// is counted in one or more moments of its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Events in the database.
    pub events: u64,
    /// Size of `data.mdb`, bytes.
    pub bytes: u64,
    /// DB version as strfry counts it.
    pub db_version: u64,
    /// created_at of the oldest event.
    pub oldest: Option<u64>,
    /// created_at of the newest event.
    pub newest: Option<u64>,
    /// Kind and number of its events, by kind.
    pub kinds: Vec<(u64, u64)>,
}

impl StrfryDb {
    /// Reads the figures; walks the kind index, never a payload.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn stats(&self) -> Result<Stats, ReadError> {
        let created_at = present("Event__created_at", self.tables.created_at)?;
        let time = |entry: Option<Result<Entry<'_>, ReadError>>| {
            let time = |(key, _): Entry<'_>| key.try_into().ok().map(u64::from_ne_bytes);
            entry.transpose().map(|entry| entry.and_then(time))
        };
        let (oldest, newest, events) = self.read(|snapshot| {
            Ok((
                time(snapshot.forward(created_at, None)?.next())?,
                time(snapshot.backward(created_at, None)?.next())?,
                snapshot.number_of_events()?,
            ))
        })?;
        Ok(Stats {
            events,
            bytes: self.file_bytes()?,
            db_version: self.meta.db_version,
            oldest,
            newest,
            kinds: self.events_per_kind()?,
        })
    }

    /// How many events there are, at this moment.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn event_count(&self) -> Result<u64, ReadError> {
        self.read(|snapshot| snapshot.number_of_events())
    }

    fn events_per_kind(&self) -> Result<Vec<(u64, u64)>, ReadError> {
        const TABLE: &str = "Event__kind";
        let table = present(TABLE, self.tables.kind)?;
        let kinds: Vec<(u64, u64)> = Vec::new();
        let walk = BatchedWalk::index_alone(self, TABLE, table);
        walk.run(kinds, |kinds, _, key: &[u8; 16], _| {
            count(kinds, first_integer(key));
            Ok(Step::Next)
        })
    }
}

/// How many events an author has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AuthorCount {
    /// Events of this author.
    pub events: u64,
    /// The author.
    pub pubkey: Pubkey,
}

/// Seconds of a day; days begin at midnight UTC.
const DAY: u64 = 86_400;

#[doc(hidden)]
impl StrfryDb {
    /// The newest days that have events: the first second of each, and the number of its events;
    /// newest first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn events_per_day(&self, days: usize) -> Result<Vec<(u64, u64)>, ReadError> {
        const TABLE: &str = "Event__created_at";
        let table = present(TABLE, self.tables.created_at)?;
        let counts: Vec<(u64, u64)> = Vec::new();
        let walk =
            BatchedWalk::index_alone(self, TABLE, table).starting_at(Direction::Backward, u64::MAX);
        walk.run(counts, |counts, _, key, _| {
            let time = u64::from_ne_bytes(*key);
            let day = time - time % DAY;
            if counts.len() == days && counts.last().is_none_or(|&(last, _)| last != day) {
                return Ok(Step::End);
            }
            count(counts, day);
            Ok(Step::Next)
        })
    }

    /// The authors of most events, most first; of equal ones the lower pubkey first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn top_authors(&self, authors: usize) -> Result<Vec<AuthorCount>, ReadError> {
        const TABLE: &str = "Event__pubkey";
        let table = present(TABLE, self.tables.pubkey)?;
        let top = TopAuthors { authors, top: BinaryHeap::new(), current: None };
        let walk = BatchedWalk::index_alone(self, TABLE, table);
        let mut top = walk.run(top, |top, _, key: &[u8; 40], _| {
            top.count(Pubkey::from_bytes(key.first_chunk().copied().unwrap_or_default()));
            Ok(Step::Next)
        })?;
        top.keep_current();
        let of = |Reverse((events, Reverse(pubkey)))| AuthorCount { events, pubkey };
        Ok(top.top.into_sorted_vec().into_iter().map(of).collect())
    }
}

/// The authors of most events, of those that have come in order.
#[derive(Clone)]
struct TopAuthors {
    authors: usize,
    /// At its root the one that the next better takes the place of.
    top: BinaryHeap<Reverse<(u64, Reverse<Pubkey>)>>,
    current: Option<(Pubkey, u64)>,
}

impl TopAuthors {
    fn count(&mut self, pubkey: Pubkey) {
        match &mut self.current {
            Some((last, events)) if *last == pubkey => *events += 1,
            _ => {
                self.keep_current();
                self.current = Some((pubkey, 1));
            }
        }
    }

    fn keep_current(&mut self) {
        let current = self.current.take();
        self.top.extend(current.map(|(pubkey, events)| Reverse((events, Reverse(pubkey)))));
        if self.top.len() > self.authors {
            self.top.pop();
        }
    }
}

/// Counts what comes in order.
fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, item: T) {
    match counts.last_mut() {
        Some((last, count)) if *last == item => *count += 1,
        _ => counts.push((item, 1)),
    }
}

fn first_integer(key: &[u8]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}
