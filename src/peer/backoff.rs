//! When a peer may be asked again that wants to be asked less often, and pauses between attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{LONGEST_PAUSE, RATE_LIMITED_IN_A_ROW};

/// How long a peer is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Without progress; time in which the peer waits for us does not count.
    pub time_out: Duration,
    /// Before the second attempt; later pauses grow from it.
    pub first_pause: Duration,
}

/// The pauses that a peer asks for in one fetch.
#[derive(Debug)]
pub(super) struct Backoff {
    first_pause: Duration,
    rate_limited_in_a_row: u32,
    /// No new request before this moment.
    pause_until: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        Self { first_pause: pace.first_pause, rate_limited_in_a_row: 0, pause_until: None }
    }

    /// Whether a request may be sent now.
    pub(super) fn may_ask(&mut self) -> bool {
        if self.pause_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.pause_until = None;
        true
    }

    /// A request was answered to its end.
    pub(super) fn answer(&mut self) {
        self.rate_limited_in_a_row = 0;
    }

    /// Whether a pause has been begun that is not over.
    pub(super) fn is_paused(&self) -> bool {
        self.pause_until.is_some()
    }

    /// The peer wants to be asked less often: the end of the pause that it gets. `None`: it has said
    /// so too many times in a row. `complaints`: how often it has said so in this run.
    pub(super) fn back_off(&mut self, complaints: u32) -> Option<Instant> {
        self.rate_limited_in_a_row += 1;
        let pause = pause(self.first_pause, complaints);
        let may = self.rate_limited_in_a_row <= RATE_LIMITED_IN_A_ROW;
        self.pause_until = may.then(|| Instant::now() + pause);
        self.pause_until
    }

    /// The end of the pause, if there is one.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    pub(super) fn end_pause(&mut self) {
        self.pause_until = None;
    }
}

/// Doubles with every attempt; jittered, so that many nodes do not come back at the same moment.
pub(super) fn pause(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64())
}
