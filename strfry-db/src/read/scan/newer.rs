//! Events by the number that strfry gives them, which is the order in which they came.

use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::format::tables::present;
use crate::limits::ROWS_PER_SNAPSHOT;
use crate::open::StrfryDb;
use crate::read::stored_event::copied::{StoredEvent, copied_of};
use crate::txn::optimistic::halved;

const TABLE: &str = "Event";

impl StrfryDb {
    /// The events that strfry has stored since the one with this number, in the order in which they
    /// came: those with a higher levId. 0 gives all.
    ///
    /// To watch for new events, ask again with the number of the last, or with that of
    /// [`StrfryDb::last_lev_id`] if there was none. strfry gives the highest number anew if its
    /// event has been deleted: an event that came in place of the last one is not among those that
    /// are newer.
    pub fn newer_than(&self, lev_id: LevId) -> Newer<'_> {
        Newer { db: self, last: Some(lev_id), copied: Vec::new().into_iter() }
    }

    /// The highest levId of any event; 0 in an empty database.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn last_lev_id(&self) -> Result<LevId, ReadError> {
        self.read(|snapshot| snapshot.last_lev_id()).map(Option::unwrap_or_default)
    }
}

/// Events that have come since; an iterator that reads in batches, as a scan does.
///
/// Damage of one event is in its place. After any other error there is no more.
#[must_use = "nothing is read until it is iterated"]
pub struct Newer<'db> {
    db: &'db StrfryDb,
    /// The number of the last that has been read; `None` when there are no more.
    last: Option<LevId>,
    copied: std::vec::IntoIter<Result<StoredEvent<'db>, ReadError>>,
}

impl<'db> Newer<'db> {
    fn next_batch(&mut self) -> Result<(), ReadError> {
        let Some(first) = self.last.take().and_then(|last| last.checked_add(1)) else {
            return Ok(());
        };
        let db = self.db;
        let table = present(TABLE, db.tables.event)?;
        let (last, copied) = db.read_keeping(&mut None, false, |snapshot, attempt| {
            let rows = halved(db.bound(ROWS_PER_SNAPSHOT), attempt);
            let mut lev_ids = Vec::new();
            for entry in snapshot.forward(table, Some(&first.to_ne_bytes()))?.take(rows) {
                let (key, _) = entry?;
                let wrong_size = |_| damaged(TABLE, hex::encode(key), "its size is wrong");
                lev_ids.push(key.try_into().map(LevId::from_ne_bytes).map_err(wrong_size)?);
            }
            Ok((lev_ids.last().copied(), copied_of(snapshot, lev_ids)?))
        })?;
        self.last = last;
        self.copied = copied.into_iter();
        Ok(())
    }
}

impl<'db> Iterator for Newer<'db> {
    type Item = Result<StoredEvent<'db>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.copied.len() == 0
            && let Err(error) = self.next_batch()
        {
            return Some(Err(error));
        }
        self.copied.next()
    }
}

impl std::fmt::Debug for Newer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Newer").field("last", &self.last).finish_non_exhaustive()
    }
}
