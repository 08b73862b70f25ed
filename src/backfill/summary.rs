//! What a run did, as one value: printed as JSON, logged as text, turned into the exit code.
//!
//! The JSON form is described in `schema/backfill-summary.schema.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::accounts::{Class, Tally};
use super::difference::Sides;
use super::gained::Gained;
use super::holes::UNSETTLED;
use crate::import::{Instead, Status};
use crate::node::{Peer, PeerSource};
use crate::nostr::Pubkey;
use crate::peer::{Cause, FetchOutcome, Gap, GapReason};
use crate::report::SyncStats;

/// Gaps of one peer that are spelled out; the rest is counted.
const GAPS_NAMED: usize = 20;

/// As the source of a peer: named by an author as a place where they publish.
const AUTHOR: &str = "author";

/// As the source of a peer: a public relay.
const FALLBACK: &str = "fallback";

/// Version of the JSON form; raised when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// What people are told of [`Summary::silent_fallback`].
pub const NO_FALLBACK_ANSWERED: &str = "No public relay answered about the missing profiles";

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
    /// Earliest second of the last `--days`; null is all time.
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
    /// What came into the database.
    pub gained: Gained,
    /// Bytes that strfry has written, where Linux counts them for us.
    pub bytes_written: Option<u64>,
    /// What is worth knowing, and makes nothing incomplete.
    pub notices: Vec<String>,
    /// How long its parts took, in their order.
    pub phases: Vec<PhaseSummary>,
    /// The most memory that the process had at once, in bytes; null if that is not known.
    pub peak_memory: Option<u64>,
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
    /// Pubkeys that had none when the run began, and have one now.
    pub recovered: usize,
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseSummary {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// How it went with one peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerSummary {
    /// The station or host.
    pub name: String,
    /// Where it was asked.
    pub url: String,
    /// Who named it: swarm, command-line, fallback or author.
    pub source: &'static str,
    /// Earliest second that it was asked for; null is all time.
    pub since: Option<u64>,
    /// How it went.
    pub status: PeerStatus,
    /// What is missing and why; at most twenty, see `gap_count`.
    pub gaps: Vec<GapSummary>,
    /// How many parts are missing.
    pub gap_count: usize,
    /// What it keeps for the parties to it: not missing, for nobody else can have it.
    pub withheld: Vec<WithheldSummary>,
    /// How long it was talked to.
    pub seconds: f64,
    /// Pages that it answered.
    pub pages: u64,
    /// Events that it sent.
    pub received: u64,
    /// What became of them, by class.
    pub events: BTreeMap<&'static str, u64>,
    /// In a dry run, how it and the database differ in what was asked.
    #[serde(flatten)]
    pub sides: Option<Sides>,
}

/// How it went with one peer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerStatus {
    /// All that it was asked for is here, or withheld.
    Complete,
    /// It gave something, and not all.
    Incomplete,
    /// It gave nothing.
    Failed,
}

/// What a peer gives only to the parties to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WithheldSummary {
    /// The kinds concerned.
    pub kinds: Vec<u64>,
    /// Why, in its words or ours.
    pub reason: String,
}

impl fmt::Display for WithheldSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(u64::to_string).collect();
        let kinds = match kinds.as_slice() {
            [] => "some events".to_owned(),
            [kind] => format!("kind {kind}"),
            kinds => format!("kinds {}", kinds.join(" ")),
        };
        write!(f, "{kinds}, for the parties to them only: {}", self.reason)
    }
}

/// A part of what was asked that did not come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapSummary {
    /// Why.
    pub reason: String,
    /// The same in parts.
    pub cause: Cause,
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
    pub(super) fn new(peer: &Peer, outcome: &FetchOutcome, tally: &Tally) -> Self {
        Self {
            name: peer.name.clone(),
            url: peer.address().to_owned(),
            source: match peer.source {
                PeerSource::Swarm { .. } => "swarm",
                PeerSource::CommandLine => "command-line",
                PeerSource::Fallback => FALLBACK,
                PeerSource::Author => AUTHOR,
            },
            since: None,
            status: status_of(outcome),
            gaps: gaps_of(outcome),
            gap_count: outcome.gaps.len(),
            withheld: withheld_of(outcome),
            seconds: 0.0,
            pages: outcome.pages,
            received: tally.received(),
            events: tally.by_class(),
            sides: None,
        }
    }

    /// The same if it is known what it owes: `unsettled` events that it gave are not in the
    /// database, or `is_complete`.
    pub(super) fn lacking(mut self, is_complete: bool, unsettled: u64, tally: &Tally) -> Self {
        if unsettled > 0 {
            let classes = UNSETTLED.iter().map(|&class| (class.name(), tally.of(class)));
            let classes = classes.filter(|&(_, count)| count > 0);
            let classes: Vec<_> = classes
                .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
                .collect();
            let reason = format!(
                "{unsettled} events that it gave are not in the database ({})",
                classes.join(", ")
            );
            self.lack(reason, Cause::counted("unsettled", unsettled));
        } else if !is_complete && self.gaps.is_empty() {
            let reason = "too many events that came are not in the database".to_owned();
            self.lack(reason, Cause::named("too_many_unsettled"));
        }
        if !is_complete {
            self.status = self.status.max(PeerStatus::Incomplete);
        }
        self
    }

    fn lack(&mut self, reason: String, cause: Cause) {
        self.gap_count += 1;
        self.gaps.truncate(GAPS_NAMED - 1);
        let (authors, kinds) = (None, Vec::new());
        self.gaps.push(GapSummary { reason, cause, authors, kinds, since: None, until: None });
    }

    /// The reasons of its gaps, each once.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        for gap in &self.gaps {
            if !reasons.contains(&gap.reason.as_str()) {
                reasons.push(&gap.reason);
            }
        }
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
        cause: Cause::from(&gap.reason),
        authors: gap.filter.authors.as_ref().map(Vec::len),
        kinds: gap.filter.kinds.clone().unwrap_or_default(),
        since: gap.filter.since,
        until: gap.filter.until,
    };
    outcome.gaps.iter().take(GAPS_NAMED).map(gap).collect()
}

/// What it withholds, each kind and reason once.
pub(super) fn withheld_of(outcome: &FetchOutcome) -> Vec<WithheldSummary> {
    let mut kinds: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for withheld in &outcome.withheld {
        let of_filter = withheld.filter.kinds.iter().flatten();
        kinds.entry(&withheld.reason).or_default().extend(of_filter);
    }
    let summary = |(reason, kinds): (&str, BTreeSet<u64>)| WithheldSummary {
        kinds: kinds.into_iter().collect(),
        reason: reason.to_owned(),
    };
    kinds.into_iter().take(GAPS_NAMED).map(summary).collect()
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

    /// Public relays, if a profile is missing and none of them answered anything about it: the profile
    /// may be there.
    pub fn silent_fallback(&self) -> Vec<&PeerSummary> {
        silent_fallback(&self.fallback, self.profiles.missing)
    }

    /// Peers that gave all that was asked.
    pub fn complete_peers(&self) -> usize {
        self.peers.iter().filter(|peer| peer.status == PeerStatus::Complete).count()
    }
}

fn silent_fallback(asked: &[PeerSummary], missing: usize) -> Vec<&PeerSummary> {
    let public: Vec<_> = asked.iter().filter(|relay| relay.source == FALLBACK).collect();
    let is_silent = public.iter().all(|relay| relay.status == PeerStatus::Failed);
    if missing > 0 && is_silent { public } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::explicit_peer;
    use crate::nostr::Filter;
    use crate::peer::Withheld;

    fn of_kinds(kinds: &[u64]) -> Filter {
        Filter { kinds: Some(kinds.to_vec()), ..Filter::default() }
    }

    #[test]
    fn what_a_peer_withholds_is_told_once_and_is_not_missing() {
        let peer = explicit_peer("wss://peer.example").unwrap();
        let withheld =
            |kind, reason: &str| Withheld { filter: of_kinds(&[kind]), reason: reason.to_owned() };
        let outcome = FetchOutcome {
            complete: 1,
            withheld: vec![
                withheld(1059, "auth-required: no"),
                withheld(4, "auth-required: no"),
                withheld(4, "auth-required: no"),
                withheld(4, "left out"),
            ],
            ..FetchOutcome::default()
        };
        let tally = Tally::default();
        let summary = PeerSummary::new(&peer, &outcome, &tally).lacking(true, 0, &tally);
        assert_eq!((summary.status, summary.gap_count), (PeerStatus::Complete, 0));
        let told: Vec<String> = summary.withheld.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "kinds 4 1059, for the parties to them only: auth-required: no",
                "kind 4, for the parties to them only: left out",
            ]
        );
    }

    #[test]
    fn public_relays_are_silent_if_none_answered_and_a_profile_is_missing() {
        let relay = |source, status| {
            let peer = explicit_peer("wss://relay.example").unwrap();
            let summary = PeerSummary::new(&peer, &FetchOutcome::default(), &Tally::default());
            PeerSummary { source, status, ..summary }
        };
        let silent = |missing, relays: &[(&'static str, PeerStatus)]| {
            let fallback: Vec<_> =
                relays.iter().map(|&(source, status)| relay(source, status)).collect();
            silent_fallback(&fallback, missing).len()
        };
        let (gone, well) = (PeerStatus::Failed, PeerStatus::Complete);
        assert_eq!(silent(1, &[(FALLBACK, gone), (FALLBACK, gone), (AUTHOR, well)]), 2);
        assert_eq!(silent(0, &[(FALLBACK, gone)]), 0);
        assert_eq!(silent(1, &[(FALLBACK, gone), (FALLBACK, well)]), 0);
        assert_eq!(silent(1, &[(FALLBACK, gone), (FALLBACK, PeerStatus::Incomplete)]), 0);
        assert_eq!(silent(1, &[(AUTHOR, gone)]), 0);
    }

    #[test]
    fn a_peer_whose_events_are_not_in_the_database_has_not_given_all() {
        let peer = explicit_peer("wss://peer.example").unwrap();
        let (outcome, tally) = (FetchOutcome::default(), Tally::default());
        tally.count(Class::Rejected);
        tally.count(Class::NotConfirmed);
        tally.count(Class::NotConfirmed);
        let lacking = |is_complete, unsettled| {
            let summary = PeerSummary::new(&peer, &outcome, &tally);
            let summary = summary.lacking(is_complete, unsettled, &tally);
            (summary.status, summary.gap_count, summary.reasons())
        };
        let why = "3 events that it gave are not in the database (2 not confirmed, 1 rejected)";
        assert_eq!(lacking(false, 3), (PeerStatus::Incomplete, 1, why.to_owned()));
        let why = "too many events that came are not in the database";
        assert_eq!(lacking(false, 0), (PeerStatus::Incomplete, 1, why.to_owned()));
        assert_eq!(lacking(true, 0), (PeerStatus::Complete, 0, String::new()));
    }
}
