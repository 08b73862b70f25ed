//! Asking by comparing (NIP-77): the queries of one peer that are compared with what is here, as
//! many at once as there is room for what they need and bring. What a comparison finds the peer to
//! have is for others to fetch.
//!
//! Knows neither pages nor how ids are fetched, and no connection: it says what to send and is told
//! what came.

mod controls;
mod overviews;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::host::{LocalError, Opening};
use super::item_set::ItemSet;
use super::limits::{
    BLIND_COMPARISONS, COMPARISONS, IDS_FOR_COMPARING_IN_PARALLEL, IDS_OF_ONE_PEER, ITEMS_COMPARED,
    LOOK_FOR_ROOM, PARTS_WAITING, SHORT_WINDOW, SPLITS,
};
use super::message;
use super::overview::{Time, time_of};
use super::peer_limits::{Comparing, PeerLimits};
use super::reconcile::{Reconciliation, split};
use super::want_list::Member;
use crate::nostr::{EventId, Filter};
use controls::CONTROLS;
use overviews::Overviews;

/// The queries of one fetch that are compared.
#[derive(Debug, Default)]
pub(super) struct Negentropy {
    waiting: VecDeque<Query>,
    open: Vec<OpenComparison>,
    /// What has been compared to the end.
    compared: Vec<Compared>,
    /// The same since somebody looked: how many.
    ended: usize,
    /// How many queries there were.
    queries: usize,
    /// An answer has shown that the peer has something.
    has_something: bool,
    splits: u32,
    no_room_until: Option<Instant>,
    /// What is here and not there, since somebody looked.
    pub(super) only_here: Vec<EventId>,
    /// Rounds that were answered.
    pub(super) rounds: u64,
    second_look: Option<SecondLook>,
    /// Control comparisons that have been made, or cannot be.
    controls: usize,
    overviews: Overviews,
}

/// A second comparison of everything, for what the peer named and did not give: an event may be gone
/// by the time it is asked for.
#[derive(Debug)]
struct SecondLook {
    not_given: HashSet<EventId>,
    /// It was more than that.
    is_cut: bool,
    /// Queries in which some of it was named once more.
    named_in: Vec<Filter>,
}

#[derive(Debug, Clone)]
struct Query {
    filter: Arc<Filter>,
    begun: u32,
    purpose: Purpose,
    /// The peer has said that something differs, and there was no room here for the events.
    needs_items: bool,
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What it names is fetched. All others end with what they show, or without that.
    Fetch,
    /// It tells whether the peer compares truly.
    Control,
    /// It tells what need not be compared query by query.
    Overview,
    /// It tells whether an overview is true.
    Sample,
}

/// What is to be looked up here for a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LookUp {
    pub(super) filter: Arc<Filter>,
    pub(super) what: LookedUp,
}

/// How a comparison wants what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookedUp {
    /// As it can open with it.
    Opening,
    /// All events, whatever it could open with.
    Items,
    /// The fingerprints of an overview, if there are any.
    Overview,
}

/// What has been compared to the end.
#[derive(Debug)]
struct Compared {
    filter: Arc<Filter>,
    /// The peer has named something that was not here.
    has_named: bool,
}

#[derive(Debug)]
struct OpenComparison {
    subscription: String,
    comparison: Box<Reconciliation>,
    begun: u32,
    purpose: Purpose,
    /// The next message, which waits for room for what it may bring.
    held: Option<Vec<u8>>,
    /// Events that are here and not there, so far.
    only_here: usize,
    /// The peer has named something that was not here.
    has_named: bool,
}

/// What an answer brought.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// What the peer has and we had not when that was looked up.
    pub(super) needed: Vec<EventId>,
    /// To be sent.
    pub(super) send: Option<String>,
    /// The comparison cannot go on; this is to be asked page by page.
    pub(super) page: Option<Filter>,
}

impl Negentropy {
    /// Compares this.
    pub(super) fn add(&mut self, filter: impl Into<Arc<Filter>>) {
        self.queries += 1;
        self.waiting.push_back(Query::new(filter.into(), Purpose::Fetch));
    }

    /// Whether an answer has shown that the peer has anything.
    pub(super) fn has_something(&self) -> bool {
        self.has_something
    }

    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty()
    }

    /// What is here of this is to be looked up for [`Self::begin`].
    pub(super) fn look_up(&mut self, limits: &PeerLimits, member: &Member) -> Option<LookUp> {
        self.plan_overview(limits);
        // Of a peer that does not say whether it compares, one comparison is enough to find out.
        let parallel = match limits.comparing {
            Comparing::Untried if !limits.says_it_compares => 1,
            _ => limits.comparisons,
        };
        let may = self.open.len() < parallel
            && self.no_room_until.is_none_or(|until| Instant::now() >= until)
            && self.has_room(member)
            && self.items() < ITEMS_COMPARED;
        let waits = self.has_open_overview();
        let next = self.waiting.front().filter(|query| !waits || query.purpose != Purpose::Fetch);
        next.filter(|_| may).map(Query::look_up)
    }

    /// Until when there is no room here for another comparison.
    pub(super) fn no_room_until(&self) -> Option<Instant> {
        self.no_room_until.filter(|&until| until > Instant::now())
    }

    /// Begins the first comparison that waits with what is here of it; returns what to send, or what
    /// to ask page by page.
    pub(super) fn begin(
        &mut self,
        subscription: &str,
        here: Result<Opening, LocalError>,
        limits: &PeerLimits,
    ) -> Round {
        let Some(query) = self.waiting.pop_front() else { return Round::default() };
        let is_control = query.purpose == Purpose::Control;
        if is_control && !here.as_ref().is_ok_and(|here| here.is_empty()) {
            // What it shows is all that is to be known.
            self.controls = CONTROLS;
        }
        let here = match here {
            // Nothing that the peer can show to have, or need show.
            Ok(here) if is_control && (here.is_empty() || self.has_something) => {
                return Round::default();
            }
            // That nothing is here and there is no sign that anything is in step.
            Ok(here) if query.purpose == Purpose::Overview && here.is_empty() => {
                return Round::default();
            }
            Ok(here) => here,
            Err(error) => return self.not_looked_up(query, &error),
        };
        let Query { filter, begun, purpose, .. } = query;
        if let (Purpose::Overview, Opening::Fingerprints(here)) = (purpose, &here) {
            self.overviews.here = here.clone();
        }
        match Reconciliation::begin(filter.clone(), here, limits.max_message) {
            Ok((comparison, first)) => {
                let send = Some(message::neg_open(subscription, &filter, &first));
                let subscription = subscription.to_owned();
                let comparison = Box::new(comparison);
                let only_here = 0;
                if comparison.items() == 0 && purpose == Purpose::Fetch {
                    self.control_early(&filter, limits);
                }
                self.open.push(OpenComparison {
                    subscription,
                    comparison,
                    begun,
                    purpose,
                    held: None,
                    only_here,
                    has_named: false,
                });
                Round { send, ..Round::default() }
            }
            Err(_) if purpose != Purpose::Fetch => Round::default(),
            Err(_) => Round::page(filter),
        }
    }

    /// What is here for this cannot be compared.
    fn not_looked_up(&mut self, query: Query, error: &LocalError) -> Round {
        match error {
            LocalError::NoRoom => {
                self.waiting.push_front(query);
                self.no_room_until = Some(Instant::now() + LOOK_FOR_ROOM);
                Round::default()
            }
            _ if query.purpose != Purpose::Fetch => Round::default(),
            LocalError::TooMany { middle } => self.divide(query.filter, Some(*middle)),
            // Whatever the trouble is, the peer's pages can be had without what is here.
            LocalError::Unreadable(_) => Round::page(query.filter),
        }
    }

    /// The events that are to be looked up here before this answer is given to [`Self::message`], if
    /// only their fingerprints are known: something differs.
    pub(super) fn needs_items(&self, subscription: &str, payload: &str) -> Option<&Arc<Filter>> {
        let open = self.open.iter().find(|open| open.subscription == subscription)?;
        let message = hex::decode(payload).ok()?;
        let is_for_items = !matches!(open.purpose, Purpose::Overview | Purpose::Sample);
        let needs_items = is_for_items && open.comparison.needs_items(&message);
        needs_items.then(|| open.comparison.filter())
    }

    /// These are the events. Returns what to do if the comparison cannot go on.
    pub(super) fn learn_items(
        &mut self,
        subscription: &str,
        here: Result<ItemSet, LocalError>,
    ) -> Option<Round> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        let learnt = here.and_then(|here| {
            let comparison = self.open.get_mut(at).map(|open| &mut open.comparison);
            let learnt = comparison.map_or(Ok(()), |comparison| comparison.learn_items(here));
            learnt.map_err(|error| LocalError::Unreadable(error.to_string()))
        });
        let error = learnt.err()?;
        let query = Query { needs_items: true, ..self.open.remove(at).into_query() };
        let send = Some(message::neg_close(subscription));
        Some(Round { send, ..self.not_looked_up(query, &error) })
    }

    /// Whether there is room for what a comparison may bring. While events are fetched by the
    /// thousands the comparisons take turns: they name ids much faster than those can be fetched.
    fn has_room(&self, member: &Member) -> bool {
        let asked = self.open.iter().filter(|open| open.held.is_none());
        let (under_way, blind) = asked.fold((0, 0), |(all, blind), open| {
            (all + 1, blind + usize::from(may_name_many(&open.comparison)))
        });
        let most = if under_way > 0 { IDS_FOR_COMPARING_IN_PARALLEL } else { IDS_OF_ONE_PEER };
        blind < BLIND_COMPARISONS && member.has_room(most)
    }

    /// Events here that comparisons keep in memory.
    fn items(&self) -> usize {
        self.open.iter().map(|open| open.comparison.items_held()).sum()
    }

    /// The name and the next message of a comparison that has waited for room.
    pub(super) fn go_on(&mut self, member: &Member) -> Option<(String, String)> {
        if !self.has_room(member) {
            return None;
        }
        self.open.iter_mut().find_map(|open| {
            let message = open.held.take()?;
            let text = message::neg_msg(&open.subscription, &message);
            Some((open.subscription.clone(), text))
        })
    }

    /// An answer of the peer. What it needs is to be offered to the want list; if there is no room
    /// for it, [`Self::compare_again`].
    pub(super) fn message(
        &mut self,
        subscription: &str,
        payload: &str,
        limits: &mut PeerLimits,
    ) -> Round {
        let Some(at) = self.open.iter().position(|open| open.subscription == subscription) else {
            return Round::default();
        };
        self.rounds += 1;
        let mut open = self.open.remove(at);
        match open.purpose {
            Purpose::Overview => return self.see_overview(&open, payload, limits),
            Purpose::Sample => return self.see_sample(open, payload, limits),
            Purpose::Fetch | Purpose::Control => {}
        }
        let round = hex::decode(payload).ok().and_then(|it| open.comparison.answer(&it).ok());
        let Some(round) = round else {
            // Two peers of which one does not understand the other: pages are simpler.
            let send = Some(message::neg_close(subscription));
            let is_fetch = open.purpose == Purpose::Fetch;
            let page = is_fetch.then(|| Filter::clone(open.comparison.filter()));
            return Round { send, page, needed: Vec::new() };
        };
        limits.comparing = Comparing::Works;
        open.only_here += round.only_here.len();
        open.has_named |= !round.needed.is_empty();
        if let Some(look) = &mut self.second_look
            && round.needed.iter().any(|id| look.is_about(id))
            && !look.named_in.contains(&**open.comparison.filter())
        {
            look.named_in.push(Filter::clone(open.comparison.filter()));
        }
        self.has_something |= !round.needed.is_empty()
            || (round.next.is_none() && open.only_here < open.comparison.items());
        limits.compares_truly |= self.has_something;
        if open.purpose == Purpose::Control {
            return self.go_on_with_control(open, round.next);
        }
        self.only_here.extend(round.only_here);
        let mut send = None;
        match round.next {
            Some(next) => {
                open.held = Some(next);
                self.open.push(open);
            }
            None => {
                send = Some(message::neg_close(subscription));
                self.ended += 1;
                let (filter, has_named) = (open.comparison.filter().clone(), open.has_named);
                self.compared.push(Compared { filter, has_named });
            }
        }
        Round { needed: round.needed, send, page: None }
    }

    /// There was no room for what an answer has brought: many came at once. The rest is found out
    /// again later; by then most of it has come from elsewhere. Returns what to send.
    pub(super) fn compare_again(&mut self, subscription: &str, filter: &Filter) -> Option<String> {
        let at = self.open.iter().position(|open| open.subscription == subscription);
        let (query, send) = match at.map(|at| self.open.remove(at)) {
            Some(open) => (open.into_query(), Some(message::neg_close(subscription))),
            None => {
                let at = self.compared.iter().rposition(|it| *it.filter == *filter)?;
                self.ended = self.ended.saturating_sub(1);
                (Query::new(self.compared.remove(at).filter, Purpose::Fetch), None)
            }
        };
        self.waiting.push_front(query);
        send
    }

    /// What is compared under this name.
    pub(super) fn filter_of(&self, subscription: &str) -> Option<Arc<Filter>> {
        let open = self.open.iter().find(|open| open.subscription == subscription)?;
        Some(open.comparison.filter().clone())
    }

    /// The peer cannot compare so much at once, as it says. Returns what to ask page by page.
    pub(super) fn too_large(&mut self, subscription: &str) -> Round {
        let Some(open) = self.take(subscription) else { return Round::default() };
        self.divide(open.comparison.filter().clone(), open.comparison.middle())
    }

    fn divide(&mut self, filter: Arc<Filter>, middle: Option<u64>) -> Round {
        self.splits += 1;
        let may = self.splits <= SPLITS && self.waiting.len() < self.queries + PARTS_WAITING;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        match split(&filter, middle, now).filter(|_| may) {
            Some(parts) => {
                for filter in parts.into_iter().rev() {
                    self.waiting.push_front(Query::new(filter.into(), Purpose::Fetch));
                }
                Round::default()
            }
            None => Round::page(filter),
        }
    }

    /// The peer does not compare this: it is to be asked page by page.
    pub(super) fn refused(&mut self, subscription: &str) -> Option<Filter> {
        Some(Filter::clone(self.take(subscription)?.comparison.filter()))
    }

    /// The open comparison of this name, which does not go on; `None`: there is none, or what it names
    /// is not fetched, and it is over then.
    fn take(&mut self, subscription: &str) -> Option<OpenComparison> {
        let at = self.open.iter().position(|open| open.subscription == subscription)?;
        Some(self.open.remove(at)).filter(|open| open.purpose == Purpose::Fetch)
    }

    /// What is open under this name is compared again after all that waits, as it is; returns what
    /// has been begun too often.
    pub(super) fn put_back(&mut self, subscription: &str) -> Option<Filter> {
        let query = self.take(subscription)?.into_query();
        if query.begun >= COMPARISONS {
            return Some(Arc::unwrap_or_clone(query.filter));
        }
        self.waiting.push_back(Query { begun: query.begun + 1, ..query });
        None
    }

    /// What waits for us and not for the peer is compared again, too; returns what has been begun too
    /// often.
    pub(super) fn put_back_held(&mut self) -> Vec<Filter> {
        let held: Vec<String> = self
            .open
            .iter()
            .filter(|open| open.held.is_some())
            .map(|open| open.subscription.clone())
            .collect();
        held.iter().filter_map(|subscription| self.put_back(subscription)).collect()
    }

    /// The names of what is open.
    pub(super) fn names(&self) -> Vec<String> {
        self.open.iter().map(|open| open.subscription.clone()).collect()
    }

    /// What waits and what is open, which is not compared any more. `and_compared`: also what has
    /// been compared already, of a peer that is not believed.
    pub(super) fn stop(&mut self, and_compared: bool) -> Vec<Filter> {
        let open = std::mem::take(&mut self.open).into_iter().map(OpenComparison::into_query);
        let queries = open.chain(std::mem::take(&mut self.waiting));
        let mut filters: Vec<Filter> = queries
            .filter(|query| query.purpose == Purpose::Fetch)
            .map(|query| Arc::unwrap_or_clone(query.filter))
            .collect();
        if and_compared {
            filters.extend(self.take_compared());
        }
        filters
    }

    /// Begins all comparisons in which anything was named once more, for what was not given of it;
    /// `is_cut`: and for more than that. False: that has been done.
    pub(super) fn look_again(&mut self, not_given: HashSet<EventId>, is_cut: bool) -> bool {
        if self.second_look.is_some() {
            return false;
        }
        self.second_look = Some(SecondLook { not_given, is_cut, named_in: Vec::new() });
        let again = self.compared.extract_if(.., |compared| compared.has_named);
        self.waiting.extend(again.map(|it| Query::new(it.filter, Purpose::Fetch)));
        true
    }

    /// Whether the second look was for all of these, too; `is_cut`: and for more than that.
    pub(super) fn has_looked_again_for(&self, ids: &HashSet<EventId>, is_cut: bool) -> bool {
        let Some(look) = &self.second_look else { return false };
        look.is_cut || (!is_cut && ids.is_subset(&look.not_given))
    }

    /// Queries in which something was named again that had not been given.
    pub(super) fn take_named_again(&mut self) -> Vec<Filter> {
        let named = self.second_look.as_mut().map(|look| std::mem::take(&mut look.named_in));
        let named = named.unwrap_or_default();
        self.compared.retain(|compared| !named.contains(&compared.filter));
        named
    }

    /// What was compared, if no answer has ever shown that the peer has anything; it is left to
    /// others to find out whether that is true.
    pub(super) fn take_doubtful(&mut self, limits: &PeerLimits) -> Vec<Filter> {
        if limits.compares_truly { Vec::new() } else { self.take_compared() }
    }

    fn take_compared(&mut self) -> Vec<Filter> {
        let compared = std::mem::take(&mut self.compared).into_iter();
        compared.map(|compared| Arc::unwrap_or_clone(compared.filter)).collect()
    }

    /// What was compared to the end and is not taken back.
    pub(super) fn compared(&self) -> impl ExactSizeIterator<Item = &Filter> + Clone {
        self.compared.iter().map(|compared| &*compared.filter)
    }

    /// How many queries have ended since this was called last.
    pub(super) fn take_ended(&mut self) -> usize {
        std::mem::take(&mut self.ended)
    }
}

/// Whether an answer may name more than waits at once. In a short time, little has been published.
fn may_name_many(comparison: &Reconciliation) -> bool {
    let Filter { since, until, .. } = &**comparison.filter();
    let seconds = until.unwrap_or(u64::MAX).saturating_sub(since.unwrap_or(0));
    comparison.is_blind() && seconds > SHORT_WINDOW
}

impl SecondLook {
    fn is_about(&self, id: &EventId) -> bool {
        self.is_cut || self.not_given.contains(id)
    }
}

impl Query {
    fn new(filter: Arc<Filter>, purpose: Purpose) -> Self {
        Self { filter, begun: 0, purpose, needs_items: false }
    }

    fn look_up(&self) -> LookUp {
        let what = match self.purpose {
            Purpose::Overview => LookedUp::Overview,
            _ if self.needs_items => LookedUp::Items,
            _ => LookedUp::Opening,
        };
        LookUp { filter: self.filter.clone(), what }
    }

    /// Whether it is one of those that an overview of this time is for.
    fn is_about(&self, time: Time) -> bool {
        self.purpose == Purpose::Fetch && time_of(&self.filter) == time
    }
}

impl OpenComparison {
    fn into_query(self) -> Query {
        let Self { comparison, begun, purpose, .. } = self;
        Query { begun, ..Query::new(comparison.filter().clone(), purpose) }
    }
}

impl Round {
    fn page(filter: Arc<Filter>) -> Self {
        Self { page: Some(Arc::unwrap_or_clone(filter)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
