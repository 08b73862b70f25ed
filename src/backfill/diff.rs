//! Compares with peers and imports nothing: the same peers, authors and kinds of which a backfill
//! would ask, the whole time that is named, and what peers still owe from before.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::coverage::Question;
use super::difference::{Common, Difference, Sides};
use super::error::BackfillError;
use super::job::{Timings, deadline};
use super::limits::{COMPARED_PEERS, STRANGERS_COMPARED};
use super::local_index::LocalIndex;
use super::plan::{Span, author_queries, earliest, station_query};
use super::promise::{Promise, State, Terms};
use super::summary::{GapSummary, PeerStatus, WithheldSummary, gaps_of, status_of, withheld_of};
use super::tunnels::{Ipfs, Tunnels};
use super::write_relays::is_strangers;
use crate::node::{Blacklist, Peer};
use crate::nostr::{Filter, Pubkey};
use crate::peer::{AuthKey, Dialler, FetchOutcome, Gap, GapReason, Pace, Room, Trace};
use crate::report::{Progress, ProgressState};
use crate::stop::Stop;
use crate::strfry_db::{self, ReadError, StrfryDb};

/// What is to be compared.
#[derive(Debug)]
pub struct DiffJob {
    /// With whom.
    pub peers: Vec<Peer>,
    /// Whose events; sorted, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// Which kinds; sorted, without repeats.
    pub kinds: Vec<u64>,
    /// Kinds that are compared whoever their authors are.
    pub station_kinds: Vec<u64>,
    /// Earliest second; `None` is all time.
    pub since: Option<u64>,
    /// When the comparison began, seconds since 1970.
    pub began: u64,
    /// Last second: the last of which a backfill would take events.
    pub until: u64,
    /// The operator has named the pubkeys in place of the node's own.
    pub names_pubkeys: bool,
    /// The state file of backfills: what peers still owe from before `since` is compared too.
    pub state: Option<PathBuf>,
    /// Compare no more than from `since` on, whatever the state says.
    pub ignore_state: bool,
    /// Authors whose events are not compared.
    pub blacklist: Blacklist,
    /// The command `ipfs`, for peers that are reached through a tunnel.
    pub ipfs: PathBuf,
    /// For relays that want to know who we are (NIP-42).
    pub auth: Option<AuthKey>,
    /// Where conversations with peers are written down.
    pub trace: Trace,
    /// Whether peers that can (NIP-77) are compared with; else all are asked page by page.
    pub negentropy: bool,
    /// Whether peers of the swarm may be dialled at loopback and private addresses.
    pub allow_local: bool,
    /// How long peers may be asked; `None`: as long as they have something to give.
    pub max_time: Option<Duration>,
    /// How long peers are waited for.
    pub timings: Timings,
}

/// How one peer and the database differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerDiff {
    /// The station or host.
    pub name: String,
    /// Where it was asked.
    pub url: String,
    /// Earliest second compared with this peer; null is all time.
    pub since: Option<u64>,
    /// Whether the difference is known completely.
    pub status: PeerStatus,
    /// What is not known and why; at most twenty, see `gap_count`.
    pub gaps: Vec<GapSummary>,
    /// How many parts are not known.
    pub gap_count: usize,
    /// What it keeps for the parties to it, and so is on neither side.
    pub withheld: Vec<WithheldSummary>,
    /// The difference.
    #[serde(flatten)]
    pub sides: Sides,
    /// What it sent that is no genuine event or was not asked for.
    pub refused: u64,
}

/// Compares with all peers, a few at a time. `stop` ends that early: what is not known by then is a gap of
/// each peer.
///
/// # Errors
/// The database or the state file cannot be read.
pub async fn diff(
    job: &DiffJob,
    db: &Arc<StrfryDb>,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<PeerDiff>, BackfillError> {
    let mut promise = job.promise(db)?;
    let common = Arc::new(Common {
        db: Arc::clone(db),
        here: Arc::new(LocalIndex::new(Arc::clone(db))),
        blacklist: job.blacklist.clone(),
        known: job.pubkeys.as_slice().into(),
        strangers: STRANGERS_COMPARED,
        turn: Arc::default(),
    });
    let ipfs = Ipfs { command: job.ipfs.clone(), stop: stop.clone() };
    let tunnels = Tunnels::open(&ipfs, &job.peers, job.timings.connect).await;
    let shared = (Room::default(), Semaphore::new(COMPARED_PEERS));
    let end = async {
        tokio::select! {
            () = stop.told() => {}
            () = deadline(job.max_time) => {}
        }
    };
    let end = end.shared();
    let compared = AtomicUsize::new(0);
    show(progress, 0, job.peers.len());
    let diffs = job.peers.iter().enumerate().map(|(position, peer)| {
        let queries = promise.compared_with(peer);
        let (compared, end) = (&compared, end.clone());
        let (common, tunnels, shared) = (&common, &tunnels, &shared);
        async move {
            let asked = (position, peer, queries);
            let found = with_peer(job, common, asked, tunnels, shared, end).await;
            let done = compared.fetch_add(1, Ordering::Relaxed) + 1;
            show(progress, done, job.peers.len());
            found
        }
    });
    let diffs = join_all(diffs).await;
    tunnels.close().await;
    diffs.into_iter().collect()
}

fn show(progress: &Progress, done: usize, all: usize) {
    let text = format!("{done} of {all} peers done");
    let share = Some((done as u64, all as u64));
    progress.update(&ProgressState { phase: "Comparing", text: &text, share, peers: &[] });
}

impl DiffJob {
    fn promise(&self, db: &StrfryDb) -> Result<Promise<'_>, BackfillError> {
        let state = State {
            path: self.state.as_deref(),
            is_ignored: self.ignore_state,
            is_read_only: true,
        };
        let question = Question {
            authors: &self.pubkeys,
            kinds: &self.kinds,
            station_kinds: &self.station_kinds,
        };
        let terms = Terms {
            question,
            names_authors: self.names_pubkeys,
            // Nobody's whole history is asked for because of a profile.
            missing: &[],
            hidden: &[],
            since: self.since,
            began: self.began,
            until: self.until,
            key: self.auth.as_ref().map(AuthKey::pubkey),
        };
        Ok(Promise::make(&state, terms, self.peers.iter(), db, |_| {})?)
    }

    fn queries(&self, span: Span) -> Vec<Filter> {
        let mut queries = author_queries(&self.pubkeys, &self.kinds, span);
        queries.extend(station_query(self.station_kinds.clone(), span));
        queries
    }

    /// Events of these authors and kinds that are here and dated after `until`: no peer is asked
    /// about them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn too_new_here(&self, db: &StrfryDb) -> Result<u64, ReadError> {
        let Some(since) = self.until.checked_add(1) else { return Ok(0) };
        let span = Span { since: Some(since), until: u64::MAX };
        let filters: Vec<_> = self.queries(span).iter().map(strfry_db::Filter::from).collect();
        db.count(filters)
    }
}

async fn with_peer(
    job: &DiffJob,
    common: &Arc<Common>,
    (position, peer, queries): (usize, &Peer, Vec<Filter>),
    tunnels: &Tunnels,
    (room, conversations): &(Room, Semaphore),
    end: impl Future<Output = ()>,
) -> Result<PeerDiff, BackfillError> {
    let timings = &job.timings;
    let allow_local = job.allow_local || !is_strangers(&peer.source);
    let dialler =
        Dialler::new(peer.url.clone(), allow_local, timings.connect).traced(&job.trace, &peer.name);
    let difference = Difference::with(common);
    let session = difference.session(dialler, job.negentropy).known_by(job.auth.clone());
    let mut session = session.within(room).not_after(job.until);
    // Why a tunnel is not open becomes the reason of the gaps.
    let _ = tunnels.lead(position, &mut session);
    let since = earliest(&queries);
    let time_out = if since.is_some() { timings.recent } else { timings.full };
    let pace = Pace { time_out, first_pause: timings.first_pause };
    let mut turn = None;
    let fetched = async {
        turn = Some(conversations.acquire().await);
        session.fetch(queries.clone(), pace, &difference).await
    };
    let mut outcome = tokio::select! {
        outcome = fetched => outcome,
        () = end => stopped(queries),
    };
    difference.strangers.explain(&mut outcome);
    session.close().await;
    let sides = difference.end().await?;
    // Until then it takes the memory of a conversation.
    drop(turn);
    Ok(PeerDiff {
        name: peer.name.clone(),
        url: peer.address().to_owned(),
        since,
        status: status_of(&outcome),
        gaps: gaps_of(&outcome),
        gap_count: outcome.gaps.len(),
        withheld: withheld_of(&outcome),
        sides,
        refused: difference.refused(),
    })
}

fn stopped(queries: Vec<Filter>) -> FetchOutcome {
    let gap = |filter| Gap { filter, reason: GapReason::Stopped };
    FetchOutcome { gaps: queries.into_iter().map(gap).collect(), ..FetchOutcome::default() }
}
