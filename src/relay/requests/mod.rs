//! What is asked of a peer in one fetch: what waits, what is open, what came of it. Knows the
//! protocol, but no connection.
//!
//! A query is compared (see [`Reconciliation`]) where the peer does that, and the events that it
//! is found to have are fetched by id, shared among all peers by the ledger; else it is asked page
//! by page (see [`Pager`]).

mod answers;
mod comparing;
mod ending;
mod patience;
mod refusals;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::auth::{AuthKey, Authentication};
use super::backoff::{Backoff, Pace};
use super::budget::Budget;
use super::by_id::IdRequest;
use super::forged::ForgedIds;
use super::info::RelayInfo;
use super::ledger::{Ledger, Member};
use super::limits::{
    FIRST_ROUND, FRAME_OVERHEAD, GAPS, ID_REQUESTS_IN_ALL, KEY_IN_FILTER, KIND_IN_FILTER, PAGE_IDS,
};
use super::manners::{Comparing, Manners};
use super::message;
use super::outcome::FetchOutcome;
use super::page_request::PageRequest;
use super::paging::{Pager, ShortId};
use super::reconcile::Reconciliation;
use super::room::{Held, Room};
use crate::nostr::{EventId, Filter, Pubkey};

/// Who we are, for a relay that wants to know (NIP-42).
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) key: AuthKey,
    /// The relay's address.
    pub(super) relay: String,
}

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
    time_out: Duration,
    pub(super) budget: Budget,
    backoff: Backoff,
    /// When the peer last answered anything.
    last_answer: Instant,
    /// Since when the peer has not owed an answer.
    idle_since: Option<Instant>,
    auth: Authentication,
    identity: Option<Identity>,
    /// When the relay accepted us.
    accepted_at: Option<Instant>,
    /// The peer's place in the ledger. `None`: everything is asked page by page.
    member: Option<Member>,
    /// How many queries, or parts of some, have been compared to the end.
    compared: usize,
    /// There was no room here for another comparison.
    no_room_until: Option<Instant>,
    /// The comparison that has ended last.
    just_compared: Option<(String, Waiting)>,
    /// What the answers say of what the peer lacks; taken away by whoever wants to know.
    pub(super) lacks: Lacks,
    /// What the peer said it has, did not give, and nobody else has.
    not_given: HashSet<EventId>,
    /// The same before everything was compared again, from when on it is `Some`.
    lost: Option<HashSet<EventId>>,
    /// Comparisons in which it was named once more.
    suspects: Vec<Filter>,
    /// Memory for the ids of pages that exceed what every peer may keep.
    page_room: Option<Held>,
    page_events: usize,
    /// A page was empty: its events may come after its end.
    may_be_late: bool,
    /// Seconds since 1970.
    began: u64,
    /// What is dated later is not taken.
    pub(super) latest: u64,
    /// What the peer has forged.
    pub(super) forged: Arc<ForgedIds>,
    splits: u32,
    pub(super) manners: Manners,
    /// The peer has refused a request without saying which.
    is_one_refused: bool,
    pub(super) notice: Option<String>,
    pub(super) outcome: FetchOutcome,
}

/// What a peer's answers say of what it lacks.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// Events that are here, and not there.
    pub(super) ids: Vec<EventId>,
    /// Filters of which it has given, page by page, all that it has.
    pub(super) all_but_given: Vec<Filter>,
}

enum Waiting {
    Page(Box<Pager>),
    Compare { filter: Filter, begun: u32 },
}

struct Open {
    subscription: String,
    /// When; time that we have let pass ourselves is left out.
    asked: Instant,
    request: Request,
}

enum Request {
    Pages(PageRequest),
    Ids(IdRequest),
    Compare {
        comparison: Box<Reconciliation>,
        begun: u32,
        held: Option<Vec<u8>>,
        /// The peer has named again what it did not give.
        names_lost: bool,
    },
    /// Asks for nothing. What a relay has sent before its answer is read before it.
    Nothing,
}

impl Open {
    fn asks_for_several_pages(&self) -> bool {
        matches!(&self.request, Request::Pages(request) if request.is_shared())
    }
}

struct Ended {
    subscription: String,
    what: EndedRequest,
}

enum EndedRequest {
    /// With the ids that came, and how many came after the end, which may have been named already.
    Pages { filters: Vec<Filter>, known: HashSet<ShortId>, late: u64, is_named: bool },
    /// Sorted.
    Ids(Vec<EventId>),
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
        (manners, mut budget): (Manners, Budget),
        member: Option<Member>,
        identity: Option<Identity>,
    ) -> Self {
        let now = Instant::now();
        budget.begin(queries.len(), pace.time_out, now);
        let mut requests = Self {
            waiting: VecDeque::new(),
            open: Vec::new(),
            recent: VecDeque::new(),
            outbox: VecDeque::new(),
            time_out: pace.time_out,
            budget,
            backoff: Backoff::new(pace),
            last_answer: now,
            idle_since: None,
            auth: Authentication::default(),
            identity,
            accepted_at: None,
            member,
            compared: 0,
            no_room_until: None,
            just_compared: None,
            lacks: Lacks::default(),
            not_given: HashSet::new(),
            lost: None,
            suspects: Vec::new(),
            page_room: None,
            page_events: 0,
            may_be_late: false,
            began: unix_time(),
            latest: u64::MAX,
            forged: Arc::default(),
            splits: 0,
            manners,
            is_one_refused: false,
            notice: None,
            outcome: FetchOutcome::default(),
            queries: Vec::new(),
        };
        requests.queries = queries;
        requests.begin();
        requests
    }

    /// What a relay says of itself, before anything has been asked of it.
    pub(super) fn learn(&mut self, info: &RelayInfo) {
        self.manners.learn(info);
        if info.auth_required == Some(true) {
            self.auth.want();
        }
        self.begin();
    }

    fn begin(&mut self) {
        let mut queries = self.queries.clone();
        self.waiting.clear();
        while let Some(query) = queries.pop() {
            match self.halves_that_fit(&query) {
                Some(halves) => queries.extend(halves.into_iter().rev()),
                None => self.waiting.push_front(self.fresh(query)),
            }
        }
    }

    /// `None`: the query fits into the peer's messages, or cannot be made smaller.
    fn halves_that_fit(&self, query: &Filter) -> Option<[Filter; 2]> {
        let authors = query.authors.as_deref()?;
        let kinds = query.kinds.as_deref().map_or(0, <[u64]>::len);
        let filter = authors.len() * KEY_IN_FILTER + kinds * KIND_IN_FILTER;
        if filter + FIRST_ROUND + FRAME_OVERHEAD <= self.manners.max_message {
            return None;
        }
        let (left, right) = authors.split_at(authors.len() / 2);
        let with = |authors: &[Pubkey]| Filter { authors: Some(authors.to_vec()), ..query.clone() };
        (!left.is_empty()).then(|| [with(left), with(right)])
    }

    /// What the peer is like and what it has used up, and its place in the ledger, for the next
    /// fetch.
    pub(super) fn into_parts(self) -> (FetchOutcome, (Manners, Budget), Option<Member>) {
        (self.outcome, (self.manners, self.budget), self.member)
    }

    fn fresh(&self, filter: Filter) -> Waiting {
        match self.compares() {
            true => Waiting::Compare { filter, begun: 0 },
            false => self.paged(filter),
        }
    }

    fn paged(&self, filter: Filter) -> Waiting {
        Waiting::Page(Box::new(Pager::new(filter, self.manners.page)))
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.open.is_empty() && self.outbox.is_empty()
    }

    /// The next thing to do, under this name if it is a request.
    pub(super) fn next(&mut self, subscription: &str) -> Next {
        if let Some(text) = self.say_who_we_are().or_else(|| self.outbox.pop_front()) {
            return Next::Send(text);
        }
        if self.auth.is_pending() || !self.backoff.may_ask() {
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
                Some(Waiting::Page(pager)) => match PageRequest::new(pager) {
                    Ok(mut request) => {
                        self.add_pages(&mut request);
                        let text = message::req(subscription, &request.filters());
                        self.push(subscription, Request::Pages(request));
                        return Next::Send(text);
                    }
                    Err(ended) => self.complete(*ended),
                },
                Some(Waiting::Compare { filter, .. }) if !self.compares() => {
                    self.waiting.push_front(self.paged(filter));
                }
                Some(Waiting::Compare { filter, begun }) => {
                    let look_up = self.may_begin_comparing().then(|| filter.clone());
                    self.waiting.push_front(Waiting::Compare { filter, begun });
                    return look_up.map_or(Next::Wait, Next::LookUp);
                }
                None if self.is_done() => {
                    self.look_again_for_what_was_not_given();
                    self.note_idleness();
                    if self.waiting.is_empty() {
                        let last = std::mem::take(&mut self.may_be_late);
                        return if last { self.ask_for_nothing(subscription) } else { Next::Wait };
                    }
                }
                None => return Next::Wait,
            }
        }
    }

    fn parallel(&self) -> usize {
        // Of a peer that does not say whether it compares, one comparison is enough to find out.
        if self.compares()
            && self.manners.comparing == Comparing::Untried
            && !self.manners.says_it_compares
        {
            return 1;
        }
        match self.waiting.front() {
            Some(Waiting::Compare { .. }) if self.compares() => self.manners.comparisons,
            _ => self.manners.parallel,
        }
    }

    fn push(&mut self, subscription: &str, request: Request) {
        if let Some(since) = self.idle_since.take() {
            self.budget.excuse(since.elapsed());
        }
        let subscription = subscription.to_owned();
        self.open.push(Open { subscription, asked: Instant::now(), request });
    }

    fn ask_for_ids(&mut self, subscription: &str) -> Option<String> {
        let member = self.member.as_ref()?;
        let open = self.open.iter().filter(|open| matches!(open.request, Request::Ids(_)));
        if open.count() >= self.manners.parallel_ids.min(member.share_of(ID_REQUESTS_IN_ALL)) {
            return None;
        }
        let ids = member.claim(self.manners.ids.per_request());
        if ids.is_empty() {
            return None;
        }
        let text = message::req(subscription, &IdRequest::filters(&ids, &self.manners.ids));
        self.push(subscription, Request::Ids(IdRequest::new(&ids)));
        Some(text)
    }

    /// Adds what can be asked for in the same request.
    fn add_pages(&mut self, request: &mut PageRequest) {
        let limits = self.manners.page_limits();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Page(pager) if request.has_room_for(&pager, &limits) => {
                    request.add(*pager)
                }
                other => self.waiting.push_back(other),
            }
        }
    }

    /// Queries that have more than a page left.
    fn expecting(&self) -> usize {
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Page(pager) => usize::from(pager.expects_more()),
            Waiting::Compare { .. } => 0,
        });
        let open = self.open.iter().map(|open| match &open.request {
            Request::Pages(request) => request.expecting(),
            _ => 0,
        });
        waiting.chain(open).sum()
    }

    fn ask_for_nothing(&mut self, subscription: &str) -> Next {
        self.push(subscription, Request::Nothing);
        Next::Send(message::req(subscription, &[message::for_nothing()]))
    }

    fn take(&mut self, subscription: &str) -> Option<Open> {
        let index = self.open.iter().position(|open| open.subscription == subscription);
        let Some(index) = index else {
            self.budget.note_idle();
            return None;
        };
        self.last_answer = Instant::now();
        let open = self.open.remove(index);
        self.note_idleness();
        Some(open)
    }

    /// While the peer owes no answer, its time does not run.
    fn note_idleness(&mut self) {
        // A pause that the peer has asked for is time of its own.
        if self.asked().next().is_none() && !self.backoff.is_paused() {
            self.idle_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the peer fills the memory: with pages that do not come to their end, or with parts
    /// of queries that cannot be had.
    pub(super) fn is_flooded(&mut self, room: &Room) -> bool {
        let open = self.open.iter().any(|open| match &open.request {
            Request::Pages(request) => request.is_flooded(),
            _ => false,
        });
        open || self.outcome.gaps.len() > GAPS || !self.has_room_for_pages(room)
    }

    /// Whether there is memory for the ids of pages. They are counted from time to time.
    fn has_room_for_pages(&mut self, room: &Room) -> bool {
        if self.page_events < PAGE_IDS / 8 {
            return true;
        }
        self.page_events = 0;
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Page(pager) => pager.ids(),
            Waiting::Compare { .. } => 0,
        });
        let open = self.open.iter().map(|open| match &open.request {
            Request::Pages(request) => request.ids(),
            _ => 0,
        });
        let ids: usize = waiting.chain(open).sum();
        self.page_room = None;
        if ids > PAGE_IDS {
            self.page_room = room.for_page_ids((ids - PAGE_IDS) * BYTES_OF_PAGE_ID);
            return self.page_room.is_some();
        }
        true
    }

    /// The ledger, in which other peers may make something free.
    pub(super) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.member.as_ref().map(Member::ledger)
    }

    /// Nothing is left to be asked for.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.member.as_ref().is_some_and(Member::is_waiting)
    }
}

/// Bytes that the id of a page's event takes: itself and its second, in a table that is half empty.
const BYTES_OF_PAGE_ID: usize = 34;

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Enough of a peer's text for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    pub(super) const PACE: Pace =
        Pace { time_out: Duration::from_secs(60), first_pause: Duration::ZERO };

    pub(super) fn id(number: u64) -> EventId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        EventId::from_bytes(id)
    }

    fn is_asked(name: &str, requests: &mut Requests) -> bool {
        matches!(requests.next(name), Next::Send(_))
    }

    #[test]
    fn events_are_asked_of_many_peers_in_fewer_requests_of_each() {
        let ids = |first: u64| (first..first + 2_500).map(id);
        let begun = |peers: u64| {
            let ledger = Arc::<Ledger>::default();
            let others: Vec<Member> = (1..peers).map(|_| ledger.join()).collect();
            others.iter().zip(1..).for_each(|(other, number)| {
                assert!(other.offer(ids(number * 10_000)));
            });
            let member = ledger.join();
            member.offer(ids(0));
            let mut requests =
                Requests::new(Vec::new(), PACE, Default::default(), Some(member), None);
            (0..9).take_while(|number| is_asked(&number.to_string(), &mut requests)).count()
        };
        assert_eq!([1, 8, 16, 32, 50].map(begun), [4, 4, 2, 1, 1]);
    }

    #[test]
    fn requests_that_are_refused_at_the_same_time_count_as_one_complaint() {
        let queries = vec![Filter::default(); 9];
        let mut requests = Requests::new(queries, PACE, Default::default(), None, None);
        assert!(["a", "b", "c", "d"].iter().all(|name| is_asked(name, &mut requests)));
        requests.notice("ERROR: too many concurrent REQs");
        requests.notice("ERROR: too many concurrent REQs");
        assert_eq!((requests.manners.complaints, requests.manners.parallel), (1, 2));
        requests.ask_all_again();
        requests.notice("ERROR: too many concurrent REQs");
        assert_eq!((requests.manners.complaints, requests.manners.parallel), (2, 1));
    }

    #[test]
    fn a_pause_that_is_over_does_not_cut_the_patience_short() {
        let queries = vec![Filter::default(); 9];
        let mut requests = Requests::new(queries, PACE, Default::default(), None, None);
        assert!(["a", "b", "c", "d"].iter().all(|name| is_asked(name, &mut requests)));
        requests.closed("a", "rate-limited: slow down");
        assert!(["b", "c"].iter().all(|name| requests.end_of_stored_events(name, true)));
        assert!(is_asked("e", &mut requests));
        assert!(requests.patience() > PACE.time_out / 5);
    }
}
