//! Every event by time, as `strfry export` writes them, and for whoever checks them all.
//!
//! Read in snapshots of bounded length (see `batched_walk`), so strfry's file does not grow meanwhile.
//! What that means: an event that is there from beginning to end comes exactly once; one that
//! comes or goes during the export is in it or not, so of a profile that is replaced meanwhile the
//! old version, the new one, both or neither. `one_snapshot` gives one moment of the database, at
//! the price that strfry reuses no page until the export has ended.

use std::ops::ControlFlow;

use crate::error::ReadError;
use crate::format::keys::LevId;
use crate::format::packed_event::PackedEvent;
use crate::format::tables::present;
use crate::limits::{BATCHES_READ_ALONE, ROWS_PER_THREAD};
use crate::open::StrfryDb;
use crate::read::batched_walk::{BatchedWalk, Direction, Step};
use crate::read::in_order::{Buffers, Walk, read_in_order};
use crate::read::stored_event::forms::StoredForms;
use crate::txn::snapshot::Snapshot;

const INDEX: &str = "Event__created_at";

/// Which events to read, in which order, from how many moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportRange {
    /// created_at of the oldest.
    pub since: u64,
    /// created_at of the newest.
    pub until: u64,
    /// Newest first.
    pub reverse: bool,
    /// All from one moment of the database.
    pub one_snapshot: bool,
}

impl Default for ExportRange {
    /// Everything, oldest first.
    fn default() -> Self {
        Self { since: 0, until: u64::MAX, reverse: false, one_snapshot: false }
    }
}

struct ByTime<'db> {
    db: &'db StrfryDb,
    walk: BatchedWalk<'db, 8>,
    range: ExportRange,
    is_at_end: bool,
}

impl<'db> ByTime<'db> {
    fn new(db: &'db StrfryDb, range: ExportRange) -> Result<Self, ReadError> {
        let table = present(INDEX, db.tables.created_at)?;
        let walk = BatchedWalk::index(db, INDEX, table, ROWS_PER_THREAD);
        let walk = match range.reverse {
            false => walk.starting_at(Direction::Forward, range.since),
            true => walk.starting_at(Direction::Backward, range.until),
        };
        let walk = if range.one_snapshot { walk.in_one_snapshot() } else { walk };
        Ok(Self { db, walk, range, is_at_end: false })
    }

    /// Appends a batch: what `read` appends of these events.
    fn batch<T: Clone>(
        &mut self,
        out: &mut Vec<T>,
        mut read: impl FnMut(&mut Vec<T>, &Snapshot<'db>, &[LevId]) -> Result<(), ReadError>,
    ) -> Result<bool, ReadError> {
        let range = self.range;
        // Apart from what there is already, because it may have to be taken back.
        let batch = if out.is_empty() { std::mem::take(out) } else { Vec::new() };
        let mut batch = (batch, Vec::new());
        let more = self.walk.batch_and(
            &mut batch,
            |(_, lev_ids), _, key, value| Ok(range.take(key, value, lev_ids)),
            |(out, lev_ids), snapshot| read(out, snapshot, lev_ids),
        );
        if out.is_empty() {
            *out = batch.0;
        } else {
            out.append(&mut batch.0);
        }
        more
    }
}

impl ExportRange {
    /// Takes an entry of the index, unless it lies behind the range.
    fn take(self, key: &[u8; 8], value: &[u8], lev_ids: &mut Vec<LevId>) -> Step {
        let created_at = u64::from_ne_bytes(*key);
        if if self.reverse { created_at < self.since } else { created_at > self.until } {
            return Step::End;
        }
        // The walk has seen that it is 8 bytes.
        lev_ids.push(value.try_into().map_or(0, LevId::from_ne_bytes));
        Step::Next
    }
}

impl<'db> Walk<'db> for ByTime<'db> {
    type Batch = Vec<LevId>;

    fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    fn next(&mut self, snapshot: &Snapshot<'db>) -> Result<Option<Vec<LevId>>, ReadError> {
        let (range, mut lev_ids) = (self.range, Vec::new());
        let more = self.walk.batch_in(snapshot, |key, value| range.take(key, value, &mut lev_ids));
        self.is_at_end = !more.as_ref().is_ok_and(|more| *more);
        more.map(|_| Some(lev_ids).filter(|lev_ids| !lev_ids.is_empty()))
    }
}

/// JSON lines, batch by batch.
pub struct Export<'db> {
    events: ByTime<'db>,
    fried: bool,
}

impl Export<'_> {
    /// Appends a batch of lines, each with its line feed; false if there are no more. No snapshot
    /// is open when it returns, unless all comes from one.
    ///
    /// # Errors
    /// [`ReadError`]; the lines in front of a damaged event are in `out`.
    pub fn next_batch(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let fried = self.fried;
        self.events.batch(out, |out, snapshot, lev_ids| push_lines(out, snapshot, lev_ids, fried))
    }

    /// Gives `each` the lines, batch by batch, and the error that has ended a batch, until it breaks
    /// off or has been given an error. Of a long export batches are read by so many threads at once;
    /// `each` gets them in order, in the thread that calls, while no snapshot is open on its behalf.
    ///
    /// One thread reads what is to be of one moment, and without the lock file.
    pub fn each_batch<B>(
        mut self,
        threads: usize,
        mut each: impl FnMut(&[u8], Result<(), ReadError>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let db = self.events.db;
        let is_alone = threads < 2 || self.events.range.one_snapshot || db.is_optimistic();
        let (mut batches, mut lines) = (0, Vec::new());
        while is_alone || batches < BATCHES_READ_ALONE {
            lines.clear();
            let more = self.next_batch(&mut lines);
            let is_last = !more.as_ref().is_ok_and(|more| *more);
            each(&lines, more.map(|_| ()))?;
            if is_last {
                return ControlFlow::Continue(());
            }
            batches += 1;
        }
        let (fried, buffers) = (self.fried, Buffers::default());
        let read = |snapshot: &Snapshot<'_>, lev_ids: &Vec<LevId>| {
            let mut lines = buffers.take();
            let read = push_lines(&mut lines, snapshot, lev_ids, fried);
            Ok((lines, read))
        };
        let ended = read_in_order(db, self.events, threads, read, |batch| {
            let (lines, read) = batch.unwrap_or_else(|error| (Vec::new(), Err(error)));
            let is_last = read.is_err();
            let flow = each(&lines, read);
            buffers.give_back(lines);
            match flow {
                ControlFlow::Continue(()) if is_last => ControlFlow::Break(None),
                flow => flow.map_break(Some),
            }
        });
        match ended {
            ControlFlow::Break(Some(broken_off)) => ControlFlow::Break(broken_off),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Appends a line for each of these events.
fn push_lines(
    out: &mut Vec<u8>,
    snapshot: &Snapshot<'_>,
    lev_ids: &[LevId],
    fried: bool,
) -> Result<(), ReadError> {
    let json = snapshot.json_of(lev_ids.to_vec())?;
    if fried {
        for (json, packed) in json.zip(snapshot.packed_of(lev_ids.to_vec())?) {
            push_fried(out, &json?, &packed?);
        }
    } else {
        for json in json {
            out.extend(json?.as_bytes());
            out.push(b'\n');
        }
    }
    Ok(())
}

fn push_fried(out: &mut Vec<u8>, json: &str, packed: &PackedEvent<'_>) {
    // strfry drops the last byte, whatever it is.
    let open = json.as_bytes().split_last().map(|(_, open)| open).unwrap_or_default();
    out.extend(open);
    out.extend(b",\"fried\":\"");
    out.extend(hex::encode(packed.to_vec()).into_bytes());
    out.extend(b"\"}\n");
}

/// Events with what cannot be read of them, batch by batch.
pub struct ExportForms<'db> {
    events: ByTime<'db>,
}

impl ExportForms<'_> {
    /// Appends a batch of events; false if there are no more. No snapshot is open when it returns,
    /// unless all comes from one.
    ///
    /// # Errors
    /// [`ReadError`] of the index; damage of one event is in its place.
    pub fn next_batch(&mut self, out: &mut Vec<StoredForms>) -> Result<bool, ReadError> {
        self.events.batch(out, |out, snapshot, lev_ids| {
            out.append(&mut snapshot.forms_of(lev_ids.to_vec())?);
            Ok(())
        })
    }
}

#[doc(hidden)]
impl StrfryDb {
    /// The events of a range as `strfry export` prints them, with `fried` as its `--fried` does.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn export(&self, range: ExportRange, fried: bool) -> Result<Export<'_>, ReadError> {
        Ok(Export { events: ByTime::new(self, range)?, fried })
    }

    /// The events of a range in both stored forms, damaged ones included.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn export_forms(&self, range: ExportRange) -> Result<ExportForms<'_>, ReadError> {
        Ok(ExportForms { events: ByTime::new(self, range)? })
    }
}
