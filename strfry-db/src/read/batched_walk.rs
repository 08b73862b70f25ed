//! A walk over a table in snapshots of bounded length, each continuing behind the last entry of
//! the one before. The one such loop: counting and exporting are walks.
//!
//! An entry that is there from the walk's beginning to its end is visited exactly once, whatever a
//! writer does meanwhile: entries never move, because nothing of an event that is part of a key
//! changes. What comes or goes during the walk is visited or not.

use std::time::{Duration, Instant};

use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::format::tables::Table;
use crate::limits::{ENTRIES_COPIED, TIME_PER_SNAPSHOT};
use crate::open::{PagesFrom, StrfryDb};
use crate::txn::cursor::Entry;
use crate::txn::optimistic::halved;
use crate::txn::snapshot::Snapshot;

/// Looks at the clock in a batch of records: at every one that is read whole, which may take a seek
/// of the disk.
const LOOKS: usize = 10_000;
/// Entries of an index between two looks at the clock: a page has as many.
const ENTRIES_PER_LOOK: usize = 64;

/// Which way a walk goes. Backward only where keys are integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the lowest key up.
    Forward,
    /// From the highest key down.
    Backward,
}

/// What a visitor wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next entry.
    Next,
    /// The next entry, in another batch.
    Pause,
    /// Nothing more. This entry was the last.
    End,
}

/// Entries that have been visited in one commit.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    entries: u64,
    /// `None` before the first.
    txn_id: Option<u64>,
}

/// One table, walked batch by batch.
pub(crate) struct BatchedWalk<'db, const K: usize> {
    db: &'db StrfryDb,
    name: &'static str,
    table: Table,
    direction: Direction,
    /// Where the next batch begins: at this key, or at the end of the table.
    from: Option<[u8; K]>,
    /// Its last entry that was visited; all entries of the key up to this levId are done.
    done: Option<([u8; K], LevId)>,
    /// How many have been visited, for as long as all are of one commit: then they must be as many
    /// as the table says that it has. `None` if they are not, or the walk is over a part.
    counted: Option<Counted>,
    /// What an index has, and a table of records has not.
    duplicates: bool,
    rows: usize,
    time: Duration,
    one_snapshot: bool,
    source: PagesFrom,
    kept: Option<Snapshot<'db>>,
}

impl<'db, const K: usize> BatchedWalk<'db, K> {
    /// Over an index: keys of `K` bytes, and levIds under each.
    pub(crate) fn index(db: &'db StrfryDb, name: &'static str, table: Table, rows: usize) -> Self {
        Self {
            db,
            name,
            table,
            direction: Direction::Forward,
            from: None,
            done: None,
            counted: Some(Counted::default()),
            duplicates: true,
            rows: db.bound(rows),
            time: TIME_PER_SNAPSHOT,
            one_snapshot: false,
            source: PagesFrom::Map,
            kept: None,
        }
    }

    /// Over an index of which nothing but its own entries is read.
    pub(crate) fn index_alone(db: &'db StrfryDb, name: &'static str, table: Table) -> Self {
        let walk = Self::index(db, name, table, ENTRIES_COPIED).on_copies();
        Self { rows: ENTRIES_COPIED, ..walk }
    }

    /// Reads pages instead of mapping them, in batches that each have few.
    pub(crate) fn on_copies(self) -> Self {
        Self { source: PagesFrom::Copies, ..self }
    }

    /// Over a table with one record under each key of `K` bytes.
    pub(crate) fn records(
        db: &'db StrfryDb,
        name: &'static str,
        table: Table,
        rows: usize,
    ) -> Self {
        Self { duplicates: false, ..Self::index(db, name, table, rows) }
    }

    /// Reads everything from one moment of the database.
    pub(crate) fn in_one_snapshot(self) -> Self {
        Self { one_snapshot: true, ..self }
    }

    /// All batches, one after the other; returns what `state` has become.
    pub(crate) fn run<S: Clone>(
        mut self,
        mut state: S,
        mut visit: impl FnMut(&mut S, &Snapshot<'db>, &[u8; K], &[u8]) -> Result<Step, ReadError>,
    ) -> Result<S, ReadError> {
        while self.batch(&mut state, &mut visit)? {}
        Ok(state)
    }

    /// Visits entries until the batch is full; false if there are no more. No snapshot is open
    /// when it returns, unless all is read in one. `visit` is given the snapshot, the key and the
    /// value, and may change nothing but `state`: without the lock file it is put back when a
    /// batch has to be read again.
    pub(crate) fn batch<S: Clone>(
        &mut self,
        state: &mut S,
        visit: impl FnMut(&mut S, &Snapshot<'db>, &[u8; K], &[u8]) -> Result<Step, ReadError>,
    ) -> Result<bool, ReadError> {
        self.batch_and(state, visit, |_, _| Ok(()))
    }

    /// As [`BatchedWalk::batch`], and `finish` is called while the batch's snapshot is still open.
    pub(crate) fn batch_and<S: Clone>(
        &mut self,
        state: &mut S,
        mut visit: impl FnMut(&mut S, &Snapshot<'db>, &[u8; K], &[u8]) -> Result<Step, ReadError>,
        mut finish: impl FnMut(&mut S, &Snapshot<'db>) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let db = self.db;
        let mut kept = self.kept.take();
        let place = (self.from, self.done, self.counted);
        let before = db.is_optimistic().then(|| state.clone());
        let (source, keep) = (self.source, self.one_snapshot);
        let more = db.read_from(source, &mut kept, keep, |snapshot, attempt| {
            (self.from, self.done, self.counted) = place;
            if let (1.., Some(before)) = (attempt, &before) {
                state.clone_from(before);
            }
            let more = self.visit_some(snapshot, attempt, &mut |snapshot, key, value| {
                visit(state, snapshot, key, value)
            })?;
            finish(state, snapshot)?;
            Ok(more)
        });
        if let (Err(ReadError::Overtaken), Some(before)) = (&more, before) {
            *state = before;
        }
        if let Ok(true) = more {
            self.kept = kept;
        }
        more
    }

    /// As [`BatchedWalk::batch`], in a snapshot that someone else has, not without the lock file.
    pub(crate) fn batch_in(
        &mut self,
        snapshot: &Snapshot<'db>,
        mut visit: impl FnMut(&[u8; K], &[u8]) -> Step,
    ) -> Result<bool, ReadError> {
        self.visit_some(snapshot, 0, &mut |_, key, value| Ok(visit(key, value)))
    }

    fn visit_some(
        &mut self,
        snapshot: &Snapshot<'db>,
        attempt: u32,
        visit: &mut impl FnMut(&Snapshot<'db>, &[u8; K], &[u8]) -> Result<Step, ReadError>,
    ) -> Result<bool, ReadError> {
        let begun = Instant::now();
        let table = self.table;
        let txn_id = snapshot.txn_id();
        let is_same = |counted: &Counted| counted.txn_id.is_none_or(|first| first == txn_id);
        self.counted = self.counted.filter(is_same);
        let from = self.from;
        let rows = halved(self.rows, attempt);
        let per_look = (rows / LOOKS).max(if self.duplicates { ENTRIES_PER_LOOK } else { 1 });
        let mut visited = 0_usize;
        let mut entry = |(key, value): Entry<'_>| -> Result<Step, ReadError> {
            let wrong_size = || damaged(self.name, format!("{key:?}"), "its size is wrong");
            let array: [u8; K] = key.try_into().map_err(|_| wrong_size())?;
            let lev_id = match self.duplicates {
                true => value.try_into().map(LevId::from_ne_bytes).map_err(|_| wrong_size())?,
                false => 0,
            };
            if self.done.is_some_and(|done| self.direction.is_done(done, (array, lev_id))) {
                return Ok(Step::Next);
            }
            let step = visit(snapshot, &array, value)?;
            self.done = Some((array, lev_id));
            self.from = Some(array);
            visited += 1;
            if let Some(Counted { entries, .. }) = &mut self.counted {
                *entries += 1;
            }
            let late = || visited.is_multiple_of(per_look) && begun.elapsed() >= self.time;
            match step {
                Step::Next if visited >= rows || late() => Ok(Step::Pause),
                step => Ok(step),
            }
        };
        let entries = match self.direction {
            Direction::Forward => snapshot.forward(table, from.as_ref().map(|key| &key[..]))?,
            Direction::Backward => {
                // In front of the key behind it are all values of the key itself.
                let behind = from.and_then(successor);
                snapshot.backward(table, behind.as_ref().map(|key| &key[..]))?
            }
        };
        for found in entries {
            match entry(found?)? {
                Step::Next => {}
                step => {
                    let counted = self.counted.as_mut();
                    counted.map(|counted| counted.txn_id.get_or_insert(txn_id));
                    return Ok(step == Step::Pause);
                }
            }
        }
        // All that there is has been visited.
        let is_short = match self.counted {
            Some(Counted { entries, .. }) => entries != snapshot.len(table)?,
            None => false,
        };
        match is_short {
            true => Err(damaged(self.name, "all", "it has not as many entries as it says")),
            false => Ok(false),
        }
    }
}

impl BatchedWalk<'_, 8> {
    /// Begins with the first entry of this key, or of the next one in the direction of the walk.
    pub(crate) fn starting_at(self, direction: Direction, key: u64) -> Self {
        let end = match direction {
            Direction::Forward => u64::MIN,
            Direction::Backward => u64::MAX,
        };
        let counted = self.counted.filter(|_| key == end);
        Self { direction, from: Some(key.to_ne_bytes()), counted, ..self }
    }
}

impl Direction {
    /// Whether a walk that has come to `done` has seen this entry.
    fn is_done<const K: usize>(self, done: ([u8; K], LevId), entry: ([u8; K], LevId)) -> bool {
        done.0 == entry.0
            && match self {
                Self::Forward => entry.1 <= done.1,
                Self::Backward => entry.1 >= done.1,
            }
    }
}

/// The next integer key; `None` behind the last.
fn successor<const K: usize>(key: [u8; K]) -> Option<[u8; K]> {
    let integer = u64::from_ne_bytes(key.as_slice().try_into().ok()?);
    integer.checked_add(1)?.to_ne_bytes().as_slice().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tables::present;
    use crate::golden::golden_database;

    const TABLE: &str = "Event__created_at";

    fn walked(mut walk: BatchedWalk<'_, 8>) -> (Vec<(u64, u64)>, usize) {
        let mut entries = Vec::new();
        let mut batches = 1;
        let visit = |entries: &mut Vec<_>, _: &Snapshot<'_>, key: &[u8; 8], value: &[u8]| {
            entries.push((u64::from_ne_bytes(*key), u64::from_ne_bytes(value.try_into().unwrap())));
            Ok(Step::Next)
        };
        while walk.batch(&mut entries, visit).unwrap() {
            batches += 1;
        }
        (entries, batches)
    }

    #[test]
    fn every_entry_is_visited_once_whatever_the_bounds_of_a_batch() {
        let directory = golden_database("strfry-1.1.1");
        let db = StrfryDb::open(directory.path()).unwrap();
        let table = present(TABLE, db.tables.created_at).unwrap();
        // However busy the machine is.
        let time = Duration::MAX;
        let index = |rows| BatchedWalk { time, ..BatchedWalk::index(&db, TABLE, table, rows) };
        let (mut all, batches) = walked(index(usize::MAX));
        assert_eq!((all.len(), batches), (604, 1));
        assert!(all.is_sorted());
        for rows in [1, 2, 7, 603, 604] {
            assert_eq!(walked(index(rows)), (all.clone(), 604 / rows + 1), "{rows}");
        }
        let in_no_time = BatchedWalk { time: Duration::ZERO, ..index(604) };
        assert_eq!(walked(in_no_time), (all.clone(), 604 / ENTRIES_PER_LOOK + 1));
        all.reverse();
        for rows in [1, 2, 7, 603, 604] {
            let backward = index(rows).starting_at(Direction::Backward, u64::MAX);
            assert_eq!(walked(backward), (all.clone(), 604 / rows + 1), "{rows} backward");
        }
    }

    #[test]
    fn a_kept_snapshot_walks_on_as_fresh_ones_do() {
        let directory = golden_database("strfry-1.1.1");
        let db = StrfryDb::open(directory.path()).unwrap();
        let table = present(TABLE, db.tables.created_at).unwrap();
        let index = || BatchedWalk::index(&db, TABLE, table, 100);
        assert_eq!(walked(index().in_one_snapshot()), walked(index()));
    }
}
