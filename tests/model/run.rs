//! One run, as a backfill does it: promise, ask, settle, cover, and say whether all is here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use strfry_companion::backfill::{Rehearsal, RehearsedRun, SavedState};
use strfry_companion::node::{Peer, explicit_peer};
use strfry_companion::nostr::{Filter, Pubkey};
use strfry_companion::peer::FetchOutcome;
use strfry_companion::stop::Stop;

use crate::line::{Clock, SimulatedLine};
use crate::node::{Database, Header, Intake, PeerSink};
use crate::quirks::Relay;
use crate::talk::{Shared, ask};

const DAY: u64 = 86_400;

/// Longer than any conversation takes; in virtual time.
const ENDLESS: Duration = Duration::from_secs(24 * 3_600);

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Run {
    pub authors: Vec<Pubkey>,
    pub kinds: Vec<u64>,
    /// 0: all time.
    pub days: u64,
    pub peers: Vec<usize>,
    pub ignores_state: bool,
    pub is_dry: bool,
    pub intake: Intake,
    /// The process is killed at this message.
    pub dies_at: Option<usize>,
    /// It is told to stop then instead, and notes what has come.
    pub is_stopped: bool,
    /// The process is killed when all has come, before that is noted.
    pub dies_at_the_end: bool,
}

/// What a run says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Complete,
    /// Why, peer by peer.
    Incomplete(Vec<String>),
    Killed,
    Dry,
    Endless,
}

/// What a run leaves behind.
#[derive(Debug)]
pub struct Report {
    pub said: Said,
    pub messages: usize,
    pub asked: Vec<Asked>,
}

/// What one peer was asked, and what came of it.
#[derive(Debug)]
pub struct Asked {
    pub number: usize,
    peer: Peer,
    pub queries: Vec<Filter>,
    pub outcome: FetchOutcome,
    rejected: Vec<Header>,
}

impl Run {
    pub fn since(&self, now: u64) -> u64 {
        if self.days == 0 { 0 } else { now.saturating_sub(self.days * DAY) }
    }

    /// Authors without a profile, if it matters: they are owed their full history.
    pub fn without_profile(&self, database: &Database) -> Vec<Pubkey> {
        let matters = self.kinds.contains(&0);
        let authors = self.authors.iter().copied();
        authors.filter(|&author| matters && !database.has_kind(author, 0)).collect()
    }

    /// Does it, as `backfill::run` does. `saved` is the state file.
    pub async fn execute(
        &self,
        now: u64,
        relays: &[Arc<Mutex<Relay>>],
        database: &Database,
        saved: &mut SavedState,
    ) -> Report {
        let missing = self.without_profile(database);
        let run = RehearsedRun {
            authors: &self.authors,
            kinds: &self.kinds,
            missing: &missing,
            since: (self.days > 0).then(|| self.since(now)),
            began: now,
            ignores_state: self.ignores_state,
        };
        let peers: Vec<Peer> = self.peers.iter().map(|&number| peer(number)).collect();
        let mut rehearsal = Rehearsal::begin(saved.clone(), run, &peers);
        if !self.is_dry {
            *saved = rehearsal.saved();
        }
        let clock = Clock::new(self.dies_at);
        let stop = Stop::default();
        let shared = Shared::default();
        let conversations = peers.into_iter().zip(&self.peers).map(|(peer, &number)| {
            let queries = rehearsal.owed_by(&peer);
            let line = SimulatedLine::new(number, Arc::clone(&relays[number]), &clock);
            let (sink, shared) = (PeerSink::new(database, self.intake), Arc::clone(&shared));
            let stop = stop.clone();
            async move {
                let outcome = ask(line, &shared, database, queries.clone(), &sink, &stop).await;
                Asked { number, peer, queries, outcome, rejected: sink.rejected() }
            }
        });
        let conversations: Vec<_> = conversations.collect();
        let mut all = std::pin::pin!(tokio::time::timeout(ENDLESS, join_all(conversations)));
        let asked = tokio::select! {
            biased;
            () = clock.death.notified() => match self.is_stopped {
                true if !clock.is_endless() => {
                    stop.tell();
                    Some(all.await)
                }
                _ => None,
            },
            asked = &mut all => Some(asked),
        };
        let messages = clock.messages();
        let (said, asked) = match asked {
            None if clock.is_endless() => (Said::Endless, Vec::new()),
            None => {
                database.die();
                (Said::Killed, Vec::new())
            }
            Some(Err(_)) => (Said::Endless, Vec::new()),
            Some(Ok(asked)) if self.is_dry => {
                database.die();
                (Said::Dry, asked)
            }
            Some(Ok(_)) if self.dies_at_the_end => {
                database.commit();
                (Said::Killed, Vec::new())
            }
            Some(Ok(asked)) => {
                database.commit();
                let said = settle(&mut rehearsal, &asked);
                *saved = rehearsal.saved();
                (said, asked)
            }
        };
        Report { said, messages, asked }
    }
}

/// Notes what came of all peers, and says whether anything is owed.
fn settle(rehearsal: &mut Rehearsal<'_>, asked: &[Asked]) -> Said {
    let holes = asked.iter().flat_map(|it| &it.rejected);
    let holes: Vec<_> = holes.map(|hole| (hole.author, hole.kind, hole.second)).collect();
    let mut reasons = Vec::new();
    for Asked { number, peer, queries, outcome, rejected } in asked {
        let is_covered = rehearsal.settle(peer, queries, outcome, &holes);
        if !is_covered || !outcome.gaps.is_empty() || !rejected.is_empty() {
            let gaps: Vec<String> = outcome.gaps.iter().map(|it| it.reason.to_string()).collect();
            let rejected = rejected.len();
            reasons.push(format!("peer {number}: {gaps:?}, {rejected} rejected, {is_covered}"));
        }
    }
    if reasons.is_empty() { Said::Complete } else { Said::Incomplete(reasons) }
}

/// The peer with this number, by an address of its own.
fn peer(number: usize) -> Peer {
    explicit_peer(&format!("wss://relay{number}.example")).unwrap()
}
