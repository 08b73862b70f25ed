//! Figures about the database as a whole, from its indexes and its file.

use std::ops::Bound;

use super::error::ReadError;
use super::limits::ENTRIES_PER_SNAPSHOT;
use super::lookup::{LevId, damaged, lmdb, present};
use super::open::StrfryDb;

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
            bytes: self.env().real_disk_size().map_err(lmdb("(all)"))?,
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
        let mut resume: Option<([u8; 16], LevId)> = None;
        loop {
            let snapshot = self.snapshot()?;
            let from = resume.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
            let from = match &from {
                Bound::Included(key) => Bound::Included(&key[..]),
                _ => Bound::Unbounded,
            };
            let range = (from, Bound::<&[u8]>::Unbounded);
            let mut walked = 0;
            for entry in table.range(snapshot.txn(), &range).map_err(lmdb(TABLE))? {
                let (key, value) = entry.map_err(lmdb(TABLE))?;
                let position = key.try_into().ok().zip(value.try_into().ok());
                let (key, lev_id): ([u8; 16], _) = position
                    .ok_or_else(|| damaged(TABLE, format!("{key:?}"), "its size is wrong"))?;
                let lev_id = LevId::from_ne_bytes(lev_id);
                if resume.is_some_and(|(last_key, last)| key == last_key && lev_id <= last) {
                    continue;
                }
                let (kind, _) = key.split_at(8);
                let kind = kind.try_into().map_or(0, u64::from_ne_bytes);
                match kinds.last_mut() {
                    Some((last, count)) if *last == kind => *count += 1,
                    _ => kinds.push((kind, 1)),
                }
                resume = Some((key, lev_id));
                walked += 1;
                if walked == ENTRIES_PER_SNAPSHOT {
                    break;
                }
            }
            if walked < ENTRIES_PER_SNAPSHOT {
                return Ok(kinds);
            }
        }
    }
}
