//! How many snapshots this process has open, so that it can end between two of them.
//!
//! A process that a signal ends in the middle of a snapshot leaves its slot in strfry's lock file
//! taken until somebody looks for it, and as long as it is, strfry's file grows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

static OPEN: Mutex<usize> = Mutex::new(0);
static ENDING: OnceLock<Ending> = OnceLock::new();

/// How a process ends that is told to. Flags, because a signal's handler may do no more than look
/// at them and set them.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Kept true while no snapshot is open: the process may end at once.
    pub may_end: Arc<AtomicBool>,
    /// To be set to anything but 0 when the process is to end and may not.
    pub told: Arc<AtomicUsize>,
    /// Ends the process, for the reason that `told` holds.
    pub end: fn(usize),
}

impl Ending {
    /// From now on the process ends when the last open snapshot is closed, if it has been told to.
    /// Of several calls the first counts.
    pub fn between_snapshots(self) {
        let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        self.may_end.store(*open == 0, Ordering::SeqCst);
        let _ = ENDING.set(self);
    }

    fn end_if_told(&self) {
        let reason = self.told.load(Ordering::SeqCst);
        if reason != 0 {
            (self.end)(reason);
        }
    }
}

/// Waits for the end of the process if it has been told to end. For several threads that each begin
/// snapshots, and have none open meanwhile: one would be open at any time.
pub(crate) fn stop_if_told() {
    if ENDING.get().is_some_and(|ending| ending.told.load(Ordering::SeqCst) != 0) {
        loop {
            std::thread::park();
        }
    }
}

/// Counts as one while it lives. To be dropped after the transaction.
#[derive(Debug)]
pub(crate) struct Open(());

impl Open {
    pub(crate) fn new() -> Self {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = ENDING.get() {
            ending.may_end.store(false, Ordering::SeqCst);
        }
        *open += 1;
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        *open -= 1;
        if *open == 0
            && let Some(ending) = ENDING.get()
        {
            // In this order: a signal that comes in between finds that the process may end.
            ending.may_end.store(true, Ordering::SeqCst);
            ending.end_if_told();
        }
    }
}
