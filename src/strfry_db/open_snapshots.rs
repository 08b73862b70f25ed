//! How many snapshots this process has open, so that it can end between two of them.
//!
//! A process that a signal ends in the middle of a snapshot leaves its slot in strfry's lock file
//! taken until somebody looks for it, and as long as it is, strfry's file grows.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct State {
    open: usize,
    closed: bool,
}

static STATE: Mutex<State> = Mutex::new(State { open: 0, closed: false });
static CHANGED: Condvar = Condvar::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts as one while it lives. To be dropped after the transaction.
#[derive(Debug)]
pub(super) struct Open(());

impl Open {
    /// Waits, for ever, if the process is about to end.
    pub(super) fn new() -> Self {
        let mut state = state();
        while state.closed {
            state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.open += 1;
        Self(())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        state().open -= 1;
        CHANGED.notify_all();
    }
}

/// Returns when this process has no snapshot open, or that has taken too long, and lets no other
/// begin: whoever wants one waits for the end of the process, which is to follow at once. Returns
/// whether none is open.
pub fn close_to_new_snapshots(patience: Duration) -> bool {
    let mut state = state();
    state.closed = true;
    let waited = CHANGED.wait_timeout_while(state, patience, |state| state.open > 0);
    let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    state.open == 0
}
