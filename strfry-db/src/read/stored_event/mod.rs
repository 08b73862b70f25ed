//! An event as strfry stores it: what is indexed of it (PackedEvent) and its JSON, of one levId or
//! of many.

pub(crate) mod copied;
pub(crate) mod forms;

use std::borrow::Cow;

use crate::error::{ReadError, damaged, gone};
use crate::format::keys::LevId;
use crate::format::packed_event::PackedEvent;
use crate::format::tables::{Table, present};
use crate::limits::STEPS_INSTEAD_OF_DESCENT;
use crate::read::dictionaries;
use crate::txn::snapshot::Snapshot;

pub(crate) const EVENTS: &str = "Event";
const PAYLOADS: &str = "EventPayload";

impl Snapshot<'_> {
    /// What strfry indexes of the event.
    ///
    /// # Errors
    /// [`ReadError`]; a record too short for a PackedEvent is damaged.
    pub fn packed(&self, lev_id: LevId) -> Result<Option<PackedEvent<'_>>, ReadError> {
        let table = present(EVENTS, self.db().tables.event)?;
        let record = self.get(table, &lev_id.to_ne_bytes())?;
        record
            .map(|bytes| PackedEvent::from_bytes(bytes).ok_or_else(|| too_short(lev_id)))
            .transpose()
    }

    /// The event as stored JSON; borrowed unless it is compressed.
    ///
    /// # Errors
    /// [`ReadError`]; a payload that cannot be decoded is damaged.
    pub fn json(&self, lev_id: LevId) -> Result<Option<Cow<'_, str>>, ReadError> {
        let table = present(PAYLOADS, self.db().tables.event_payload)?;
        let record = self.get(table, &lev_id.to_ne_bytes())?;
        record.map(|bytes| dictionaries::decode(self, lev_id, bytes)).transpose()
    }

    /// What strfry indexes of these events, in their order. Faster than asking for each.
    pub(crate) fn packed_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<impl ExactSizeIterator<Item = Result<PackedEvent<'_>, ReadError>>, ReadError> {
        let table = present(EVENTS, self.db().tables.event)?;
        let records = read_each(self, table, &lev_ids)?;
        Ok(lev_ids.into_iter().zip(records).map(move |(lev_id, record)| {
            let record = record.ok_or_else(|| gone(EVENTS, lev_id))?;
            PackedEvent::from_bytes(record).ok_or_else(|| too_short(lev_id))
        }))
    }

    /// The JSON of these events, in their order. Faster than asking for each.
    pub(crate) fn json_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<impl ExactSizeIterator<Item = Result<Cow<'_, str>, ReadError>>, ReadError> {
        let table = present(PAYLOADS, self.db().tables.event_payload)?;
        let records = read_each(self, table, &lev_ids)?;
        Ok(lev_ids.into_iter().zip(records).map(move |(lev_id, record)| {
            let record = record.ok_or_else(|| gone(PAYLOADS, lev_id))?;
            dictionaries::decode(self, lev_id, record)
        }))
    }

    /// The payloads of these events as they are stored, in their order.
    pub(crate) fn payloads_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<impl ExactSizeIterator<Item = Result<&[u8], ReadError>>, ReadError> {
        let table = present(PAYLOADS, self.db().tables.event_payload)?;
        let records = read_each(self, table, &lev_ids)?;
        Ok(lev_ids
            .into_iter()
            .zip(records)
            .map(|(lev_id, record)| record.ok_or_else(|| gone(PAYLOADS, lev_id))))
    }
}

/// The records of these events, in their order; `None` where there is none.
///
/// Neighbours are read by stepping from one to the next, which costs a fraction of a descent into the
/// tree for each. Events that are near in time mostly are neighbours, because strfry numbers them as
/// they come.
fn read_each<'a>(
    snapshot: &'a Snapshot<'_>,
    table: Table,
    lev_ids: &[LevId],
) -> Result<Vec<Option<&'a [u8]>>, ReadError> {
    let mut records = vec![None; lev_ids.len()];
    let mut ascending: Vec<(LevId, usize)> = lev_ids.iter().copied().zip(0..).collect();
    // Scans mostly give them in descending order.
    ascending.reverse();
    ascending.sort_unstable();

    if snapshot.reads_ahead() {
        snapshot.read_ahead(table, ascending.iter().map(|(lev_id, _)| lev_id.to_ne_bytes()));
    }
    let mut stretch = None;
    // Key and record that the stretch has come to.
    let mut current: Option<(LevId, &[u8])> = None;
    for (lev_id, position) in ascending {
        let is_near =
            current.is_some_and(|(at, _)| at.saturating_add(STEPS_INSTEAD_OF_DESCENT) >= lev_id);
        if !is_near {
            stretch = Some(snapshot.forward(table, Some(&lev_id.to_ne_bytes()))?);
            current = None;
        }
        let Some(stretch) = &mut stretch else { continue };
        while current.is_none_or(|(at, _)| at < lev_id) {
            let Some(entry) = stretch.next() else { break };
            let (key, record) = entry?;
            let wrong_size = |_| damaged(table.name, hex::encode(key), "its size is wrong");
            let at = key.try_into().map_err(wrong_size)?;
            current = Some((LevId::from_ne_bytes(at), record));
        }
        if let (Some((at, record)), Some(place)) = (current, records.get_mut(position))
            && at == lev_id
        {
            *place = Some(record);
        }
    }
    Ok(records)
}

fn too_short(lev_id: LevId) -> ReadError {
    damaged(EVENTS, lev_id, "it is shorter than a PackedEvent")
}
