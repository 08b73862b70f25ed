//! Events that are here, in the form in which negentropy (NIP-77) compares them.

use std::sync::Arc;

use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase, NegentropyStorageVector};
use tokio::sync::OwnedSemaphorePermit;

use crate::nostr::EventId;

/// Events that are here, as negentropy compares them. Shared: a clone costs nothing.
#[derive(Debug, Clone)]
pub struct ItemSet {
    items: Arc<NegentropyStorageVector>,
    /// Memory that is given back with the last clone.
    #[expect(dead_code, reason = "it is held")]
    held: Option<Arc<OwnedSemaphorePermit>>,
}

impl ItemSet {
    /// Of these pairs of created_at and id, in any order.
    pub fn new(items: impl IntoIterator<Item = (u64, EventId)>) -> Self {
        let mut storage = NegentropyStorageVector::new();
        for (created_at, id) in items {
            // For negentropy the last second is the end of time, before which all events are.
            let created_at = created_at.min(u64::MAX - 1);
            // Only a sealed storage refuses.
            let _ = storage.insert(created_at, Id::from_byte_array(*id.as_bytes()));
        }
        let _ = storage.seal();
        Self { items: Arc::new(storage), held: None }
    }

    /// Gives this back when the last clone is dropped.
    #[must_use]
    pub fn holding(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { held: permit.map(Arc::new), ..self }
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.items.size().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The created_at of the event in the middle.
    pub(super) fn middle(&self) -> Option<u64> {
        let item = self.items.get_item(self.len() / 2).ok()?;
        item.map(|item| item.timestamp)
    }
}

impl NegentropyStorageBase for ItemSet {
    fn size(&self) -> Result<usize, Error> {
        self.items.size()
    }

    fn get_item(&self, i: usize) -> Result<Option<Item>, Error> {
        self.items.get_item(i)
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        cb: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.items.iterate(begin, end, cb)
    }

    fn find_lower_bound(&self, first: usize, last: usize, value: &Bound) -> usize {
        // The crate subtracts: a peer's bounds that run backwards must not get that far.
        if first >= last { first } else { self.items.find_lower_bound(first, last, value) }
    }
}
