//! How much time one peer gets: the one rule by which its conversations end.
//!
//! Progress is a genuine event that this peer has not given before in this run, and the end of a
//! query, once for each that was asked. Nothing else is: no page, no round of a comparison, no id,
//! no copy, no text. A peer that makes no progress for its time-out is done, and so is one whose
//! progress falls below a floor. Time in which the peer waits for us does not count.
//!
//! Pure: it is told the time and what has come.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{
    FLOOR_TIME, FLOOR_TIME_OUTS, IDLE_MESSAGES, PAUSE_TIME_OUTS, PIECES, QUERY_WORTH,
    SMALL_MESSAGE, USELESS_MESSAGES,
};
use super::outcome::GapReason;

/// The time of one peer, for a whole run.
#[derive(Debug)]
pub(super) struct Budget {
    time_out: Duration,
    /// Genuine events so far.
    genuine: u64,
    /// These, and what ended queries are worth.
    progress: u64,
    /// Queries whose end still counts.
    queries: usize,
    /// Pieces of queries whose end still counts, beside those.
    pieces: usize,
    last_progress: Instant,
    /// The same, or the end of a pause since.
    quiet_until: Instant,
    /// The stretch of time over which the floor is measured.
    stretch: Stretch,
    /// Messages that are no message, or hold an event that was not asked for.
    useless: u64,
    /// Messages that change nothing.
    idle: u64,
    requests: u64,
}

#[derive(Debug)]
struct Stretch {
    began: Instant,
    /// Genuine events, and what ended queries are worth.
    progress: u64,
}

impl Default for Budget {
    /// For a peer that has not been asked anything.
    fn default() -> Self {
        let now = Instant::now();
        Self {
            time_out: Duration::ZERO,
            genuine: 0,
            progress: 0,
            queries: 0,
            pieces: 0,
            last_progress: now,
            quiet_until: now,
            stretch: Stretch { began: now, progress: 0 },
            useless: 0,
            idle: 0,
            requests: 0,
        }
    }
}

impl Budget {
    /// So many queries are going to be asked, with this time-out.
    pub(super) fn begin(&mut self, queries: usize, time_out: Duration, now: Instant) {
        self.time_out = time_out;
        self.queries = queries;
        (self.last_progress, self.quiet_until) = (now, now);
        self.stretch = Stretch { began: now, progress: 0 };
    }

    /// A request was sent.
    pub(super) fn asked(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// So many genuine events of this peer have been counted in this run, each once.
    pub(super) fn note_genuine(&mut self, count: u64, now: Instant) {
        let new = count.saturating_sub(self.genuine);
        self.genuine = self.genuine.max(count);
        self.count(new, now);
    }

    /// Queries have been divided into so many more pieces, since the peer does not answer larger
    /// ones.
    pub(super) fn note_pieces(&mut self, pieces: usize) {
        self.pieces = self.pieces.saturating_add(pieces).min(PIECES);
    }

    /// So many queries, or pieces of some, have ended. Those that were asked count as much as if none
    /// had been divided. A piece more is no silence, and does not count for the floor.
    pub(super) fn note_ended(&mut self, ended: usize, now: Instant) {
        let queries = ended.min(self.queries);
        self.queries -= queries;
        let pieces = (ended - queries).min(self.pieces);
        self.pieces -= pieces;
        self.count(QUERY_WORTH.saturating_mul(queries as u64), now);
        if pieces > 0 {
            self.last_progress = now;
            self.quiet_until = self.quiet_until.max(now);
        }
    }

    /// All progress so far: events, and what ended queries are worth.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    fn count(&mut self, worth: u64, now: Instant) {
        if worth > 0 {
            self.last_progress = now;
            // That may be in a pause.
            self.quiet_until = self.quiet_until.max(now);
            self.progress = self.progress.saturating_add(worth);
            self.stretch.progress = self.stretch.progress.saturating_add(worth);
        }
    }

    /// A message that is none, or holds an event that was not asked for.
    pub(super) fn note_useless(&mut self) {
        self.useless = self.useless.saturating_add(1);
    }

    /// A message that changes nothing: a ping, a text for people, the end of what nobody asked.
    pub(super) fn note_idle(&mut self) {
        self.idle = self.idle.saturating_add(1);
    }

    /// A message of so many bytes that brings neither an event nor a round of a comparison: a large
    /// one counts for many.
    pub(super) fn note_size(&mut self, bytes: usize) {
        self.idle = self.idle.saturating_add((bytes / SMALL_MESSAGE) as u64);
    }

    /// Whether too much of what the peer sends is of no use. `forged`: its events that turned out
    /// not to be genuine.
    pub(super) fn is_useless(&self, forged: u64) -> bool {
        // A relay may say two things about each request of ours that has ended by then.
        let most_idle = IDLE_MESSAGES.saturating_add(self.requests.saturating_mul(2));
        self.useless.saturating_add(forged) > USELESS_MESSAGES || self.idle > most_idle
    }

    /// So long we have kept the peer waiting ourselves.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.last_progress += time;
        self.quiet_until += time;
        self.stretch.began += time;
    }

    /// The peer is left alone until then: that is no silence. But the floor holds, and all pauses
    /// since the last progress are no longer than [`PAUSE_TIME_OUTS`] time-outs.
    pub(super) fn pause_until(&mut self, until: Instant) {
        let most = self.last_progress + self.time_out * PAUSE_TIME_OUTS;
        self.quiet_until = self.quiet_until.max(until.min(most));
    }

    /// When the peer has made no progress for too long.
    pub(super) fn silent_until(&self) -> Instant {
        self.quiet_until + self.time_out
    }

    /// When the floor is looked at next.
    pub(super) fn floor_at(&self) -> Instant {
        self.stretch.began + self.stretch_time()
    }

    fn stretch_time(&self) -> Duration {
        (self.time_out * FLOOR_TIME_OUTS).min(FLOOR_TIME)
    }

    /// Why the peer's time is over, if it is. `notice`: what it said last.
    pub(super) fn verdict(&mut self, now: Instant, notice: Option<&String>) -> Option<GapReason> {
        if now >= self.silent_until() {
            return Some(GapReason::TimedOut(self.time_out.as_secs(), notice.cloned()));
        }
        if now < self.floor_at() {
            return None;
        }
        // One a second.
        let (time, progress) = (self.stretch_time().as_secs(), self.stretch.progress);
        if progress < time {
            return Some(GapReason::TooSlow(time));
        }
        self.stretch = Stretch { began: now, progress: 0 };
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME_OUT: Duration = Duration::from_secs(30);

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// A peer that is asked so many queries.
    fn asked(queries: usize) -> (Budget, Instant) {
        let now = Instant::now();
        let mut budget = Budget::default();
        budget.begin(queries, TIME_OUT, now);
        (budget, now)
    }

    #[test]
    fn a_peer_without_progress_is_done_after_its_time_out() {
        let (mut budget, began) = asked(3);
        assert_eq!(budget.verdict(began + second(29), None), None);
        let silent = GapReason::TimedOut(30, Some("wait".into()));
        assert_eq!(budget.verdict(began + second(30), Some(&"wait".into())), Some(silent));
    }

    #[test]
    fn an_event_counts_once_and_an_ended_query_no_more_often_than_it_was_asked() {
        let (mut budget, began) = asked(2);
        budget.note_genuine(5, began + second(20));
        assert_eq!(budget.silent_until(), began + second(50));
        budget.note_genuine(5, began + second(40));
        assert_eq!(budget.silent_until(), began + second(50));
        budget.note_ended(1, began + second(41));
        budget.note_ended(1, began + second(42));
        assert_eq!(budget.silent_until(), began + second(72));
        budget.note_ended(9, began + second(60));
        assert_eq!(budget.silent_until(), began + second(72));
    }

    #[test]
    fn a_peer_that_is_slower_than_an_event_a_second_is_done_after_five_minutes() {
        let (mut budget, began) = asked(0);
        let mut drip = |every: u64| {
            budget.begin(0, TIME_OUT, began);
            (1..).find_map(|number| {
                let now = began + second(number * every);
                budget.note_genuine(budget.genuine + 1, now);
                budget.verdict(now, None).map(|reason| (reason, now - began))
            })
        };
        assert_eq!(drip(2), Some((GapReason::TooSlow(300), second(300))));
        let (mut budget, began) = asked(0);
        for number in 1..3_000 {
            let now = began + second(number);
            budget.note_genuine(number, now);
            assert_eq!(budget.verdict(now, None), None, "after {number} s");
        }
    }

    #[test]
    fn time_in_which_the_peer_waits_for_us_does_not_count_and_a_pause_counts_for_the_floor_alone() {
        let (mut budget, began) = asked(1);
        budget.excuse(second(100));
        assert_eq!(budget.silent_until(), began + second(130));
        assert_eq!(budget.floor_at(), began + second(400));
        budget.pause_until(began + second(150));
        assert_eq!(budget.silent_until(), began + second(180));
        budget.pause_until(began + second(1_000));
        assert_eq!(budget.silent_until(), began + second(190));
        assert_eq!(budget.floor_at(), began + second(400));
    }

    #[test]
    fn messages_of_no_use_are_bounded_and_those_about_ended_requests_are_not_among_them() {
        let (mut budget, _) = asked(1);
        (0..USELESS_MESSAGES).for_each(|_| budget.note_useless());
        assert!(!budget.is_useless(0) && budget.is_useless(1));
        let (mut budget, _) = asked(1);
        (0..5_000).for_each(|_| budget.asked());
        (0..10_000 + IDLE_MESSAGES).for_each(|_| budget.note_idle());
        assert!(!budget.is_useless(0));
        budget.note_idle();
        assert!(budget.is_useless(0));
        let (mut budget, _) = asked(1);
        (0..IDLE_MESSAGES).for_each(|_| budget.note_size(SMALL_MESSAGE - 1));
        assert!(!budget.is_useless(0));
        (0..=IDLE_MESSAGES / 16).for_each(|_| budget.note_size(16 * SMALL_MESSAGE));
        assert!(budget.is_useless(0));
    }

    proptest! {
        /// Whatever a peer does, it gets no more time than its events and queries are worth.
        #[test]
        fn no_peer_holds_a_run_longer_than_its_progress_allows(
            steps in proptest::collection::vec((0u64..25, 0u64..3, 0usize..3), 1..600),
            queries in 0usize..40,
        ) {
            let (mut budget, began) = asked(queries);
            let (mut elapsed, mut genuine) = (0, 0);
            for (wait, events, ended) in steps {
                elapsed += wait;
                genuine += events;
                let now = began + second(elapsed);
                if budget.verdict(now, None).is_some() {
                    break;
                }
                budget.note_genuine(genuine, now);
                budget.note_ended(ended, now);
            }
            let worth = genuine + QUERY_WORTH * queries as u64;
            // One stretch may be under way, and one step goes beyond its end.
            prop_assert!(elapsed <= worth + 300 + 25, "{elapsed} s for {worth}");
        }
    }
}
