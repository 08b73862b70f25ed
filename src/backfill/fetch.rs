//! Asks all peers at once: their sessions, what each is asked and has given, and one phase of a run,
//! at whose end everything that came has been checked. It does not decide what is asked.

use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::accounts::{Class, Tally};
use super::difference::{Common, Difference, Sides, Watched};
use super::error::BackfillError;
use super::holes::Holes;
use super::intake::Forgeries;
use super::intake::{Account, Entrance};
use super::job::{Job, deadline};
use super::limits::{COMPARED_PEERS, FORGERIES_OF_AN_HONEST_PEER, ROUNDS_AFTER_FORGERIES};
use super::local_index::LocalIndex;
use super::plan::Span;
use super::progress::{PeerProgress, Seen};
use super::summary::{PeerStatus, PhaseSummary, status_of};
use super::tunnels::{Ipfs, Tunnels};
use super::unknown_author_quota::UnknownAuthorQuota;
use super::write_relays::is_strangers;
use crate::node::{Peer, PeerSource};
use crate::nostr::{EventId, Filter, Pubkey};
use crate::peer::limits::CONVERSATIONS;
use crate::peer::{
    Dialler, FetchOutcome, ForgedIds, Gap, GapReason, Pace, PeerSession, Room, Share, WantList,
};
use crate::report::{Level, PeerState, Progress, ProgressState, RunLog, clean_for_log};
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// A peer and what is known of it so far.
pub(super) struct Asked {
    pub(super) peer: Peer,
    pub(super) account: Arc<Account>,
    /// What it is asked.
    pub(super) queries: Vec<Arc<Filter>>,
    pub(super) outcome: FetchOutcome,
    /// How long it has been talked to.
    pub(super) talked: Duration,
    /// It owes nothing any more; known when everything is settled.
    pub(super) is_complete: bool,
    /// In a dry run, until all its answers are there.
    difference: Option<Arc<Difference>>,
    /// What came of that.
    pub(super) sides: Option<Sides>,
    /// Away while a task talks to the peer; gone for good if that panicked, or if the run was stopped
    /// before it began.
    session: Option<PeerSession>,
}

/// What all phases share.
pub(super) struct Fetch<'a> {
    pub(super) job: &'a Job,
    pub(super) db: Arc<StrfryDb>,
    pub(super) log: &'a RunLog,
    progress: &'a Progress,
    entrance: Entrance,
    forged: Forgeries,
    /// Events of all peers that are to be asked for again.
    pub(super) holes: Arc<Holes>,
    /// All others are strangers; sorted.
    known: Arc<[Pubkey]>,
    /// Which events are needed, of which peer.
    ledger: Arc<WantList>,
    /// Which events each peer has given.
    seen: Arc<Seen>,
    /// Memory for large messages of all peers.
    room: Room,
    conversations: Arc<Semaphore>,
    here: Arc<LocalIndex>,
    /// A dry run also tells how each peer and the database differ.
    compared: Option<Arc<Common>>,
    /// Open until the end of the run.
    pub(super) tunnels: Tunnels,
    /// How long its parts took.
    pub(super) phases: Vec<PhaseSummary>,
    /// Tells the run to stop.
    stop: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// When the run has reached its longest time.
    deadline: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// Tells conversations under way to end, with what has been answered by then.
    end: Stop,
    /// Why no peer is asked any more.
    pub(super) stopped: Option<StopReason>,
}

impl Asked {
    /// As progress tells it: a peer that is talked to has no session here.
    fn state(&self) -> PeerState {
        let (state, is_done) = match (&self.session, status_of(&self.outcome)) {
            (None, _) => ("asking", false),
            (Some(_), PeerStatus::Complete) => ("complete", true),
            (Some(_), PeerStatus::Incomplete) => ("incomplete", false),
            (Some(_), PeerStatus::Failed) => ("failed", false),
        };
        let received = self.account.tally.received();
        PeerState { name: self.peer.name.clone(), state, received, is_done }
    }

    /// Nothing that it is asked is known to have come.
    fn miss_all(&mut self, reason: &GapReason) {
        let gap =
            |filter: &Arc<Filter>| Gap { filter: Filter::clone(filter), reason: reason.clone() };
        self.outcome.gaps.extend(self.queries.iter().map(gap));
    }
}

/// Why a run ends before all peers have been asked for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// It was told to.
    Signal,
    /// It has reached its longest time.
    MaxTime,
}

async fn stop_reason(
    stop: &mut (impl Future<Output = ()> + Unpin),
    deadline: &mut (impl Future<Output = ()> + Unpin),
) -> StopReason {
    tokio::select! {
        () = stop => StopReason::Signal,
        () = deadline => StopReason::MaxTime,
    }
}

/// A profile or two are asked for faster than compared.
fn is_for_profiles(peer: &Peer) -> bool {
    matches!(peer.source, PeerSource::Fallback | PeerSource::Author)
}

/// Says goodbye to peers.
pub(super) async fn close(peers: &mut [Asked]) {
    let sessions = peers.iter_mut().filter_map(|asked| asked.session.take());
    futures_util::future::join_all(sessions.map(PeerSession::close)).await;
}

/// Shows how far all peers are with a phase.
pub(super) fn show(progress: &Progress, phase: &str, peers: &[Asked], fallback: &[Asked]) {
    let all = || peers.iter().chain(fallback);
    let sum = |count: fn(&Tally) -> u64| all().map(|asked| count(&asked.account.tally)).sum();
    let (received, imported): (u64, u64) = (sum(Tally::received), sum(|it| it.of(Class::Imported)));
    let done = all().filter(|asked| asked.session.is_some()).count();
    let total = all().count();
    let text =
        format!("{done} of {total} peers done, {received} events received, {imported} imported");
    let peers: Vec<PeerState> = all().map(Asked::state).collect();
    let share = Some((done as u64, total as u64));
    progress.update(&ProgressState { phase, text: &text, share, peers: &peers });
}

/// Shows how far the checks and strfry are with what has come.
pub(super) fn show_import(progress: &Progress, peers: &[Asked], fallback: &[Asked]) {
    let all = peers.iter().chain(fallback).map(|asked| &asked.account.tally);
    let (mut received, mut settled, mut imported) = (0, 0, 0);
    for tally in all {
        received += tally.received();
        settled += tally.settled();
        imported += tally.of(Class::Imported);
    }
    let text = format!("{settled} of {received} events, {imported} imported");
    let share = Some((settled, received));
    progress.update(&ProgressState { phase: "Importing", text: &text, share, peers: &[] });
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        job: &'a Job,
        db: &Arc<StrfryDb>,
        log: &'a RunLog,
        progress: &'a Progress,
        (entrance, forged): (Entrance, Forgeries),
        stop: impl Future<Output = ()> + 'a,
    ) -> Self {
        let known: Arc<[Pubkey]> = job.pubkeys.as_slice().into();
        let here = Arc::new(LocalIndex::new(Arc::clone(db)));
        let compared = job.dry_run.then(|| {
            Arc::new(Common {
                db: Arc::clone(db),
                here: Arc::clone(&here),
                blacklist: job.blacklist.clone(),
                known: Arc::clone(&known),
                strangers: job.strangers,
                turn: Arc::default(),
            })
        });
        // In a dry run each peer is asked for everything, with a ledger of its own.
        let conversations = if job.dry_run { COMPARED_PEERS } else { CONVERSATIONS };
        Self {
            job,
            db: Arc::clone(db),
            log,
            progress,
            entrance,
            forged,
            holes: Arc::default(),
            known,
            ledger: Arc::default(),
            seen: Arc::default(),
            room: Room::default(),
            conversations: Arc::new(Semaphore::new(conversations)),
            here,
            compared,
            tunnels: Tunnels::default(),
            phases: Vec::new(),
            stop: Box::pin(stop),
            deadline: Box::pin(deadline(job.max_time)),
            end: Stop::default(),
            stopped: None,
        }
    }

    /// Peers that nothing has been asked of yet.
    pub(super) fn ask_list(&self, peers: &[Peer]) -> Vec<Asked> {
        let asked = |peer: &Peer| {
            let common = self.compared.as_ref().filter(|_| !is_for_profiles(peer));
            let difference = common.map(Difference::with);
            let forged = Arc::<ForgedIds>::default();
            Asked {
                session: Some(self.session(peer, difference.as_ref()).distrusting(&forged)),
                peer: peer.clone(),
                account: Arc::new(Account {
                    tally: Tally::default(),
                    holes: Arc::clone(&self.holes),
                    strangers: UnknownAuthorQuota::bounded(&self.known, self.job.strangers),
                    progress: PeerProgress::new(&self.seen),
                    forged,
                }),
                queries: Vec::new(),
                outcome: FetchOutcome::default(),
                talked: Duration::ZERO,
                is_complete: false,
                difference,
                sides: None,
            }
        };
        peers.iter().map(asked).collect()
    }

    fn session(&self, peer: &Peer, difference: Option<&Arc<Difference>>) -> PeerSession {
        let allow_local = self.job.allow_local || !is_strangers(&peer.source);
        let dialler = Dialler::new(peer.url.clone(), allow_local, self.job.timings.connect)
            .traced(&self.job.trace, &peer.name);
        let session = if let Some(difference) = difference {
            difference.session(dialler, self.job.negentropy)
        } else if !self.job.negentropy || is_for_profiles(peer) {
            PeerSession::new(dialler)
        } else {
            let here: Arc<LocalIndex> = Arc::clone(&self.here);
            PeerSession::sharing(dialler, Share::new(&self.ledger, here))
        };
        let session = session.known_by(self.job.auth.clone()).within(&self.room);
        session.not_after(self.entrance.latest()).until(&self.end)
    }

    /// Opens the tunnels to those peers that need one. A peer whose tunnel does not open is not
    /// asked.
    pub(super) async fn open_tunnels(&mut self, ipfs: &Ipfs, peers: &mut [Asked]) {
        let patience = self.job.timings.connect;
        let stations = peers.iter().map(|asked| &asked.peer);
        Tunnels::close_left_behind(ipfs, stations.clone()).await;
        self.tunnels = Tunnels::open(ipfs, stations, patience).await;
        for (position, asked) in peers.iter_mut().enumerate() {
            let Some(session) = &mut asked.session else { continue };
            if let Err(reason) = self.tunnels.lead(position, session) {
                let told = format!("{}: {reason}", asked.peer.name);
                self.log.record(Level::Warn, clean_for_log(&told));
            }
        }
    }

    /// Asks the node's peers for what each owes.
    pub(super) async fn ask_peers(&mut self, peers: &mut [Asked]) -> Result<(), BackfillError> {
        self.ask("Asking peers", peers).await;
        for asked in peers {
            if let Some(difference) = asked.difference.take() {
                asked.sides = Some(difference.end().await?);
            }
        }
        Ok(())
    }

    /// Told to stop, or strfry takes nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.is_some() || self.entrance.is_closed()
    }

    /// From this second to the last of which events are taken.
    pub(super) fn span(&self, since: Option<u64>) -> Span {
        Span { since, until: self.entrance.latest() }
    }

    /// Full histories take a relay longer, but not those of one kind.
    fn pace(&self, asked: &Asked) -> Pace {
        let timings = &self.job.timings;
        let is_full = asked.queries.iter().any(|query| query.since.is_none());
        let time_out = match is_full && !is_for_profiles(&asked.peer) {
            true => timings.full,
            false => timings.recent,
        };
        Pace { time_out, first_pause: timings.first_pause }
    }

    /// Asks all peers at once for their queries, each in a task of its own, and waits until all have
    /// answered and what they sent has been checked.
    pub(super) async fn ask(&mut self, phase: &str, peers: &mut [Asked]) {
        let started = Instant::now();
        self.ask_once(phase, peers, |_| true).await;
        for _ in 0..ROUNDS_AFTER_FORGERIES {
            // In a dry run all peers are asked for everything anyhow.
            if self.is_over() || self.job.dry_run {
                break;
            }
            let forged = std::mem::take(&mut *self.forged());
            if forged.is_empty() {
                break;
            }
            self.ledger.reopen(&forged);
            let is_honest =
                |asked: &Asked| asked.account.forged.len() <= FORGERIES_OF_AN_HONEST_PEER;
            self.ask_once(phase, peers, is_honest).await;
        }
        let left = std::mem::take(&mut *self.forged());
        if !left.is_empty() && !self.job.dry_run {
            // Whose genuine events were displaced last is not known.
            let reason = match self.stopped {
                Some(_) => GapReason::Stopped,
                None => GapReason::Forged(left.len() as u64),
            };
            for asked in peers.iter_mut() {
                asked.miss_all(&reason);
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        self.log.perf(format_args!("{phase}: {seconds:.1} s"));
        self.phases.push(PhaseSummary { name: phase.to_owned(), seconds });
    }

    fn forged(&self) -> MutexGuard<'_, Vec<EventId>> {
        self.forged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_once(
        &mut self,
        phase: &str,
        peers: &mut [Asked],
        is_asked: impl Fn(&Asked) -> bool,
    ) {
        let compares = |asked: &&Asked| self.job.negentropy && !is_for_profiles(&asked.peer);
        let compared = peers.iter().filter(|asked| is_asked(asked)).filter(compares);
        self.here.expect(compared.flat_map(|asked| &asked.queries));
        let mut tasks = JoinSet::new();
        for (position, asked) in peers.iter_mut().enumerate() {
            let queries = if is_asked(asked) { asked.queries.clone() } else { Vec::new() };
            let pace = self.pace(asked);
            let Some(mut session) = asked.session.take() else { continue };
            if self.stopped.is_some() {
                continue;
            }
            let account = Arc::clone(&asked.account);
            let sink = self.entrance.for_peer(Arc::clone(&account));
            let sink = Watched { sink, difference: asked.difference.clone() };
            let conversations = Arc::clone(&self.conversations);
            let has_own_ledger = self.job.dry_run;
            let end = self.end.clone();
            tasks.spawn(async move {
                let turn = tokio::select! {
                    // It is never closed, and the conversation needs no more than its turn.
                    turn = conversations.acquire_owned() => Some(turn),
                    // Then it asks nothing.
                    () = end.told() => None,
                };
                let began = Instant::now();
                let mut outcome = session.fetch(queries, pace, &sink).await;
                let talked = began.elapsed();
                if has_own_ledger {
                    // Gives back the memory of the one that it had.
                    session.join(&Arc::default());
                }
                account.strangers.explain(&mut outcome);
                if let Some(difference) = &sink.difference {
                    difference.strangers.explain(&mut outcome);
                    // Before the next conversation, and not waited for.
                    let difference = Arc::clone(difference);
                    tokio::spawn(async move {
                        difference.conclude().await;
                        drop(turn);
                    });
                }
                (position, session, outcome, talked)
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                finished = tasks.join_next() => match finished {
                    Some(Ok((position, session, outcome, talked))) => {
                        if let Some(asked) = peers.get_mut(position) {
                            asked.session = Some(session);
                            asked.outcome.merge(outcome);
                            asked.talked += talked;
                        }
                    }
                    // Panicked: its session is gone, which shows below.
                    Some(Err(_)) => {}
                    None => break,
                },
                _ = ticks.tick() => show(self.progress, phase, peers, &[]),
                reason = stop_reason(&mut self.stop, &mut self.deadline), if self.stopped.is_none() => {
                    self.stopped = Some(reason);
                    self.end.tell();
                    self.log.info("Told to stop: asks no peer any more, imports what has come");
                }
            }
        }
        let reason = match self.stopped {
            // Most likely because it was not asked at all.
            Some(_) => GapReason::Stopped,
            None => GapReason::Cut("the task of this conversation panicked".to_owned()),
        };
        for asked in peers.iter_mut().filter(|asked| asked.session.is_none()) {
            asked.miss_all(&reason);
        }
        self.entrance.wait_until_checked().await;
    }
}
