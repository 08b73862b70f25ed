//! What a run did, as one value: printed as JSON, logged as text, turned into the exit code.
//!
//! The JSON form is described in `schema/backfill-summary.schema.json`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::accounts::{Class, Tally};
use super::difference::Sides;
use crate::import::{Instead, Status};
use crate::node::{Peer, PeerSource};
use crate::nostr::Pubkey;
use crate::relay::{FetchOutcome, Gap, GapReason};
use crate::report::SyncStats;

/// Gaps of one peer that are spelled out; the rest is counted.
const GAPS_NAMED: usize = 20;

/// As the source of a peer: named by an author as a place where they publish.
pub(super) const AUTHOR: &str = "author";

/// Version of the JSON form; raised when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Version of the JSON form; raised when a field changes its meaning or goes away.
    pub version: u32,
    /// Whether everything that peers have is known to be here.
    pub status: Status,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Length of the run.
    pub seconds: f64,
    /// Nothing was imported.
    pub dry_run: bool,
    /// Signatures were checked.
    pub verified: bool,
    /// Earliest second asked for in the recent phase; null is all time.
    pub since: Option<u64>,
    /// Pubkeys asked for.
    pub pubkeys: usize,
    /// Profiles of these pubkeys after the run.
    pub profiles: ProfileCounts,
    /// Events that came in.
    pub received: u64,
    /// What became of them, by class; sums up to `received`.
    pub events: BTreeMap<&'static str, u64>,
    /// Why events were refused, and how many for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Some of those that were superseded, and what is in the database instead.
    pub superseded: Vec<Instead>,
    /// Some of those that were deleted, and by which event.
    pub deleted: Vec<Instead>,
    /// The node's peers.
    pub peers: Vec<PeerSummary>,
    /// Public relays that were asked for profiles found nowhere else.
    pub fallback: Vec<PeerSummary>,
    /// What went wrong beside peers: the import, the profiles file, the log.
    pub errors: Vec<String>,
    /// Statistics of the imported events.
    #[serde(skip)]
    pub stats: SyncStats,
}

/// How many profiles there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProfileCounts {
    /// Pubkeys that have a kind 0 in the database.
    pub found: usize,
    /// Pubkeys that have none.
    pub missing: usize,
    /// The latter, by name.
    pub missing_pubkeys: Vec<Pubkey>,
}

/// How it went with one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerSummary {
    /// The station or host.
    pub name: String,
    /// Where it was asked.
    pub url: String,
    /// Who named it: swarm, command-line, fallback or author.
    pub source: &'static str,
    /// Earliest second that it was asked for in the recent phase; null is all time.
    pub since: Option<u64>,
    /// How it went.
    pub status: PeerStatus,
    /// What is missing and why; at most twenty, see `gap_count`.
    pub gaps: Vec<GapSummary>,
    /// How many parts are missing.
    pub gap_count: usize,
    /// Pages that it answered.
    pub pages: u64,
    /// Events that it sent.
    pub received: u64,
    /// What became of them, by class.
    pub events: BTreeMap<&'static str, u64>,
    /// In a dry run, how it and the database differ in what was asked in the recent phase.
    #[serde(flatten)]
    pub sides: Option<Sides>,
}

/// How it went with one peer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerStatus {
    /// It gave all that was asked.
    Complete,
    /// It gave something, and not all.
    Incomplete,
    /// It gave nothing.
    Failed,
}

/// A part of what was asked that did not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapSummary {
    /// Why.
    pub reason: String,
    /// Number of authors concerned; null if none were named.
    pub authors: Option<usize>,
    /// The kinds concerned.
    pub kinds: Vec<u64>,
    /// From this second on.
    pub since: Option<u64>,
    /// Up to this second.
    pub until: Option<u64>,
}

impl PeerSummary {
    pub(super) fn new(
        peer: &Peer,
        since: Option<u64>,
        outcome: &FetchOutcome,
        tally: &Tally,
    ) -> Self {
        Self {
            name: peer.name.clone(),
            url: peer.address().to_owned(),
            source: match peer.source {
                PeerSource::Swarm { .. } => "swarm",
                PeerSource::CommandLine => "command-line",
                PeerSource::Fallback => "fallback",
                PeerSource::Author => AUTHOR,
            },
            since,
            status: status_of(outcome),
            gaps: gaps_of(outcome),
            gap_count: outcome.gaps.len(),
            pages: outcome.pages,
            received: tally.received(),
            events: tally.by_class(),
            sides: None,
        }
    }

    /// The reasons of its gaps, each once.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = self.gaps.iter().map(|gap| gap.reason.as_str()).collect();
        reasons.dedup();
        reasons.join("; ")
    }
}

/// How it went, in a word.
pub(super) fn status_of(outcome: &FetchOutcome) -> PeerStatus {
    if outcome.gaps.is_empty() {
        PeerStatus::Complete
    } else if outcome.failed() && !is_all_stopped(outcome) {
        PeerStatus::Failed
    } else {
        PeerStatus::Incomplete
    }
}

/// The first gaps, spelled out.
pub(super) fn gaps_of(outcome: &FetchOutcome) -> Vec<GapSummary> {
    let gap = |gap: &Gap| GapSummary {
        reason: gap.reason.to_string(),
        authors: gap.filter.authors.as_ref().map(Vec::len),
        kinds: gap.filter.kinds.clone().unwrap_or_default(),
        since: gap.filter.since,
        until: gap.filter.until,
    };
    outcome.gaps.iter().take(GAPS_NAMED).map(gap).collect()
}

/// A peer that the run itself turned away from has not failed.
fn is_all_stopped(outcome: &FetchOutcome) -> bool {
    outcome.gaps.iter().all(|gap| gap.reason == GapReason::Stopped)
}

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

    /// Peers that gave all that was asked.
    pub fn complete_peers(&self) -> usize {
        self.peers.iter().filter(|peer| peer.status == PeerStatus::Complete).count()
    }
}
