//! What is here already, for comparisons with peers: read once for all peers that are asked the
//! same, in short snapshots.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::limits::{COMPARED_AT_ONCE, KEPT_ITEMS, KEPT_SETS};
use crate::nostr::{EventId, Filter};
use crate::relay::{ItemSet, Local, LocalError, LocalItems, MissingIds};
use crate::strfry_db::scan::{ScanFilter, ScanOptions};
use crate::strfry_db::{ReadError, StrfryDb};

/// The events of the database.
pub(super) struct Here {
    db: Arc<StrfryDb>,
    /// The latest sets, the newest last.
    kept: Mutex<VecDeque<(Filter, Arc<Set>)>>,
}

type Set = OnceCell<Result<ItemSet, LocalError>>;

impl Here {
    pub(super) fn new(db: Arc<StrfryDb>) -> Self {
        Self { db, kept: Mutex::default() }
    }

    /// Reads everything afresh from now on.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn set(&self, filter: &Filter) -> Arc<Set> {
        let mut kept = self.lock();
        if let Some((_, set)) = kept.iter().find(|(of, _)| of == filter) {
            return Arc::clone(set);
        }
        let mut items: usize = kept.iter().map(|(_, set)| size_of(set)).sum();
        while kept.len() >= KEPT_SETS || items > KEPT_ITEMS {
            let Some((_, oldest)) = kept.pop_front() else { break };
            items -= size_of(&oldest).min(items);
        }
        let set = Arc::<Set>::default();
        kept.push_back((filter.clone(), Arc::clone(&set)));
        set
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Filter, Arc<Set>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Local for Here {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        Box::pin(async move {
            let set = self.set(filter);
            let read = || async {
                let (db, filter) = (Arc::clone(&self.db), filter.clone());
                let read = tokio::task::spawn_blocking(move || read(&db, &filter)).await;
                read.unwrap_or_else(|error| Err(LocalError::Unreadable(error.to_string())))
            };
            set.get_or_init(read).await.clone()
        })
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        Box::pin(async move {
            let (db, looked_up) = (Arc::clone(&self.db), ids.clone());
            let found = tokio::task::spawn_blocking(move || db.contains_each(&looked_up)).await;
            // What cannot be looked up is asked for: the checks look again before it is imported.
            let Ok(Ok(found)) = found else { return ids };
            ids.into_iter().zip(found).filter(|&(_, is_here)| !is_here).map(|(id, _)| id).collect()
        })
    }
}

impl std::fmt::Debug for Here {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Here").finish_non_exhaustive()
    }
}

/// How many events are in a set; none while it is being read.
fn size_of(set: &Set) -> usize {
    set.get().and_then(|set| set.as_ref().ok()).map_or(0, ItemSet::len)
}

fn read(db: &StrfryDb, filter: &Filter) -> Result<ItemSet, LocalError> {
    let unreadable = |error: ReadError| LocalError::Unreadable(error.to_string());
    let most = COMPARED_AT_ONCE;
    let mut items = Vec::new();
    // Newest first.
    for batch in db.scan(vec![ScanFilter::from(filter)], ScanOptions::default()) {
        for event in batch.map_err(unreadable)?.iter() {
            items.push((event.created_at(), event.packed().map_err(unreadable)?.id()));
        }
        if items.len() > most {
            let middle = items.get(most / 2).map_or(0, |&(created_at, _)| created_at);
            return Err(LocalError::TooMany { middle });
        }
    }
    Ok(ItemSet::new(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strfry_db::golden::golden_database;

    #[tokio::test]
    async fn of_ids_that_a_peer_names_those_that_are_here_are_not_missing() {
        let directory = golden_database("strfry-1.1.1");
        let here = Here::new(Arc::new(StrfryDb::open(directory.path()).unwrap()));
        let export = include_str!("../../tests/fixtures/strfry-1.1.1/export.jsonl");
        let id = |line| crate::nostr::Event::parse(line).unwrap().id;
        let known: Vec<EventId> = export.lines().map(id).collect();
        let unknown = [[0; 32], [255; 32]].map(EventId::from_bytes);
        let named = [&unknown[1..], &known, &unknown[..1]].concat();
        assert_eq!(here.missing(named).await, [unknown[1], unknown[0]]);
    }
}
