//! The one way by which events reach strfry: already present? genuine? deleted or superseded? then
//! strfry, then what became of it.
//!
//! Batches are prepared and checked by a pool of threads, on as many cores as the run may use. One
//! more thread takes them in the order in which they were submitted, gives strfry what is genuine,
//! and settles every event in exactly one [`Fate`]. A fixed number of batches is on its way; when
//! strfry is slow, whoever submits waits.

use std::cell::RefCell;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use super::child::{Form, ImportError};
use super::command::StrfryCommand;
use super::confirm;
use super::encode::StoredEvent;
use super::event_head::EventHead;
use super::fate::Fate;
use super::importer::{Importer, Settled, Window as ImportWindow};
use super::limits::{BATCHES_AHEAD, NICENESS_OF_CHECKS, TICK};
use super::window::Window;
use crate::node::EventLimits;
use crate::nostr::{EventId, signature};
use crate::stop::Stop;
use crate::strfry_db::{LevId, ReadError, Snapshot, StrfryDb};

/// How events are checked and imported.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `None`: a dry run, nothing is imported.
    pub strfry: Option<StrfryCommand>,
    /// The form in which strfry is given events.
    pub form: Form,
    /// strfry's own limits.
    pub limits: EventLimits,
    /// How much strfry is given at once.
    pub window: ImportWindow,
    /// Whether signatures are checked; ids always are.
    pub check_signatures: bool,
    /// Threads that check; 0 is one for each core.
    pub threads: usize,
    /// Once it is overdue, strfry is waited for no longer; what it has committed is settled.
    pub stop: Stop,
}

/// Told what becomes of the events, on one thread.
pub trait Ledger: Send + 'static {
    /// What it attaches to an event.
    type Ticket: Send + 'static;

    /// The event is genuine and missing here, and is given to strfry.
    fn accepted(&mut self, _: &StoredEvent, _: &mut Self::Ticket) {}

    /// What became of an event; called once for each. The text of one that was imported is not kept.
    fn settled(&mut self, event: &EventHead, json: Option<&str>, ticket: Self::Ticket, fate: &Fate);
}

/// An event and the ticket that was attached to it.
type Ticketed<L> = (StoredEvent, <L as Ledger>::Ticket);

/// Called when everything before it has been checked and accepted or settled.
pub type Barrier = Box<dyn FnOnce() + Send>;

/// How a pipeline ended.
#[derive(Debug)]
pub struct Ended<L> {
    /// `None`: its thread panicked.
    pub ledger: Option<L>,
    /// Why the import could not be brought to its end.
    pub error: Option<ImportError>,
    /// What went wrong besides: strfry had to be started twice, or does not say why an event is not
    /// in the database.
    pub troubles: Vec<String>,
    /// What is worth knowing, and makes nothing incomplete.
    pub notices: Vec<String>,
    /// Bytes that strfry has written, as far as that can be seen.
    pub bytes_written: Option<u64>,
}

impl<L> Ended<L> {
    fn panicked() -> Self {
        let error = Some(ImportError::Panicked);
        Self { ledger: None, error, troubles: Vec::new(), notices: Vec::new(), bytes_written: None }
    }
}

/// A running pipeline for batches that `prepare` turns into events.
pub struct Pipeline<I, L: Ledger> {
    slots: SyncSender<Slot<L>>,
    workers: rayon::ThreadPool,
    shared: Arc<Shared<I, L>>,
    thread: thread::JoinHandle<Ended<L>>,
    /// Closed when the thread is at its end.
    works: Receiver<Infallible>,
}

enum Slot<L: Ledger> {
    Batch(Receiver<Checked<L>>),
    Barrier(Barrier),
}

/// Turns what was submitted into events; settles by itself what is none.
type Prepare<I, L> = dyn Fn(I) -> Vec<Ticketed<L>> + Send + Sync;

struct Shared<I, L: Ledger> {
    db: Arc<StrfryDb>,
    prepare: Box<Prepare<I, L>>,
    check_signatures: bool,
    /// Events with a greater levId came into the database during this run.
    last_lev_id: LevId,
    window: Arc<Window>,
    failed: Arc<AtomicBool>,
}

/// What the checks have found out about an event.
enum Verdict {
    Ends(Fate),
    Genuine,
    /// A copy of it was on its way, so it was not looked at.
    Copy,
}

struct Checked<L: Ledger> {
    events: Vec<(Ticketed<L>, Verdict)>,
    error: Option<ReadError>,
}

impl<I: Send + 'static, L: Ledger> Pipeline<I, L> {
    /// Starts the threads; strfry is started for the first event that it is given.
    ///
    /// # Errors
    /// The database cannot be read, or no threads can be started.
    pub fn start(
        db: Arc<StrfryDb>,
        settings: Settings,
        ledger: L,
        prepare: impl Fn(I) -> Vec<Ticketed<L>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let last_lev_id = db.read(Snapshot::last_lev_id);
        let last_lev_id = last_lev_id.map_err(io::Error::other)?.unwrap_or(0);
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .thread_name(|number| format!("checks-{number}"))
            // What everything waits for is strfry, which writes on one core; and a relay's clients.
            .start_handler(|_| {
                let _ = rustix::process::nice(NICENESS_OF_CHECKS);
            })
            // Its batch is missed where it is waited for.
            .panic_handler(|_| {})
            .build()
            .map_err(io::Error::other)?;
        let (slots, queue) = sync_channel(workers.current_num_threads() + BATCHES_AHEAD);
        let (window, failed) = (Arc::<Window>::default(), Arc::<AtomicBool>::default());
        let shared = Arc::new(Shared {
            db: Arc::clone(&db),
            prepare: Box::new(prepare),
            check_signatures: settings.check_signatures,
            last_lev_id,
            window: Arc::clone(&window),
            failed: Arc::clone(&failed),
        });
        let (working, works) = sync_channel(0);
        let thread = thread::Builder::new().name("import".to_owned()).spawn(move || {
            let _working: SyncSender<Infallible> = working;
            let check_signatures = settings.check_signatures;
            let ledger = Rc::new(RefCell::new(ledger));
            let importer = settings.strfry.map(|command| {
                let (ledger, window) = (Rc::clone(&ledger), &window);
                Importer::new(
                    &db,
                    command,
                    settings.form,
                    settings.limits,
                    settings.window,
                    settings.stop,
                    move |Settled { fate, head, json, tag }| {
                        window.settle(&head.id());
                        ledger.borrow_mut().settled(&head, json.as_deref(), tag, &fate);
                    },
                )
            });
            let run = Run {
                db: &db,
                importer,
                ledger,
                window: &window,
                failed: &failed,
                check_signatures,
                error: None,
            };
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run.work_off(&queue)));
            ended.unwrap_or_else(|_| {
                failed.store(true, Ordering::Relaxed);
                Ended::panicked()
            })
        })?;
        Ok(Self { slots, workers, shared, thread, works })
    }

    /// Hands a batch over; waits while too many are on their way.
    pub fn submit(&self, batch: I) {
        let (checked, result) = sync_channel(1);
        // Its end, if it has panicked, shows when the pipeline is brought to its end.
        if self.slots.send(Slot::Batch(result)).is_err() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.workers.spawn_fifo(move || {
            let _ = checked.send(shared.check(batch));
        });
    }

    /// Has `barrier` called when everything that was submitted before has been checked.
    pub fn barrier(&self, barrier: Barrier) {
        let _ = self.slots.send(Slot::Barrier(barrier));
    }

    /// Whether nothing more can be done with an event: the import has failed.
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Waits until every event is settled, and calls `tick` again and again meanwhile.
    pub fn finish(self, mut tick: impl FnMut()) -> Ended<L> {
        drop(self.slots);
        while let Err(RecvTimeoutError::Timeout) = self.works.recv_timeout(TICK) {
            tick();
        }
        self.thread.join().unwrap_or_else(|_| Ended::panicked())
    }
}

impl<I, L: Ledger> Shared<I, L> {
    fn check(&self, batch: I) -> Checked<L> {
        let events = (self.prepare)(batch);
        if self.failed.load(Ordering::Relaxed) {
            return Checked::dropped(events, None);
        }
        let ids: Vec<EventId> = events.iter().map(|(event, _)| event.id()).collect();
        // Claimed before it is looked up, given up after it can be found: so no copy slips through
        // between the two.
        let claimed = self.window.claim_each(ids.iter());
        let mine: Vec<&StoredEvent> = events
            .iter()
            .zip(&claimed)
            .filter(|&(_, &is_claimed)| is_claimed)
            .map(|((event, _), _)| event)
            .collect();
        let held = match held_of_each(&self.db, &mine) {
            Ok(held) => held,
            Err(error) => {
                let mine = ids.iter().zip(&claimed).filter(|&(_, &is_claimed)| is_claimed);
                self.window.unclaim_each(mine.map(|(id, _)| id));
                return Checked::dropped(events, Some(error));
            }
        };
        let mut held = held.into_iter();
        let verdicts: Vec<Verdict> = events
            .iter()
            .zip(&claimed)
            .map(|((event, _), &is_claimed)| match is_claimed.then(|| held.next()).flatten() {
                None => Verdict::Copy,
                Some(Held::Itself(lev_id)) if lev_id > self.last_lev_id => {
                    Verdict::Ends(Fate::Duplicate)
                }
                Some(Held::Itself(_)) => Verdict::Ends(Fate::AlreadyPresent),
                Some(Held::Instead(fate)) => {
                    Verdict::Ends(forgery(event, self.check_signatures).unwrap_or(fate))
                }
                Some(Held::Nothing) => match forgery(event, self.check_signatures) {
                    Some(fate) => Verdict::Ends(fate),
                    None => Verdict::Genuine,
                },
            })
            .collect();
        let ended = ids.iter().zip(&verdicts).filter(|(_, it)| matches!(it, Verdict::Ends(_)));
        self.window.unclaim_each(ended.map(|(id, _)| id));
        Checked { events: events.into_iter().zip(verdicts).collect(), error: None }
    }
}

/// What the database holds of an event.
enum Held {
    Itself(LevId),
    /// What deletes it, or is there in its place, if it is genuine.
    Instead(Fate),
    Nothing,
}

impl Held {
    fn find(snapshot: &Snapshot<'_>, event: &StoredEvent) -> Result<Self, ReadError> {
        Ok(match snapshot.find(&event.id())? {
            Some(lev_id) => Self::Itself(lev_id),
            None => confirm::ruled_out(snapshot, event)?.map_or(Self::Nothing, Self::Instead),
        })
    }
}

/// What the database holds of each of these events, in their order.
fn held_of_each(db: &StrfryDb, events: &[&StoredEvent]) -> Result<Vec<Held>, ReadError> {
    let keys: Vec<_> = events.iter().map(|event| event.id()).zip(0usize..).collect();
    db.get_each(&keys, |snapshot, &(_, at)| {
        events.get(at).map_or(Ok(Held::Nothing), |event| Held::find(snapshot, event))
    })
}

/// What an event is that is not genuine.
fn forgery(event: &StoredEvent, check_signatures: bool) -> Option<Fate> {
    let (id, pubkey) = (event.id(), event.packed().pubkey());
    if event.hash() != id {
        Some(Fate::BadId)
    } else if check_signatures && !signature::is_valid(&id, &pubkey, &event.sig) {
        Some(Fate::BadSignature)
    } else {
        None
    }
}

impl<L: Ledger> Checked<L> {
    fn dropped(events: Vec<Ticketed<L>>, error: Option<ReadError>) -> Self {
        let events = events.into_iter().map(|event| (event, Verdict::Ends(Fate::Dropped)));
        Self { events: events.collect(), error }
    }
}

/// The thread that talks to strfry.
struct Run<'a, L: Ledger> {
    db: &'a StrfryDb,
    importer: Option<Importer<'a, L::Ticket>>,
    /// The importer tells it, too, and only while it is called.
    ledger: Rc<RefCell<L>>,
    window: &'a Window,
    failed: &'a AtomicBool,
    check_signatures: bool,
    error: Option<ImportError>,
}

impl<L: Ledger> Run<'_, L> {
    fn work_off(mut self, queue: &Receiver<Slot<L>>) -> Ended<L> {
        while let Some(slot) = self.next(queue) {
            match slot {
                Slot::Barrier(reached) => reached(),
                Slot::Batch(checked) => match checked.recv() {
                    Ok(checked) => self.take(checked),
                    Err(mpsc::RecvError) => self.fail(ImportError::Panicked),
                },
            }
        }
        if self.error.is_none()
            && let Some(Err(error)) = self.importer.as_mut().map(Importer::finish)
        {
            self.fail(error);
        }
        let troubles = self.importer.as_mut().map(Importer::take_troubles).unwrap_or_default();
        let notices = self.importer.as_mut().map(Importer::take_notices).unwrap_or_default();
        let bytes_written = self.importer.as_ref().and_then(Importer::bytes_written);
        // The importer's hold on it goes first.
        self.importer = None;
        let ledger = Rc::into_inner(self.ledger).map(RefCell::into_inner);
        Ended { ledger, error: self.error, troubles, notices, bytes_written }
    }

    /// The next slot. While there is none, strfry gets what it is to have.
    fn next(&mut self, queue: &Receiver<Slot<L>>) -> Option<Slot<L>> {
        loop {
            match queue.try_recv() {
                Ok(slot) => return Some(slot),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            if self.error.is_none()
                && let Some(Err(error)) = self.importer.as_mut().map(Importer::flush)
            {
                self.fail(error);
            }
            if !self.importer.as_ref().is_some_and(Importer::is_waiting) {
                return queue.recv().ok();
            }
            match queue.recv_timeout(TICK) {
                Ok(slot) => return Some(slot),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, checked: Checked<L>) {
        if let Some(error) = checked.error {
            self.fail(error.into());
        }
        for ((event, ticket), verdict) in checked.events {
            let fate = match verdict {
                Verdict::Ends(fate) => Some(fate),
                Verdict::Genuine => None,
                Verdict::Copy => self.judge_copy(&event),
            };
            match fate {
                Some(fate) => tell(&self.ledger, &event, ticket, &fate),
                None => self.accept(event, ticket),
            }
        }
    }

    /// The fate of an event of which another copy was on its way when it came, if that decides it.
    fn judge_copy(&mut self, event: &StoredEvent) -> Option<Fate> {
        if self.window.is_accepted(&event.id()) {
            return Some(Fate::Duplicate);
        }
        // The other one was forged, is settled by now, or is in a later batch.
        if let Some(fate) = forgery(event, self.check_signatures) {
            return Some(fate);
        }
        match held_of_each(self.db, &[event]) {
            Ok(held) => match held.into_iter().next() {
                Some(Held::Itself(_)) => Some(Fate::Duplicate),
                Some(Held::Instead(fate)) => Some(fate),
                Some(Held::Nothing) | None => None,
            },
            Err(error) => {
                self.fail(error.into());
                Some(Fate::Dropped)
            }
        }
    }

    fn accept(&mut self, event: StoredEvent, mut ticket: L::Ticket) {
        if self.error.is_some() {
            self.window.settle(&event.id());
            return tell(&self.ledger, &event, ticket, &Fate::Dropped);
        }
        if !self.window.accept(&event.id()) {
            return tell(&self.ledger, &event, ticket, &Fate::Duplicate);
        }
        self.ledger.borrow_mut().accepted(&event, &mut ticket);
        let Some(importer) = &mut self.importer else {
            return tell(&self.ledger, &event, ticket, &Fate::WouldImport);
        };
        if let Err(error) = importer.write(event, ticket) {
            self.fail(error);
        }
    }

    /// What strfry has committed is found out; all that comes from here on is dropped.
    fn fail(&mut self, error: ImportError) {
        self.failed.store(true, Ordering::Relaxed);
        if let Some(importer) = &mut self.importer {
            importer.abandon();
        }
        self.error.get_or_insert(error);
    }
}

/// What became of an event whose text is at hand.
fn tell<L: Ledger>(ledger: &RefCell<L>, event: &StoredEvent, ticket: L::Ticket, fate: &Fate) {
    ledger.borrow_mut().settled(&event.into(), Some(event.json()), ticket, fate);
}
