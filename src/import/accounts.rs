//! Every event that came in ends in exactly one class; this counts them, by peer or for a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::limits::REASONS;

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident: $name:literal,)*) => {
        /// What became of an event that came in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Class {
            $($(#[$doc])* $class,)*
        }

        impl Class {
            /// All classes, in the order in which a summary shows them.
            pub const ALL: &[Self] = &[$(Self::$class),*];

            /// As the summary names it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                }
            }
        }
    };
}

classes! {
    /// Given to strfry and found in the database afterwards.
    Imported: "imported",
    /// Genuine and missing here, in a dry run.
    WouldImport: "would_import",
    /// In the database already.
    AlreadyPresent: "already_present",
    /// Another copy of an event that came into the database, or was on its way there, during this
    /// run.
    Duplicate: "duplicate",
    /// The database holds a newer replaceable event in its place.
    Superseded: "superseded",
    /// Its author has deleted it.
    Deleted: "deleted",
    /// NIP-40: its time is over.
    Expired: "expired",
    /// Dated further ahead than the relay takes events, or so far that strfry cannot query it.
    TooNew: "too_new",
    /// strfry did not take it, and says why.
    Rejected: "rejected",
    /// Given to strfry and not in the database; given twice or more, unless the run ended before.
    NotConfirmed: "not_confirmed",
    /// Not an event as strfry defines it.
    Malformed: "malformed",
    /// Larger than `events.maxEventSize`, or than any message of a peer that is read.
    Oversize: "oversize",
    /// Its id is not the hash of its text.
    BadId: "bad_id",
    /// Its signature is not its author's.
    BadSignature: "bad_signature",
    /// Not what was asked for.
    Unasked: "unasked",
    /// Its author is on the blacklist.
    Blacklisted: "blacklisted",
    /// Of a kind that is not meant to be stored.
    Ephemeral: "ephemeral",
    /// The greeting of a node's robot to strangers, which is left out.
    Greeting: "greeting",
    /// The run ended before it could be given to strfry.
    Dropped: "dropped",
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All that was to come came, and all of it is accounted for.
    Complete,
    /// Finished, but something is missing; it is named.
    Incomplete,
    /// The import could not be brought to its end.
    Failed,
}

/// Counts of one peer or run, shared between whoever reads the events and the checks.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [AtomicU64; Class::ALL.len()],
    received: AtomicU64,
    reasons: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    /// An event came in.
    pub fn receive(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Events that have ended in a class by now.
    pub fn settled(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// An event that came in ends in this class.
    pub fn count(&self, class: Class) {
        if let Some(count) = self.counts.get(class as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Tally::count`], with the reason.
    pub fn count_because(&self, class: Class, reason: impl ToString) {
        self.count(class);
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reason = format!("{}: {}", class.name(), reason.to_string());
        if reasons.len() >= REASONS && !reasons.contains_key(&reason) {
            reason = "other reasons".to_owned();
        }
        *reasons.entry(reason).or_default() += 1;
    }

    /// How many events ended in this class so far.
    pub fn of(&self, class: Class) -> u64 {
        self.counts.get(class as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many events came in so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Events that are not what they claim to be.
    pub fn forged(&self) -> u64 {
        self.of(Class::BadId) + self.of(Class::BadSignature)
    }

    /// Class names and their counts, those that are zero left out.
    pub fn by_class(&self) -> BTreeMap<&'static str, u64> {
        Class::ALL
            .iter()
            .map(|&class| (class.name(), self.of(class)))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// Reasons of refusals and how often each.
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_reasons_are_kept_by_class() {
        let tally = Tally::default();
        tally.receive();
        tally.receive();
        tally.count(Class::Imported);
        tally.count_because(Class::Malformed, "too few fields in tag");
        assert_eq!(tally.by_class(), BTreeMap::from([("imported", 1), ("malformed", 1)]));
        let reasons = BTreeMap::from([("malformed: too few fields in tag".to_owned(), 1)]);
        assert_eq!(tally.reasons(), reasons);
        assert_eq!(tally.received(), 2);
    }

    #[test]
    fn a_peer_that_invents_reasons_does_not_fill_the_memory() {
        let tally = Tally::default();
        for number in 0..1_000 {
            tally.count_because(Class::Malformed, number);
        }
        let reasons = tally.reasons();
        assert_eq!(reasons.len(), REASONS + 1);
        assert_eq!(reasons.values().sum::<u64>(), 1_000);
    }
}
