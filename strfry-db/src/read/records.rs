//! Records of many levIds at once: neighbours are read by stepping from one to the next, which
//! costs a fraction of a descent into the tree for each. Events that are near in time mostly are
//! neighbours, because strfry numbers them as they come.

use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::format::tables::Table;
use crate::limits::STEPS_INSTEAD_OF_DESCENT;
use crate::txn::snapshot::Snapshot;

/// The records of these events, in their order; `None` where there is none.
pub(crate) fn read_each<'a>(
    snapshot: &'a Snapshot<'_>,
    table: Table,
    lev_ids: &[LevId],
) -> Result<Vec<Option<&'a [u8]>>, ReadError> {
    let mut records = vec![None; lev_ids.len()];
    let mut ascending: Vec<(LevId, usize)> = lev_ids.iter().copied().zip(0..).collect();
    // Scans mostly give them in descending order.
    ascending.reverse();
    ascending.sort_unstable();

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
