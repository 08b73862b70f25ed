//! Which events are on their way: being checked, or given to strfry and not confirmed yet.
//!
//! Bounded by what is on its way. What has arrived is in the database, where copies that come
//! later are found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nostr::EventId;

/// Half of each id is enough: to make another genuine event share that half of a given id takes
/// 2^128 attempts.
type HalfId = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Somebody checks it.
    Claimed,
    /// It was found genuine, and is strfry's.
    Accepted,
}

#[derive(Debug, Default)]
pub(super) struct Window(Mutex<HashMap<HalfId, State>>);

impl Window {
    /// Claims each of these ids; false for those that are on their way already.
    pub(super) fn claim_each<'a>(&self, ids: impl Iterator<Item = &'a EventId>) -> Vec<bool> {
        let mut states = self.lock();
        ids.map(|id| match states.entry(half_of(id)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(State::Claimed);
                true
            }
        })
        .collect()
    }

    /// Takes an event for strfry; false if a copy of it was taken before.
    pub(super) fn accept(&self, id: &EventId) -> bool {
        self.lock().insert(half_of(id), State::Accepted) != Some(State::Accepted)
    }

    /// Whether a copy of this event has been accepted and is not settled.
    pub(super) fn is_accepted(&self, id: &EventId) -> bool {
        self.lock().get(&half_of(id)) == Some(&State::Accepted)
    }

    /// Gives up the claims on events that turned out to be in the database, or not to be genuine.
    pub(super) fn unclaim_each<'a>(&self, ids: impl Iterator<Item = &'a EventId>) {
        let mut states = self.lock();
        for id in ids {
            if let Entry::Occupied(entry) = states.entry(half_of(id))
                && *entry.get() == State::Claimed
            {
                entry.remove();
            }
        }
    }

    /// What strfry did with it can be seen in the database from now on.
    pub(super) fn settle(&self, id: &EventId) {
        self.lock().remove(&half_of(id));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<HalfId, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn half_of(id: &EventId) -> HalfId {
    let [half, _] = *id.as_bytes().as_chunks::<16>().0 else { return HalfId::default() };
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_accepted_once_until_it_is_settled() {
        let (window, id) = (Window::default(), EventId::from_bytes([7; 32]));
        assert_eq!(window.claim_each([&id, &id].into_iter()), [true, false]);
        assert!(window.accept(&id) && !window.accept(&id));
        // A claim that comes to nothing does not take away what was accepted meanwhile.
        window.unclaim_each([&id].into_iter());
        assert!(window.is_accepted(&id));
        window.settle(&id);
        assert_eq!(window.claim_each([&id].into_iter()), [true]);
        window.unclaim_each([&id].into_iter());
        assert!(!window.is_accepted(&id));
        assert_eq!(window.claim_each([&id].into_iter()), [true]);
    }
}
