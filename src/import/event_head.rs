//! What is remembered of an event while its text is elsewhere.

use super::encode::StoredEvent;
use crate::nostr::{EventId, Pubkey};
use crate::strfry_db::{PackedEvent, packed_event};

/// Who wrote an event, when, of which kind and length; not its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead {
    packed: [u8; packed_event::HEADER],
    json_bytes: u32,
}

impl EventHead {
    /// Its id.
    pub fn id(&self) -> EventId {
        self.packed().id()
    }

    /// Its author.
    pub fn pubkey(&self) -> Pubkey {
        self.packed().pubkey()
    }

    /// When its author says that it was made, Unix seconds.
    pub fn created_at(&self) -> u64 {
        self.packed().created_at()
    }

    /// Its kind.
    pub fn kind(&self) -> u64 {
        self.packed().kind()
    }

    /// When it expires, Unix seconds; 0: never, 1: it is of an ephemeral kind.
    pub fn expiration(&self) -> u64 {
        self.packed().expiration()
    }

    /// Bytes of its JSON.
    pub fn json_bytes(&self) -> u64 {
        u64::from(self.json_bytes)
    }

    /// Without its tags.
    fn packed(&self) -> PackedEvent<'_> {
        PackedEvent::from_parts(&self.packed, &[])
    }
}

impl From<&StoredEvent> for EventHead {
    fn from(event: &StoredEvent) -> Self {
        let json_bytes = u32::try_from(event.json().len()).unwrap_or(u32::MAX);
        Self { packed: *event.packed_header(), json_bytes }
    }
}
