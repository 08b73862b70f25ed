//! When queries are compared, and how that begins: as many comparisons at once as there is room
//! for what they need and bring.

use std::time::Instant;

use super::{Request, Requests, Waiting};
use crate::relay::limits::{
    BLIND_COMPARISONS, IDS_FOR_COMPARING_IN_PARALLEL, IDS_OF_ONE_PEER, ITEMS_COMPARED,
    LOOK_FOR_ROOM,
};
use crate::relay::local::{ItemSet, LocalError};
use crate::relay::manners::Comparing;
use crate::relay::message;
use crate::relay::reconcile::Reconciliation;

impl Requests {
    /// Whether queries are compared, as far as is known of the peer.
    pub(super) fn compares(&self) -> bool {
        self.member.is_some() && self.manners.comparing != Comparing::Refused
    }

    /// Begins the comparison that [`Next::LookUp`] asked for; returns the message to send.
    pub(in crate::relay) fn compare(
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
            Err(LocalError::NoRoom) => {
                self.waiting.push_front(Waiting::Compare { filter, begun });
                self.no_room_until = Some(Instant::now() + LOOK_FOR_ROOM);
                return None;
            }
            // Whatever the trouble is, the peer's pages can be had without what is here.
            Err(LocalError::Unreadable(_)) => {
                self.waiting.push_front(self.paged(filter));
                return None;
            }
        };
        match Reconciliation::begin(filter.clone(), here, self.manners.max_message) {
            Ok((comparison, first)) => {
                let text = message::neg_open(subscription, &filter, &first);
                let comparison = Box::new(comparison);
                let names_lost = false;
                let compare = Request::Compare { comparison, begun, held: None, names_lost };
                self.push(subscription, compare);
                Some(text)
            }
            Err(_) => {
                self.waiting.push_front(self.paged(filter));
                None
            }
        }
    }

    /// Whether there is room for what a comparison may bring. While events are fetched by the
    /// thousands the comparisons take turns: they name ids much faster than those can be fetched.
    fn may_compare(&self) -> bool {
        let asked = self.asked().filter_map(|open| match &open.request {
            Request::Compare { comparison, .. } => Some(comparison.is_blind()),
            _ => None,
        });
        let (under_way, blind) =
            asked.fold((0, 0), |(all, blind), it| (all + 1, blind + usize::from(it)));
        let most = if under_way > 0 { IDS_FOR_COMPARING_IN_PARALLEL } else { IDS_OF_ONE_PEER };
        blind < BLIND_COMPARISONS && self.member.as_ref().is_none_or(|member| member.has_room(most))
    }

    /// Whether another comparison may begin.
    pub(super) fn may_begin_comparing(&self) -> bool {
        self.no_room_until.is_none_or(|until| Instant::now() >= until)
            && self.may_compare()
            && self.items_compared() < ITEMS_COMPARED
    }

    /// Events here that comparisons keep in memory.
    fn items_compared(&self) -> usize {
        let items = self.open.iter().filter_map(|open| match &open.request {
            Request::Compare { comparison, .. } => Some(comparison.items()),
            _ => None,
        });
        items.sum()
    }

    /// The next message of a comparison that has waited for room in the ledger.
    pub(super) fn go_on_comparing(&mut self) -> Option<String> {
        if !self.may_compare() {
            return None;
        }
        let next = self.open.iter_mut().find_map(|open| match &mut open.request {
            Request::Compare { held, .. } => {
                let message = held.take()?;
                open.asked = Instant::now();
                Some(message::neg_msg(&open.subscription, &message))
            }
            _ => None,
        })?;
        if let Some(since) = self.idle_since.take() {
            self.budget.excuse(since.elapsed());
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Next;
    use super::super::tests::{PACE, id};
    use super::*;
    use crate::nostr::{EventId, Filter};
    use crate::relay::budget::Budget;
    use crate::relay::info::RelayInfo;
    use crate::relay::ledger::Ledger;
    use crate::relay::limits::{IDS_WAITING, PARALLEL_SUBSCRIPTIONS};
    use crate::relay::manners::Manners;

    fn here(events: u64) -> ItemSet {
        ItemSet::new((0..events).map(|number| (number, id(number))))
    }

    /// Begins as many of nine comparisons as may be under way at once; how many these are.
    fn begin_all(requests: &mut Requests, events_here: u64) -> usize {
        let mut begun = 0;
        while matches!(requests.next("next"), Next::LookUp(_)) {
            begun += 1;
            let name = format!("comparison {begun}");
            assert!(requests.compare(&name, Ok(here(events_here))).is_some());
        }
        begun
    }

    fn comparing(says_it_compares: bool) -> Requests {
        let manners = Manners { says_it_compares, ..Manners::default() };
        let member = Arc::<Ledger>::default().join();
        Requests::new(
            vec![Filter::default(); 9],
            PACE,
            (manners, Budget::default()),
            Some(member),
            None,
        )
    }

    #[test]
    fn a_relay_that_says_that_it_compares_is_compared_with_at_once_and_others_are_tried_first() {
        assert_eq!(begin_all(&mut comparing(true), 100), PARALLEL_SUBSCRIPTIONS);
        assert_eq!(begin_all(&mut comparing(false), 100), 1);
    }

    #[test]
    fn a_relay_that_says_that_it_compares_may_take_longer_to_begin_with_it() {
        let patience = |says_it_compares| {
            let mut requests = comparing(says_it_compares);
            begin_all(&mut requests, 100);
            requests.trial_until().unwrap() - Instant::now()
        };
        assert!(patience(true) > PACE.time_out / 2);
        assert!(patience(false) <= PACE.time_out / 3);
    }

    fn allowing() -> Requests {
        let mut requests = comparing(true);
        let max_subscriptions = Some(200);
        requests.learn(&RelayInfo {
            max_subscriptions,
            negentropy: Some(1),
            ..RelayInfo::default()
        });
        requests
    }

    #[test]
    fn comparisons_that_a_relay_allows_begin_at_once_unless_they_would_fill_the_memory() {
        assert_eq!(begin_all(&mut allowing(), 10_000), 9);
        assert_eq!(begin_all(&mut allowing(), 32_000), 3);
    }

    #[test]
    fn few_comparisons_bring_all_that_a_relay_has_at_once() {
        assert_eq!(begin_all(&mut comparing(true), 0), BLIND_COMPARISONS);
    }

    /// An answer to any comparison that names `count` events, and what it names.
    fn naming(first: u64, count: u64) -> (String, Vec<EventId>) {
        let ids: Vec<EventId> = (first..first + count).map(id).collect();
        // The protocol's version; up to the end of time, a list of 64 to 16,383 ids.
        let count = [0x80 | (count >> 7) as u8, (count & 0x7f) as u8];
        let mut payload = [&[0x61, 0, 0, 2], &count[..]].concat();
        payload.extend(ids.iter().flat_map(EventId::as_bytes));
        (hex::encode(payload), ids)
    }

    #[test]
    fn what_more_answers_bring_than_there_is_room_for_is_compared_again_later() {
        const EACH: u64 = 12_000;
        let mut requests = allowing();
        assert_eq!(begin_all(&mut requests, 100), 9);
        let mut offered = Vec::new();
        for number in 1..=9 {
            let (payload, named) = naming(number * EACH, EACH);
            let name = format!("comparison {number}");
            let mut needed = requests.neg_msg(&name, &payload);
            needed.sort_unstable();
            assert!(needed == named);
            requests.offer(&name, needed);
            offered.extend(named);
        }
        let member = requests.member.as_ref().unwrap();
        assert_eq!((member.waiting(), requests.outcome.complete), (IDS_WAITING, 5));
        assert!(offered.iter().take(IDS_WAITING).all(|id| member.settle(id)));
        requests.outbox.clear();
        assert_eq!(begin_all(&mut requests, 100), 4);
    }

    #[test]
    fn comparisons_take_turns_while_thousands_of_ids_wait() {
        let mut requests = comparing(true);
        requests.offer("a", (0..IDS_FOR_COMPARING_IN_PARALLEL as u64).map(id).collect());
        // None of these ids can be asked for before those of others are.
        requests.manners.parallel_ids = 0;
        assert_eq!(begin_all(&mut requests, 100), 1);
        let mut requests = comparing(true);
        requests.offer("a", (0..IDS_OF_ONE_PEER as u64).map(id).collect());
        requests.manners.parallel_ids = 0;
        assert_eq!(begin_all(&mut requests, 100), 0);
    }
}
