//! What is known of how a peer wants to be asked, and of how far its answers can be relied on:
//! what it says of itself, corrected by what it does. Kept for the run.

use super::id_fetch::IdLimits;
use super::info::RelayInfo;
use super::limits::{
    FIRST_ROUND, FRAME_OVERHEAD, IDS_PER_FILTER, KEY_IN_FILTER, KIND_IN_FILTER, LARGEST_PAGE, PAGE,
    PARALLEL_COMPARISONS, PARALLEL_ID_REQUESTS, PARALLEL_SUBSCRIPTIONS, PEERS_MESSAGE,
    SMALLEST_MESSAGE, SMALLEST_PAGE_LIMIT,
};
use super::pager::paged_query::{LeftOut, Order};
use super::pager::size::{Proven, Sizes};

/// How a peer wants to be asked, and how it answers.
#[derive(Debug, Clone)]
pub(super) struct PeerLimits {
    pub(super) comparing: Comparing,
    /// The peer says that it does; that is not known before it has been tried.
    pub(super) says_it_compares: bool,
    /// It says that it is a strfry that keeps a tree of all its events for comparisons.
    pub(super) keeps_trees: bool,
    /// A comparison has shown that it has something: what it shows is no empty set.
    pub(super) compares_truly: bool,
    pub(super) ids: IdLimits,
    /// Events to ask for in one page.
    pub(super) page: u64,
    /// How large a question it answers.
    pub(super) sizes: Sizes,
    /// Requests for pages that may be open at once, beside comparisons or not.
    pub(super) parallel: usize,
    /// Comparisons that may be open at once.
    pub(super) comparisons: usize,
    /// Requests by id that may be open beside them.
    pub(super) parallel_ids: usize,
    /// Bytes of a message that it takes.
    pub(super) max_message: usize,
    /// How often it has complained that it is asked too often: pauses grow with it.
    pub(super) complaints: u32,
    /// Which of its events it gives when it does not give all.
    pub(super) order: Order,
    /// Sizes at which it has been seen to keep to that order.
    pub(super) ordered: Proven,
    /// Bounds of time that it leaves out.
    pub(super) left_out: LeftOut,
    /// Sizes at which it has given something.
    pub(super) given: Proven,
    pub(super) says_nothing: SaysNothing,
    /// Sizes at which smaller questions have found nothing either.
    pub(super) confirmed: Proven,
    /// Events in the largest page that it has given.
    pub(super) largest_page: usize,
    /// Asked for more than so many at once, whatever they are, it has given no more.
    pub(super) cap_sought: usize,
}

/// Whether a peer compares (NIP-77).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparing {
    Untried,
    Works,
    Refused,
}

/// Whether it is true when a peer that has given nothing says that it has nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SaysNothing {
    NotKnown,
    Truly,
    Falsely,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            comparing: Comparing::Untried,
            says_it_compares: false,
            keeps_trees: false,
            compares_truly: false,
            ids: IdLimits::default(),
            page: PAGE,
            sizes: Sizes::default(),
            parallel: PARALLEL_SUBSCRIPTIONS,
            comparisons: PARALLEL_SUBSCRIPTIONS,
            parallel_ids: PARALLEL_ID_REQUESTS,
            max_message: PEERS_MESSAGE,
            complaints: 0,
            order: Order::default(),
            ordered: Proven::default(),
            left_out: LeftOut::default(),
            given: Proven::default(),
            says_nothing: SaysNothing::NotKnown,
            confirmed: Proven::default(),
            largest_page: 0,
            cap_sought: 0,
        }
    }
}

impl PeerLimits {
    /// What a relay says of itself, as far as that is plausible: a limit that would make asking
    /// useless is not believed.
    pub(super) fn learn(&mut self, info: &RelayInfo) {
        let number = |limit: Option<u64>| limit.and_then(|limit| usize::try_from(limit).ok());
        self.says_it_compares = info.says_it_compares() == Some(true);
        self.keeps_trees = keeps_trees(info);
        if info.says_it_compares() == Some(false) && self.comparing == Comparing::Untried {
            self.comparing = Comparing::Refused;
        }
        if let Some(limit) = number(info.max_message_length) {
            self.max_message = limit.max(SMALLEST_MESSAGE);
        }
        let smallest = u64::try_from(SMALLEST_PAGE_LIMIT).unwrap_or(1);
        if let Some(limit) = info.max_limit {
            self.page = limit.clamp(smallest, LARGEST_PAGE);
        }
        let per_request =
            usize::try_from(self.page).map_or(IDS_PER_FILTER, |page| page.min(IDS_PER_FILTER));
        let in_message = self.max_message.saturating_sub(FRAME_OVERHEAD) / KEY_IN_FILTER;
        self.ids = IdLimits::bounded(per_request.min(in_message));
        if let Some(limit) = number(info.max_subscriptions) {
            self.parallel = (limit / 2).clamp(1, PARALLEL_SUBSCRIPTIONS);
            self.comparisons = (limit / 2).clamp(1, PARALLEL_COMPARISONS);
            self.parallel_ids =
                limit.saturating_sub(self.comparisons).clamp(1, PARALLEL_ID_REQUESTS);
        }
    }

    /// Authors that fit into one message beside so many kinds and the first round of a comparison.
    pub(super) fn authors_in_message(&self, kinds: usize) -> u64 {
        let others = kinds * KIND_IN_FILTER + FIRST_ROUND + FRAME_OVERHEAD;
        (self.max_message.saturating_sub(others) / KEY_IN_FILTER).max(1) as u64
    }

    /// The peer wants to be asked less often.
    pub(super) fn slow_down(&mut self) {
        self.complaints = self.complaints.saturating_add(1);
        self.parallel = (self.parallel / 2).max(1);
        self.comparisons = (self.comparisons / 2).max(1);
        self.parallel_ids = (self.parallel_ids / 2).max(1);
    }
}

/// strfry does from 1.0 on.
fn keeps_trees(info: &RelayInfo) -> bool {
    let is_strfry = info.software.as_deref().is_some_and(|it| it.contains("strfry"));
    is_strfry && !info.version.as_deref().is_some_and(|version| version.starts_with("0."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(info: RelayInfo) -> PeerLimits {
        let mut limits = PeerLimits::default();
        limits.learn(&info);
        limits
    }

    #[test]
    fn only_a_strfry_from_1_0_on_keeps_a_tree_of_all_its_events() {
        let keeps = |software: Option<&str>, version: Option<&str>| {
            let [software, version] = [software, version].map(|it| it.map(str::to_owned));
            learned(RelayInfo { software, version, ..RelayInfo::default() }).keeps_trees
        };
        let strfry = Some("git+https://github.com/hoytech/strfry.git");
        for version in [Some("1.0.4"), Some("1.1.1-5-gabcdef0"), Some("no-git-commits"), None] {
            assert!(keeps(strfry, version), "{version:?}");
        }
        assert!(!keeps(strfry, Some("0.9.7")));
        assert!(!keeps(Some("git+https://example.com/another"), Some("1.0.4")));
        assert!(!keeps(None, Some("1.0.4")));
    }

    #[test]
    fn requests_fit_what_a_relay_says() {
        let limits = learned(RelayInfo {
            max_limit: Some(50),
            max_subscriptions: Some(3),
            max_message_length: Some(20_000),
            ..RelayInfo::default()
        });
        assert_eq!((limits.page, limits.parallel, limits.parallel_ids), (50, 1, 2));
        assert_eq!((limits.comparisons, limits.ids.per_request()), (1, 50));
        assert!(limits.authors_in_message(57) as usize * KEY_IN_FILTER < 20_000);
    }

    #[test]
    fn limits_that_make_no_sense_are_not_believed() {
        let zero = learned(RelayInfo {
            max_limit: Some(0),
            max_subscriptions: Some(0),
            max_message_length: Some(0),
            ..RelayInfo::default()
        });
        assert_eq!((zero.page, zero.parallel, zero.parallel_ids), (20, 1, 1));
        assert_eq!((zero.comparisons, zero.ids.per_request()), (1, 20));
        let endless = learned(RelayInfo {
            max_limit: Some(u64::MAX),
            max_subscriptions: Some(u64::MAX),
            max_message_length: Some(u64::MAX),
            ..RelayInfo::default()
        });
        assert_eq!((endless.page, endless.ids.per_request()), (LARGEST_PAGE, IDS_PER_FILTER));
        assert_eq!((endless.parallel, endless.comparisons, endless.parallel_ids), (4, 16, 4));
    }
}
