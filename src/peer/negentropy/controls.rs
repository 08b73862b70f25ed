//! Control comparisons: of what most relays keep of a few authors, to see whether this peer compares
//! truly.

use std::collections::BTreeSet;

use super::{Negentropy, OpenComparison, Purpose, Query, Round};
use crate::nostr::{Filter, Pubkey, kind};
use crate::peer::limits::CONTROL_AUTHORS;
use crate::peer::message;
use crate::peer::peer_limits::PeerLimits;

/// Most control comparisons of one peer.
pub(super) const CONTROLS: usize = 2;

/// Most authors have published these, and relays keep the latest of each.
const LASTING_KINDS: [u64; 2] = [kind::PROFILE, kind::RELAY_LIST];

impl Negentropy {
    /// Where no answer has shown that the peer has anything: compares profiles and the like of a few
    /// authors, whenever they were published. A peer that is not seen to have any may compare with
    /// an empty set, whatever it has. False: that has been done, or need not or cannot be.
    pub(in crate::peer) fn control(&mut self, limits: &PeerLimits) -> bool {
        if limits.compares_truly || self.compared.is_empty() {
            return false;
        }
        let compared: Vec<&Filter> =
            self.compared.iter().map(|compared| &*compared.filter).collect();
        let control = next_control(&mut self.controls, &compared);
        let is_some = control.is_some();
        self.waiting.extend(control);
        is_some
    }

    /// Puts a control before the first comparison, if nothing is here of what that is about: it will
    /// probably show nothing, and far away a round takes as long as all the rest.
    pub(super) fn control_early(&mut self, first: &Filter, limits: &PeerLimits) {
        if limits.compares_truly || self.controls > 0 || !self.compared.is_empty() {
            return;
        }
        let waiting = self.waiting.iter().map(|query| &*query.filter);
        let all: Vec<&Filter> = std::iter::once(first).chain(waiting).collect();
        if let Some(control) = next_control(&mut self.controls, &all) {
            self.waiting.push_front(control);
        }
    }

    /// Until the peer has shown something, or that it has nothing.
    pub(super) fn go_on_with_control(
        &mut self,
        open: OpenComparison,
        next: Option<Vec<u8>>,
    ) -> Round {
        let held = next.filter(|_| !self.has_something);
        let send = held.is_none().then(|| message::neg_close(&open.subscription));
        if held.is_some() {
            self.open.push(OpenComparison { held, ..open });
        }
        Round { send, ..Round::default() }
    }
}

/// The next control of what is compared that can be made, if `made` have been.
fn next_control(made: &mut usize, compared: &[&Filter]) -> Option<Query> {
    let is_lasting = |kind: &u64| LASTING_KINDS.contains(kind);
    let is_public = |kind: &u64| ![kind::DIRECT_MESSAGE, kind::GIFT_WRAP].contains(kind);
    while *made < CONTROLS {
        *made += 1;
        // Where nothing is here of the few that last, all kinds count.
        let control = match *made {
            1 => control_of(compared, is_lasting),
            _ => control_of(compared, is_public),
        };
        if let Some(filter) = control {
            return Some(Query::new(filter.into(), Purpose::Control));
        }
    }
    None
}

/// A small comparison of what most authors have published and relays keep for good, without regard
/// to time. `None`: that was not asked about.
fn control_of(compared: &[&Filter], is_of_use: impl Fn(&u64) -> bool) -> Option<Filter> {
    let asked = compared.iter().flat_map(|filter| filter.kinds.iter().flatten());
    let kinds: BTreeSet<u64> = asked.copied().filter(is_of_use).collect();
    let all = compared.iter().flat_map(|filter| filter.authors.iter().flatten());
    let authors: BTreeSet<Pubkey> = all.copied().collect();
    let step = authors.len().div_ceil(CONTROL_AUTHORS).max(1);
    // Those of all queries: one author who is there is enough.
    let authors: Vec<Pubkey> = authors.into_iter().step_by(step).collect();
    let is_useful = !kinds.is_empty() && !authors.is_empty();
    is_useful.then(|| Filter {
        authors: Some(authors),
        kinds: Some(kinds.into_iter().collect()),
        until: compared.iter().filter_map(|filter| filter.until).max(),
        ..Filter::default()
    })
}
