//! How long the requests of a fetch are waited for, and which of them have taken too long.

use std::time::Duration;

use tokio::time::Instant;

use super::{Conversation, Way};
use crate::peer::budget::Budget;
use crate::peer::limits::{AFTER_A_NOTICE, LINGER, STEAL_AFTER};
use crate::peer::outcome::GapReason;
use crate::peer::peer_limits::Comparing;

/// What the peer owes an answer to, and since when.
pub(in crate::peer) struct Clock {
    time_out: Duration,
    open: Vec<Open>,
    /// When the peer last answered anything.
    last_answer: Instant,
    /// Since when the peer has not owed an answer.
    idle_since: Option<Instant>,
    /// So many requests are asked one at a time, because one of them was not answered.
    alone: usize,
    /// A peer that has given nothing may still be about to, until then.
    linger_until: Option<Instant>,
}

/// A request that the peer owes an answer to.
pub(super) struct Open {
    pub(super) subscription: String,
    pub(super) way: Way,
    /// When; time that we have let pass ourselves is left out.
    pub(super) asked: Instant,
    /// What the peer has said to people since, which may be its refusal.
    pub(super) notice: Option<String>,
    /// Nothing else was open when it was asked.
    pub(super) is_alone: bool,
}

impl Clock {
    pub(super) fn new(time_out: Duration) -> Self {
        let last_answer = Instant::now();
        let (open, idle_since) = (Vec::new(), None);
        Self { time_out, open, last_answer, idle_since, alone: 0, linger_until: None }
    }

    /// This is being asked.
    pub(super) fn asked(&mut self, subscription: &str, budget: &mut Budget) {
        if let Some(since) = self.idle_since.take() {
            budget.excuse(since.elapsed());
        }
        let Some(way) = Way::of(subscription) else { return };
        let subscription = subscription.to_owned();
        let is_alone = self.open.is_empty();
        self.open.push(Open { subscription, way, asked: Instant::now(), notice: None, is_alone });
    }

    /// Something came that was asked for under this name.
    pub(super) fn note_answer(&mut self, subscription: &str) {
        let now = Instant::now();
        self.last_answer = now;
        if let Some(open) = self.open.iter_mut().find(|open| open.subscription == subscription) {
            open.asked = now;
        }
    }

    /// What was open under this name has been answered.
    pub(super) fn take(&mut self, subscription: &str) -> Option<Open> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        self.last_answer = Instant::now();
        self.alone = self.alone.saturating_sub(1);
        Some(self.open.remove(at))
    }

    /// Everything that was open, which is not waited for any more.
    pub(super) fn take_all(&mut self) -> Vec<Open> {
        std::mem::take(&mut self.open)
    }

    /// Nothing of this way is waited for any more; the names of what was.
    pub(super) fn close_all(&mut self, way: Way) -> Vec<String> {
        let of_it = self.open.extract_if(.., |open| open.way == way);
        of_it.map(|open| open.subscription).collect()
    }

    pub(super) fn close_all_ways(&mut self) {
        self.open.clear();
    }

    /// So many requests are asked one at a time from now on.
    pub(super) fn ask_alone(&mut self, requests: usize) {
        self.alone = requests;
    }

    /// Whether one more request may be sent.
    pub(super) fn may_ask(&self) -> bool {
        self.alone == 0 || self.open.is_empty()
    }

    pub(super) fn open(&self) -> &[Open] {
        &self.open
    }

    pub(super) fn open_mut(&mut self) -> &mut [Open] {
        &mut self.open
    }

    pub(super) fn time_out(&self) -> Duration {
        self.time_out
    }

    pub(super) fn nothing_is_open(&self) -> bool {
        self.open.is_empty()
    }

    /// Comparisons and pages that are open.
    pub(super) fn open_but_ids(&self) -> usize {
        self.open.iter().filter(|open| open.way != Way::Ids).count()
    }

    /// While the peer owes no answer, its time does not run. A pause that it has asked for is time
    /// of its own.
    pub(super) fn note_idleness(&mut self, is_paused: bool) {
        if self.open.is_empty() && !is_paused {
            self.idle_since.get_or_insert_with(Instant::now);
        }
    }

    /// The peer's time runs again, although nothing is open.
    pub(super) fn end_idleness(&mut self) {
        self.idle_since = None;
    }

    /// Whether what a peer sends after its ends has been waited for.
    pub(super) fn linger(&mut self) -> bool {
        let linger = LINGER.min(self.time_out / 4);
        let until = *self.linger_until.get_or_insert_with(|| Instant::now() + linger);
        Instant::now() >= until
    }

    /// Our own sink took this long: that does not count against the peer.
    fn excuse(&mut self, time: Duration) {
        self.last_answer += time;
        for open in &mut self.open {
            open.asked += time;
        }
    }

    /// Since when the peer has answered nothing of what is open.
    fn silent_since(&self) -> Option<Instant> {
        let oldest = self.open.iter().map(|open| open.asked).min()?;
        Some(oldest.max(self.last_answer))
    }
}

/// Nothing to speak of.
const SHORT_WAIT: Duration = Duration::from_millis(1);

impl Conversation {
    /// How long to wait for the next message.
    pub(in crate::peer) fn patience(&self) -> Duration {
        let clock = &self.clock;
        let runs = self.does_time_run();
        let of_budget = runs.then(|| self.budget.silent_until().min(self.budget.floor_at()));
        let pause = self.backoff.pause_until().filter(|_| !self.is_idle());
        let is_waiting = self.ids.as_ref().is_some_and(|ids| ids.member.is_waiting());
        let moments = [
            of_budget,
            pause,
            self.trial_until(),
            self.refused_until(),
            self.silent_until(),
            self.login_until(),
            clock.linger_until,
            self.negentropy.no_room_until(),
            is_waiting.then(|| Instant::now() + STEAL_AFTER / 2),
        ];
        // Our own checks and the room for messages are looked at more often.
        let most = (clock.time_out / 4).max(Duration::from_millis(10));
        let until = moments.into_iter().flatten().min();
        until.map_or(most, |until| until.saturating_duration_since(Instant::now()).min(most))
    }

    /// Whether the peer's time runs: it owes an answer, or has asked for a pause.
    fn does_time_run(&self) -> bool {
        self.backoff.is_paused() || !self.clock.nothing_is_open()
    }

    /// Until when the relay may say what it thinks of who we are, or ask for it.
    fn login_until(&self) -> Option<Instant> {
        self.login.pending_since().map(|since| since + self.clock.time_out / 3)
    }

    /// Until when a peer that has not been seen to compare may take to begin with it.
    fn trial_until(&self) -> Option<Instant> {
        if self.limits.comparing != Comparing::Untried {
            return None;
        }
        let trial = self.clock.open.iter().find(|open| open.way == Way::Compare);
        // One that says that it compares may have much to count first; of any other no answer is
        // the likely answer. Either has to end before the peer is given up for its silence.
        let thirds = if self.limits.says_it_compares { 2 } else { 1 };
        trial.map(|open| open.asked + self.clock.time_out * thirds / 3)
    }

    /// Until when requests of which the peer has refused one, without saying which, are waited for.
    fn refused_until(&self) -> Option<Instant> {
        let is_noticed = self.clock.open.iter().any(|open| open.notice.is_some());
        is_noticed.then(|| self.clock.last_answer + AFTER_A_NOTICE.min(self.clock.time_out / 20))
    }

    /// Until when a question that is larger than any that was answered is waited for.
    fn silent_until(&self) -> Option<Instant> {
        let mut open = self.clock.open.iter();
        let is_large = open.any(|open| self.is_large(open) && self.is_empty(&open.subscription));
        let since = self.clock.silent_since().filter(|_| is_large)?;
        Some(since + self.clock.time_out / 3)
    }

    /// Whether a smaller question than this one may be answered.
    pub(super) fn is_large(&self, open: &Open) -> bool {
        match open.way {
            Way::Page => self.pager.is_large(&open.subscription, &self.limits),
            Way::Ids => true,
            Way::Compare => false,
        }
    }

    /// We have kept the peer waiting for so long ourselves.
    pub(in crate::peer) fn excuse(&mut self, time: Duration) {
        self.budget.excuse(time);
        self.clock.excuse(time);
        // Of every event that was taken at once there is nothing to tell.
        if let Some(ids) = self.ids.as_ref().filter(|_| time >= SHORT_WAIT) {
            ids.member.excuse(time);
        }
    }

    /// What has taken too long, if anything.
    pub(in crate::peer) fn overdue(&mut self) -> Option<GapReason> {
        let now = Instant::now();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| now >= until);
        if is_over(self.trial_until()) {
            self.stop_comparing();
            return None;
        }
        if is_over(self.refused_until()) {
            self.take_notices_for_refusals();
            return None;
        }
        if is_over(self.silent_until()) {
            self.take_silence_for_refusal();
        }
        if is_over(self.login_until()) {
            self.login.expire();
            self.pager.remember_empty(self.login.may_help(now));
        }
        let may = self.does_time_run();
        may.then(|| self.budget.verdict(now, self.notice.as_ref())).flatten()
    }
}
