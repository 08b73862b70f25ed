//! The queries of one fetch while they are under way: which wait, which are asked, what came of
//! them. Knows the protocol, but no connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::limits::{
    LONGEST_PAUSE, PAGE, PARALLEL_SUBSCRIPTIONS, RATE_LIMITED_IN_A_ROW, SLOWEST_PAGE,
};
use super::message;
use super::outcome::{FetchOutcome, Gap, GapReason};
use super::paging::{Novelty, Pager};
use super::session::Unwanted;
use crate::nostr::{Event, EventId, Filter};

/// The queries of one call of [`PeerSession::fetch`].
pub(super) struct Queries {
    pub(super) waiting: VecDeque<Pager>,
    pub(super) open: HashMap<String, OpenPage>,
    /// Pages that ended a moment ago: what still arrives for them was asked for.
    recent: VecDeque<EndedPage>,
    rate_limited_in_a_row: u32,
    /// No new request before this moment.
    pub(super) pause_until: Option<Instant>,
    pub(super) notice: Option<String>,
    pub(super) outcome: FetchOutcome,
}

pub(super) struct OpenPage {
    pub(super) pager: Pager,
    pub(super) filter: Filter,
    /// Time spent waiting for the peer since the last progress, and since the request.
    pub(super) idle: Duration,
    pub(super) waited: Duration,
}

struct EndedPage {
    subscription: String,
    filter: Filter,
    known: HashSet<EventId>,
    /// Events that came after the end.
    late: u64,
}

impl Queries {
    pub(super) fn new(queries: Vec<Filter>) -> Self {
        Self {
            waiting: queries.into_iter().map(Pager::new).collect(),
            open: HashMap::new(),
            recent: VecDeque::new(),
            rate_limited_in_a_row: 0,
            pause_until: None,
            notice: None,
            outcome: FetchOutcome::default(),
        }
    }

    /// Parses an event and accepts it if it is new and was asked for.
    pub(super) fn receive<'a>(
        &mut self,
        subscription: &str,
        text: &'a str,
    ) -> Result<Event<'a>, Unwanted> {
        let event = Event::parse(text).map_err(Unwanted::Malformed);
        if let Some(page) = self.open.get_mut(subscription) {
            let event = event.and_then(|event| asked_for(event, &page.filter));
            let event = event.inspect_err(|_| page.pager.stray())?;
            page.idle = Duration::ZERO;
            if page.pager.event(&event.id, event.created_at) == Novelty::Repeated {
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
        self.open.values().any(|page| page.pager.is_flooded())
    }

    /// Whether there was such an open page.
    pub(super) fn end_page(&mut self, subscription: &str) -> bool {
        let Some(OpenPage { mut pager, filter, .. }) = self.open.remove(subscription) else {
            return false;
        };
        let subscription = subscription.to_owned();
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
        let Some(OpenPage { pager, .. }) = self.open.remove(subscription) else { return };
        let rate_limited = message::prefix(message) == Some("rate-limited");
        if rate_limited && self.rate_limited_in_a_row < RATE_LIMITED_IN_A_ROW {
            self.rate_limited_in_a_row += 1;
            let pause = pause(Duration::from_secs(1), self.rate_limited_in_a_row);
            self.pause_until = Some(Instant::now() + pause);
            self.waiting.push_front(pager);
        } else {
            self.end_with_gap(pager, GapReason::Closed(shortened(message)));
        }
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

    pub(super) fn ask_open_pages_again(&mut self) {
        self.recent.clear();
        self.waiting.extend(self.open.drain().map(|(_, page)| page.pager));
    }

    /// How long to wait for the next message; `None` if there is nothing to wait for.
    pub(super) fn patience(&self, time_out: Duration) -> Option<Duration> {
        let pages = self.open.values().map(|page| {
            let left = time_out.saturating_sub(page.idle);
            left.min((time_out * SLOWEST_PAGE).saturating_sub(page.waited))
        });
        let pause = (!self.waiting.is_empty())
            .then(|| self.pause_until.map(|until| until.saturating_duration_since(Instant::now())))
            .flatten();
        pages.chain(pause).min()
    }

    /// Only time spent waiting for the peer counts against it, not the time that our own sink
    /// took.
    pub(super) fn waited(&mut self, time: Duration) {
        for page in self.open.values_mut() {
            page.idle += time;
            page.waited += time;
        }
    }

    pub(super) fn timed_out(&self, time_out: Duration) -> bool {
        self.open
            .values()
            .any(|page| page.idle >= time_out || page.waited >= time_out * SLOWEST_PAGE)
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
