//! What is remembered of each peer from one run to the next: up to when it has given everything, and
//! what that was: a run that asks for less changes nothing.
//!
//! One small file, written whole and then renamed into place. A file that cannot be understood is
//! as good as none: the next run only asks for a shorter time, as it would without one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{self, FileProblem};
use super::peer::Peer;
use crate::files::{ReplaceError, replace};
use crate::nostr::Pubkey;

/// Version of the form of the file; another one is not understood.
const VERSION: u32 = 1;
/// 1,000 peers with long addresses; no more is written.
const PEERS_BYTES: usize = 1 << 20;
/// With a question of 50,000 pubkeys and all kinds that there are; no more is read.
const MAX_BYTES: u64 = 4 << 20;
/// Pubkeys that were named and are remembered, by a few digits of each.
const MAX_PUBKEYS: usize = 50_000;
/// A record takes so many bytes beside its peer's address, at most.
const RECORD_BYTES: usize = 64;
/// By how much a clock may have been set back since a record was written, in seconds.
const MAX_AHEAD: u64 = 3_600;
/// Peers that are remembered; those that were complete longest ago are forgotten first.
const MAX_PEERS: usize = 1_000;
/// The file is this user's to read and write.
const MODE: u32 = 0o600;

/// What is remembered of the peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    complete_until: BTreeMap<String, u64>,
    question: Option<Question>,
}

/// What peers are asked for in a run, but for the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    kinds: BTreeSet<u64>,
    /// The first digits of each pubkey; `None`: the node's own lists, whatever they hold.
    pubkeys: Option<BTreeSet<String>>,
}

impl Question {
    /// `named`: the pubkeys, if the operator has named them in place of the node's own.
    pub fn new(kinds: &[u64], named: Option<&[Pubkey]>) -> Self {
        let short = |pubkeys: &[Pubkey]| {
            pubkeys.iter().take(MAX_PUBKEYS).map(Pubkey::short).collect::<BTreeSet<_>>()
        };
        Self { kinds: kinds.iter().copied().collect(), pubkeys: named.map(short) }
    }

    /// Whether this asks for all that the other one asks for.
    fn covers(&self, other: &Self) -> bool {
        let has_pubkeys = match (&self.pubkeys, &other.pubkeys) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(these), Some(those)) => these.is_superset(those),
        };
        has_pubkeys && self.kinds.is_superset(&other.kinds)
    }
}

/// Why a file is not understood.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PeerStateError {
    #[error("cannot read {path:?}: {problem}", path = .0, problem = .1)]
    File(std::path::PathBuf, FileProblem),
    #[error(
        "{0:?} is not a state of peers of version {VERSION}, and is replaced at the end of this run"
    )]
    NotUnderstood(std::path::PathBuf),
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default)]
    question: Option<Question>,
    peers: BTreeMap<String, Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// Seconds since 1970: when the last run began after which nothing of the peer's was missing.
    complete_until: u64,
}

impl PeerState {
    /// Reads a file; a missing one holds nothing.
    ///
    /// # Errors
    /// [`PeerStateError`]
    pub fn read(path: &Path) -> Result<Self, PeerStateError> {
        let text = match files::read(path, MAX_BYTES) {
            Ok(text) => text,
            Err(FileProblem::Missing) => return Ok(Self::default()),
            Err(problem) => return Err(PeerStateError::File(path.to_owned(), problem)),
        };
        let document: Option<Document> = serde_json::from_slice(&text).ok();
        let document = document.filter(|document| document.version == VERSION);
        let document = document.ok_or_else(|| PeerStateError::NotUnderstood(path.to_owned()))?;
        // A time that is still to come is one of a clock that was wrong: nothing is known then.
        let latest = now().saturating_add(MAX_AHEAD);
        let records = document.peers.into_iter().map(|(url, it)| (url, it.complete_until));
        let complete_until = records.filter(|(_, until)| *until <= latest).collect();
        Ok(Self { complete_until, question: document.question })
    }

    /// When the last run began after which nothing of the peer's was missing, seconds since 1970.
    pub fn complete_until(&self, peer: &Peer) -> Option<u64> {
        self.complete_until.get(&peer.key()).copied()
    }

    /// Whether a run that asks for this may change what is remembered: it asks for all of it. From now
    /// on this is what is remembered.
    pub fn take_question(&mut self, question: Question) -> bool {
        let may = self.question.as_ref().is_none_or(|before| question.covers(before));
        if may {
            self.question = Some(question);
        }
        may
    }

    /// Nothing of the peer's is missing after a run that began then.
    pub fn set_complete(&mut self, peer: &Peer, began: u64) {
        self.complete_until.insert(peer.key(), began);
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`ReplaceError`]
    pub fn write(&self, path: &Path) -> Result<(), ReplaceError> {
        let mut latest: Vec<(&String, u64)> =
            self.complete_until.iter().map(|(url, until)| (url, *until)).collect();
        latest.sort_unstable_by_key(|&(_, until)| std::cmp::Reverse(until));
        let record =
            |(url, complete_until): (&String, u64)| (url.clone(), Record { complete_until });
        let mut bytes = RECORD_BYTES;
        let fits = |(url, _): &(&String, u64)| {
            bytes = bytes.saturating_add(url.len()).saturating_add(RECORD_BYTES);
            bytes <= PEERS_BYTES
        };
        let peers = latest.into_iter().take(MAX_PEERS).take_while(fits).map(record).collect();
        let document = Document { version: VERSION, question: self.question.clone(), peers };
        replace(path, MODE, |out| {
            serde_json::to_writer_pretty(&mut *out, &document)?;
            out.write_all(b"\n")
        })
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::node::explicit_peer;

    fn peer(number: u64) -> Peer {
        explicit_peer(&format!("wss://{number}.example")).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut state = PeerState::read(&path).unwrap();
        assert_eq!(state, PeerState::default());
        state.set_complete(&peer(1), 77);
        state.set_complete(&peer(2), 78);
        state.write(&path).unwrap();
        let read = PeerState::read(&path).unwrap();
        assert_eq!(read, state);
        assert_eq!(read.complete_until(&peer(1)), Some(77));
        assert_eq!(read.complete_until(&peer(3)), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_that_asks_for_less_changes_nothing_that_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let [one, two] = [1, 2].map(|byte| Pubkey::from_bytes([byte; 32]));
        let (own, named) = (None, [one]);
        let question = |kinds: &[u64], named: Option<&[Pubkey]>| Question::new(kinds, named);
        let mut state = PeerState::default();
        assert!(state.take_question(question(&[0, 1], Some(&named))));
        for (kinds, pubkeys, may) in [
            (&[0][..], Some(&named[..]), false),
            (&[0, 1, 4], Some(&[two][..]), false),
            (&[0, 1], Some(&named[..]), true),
            (&[0, 1, 4], Some(&[one, two][..]), true),
            (&[0, 1], Some(&[one, two][..]), false),
            (&[0, 1, 4], own, true),
            (&[0, 1, 4], Some(&[one, two][..]), false),
        ] {
            assert_eq!(state.take_question(question(kinds, pubkeys)), may, "{kinds:?} {pubkeys:?}");
            state.write(&path).unwrap();
            assert_eq!(PeerState::read(&path).unwrap(), state);
        }
        // Older files say nothing of what was asked.
        fs::write(&path, r#"{"version":1,"peers":{}}"#).unwrap();
        assert!(PeerState::read(&path).unwrap().take_question(question(&[0], own)));
    }

    #[test]
    fn a_file_that_is_not_understood_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        for text in ["", "{}", "[]", r#"{"version":2,"peers":{}}"#, r#"{"version":1,"peers":[]}"#] {
            fs::write(&path, text).unwrap();
            assert!(PeerState::read(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_run_can_have_written_yet_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut state = PeerState::default();
        let now = now();
        let day = 86_400;
        for (number, time) in [0, now - day, now + 60, now + day, u64::MAX].into_iter().enumerate()
        {
            state.set_complete(&peer(number as u64), time);
        }
        state.write(&path).unwrap();
        let read = PeerState::read(&path).unwrap();
        let times = (0..5).map(|number| read.complete_until(&peer(number)));
        let expected = [Some(0), Some(now - day), Some(now + 60), None, None];
        assert_eq!(times.collect::<Vec<_>>(), expected);
        for time in ["-1", "1e300", "18446744073709551616", "null", "[]"] {
            let text = format!(
                r#"{{"version":1,"peers":{{"wss://a.example/":{{"complete_until":{time}}}}}}}"#
            );
            fs::write(&path, text).unwrap();
            assert!(PeerState::read(&path).is_err(), "{time}");
        }
        fs::write(&path, "[".repeat(MAX_BYTES as usize)).unwrap();
        assert!(PeerState::read(&path).is_err());
    }

    #[test]
    fn a_state_of_the_longest_addresses_can_be_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut state = PeerState::default();
        for number in 0..1_100 {
            let url = format!("wss://{number}.example/{}", "x".repeat(2_000));
            state.set_complete(&explicit_peer(&url).unwrap(), number);
        }
        state.write(&path).unwrap();
        let read = PeerState::read(&path).unwrap();
        let oldest = read.complete_until.values().min().copied();
        assert!(oldest > Some(500) && read.complete_until.values().max() == Some(&1_099));
        assert!(read.complete_until.len() > 400, "{}", read.complete_until.len());
    }

    #[test]
    fn the_peers_that_were_complete_longest_ago_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let mut state = PeerState::default();
        for number in 0..1_100 {
            state.set_complete(&peer(number), number);
        }
        state.write(&path).unwrap();
        let read = PeerState::read(&path).unwrap();
        assert_eq!(read.complete_until.len(), MAX_PEERS);
        assert_eq!(read.complete_until(&peer(99)), None);
        assert_eq!(read.complete_until(&peer(100)), Some(100));
    }
}
