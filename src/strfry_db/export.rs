//! Every event by time, as `strfry export` writes them, and for whoever checks them all.
//!
//! Read in snapshots of bounded length (see `walk`), so strfry's file does not grow meanwhile.
//! What that means: an event that is there from beginning to end comes exactly once; one that
//! comes or goes during the export is in it or not, so of a profile that is replaced meanwhile the
//! old version, the new one, both or neither. `one_snapshot` gives one moment of the database, at
//! the price that strfry reuses no page until the export has ended.

use super::error::ReadError;
use super::limits::{BATCH_BYTES, EVENTS_PER_SNAPSHOT};
use super::lookup::{LevId, Snapshot, damaged, present};
use super::open::StrfryDb;
use super::walk::{Direction, Step, Walk};

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

/// An event in both forms in which strfry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeEvent {
    /// Where it is.
    pub lev_id: LevId,
    /// The PackedEvent, or why it cannot be read.
    pub packed: Result<Vec<u8>, String>,
    /// The JSON, or why it cannot be read.
    pub json: Result<String, String>,
}

struct ByTime<'db> {
    walk: Walk<'db, heed::DefaultComparator, 8>,
    range: ExportRange,
}

impl<'db> ByTime<'db> {
    fn new(db: &'db StrfryDb, range: ExportRange) -> Result<Self, ReadError> {
        let table = present(INDEX, db.tables.created_at)?;
        let walk = Walk::index(db, INDEX, table, EVENTS_PER_SNAPSHOT);
        let walk = match range.reverse {
            false => walk.starting_at(Direction::Forward, range.since),
            true => walk.starting_at(Direction::Backward, range.until),
        };
        let walk = if range.one_snapshot { walk.in_one_snapshot() } else { walk };
        Ok(Self { walk, range })
    }

    /// `visit` returns the bytes that the event has added to the batch.
    fn batch(
        &mut self,
        mut visit: impl FnMut(&Snapshot<'db>, LevId) -> Result<usize, ReadError>,
    ) -> Result<bool, ReadError> {
        let ExportRange { since, until, reverse, .. } = self.range;
        let mut bytes = 0;
        self.walk.batch(|snapshot, key, value| {
            let created_at = u64::from_ne_bytes(*key);
            if if reverse { created_at < since } else { created_at > until } {
                return Ok(Step::End);
            }
            // The walk has seen that it is 8 bytes.
            let lev_id = value.try_into().map_or(0, LevId::from_ne_bytes);
            bytes += visit(snapshot, lev_id)?;
            Ok(if bytes >= BATCH_BYTES { Step::Pause } else { Step::Next })
        })
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
        self.events.batch(|snapshot, lev_id| {
            let before = out.len();
            write_line(snapshot, lev_id, fried, out)?;
            Ok(out.len() - before)
        })
    }
}

fn write_line(
    snapshot: &Snapshot<'_>,
    lev_id: LevId,
    fried: bool,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let json = snapshot.json(lev_id)?.ok_or_else(|| gone("EventPayload", lev_id))?;
    if fried {
        let packed = snapshot.packed(lev_id)?.ok_or_else(|| gone("Event", lev_id))?;
        // strfry drops the last byte, whatever it is.
        let open = json.as_bytes().split_last().map(|(_, open)| open).unwrap_or_default();
        out.extend(open);
        out.extend(b",\"fried\":\"");
        out.extend(hex::encode(packed.to_vec()).into_bytes());
        out.extend(b"\"}");
    } else {
        out.extend(json.as_bytes());
    }
    out.push(b'\n');
    Ok(())
}

/// Events with what cannot be read of them, batch by batch.
pub struct StoredEvents<'db> {
    events: ByTime<'db>,
}

impl StoredEvents<'_> {
    /// Appends a batch of events; false if there are no more. No snapshot is open when it returns,
    /// unless all comes from one.
    ///
    /// # Errors
    /// [`ReadError`] of the index; damage of one event is in its place.
    pub fn next_batch(&mut self, out: &mut Vec<WholeEvent>) -> Result<bool, ReadError> {
        self.events.batch(|snapshot, lev_id| {
            let json = snapshot.json(lev_id).and_then(|json| {
                json.map(std::borrow::Cow::into_owned).ok_or_else(|| gone("EventPayload", lev_id))
            });
            let packed = snapshot.packed(lev_id).and_then(|packed| {
                packed.map(|packed| packed.to_vec()).ok_or_else(|| gone("Event", lev_id))
            });
            let json = of_this_event(json)?;
            let packed = of_this_event(packed)?;
            let bytes = json.as_ref().map_or(0, String::len) + packed.as_ref().map_or(0, Vec::len);
            out.push(WholeEvent { lev_id, packed, json });
            Ok(bytes)
        })
    }
}

/// Sorts out damage of one record from trouble with the database as a whole.
fn of_this_event<T>(read: Result<T, ReadError>) -> Result<Result<T, String>, ReadError> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(ReadError::Damaged { table, key, what }) => {
            Ok(Err(format!("damaged record of table {table} for {key}: {what}")))
        }
        Err(error) => Err(error),
    }
}

fn gone(table: &'static str, lev_id: LevId) -> ReadError {
    damaged(table, lev_id, "an index names it but it is not there")
}

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
    pub fn stored_events(&self, range: ExportRange) -> Result<StoredEvents<'_>, ReadError> {
        Ok(StoredEvents { events: ByTime::new(self, range)? })
    }
}
