//! What is remembered of each peer from one run to the next: up to when it has given everything.
//!
//! One small file, written whole and then renamed into place. A file that cannot be understood is
//! as good as none: the next run only asks for a shorter time, as it would without one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, FileProblem};
use super::peer::Peer;
use crate::files::{ReplaceError, replace};

/// Version of the form of the file; another one is not understood.
const VERSION: u32 = 1;
/// 1,000 peers with long addresses.
const MAX_BYTES: u64 = 1 << 20;
/// Peers that are remembered; those that were complete longest ago are forgotten first.
const MAX_PEERS: usize = 1_000;
/// The file is this user's to read and write.
const MODE: u32 = 0o600;

/// What is remembered of the peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerState {
    complete_until: BTreeMap<String, u64>,
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
        let records = document.peers.into_iter();
        Ok(Self { complete_until: records.map(|(url, it)| (url, it.complete_until)).collect() })
    }

    /// When the last run began after which nothing of the peer's was missing, seconds since 1970.
    pub fn complete_until(&self, peer: &Peer) -> Option<u64> {
        self.complete_until.get(&peer.key()).copied()
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
        let peers = latest.into_iter().take(MAX_PEERS).map(record).collect();
        let document = Document { version: VERSION, peers };
        replace(path, MODE, |out| {
            serde_json::to_writer_pretty(&mut *out, &document)?;
            out.write_all(b"\n")
        })
    }
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
    fn a_file_that_is_not_understood_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        for text in ["", "{}", "[]", r#"{"version":2,"peers":{}}"#, r#"{"version":1,"peers":[]}"#] {
            fs::write(&path, text).unwrap();
            assert!(PeerState::read(&path).is_err(), "{text}");
        }
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
