//! How long the requests of a fetch are waited for, and which of them have taken too long.

use std::time::{Duration, Instant};

use super::{Open, Request, Requests};
use crate::relay::ledger::Member;
use crate::relay::limits::STEAL_AFTER;
use crate::relay::manners::Comparing;
use crate::relay::outcome::GapReason;

impl Requests {
    /// How long to wait for the next message.
    pub(in crate::relay) fn patience(&self) -> Duration {
        let slowest = self.asked().map(|open| open.asked + self.clock.slowest()).min();
        let mut until = slowest.map(|slowest| slowest.min(self.clock.silent_until()));
        let mut at_latest = |moment: Instant| {
            until = Some(until.map_or(moment, |until| until.min(moment)));
        };
        if let Some(pause) = self.clock.pause_until()
            && !self.is_idle()
        {
            at_latest(pause);
        }
        for moment in [self.trial_until(), self.refused_until()].into_iter().flatten() {
            at_latest(moment);
        }
        if self.member.as_ref().is_some_and(Member::is_waiting) {
            at_latest(Instant::now() + STEAL_AFTER / 2);
        }
        let until = until.unwrap_or_else(|| self.clock.silent_until());
        until.saturating_duration_since(Instant::now())
    }

    /// Requests that the peer owes an answer to.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Open> {
        self.open
            .iter()
            .filter(|open| !matches!(open.request, Request::Compare { held: Some(_), .. }))
    }

    /// Until when a peer that has not been seen to compare may take to begin with it.
    pub(super) fn trial_until(&self) -> Option<Instant> {
        if self.manners.comparing != Comparing::Untried {
            return None;
        }
        let trial = self.open.iter().find(|open| matches!(open.request, Request::Compare { .. }));
        // One that says that it compares may have much to count first; of any other no answer is
        // the likely answer. Either has to end before the peer is given up for its silence.
        let thirds = if self.manners.says_it_compares { 2 } else { 1 };
        trial.map(|open| open.asked + self.clock.pace.time_out * thirds / 3)
    }

    /// Our own sink took this long: that does not count against the peer.
    pub(in crate::relay) fn excuse(&mut self, time: Duration) {
        self.clock.excuse(time);
        for open in &mut self.open {
            open.asked += time;
        }
    }

    /// What has taken too long, if anything. Whatever else the peer sends in the meantime is no
    /// progress.
    pub(in crate::relay) fn overdue(&mut self) -> Option<GapReason> {
        let now = Instant::now();
        if self.trial_until().is_some_and(|until| now >= until) {
            self.stop_comparing();
            return None;
        }
        if self.refused_until().is_some_and(|until| now >= until) {
            self.ask_all_again();
            return None;
        }
        if self.auth.is_pending() && now >= self.clock.silent_until() {
            self.auth.expire();
            self.clock.restart();
        }
        let (slowest, time_out) = (self.clock.slowest(), self.clock.pace.time_out);
        if self.asked().next().is_none() {
            None
        } else if now >= self.clock.silent_until() {
            Some(GapReason::TimedOut(time_out.as_secs(), self.notice.clone()))
        } else if self.asked().any(|open| now >= open.asked + slowest) {
            Some(GapReason::TooSlow(slowest.as_secs()))
        } else {
            None
        }
    }
}
