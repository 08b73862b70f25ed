//! What a run knows of peers from earlier runs, and what it leaves for the next.

use std::path::Path;

use super::job::Job;
use super::limits::OVERLAP;
use super::plan::since;
use crate::node::{Peer, PeerState, Question};

/// The memory of one run.
pub(super) struct Remembered {
    state: PeerState,
    /// What is known is not made use of.
    is_ignored: bool,
}

/// Reads what is remembered; what cannot be read is told, and is as good as nothing. `is_ignored`:
/// no peer is asked for more because of it.
pub(super) fn read_state(
    state: Option<&Path>,
    is_ignored: bool,
    warn: impl FnOnce(&str),
) -> Remembered {
    let state = match state.map(PeerState::read) {
        Some(Ok(state)) => state,
        Some(Err(error)) => {
            warn(&error.to_string());
            PeerState::default()
        }
        None => PeerState::default(),
    };
    Remembered { state, is_ignored }
}

impl Remembered {
    /// The second from which on a peer is asked: `since`, or as far back as it takes to join on to
    /// the last run that got everything.
    pub(super) fn since(&self, peer: &Peer, since: u64) -> u64 {
        let complete = self.state.complete_until(peer).filter(|_| !self.is_ignored);
        complete.map_or(since, |until| since.min(until.saturating_sub(OVERLAP)))
    }

    /// Remembers that nothing of these peers is missing; returns what went wrong. A run that asks for
    /// less than those before it, or not as far back as they have come, leaves what is remembered.
    pub(super) fn write<'a>(
        &mut self,
        job: &Job,
        complete: impl Iterator<Item = &'a Peer>,
        began: u64,
    ) -> Option<String> {
        let path = job.state.as_deref().filter(|_| !job.dry_run)?;
        let named = job.names_pubkeys.then_some(job.pubkeys.as_slice());
        if !self.state.take_question(Question::new(&job.kinds, named)) {
            return None;
        }
        let since = since(began, job.days);
        let mut is_news = false;
        for peer in complete {
            let before = self.state.complete_until(peer);
            let joins_on = |since| before.is_none_or(|until| self.since(peer, since) <= until);
            if since.is_none_or(joins_on) {
                self.state.set_complete(peer, began);
                is_news = true;
            }
        }
        let error = self.state.write(path).err().filter(|_| is_news)?;
        Some(format!("cannot remember which peers are complete in {}: {error}", path.display()))
    }
}
