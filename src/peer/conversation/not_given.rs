//! What a peer says it has and does not give when it is asked for it by id.

use super::Conversation;
use crate::nostr::Filter;
use crate::peer::id_fetch::NotGiven;
use crate::peer::limits::NOT_GIVEN;
use crate::peer::outcome::{Gap, GapReason, Withheld};
use crate::peer::pager::is_private;

impl Conversation {
    /// The peer said that it has these, and did not give them. That another one has them does not
    /// help: it may not give them either.
    pub(super) fn note_not_given(&mut self, not_given: NotGiven) {
        let NotGiven { ids, lost } = not_given;
        self.lost += lost;
        let room = NOT_GIVEN.saturating_sub(self.not_given.len());
        self.not_given_is_cut |= ids.len() > room;
        self.not_given.extend(ids.into_iter().take(room));
        if self.lost > NOT_GIVEN && self.compares() {
            self.distrust();
        }
    }

    /// An event that a peer has counted may be gone by the time it is asked for: a second comparison
    /// tells that from one that the peer keeps to itself. What is named again may come in pages.
    pub(super) fn look_for_what_was_not_given(&mut self) -> bool {
        let Some(ids) = &self.ids else { return false };
        self.not_given.retain(|id| !ids.member.is_settled(id));
        if self.not_given.is_empty() && !self.not_given_is_cut {
            return false;
        }
        if !self.named_again.is_empty() || !self.compares() {
            // Of what was named for the first time in the second look it is not known where.
            let (ids, is_cut) = (&self.not_given, self.not_given_is_cut);
            let is_known = self.negentropy.has_looked_again_for(ids, is_cut);
            if self.compares() && !is_known {
                let others = self.queries.iter().filter(|query| !self.named_again.contains(query));
                let others: Vec<Filter> = others.map(|query| Filter::clone(query)).collect();
                if !others.is_empty() {
                    for filter in &others {
                        self.pager.add(filter.clone(), &self.limits);
                    }
                    self.named_again.extend(others);
                    return true;
                }
            }
            self.name_what_was_not_given();
            return false;
        }
        if self.negentropy.look_again(self.not_given.clone(), self.not_given_is_cut) {
            self.not_given.clear();
            self.not_given_is_cut = false;
            return true;
        }
        self.named_again = self.negentropy.take_named_again();
        if self.named_again.is_empty() {
            self.name_what_was_not_given();
            return false;
        }
        for filter in self.named_again.clone() {
            self.pager.add(filter, &self.limits);
        }
        true
    }

    fn name_what_was_not_given(&mut self) {
        let lost = std::mem::take(&mut self.not_given).len() as u64;
        self.not_given_is_cut = false;
        let named = std::mem::take(&mut self.named_again);
        if lost == 0 {
            return;
        }
        let named = match named.is_empty() {
            true => self.queries.iter().map(|query| Filter::clone(query)).collect(),
            false => named,
        };
        for filter in named {
            let reason = GapReason::NotGiven(lost, self.notice.clone());
            if is_private(&filter) {
                self.outcome.withheld.push(Withheld { filter, reason: reason.to_string() });
            } else {
                self.outcome.gaps.push(Gap { filter, reason });
            }
        }
    }
}
