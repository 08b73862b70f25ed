//! Batches that one walk finds, read on several threads and handed on in the order of the walk.
//!
//! Only the walk itself, which costs a fraction of the reading, is done by one thread at a time.
//! A batch is found and read in one snapshot, as it is where one thread does both, and no snapshot
//! is open while whoever gets the batches takes their time. Where there are fewer reader slots than
//! threads, so many read at once as there are slots; one is enough.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Condvar, Mutex, PoisonError};
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

/// What the threads share.
struct Reading<'db, W, R> {
    db: &'db StrfryDb,
    walk: Mutex<W>,
    read: R,
    snapshots: Snapshots,
}

/// The snapshots of the threads.
#[derive(Default)]
struct Snapshots {
    open: Mutex<usize>,
    closed: Condvar,
}

/// In this order: what counts the snapshot is dropped when that is closed.
struct Begun<'a, 'db> {
    snapshot: Snapshot<'db>,
    _counted: Counted<'a>,
}

struct Counted<'a>(&'a Snapshots);

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
    let reading = &Reading { db, walk: Mutex::new(walk), read, snapshots: Snapshots::default() };
    thread::scope(|scope| {
        let (queue, batches) = mpsc::sync_channel(threads);
        let started = (0..threads).map(|number| {
            let (name, queue) = (format!("reading-{number}"), queue.clone());
            let work = move || while reading.next(&queue) {};
            thread::Builder::new().name(name).spawn_scoped(scope, work)
        });
        if started.filter(Result::is_ok).count() == 0 {
            // There is no room for threads: what they would do is done here, batch by batch.
            while reading.next(&queue) {
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

impl<'db, W: Walk<'db>, R> Reading<'db, W, R> {
    /// Reads the next batch; false if there is no more, or nobody who wants it.
    fn next<T>(&self, queue: &SyncSender<Receiver<Done<T>>>) -> bool
    where
        R: Fn(&Snapshot<'db>, &W::Batch) -> Result<T, ReadError>,
    {
        let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        if walk.is_at_end() {
            return false;
        }
        let (answer, place) = mpsc::sync_channel(1);
        // Waits for whoever gets the batches, and with it all others do: no snapshot is open on
        // behalf of a batch that has no place.
        if queue.send(place).is_err() {
            return false;
        }
        open_snapshots::stop_if_told();
        let done = self.snapshots.begin(self.db).and_then(|begun| {
            let snapshot = &begun.snapshot;
            let found = walk.next(snapshot);
            drop(walk);
            let read = |found| (self.read)(snapshot, &found);
            let done = found.and_then(|found| found.map(read).transpose());
            match snapshot.is_whole()? {
                true => done,
                false => Err(ReadError::Overtaken),
            }
        });
        answer.send(done).is_ok()
    }
}

impl Snapshots {
    /// Begins one; where all slots are taken, as soon as another thread has given its own back.
    fn begin<'db>(&self, db: &'db StrfryDb) -> Result<Begun<'_, 'db>, ReadError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match db.begin(PagesFrom::Map) {
                Err(ReadError::ReadersFull) if *open > 0 => {
                    open = self.closed.wait(open).unwrap_or_else(PoisonError::into_inner);
                }
                begun => {
                    let snapshot = begun?;
                    *open += 1;
                    return Ok(Begun { snapshot, _counted: Counted(self) });
                }
            }
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.closed.notify_one();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::damaged;
    use crate::golden::golden_database;

    /// The numbers from 0 on, and an error in place of the last.
    struct Numbers {
        next: u64,
        last: u64,
    }

    impl Walk<'_> for Numbers {
        type Batch = u64;

        fn is_at_end(&self) -> bool {
            self.next > self.last
        }

        fn next(&mut self, _: &Snapshot<'_>) -> Result<Option<u64>, ReadError> {
            let number = self.next;
            self.next += 1;
            match number == self.last {
                true => Err(damaged("Event", number, "it is the last")),
                // Some batches have nothing in them.
                false => Ok(Some(number).filter(|number| number % 5 != 4)),
            }
        }
    }

    /// What comes of the first 100 numbers, of which those that are 2 or 3 behind a multiple of 5 are
    /// read in reverse order.
    fn read(threads: usize, fails_at: u64) -> Vec<Result<u64, String>> {
        let directory = golden_database("strfry-1.1.1");
        let db = StrfryDb::open(directory.path()).unwrap();
        let (done, is_done) = (Mutex::new(Vec::new()), Condvar::new());
        let read = |_: &Snapshot<'_>, number: &u64| {
            let mut done = done.lock().unwrap();
            if threads > 1 && number % 5 == 2 && *number < fails_at {
                let is_next_to_come = |done: &mut Vec<u64>| !done.contains(&(number + 1));
                done = is_done.wait_while(done, is_next_to_come).unwrap();
            }
            done.push(*number);
            is_done.notify_all();
            match *number == fails_at {
                true => Err(damaged("Event", number, "it cannot be read")),
                false => Ok(*number),
            }
        };
        let mut came = Vec::new();
        let walk = Numbers { next: 0, last: 100 };
        let ended: ControlFlow<()> = read_in_order(&db, walk, threads, read, |batch| {
            came.push(batch.map_err(|error| error.to_string()));
            ControlFlow::Continue(())
        });
        assert_eq!(ended, ControlFlow::Continue(()));
        came
    }

    #[test]
    fn batches_come_in_the_order_of_the_walk_whichever_is_read_first_and_none_behind_an_error() {
        for threads in [1, 2, 4] {
            for fails_at in [0, 31, 93, u64::MAX] {
                let said = match fails_at {
                    u64::MAX => damaged("Event", 100, "it is the last"),
                    fails_at => damaged("Event", fails_at, "it cannot be read"),
                };
                let mut expected: Vec<Result<u64, String>> =
                    (0..fails_at.min(100)).filter(|number| number % 5 != 4).map(Ok).collect();
                expected.push(Err(said.to_string()));
                assert_eq!(read(threads, fails_at), expected, "{threads} {fails_at}");
            }
        }
    }
}
