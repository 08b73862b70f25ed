//! Events that strfry is to be given later, in the order of their time.
//!
//! A commit costs what it touches of every index. Events that are next to each other in time lie on
//! few pages of the indexes by time and by kind, so in this order an import takes less time and
//! writes less, above all in small commits (`docs/growth.md`).

use super::super::limits::MOST_UNSETTLED;
use super::Given;

pub(super) struct Waiting<T> {
    events: Vec<Given<T>>,
    is_sorted: bool,
    /// When the last one that was taken was made.
    last: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { events: Vec::new(), is_sorted: true, last: 0 }
    }
}

impl<T> Waiting<T> {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push(&mut self, given: Given<T>) {
        // Pages of it that are never used take no memory; doubling would.
        self.events.reserve_exact(MOST_UNSETTLED.saturating_sub(self.events.len()));
        self.events.push(given);
        self.is_sorted = false;
    }

    /// Takes so many, or what there is: those that come next in time after the last that was taken;
    /// after the newest, from the oldest on.
    pub(super) fn take(&mut self, count: usize) -> Vec<Given<T>> {
        if !self.is_sorted {
            self.events.sort_unstable_by_key(|given| given.head.created_at());
            self.is_sorted = true;
        }
        let count = count.min(self.events.len());
        let begin = self.events.partition_point(|given| given.head.created_at() <= self.last);
        let end = begin.saturating_add(count).min(self.events.len());
        let mut taken: Vec<_> = self.events.drain(begin..end).collect();
        let left = count.saturating_sub(taken.len());
        taken.extend(self.events.drain(..left));
        // The room is needed for what is remembered of those that strfry has now.
        self.events.shrink_to_fit();
        self.last = taken.last().map_or(self.last, |given| given.head.created_at());
        taken
    }

    pub(super) fn take_all(&mut self) -> Vec<Given<T>> {
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::encode::StoredEvent;
    use super::super::super::event_head::EventHead;
    use super::super::super::spool::Text;
    use super::*;
    use crate::node::EventLimits;
    use crate::nostr::Event;

    /// Made at this time.
    fn event(created_at: u64) -> Given<u64> {
        let text = serde_json::json!({
            "id": "11".repeat(32), "pubkey": "22".repeat(32), "created_at": created_at, "kind": 1,
            "tags": [], "content": "", "sig": "33".repeat(64),
        })
        .to_string();
        let event = Event::parse(&text).unwrap();
        let event = StoredEvent::encode(&event, &EventLimits::default()).unwrap();
        Given { head: EventHead::from(&event), text: Text::Held(Box::new(event)), tag: created_at }
    }

    #[test]
    fn they_come_in_the_order_of_their_time_and_after_the_newest_the_oldest() {
        let mut waiting = Waiting::default();
        let mut take = |given: &[u64], count: usize| -> Vec<u64> {
            given.iter().for_each(|time| waiting.push(event(*time)));
            waiting.take(count).into_iter().map(|given| given.tag).collect()
        };
        assert_eq!(take(&[50, 10, 40, 20, 30], 2), [10, 20]);
        // What is older waits until the newest has come.
        assert_eq!(take(&[15, 35], 3), [30, 35, 40]);
        assert_eq!(take(&[45], 3), [45, 50, 15]);
        assert_eq!(take(&[15, 5], 9), [5, 15]);
        assert_eq!(take(&[], 9), [0; 0]);
    }
}
