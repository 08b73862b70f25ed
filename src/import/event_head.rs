//! What is remembered of an event while its text is elsewhere.

use super::encode::StoredEvent;
use crate::nostr::EventId;

/// Which event it is, and its times: what has to be known of each before its text is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead {
    id: EventId,
    created_at: u64,
    expiration: u64,
}

impl EventHead {
    /// Its id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// When its author says that it was made, Unix seconds.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// When it expires, Unix seconds; 0: never, 1: it is of an ephemeral kind.
    pub fn expiration(&self) -> u64 {
        self.expiration
    }
}

impl From<&StoredEvent> for EventHead {
    fn from(event: &StoredEvent) -> Self {
        let packed = event.packed();
        Self { id: packed.id(), created_at: packed.created_at(), expiration: packed.expiration() }
    }
}
