//! Waiting for a strfry: what for, and how long it may do nothing meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use super::child::ImportChild;
use super::limits::{LEAST_READ, LONGEST_PAUSE, LOOK, SHORTEST_PAUSE, TICK};

/// How far a child is waited for to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nothing is left to be put into its pipe.
    Written,
    /// It has read all of that.
    Read,
    /// It says that it is through with more events than these.
    Through(u64),
    /// It has exited, and what it has started says no more.
    Exit,
}

impl Goal {
    pub(super) fn is_reached(self, child: &mut ImportChild) -> bool {
        match self {
            Self::Written => child.write_some(),
            Self::Read => child.unread() == 0,
            Self::Through(events) => child.log.through() > events,
            Self::Exit => child.has_exited() && child.log.has_ended(),
        }
    }
}

/// Whether a child that is waited for gets on: it reads at some pace, or what it was given is
/// committed. What it says counts for nothing.
pub(super) struct Watch {
    /// At the last progress.
    bytes_read: u64,
    since: Instant,
    looked: Instant,
    look_every: Duration,
    pause: Duration,
}

impl Watch {
    pub(super) fn new(patience: Duration) -> Self {
        let now = Instant::now();
        let look_every = (patience / 4).clamp(TICK, LOOK);
        Self { bytes_read: 0, since: now, looked: now, look_every, pause: SHORTEST_PAUSE }
    }

    pub(super) fn note_read(&mut self, bytes: u64) {
        if bytes.saturating_sub(self.bytes_read) >= LEAST_READ {
            self.bytes_read = bytes;
            self.note_progress();
        }
    }

    pub(super) fn note_progress(&mut self) {
        self.since = Instant::now();
    }

    pub(super) fn quiet(&self) -> Duration {
        self.since.elapsed()
    }

    /// Only while it reads nothing: a look costs it something, too.
    pub(super) fn is_time_to_look(&mut self) -> bool {
        let is_time = self.quiet().min(self.looked.elapsed()) >= self.look_every;
        if is_time {
            self.looked = Instant::now();
        }
        is_time
    }

    /// Until there may be something new, and never long.
    pub(super) fn rest(&mut self, goal: Goal, child: &ImportChild) {
        let bytes = child.bytes_read();
        if bytes > self.bytes_read && child.unread() == 0 {
            // It cannot read more than there is.
            self.bytes_read = bytes;
            self.note_progress();
        }
        match goal {
            Goal::Written => child.wait_until_writable(TICK),
            Goal::Through(events) if !child.log.has_ended() => {
                child.log.wait_for_more_than(events, TICK);
            }
            Goal::Through(_) => thread::sleep(TICK),
            // It says no more when it exits.
            Goal::Exit if !child.log.has_ended() => child.log.wait_for_end(TICK),
            Goal::Read | Goal::Exit => {
                thread::sleep(self.pause);
                // So that what is waited for is overslept by a quarter of its time at most.
                self.pause = (self.pause + self.pause / 4).min(LONGEST_PAUSE);
            }
        }
    }
}
