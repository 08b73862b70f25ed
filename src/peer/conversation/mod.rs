//! The conversation with one peer in one fetch: what goes to which of the three ways to ask, and
//! what their answers mean together. Knows the protocol, but no connection.
//!
//! A query is compared (see [`Negentropy`]) where the peer does that, and the events that it is found
//! to have are fetched by id (see [`IdFetch`]), shared among all peers; else it is asked page by page
//! (see [`Pager`]). What a peer refuses in one way is asked in another.

mod clock;
mod events;
mod login;
mod not_given;
mod refusals;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::backoff::{Backoff, Pace};
use super::budget::Budget;
use super::forged::ForgedIds;
use super::host::{LocalError, Opening};
use super::id_fetch::IdFetch;
use super::info::RelayInfo;
use super::limits::{BYTES_OF_PAGE_ID, PAGE_IDS};
use super::message;
use super::negentropy::{LookUp, Negentropy, Round};
use super::outcome::{FetchOutcome, Gap, GapReason};
use super::pager::Pager;
use super::peer_limits::{Comparing, PeerLimits, SaysNothing};
use super::room::{Held, Room};
use super::want_list::{Member, WantList};
use crate::nostr::{EventId, Filter};
use clock::Clock;
pub(super) use login::Identity;
use login::Login;

/// What is asked of one peer in one fetch, and what came of it.
pub(super) struct Conversation {
    negentropy: Negentropy,
    pager: Pager,
    /// `None`: everything is asked page by page.
    ids: Option<IdFetch>,
    /// What all of this fetch is about: nothing else is taken, whatever ids a peer names.
    queries: Vec<Arc<Filter>>,
    /// Seconds since 1970: when the fetch began.
    began: u64,
    /// Messages to send before anything else.
    outbox: VecDeque<String>,
    pub(super) clock: Clock,
    pub(super) budget: Budget,
    pub(super) limits: PeerLimits,
    backoff: Backoff,
    login: Login,
    /// The ids that the peer said it has and did not give.
    not_given: HashSet<EventId>,
    /// There were more of them.
    not_given_is_cut: bool,
    /// So many of them nobody else had who had not been asked.
    lost: usize,
    /// Queries that are asked page by page because some of these ids were named in them again.
    named_again: Vec<Filter>,
    /// A question was refused that was asked beside others; it is asked alone next.
    was_refused_beside: bool,
    /// What the peer said last to people.
    notice: Option<String>,
    memory: PageMemory,
    /// What decides which events are taken.
    taken: Taken,
    outcome: FetchOutcome,
    /// Nothing is left to be asked.
    is_done: bool,
}

/// Which events are taken.
struct Taken {
    /// What is dated later is not taken.
    latest: u64,
    /// What the peer has forged.
    forged: Arc<ForgedIds>,
}

/// Memory for the ids of pages that exceed what every peer may keep.
#[derive(Default)]
struct PageMemory {
    held: Option<Held>,
    /// Events of pages since it was looked at.
    events: usize,
}

/// The three ways to ask; each request is named for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Compare,
    Page,
    Ids,
}

impl Way {
    fn name(self, number: u64) -> String {
        let letter = match self {
            Self::Compare => 'c',
            Self::Page => 'p',
            Self::Ids => 'i',
        };
        format!("companion-{letter}{number}")
    }

    fn of(subscription: &str) -> Option<Self> {
        match subscription.strip_prefix("companion-")?.chars().next()? {
            'c' => Some(Self::Compare),
            'p' => Some(Self::Page),
            'i' => Some(Self::Ids),
            _ => None,
        }
    }
}

/// What is to be done next.
pub(super) enum Next {
    /// This is to be sent.
    Send(String),
    /// [`Conversation::compare`] is to be called with what is here of this.
    LookUp(LookUp),
    /// Nothing, for now.
    Wait,
}

/// What a peer's answers say of what it lacks.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// Events that are here, and not there.
    pub(super) ids: Vec<EventId>,
    /// Filters of which it has given, page by page, all that it has.
    pub(super) all_but_given: Vec<Filter>,
}

impl Conversation {
    /// With a member the queries are compared, if the peer does that.
    pub(super) fn new(
        queries: Vec<Arc<Filter>>,
        pace: Pace,
        (limits, mut budget): (PeerLimits, Budget),
        member: Option<Member>,
        identity: Option<Identity>,
    ) -> Self {
        budget.begin(queries.len(), pace.time_out, Instant::now());
        let began = unix_time();
        let mut conversation = Self {
            negentropy: Negentropy::default(),
            pager: Pager::new(began),
            ids: member.map(IdFetch::new),
            is_done: queries.is_empty(),
            queries,
            outbox: VecDeque::new(),
            clock: Clock::new(pace.time_out),
            budget,
            limits,
            backoff: Backoff::new(pace),
            login: Login::new(identity),
            not_given: HashSet::new(),
            not_given_is_cut: false,
            lost: 0,
            was_refused_beside: false,
            named_again: Vec::new(),
            notice: None,
            memory: PageMemory::default(),
            taken: Taken { latest: u64::MAX, forged: Arc::default() },
            began,
            outcome: FetchOutcome::default(),
        };
        conversation.begin();
        conversation
    }

    /// What is dated later than `latest` is not taken, and of what has been `forged` a second one is
    /// not believed.
    pub(super) fn take_only(&mut self, latest: u64, forged: &Arc<ForgedIds>) {
        self.taken.latest = latest;
        self.taken.forged = Arc::clone(forged);
    }

    /// What a relay says of itself, before anything has been asked of it.
    pub(super) fn learn(&mut self, info: &RelayInfo) {
        self.limits.learn(info);
        if info.auth_required == Some(true) {
            self.login.learn();
        }
        self.begin();
    }

    /// Gives each query to the way in which it is asked.
    fn begin(&mut self) {
        self.negentropy = Negentropy::default();
        self.pager = Pager::new(self.began);
        if self.login.may_help(Instant::now()) {
            self.pager.remember_empty(true);
        }
        let compares = self.compares();
        for query in &self.queries {
            for part in self.parts_that_fit(query) {
                match compares {
                    true => self.negentropy.add(part),
                    false => self.pager.add(Arc::unwrap_or_clone(part), &self.limits),
                }
            }
        }
    }

    /// The query, or its parts of as many authors as fit into one of the peer's messages.
    fn parts_that_fit(&self, query: &Arc<Filter>) -> Vec<Arc<Filter>> {
        let Some(authors) = &query.authors else { return vec![Arc::clone(query)] };
        let most = self.limits.authors_in_message(query.kinds.as_ref().map_or(0, Vec::len));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // Parts of the same size: 60 and 60, not 100 and 20.
        let parts = authors.len().div_ceil(most).max(1);
        if parts == 1 {
            return vec![Arc::clone(query)];
        }
        let of = |authors: &[_]| {
            Arc::new(Filter { authors: Some(authors.to_vec()), ..Filter::clone(query) })
        };
        authors.chunks(authors.len().div_ceil(parts).max(1)).map(of).collect()
    }

    /// Whether queries are compared, as far as is known of the peer.
    fn compares(&self) -> bool {
        self.ids.is_some() && self.limits.comparing != Comparing::Refused
    }

    /// How the fetch went, what the peer is like and what it has used up, and its place among those
    /// that share the work.
    pub(super) fn into_parts(self) -> (FetchOutcome, (PeerLimits, Budget), Option<Member>) {
        let mut outcome = self.outcome;
        outcome.pages += self.negentropy.rounds;
        outcome.complete += self.negentropy.compared().len();
        outcome.merge(self.pager.outcome);
        outcome.join_gaps();
        (outcome, (self.limits, self.budget), self.ids.map(|ids| ids.member))
    }

    /// Whether everything has ended.
    pub(super) fn is_done(&self) -> bool {
        self.is_done && self.outbox.is_empty()
    }

    /// The want list, in which other peers may make something free.
    pub(super) fn want_list(&self) -> Option<Arc<WantList>> {
        self.ids.as_ref().map(|ids| ids.member.want_list())
    }

    /// The next thing to do; `number` makes the name of a request.
    pub(super) fn next(&mut self, number: u64) -> Next {
        loop {
            if let Some(text) = self.login.answer().or_else(|| self.outbox.pop_front()) {
                return Next::Send(text);
            }
            if self.is_done || !self.may_ask() {
                return Next::Wait;
            }
            if let Some(next) = self.next_request(number) {
                return next;
            }
            self.note_ended();
            if !self.is_idle() || !self.conclude() {
                self.clock.note_idleness(self.backoff.is_paused());
                return Next::Wait;
            }
        }
    }

    fn may_ask(&mut self) -> bool {
        !self.login.is_pending() && self.backoff.may_ask() && self.clock.may_ask()
    }

    fn next_request(&mut self, number: u64) -> Option<Next> {
        if let Some(ids) = &mut self.ids {
            if let Some((subscription, text)) = self.negentropy.go_on(&ids.member) {
                self.clock.asked(&subscription, &mut self.budget);
                return Some(Next::Send(text));
            }
            let name = Way::Ids.name(number);
            if let Some(text) = ids.next(&name, &self.limits) {
                self.clock.asked(&name, &mut self.budget);
                return Some(Next::Send(text));
            }
            if let Some(look_up) = self.negentropy.look_up(&self.limits, &ids.member) {
                return Some(Next::LookUp(look_up));
            }
        }
        if self.clock.open_but_ids() >= self.limits.parallel {
            return None;
        }
        let name = Way::Page.name(number);
        let text = self.pager.next(&name, &mut self.limits)?;
        self.clock.asked(&name, &mut self.budget);
        Some(Next::Send(text))
    }

    /// Begins the comparison that [`Next::LookUp`] asked for.
    pub(super) fn compare(&mut self, number: u64, here: Result<Opening, LocalError>) {
        let name = Way::Compare.name(number);
        let round = self.negentropy.begin(&name, here, &self.limits);
        if round.send.is_some() {
            self.clock.asked(&name, &mut self.budget);
        }
        self.follow(round);
    }

    /// Does what a round of a comparison asks for.
    pub(super) fn follow(&mut self, round: Round) {
        self.outbox.extend(round.send);
        if let Some(filter) = round.page {
            self.page(filter);
        }
    }

    /// Asks this page by page.
    fn page(&mut self, filter: Filter) {
        self.pager.add_first(filter, &self.limits);
        if self.limits.comparing == Comparing::Untried {
            self.stop_comparing();
        }
    }

    /// The peer does not compare: what was to be compared is asked page by page.
    fn stop_comparing(&mut self) {
        if self.limits.comparing == Comparing::Untried {
            // It happens once that this is found out.
            self.budget.pause_until(Instant::now());
        }
        self.limits.comparing = Comparing::Refused;
        self.page_instead(false);
    }

    fn page_instead(&mut self, and_compared: bool) {
        self.clock.close_all(Way::Compare);
        for subscription in self.negentropy.names() {
            self.outbox.push_back(message::neg_close(&subscription));
        }
        for filter in self.negentropy.stop(and_compared) {
            self.pager.add(filter, &self.limits);
        }
    }

    /// A peer that promises too much, or gives nothing by id: what it says it has is worth nothing,
    /// so all is asked of it page by page. What comes then was not promised in vain.
    fn distrust(&mut self) {
        for subscription in self.clock.close_all(Way::Ids) {
            self.outbox.push_back(message::close(&subscription));
        }
        if let Some(ids) = &mut self.ids {
            ids.stop();
        }
        self.limits.comparing = Comparing::Refused;
        self.page_instead(true);
    }

    /// Nothing waits and nothing is open.
    fn is_idle(&self) -> bool {
        self.clock.nothing_is_open()
            && self.negentropy.is_done()
            && self.pager.is_done()
            && self.ids.as_ref().is_none_or(IdFetch::is_done)
    }

    /// When everything that was asked has been answered: what is asked because of the answers. False:
    /// nothing, for now.
    fn conclude(&mut self) -> bool {
        if self.look_for_what_was_not_given() {
            return true;
        }
        if self.negentropy.control(&self.limits) {
            return true;
        }
        let doubtful = self.negentropy.take_doubtful(&self.limits);
        if !doubtful.is_empty() {
            // Page by page the peer shows whether its "nothing" was true.
            doubtful.into_iter().for_each(|filter| self.pager.add(filter, &self.limits));
            return true;
        }
        if self.limits.says_nothing == SaysNothing::Falsely {
            self.limits.comparing = Comparing::Refused;
        }
        if self.pager.may_be_late() {
            self.pager.flush();
            return true;
        }
        // One that compares has been seen to look before it answers.
        let gave_nothing = self.outcome.events == 0
            && self.limits.given.is_empty()
            && self.limits.comparing != Comparing::Works;
        if gave_nothing && self.pager.outcome.pages > 0 && !self.clock.linger() {
            return false;
        }
        self.is_done = true;
        false
    }

    /// Counts the queries that have ended as progress.
    fn note_ended(&mut self) {
        self.budget.note_pieces(self.pager.take_pieces());
        let ended = self.negentropy.take_ended() + self.pager.take_ended();
        self.budget.note_ended(ended, Instant::now());
    }

    /// Pages, requests by id and rounds of comparisons that were answered.
    pub(super) fn pages(&self) -> u64 {
        self.outcome.pages + self.pager.outcome.pages + self.negentropy.rounds
    }

    /// What the answers so far say of what the peer lacks.
    pub(super) fn take_lacks(&mut self) -> Lacks {
        let ids = std::mem::take(&mut self.negentropy.only_here);
        Lacks { ids, all_but_given: std::mem::take(&mut self.pager.answered) }
    }

    /// Nothing more is asked.
    pub(super) fn give_up(&mut self, reason: &GapReason) {
        let is_owed =
            self.ids.as_ref().is_some_and(|ids| ids.is_asking() || ids.member.is_waiting())
                || !self.not_given.is_empty()
                || self.not_given_is_cut;
        // It has been found to have something and has not given it, or nobody has found out whether
        // it has nothing.
        let mut left = self.negentropy.take_doubtful(&self.limits);
        left.extend(self.negentropy.stop(is_owed));
        let gap = |filter| Gap { filter, reason: reason.clone() };
        self.outcome.gaps.extend(left.into_iter().map(gap));
        self.pager.give_up(reason, &self.limits);
        if let Some(ids) = &mut self.ids {
            ids.stop();
        }
        self.clock.close_all_ways();
        self.outbox.clear();
        self.is_done = true;
    }

    /// Whether the peer fills the memory: with pages that do not come to their end, or with parts of
    /// queries that cannot be had.
    pub(super) fn is_flooded(&mut self, room: &Room) -> bool {
        self.pager.is_flooded() || !self.has_room_for_pages(room)
    }

    /// Whether there is memory for the ids of pages. They are counted from time to time.
    fn has_room_for_pages(&mut self, room: &Room) -> bool {
        if self.memory.events < PAGE_IDS / 8 {
            return true;
        }
        self.memory.events = 0;
        let ids = self.pager.ids();
        self.memory.held = None;
        if ids > PAGE_IDS {
            self.memory.held = room.for_page_ids((ids - PAGE_IDS) * BYTES_OF_PAGE_ID);
            return self.memory.held.is_some();
        }
        true
    }
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Enough of a peer's text for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
