//! Is every event genuine: those of a database, or of JSON lines, on all cores.
//!
//! Reads in bounded batches and checks each with no snapshot open. Says what is wrong with which
//! event; changes nothing.

mod database;
mod judge;
mod lines;

pub use database::{judge_stored, verify_database, verify_matches};
pub use judge::{Defect, judge};
pub use lines::{LINE_BYTES, verify_lines};

use crate::nostr::EventId;

/// An event that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Offender {
    /// Its id as claimed, if it can be read.
    pub id: Option<EventId>,
    /// Where it is in a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lev_id: Option<u64>,
    /// Where it is among lines; the first is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: Defect,
}

/// What came of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Events that were looked at.
    pub events: u64,
    /// Those of them that are not as they should be, in the order of the input.
    pub offenders: Vec<Offender>,
}
