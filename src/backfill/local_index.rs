//! What is here already, for comparisons with peers: read once for all peers that are asked the
//! same, in short snapshots. A few peers look into the database at a time, and all sets together
//! are bounded: peers that make us divide what is compared, each in another way, wait for room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::limits::{COMPARED_AT_ONCE, ITEMS_IN_ALL, KEPT_ITEMS, KEPT_SETS, LOOKUPS_AT_ONCE};
use crate::nostr::{EventId, Filter};
use crate::peer::{ItemSet, LocalError, LocalEvents, LocalItems, MissingIds};
use crate::strfry_db::{self, PackedEvent, ReadError, StrfryDb};

/// The events of the database.
pub(super) struct LocalIndex {
    db: Arc<StrfryDb>,
    /// Looks into the database at once.
    lookups: Arc<Semaphore>,
    /// Events in all sets.
    room: Arc<Semaphore>,
    /// The latest sets, the newest last.
    kept: Mutex<VecDeque<(Filter, Arc<Set>)>>,
}

struct Set {
    items: OnceCell<Result<ItemSet, LocalError>>,
    /// For as many events as are compared at once, until they have been read.
    room: Mutex<Option<OwnedSemaphorePermit>>,
}

impl LocalIndex {
    pub(super) fn new(db: Arc<StrfryDb>) -> Self {
        let [lookups, room] =
            [LOOKUPS_AT_ONCE, ITEMS_IN_ALL].map(|most| Arc::new(Semaphore::new(most)));
        Self { db, lookups, room, kept: Mutex::default() }
    }

    /// Reads everything afresh from now on.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// `None`: there is no room for another set now.
    fn set(&self, filter: &Filter) -> Option<Arc<Set>> {
        let mut kept = self.lock();
        if let Some((_, set)) = kept.iter().find(|(of, _)| of == filter) {
            return Some(Arc::clone(set));
        }
        let mut items: usize = kept.iter().map(|(_, set)| size_of(set)).sum();
        while kept.len() >= KEPT_SETS || items > KEPT_ITEMS {
            let Some((_, oldest)) = kept.pop_front() else { break };
            items -= size_of(&oldest).min(items);
        }
        let take = || Arc::clone(&self.room).try_acquire_many_owned(permits(COMPARED_AT_ONCE)).ok();
        let room = take().or_else(|| {
            // What is kept for later gives way to what is needed now.
            kept.clear();
            take()
        })?;
        let set = Arc::new(Set { items: OnceCell::new(), room: Mutex::new(Some(room)) });
        kept.push_back((filter.clone(), Arc::clone(&set)));
        Some(set)
    }

    /// Looks into the database when it is this look's turn. An error is a panic.
    async fn look_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&StrfryDb) -> T + Send + 'static,
    ) -> Result<T, String> {
        // It is never closed.
        let _turn = self.lookups.acquire().await;
        let db = Arc::clone(&self.db);
        let looked = tokio::task::spawn_blocking(move || look(&db)).await;
        looked.map_err(|error| error.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Filter, Arc<Set>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalEvents for LocalIndex {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        Box::pin(async move {
            let Some(set) = self.set(filter) else { return Err(LocalError::NoRoom) };
            let read = || async {
                let room = set.room.lock().unwrap_or_else(PoisonError::into_inner).take();
                let filter = filter.clone();
                let read = self.look_up(move |db| read(db, &filter, room)).await;
                read.unwrap_or_else(|error| Err(LocalError::Unreadable(error)))
            };
            set.items.get_or_init(read).await.clone()
        })
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        Box::pin(async move {
            let missing = self.look_up(move |db| {
                // What cannot be looked up is asked for: the checks look again before it is imported.
                let Ok(found) = db.contains_each(&ids) else { return ids };
                let missing = ids.into_iter().zip(found).filter(|&(_, is_here)| !is_here);
                missing.map(|(id, _)| id).collect()
            });
            // What a panic took away is named again by whoever has it.
            missing.await.unwrap_or_default()
        })
    }
}

impl std::fmt::Debug for LocalIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalIndex").finish_non_exhaustive()
    }
}

/// How many events are in a set; none while it is being read.
fn size_of(set: &Set) -> usize {
    set.items.get().and_then(|set| set.as_ref().ok()).map_or(0, ItemSet::len)
}

fn permits(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn read(
    db: &StrfryDb,
    filter: &Filter,
    room: Option<OwnedSemaphorePermit>,
) -> Result<ItemSet, LocalError> {
    let unreadable = |error: ReadError| LocalError::Unreadable(error.to_string());
    let most = COMPARED_AT_ONCE;
    let mut items = Vec::new();
    // Newest first.
    let found = db.scan(strfry_db::Filter::from(filter)).map_batches(|batch| {
        let item = |event: Result<PackedEvent<'_>, _>| event.map(|it| (it.created_at(), it.id()));
        batch.packed()?.map(item).collect::<Result<Vec<_>, _>>()
    });
    for found in found {
        items.append(&mut found.map_err(unreadable)?);
        if items.len() > most {
            let middle = items.get(most / 2).map_or(0, |&(created_at, _)| created_at);
            return Err(LocalError::TooMany { middle });
        }
    }
    let held = room.and_then(|mut room| room.split(items.len()));
    Ok(ItemSet::new(items).holding(held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden_database;

    #[tokio::test]
    async fn of_ids_that_a_peer_names_those_that_are_here_are_not_missing() {
        let directory = golden_database("strfry-1.1.1");
        let here = LocalIndex::new(Arc::new(StrfryDb::open(directory.path()).unwrap()));
        let export = include_str!("../../tests/fixtures/strfry-1.1.1/export.jsonl");
        let id = |line| crate::nostr::Event::parse(line).unwrap().id;
        let known: Vec<EventId> = export.lines().map(id).collect();
        let unknown = [[0; 32], [255; 32]].map(EventId::from_bytes);
        let named = [&unknown[1..], &known, &unknown[..1]].concat();
        assert_eq!(here.missing(named).await, [unknown[1], unknown[0]]);
    }
}
