//! What a run promises of its peers, from the state of earlier runs to the state that it leaves.
//! It reads and writes the state file, and decides what is asked for and what is complete; it asks
//! nobody.

use std::borrow::Borrow;
use std::path::Path;

use super::coverage::{Answer, Coverage, Hole, Question, StateError, StateFile};
use super::kinds::node_kinds;
use super::limits::{CLOCK_AHEAD, OVERLAP};
use super::plan::queries;
use crate::node::Peer;
use crate::nostr::{Filter, Pubkey};
use crate::peer::FetchOutcome;
use crate::strfry_db::StrfryDb;

/// What is asked for in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) question: Question<'a>,
    /// The operator has named the authors in place of the node's own.
    pub(super) names_authors: bool,
    /// Authors of whom everything is to be asked for, because their profile is missing.
    pub(super) missing: &'a [Pubkey],
    /// Authors whose profile is missing and may come in now: after that nothing tells that their
    /// full history is owed, also of the node's kinds that this run leaves out.
    pub(super) hidden: &'a [Pubkey],
    /// Earliest second for the others; `None` is all time.
    pub(super) since: Option<u64>,
    /// When the run began, seconds since 1970.
    pub(super) began: u64,
    /// Last second that is asked for.
    pub(super) until: u64,
    /// As whom peers are asked.
    pub(super) key: Option<Pubkey>,
}

/// The promise of one run.
pub(super) struct Promise<'a> {
    terms: Terms<'a>,
    /// What is kept for later runs.
    file: StateFile,
    /// What this run goes by if it ignores the file.
    own: Option<Coverage>,
    /// Where to write; `None`: nothing is.
    path: Option<&'a Path>,
    has_changed: bool,
}

/// The state of earlier runs.
pub(super) struct State<'a> {
    /// `None`: there is none, or it is not to be written.
    pub(super) path: Option<&'a Path>,
    /// What it says is not made use of.
    pub(super) is_ignored: bool,
    /// Nothing is written.
    pub(super) is_read_only: bool,
}

impl<'a> Promise<'a> {
    /// Reads the state and adds what this run promises. `warn` is told why a state that is ignored
    /// anyhow will not be written.
    ///
    /// # Errors
    /// [`StateError`]: the state cannot be relied on.
    pub(super) fn make<'p>(
        state: &State<'a>,
        terms: Terms<'a>,
        peers: impl Iterator<Item = &'p Peer> + Clone,
        db: &StrfryDb,
        warn: impl FnOnce(&str),
    ) -> Result<Self, StateError> {
        let mut path = state.path.filter(|_| !state.is_read_only);
        let file = match state.path.map(|path| StateFile::read(path, db)) {
            None => StateFile::default(),
            Some(Ok(file)) => file,
            Some(Err(error)) if state.is_ignored => {
                if path.take().is_some() {
                    warn(&format!("this run reads and notes nothing: {error}"));
                }
                StateFile::default()
            }
            Some(Err(error)) => return Err(error),
        };
        Ok(Self { path, ..Self::begin(file, state.is_ignored, terms, peers) })
    }

    /// Adds what this run promises to the state of earlier runs. Of a state that is ignored this run
    /// makes no use.
    pub(super) fn begin<'p>(
        file: StateFile,
        is_ignored: bool,
        terms: Terms<'a>,
        peers: impl Iterator<Item = &'p Peer> + Clone,
    ) -> Self {
        let own = is_ignored.then(Coverage::default);
        let mut promise = Self { terms, file, own, path: None, has_changed: false };
        let latest = terms.began.saturating_sub(OVERLAP).saturating_add(CLOCK_AHEAD);
        promise.file.coverage.distrust_after(latest);
        peers.clone().for_each(|peer| promise.add(&peer.key()));
        promise.take_over(peers.map(Peer::key).collect());
        promise
    }

    /// What is kept for later runs.
    pub(super) fn file(&self) -> &StateFile {
        &self.file
    }

    fn add(&mut self, peer: &str) {
        let Terms { since, began, .. } = self.terms;
        let since = since.unwrap_or(0);
        let legacy = self.file.legacy.as_ref().and_then(|legacy| legacy.complete_until(peer));
        let legacy = legacy.filter(|&until| until <= began.saturating_add(CLOCK_AHEAD));
        let from = legacy.map_or(since, |until| since.min(until.saturating_sub(OVERLAP)));
        self.has_changed |= promise(&mut self.file.coverage, peer, self.terms, from);
        if let Some(own) = &mut self.own {
            promise(own, peer, self.terms, since);
        }
    }

    fn take_over(&mut self, peers: Vec<String>) {
        let Terms { question, names_authors, .. } = self.terms;
        let named = names_authors.then_some(question.authors);
        if let Some(legacy) = &mut self.file.legacy
            && !legacy.take_over(peers.iter().map(String::as_str), question.kinds, named)
        {
            self.file.legacy = None;
        }
    }

    /// What decides what this run asks for.
    fn coverage(&self) -> &Coverage {
        self.own.as_ref().unwrap_or(&self.file.coverage)
    }

    /// What the peer is to be asked for.
    pub(super) fn owed_by(&self, peer: &Peer) -> Vec<Filter> {
        queries(self.coverage().owed(&peer.key(), self.terms.question, self.terms.until))
    }

    /// What a comparison asks about: the whole time of the question, whatever is covered, and what
    /// the peer still owes from before.
    pub(super) fn compared_with(&mut self, peer: &Peer) -> Vec<Filter> {
        let (key, Terms { question, since, .. }) = (peer.key(), self.terms);
        let coverage = self.own.as_mut().unwrap_or(&mut self.file.coverage);
        coverage.uncover_from(&key, question, since.unwrap_or(0));
        self.owed_by(peer)
    }

    /// Writes what is promised to the disk, before the first event is imported: what comes in may
    /// be what told that something is owed.
    ///
    /// # Errors
    /// [`StateError`]
    pub(super) fn note(&mut self, db: &StrfryDb) -> Result<(), StateError> {
        match self.path.filter(|_| self.has_changed) {
            Some(path) => self.file.write(path, db),
            None => Ok(()),
        }
    }

    /// Takes in what came of asking a peer, once all that came is settled. `holes`: the events,
    /// from any peer, that are not in the database; `None` if that is not known. Whether the peer
    /// owes nothing any more.
    pub(super) fn settle(
        &mut self,
        peer: &Peer,
        asked: &[impl Borrow<Filter>],
        outcome: &FetchOutcome,
        holes: Option<&[Hole]>,
    ) -> bool {
        let Terms { question, began, .. } = self.terms;
        let answer = Answer {
            asked: asked.iter().map(Borrow::borrow).collect(),
            gaps: outcome.gaps.iter().map(|gap| &gap.filter).collect(),
            withheld: outcome.withheld.iter().map(|withheld| &withheld.filter).collect(),
            holes,
            until: began,
            lasting: began.saturating_sub(OVERLAP),
        };
        let key = peer.key();
        let of_file = self.file.coverage.settle(&key, &answer, question);
        match &mut self.own {
            Some(own) => own.settle(&key, &answer, question),
            None => of_file,
        }
    }

    /// Writes what is here by now; returns what went wrong.
    pub(super) fn write(&mut self, db: &StrfryDb) -> Option<String> {
        let path = self.path?;
        let why = match self.file.write(path, db).err()? {
            StateError::Unwritable { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        Some(format!(
            "cannot note in {} what is here by now, and the next run asks for it again: {why}",
            path.display()
        ))
    }
}

/// Promises all that a run asks one peer for. Whether anything of that is new.
fn promise(coverage: &mut Coverage, peer: &str, terms: Terms<'_>, from: u64) -> bool {
    let Question { authors, kinds, station_kinds } = terms.question;
    let mut left_out = node_kinds();
    left_out.retain(|kind| !kinds.contains(kind));
    coverage.ask_as(peer, terms.key, terms.began);
    [
        coverage.promise(peer, Some(authors), kinds, from),
        coverage.promise(peer, None, station_kinds, from),
        coverage.promise_anew(peer, terms.missing, kinds),
        coverage.promise(peer, Some(terms.hidden), &left_out, 0),
    ]
    .contains(&true)
}
