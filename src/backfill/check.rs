//! The checks: is it here already, is it genuine, what did strfry do with it.
//!
//! A thread of its own, so that no async task ever blocks on the database, on all cores busy with
//! signatures, or on strfry. When strfry is slow this thread waits, its queue fills, and the peers
//! wait in turn.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc;

use super::accounts::{Class, Tally};
use super::limits::BATCH;
use super::screen::{Candidate, Work};
use super::write_relays::{RelayLists, write_relays};
use crate::import::{Fate, ImportError, Importer, StoredEvent, StrfryCommand};
use crate::nostr::{EventId, Pubkey, kind, signature};
use crate::report::{StatKey, SyncStats};
use crate::strfry_db::StrfryDb;

/// What the checks found out, beside the tallies.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Statistics of the imported events.
    pub(super) stats: SyncStats,
    /// Why the import could not be brought to its end.
    pub(super) error: Option<ImportError>,
    /// Why strfry had to be started twice.
    pub(super) replaced: Option<String>,
    /// The thread ended in a panic.
    pub(super) panicked: bool,
}

/// Authors of whom a genuine profile has come in, for the recovery's plan.
pub(super) type SeenProfiles = Arc<Mutex<HashSet<Pubkey>>>;

/// Ids in whose place something came that is not genuine: another peer may have the event.
pub(super) type ForgedIds = Arc<Mutex<Vec<EventId>>>;

/// What the checks need.
pub(super) struct Checks {
    pub(super) db: Arc<StrfryDb>,
    /// `None`: a dry run, nothing is imported.
    pub(super) strfry: Option<StrfryCommand>,
    pub(super) check_signatures: bool,
    pub(super) seen_profiles: SeenProfiles,
    pub(super) forged: ForgedIds,
    pub(super) relay_lists: RelayLists,
}

/// What is remembered of an event while strfry has it.
struct Ticket {
    stat: Option<StatKey>,
    tally: Arc<Tally>,
}

struct State<'db> {
    importer: Option<Importer<'db, Ticket>>,
    /// Ids of accepted events. Half of each id is enough: to make another genuine event share
    /// that half of a given id takes 2^128 attempts.
    accepted: HashSet<[u8; 16]>,
    stats: SyncStats,
}

impl Checks {
    /// Starts the thread; it ends when the queue is closed, or with an error.
    pub(super) fn start(
        self,
        work: mpsc::Receiver<Work>,
    ) -> std::io::Result<thread::JoinHandle<Checked>> {
        thread::Builder::new().name("checks".to_owned()).spawn(move || self.run(work))
    }

    fn run(&self, mut work: mpsc::Receiver<Work>) -> Checked {
        let importer = self.strfry.clone().map(|command| Importer::new(&self.db, command));
        let mut state = State { importer, accepted: HashSet::new(), stats: SyncStats::default() };
        let result = self.work_off(&mut work, &mut state);
        // From here on peers are told to stop instead of being left waiting.
        work.close();
        while let Ok(left) = work.try_recv() {
            if let Work::Check(candidate) = left {
                candidate.tally.count(Class::Dropped);
            }
        }
        let result = result.and_then(|()| state.finish());
        if result.is_err() {
            state.abandon();
        }
        let replaced = state.importer.as_ref().and_then(Importer::replaced);
        Checked {
            replaced: replaced.map(ToString::to_string),
            stats: state.stats,
            error: result.err(),
            panicked: false,
        }
    }

    fn work_off(
        &self,
        work: &mut mpsc::Receiver<Work>,
        state: &mut State<'_>,
    ) -> Result<(), ImportError> {
        let mut queue = Vec::with_capacity(BATCH);
        loop {
            // While nothing waits to be checked, strfry gets what is buffered.
            if work.is_empty() {
                state.flush()?;
            }
            if work.blocking_recv_many(&mut queue, BATCH) == 0 {
                return Ok(());
            }
            let mut batch = Vec::with_capacity(queue.len());
            let mut barriers = Vec::new();
            for item in queue.drain(..) {
                match item {
                    Work::Check(candidate) => batch.push(candidate),
                    Work::Barrier(done) => barriers.push(done),
                }
            }
            self.check(batch, state)?;
            for done in barriers {
                // Nobody waits any more if the run has been stopped.
                let _ = done.send(());
            }
        }
    }

    fn check(&self, batch: Vec<Candidate>, state: &mut State<'_>) -> Result<(), ImportError> {
        let unknown = drop_accepted(batch, state);
        let ids: Vec<EventId> = unknown.iter().map(|candidate| candidate.event.id()).collect();
        let present = match self.db.contains_each(&ids) {
            Ok(present) => present,
            Err(error) => {
                drop_all(unknown);
                return Err(error.into());
            }
        };
        let mut missing = Vec::with_capacity(unknown.len());
        for (candidate, present) in unknown.into_iter().zip(present) {
            if present {
                candidate.tally.count(Class::AlreadyPresent);
            } else {
                missing.push(candidate);
            }
        }
        let verdicts = signature::check_all(&missing, |candidate| {
            verdict(&candidate.event, self.check_signatures)
        });
        let mut judged = missing.into_iter().zip(verdicts);
        while let Some((candidate, verdict)) = judged.next() {
            let Candidate { event, stat, tally, .. } = candidate;
            if let Some(class) = verdict {
                tally.count(class);
                self.forged.lock().unwrap_or_else(PoisonError::into_inner).push(event.id());
            } else if !state.accepted.insert(half_of(&event.id())) {
                tally.count(Class::Duplicate);
            } else {
                self.remember_profile(&event);
                if let Err(error) = state.accept(event, Ticket { stat, tally }) {
                    drop_all(judged.map(|(candidate, _)| candidate));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn remember_profile(&self, event: &StoredEvent) {
        if event.packed().kind() == kind::PROFILE {
            let mut seen = self.seen_profiles.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(event.packed().pubkey());
        }
        if event.packed().kind() == kind::RELAY_LIST {
            let (pubkey, created_at) = (event.packed().pubkey(), event.packed().created_at());
            let mut lists = self.relay_lists.lock().unwrap_or_else(PoisonError::into_inner);
            if lists.get(&pubkey).is_none_or(|(known, _)| *known < created_at) {
                lists.insert(pubkey, (created_at, write_relays(event.json())));
            }
        }
    }
}

impl State<'_> {
    fn accept(&mut self, event: StoredEvent, ticket: Ticket) -> Result<(), ImportError> {
        let Some(importer) = &mut self.importer else {
            ticket.tally.count(Class::WouldImport);
            return Ok(());
        };
        let written = importer.write(event, ticket);
        self.settle();
        written
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        self.importer.as_mut().map_or(Ok(()), Importer::flush)
    }

    fn finish(&mut self) -> Result<(), ImportError> {
        let result = self.importer.as_mut().map_or(Ok(()), Importer::finish);
        self.settle();
        result
    }

    fn abandon(&mut self) {
        if let Some(importer) = &mut self.importer {
            importer.abandon();
        }
        self.settle();
    }

    fn settle(&mut self) {
        let settled = self.importer.as_mut().map(Importer::take_settled).unwrap_or_default();
        for settled in settled {
            let Ticket { stat, tally } = settled.tag;
            match settled.fate {
                Fate::Imported => {
                    self.stats.add(settled.event.packed().kind(), stat);
                    tally.count(Class::Imported);
                }
                Fate::Superseded(_) => tally.count(Class::Superseded),
                Fate::Deleted(_) => tally.count(Class::Deleted),
                Fate::Rejected(reason) => tally.count_because(Class::Rejected, reason),
                Fate::NotConfirmed => tally.count(Class::NotConfirmed),
            }
        }
    }
}

/// Counts and drops what this run has accepted already.
fn drop_accepted(batch: Vec<Candidate>, state: &State<'_>) -> Vec<Candidate> {
    let (accepted, unknown): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .partition(|candidate| state.accepted.contains(&half_of(&candidate.event.id())));
    for candidate in accepted {
        candidate.tally.count(Class::Duplicate);
    }
    unknown
}

fn drop_all(candidates: impl IntoIterator<Item = Candidate>) {
    for candidate in candidates {
        candidate.tally.count(Class::Dropped);
    }
}

/// The class of an event that is not genuine.
fn verdict(event: &StoredEvent, check_signatures: bool) -> Option<Class> {
    let (id, pubkey) = (event.id(), event.packed().pubkey());
    if event.hash() != id {
        Some(Class::BadId)
    } else if check_signatures && !signature::is_valid(&id, &pubkey, &event.sig) {
        Some(Class::BadSignature)
    } else {
        None
    }
}

fn half_of(id: &EventId) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&id.as_bytes()[..16]);
    half
}
