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
        let mut until =
            self.does_time_run().then(|| self.budget.silent_until().min(self.budget.floor_at()));
        let mut at_latest = |moment: Instant| {
            until = Some(until.map_or(moment, |until| until.min(moment)));
        };
        if let Some(pause) = self.backoff.pause_until()
            && !self.is_idle()
        {
            at_latest(pause);
        }
        let moments = [
            self.trial_until(),
            self.refused_until(),
            self.shared_until(),
            self.auth_until(),
            self.no_room_until.filter(|&until| until > Instant::now()),
        ];
        for moment in moments.into_iter().flatten() {
            at_latest(moment);
        }
        if self.member.as_ref().is_some_and(Member::is_waiting) {
            at_latest(Instant::now() + STEAL_AFTER / 2);
        }
        // Our own checks and the room for messages are looked at more often.
        let most = (self.time_out / 4).max(Duration::from_millis(10));
        until.map_or(most, |until| until.saturating_duration_since(Instant::now()).min(most))
    }

    /// Until when the answer to a request for several pages is waited for: a relay may not know
    /// what to do with it.
    fn shared_until(&self) -> Option<Instant> {
        let shared = self.open.iter().find(|open| open.asks_for_several_pages());
        shared.map(|_| self.last_answer + self.time_out / 2)
    }

    /// Until when the peer may say what it thinks of who we are.
    fn auth_until(&self) -> Option<Instant> {
        self.auth.is_pending().then(|| self.last_answer + self.time_out / 3)
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
        trial.map(|open| open.asked + self.time_out * thirds / 3)
    }

    /// Our own sink took this long: that does not count against the peer.
    pub(in crate::relay) fn excuse(&mut self, time: Duration) {
        self.budget.excuse(time);
        self.last_answer += time;
        for open in &mut self.open {
            open.asked += time;
        }
    }

    /// What has taken too long, if anything.
    pub(in crate::relay) fn overdue(&mut self) -> Option<GapReason> {
        let now = Instant::now();
        if self.trial_until().is_some_and(|until| now >= until) {
            self.stop_comparing();
            return None;
        }
        let is_refused = [self.refused_until(), self.shared_until()];
        if is_refused.into_iter().flatten().any(|until| now >= until) {
            self.ask_all_again();
            return None;
        }
        if self.auth_until().is_some_and(|until| now >= until) {
            self.auth.expire();
            // An answer may have been accepted without a word.
            self.accepted_at = self.auth.is_accepted().then_some(now);
        }
        let may = self.does_time_run();
        may.then(|| self.budget.verdict(now, self.notice.as_ref())).flatten()
    }

    /// Whether the peer's time runs: it owes an answer, or has asked for a pause.
    fn does_time_run(&self) -> bool {
        self.backoff.is_paused() || self.asked().next().is_some()
    }
}
