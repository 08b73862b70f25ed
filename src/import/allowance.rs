//! How many events strfry may hold uncommitted, and how long it gathers them, learned from what its
//! commits take.
//!
//! Every commit touches most leaf pages of every index, so few large commits cost least. But while
//! one is written, no other writer gets the database. So the number grows as long as commits stay
//! below the time that others may wait. Where nobody does, and commits turn out to be dear, strfry
//! is started anew, to wait for more events before each.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::child::Gathering;
use super::limits::{
    DEAR_EVENT, DEBOUNCE_DEAR, EVENTS_PER_NOTE, GROWTH, LEAST_ALLOWANCE, MOST_UNSETTLED,
    MOST_WHERE_DEAR, POWER_WHERE_DEAR, WRITE_BATCH,
};
use super::neighbours::CommitLimit;

/// Notes of all events that can be unsettled.
const MOST_NOTES: usize = MOST_UNSETTLED / EVENTS_PER_NOTE as usize + 1;

/// strfry says that it has committed so many events, written or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) events: u64,
    pub(super) at: Instant,
    /// When strfry logged its first line. It takes no events before that.
    pub(super) first_word: Instant,
}

/// Of one strfry.
#[derive(Debug)]
pub(super) struct Allowance {
    events: usize,
    limit: CommitLimit,
    /// Commits cost so much that it is worth waiting for more events.
    is_dear: bool,
    /// How this strfry gathers events.
    gathering: Gathering,
    given: u64,
    /// How many had been given at some moments; the oldest first.
    notes: VecDeque<(u64, Instant)>,
    committed: u64,
    last_commit: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(limit: CommitLimit) -> Self {
        Self {
            events: limit.first,
            limit,
            is_dear: false,
            gathering: Gathering::PROMPT,
            given: 0,
            notes: VecDeque::new(),
            committed: 0,
            last_commit: None,
        }
    }

    /// Events that strfry may hold uncommitted now. Where nobody waits for its commits, it gets the
    /// events of the next one while it writes one. A strfry that gathers gets them later
    /// ([`Allowance::given_early`]), so that they can be sorted by time first.
    pub(super) fn given(&self) -> usize {
        if self.gathers() { self.in_a_commit() } else { self.given_early() }
    }

    /// Events that strfry may hold if no more come, or there is no room for more.
    pub(super) fn given_early(&self) -> usize {
        let commits = if self.limit.is_awaited { 1 } else { 2 };
        self.in_a_commit().saturating_mul(commits).min(self.limit.most)
    }

    fn in_a_commit(&self) -> usize {
        if self.gathers() { self.events.min(self.gathering.most) } else { self.events }
    }

    /// How a strfry that is started now should gather events. It gathers for long only where a full
    /// commit fits into the allowed time, and memory has room for two.
    fn wanted(&self) -> Gathering {
        let may_be_full = self.events >= WRITE_BATCH && self.limit.most >= 2 * WRITE_BATCH;
        match self.is_dear && !self.limit.is_awaited && may_be_full {
            true => Gathering { time: DEBOUNCE_DEAR, most: WRITE_BATCH },
            false => Gathering::PROMPT,
        }
    }

    /// Whether this strfry gathers events for long before each commit.
    fn gathers(&self) -> bool {
        self.gathering.time != Gathering::PROMPT.time && !self.limit.is_awaited
    }

    /// Whether this strfry gathers events for longer, or less long, than it should now.
    pub(super) fn wants_another(&self) -> bool {
        self.gathering.time != self.wanted().time
    }

    /// Another strfry begins with nothing. Returns how it should gather events.
    pub(super) fn start_again(&mut self) -> Gathering {
        (self.given, self.committed) = (0, 0);
        self.notes.clear();
        self.last_commit = None;
        self.gathering = self.wanted();
        self.gathering
    }

    /// From now on a commit may be like this.
    pub(super) fn limit(&mut self, limit: CommitLimit) {
        if limit.longest < self.limit.longest {
            self.events = self.events.min(limit.first);
        }
        self.limit = limit;
    }

    /// strfry is given an event.
    pub(super) fn note_given(&mut self) {
        self.given += 1;
        if self.given % EVENTS_PER_NOTE == 1 {
            self.notes.push_back((self.given, Instant::now()));
            if self.notes.len() > MOST_NOTES {
                // strfry does not say what it commits.
                self.notes.pop_front();
            }
        }
    }

    /// Learns from a commit.
    pub(super) fn note_commit(&mut self, commit: Commit) {
        self.committed = self.committed.saturating_add(commit.events);
        // It cannot have begun before it had its last event, nor before the one before it ended.
        let previous = self.last_commit.replace(commit.at);
        let mut began = previous.max(self.gathered(commit, previous));
        while let Some(&(number, at)) = self.notes.front()
            && number <= self.committed
        {
            began = began.max(Some(at));
            self.notes.pop_front();
        }
        let Some(began) = began else { return };
        self.learn(commit.events, commit.at.saturating_duration_since(began));
    }

    /// When strfry stopped gathering events for a commit that is not full. Where somebody waits, the
    /// gathering counts as part of the commit: better the next one is too small than too large.
    fn gathered(&self, commit: Commit, previous: Option<Instant>) -> Option<Instant> {
        if self.limit.is_awaited || commit.events >= self.gathering.most as u64 {
            return None;
        }
        let &(_, first_given) = self.notes.front()?;
        let began = first_given.max(commit.first_word).max(previous.unwrap_or(first_given));
        Some(began + self.gathering.time)
    }

    fn learn(&mut self, events: u64, took: Duration) {
        let events = usize::try_from(events).unwrap_or(usize::MAX);
        // With fewer events, most of the time does not depend on their number.
        if events >= LEAST_ALLOWANCE {
            self.is_dear |= took.as_secs_f64() > DEAR_EVENT.as_secs_f64() * events as f64;
        }
        let share = self.limit.longest.as_secs_f64() / took.as_secs_f64().max(1e-4);
        // How many would have taken as long as is allowed; more events at once cost less each.
        let is_steep = share > 1.0 && self.is_dear && !self.limit.is_awaited;
        let share = match is_steep {
            true => share.powf(POWER_WHERE_DEAR).min(MOST_WHERE_DEAR * share),
            false => share,
        };
        let fitting = (events as f64 * share) as usize;
        if took > self.limit.longest {
            self.events = fitting.min(self.events);
        } else if events >= self.events / 4 || (is_steep && events >= LEAST_ALLOWANCE) {
            let growth = if self.limit.is_awaited { GROWTH } else { MOST_UNSETTLED };
            let most = self.events.saturating_mul(growth);
            self.events = fitting.clamp(self.events, most.max(self.events));
        }
        self.events = self.events.clamp(LEAST_ALLOWANCE, MOST_UNSETTLED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn awaited(first: usize) -> CommitLimit {
        CommitLimit { longest: SECOND, first, most: MOST_UNSETTLED, is_awaited: true }
    }

    /// Commits as many as are allowed, each of which takes `fixed` and `each` for an event.
    fn after(commits: usize, first: usize, fixed: Duration, each: Duration) -> Vec<usize> {
        let mut allowance = Allowance::new(awaited(first));
        (0..commits)
            .map(|_| {
                let events = allowance.events;
                allowance.learn(events as u64, fixed + each * u32::try_from(events).unwrap());
                allowance.events
            })
            .collect()
    }

    #[test]
    fn it_grows_to_what_fits_and_no_more() {
        let cheap = after(4, 4_000, Duration::from_millis(10), Duration::from_micros(3));
        assert_eq!(cheap, [16_000, 64_000, MOST_UNSETTLED, MOST_UNSETTLED]);
    }

    #[test]
    fn it_shrinks_at_once_when_a_commit_takes_too_long_but_not_to_nothing() {
        assert_eq!(after(1, 10_000, Duration::ZERO, Duration::from_micros(400)), [2_500]);
        assert_eq!(after(1, 10_000, 60 * SECOND, Duration::ZERO), [LEAST_ALLOWANCE]);
    }

    #[test]
    fn a_commit_of_few_events_says_nothing_about_many() {
        let mut allowance = Allowance::new(awaited(4_000));
        allowance.learn(10, Duration::from_millis(100));
        assert_eq!(allowance.events, 4_000);
    }

    #[test]
    fn the_time_in_which_nothing_was_given_is_none_of_a_commit() {
        let start = Instant::now();
        let mut allowance = Allowance::new(awaited(50_000));
        allowance.note_commit(Commit { events: 0, at: start, first_word: start });
        (allowance.given, allowance.committed) = (65, 0);
        allowance.notes.push_back((1, start + 50 * SECOND));
        allowance.notes.push_back((65, start + 60 * SECOND));
        // The 65th was given long after the commit before.
        allowance.note_commit(Commit {
            events: 65,
            at: start + 60 * SECOND + SECOND / 2,
            first_word: start,
        });
        assert_eq!(allowance.events, 50_000);
    }

    #[test]
    fn a_relay_that_comes_is_given_way_at_once() {
        let most = MOST_UNSETTLED;
        let alone = CommitLimit { longest: 15 * SECOND, first: 40_000, most, is_awaited: false };
        let mut allowance = Allowance::new(alone);
        assert_eq!(allowance.given(), 80_000);
        allowance.limit(awaited(4_000));
        assert_eq!(allowance.given(), 4_000);
        allowance.limit(alone);
        assert_eq!(allowance.given(), 8_000);
    }

    #[test]
    fn strfry_holds_no_more_than_its_memory_has_room_for() {
        let longest = 15 * SECOND;
        let alone = CommitLimit { longest, first: 10_000, most: 12_000, is_awaited: false };
        assert_eq!(Allowance::new(alone).given(), 12_000);
        assert_eq!(Allowance::new(CommitLimit { most: 1_000, ..alone }).given(), 1_000);
    }

    fn alone() -> Allowance {
        let limit = CommitLimit { longest: 15 * SECOND, is_awaited: false, ..awaited(1_000) };
        Allowance::new(limit)
    }

    #[test]
    fn while_nobody_waits_it_grows_faster_and_most_where_each_event_of_few_is_dear() {
        let after = |took| {
            let mut allowance = alone();
            allowance.learn(2_000, took);
            allowance.events
        };
        assert_eq!(after(SECOND / 20), MOST_UNSETTLED);
        assert_eq!(after(SECOND * 6 / 10), 150_000);
        // 4 times the time: 8 times the events; 16 times: 48 times, not 64.
        assert_eq!(after(SECOND * 15 / 4), 16_000);
        assert_eq!(after(SECOND * 15 / 16), 96_000);
        assert_eq!(after(30 * SECOND), LEAST_ALLOWANCE);
    }

    #[test]
    fn where_commits_are_dear_and_nobody_waits_the_next_strfry_waits_for_more_events() {
        let mut allowance = alone();
        assert_eq!(allowance.start_again(), Gathering::PROMPT);
        // Few events show little, and these are cheap.
        allowance.learn(999, SECOND);
        allowance.learn(2_000, SECOND / 20);
        assert!(!allowance.wants_another());
        allowance.learn(2_000, SECOND * 6 / 10);
        assert!(allowance.wants_another());
        let gathering = Gathering { time: DEBOUNCE_DEAR, most: WRITE_BATCH };
        assert_eq!(allowance.start_again(), gathering);
        // Those of the next commit come when it is time for them.
        assert_eq!((allowance.given(), allowance.given_early()), (WRITE_BATCH, 2 * WRITE_BATCH));
        assert!(!allowance.wants_another());
        // One that takes twice as long as it may.
        allowance.learn(100_000, 30 * SECOND);
        assert_eq!((allowance.given(), allowance.given_early()), (50_000, 100_000));
        assert!(allowance.wants_another());
        allowance.limit(awaited(4_000));
        assert_eq!((allowance.given(), allowance.given_early()), (4_000, 4_000));
        assert!(allowance.wants_another());
        assert_eq!(allowance.start_again(), Gathering::PROMPT);
    }

    #[test]
    fn where_a_full_commit_takes_too_long_or_too_much_memory_no_strfry_waits_for_more_events() {
        let gathers = |took, most| {
            let mut allowance = Allowance::new(CommitLimit { most, ..alone().limit });
            allowance.learn(2_000, took);
            allowance.start_again() != Gathering::PROMPT
        };
        assert!(gathers(SECOND * 8 / 10, MOST_UNSETTLED));
        assert!(!gathers(2 * SECOND, MOST_UNSETTLED));
        assert!(!gathers(SECOND * 8 / 10, 5_120));
    }

    /// Whether these commits make a database dear: how many events each has, and how long after its
    /// first line strfry reports it. 2,000 events are given half a second before that line, and 2,000
    /// more a second after it.
    fn is_dear(commits: &[(u64, Duration)]) -> bool {
        let mut allowance = alone();
        let first_word = Instant::now();
        for (number, at) in [(1, first_word - SECOND / 2), (2_049, first_word + SECOND)] {
            allowance.notes.push_back((number, at));
        }
        for &(events, after) in commits {
            allowance.note_commit(Commit { events, at: first_word + after, first_word });
        }
        allowance.is_dear
    }

    #[test]
    fn the_time_in_which_strfry_starts_or_gathers_events_is_none_of_a_commit() {
        let (short, long) = (SECOND / 20, SECOND / 4);
        let gathered = Gathering::PROMPT.time;
        assert!(!is_dear(&[(2_000, gathered + short)]));
        assert!(is_dear(&[(2_000, gathered + long)]));
        let first = (2_000, gathered + short);
        assert!(!is_dear(&[first, (2_000, SECOND + gathered + short)]));
        assert!(is_dear(&[first, (2_000, SECOND + gathered + long)]));
    }

    #[test]
    fn a_strfry_that_says_nothing_fills_no_memory() {
        let mut allowance = Allowance::new(awaited(4_000));
        (0..2 * MOST_UNSETTLED).for_each(|_| allowance.note_given());
        assert_eq!(allowance.notes.len(), MOST_NOTES);
    }
}
