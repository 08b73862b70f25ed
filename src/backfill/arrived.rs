//! What has come in during this run and may not be in the database yet, as far as the recovery of
//! profiles depends on it: who has a profile by now, and where authors say that they publish.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::write_relays::write_relays;
use crate::import::StoredEvent;
use crate::node::Peer;
use crate::nostr::{Pubkey, kind};

/// Written by the checks, read by the recovery. Clones are of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrived(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    profiles: HashSet<Pubkey>,
    /// Of the newest list of each author: when it is from, and its write relays.
    relay_lists: HashMap<Pubkey, (u64, Vec<Peer>)>,
}

impl Arrived {
    /// A genuine event has come in.
    pub(super) fn note(&self, event: &StoredEvent) {
        let packed = event.packed();
        match packed.kind() {
            kind::PROFILE => {
                self.account().profiles.insert(packed.pubkey());
            }
            kind::RELAY_LIST => {
                let (pubkey, created_at) = (packed.pubkey(), packed.created_at());
                let lists = &mut self.account().relay_lists;
                if lists.get(&pubkey).is_none_or(|(known, _)| *known < created_at) {
                    lists.insert(pubkey, (created_at, write_relays(event.json())));
                }
            }
            _ => {}
        }
    }

    pub(super) fn has_profile(&self, pubkey: &Pubkey) -> bool {
        self.account().profiles.contains(pubkey)
    }

    /// The write relays of an author's newest list, if it is newer than that second.
    pub(super) fn write_relays(&self, pubkey: &Pubkey, after: Option<u64>) -> Option<Vec<Peer>> {
        let account = self.account();
        let (created_at, relays) = account.relay_lists.get(pubkey)?;
        after.is_none_or(|after| after < *created_at).then(|| relays.clone())
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
