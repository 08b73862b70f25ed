//! What is known of how a peer wants to be asked. Learned from what it does; kept for the run.

use super::by_id::IdLimits;
use super::limits::PEERS_MESSAGE;

/// How a peer wants to be asked.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    pub(super) comparing: Comparing,
    pub(super) ids: IdLimits,
    /// Bytes of a message that it takes.
    pub(super) max_message: usize,
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
        Self { comparing: Comparing::Untried, ids: IdLimits::default(), max_message: PEERS_MESSAGE }
    }
}
