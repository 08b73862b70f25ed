//! What an import did, as one value: printed as JSON or in words, turned into the exit code.
//!
//! The JSON form is described in `schema/import-summary.schema.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::accounts::{Class, Status};
use super::child::Form;
use super::fate::Fate;
use super::limits::EXAMPLES;
use crate::nostr::EventId;

/// Version of the JSON form; raised when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// A whole import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Version of the JSON form; raised when a field changes its meaning or goes away.
    pub version: u32,
    /// Whether every event is in the database, or was superseded, deleted or left out on purpose.
    pub status: Status,
    /// Length of the import.
    pub seconds: f64,
    /// Nothing was imported.
    pub dry_run: bool,
    /// Signatures were checked.
    pub verified: bool,
    /// The form in which strfry was given events.
    pub form: Form,
    /// Events that came in: lines that are not blank.
    pub received: u64,
    /// What became of them, by class; sums up to `received`.
    pub events: BTreeMap<&'static str, u64>,
    /// Why events were refused, and how many for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Some of those that were superseded, and what is in the database instead.
    pub superseded: Vec<Instead>,
    /// Some of those that were deleted, and by which event.
    pub deleted: Vec<Instead>,
    /// Bytes that strfry has written, where Linux counts them for us.
    pub bytes_written: Option<u64>,
    /// What is worth knowing, and makes nothing incomplete.
    pub notices: Vec<String>,
    /// What went wrong beside events: an input, strfry, the file of rejects.
    pub errors: Vec<String>,
}

/// An event that is not in the database, and the event that is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Instead {
    /// The event that came in.
    pub id: EventId,
    /// The event that won, or deleted it.
    pub by: EventId,
}

/// Examples of superseded and deleted events.
#[derive(Debug, Default)]
pub struct Examples {
    /// Events that were superseded, and what is in the database instead.
    pub superseded: Vec<Instead>,
    /// Events that were deleted, and by which event.
    pub deleted: Vec<Instead>,
}

impl Examples {
    /// Takes an event with such a fate, if there are not enough of it.
    pub fn add(&mut self, id: EventId, fate: &Fate) {
        let (list, by) = match *fate {
            Fate::Superseded(by) => (&mut self.superseded, by),
            Fate::Deleted(by) => (&mut self.deleted, by),
            _ => return,
        };
        if list.len() < EXAMPLES {
            list.push(Instead { id, by });
        }
    }
}

/// Classes of events that an operator who imports them wants to hear of: they are not in the
/// database, and neither strfry's rules of replacing nor the operator's own say that this is right.
const AMISS: &[Class] = &[
    Class::Rejected,
    Class::NotConfirmed,
    Class::Malformed,
    Class::TooNew,
    Class::Oversize,
    Class::BadId,
    Class::BadSignature,
    Class::Dropped,
];

impl Summary {
    /// Events that ended in this class.
    pub fn events_of(&self, class: Class) -> u64 {
        self.events.get(class.name()).copied().unwrap_or(0)
    }

    /// Names and counts of the classes that occur, in the order of [`Class::ALL`].
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counted = |class: &Class| Some((class.name(), *self.events.get(class.name())?));
        Class::ALL.iter().filter_map(counted)
    }

    /// What the counts and errors say of how the import ended, if strfry took it all.
    pub(super) fn judged(&self) -> Status {
        let amiss = AMISS.iter().any(|&class| self.events_of(class) > 0);
        if amiss || !self.errors.is_empty() { Status::Incomplete } else { Status::Complete }
    }
}
