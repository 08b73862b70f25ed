//! What is known of how a peer wants to be asked: what it says of itself, corrected by what it
//! does. Kept for the run.

use super::by_id::IdLimits;
use super::info::RelayInfo;
use super::limits::{
    FILTERS, FRAME_OVERHEAD, IDS_PER_FILTER, KEY_IN_FILTER, LARGEST_PAGE, PAGE,
    PARALLEL_COMPARISONS, PARALLEL_ID_REQUESTS, PARALLEL_SUBSCRIPTIONS, PEERS_MESSAGE,
    SMALLEST_MESSAGE, SMALLEST_PAGE_LIMIT,
};
use super::page_request::PageLimits;

/// How a peer wants to be asked.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    pub(super) comparing: Comparing,
    /// The peer says that it does; that is not known before it has been tried.
    pub(super) says_it_compares: bool,
    pub(super) ids: IdLimits,
    /// Events to ask for in one page.
    pub(super) page: u64,
    /// Pages that may be asked for in one request.
    pub(super) pages: usize,
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
}

/// Whether a peer compares (NIP-77).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparing {
    Untried,
    Works,
    Refused,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            comparing: Comparing::Untried,
            says_it_compares: false,
            ids: IdLimits::default(),
            page: PAGE,
            pages: FILTERS,
            parallel: PARALLEL_SUBSCRIPTIONS,
            comparisons: PARALLEL_SUBSCRIPTIONS,
            parallel_ids: PARALLEL_ID_REQUESTS,
            max_message: PEERS_MESSAGE,
            complaints: 0,
        }
    }
}

impl Manners {
    /// What a relay says of itself, as far as that is plausible: a limit that would make asking
    /// useless is not believed.
    pub(super) fn learn(&mut self, info: &RelayInfo) {
        let number = |limit: Option<u64>| limit.and_then(|limit| usize::try_from(limit).ok());
        self.says_it_compares = info.says_it_compares() == Some(true);
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
        let per_filter =
            usize::try_from(self.page).map_or(IDS_PER_FILTER, |page| page.min(IDS_PER_FILTER));
        let filters = number(info.max_filters).unwrap_or(FILTERS).max(1);
        self.pages = filters;
        let in_message = self.max_message.saturating_sub(FRAME_OVERHEAD) / KEY_IN_FILTER;
        self.ids = IdLimits {
            per_filter: per_filter.min(in_message).max(1),
            most: per_filter.min(in_message).max(1),
            filters: (in_message.min(IDS_PER_FILTER) / per_filter.max(1)).clamp(1, filters),
        };
        if let Some(limit) = number(info.max_subscriptions) {
            self.parallel = (limit / 2).clamp(1, PARALLEL_SUBSCRIPTIONS);
            self.comparisons = (limit / 2).clamp(1, PARALLEL_COMPARISONS);
            self.parallel_ids =
                limit.saturating_sub(self.comparisons).clamp(1, PARALLEL_ID_REQUESTS);
        }
    }

    pub(super) fn page_limits(&self) -> PageLimits {
        PageLimits { filters: self.pages, max_message: self.max_message }
    }

    /// The peer wants to be asked less often.
    pub(super) fn slow_down(&mut self) {
        self.complaints = self.complaints.saturating_add(1);
        self.parallel = (self.parallel / 2).max(1);
        self.comparisons = (self.comparisons / 2).max(1);
        self.parallel_ids = (self.parallel_ids / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(info: RelayInfo) -> Manners {
        let mut manners = Manners::default();
        manners.learn(&info);
        manners
    }

    #[test]
    fn requests_fit_what_a_relay_says() {
        let manners = learned(RelayInfo {
            max_limit: Some(50),
            max_subscriptions: Some(3),
            max_message_length: Some(20_000),
            max_filters: Some(4),
            ..RelayInfo::default()
        });
        assert_eq!((manners.page, manners.parallel, manners.parallel_ids), (50, 1, 2));
        assert_eq!(manners.comparisons, 1);
        assert_eq!((manners.ids.per_filter, manners.ids.filters, manners.pages), (50, 4, 4));
        assert!(manners.ids.per_request() * KEY_IN_FILTER < 20_000);
    }

    #[test]
    fn limits_that_make_no_sense_are_not_believed() {
        let zero = learned(RelayInfo {
            max_limit: Some(0),
            max_subscriptions: Some(0),
            max_message_length: Some(0),
            max_filters: Some(0),
            ..RelayInfo::default()
        });
        assert_eq!((zero.page, zero.parallel, zero.parallel_ids), (20, 1, 1));
        assert_eq!(zero.comparisons, 1);
        assert_eq!((zero.ids.per_filter, zero.ids.filters, zero.pages), (20, 1, 1));
        let endless = learned(RelayInfo {
            max_limit: Some(u64::MAX),
            max_subscriptions: Some(u64::MAX),
            max_message_length: Some(u64::MAX),
            max_filters: Some(u64::MAX),
            ..RelayInfo::default()
        });
        assert_eq!((endless.page, endless.ids.per_request()), (LARGEST_PAGE, IDS_PER_FILTER));
        assert_eq!((endless.parallel, endless.comparisons, endless.parallel_ids), (4, 16, 4));
    }
}
