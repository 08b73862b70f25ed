//! What each peer has that is not here, and the reverse; nothing is imported.
//!
//! A peer that compares (NIP-77) tells both by ids, and only what is not here is fetched, for its
//! kinds and authors. Of any other peer all pages are read; what it lacks is what is here of the
//! filters that it has answered to the end, less what it gave.
//!
//! Memory: 32 bytes for each event that only one side has, and, of a peer that is asked page by
//! page, for each that it gives.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::error::BackfillError;
use super::here::Here;
use super::job::Timings;
use super::limits::{COMPARED_HEADERS, LISTED_IDS};
use super::plan::author_queries;
use super::summary::{GapSummary, PeerStatus, gaps_of, status_of};
use crate::node::{Peer, PeerSource};
use crate::nostr::{Event, EventId, ExpectedId, Filter, Pubkey, Signature, signature};
use crate::relay::{
    AuthKey, Dialler, FetchOutcome, Ledger, Local, LocalItems, MissingIds, Pace, PeerSession,
    Share, Sink, Stopped, Unwanted,
};
use crate::strfry_db::scan::{ScanFilter, ScanOptions};
use crate::strfry_db::{ReadError, StrfryDb};

/// What is to be compared.
#[derive(Debug)]
pub struct DiffJob {
    /// With whom.
    pub peers: Vec<Peer>,
    /// Whose events; sorted, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// Which kinds; sorted, without repeats.
    pub kinds: Vec<u64>,
    /// Earliest second; `None` is all time.
    pub since: Option<u64>,
    /// For relays that want to know who we are (NIP-42).
    pub auth: Option<AuthKey>,
    /// Whether peers that can (NIP-77) are compared with; else all are asked page by page.
    pub negentropy: bool,
    /// Whether peers of the swarm may be dialled at loopback and private addresses.
    pub allow_local: bool,
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
    /// Whether the difference is known completely.
    pub status: PeerStatus,
    /// What is not known and why; at most twenty, see `gap_count`.
    pub gaps: Vec<GapSummary>,
    /// How many parts are not known.
    pub gap_count: usize,
    /// Events that it has and that are not here.
    pub only_there: Side,
    /// Events that are here and that it does not have.
    pub only_here: Side,
    /// What it sent that is no genuine event or was not asked for.
    pub refused: u64,
}

/// Events that only one side has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// How many.
    pub events: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<u64, u64>,
    /// How many of each author.
    pub authors: BTreeMap<Pubkey, u64>,
    /// Their ids, sorted; at most [`LISTED_IDS`], whatever `events` is.
    pub ids: Vec<EventId>,
}

impl Side {
    fn add(&mut self, id: EventId, kind: u64, author: Pubkey) {
        self.events += 1;
        *self.kinds.entry(kind).or_default() += 1;
        *self.authors.entry(author).or_default() += 1;
        if self.ids.len() < LISTED_IDS {
            self.ids.push(id);
        }
    }
}

/// Compares with all peers at once.
///
/// # Errors
/// The database cannot be read.
pub async fn diff(job: &DiffJob, db: &Arc<StrfryDb>) -> Result<Vec<PeerDiff>, BackfillError> {
    let here = Arc::new(Here::new(Arc::clone(db)));
    let diffs = job.peers.iter().map(|peer| with_peer(job, db, &here, peer));
    futures_util::future::join_all(diffs).await.into_iter().collect()
}

async fn with_peer(
    job: &DiffJob,
    db: &Arc<StrfryDb>,
    here: &Arc<Here>,
    peer: &Peer,
) -> Result<PeerDiff, BackfillError> {
    let dialler = Dialler {
        url: peer.url.clone(),
        allow_local: job.allow_local || !matches!(peer.source, PeerSource::Swarm { .. }),
        time_out: job.timings.connect,
    };
    let view = Arc::new(View {
        db: Arc::clone(db),
        here: Arc::clone(here),
        account: Mutex::new(Account::default()),
    });
    // A ledger of its own: what another peer has given is asked of this one too.
    let ledger = Arc::<Ledger>::default();
    let local: Arc<dyn Local> = Arc::<View>::clone(&view);
    let mut session = PeerSession::sharing(dialler, Share::new(&ledger, local));
    session = session.known_by(job.auth.clone());
    if !job.negentropy {
        session = session.without_comparing();
    }
    let queries = author_queries(&job.pubkeys, &job.kinds, job.since);
    let timings = &job.timings;
    let time_out = if job.since.is_some() { timings.recent } else { timings.full };
    let pace = Pace { time_out, first_pause: timings.first_pause };
    let outcome = session.fetch(queries, pace, &*view).await;
    session.close().await;
    view.settle().await?;
    let finish = {
        let view = Arc::clone(&view);
        move || view.only_here()
    };
    let only_here = blocking(finish).await??;
    Ok(view.summary(peer, &outcome, only_here))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackfillError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| BackfillError::Thread(std::io::Error::other(error)))
}

/// One peer, as far as it is known.
struct View {
    db: Arc<StrfryDb>,
    here: Arc<Here>,
    account: Mutex<Account>,
}

#[derive(Default)]
struct Account {
    /// Genuine events that came.
    given: HashSet<EventId>,
    /// Those of them that have not been looked up yet.
    pending: Vec<Header>,
    lacks: HashSet<EventId>,
    /// Filters of which it has given all that it has.
    all_was_given: Vec<Filter>,
    only_there: Side,
    forged: u64,
    /// What was not asked for, or is no event.
    unwanted: u64,
    error: Option<ReadError>,
}

#[derive(Clone, Copy)]
struct Header {
    id: EventId,
    kind: u64,
    author: Pubkey,
    sig: Signature,
}

impl View {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what has come: is it here, and if not, is it genuine?
    async fn settle(&self) -> Result<(), BackfillError> {
        let pending = std::mem::take(&mut self.account().pending);
        let db = Arc::clone(&self.db);
        let checked = blocking(move || -> Result<_, ReadError> {
            let ids: Vec<EventId> = pending.iter().map(|header| header.id).collect();
            let is_here = db.contains_each(&ids)?;
            let missing = pending.into_iter().zip(is_here).filter(|&(_, is_here)| !is_here);
            let missing =
                missing.map(|(it, _)| (it, signature::is_valid(&it.id, &it.author, &it.sig)));
            Ok(missing.collect::<Vec<_>>())
        });
        let mut checked = checked.await??;
        checked.sort_unstable_by_key(|(header, _)| header.id);
        let mut account = self.account();
        for (header, is_genuine) in checked {
            match is_genuine {
                true => account.only_there.add(header.id, header.kind, header.author),
                false => account.forged += 1,
            }
        }
        match account.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Blocks.
    fn only_here(&self) -> Result<Side, ReadError> {
        let (mut lacks, given, filters) = {
            let mut account = self.account();
            let lacks = std::mem::take(&mut account.lacks);
            (lacks, std::mem::take(&mut account.given), std::mem::take(&mut account.all_was_given))
        };
        for filter in &filters {
            let scan = self.db.scan(vec![ScanFilter::from(filter)], ScanOptions::default());
            for batch in scan.without_json() {
                for event in batch?.iter() {
                    lacks.insert(event.packed()?.id());
                }
            }
        }
        let mut ids: Vec<EventId> = lacks.difference(&given).copied().collect();
        ids.sort_unstable();
        let mut side = Side::default();
        for ids in ids.chunks(COMPARED_HEADERS) {
            let headers = self.db.look_up_each(ids, |snapshot, id| {
                let Some(lev_id) = snapshot.find(id)? else { return Ok(None) };
                Ok(snapshot.packed(lev_id)?.map(|event| (event.kind(), event.pubkey())))
            })?;
            for (id, header) in ids.iter().zip(headers) {
                // Otherwise it has been deleted in the meantime.
                if let Some((kind, author)) = header {
                    side.add(*id, kind, author);
                }
            }
        }
        Ok(side)
    }

    fn summary(&self, peer: &Peer, outcome: &FetchOutcome, only_here: Side) -> PeerDiff {
        let mut account = self.account();
        let mut only_there = std::mem::take(&mut account.only_there);
        only_there.ids.sort_unstable();
        PeerDiff {
            name: peer.name.clone(),
            url: peer.address().to_owned(),
            status: status_of(outcome),
            gaps: gaps_of(outcome),
            gap_count: outcome.gaps.len(),
            only_there,
            only_here,
            refused: account.forged + account.unwanted,
        }
    }
}

impl Local for View {
    fn items<'a>(&'a self, filter: &'a Filter) -> LocalItems<'a> {
        self.here.items(filter)
    }

    fn missing(&self, ids: Vec<EventId>) -> MissingIds<'_> {
        self.here.missing(ids)
    }

    fn not_there(&self, ids: Vec<EventId>) {
        self.account().lacks.extend(ids);
    }

    fn all_was_given(&self, filter: Filter) {
        self.account().all_was_given.push(filter);
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

impl Sink for View {
    async fn event(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let expected = ExpectedId::of(event);
        let is_full = {
            let mut account = self.account();
            if event.id != expected.strfry && event.id != expected.nip01 {
                account.forged += 1;
                return Ok(());
            }
            if account.given.insert(event.id) {
                let Event { id, kind, pubkey: author, sig, .. } = *event;
                account.pending.push(Header { id, kind, author, sig });
            }
            account.pending.len() >= COMPARED_HEADERS
        };
        if is_full && let Err(BackfillError::Database(error)) = self.settle().await {
            self.account().error = Some(error);
            return Err(Stopped);
        }
        Ok(())
    }

    fn unwanted(&self, what: Unwanted) {
        if matches!(what, Unwanted::Unasked | Unwanted::Malformed(_)) {
            self.account().unwanted += 1;
        }
    }

    fn forged(&self) -> u64 {
        self.account().forged
    }
}
