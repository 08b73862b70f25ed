//! The way from the peers' events to the import's pipeline, and into each peer's account.
//!
//! A thread of its own, so that no async task ever blocks on the database, on all cores busy with
//! signatures, or on strfry. When strfry is slow this thread waits, its queue fills, and the peers
//! wait in turn.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::accounts::Class;
use super::super::arrived::Arrived;
use super::super::coverage::Hole;
use super::super::gained::Gains;
use super::entrance::{Account, Candidate, Work};
use crate::import::limits::{BATCH, BATCH_BYTES};
use crate::import::{
    EventHead, Examples, Fate, ImportError, Ledger, Pipeline, Settings, StoredEvent,
};
use crate::nostr::{EventId, Pubkey};
use crate::report::{StatKey, SyncStats};
use crate::strfry_db::StrfryDb;

/// What the checks found out, beside the tallies.
#[derive(Debug, Default)]
pub(in crate::backfill) struct Checked {
    /// Statistics of the imported events.
    pub(in crate::backfill) stats: SyncStats,
    /// Counts of them.
    pub(in crate::backfill) gains: Gains,
    /// Some of the events that were superseded or deleted.
    pub(in crate::backfill) examples: Examples,
    /// Why the import could not be brought to its end.
    pub(in crate::backfill) error: Option<ImportError>,
    /// What else went wrong with strfry.
    pub(in crate::backfill) troubles: Vec<String>,
    /// What is worth knowing, and makes nothing incomplete.
    pub(in crate::backfill) notices: Vec<String>,
    /// Bytes that strfry has written.
    pub(in crate::backfill) bytes_written: Option<u64>,
    /// The thread ended in a panic.
    pub(in crate::backfill) panicked: bool,
}

/// Ids in whose place something came that is not genuine, once for each peer that gave it: another
/// peer may have the event.
pub(in crate::backfill) type Forgeries = Arc<Mutex<Vec<EventId>>>;

/// What the checks need.
pub(in crate::backfill) struct Checks {
    pub(in crate::backfill) db: Arc<StrfryDb>,
    pub(in crate::backfill) settings: Settings,
    pub(in crate::backfill) arrived: Arrived,
    pub(in crate::backfill) forged: Forgeries,
}

/// What is remembered of an event until it is settled.
struct Ticket {
    author: Pubkey,
    kind: u64,
    json_bytes: u32,
    stat: Option<StatKey>,
    account: Arc<Account>,
    /// Room in memory, until the event has been found genuine; from then on the importer counts it.
    room: Option<OwnedSemaphorePermit>,
}

/// What the pipeline tells is counted for the peer that sent the event.
struct Accounts {
    stats: SyncStats,
    gains: Gains,
    examples: Examples,
    arrived: Arrived,
    forged: Forgeries,
}

type Batch = Vec<(StoredEvent, Ticket)>;

impl Ticket {
    fn for_event(candidate: Candidate) -> (StoredEvent, Self) {
        let Candidate { event, stat, account, room } = candidate;
        let (author, kind) = (event.packed().pubkey(), event.packed().kind());
        let json_bytes = u32::try_from(event.json().len()).unwrap_or(u32::MAX);
        (event, Self { author, kind, json_bytes, stat, account, room: Some(room) })
    }
}

impl Checks {
    /// Starts the thread; it ends when the queue is closed, or with an error.
    pub(in crate::backfill) fn start(
        self,
        work: mpsc::Receiver<Work>,
    ) -> std::io::Result<thread::JoinHandle<Checked>> {
        let accounts = Accounts {
            stats: SyncStats::default(),
            gains: Gains::default(),
            examples: Examples::default(),
            arrived: self.arrived,
            forged: self.forged,
        };
        let pipeline = Pipeline::start(self.db, self.settings, accounts, |batch: Batch| batch)?;
        thread::Builder::new().name("checks".to_owned()).spawn(move || run(pipeline, work))
    }
}

fn run(pipeline: Pipeline<Batch, Accounts>, mut work: mpsc::Receiver<Work>) -> Checked {
    let mut queue = Vec::with_capacity(BATCH);
    while !pipeline.has_failed() && work.blocking_recv_many(&mut queue, BATCH) > 0 {
        submit(&pipeline, queue.drain(..));
    }
    // From here on peers are told to stop instead of being left waiting.
    work.close();
    while let Ok(left) = work.try_recv() {
        if let Work::Check(candidate) = left {
            candidate.account.drop_event(hole(&candidate.event));
        }
    }
    // The run tells how far it is.
    let ended = pipeline.finish(|| ());
    let parts = |accounts: Accounts| (accounts.stats, accounts.gains, accounts.examples);
    let (stats, gains, examples) = ended.ledger.map(parts).unwrap_or_default();
    Checked {
        stats,
        gains,
        examples,
        panicked: matches!(ended.error, Some(ImportError::Panicked)),
        error: ended.error,
        troubles: ended.troubles,
        notices: ended.notices,
        bytes_written: ended.bytes_written,
    }
}

/// In batches that are no larger than the pipeline's bounds foresee.
fn submit(pipeline: &Pipeline<Batch, Accounts>, work: impl Iterator<Item = Work>) {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for item in work {
        match item {
            Work::Check(candidate) => {
                bytes += candidate.event.memory();
                batch.push(Ticket::for_event(candidate));
                if bytes >= BATCH_BYTES {
                    pipeline.submit(std::mem::take(&mut batch));
                    bytes = 0;
                }
            }
            Work::Barrier(done) => {
                pipeline.submit(std::mem::take(&mut batch));
                bytes = 0;
                // Nobody waits any more if the run has been stopped.
                pipeline.barrier(Box::new(move || {
                    let _ = done.send(());
                }));
            }
        }
    }
    if !batch.is_empty() {
        pipeline.submit(batch);
    }
}

impl Ledger for Accounts {
    type Ticket = Ticket;

    fn accepted(&mut self, event: &StoredEvent, ticket: &mut Ticket) {
        self.arrived.note(event);
        ticket.room = None;
        ticket.account.progress.leave(&event.id(), true);
    }

    fn settled(&mut self, event: &EventHead, _: Option<&str>, ticket: Ticket, fate: &Fate) {
        let Ticket { author, kind, json_bytes, stat, account, room } = ticket;
        if room.is_some() {
            // Found by its id, here or on its way; or checked, and not to be taken.
            let is_genuine = matches!(
                fate,
                Fate::AlreadyPresent | Fate::Duplicate | Fate::Superseded(_) | Fate::Deleted(_)
            );
            account.progress.leave(&event.id(), is_genuine);
        }
        if *fate == Fate::Imported {
            self.stats.add(kind, stat);
            self.gains.add(kind, event.created_at(), u64::from(json_bytes));
        }
        if matches!(fate.class(), Class::BadId | Class::BadSignature)
            && account.forged.insert(event.id())
        {
            self.forged.lock().unwrap_or_else(PoisonError::into_inner).push(event.id());
        }
        if is_new(fate) {
            account.strangers.note(&author);
        }
        self.examples.add(event.id(), fate);
        account.holes.note(fate.class(), Hole { author, kind, second: event.created_at() });
        match fate {
            Fate::Rejected(reason) => account.tally.count_because(Class::Rejected, reason),
            _ => account.tally.count(fate.class()),
        }
    }
}

/// What is missing if the event does not come into the database.
fn hole(event: &StoredEvent) -> Hole {
    let event = event.packed();
    Hole { author: event.pubkey(), kind: event.kind(), second: event.created_at() }
}

/// Whether the event is genuine and was not here, whatever became of it.
fn is_new(fate: &Fate) -> bool {
    match fate {
        Fate::Imported
        | Fate::WouldImport
        | Fate::Superseded(_)
        | Fate::Deleted(_)
        | Fate::Expired
        | Fate::Rejected(_)
        | Fate::NotConfirmed => true,
        Fate::AlreadyPresent
        | Fate::Duplicate
        | Fate::BadId
        | Fate::BadSignature
        | Fate::Dropped => false,
    }
}
