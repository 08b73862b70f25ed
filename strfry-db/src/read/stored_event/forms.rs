//! An event in both forms in which strfry stores it, copied; and damage of either, which concerns
//! that event alone.

use std::borrow::Cow;

use super::too_short;
use crate::error::ReadError;
use crate::format::keys::LevId;
use crate::format::packed_event::PackedEvent;
use crate::txn::snapshot::Snapshot;

/// An event in both forms in which strfry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredForms {
    /// Where it is.
    pub lev_id: LevId,
    /// The PackedEvent, or why it cannot be read.
    pub packed: Result<Vec<u8>, Damage>,
    /// The JSON, or why it cannot be read.
    pub json: Result<String, Damage>,
}

impl StoredForms {
    /// The PackedEvent.
    ///
    /// # Errors
    /// Its damage.
    pub fn packed(&self) -> Result<PackedEvent<'_>, ReadError> {
        PackedEvent::from_bytes(self.packed.as_ref()?).ok_or_else(|| too_short(self.lev_id))
    }

    /// The JSON.
    ///
    /// # Errors
    /// Its damage.
    pub fn json(&self) -> Result<Cow<'_, str>, ReadError> {
        Ok(Cow::Borrowed(self.json.as_ref()?))
    }
}

/// Why one record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged record of table {table} for {key}: {what}")]
pub struct Damage {
    table: &'static str,
    key: String,
    what: &'static str,
}

impl Damage {
    /// Sorts out damage of one record from trouble with the database as a whole.
    fn only<T>(read: Result<T, ReadError>) -> Result<Result<T, Self>, ReadError> {
        match read {
            Ok(value) => Ok(Ok(value)),
            Err(ReadError::Damaged { table, key, what }) => Ok(Err(Self { table, key, what })),
            Err(error) => Err(error),
        }
    }
}

impl From<&Damage> for ReadError {
    fn from(Damage { table, key, what }: &Damage) -> Self {
        Self::Damaged { table, key: key.clone(), what }
    }
}

impl Snapshot<'_> {
    /// The events in both stored forms, copied; damage of one of them is in its place.
    pub(crate) fn forms_of(&self, lev_ids: Vec<LevId>) -> Result<Vec<StoredForms>, ReadError> {
        let mut events = self.forms_without_json_of(lev_ids.clone())?;
        for (event, json) in events.iter_mut().zip(self.json_of(lev_ids)?) {
            event.json = Damage::only(json.map(Cow::into_owned))?;
        }
        Ok(events)
    }

    /// As [`Snapshot::forms_of`], with no JSON.
    pub(crate) fn forms_without_json_of(
        &self,
        lev_ids: Vec<LevId>,
    ) -> Result<Vec<StoredForms>, ReadError> {
        let packed = self.packed_of(lev_ids.clone())?;
        lev_ids
            .into_iter()
            .zip(packed)
            .map(|(lev_id, packed)| {
                let packed = Damage::only(packed.map(|packed| packed.to_vec()))?;
                Ok(StoredForms { lev_id, packed, json: Ok(String::new()) })
            })
            .collect()
    }
}
