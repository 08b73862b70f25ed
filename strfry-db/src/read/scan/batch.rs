//! Matches of one moment, read where they lie.

use std::borrow::Cow;

use crate::error::ReadError;
use crate::format::keys::LevId;
use crate::format::packed_event::PackedEvent;
use crate::read::get::Found;
use crate::read::stored_event::copied::{Copied, copied_of};
use crate::read::stored_event::forms::StoredForms;
use crate::txn::snapshot::Snapshot;

/// Matches of one moment, at least one, in order. Of each nothing but the index has been read.
pub struct Batch<'a, 'db> {
    snapshot: &'a Snapshot<'db>,
    found: &'a [Found],
}

impl<'a, 'db> Batch<'a, 'db> {
    pub(super) fn new(snapshot: &'a Snapshot<'db>, found: &'a [Found]) -> Self {
        Self { snapshot, found }
    }

    /// Where the matches are, and when they were made.
    pub fn found(&self) -> &'a [Found] {
        self.found
    }

    /// The matches as stored JSON, in order; borrowed unless compressed.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn json(
        &self,
    ) -> Result<impl ExactSizeIterator<Item = Result<Cow<'a, str>, ReadError>>, ReadError> {
        self.snapshot.json_of(self.lev_ids())
    }

    /// What strfry indexes of the matches, in order.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn packed(
        &self,
    ) -> Result<impl ExactSizeIterator<Item = Result<PackedEvent<'a>, ReadError>>, ReadError> {
        self.snapshot.packed_of(self.lev_ids())
    }

    /// The matches in both stored forms, copied, in order; damage of one is in its place.
    ///
    /// # Errors
    /// [`ReadError`], but for damage of one event.
    #[doc(hidden)]
    pub fn stored_forms(&self) -> Result<Vec<StoredForms>, ReadError> {
        self.snapshot.forms_of(self.lev_ids())
    }

    /// The matches, copied.
    pub(super) fn copied(&self) -> Result<Copied<'db>, ReadError> {
        copied_of(self.snapshot, self.lev_ids())
    }

    fn lev_ids(&self) -> Vec<LevId> {
        self.found.iter().map(|found| found.lev_id).collect()
    }
}

impl std::fmt::Debug for Batch<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("found", &self.found).finish_non_exhaustive()
    }
}
