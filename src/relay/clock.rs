//! How long a peer is waited for, and when it may be asked again.

use std::time::{Duration, Instant};

use super::limits::{LONGEST_PAUSE, RATE_LIMITED_IN_A_ROW, SLOWEST_PAGE};

/// How long a peer is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Without an answer to anything that is asked; time that the sink takes does not count.
    pub time_out: Duration,
    /// Before the second attempt; later pauses grow from it.
    pub first_pause: Duration,
}

/// The time of one fetch.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) pace: Pace,
    rate_limited_in_a_row: u32,
    /// No new request before this moment.
    pause_until: Option<Instant>,
    /// When the peer last answered anything.
    last_progress: Instant,
    /// Whether it has, on this connection.
    pub(super) answered: bool,
}

impl Clock {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            rate_limited_in_a_row: 0,
            pause_until: None,
            last_progress: Instant::now(),
            answered: false,
        }
    }

    /// Whether a request may be sent now.
    pub(super) fn may_ask(&mut self) -> bool {
        if self.pause_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        self.pause_until = None;
        true
    }

    /// The first request after a time in which none was open.
    pub(super) fn restart(&mut self) {
        self.last_progress = Instant::now();
    }

    pub(super) fn progress(&mut self) {
        self.last_progress = Instant::now();
        self.answered = true;
    }

    /// A request was answered to its end.
    pub(super) fn answer(&mut self) {
        self.progress();
        self.rate_limited_in_a_row = 0;
    }

    /// Our own sink took this long: that does not count against the peer.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.last_progress += time;
    }

    /// Whether a pause has been begun that is not over.
    pub(super) fn is_paused(&self) -> bool {
        self.pause_until.is_some()
    }

    /// The peer wants to be asked less often; false if it has said so too many times in a row.
    /// `complaints`: how often it has said so in this run.
    pub(super) fn back_off(&mut self, complaints: u32) -> bool {
        self.rate_limited_in_a_row += 1;
        let pause = pause(self.pace.first_pause, complaints);
        let may = self.rate_limited_in_a_row <= RATE_LIMITED_IN_A_ROW;
        self.pause_until = may.then(|| Instant::now() + pause);
        may
    }

    /// The end of the pause, if there is one.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        self.pause_until
    }

    pub(super) fn end_pause(&mut self) {
        self.pause_until = None;
    }

    /// When the peer has been silent for too long.
    pub(super) fn silent_until(&self) -> Instant {
        self.last_progress + self.pace.time_out
    }

    /// How long one request may take at most.
    pub(super) fn slowest(&self) -> Duration {
        self.pace.time_out * SLOWEST_PAGE
    }
}

/// Doubles with every attempt; jittered, so that many nodes do not come back at the same moment.
pub(super) fn pause(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64())
}
