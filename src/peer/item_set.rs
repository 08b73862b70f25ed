//! Events that are here, in the form in which negentropy (NIP-77) compares them.

use std::sync::Arc;

use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase};
use tokio::sync::OwnedSemaphorePermit;

use crate::nostr::EventId;

/// Events that are here, as negentropy compares them: 40 bytes each. Shared: a clone costs nothing.
#[derive(Debug, Clone)]
pub struct ItemSet {
    /// Sorted by time and id, without repeats.
    items: Arc<Box<[Item]>>,
    /// Memory that is given back with the last clone.
    #[expect(dead_code, reason = "it is held")]
    held: Option<Arc<OwnedSemaphorePermit>>,
}

impl ItemSet {
    /// Of these pairs of created_at and id, in any order.
    pub fn new(items: impl IntoIterator<Item = (u64, EventId)>) -> Self {
        let mut items: Vec<Item> = items.into_iter().map(item).collect();
        items.sort_unstable();
        items.dedup();
        Self { items: Arc::new(items.into_boxed_slice()), held: None }
    }

    /// Gives this back when the last clone is dropped.
    #[must_use]
    pub fn holding(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { held: permit.map(Arc::new), ..self }
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The created_at of the event in the middle.
    pub(super) fn middle(&self) -> Option<u64> {
        self.items.get(self.len() / 2).map(|item| item.timestamp)
    }
}

/// For negentropy the last second is the end of time, before which all events are.
pub(super) fn before_the_end(created_at: u64) -> u64 {
    created_at.min(u64::MAX - 1)
}

fn item((created_at, id): (u64, EventId)) -> Item {
    Item::with_timestamp_and_id(before_the_end(created_at), Id::from_byte_array(*id.as_bytes()))
}

impl NegentropyStorageBase for ItemSet {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.len())
    }

    fn get_item(&self, i: usize) -> Result<Option<Item>, Error> {
        Ok(self.items.get(i).copied())
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        cb: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let items = self.items.get(begin..end).ok_or(Error::BadRange)?;
        for (item, index) in items.iter().zip(begin..) {
            if !cb(*item, index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, value: &Bound) -> usize {
        // A peer's bounds may run backwards.
        let items = self.items.get(first..last).unwrap_or_default();
        first + items.partition_point(|item| *item < value.item)
    }
}
