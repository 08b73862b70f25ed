//! How two runs differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::run::Run;
use crate::backfill::PeerStatus;

/// What differs between an earlier run and a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Events of each class in both, where they differ.
    pub events: BTreeMap<String, (u64, u64)>,
    /// Peers that went otherwise, or that only one run asked; by address.
    pub peers: BTreeMap<String, PeerChange>,
    /// Pubkeys that had no profile after the earlier run and have one after the later.
    pub profiles_found: Vec<String>,
    /// Pubkeys without a profile after the later run that were not so after the earlier one.
    pub profiles_lost: Vec<String>,
    /// One of the runs has more pubkeys without a profile than the history names.
    pub profiles_cut: bool,
}

/// How it went with a peer in both runs; `None` where it was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "see the runs")]
pub struct PeerChange {
    pub before: Option<PeerStatus>,
    pub after: Option<PeerStatus>,
}

impl Difference {
    /// Between these two.
    pub fn between(before: &Run, after: &Run) -> Self {
        let mut events = BTreeMap::new();
        for class in before.events.keys().chain(after.events.keys()) {
            let counts = (before.events_of(class), after.events_of(class));
            if counts.0 != counts.1 {
                events.insert(class.clone(), counts);
            }
        }
        let mut peers: BTreeMap<String, PeerChange> = BTreeMap::new();
        let none = PeerChange { before: None, after: None };
        for peer in &before.peers {
            peers.entry(peer.url.clone()).or_insert(none).before = Some(peer.status);
        }
        for peer in &after.peers {
            peers.entry(peer.url.clone()).or_insert(none).after = Some(peer.status);
        }
        peers.retain(|_, change| change.before != change.after);
        let missing = |run: &Run| -> BTreeSet<String> {
            run.profiles.missing_pubkeys.iter().cloned().collect()
        };
        let (missing_before, missing_after) = (missing(before), missing(after));
        let is_cut = |run: &Run| run.profiles.missing > run.profiles.missing_pubkeys.len() as u64;
        Self {
            events,
            peers,
            profiles_found: missing_before.difference(&missing_after).cloned().collect(),
            profiles_lost: missing_after.difference(&missing_before).cloned().collect(),
            profiles_cut: is_cut(before) || is_cut(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(peers: &[(&str, &str)], missing: &[&str], imported: u64) -> Run {
        let peers: Vec<_> = peers
            .iter()
            .map(|(url, status)| {
                serde_json::json!({"name": "x", "url": url, "status": status, "received": 0, "events": {}})
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "version": 1, "status": "complete", "started_at": "2026-11-26T03:12:01Z", "seconds": 1.0,
            "pubkeys": 3, "received": imported, "events": {"imported": imported}, "peers": peers,
            "profiles": {"found": 1, "missing": missing.len(), "missing_pubkeys": missing},
        }))
        .unwrap()
    }

    #[test]
    fn two_runs_differ_in_events_peers_and_profiles() {
        let before = run(&[("wss://a", "complete"), ("wss://b", "failed")], &["01", "02"], 5);
        let after = run(
            &[("wss://a", "complete"), ("wss://b", "complete"), ("wss://c", "failed")],
            &["02", "03"],
            7,
        );
        let (complete, failed) = (Some(PeerStatus::Complete), Some(PeerStatus::Failed));
        assert_eq!(
            Difference::between(&before, &after),
            Difference {
                events: BTreeMap::from([("imported".to_owned(), (5, 7))]),
                peers: BTreeMap::from([
                    ("wss://b".to_owned(), PeerChange { before: failed, after: complete }),
                    ("wss://c".to_owned(), PeerChange { before: None, after: failed }),
                ]),
                profiles_found: vec!["01".to_owned()],
                profiles_lost: vec!["03".to_owned()],
                profiles_cut: false,
            }
        );
        let same = Difference::between(&after, &after);
        assert!(same.events.is_empty() && same.peers.is_empty() && same.profiles_lost.is_empty());
    }
}
