//! Figures about the database as a whole, from its indexes and its file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::error::ReadError;
use super::limits::ENTRIES_PER_SNAPSHOT;
use super::lookup::{lmdb, present};
use super::open::StrfryDb;
use super::walk::{Direction, Step, Walk};
use crate::nostr::Pubkey;

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
        let snapshot = self.snapshot()?;
        let created_at = present("Event__created_at", self.tables.created_at)?;
        let time = |entry: Option<(&[u8], &[u8])>| {
            entry.and_then(|(key, _)| key.try_into().ok()).map(u64::from_ne_bytes)
        };
        let lmdb_of = || lmdb("Event__created_at");
        let oldest = time(created_at.first(snapshot.txn()).map_err(lmdb_of())?);
        let newest = time(created_at.last(snapshot.txn()).map_err(lmdb_of())?);
        let events =
            present("Event", self.tables.event)?.len(snapshot.txn()).map_err(lmdb("Event"))?;
        drop(snapshot);
        Ok(Stats {
            events,
            bytes: self.file_bytes()?,
            db_version: self.meta.db_version,
            oldest,
            newest,
            kinds: self.events_per_kind()?,
        })
    }

    fn events_per_kind(&self) -> Result<Vec<(u64, u64)>, ReadError> {
        const TABLE: &str = "Event__kind";
        let table = present(TABLE, self.tables.kind)?;
        let mut kinds: Vec<(u64, u64)> = Vec::new();
        Walk::index(self, TABLE, table, ENTRIES_PER_SNAPSHOT).run(|_, key: &[u8; 16], _| {
            count(&mut kinds, first_integer(key));
            Ok(Step::Next)
        })?;
        Ok(kinds)
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

impl StrfryDb {
    /// The newest days that have events: the first second of each, and the number of its events;
    /// newest first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn events_per_day(&self, days: usize) -> Result<Vec<(u64, u64)>, ReadError> {
        const TABLE: &str = "Event__created_at";
        let table = present(TABLE, self.tables.created_at)?;
        let mut counts: Vec<(u64, u64)> = Vec::new();
        let walk = Walk::index(self, TABLE, table, ENTRIES_PER_SNAPSHOT)
            .starting_at(Direction::Backward, u64::MAX);
        walk.run(|_, key, _| {
            let time = u64::from_ne_bytes(*key);
            let day = time - time % DAY;
            if counts.len() == days && counts.last().is_none_or(|&(last, _)| last != day) {
                return Ok(Step::End);
            }
            count(&mut counts, day);
            Ok(Step::Next)
        })?;
        Ok(counts)
    }

    /// The authors of most events, most first; of equal ones the lower pubkey first.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn top_authors(&self, authors: usize) -> Result<Vec<AuthorCount>, ReadError> {
        const TABLE: &str = "Event__pubkey";
        let table = present(TABLE, self.tables.pubkey)?;
        // At its root the one that the next better takes the place of.
        let mut top: BinaryHeap<Reverse<(u64, Reverse<Pubkey>)>> = BinaryHeap::new();
        let mut keep = |author: Option<(Pubkey, u64)>| {
            top.extend(author.map(|(pubkey, events)| Reverse((events, Reverse(pubkey)))));
            if top.len() > authors {
                top.pop();
            }
        };
        let mut current: Option<(Pubkey, u64)> = None;
        let walk = Walk::index(self, TABLE, table, ENTRIES_PER_SNAPSHOT);
        walk.run(|_, key: &[u8; 40], _| {
            let pubkey = Pubkey::from_bytes(key.first_chunk().copied().unwrap_or_default());
            match &mut current {
                Some((last, events)) if *last == pubkey => *events += 1,
                _ => keep(current.replace((pubkey, 1))),
            }
            Ok(Step::Next)
        })?;
        keep(current);
        let of = |Reverse((events, Reverse(pubkey)))| AuthorCount { events, pubkey };
        Ok(top.into_sorted_vec().into_iter().map(of).collect())
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
