//! Which events a peer has forged: their text has the right hash and the wrong signature, which is
//! found out only after they have come.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nostr::EventId;

/// The ids that one peer has forged in this run. From then on it is asked for none of them, and what
/// it gives under them keeps nobody else from giving the event.
#[derive(Debug, Default)]
pub struct ForgedIds(Mutex<HashSet<EventId>>);

impl ForgedIds {
    /// The peer has forged this event; false if it had done so before.
    pub fn insert(&self, id: EventId) -> bool {
        self.lock().insert(id)
    }

    /// Whether the peer has forged this event.
    pub fn contains(&self, id: &EventId) -> bool {
        self.lock().contains(id)
    }

    /// How many events the peer has forged.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether it has forged none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
