//! A run's promise without a database and without strfry, for tests that simulate peers: what a run
//! asks for, what it keeps for later runs, and what it calls complete.

use super::coverage::{Hole, Question, StateFile};
use super::promise::{Promise, Terms};
use crate::node::Peer;
use crate::nostr::{Filter, Pubkey};
use crate::peer::FetchOutcome;

/// What is kept from one run to the next.
#[derive(Debug, Clone, Default)]
pub struct SavedState(StateFile);

/// What a run is to ask for.
#[derive(Debug, Clone, Copy)]
pub struct RehearsedRun<'a> {
    /// Whose events; sorted.
    pub authors: &'a [Pubkey],
    /// Which kinds; sorted.
    pub kinds: &'a [u64],
    /// Authors whose profile is missing, if the run looks for profiles.
    pub missing: &'a [Pubkey],
    /// Earliest second for the others; `None` is all time.
    pub since: Option<u64>,
    /// When the run begins.
    pub began: u64,
    /// No use is made of what is kept from earlier runs.
    pub ignores_state: bool,
}

/// The promise of one run.
pub struct Rehearsal<'a>(Promise<'a>);

impl<'a> Rehearsal<'a> {
    /// Adds what a run promises to what is kept from earlier runs.
    pub fn begin(saved: SavedState, run: RehearsedRun<'a>, peers: &[Peer]) -> Self {
        let question = Question { authors: run.authors, kinds: run.kinds, station_kinds: &[] };
        let terms = Terms {
            question,
            names_authors: true,
            missing: if run.since.is_some() { run.missing } else { &[] },
            hidden: run.missing,
            since: run.since,
            began: run.began,
            until: run.began,
            key: None,
        };
        Self(Promise::begin(saved.0, run.ignores_state, terms, peers.iter()))
    }

    /// What would be in the state file now.
    pub fn saved(&self) -> SavedState {
        SavedState(self.0.file().clone())
    }

    /// What the peer is to be asked for.
    pub fn owed_by(&self, peer: &Peer) -> Vec<Filter> {
        self.0.owed_by(peer)
    }

    /// Takes in what came of asking a peer. `holes`: author, kind and second of events, from any
    /// peer, that came and are not here. Whether the peer owes nothing any more.
    pub fn settle(
        &mut self,
        peer: &Peer,
        asked: &[Filter],
        outcome: &FetchOutcome,
        holes: &[(Pubkey, u64, u64)],
    ) -> bool {
        let hole = |&(author, kind, second): &(Pubkey, u64, u64)| Hole { author, kind, second };
        let holes: Vec<Hole> = holes.iter().map(hole).collect();
        self.0.settle(peer, asked, outcome, Some(&holes))
    }
}

impl std::fmt::Debug for Rehearsal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").finish_non_exhaustive()
    }
}
