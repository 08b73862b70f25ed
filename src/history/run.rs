//! One run, as the history tells of it: a summary that is read back.
//!
//! Fields that an earlier version did not write are empty.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::backfill::{PeerStatus, Status};

/// A run, by the summary that `backfill --json` prints. The fields mean what
/// [`crate::backfill::Summary`] says of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct Run {
    pub version: u32,
    pub status: Status,
    #[serde(deserialize_with = "time")]
    pub started_at: Timestamp,
    pub seconds: f64,
    #[serde(default)]
    pub verified: bool,
    pub since: Option<u64>,
    pub pubkeys: u64,
    pub profiles: RunProfiles,
    pub received: u64,
    pub events: BTreeMap<String, u64>,
    #[serde(default)]
    pub reasons: BTreeMap<String, u64>,
    #[serde(default)]
    pub gained: RunGained,
    #[serde(default)]
    pub phases: Vec<RunPhase>,
    pub peak_memory: Option<u64>,
    pub peers: Vec<PeerRun>,
    #[serde(default)]
    pub fallback: Vec<PeerRun>,
    #[serde(default)]
    pub errors: Vec<String>,
}

/// Profiles after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct RunProfiles {
    pub found: u64,
    pub missing: u64,
    #[serde(default)]
    pub recovered: u64,
    /// The history keeps the first 2,000.
    #[serde(default)]
    pub missing_pubkeys: Vec<String>,
}

/// What a run brought into the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct RunGained {
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub kinds: BTreeMap<u64, u64>,
    #[serde(default)]
    pub days: BTreeMap<String, u64>,
    #[serde(default)]
    pub earlier: u64,
}

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct RunPhase {
    pub name: String,
    pub seconds: f64,
}

/// A peer in a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct PeerRun {
    pub name: String,
    pub url: String,
    pub status: PeerStatus,
    #[serde(default)]
    pub gaps: Vec<RunGap>,
    #[serde(default)]
    pub gap_count: u64,
    #[serde(default)]
    pub seconds: f64,
    pub received: u64,
    pub events: BTreeMap<String, u64>,
}

/// What did not come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct RunGap {
    pub reason: String,
    pub cause: Option<RunCause>,
}

/// The parts of a reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "see the summary")]
pub struct RunCause {
    pub name: String,
    pub number: Option<u64>,
    pub words: Option<String>,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Run {
    /// Events of this class.
    pub fn events_of(&self, class: &str) -> u64 {
        self.events.get(class).copied().unwrap_or(0)
    }

    /// Events that came into the database.
    pub fn imported(&self) -> u64 {
        self.events_of("imported")
    }

    /// Peers that gave all that was asked.
    pub fn complete_peers(&self) -> usize {
        self.peers.iter().filter(|peer| peer.status == PeerStatus::Complete).count()
    }

    /// When it began, in UTC, such as `2026-11-26 03:12:01`.
    pub fn began(&self) -> String {
        self.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Why it is incomplete: a text for each peer that still owes something, then the errors. `told`
    /// gives the text of a gap.
    pub fn reasons_of_gaps(&self, told: impl Fn(&RunGap) -> String) -> Vec<(String, String)> {
        let owing = self.peers.iter().filter(|peer| peer.status != PeerStatus::Complete);
        let peers = owing.map(|peer| (peer.url.clone(), peer.why(&told)));
        peers.chain(self.errors.iter().map(|error| (String::new(), error.clone()))).collect()
    }
}

impl PeerRun {
    /// Events of it that came into the database.
    pub fn imported(&self) -> u64 {
        self.events.get("imported").copied().unwrap_or(0)
    }

    /// The reasons of its gaps, each once.
    fn why(&self, told: impl Fn(&RunGap) -> String) -> String {
        let mut reasons: Vec<String> = Vec::new();
        for reason in self.gaps.iter().map(told) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons.join("; ")
    }
}
