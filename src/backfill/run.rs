//! A run from its plan to its summary: recent events of everybody, everything of those without a
//! profile, profiles from public relays for those still without.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::accounts::{Class, Tally};
use super::check::{Checked, Checks, SeenProfiles};
use super::limits::{CONNECT_TIME_OUT, FIRST_PAUSE, FULL_TIME_OUT, RECENT_TIME_OUT};
use super::plan::{author_queries, since, station_query};
pub use super::results::Output;
use super::results::{log_summary, open_profile_log, profile_records, write_profiles};
use super::screen::{Entrance, Rules};
use super::summary::{PeerStatus, PeerSummary, ProfileCounts, Status, Summary, VERSION};
use crate::import::{EventLimits, StrfryCommand};
use crate::node::{Blacklist, Peer, PeerSource};
use crate::nostr::{Filter, Pubkey, kind};
use crate::relay::{Dialler, FetchOutcome, Gap, GapReason, Pace, PeerSession};
use crate::report::{Progress, ProgressState, RunLog, with_causes};
use crate::strfry_db::{ReadError, StrfryDb};

/// What a run is to do.
#[derive(Debug)]
pub struct Job {
    /// Asked for everything.
    pub peers: Vec<Peer>,
    /// Asked for profiles that no peer has.
    pub fallback: Vec<Peer>,
    /// Whose events; sorted, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// Which kinds; sorted, without repeats.
    pub kinds: Vec<u64>,
    /// Kinds that are asked for whoever their authors are.
    pub station_kinds: Vec<u64>,
    /// So many days back; 0 is all time.
    pub days: u32,
    /// Whether profiles are recovered and written.
    pub profiles: bool,
    /// Whether signatures are checked.
    pub verify: bool,
    /// Fetch and check, but import and write nothing.
    pub dry_run: bool,
    /// strfry's own limits.
    pub limits: EventLimits,
    /// Authors whose events are refused.
    pub blacklist: Blacklist,
    /// How strfry is called.
    pub strfry: StrfryCommand,
    /// Whether peers of the swarm may be dialled at loopback and private addresses.
    pub allow_local: bool,
    /// How long peers are waited for.
    pub timings: Timings,
    /// Files to write.
    pub output: Output,
}

/// How long peers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For a connection.
    pub connect: Duration,
    /// Without progress, for recent events.
    pub recent: Duration,
    /// Without progress, for everything.
    pub full: Duration,
    /// Before a second attempt.
    pub first_pause: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIME_OUT,
            recent: RECENT_TIME_OUT,
            full: FULL_TIME_OUT,
            first_pause: FIRST_PAUSE,
        }
    }
}

/// Why a run could not take place. What goes wrong later is in its summary.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BackfillError {
    #[error(transparent)]
    Strfry(#[from] crate::import::ImportError),
    #[error("cannot look up which profiles are missing: {0}")]
    Database(#[from] ReadError),
    #[error("cannot start a thread: {0}; too many processes or too little memory")]
    Thread(#[source] io::Error),
}

/// A peer and what is known of it so far.
struct Asked {
    peer: Peer,
    tally: Arc<Tally>,
    outcome: FetchOutcome,
    /// Away while a task talks to the peer; gone for good once the run was stopped.
    session: Option<PeerSession>,
}

struct Run<'a> {
    job: &'a Job,
    db: Arc<StrfryDb>,
    log: &'a RunLog,
    progress: &'a Progress,
    entrance: Entrance,
    seen_profiles: SeenProfiles,
    stopped: bool,
}

/// Runs a job. `stop` ends the fetching early: what has come in by then is still imported and
/// accounted for.
///
/// # Errors
/// What makes a run impossible, before any peer is asked.
pub async fn run(
    job: &Job,
    db: Arc<StrfryDb>,
    log: &RunLog,
    progress: &Progress,
    stop: impl Future<Output = ()>,
) -> Result<Summary, BackfillError> {
    let (started, started_at) = (Instant::now(), Timestamp::now());
    if !job.dry_run {
        job.strfry.check()?;
    }
    let now = u64::try_from(started_at.as_second()).unwrap_or(0);
    let rules = Rules { limits: job.limits, blacklist: job.blacklist.clone(), now };
    let (entrance, work) = Entrance::new(rules);
    let seen_profiles = SeenProfiles::default();
    let checks = Checks {
        db: Arc::clone(&db),
        strfry: (!job.dry_run).then(|| job.strfry.clone()),
        check_signatures: job.verify,
        seen_profiles: Arc::clone(&seen_profiles),
    };
    let checks = checks.start(work).map_err(BackfillError::Thread)?;
    let mut run =
        Run { job, db: Arc::clone(&db), log, progress, entrance, seen_profiles, stopped: false };
    let mut peers = ask_list(job, &job.peers);
    let mut fallback = Vec::new();
    let since = since(now, job.days);
    let fetched = run.fetch_all(&mut peers, &mut fallback, since, stop).await;

    // The checks end when the last entrance is gone.
    let stopped = run.stopped;
    drop(run);
    close(&mut peers).await;
    close(&mut fallback).await;
    progress.update(&state_of("Importing", &peers, &fallback));
    let checked = tokio::task::spawn_blocking(move || checks.join()).await;
    let checked = match checked {
        Ok(Ok(checked)) => checked,
        _ => Checked { panicked: true, ..Checked::default() },
    };
    progress.finish();
    fetched?;

    let mut errors = errors_of(&checked, stopped);
    let profiles = if job.profiles {
        let (profiles, trouble) = write_results(job, &db, log, started_at)?;
        errors.extend(trouble);
        profiles
    } else {
        profile_counts(&db, &job.pubkeys)?
    };
    let summarise = |asked: &[Asked]| -> Vec<PeerSummary> {
        asked.iter().map(|it| PeerSummary::new(&it.peer, &it.outcome, &it.tally)).collect()
    };
    let mut summary = Summary {
        version: VERSION,
        status: Status::Complete,
        started_at: crate::profile::fetched_at(started_at),
        seconds: started.elapsed().as_secs_f64(),
        dry_run: job.dry_run,
        verified: job.verify,
        since,
        pubkeys: job.pubkeys.len(),
        profiles,
        received: 0,
        events: BTreeMap::new(),
        reasons: BTreeMap::new(),
        peers: summarise(&peers),
        fallback: summarise(&fallback),
        errors,
        stats: checked.stats,
    };
    for tally in peers.iter().chain(&fallback).map(|asked| &asked.tally) {
        summary.received += tally.received();
        for (class, count) in tally.by_class() {
            *summary.events.entry(class).or_default() += count;
        }
        for (reason, count) in tally.reasons() {
            *summary.reasons.entry(reason).or_default() += count;
        }
    }
    summary.status = if checked.error.is_some() || checked.panicked {
        Status::Failed
    } else if is_complete(&summary) {
        Status::Complete
    } else {
        Status::Incomplete
    };
    log_summary(log, &summary);
    Ok(summary)
}

/// A public relay that does not answer matters only while a profile is still missing.
fn is_complete(summary: &Summary) -> bool {
    let all = |peers: &[PeerSummary]| peers.iter().all(|peer| peer.status == PeerStatus::Complete);
    let unsettled = [Class::NotConfirmed, Class::Rejected, Class::Dropped];
    all(&summary.peers)
        && (summary.profiles.missing == 0 || all(&summary.fallback))
        && unsettled.iter().all(|&class| summary.events_of(class) == 0)
        && summary.errors.is_empty()
}

fn errors_of(checked: &Checked, stopped: bool) -> Vec<String> {
    let mut errors = Vec::new();
    if let Some(error) = &checked.replaced {
        errors.push(format!("strfry had to be started again: {error}"));
    }
    if let Some(error) = &checked.error {
        errors.push(format!("cannot import: {}", with_causes(error)));
    }
    if checked.panicked {
        errors.push("cannot import: the thread of the checks panicked".to_owned());
    }
    if stopped {
        errors.push("stopped by a signal before the end".to_owned());
    }
    errors
}

fn ask_list(job: &Job, peers: &[Peer]) -> Vec<Asked> {
    let session = |peer: &Peer| {
        PeerSession::new(Dialler {
            url: peer.url.clone(),
            allow_local: job.allow_local || !matches!(peer.source, PeerSource::Swarm { .. }),
            time_out: job.timings.connect,
        })
    };
    peers
        .iter()
        .map(|peer| Asked {
            session: Some(session(peer)),
            peer: peer.clone(),
            tally: Arc::default(),
            outcome: FetchOutcome::default(),
        })
        .collect()
}

async fn close(peers: &mut [Asked]) {
    let sessions = peers.iter_mut().filter_map(|asked| asked.session.take());
    futures_util::future::join_all(sessions.map(PeerSession::close)).await;
}

fn state_of<'a>(phase: &'a str, peers: &[Asked], fallback: &[Asked]) -> ProgressState<'a> {
    let all = || peers.iter().chain(fallback);
    let sum = |count: fn(&Tally) -> u64| all().map(|asked| count(&asked.tally)).sum();
    ProgressState {
        phase,
        peers_done: all().filter(|asked| asked.session.is_some()).count(),
        peers_total: all().count(),
        received: sum(Tally::received),
        imported: sum(|tally| tally.of(Class::Imported)),
    }
}

impl Run<'_> {
    async fn fetch_all(
        &mut self,
        peers: &mut [Asked],
        fallback: &mut Vec<Asked>,
        since: Option<u64>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), BackfillError> {
        let mut stop = std::pin::pin!(stop);
        let job = self.job;
        let mut queries = author_queries(&job.pubkeys, &job.kinds, since);
        queries.extend(station_query(job.station_kinds.clone(), since));
        let recent = self.pace(job.timings.recent);
        self.ask("Recent events", peers, |_| queries.clone(), recent, stop.as_mut()).await;
        if self.is_over() || !job.profiles || !job.kinds.contains(&kind::PROFILE) {
            return Ok(());
        }

        let mut missing = self.missing_profiles(&job.pubkeys).await?;
        self.log_missing(&missing, since);
        // With no limit of time the peers have been asked for everything already.
        if !missing.is_empty() && since.is_some() {
            self.log_recovery(&missing, peers);
            let queries = |asked: &Asked| {
                let mut queries = author_queries(&missing, &job.kinds, None);
                // What a peer has given completely is not asked for again.
                if asked.outcome.gaps.is_empty() {
                    let before = since.and_then(|since| since.checked_sub(1));
                    queries.iter_mut().for_each(|query| query.until = before);
                }
                queries
            };
            let full = self.pace(job.timings.full);
            self.ask("Full sync", peers, queries, full, stop.as_mut()).await;
            let before = std::mem::take(&mut missing);
            missing = self.missing_profiles(&before).await?;
            self.log_recovered(&before, &missing);
        }
        if !missing.is_empty() && !self.is_over() && !job.fallback.is_empty() {
            self.log.info(format_args!(
                "Asking {} public relays for {} profiles",
                job.fallback.len(),
                missing.len()
            ));
            *fallback = ask_list(job, &job.fallback);
            let queries = author_queries(&missing, &[kind::PROFILE], None);
            let pace = self.pace(job.timings.recent);
            self.ask("Public relays", fallback, |_| queries.clone(), pace, stop.as_mut()).await;
        }
        Ok(())
    }

    /// Told to stop, or strfry takes nothing more.
    fn is_over(&self) -> bool {
        self.stopped || self.entrance.is_closed()
    }

    fn pace(&self, time_out: Duration) -> Pace {
        Pace { time_out, first_pause: self.job.timings.first_pause }
    }

    /// Asks all peers at once, each in a task of its own, and waits until all have answered and
    /// what they sent has been checked.
    async fn ask(
        &mut self,
        phase: &str,
        peers: &mut [Asked],
        queries: impl Fn(&Asked) -> Vec<Filter>,
        pace: Pace,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for (position, asked) in peers.iter_mut().enumerate() {
            let queries = queries(asked);
            let Some(mut session) = asked.session.take() else { continue };
            let sink = self.entrance.for_peer(Arc::clone(&asked.tally));
            tasks.spawn(async move {
                let outcome = session.fetch(queries, pace, &sink).await;
                (position, session, outcome)
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                finished = tasks.join_next() => match finished {
                    Some(Ok((position, session, outcome))) => {
                        if let Some(asked) = peers.get_mut(position) {
                            asked.session = Some(session);
                            asked.outcome.merge(outcome);
                        }
                    }
                    // A task that panicked: its session is gone, which shows below.
                    Some(Err(_)) => {}
                    None => break,
                },
                _ = ticks.tick() => self.progress.update(&state_of(phase, peers, &[])),
                () = &mut stop, if !self.stopped => {
                    self.stopped = true;
                    tasks.abort_all();
                }
            }
        }
        for asked in peers.iter_mut().filter(|asked| asked.session.is_none()) {
            let gaps = queries(asked).into_iter();
            let reason = GapReason::Stopped;
            asked.outcome.gaps.extend(gaps.map(|filter| Gap { filter, reason: reason.clone() }));
        }
        self.entrance.wait_until_checked().await;
        self.log.perf(format_args!("{phase}: {:.1} s", started.elapsed().as_secs_f64()));
    }

    /// Those of these pubkeys that have no profile, neither in the database nor on its way there.
    async fn missing_profiles(&self, pubkeys: &[Pubkey]) -> Result<Vec<Pubkey>, BackfillError> {
        let (db, pubkeys) = (Arc::clone(&self.db), pubkeys.to_vec());
        let looked_up = tokio::task::spawn_blocking(move || {
            let found = db.newest_of_each(&pubkeys, kind::PROFILE)?;
            let missing = pubkeys.into_iter().zip(found).filter(|(_, found)| found.is_none());
            Ok(missing.map(|(pubkey, _)| pubkey).collect::<Vec<_>>())
        });
        let missing: Result<_, ReadError> =
            looked_up.await.map_err(|error| BackfillError::Thread(io::Error::other(error)))?;
        let seen = self.seen_profiles.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(missing?.into_iter().filter(|pubkey| !seen.contains(pubkey)).collect())
    }

    fn log_missing(&self, missing: &[Pubkey], since: Option<u64>) {
        let next = if since.is_some() { " - scheduling full sync" } else { "" };
        for pubkey in missing {
            self.log.warn(format_args!("  ❌ {}... NO PROFILE FOUND{next}", pubkey.short()));
        }
        let found = self.job.pubkeys.len().saturating_sub(missing.len());
        self.log.info(format_args!("📊 Found {found} HEX pubkeys with profiles"));
        self.log.info(format_args!("📊 Found {} HEX pubkeys WITHOUT profiles", missing.len()));
    }

    fn log_recovery(&self, missing: &[Pubkey], peers: &[Asked]) {
        self.log.info(format_args!(
            "🔄 Triggering FULL SYNC (no time limit) for {} HEX pubkeys without profiles...",
            missing.len()
        ));
        for pubkey in missing {
            self.log.info(format_args!(
                "  🔄 FULL SYNC for {}... (all messages, no time limit)",
                pubkey.short()
            ));
        }
        for asked in peers {
            self.log.info(format_args!(
                "    📡 Syncing from: {}",
                crate::report::clean_for_log(asked.peer.address())
            ));
        }
    }

    fn log_recovered(&self, before: &[Pubkey], missing: &[Pubkey]) {
        let missing: HashSet<&Pubkey> = missing.iter().collect();
        for pubkey in before.iter().filter(|pubkey| !missing.contains(pubkey)) {
            self.log.info(format_args!("    ✅ Full sync successful for {}", pubkey.short()));
        }
    }
}

fn write_results(
    job: &Job,
    db: &StrfryDb,
    log: &RunLog,
    started_at: Timestamp,
) -> Result<(ProfileCounts, Vec<String>), BackfillError> {
    let output = if job.dry_run { &Output::default() } else { &job.output };
    let (profile_log, trouble) = open_profile_log(output);
    let records = profile_records(db, &job.pubkeys, [log, &profile_log], started_at)?;
    let mut errors = write_profiles(output, &records);
    errors.extend(trouble);
    errors.extend(profile_log.write_failed().map(|lost| lost.to_string()));
    Ok((profile_counts(db, &job.pubkeys)?, errors))
}

fn profile_counts(db: &StrfryDb, pubkeys: &[Pubkey]) -> Result<ProfileCounts, BackfillError> {
    let found = db.newest_of_each(pubkeys, kind::PROFILE)?;
    let missing_pubkeys: Vec<Pubkey> = pubkeys
        .iter()
        .zip(&found)
        .filter(|(_, found)| found.is_none())
        .map(|(pubkey, _)| *pubkey)
        .collect();
    let missing = missing_pubkeys.len();
    Ok(ProfileCounts { found: pubkeys.len() - missing, missing, missing_pubkeys })
}
