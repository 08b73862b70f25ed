//! What is asked of a peer in one fetch: what waits, what is open, what came of it. Knows the
//! protocol, but no connection.
//!
//! A query is compared (see [`Reconciliation`]) where the peer does that, and the events that it
//! is found to have are fetched by id, shared among all peers by the ledger; else it is asked page
//! by page (see [`Pager`]).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::by_id::{IdRequest, Leftover};
use super::clock::{Clock, Pace};
use super::ledger::{Ledger, Member};
use super::limits::{
    COMPARISONS, NOT_GIVEN, PAGE, PARALLEL_ID_REQUESTS, PARALLEL_SUBSCRIPTIONS, SPLITS, STEAL_AFTER,
};
use super::local::{ItemSet, LocalError};
use super::manners::{Comparing, Manners};
use super::message;
use super::outcome::{FetchOutcome, Gap, GapReason};
use super::paging::{Novelty, Pager};
use super::reconcile::{Reconciliation, split};
use super::refusal::Refusal;
use super::sink::Unwanted;
use crate::nostr::{Event, EventId, ExpectedId, Filter};

/// The requests of one fetch.
pub(super) struct Requests {
    /// What all of this fetch is about: nothing else is taken, whatever ids a peer names.
    queries: Vec<Filter>,
    waiting: VecDeque<Waiting>,
    open: Vec<Open>,
    /// Requests that ended a moment ago: what still arrives for them was asked for.
    recent: VecDeque<Ended>,
    /// Messages to send before anything else.
    outbox: VecDeque<String>,
    pub(super) clock: Clock,
    /// The peer's place in the ledger. `None`: everything is asked page by page.
    member: Option<Member>,
    /// Queries that have been compared to the end, to be compared again if ids were not given.
    compared: Vec<Filter>,
    /// What the peer said it has, did not give, and nobody else has.
    not_given: HashSet<EventId>,
    is_second_look: bool,
    splits: u32,
    pub(super) manners: Manners,
    pub(super) notice: Option<String>,
    pub(super) outcome: FetchOutcome,
}

enum Waiting {
    Page(Pager),
    Compare { filter: Filter, begun: u32 },
}

struct Open {
    subscription: String,
    /// When; time that we have let pass ourselves is left out.
    asked: Instant,
    request: Request,
}

enum Request {
    Page { pager: Box<Pager>, filter: Filter },
    Ids(IdRequest),
    Compare { comparison: Box<Reconciliation>, begun: u32, held: Option<Vec<u8>> },
}

struct Ended {
    subscription: String,
    what: EndedRequest,
}

enum EndedRequest {
    /// With the ids that came, and how many came after the end.
    Page {
        filter: Filter,
        known: HashSet<EventId>,
        late: u64,
    },
    Ids(HashSet<EventId>),
}

/// What is to be done next.
pub(super) enum Next {
    /// This is to be sent.
    Send(String),
    /// [`Requests::compare`] is to be called with what is here of this.
    LookUp(Filter),
    /// Nothing, for now.
    Wait,
}

impl Requests {
    /// With a member the queries are compared, if the peer does that.
    pub(super) fn new(
        queries: Vec<Filter>,
        pace: Pace,
        manners: Manners,
        member: Option<Member>,
    ) -> Self {
        let mut requests = Self {
            waiting: VecDeque::new(),
            open: Vec::new(),
            recent: VecDeque::new(),
            outbox: VecDeque::new(),
            clock: Clock::new(pace),
            member,
            compared: Vec::new(),
            not_given: HashSet::new(),
            is_second_look: false,
            splits: 0,
            manners,
            notice: None,
            outcome: FetchOutcome::default(),
            queries: Vec::new(),
        };
        let waiting = queries.iter().cloned().map(|filter| requests.fresh(filter));
        requests.waiting = waiting.collect();
        requests.queries = queries;
        requests
    }

    /// What the peer is like, and its place in the ledger, for the next fetch.
    pub(super) fn into_parts(self) -> (FetchOutcome, Manners, Option<Member>) {
        (self.outcome, self.manners, self.member)
    }

    fn fresh(&self, filter: Filter) -> Waiting {
        match self.compares() {
            true => Waiting::Compare { filter, begun: 0 },
            false => Waiting::Page(Pager::new(filter)),
        }
    }

    fn compares(&self) -> bool {
        self.member.is_some() && self.manners.comparing != Comparing::Refused
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.open.is_empty() && self.outbox.is_empty()
    }

    /// The next thing to do, under this name if it is a request.
    pub(super) fn next(&mut self, subscription: &str) -> Next {
        if let Some(text) = self.outbox.pop_front() {
            return Next::Send(text);
        }
        if !self.clock.may_ask() {
            return Next::Wait;
        }
        if let Some(text) = self.go_on_comparing().or_else(|| self.ask_for_ids(subscription)) {
            return Next::Send(text);
        }
        loop {
            let open = self.open.iter().filter(|open| !matches!(open.request, Request::Ids(_)));
            if open.count() >= self.parallel() {
                return Next::Wait;
            }
            match self.waiting.pop_front() {
                Some(Waiting::Page(mut pager)) => {
                    let Some(filter) = pager.next() else {
                        self.complete(pager);
                        continue;
                    };
                    let text = message::req(subscription, std::slice::from_ref(&filter));
                    let pager = Box::new(pager);
                    self.push(subscription, Request::Page { pager, filter });
                    return Next::Send(text);
                }
                Some(Waiting::Compare { filter, .. }) if !self.compares() => {
                    self.waiting.push_front(Waiting::Page(Pager::new(filter)));
                }
                Some(Waiting::Compare { filter, begun }) => {
                    let look_up = filter.clone();
                    self.waiting.push_front(Waiting::Compare { filter, begun });
                    return Next::LookUp(look_up);
                }
                None if self.is_done() => {
                    self.look_again_for_what_was_not_given();
                    if self.waiting.is_empty() {
                        return Next::Wait;
                    }
                }
                None => return Next::Wait,
            }
        }
    }

    fn parallel(&self) -> usize {
        // Until it is known whether a peer compares, one comparison is enough to find out.
        if self.compares() && self.manners.comparing == Comparing::Untried {
            return 1;
        }
        PARALLEL_SUBSCRIPTIONS
    }

    fn push(&mut self, subscription: &str, request: Request) {
        if self.open.is_empty() {
            self.clock.restart();
        }
        let subscription = subscription.to_owned();
        self.open.push(Open { subscription, asked: Instant::now(), request });
    }

    /// Begins the comparison that [`Next::LookUp`] asked for; returns the message to send.
    pub(super) fn compare(
        &mut self,
        subscription: &str,
        here: Result<ItemSet, LocalError>,
    ) -> Option<String> {
        let (filter, begun) = match self.waiting.pop_front()? {
            Waiting::Compare { filter, begun } => (filter, begun),
            page => {
                self.waiting.push_front(page);
                return None;
            }
        };
        let here = match here {
            Ok(here) => here,
            Err(LocalError::TooMany { middle }) => {
                self.split_or_page(filter, Some(middle));
                return None;
            }
            // Whatever the trouble is, the peer's pages can be had without what is here.
            Err(LocalError::Unreadable(_)) => {
                self.waiting.push_front(Waiting::Page(Pager::new(filter)));
                return None;
            }
        };
        match Reconciliation::begin(filter.clone(), here, self.manners.max_message) {
            Ok((comparison, first)) => {
                let text = message::neg_open(subscription, &filter, &first);
                let comparison = Box::new(comparison);
                self.push(subscription, Request::Compare { comparison, begun, held: None });
                Some(text)
            }
            Err(_) => {
                self.waiting.push_front(Waiting::Page(Pager::new(filter)));
                None
            }
        }
    }

    /// The next message of a comparison that has waited for room in the ledger.
    fn go_on_comparing(&mut self) -> Option<String> {
        if !self.member.as_ref()?.has_room() {
            return None;
        }
        self.open.iter_mut().find_map(|open| match &mut open.request {
            Request::Compare { held, .. } => {
                let message = held.take()?;
                open.asked = Instant::now();
                Some(message::neg_msg(&open.subscription, &message))
            }
            _ => None,
        })
    }

    fn ask_for_ids(&mut self, subscription: &str) -> Option<String> {
        let open = self.open.iter().filter(|open| matches!(open.request, Request::Ids(_)));
        if open.count() >= PARALLEL_ID_REQUESTS {
            return None;
        }
        let ids = self.member.as_ref()?.claim(self.manners.ids.per_request());
        if ids.is_empty() {
            return None;
        }
        let text = message::req(subscription, &IdRequest::filters(&ids, &self.manners.ids));
        self.push(subscription, Request::Ids(IdRequest::new(&ids)));
        Some(text)
    }

    /// Parses an event and accepts it if it is new and was asked for.
    pub(super) fn receive<'a>(
        &mut self,
        subscription: &str,
        text: &'a str,
    ) -> Result<Event<'a>, Unwanted> {
        let event = Event::parse(text).map_err(Unwanted::Malformed);
        let is_this = |open: &&mut Open| open.subscription == subscription;
        let Some(open) = self.open.iter_mut().find(is_this) else {
            return self.receive_late(subscription, event?);
        };
        match &mut open.request {
            Request::Page { pager, filter } => {
                let event = event.and_then(|event| asked_for(event, filter));
                let event = event.inspect_err(|_| pager.stray())?;
                self.clock.progress();
                if pager.event(&event.id, event.created_at) == Novelty::Repeated {
                    return Err(Unwanted::Repeated);
                }
                // From here on no other peer needs to be asked for it; whether it is genuine is
                // found out later, and then it does no harm that it came in two ways.
                if let Some(member) = &self.member
                    && is_genuine(&event)
                {
                    member.settle(&event.id);
                }
                self.outcome.events += 1;
                Ok(event)
            }
            Request::Ids(request) => {
                let event = event?;
                if !request.asked().contains(&event.id) || !is_about(&self.queries, &event) {
                    return Err(Unwanted::Unasked);
                }
                self.clock.progress();
                // An event that only claims the id does not stand for it.
                if is_genuine(&event) {
                    let is_first = request.receive(&event.id);
                    let settled = self.member.as_ref().is_none_or(|it| it.settle(&event.id));
                    if !(is_first && settled) {
                        return Err(Unwanted::Repeated);
                    }
                }
                self.outcome.events += 1;
                Ok(event)
            }
            Request::Compare { .. } => Err(Unwanted::Unasked),
        }
    }

    fn receive_late<'a>(
        &mut self,
        subscription: &str,
        event: Event<'a>,
    ) -> Result<Event<'a>, Unwanted> {
        let recent = self.recent.iter_mut().find(|ended| ended.subscription == subscription);
        match &mut recent.ok_or(Unwanted::Unasked)?.what {
            EndedRequest::Page { filter, known, late } => {
                let event = asked_for(event, filter)?;
                if !known.insert(event.id) {
                    return Err(Unwanted::Repeated);
                }
                *late += 1;
                if *late > PAGE {
                    return Err(Unwanted::Unasked);
                }
                self.outcome.events += 1;
                Ok(event)
            }
            EndedRequest::Ids(asked) => {
                if !asked.contains(&event.id) || !is_about(&self.queries, &event) {
                    return Err(Unwanted::Unasked);
                }
                let settled = self
                    .member
                    .as_ref()
                    .is_none_or(|member| is_genuine(&event) && member.settle(&event.id));
                if !settled {
                    return Err(Unwanted::Repeated);
                }
                self.outcome.events += 1;
                Ok(event)
            }
        }
    }

    /// Whether the peer does not come to the end of a page, or keeps promising what it does not
    /// give.
    pub(super) fn is_flooded(&self) -> bool {
        let is_flood = |open: &Open| match &open.request {
            Request::Page { pager, .. } => pager.is_flooded(),
            _ => false,
        };
        self.not_given.len() > NOT_GIVEN || self.open.iter().any(is_flood)
    }

    /// Whether there was such an open request, which is to be closed.
    pub(super) fn end_of_stored_events(&mut self, subscription: &str) -> bool {
        let Some(open) = self.take(subscription) else { return false };
        self.clock.answer();
        let what = match open.request {
            Request::Page { mut pager, filter } => {
                let known = pager.end_of_page();
                self.waiting.push_front(Waiting::Page(*pager));
                EndedRequest::Page { filter, known, late: 0 }
            }
            Request::Ids(request) => {
                let asked = request.asked().clone();
                self.end_ids(request);
                EndedRequest::Ids(asked)
            }
            // No answer to a comparison.
            Request::Compare { .. } => {
                self.open.push(open);
                return false;
            }
        };
        self.outcome.pages += 1;
        self.recent.push_back(Ended { subscription: open.subscription, what });
        if self.recent.len() > 2 * (PARALLEL_SUBSCRIPTIONS + PARALLEL_ID_REQUESTS) {
            self.recent.pop_front();
        }
        true
    }

    fn end_ids(&mut self, request: IdRequest) {
        let Some(member) = &self.member else { return };
        match request.end(&mut self.manners.ids) {
            Some(Leftover::Again(ids)) => member.release(ids),
            Some(Leftover::NotGiven(ids)) => self.not_given.extend(member.refuse(ids)),
            None => member.announce(),
        }
    }

    /// A round of a comparison.
    pub(super) fn neg_msg(&mut self, subscription: &str, payload: &str) {
        let Some(mut open) = self.take(subscription) else { return };
        let Request::Compare { comparison, held, .. } = &mut open.request else {
            self.open.push(open);
            return;
        };
        self.clock.answer();
        self.outcome.pages += 1;
        let round = hex::decode(payload).ok().and_then(|bytes| comparison.answer(&bytes).ok());
        let Some(round) = round else {
            // Two peers of which one does not understand the other: pages are simpler.
            self.outbox.push_back(message::neg_close(subscription));
            self.page(comparison.filter().clone());
            return;
        };
        self.manners.comparing = Comparing::Works;
        if let Some(member) = &self.member {
            member.offer(round.needed);
        }
        match round.next {
            Some(next) => {
                *held = Some(next);
                self.open.push(open);
            }
            None => {
                self.outbox.push_back(message::neg_close(subscription));
                self.compared.push(comparison.filter().clone());
                self.outcome.complete += 1;
            }
        }
    }

    /// The peer ends a comparison.
    pub(super) fn neg_err(&mut self, subscription: &str, reason: &str, has_maximum: bool) {
        let Some(open) = self.take(subscription) else { return };
        let Request::Compare { comparison, begun, .. } = open.request else {
            self.open.push(open);
            return;
        };
        let (filter, middle) = (comparison.filter().clone(), comparison.middle());
        match Refusal::of(reason) {
            Refusal::TooLarge => self.split_or_page(filter, middle),
            _ if has_maximum => self.split_or_page(filter, middle),
            Refusal::RateLimited if self.clock.back_off() => {
                self.waiting.push_front(Waiting::Compare { filter, begun });
            }
            Refusal::Ended if begun < COMPARISONS => {
                self.waiting.push_back(Waiting::Compare { filter, begun: begun + 1 });
            }
            _ => self.page(filter),
        }
    }

    /// The peer ends a request.
    pub(super) fn closed(&mut self, subscription: &str, message: &str) {
        let Some(open) = self.take(subscription) else { return };
        let refusal = Refusal::of(message);
        let again = refusal == Refusal::RateLimited && self.clock.back_off();
        match open.request {
            Request::Page { pager, .. } if again => self.waiting.push_front(Waiting::Page(*pager)),
            Request::Page { pager, .. } => {
                self.end_with_gap(*pager, GapReason::Closed(shortened(message)));
            }
            Request::Ids(request) => {
                let Some(member) = &self.member else { return };
                if again || (refusal == Refusal::TooLarge && request.shrink(&mut self.manners.ids))
                {
                    member.release(request.missing());
                } else {
                    self.not_given.extend(member.refuse(request.missing()));
                    self.notice = Some(shortened(message));
                }
            }
            Request::Compare { comparison, begun, .. } => {
                let filter = comparison.filter().clone();
                match again {
                    true => self.waiting.push_front(Waiting::Compare { filter, begun }),
                    false => self.page(filter),
                }
            }
        }
    }

    /// A text for people. Before anything else it is the answer of a relay that does not know
    /// what a comparison is.
    pub(super) fn notice(&mut self, text: &str) {
        self.notice = Some(shortened(text));
        if self.manners.comparing == Comparing::Untried {
            self.stop_comparing();
        }
    }

    fn page(&mut self, filter: Filter) {
        if self.manners.comparing == Comparing::Untried {
            self.stop_comparing();
        }
        self.waiting.push_front(Waiting::Page(Pager::new(filter)));
    }

    /// The peer does not compare: what was to be compared is asked page by page.
    fn stop_comparing(&mut self) {
        self.manners.comparing = Comparing::Refused;
        let (comparing, others) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|open| matches!(open.request, Request::Compare { .. }));
        self.open = others;
        for Open { subscription, request, .. } in comparing {
            if let Request::Compare { comparison, .. } = request {
                self.outbox.push_back(message::neg_close(&subscription));
                let pager = Pager::new(comparison.filter().clone());
                self.waiting.push_front(Waiting::Page(pager));
            }
        }
        self.clock.restart();
    }

    /// What the peer, or we, cannot compare at once.
    fn split_or_page(&mut self, filter: Filter, middle: Option<u64>) {
        self.splits += 1;
        let parts = split(&filter, middle, now()).filter(|_| self.splits <= SPLITS);
        match parts {
            Some(parts) => {
                for filter in parts.into_iter().rev() {
                    self.waiting.push_front(Waiting::Compare { filter, begun: 0 });
                }
            }
            None => self.waiting.push_front(Waiting::Page(Pager::new(filter))),
        }
    }

    /// An event that a peer has counted may be gone by the time it is asked for. A second
    /// comparison tells that from one that the peer keeps to itself.
    fn look_again_for_what_was_not_given(&mut self) {
        let Some(member) = &self.member else { return };
        self.not_given.retain(|id| !member.is_settled(id));
        let lost = std::mem::take(&mut self.not_given);
        if lost.is_empty() {
            return;
        }
        if !self.is_second_look && self.compares() {
            self.is_second_look = true;
            let again = std::mem::take(&mut self.compared);
            self.outcome.complete -= again.len().min(self.outcome.complete);
            let compare = |filter| Waiting::Compare { filter, begun: 0 };
            self.waiting.extend(again.into_iter().map(compare));
            return;
        }
        let reason = GapReason::NotGiven(lost.len() as u64, self.notice.clone());
        let mut ids: Vec<EventId> = lost.into_iter().collect();
        ids.sort_unstable();
        self.outcome
            .gaps
            .push(Gap { filter: Filter { ids: Some(ids), ..Filter::default() }, reason });
    }

    fn take(&mut self, subscription: &str) -> Option<Open> {
        let index = self.open.iter().position(|open| open.subscription == subscription)?;
        self.clock.progress();
        Some(self.open.remove(index))
    }

    fn complete(&mut self, pager: Pager) {
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

    /// Nothing more is asked.
    pub(super) fn give_up(&mut self, reason: &GapReason) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Page(pager) => self.end_with_gap(pager, reason.clone()),
                Waiting::Compare { filter, .. } => {
                    self.outcome.gaps.push(Gap { filter, reason: reason.clone() });
                }
            }
        }
        let Some(member) = &self.member else { return };
        // What it has been found to have and has not given.
        if member.is_waiting() || !self.not_given.is_empty() {
            let compared = std::mem::take(&mut self.compared);
            self.outcome.complete -= compared.len().min(self.outcome.complete);
            let gap = |filter| Gap { filter, reason: reason.clone() };
            self.outcome.gaps.extend(compared.into_iter().map(gap));
        }
        member.leave();
    }

    /// After the connection has ended: what was open is asked for after what is waiting, and last
    /// what was asked first, so that one request that a peer cannot answer does not keep it from
    /// the others.
    pub(super) fn ask_again(&mut self) {
        self.recent.clear();
        self.outbox.clear();
        self.clock.end_pause();
        if !self.open.is_empty() {
            self.open.rotate_left(1);
        }
        for open in std::mem::take(&mut self.open) {
            match open.request {
                Request::Page { pager, .. } => self.waiting.push_back(Waiting::Page(*pager)),
                Request::Ids(request) => {
                    if let Some(member) = &self.member {
                        member.release(request.missing());
                    }
                }
                Request::Compare { comparison, begun, .. } => {
                    let filter = comparison.filter().clone();
                    self.waiting.push_back(match begun < COMPARISONS {
                        true => Waiting::Compare { filter, begun: begun + 1 },
                        false => Waiting::Page(Pager::new(filter)),
                    });
                }
            }
        }
    }

    /// The ledger, in which other peers may make something free.
    pub(super) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.member.as_ref().map(Member::ledger)
    }

    /// How long to wait for the next message.
    pub(super) fn patience(&self) -> Duration {
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
        if let Some(trial) = self.trial_until() {
            at_latest(trial);
        }
        if self.member.as_ref().is_some_and(Member::is_waiting) {
            at_latest(Instant::now() + STEAL_AFTER / 2);
        }
        let until = until.unwrap_or_else(|| self.clock.silent_until());
        until.saturating_duration_since(Instant::now())
    }

    /// Nothing is left to be asked for.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.member.as_ref().is_some_and(Member::is_waiting)
    }

    /// Requests that the peer owes an answer to.
    fn asked(&self) -> impl Iterator<Item = &Open> {
        self.open
            .iter()
            .filter(|open| !matches!(open.request, Request::Compare { held: Some(_), .. }))
    }

    /// Until when a peer that has not been seen to compare may take to begin with it.
    fn trial_until(&self) -> Option<Instant> {
        if self.manners.comparing != Comparing::Untried {
            return None;
        }
        let trial = self.open.iter().find(|open| matches!(open.request, Request::Compare { .. }));
        trial.map(|open| open.asked + self.clock.pace.time_out / 3)
    }

    /// Our own sink took this long: that does not count against the peer.
    pub(super) fn excuse(&mut self, time: Duration) {
        self.clock.excuse(time);
        for open in &mut self.open {
            open.asked += time;
        }
    }

    /// What has taken too long, if anything. Whatever else the peer sends in the meantime is no
    /// progress.
    pub(super) fn overdue(&mut self) -> Option<GapReason> {
        let now = Instant::now();
        if self.trial_until().is_some_and(|until| now >= until) {
            self.stop_comparing();
            return None;
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

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn asked_for<'a>(event: Event<'a>, filter: &Filter) -> Result<Event<'a>, Unwanted> {
    if filter.matches(&event.id, &event.pubkey, event.kind, event.created_at) {
        Ok(event)
    } else {
        Err(Unwanted::Unasked)
    }
}

fn is_about(queries: &[Filter], event: &Event<'_>) -> bool {
    let Event { id, pubkey, kind, created_at, .. } = event;
    queries.iter().any(|query| query.matches(id, pubkey, *kind, *created_at))
}

/// Whether the id is the hash of the text, as strfry or NIP-01 want it.
fn is_genuine(event: &Event<'_>) -> bool {
    let expected = ExpectedId::of(event);
    event.id == expected.strfry || event.id == expected.nip01
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
        let queries = vec![Filter::default(); 9];
        let mut requests = Requests::new(queries, pace, Manners::default(), None);
        let is_asked =
            |name: &str, requests: &mut Requests| matches!(requests.next(name), Next::Send(_));
        assert!(["a", "b", "c", "d"].iter().all(|name| is_asked(name, &mut requests)));
        requests.closed("a", "rate-limited: slow down");
        assert!(is_asked("e", &mut requests));
        assert!(requests.patience() > time_out / 2);
    }
}
