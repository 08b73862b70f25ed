//! Batches that one walk finds, read on several threads and handed on in the order of the walk.
//!
//! Only the walk itself, which costs a fraction of the reading, is done by one thread at a time.
//! A batch is found and read in one snapshot, as it is where one thread does both, and no snapshot
//! is open while whoever gets the batches takes their time.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::ReadError;
use crate::limits::READING_THREADS;
use crate::open::{PagesFrom, StrfryDb};
use crate::txn::open_snapshots;
use crate::txn::snapshot::Snapshot;

/// A walk that goes on in whichever snapshot it is given.
pub(crate) trait Walk<'db>: Send {
    /// What there is to read, such as the numbers of events.
    type Batch;

    /// Whether there is no more.
    fn is_at_end(&self) -> bool;

    /// The next batch; `None` if there is nothing in what was looked at. After an error the walk is
    /// at its end.
    fn next(&mut self, snapshot: &Snapshot<'db>) -> Result<Option<Self::Batch>, ReadError>;
}

/// Buffers that are used again: a new one for each batch is a page fault for each of its pages.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty one.
    pub fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Takes one back.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// A batch that has been read; `None` if there was nothing in it.
type Done<T> = Result<Option<T>, ReadError>;

/// Gives `each` what `read` makes of each batch, in the order of the walk, until it breaks off or has
/// been given an error. Not without the lock file, where a batch may have to be read again.
///
/// At most two batches more than there are threads are in memory.
pub(crate) fn read_in_order<'db, W: Walk<'db>, T: Send, B>(
    db: &'db StrfryDb,
    walk: W,
    threads: usize,
    read: impl Fn(&Snapshot<'db>, &W::Batch) -> Result<T, ReadError> + Sync,
    mut each: impl FnMut(Result<T, ReadError>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let threads = threads.min(READING_THREADS);
    let walk = Mutex::new(walk);
    let (walk, read) = (&walk, &read);
    thread::scope(|scope| {
        let (queue, batches) = mpsc::sync_channel(threads);
        let started = (0..threads).map(|number| {
            let (name, queue) = (format!("reading-{number}"), queue.clone());
            let work = move || while read_next(db, walk, read, &queue) {};
            thread::Builder::new().name(name).spawn_scoped(scope, work)
        });
        if started.filter(Result::is_ok).count() == 0 {
            // There is no room for threads: what they would do is done here, batch by batch.
            while read_next(db, walk, read, &queue) {
                let Ok(batch) = batches.recv() else { break };
                if !hand_on(&batch, &mut each)? {
                    break;
                }
            }
            return ControlFlow::Continue(());
        }
        drop(queue);
        for batch in batches {
            if !hand_on(&batch, &mut each)? {
                break;
            }
        }
        ControlFlow::Continue(())
    })
}

/// Reads the next batch; false if there is no more, or nobody who wants it.
fn read_next<'db, W: Walk<'db>, T>(
    db: &'db StrfryDb,
    walk: &Mutex<W>,
    read: &impl Fn(&Snapshot<'db>, &W::Batch) -> Result<T, ReadError>,
    queue: &SyncSender<Receiver<Done<T>>>,
) -> bool {
    let mut walk = walk.lock().unwrap_or_else(PoisonError::into_inner);
    if walk.is_at_end() {
        return false;
    }
    let (answer, place) = mpsc::sync_channel(1);
    // Waits for whoever gets the batches, and with it all others do: no snapshot is open on behalf
    // of a batch that has no place.
    if queue.send(place).is_err() {
        return false;
    }
    open_snapshots::stop_if_told();
    let done = db.begin(PagesFrom::Map).and_then(|snapshot| {
        let found = walk.next(&snapshot);
        drop(walk);
        let done = found.and_then(|found| found.map(|found| read(&snapshot, &found)).transpose());
        match snapshot.is_whole()? {
            true => done,
            false => Err(ReadError::Overtaken),
        }
    });
    answer.send(done).is_ok()
}

/// Whether there may be more.
fn hand_on<T, B>(
    batch: &Receiver<Done<T>>,
    each: &mut impl FnMut(Result<T, ReadError>) -> ControlFlow<B>,
) -> ControlFlow<B, bool> {
    match batch.recv() {
        Ok(Ok(None)) => ControlFlow::Continue(true),
        Ok(Ok(Some(read))) => each(Ok(read)).map_continue(|()| true),
        Ok(Err(error)) => each(Err(error)).map_continue(|()| false),
        // Its thread has panicked, and so does whoever waits for that thread.
        Err(_) => ControlFlow::Continue(false),
    }
}
