//! The queries of one fetch while they are under way: which wait, which are asked, what came of
//! them. Knows the protocol, but no connection.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::limits::{
    LONGEST_PAUSE, PAGE, PARALLEL_SUBSCRIPTIONS, RATE_LIMITED_IN_A_ROW, SLOWEST_PAGE,
};
use super::message;
use super::outcome::{FetchOutcome, Gap, GapReason};
use super::paging::{Novelty, Pager};
use super::sink::Unwanted;
use crate::nostr::{Event, EventId, Filter};

/// How long a peer is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Without an answer to anything that is asked; time that the sink takes does not count.
    pub time_out: Duration,
    /// Before the second attempt; later pauses grow from it.
    pub first_pause: Duration,
}

/// The queries of one call of [`PeerSession::fetch`](super::PeerSession::fetch).
pub(super) struct Queries {
    waiting: VecDeque<Pager>,
    open: Vec<OpenPage>,
    /// Pages that ended a moment ago: what still arrives for them was asked for.
    recent: VecDeque<EndedPage>,
    pace: Pace,
    rate_limited_in_a_row: u32,
    /// No new request before this moment.
    pause_until: Option<Instant>,
    /// When the peer last answered any of the queries.
    last_progress: Instant,
    /// Whether it has, on this connection.
    pub(super) answered: bool,
    pub(super) notice: Option<String>,
    pub(super) outcome: FetchOutcome,
}

struct OpenPage {
    subscription: String,
    pager: Pager,
    filter: Filter,
    asked: Instant,
}

struct EndedPage {
    subscription: String,
    filter: Filter,
    known: HashSet<EventId>,
    /// Events that came after the end.
    late: u64,
}

impl Queries {
    pub(super) fn new(queries: Vec<Filter>, pace: Pace) -> Self {
        Self {
            waiting: queries.into_iter().map(Pager::new).collect(),
            open: Vec::new(),
            recent: VecDeque::new(),
            pace,
            rate_limited_in_a_row: 0,
            pause_until: None,
            last_progress: Instant::now(),
            answered: false,
            notice: None,
            outcome: FetchOutcome::default(),
        }
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// The next page to ask for under this name; `None` if nothing is to be asked for now.
    pub(super) fn open_next(&mut self, subscription: &str) -> Option<Filter> {
        if self.pause_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        self.pause_until = None;
        while self.open.len() < PARALLEL_SUBSCRIPTIONS {
            let mut pager = self.waiting.pop_front()?;
            let Some(filter) = pager.next() else {
                self.complete(pager);
                continue;
            };
            let asked = Instant::now();
            if self.open.is_empty() {
                self.last_progress = asked;
            }
            self.open.push(OpenPage {
                subscription: subscription.to_owned(),
                pager,
                filter: filter.clone(),
                asked,
            });
            return Some(filter);
        }
        None
    }

    /// Parses an event and accepts it if it is new and was asked for.
    pub(super) fn receive<'a>(
        &mut self,
        subscription: &str,
        text: &'a str,
    ) -> Result<Event<'a>, Unwanted> {
        let event = Event::parse(text).map_err(Unwanted::Malformed);
        if let Some(page) = self.open.iter_mut().find(|page| page.subscription == subscription) {
            let event = event.and_then(|event| asked_for(event, &page.filter));
            let event = event.inspect_err(|_| page.pager.stray())?;
            let novelty = page.pager.event(&event.id, event.created_at);
            self.progress();
            if novelty == Novelty::Repeated {
                return Err(Unwanted::Repeated);
            }
            self.outcome.events += 1;
            return Ok(event);
        }
        let event = event?;
        let recent = self.recent.iter_mut().find(|page| page.subscription == subscription);
        let page = recent.ok_or(Unwanted::Unasked)?;
        let event = asked_for(event, &page.filter)?;
        if !page.known.insert(event.id) {
            return Err(Unwanted::Repeated);
        }
        page.late += 1;
        if page.late > PAGE {
            return Err(Unwanted::Unasked);
        }
        self.outcome.events += 1;
        Ok(event)
    }

    /// Whether the peer does not come to the end of a page.
    pub(super) fn is_flooded(&self) -> bool {
        self.open.iter().any(|page| page.pager.is_flooded())
    }

    /// Whether there was such an open page.
    pub(super) fn end_page(&mut self, subscription: &str) -> bool {
        let Some(OpenPage { subscription, mut pager, filter, .. }) = self.take(subscription) else {
            return false;
        };
        self.recent.push_back(EndedPage {
            subscription,
            filter,
            known: pager.end_of_page(),
            late: 0,
        });
        if self.recent.len() > 2 * PARALLEL_SUBSCRIPTIONS {
            self.recent.pop_front();
        }
        self.outcome.pages += 1;
        self.rate_limited_in_a_row = 0;
        self.waiting.push_front(pager);
        true
    }

    pub(super) fn closed(&mut self, subscription: &str, message: &str) {
        let Some(OpenPage { pager, .. }) = self.take(subscription) else { return };
        if message::prefix(message) == Some("rate-limited") && self.may_try_again() {
            self.waiting.push_front(pager);
        } else {
            self.end_with_gap(pager, GapReason::Closed(shortened(message)));
        }
    }

    /// Several pages that are refused at the same time count once.
    fn may_try_again(&mut self) -> bool {
        if self.pause_until.is_some() {
            return true;
        }
        self.rate_limited_in_a_row += 1;
        let pause = pause(self.pace.first_pause, self.rate_limited_in_a_row);
        let may = self.rate_limited_in_a_row <= RATE_LIMITED_IN_A_ROW;
        self.pause_until = may.then(|| Instant::now() + pause);
        may
    }

    fn take(&mut self, subscription: &str) -> Option<OpenPage> {
        let index = self.open.iter().position(|page| page.subscription == subscription)?;
        self.progress();
        Some(self.open.remove(index))
    }

    fn progress(&mut self) {
        self.last_progress = Instant::now();
        self.answered = true;
    }

    pub(super) fn complete(&mut self, pager: Pager) {
        let gaps = pager.into_gaps();
        if gaps.is_empty() {
            self.outcome.complete += 1;
        }
        self.outcome.gaps.extend(gaps);
    }

    fn end_with_gap(&mut self, pager: Pager, reason: GapReason) {
        let filter = pager.query().clone();
        self.outcome.gaps.extend(pager.into_gaps());
        self.outcome.gaps.push(Gap { filter, reason });
    }

    pub(super) fn give_up(&mut self, reason: &GapReason) {
        for pager in std::mem::take(&mut self.waiting) {
            self.end_with_gap(pager, reason.clone());
        }
    }

    /// After the connection has ended: what was open is asked for after what is waiting, and last
    /// what was asked first, so that one page that a peer cannot answer does not keep it from the
    /// others.
    pub(super) fn ask_open_pages_again(&mut self) {
        self.recent.clear();
        self.pause_until = None;
        if !self.open.is_empty() {
            self.open.rotate_left(1);
        }
        self.waiting.extend(self.open.drain(..).map(|page| page.pager));
    }

    /// How long to wait for the next message; `None` if there is nothing to wait for.
    pub(super) fn patience(&self) -> Option<Duration> {
        let slowest = self.open.iter().map(|page| page.asked + self.slowest_page()).min();
        let until = match slowest {
            Some(slowest) => slowest.min(self.last_progress + self.pace.time_out),
            None => self.pause_until?,
        };
        let pause = self.pause_until.filter(|_| !self.waiting.is_empty());
        let until = pause.map_or(until, |pause| pause.min(until));
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Our own sink took this long: that does not count against the peer.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.last_progress += time;
        for page in &mut self.open {
            page.asked += time;
        }
    }

    /// What has taken too long, if anything. Whatever else the peer sends in the meantime is no
    /// progress.
    pub(super) fn overdue(&self) -> Option<GapReason> {
        let now = Instant::now();
        let passed = |since: Instant| now.saturating_duration_since(since);
        if self.open.is_empty() {
            None
        } else if passed(self.last_progress) >= self.pace.time_out {
            Some(GapReason::TimedOut(self.pace.time_out.as_secs(), self.notice.clone()))
        } else if self.open.iter().any(|page| passed(page.asked) >= self.slowest_page()) {
            Some(GapReason::TooSlow(self.slowest_page().as_secs()))
        } else {
            None
        }
    }

    fn slowest_page(&self) -> Duration {
        self.pace.time_out * SLOWEST_PAGE
    }
}

fn asked_for<'a>(event: Event<'a>, filter: &Filter) -> Result<Event<'a>, Unwanted> {
    if filter.matches(&event.id, &event.pubkey, event.kind, event.created_at) {
        Ok(event)
    } else {
        Err(Unwanted::Unasked)
    }
}

/// Doubles with every attempt; jittered, so that many nodes do not come back at the same moment.
pub(super) fn pause(first: Duration, attempt: u32) -> Duration {
    let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64())
}

/// Enough of a peer's text for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_over_does_not_cut_the_patience_short() {
        let time_out = Duration::from_secs(60);
        let pace = Pace { time_out, first_pause: Duration::ZERO };
        let mut queries = Queries::new(vec![Filter::default(); 9], pace);
        let names = ["a", "b", "c", "d", "e"];
        assert!(names.iter().take(4).all(|name| queries.open_next(name).is_some()));
        queries.closed("a", "rate-limited: slow down");
        assert!(queries.open_next("e").is_some());
        assert!(queries.patience().unwrap() > time_out / 2);
    }
}
