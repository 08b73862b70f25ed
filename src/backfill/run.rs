//! A run from its job to its summary.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::arrived::Arrived;
use super::coverage::Question;
use super::error::BackfillError;
use super::fetch::{Asked, Fetch, StopReason, close, show_import};
use super::intake::{Checked, Checks, Forgeries};
use super::intake::{Entrance, Rules};
use super::job::{Job, Output};
use super::plan::{earliest, shared, since};
use super::promise::{Promise, State, Terms};
use super::recovery::{log_full_history, missing_profiles, recover};
use super::results::{log_summary, open_profile_log, profile_records, write_profiles};
use super::summary::{PeerSummary, PhaseSummary, ProfileCounts, Summary, VERSION};
use super::tunnels::Ipfs;
use crate::import::{Settings, Status, choose_form};
use crate::nostr::{Filter, Pubkey, kind};
use crate::peer::AuthKey;
use crate::report::{Progress, RunLog, clean_whole_for_log, peak_memory, with_causes};
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// Runs a job. `stop` ends the fetching early: what has come in by then is still imported, as far as
/// strfry takes it before `stop` is overdue, and accounted for.
///
/// # Errors
/// What makes a run impossible, before any peer is asked; or the database cannot be read any more.
pub async fn run(
    job: &Job,
    db: Arc<StrfryDb>,
    log: &RunLog,
    progress: &Progress,
    stop: &Stop,
) -> Result<Summary, BackfillError> {
    let (started, started_at) = (Instant::now(), Timestamp::now());
    if !job.dry_run {
        job.strfry.check()?;
    }
    let now = u64::try_from(started_at.as_second()).unwrap_or(0);
    let rules = Rules { limits: job.limits, blacklist: job.blacklist.clone(), began: now };
    let (entrance, work) = Entrance::new(rules);
    let (arrived, forged) = (Arrived::default(), Forgeries::default());
    let missing = missing_at_first(job, &db, &arrived, log).await?;
    let mut promise = make_promise(job, &db, log, &missing, (now, entrance.latest()))?;
    let settings = Settings {
        strfry: (!job.dry_run).then(|| job.strfry.clone()),
        form: choose_form(&db, job.plain, |warning| log.warn(warning))?,
        limits: job.limits,
        window: job.window.clone(),
        check_signatures: job.verify,
        threads: job.threads,
        stop: stop.clone(),
    };
    let checks = Checks {
        db: Arc::clone(&db),
        settings,
        arrived: arrived.clone(),
        forged: Arc::clone(&forged),
    };
    let checks = checks.start(work).map_err(BackfillError::Thread)?;

    let mut fetch = Fetch::new(job, &db, log, progress, (entrance, forged), stop.told());
    let ipfs = Ipfs { command: job.ipfs.clone(), stop: stop.clone() };
    let (mut peers, mut fallback) = (fetch.ask_list(&job.peers), Vec::new());
    // Most peers owe the same.
    let mut queries = HashSet::new();
    for asked in &mut peers {
        let owed = shared(promise.owed_by(&asked.peer)).into_iter();
        asked.queries = owed.map(|query| share(&mut queries, query)).collect();
    }
    drop(queries);
    let fetched = ask_all(&mut fetch, &ipfs, &arrived, &missing, &mut peers, &mut fallback).await;
    let (stopped, tunnels) = (fetch.stopped, std::mem::take(&mut fetch.tunnels));
    let mut phases = std::mem::take(&mut fetch.phases);
    let holes = Arc::clone(&fetch.holes);
    // With it the last entrance goes, at which the checks end.
    drop(fetch);
    let importing = Instant::now();
    let checked = tokio::task::spawn_blocking(move || checks.join());
    // Meanwhile strfry goes on.
    close(&mut peers).await;
    close(&mut fallback).await;
    tunnels.close().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    tokio::pin!(checked);
    let checked = loop {
        tokio::select! {
            checked = &mut checked => break checked,
            _ = ticks.tick() => show_import(progress, &peers, &fallback),
        }
    };
    let checked = match checked {
        Ok(Ok(checked)) => checked,
        _ => Checked { panicked: true, ..Checked::default() },
    };
    progress.finish();
    phases.push(phase("Importing", importing));

    // After a panic nobody knows which events are in the database.
    let holes = holes.all().filter(|_| !checked.panicked);
    for asked in &mut peers {
        let is_covered =
            promise.settle(&asked.peer, &asked.queries, &asked.outcome, holes.as_deref());
        let has_all = asked.outcome.gaps.is_empty() && asked.account.unsettled() == 0;
        asked.is_complete = is_covered && has_all;
    }
    let not_noted = promise.write(&db);
    fetched?;

    checked.notices.iter().for_each(|notice| log.warn(clean_whole_for_log(notice)));
    let writing = Instant::now();
    let mut errors = errors_of(&checked, stopped, job.max_time);
    let mut profiles = if job.profiles {
        let (profiles, trouble) = write_results(job, &db, log, started_at)?;
        errors.extend(trouble);
        profiles
    } else {
        profile_counts(&db, &job.pubkeys)?
    };
    profiles.recovered = recovered(&missing, &profiles.missing_pubkeys);
    phases.push(phase("Profiles", writing));
    errors.extend(not_noted);
    let mut summary = Summary {
        version: VERSION,
        status: Status::Complete,
        started_at: crate::profile::fetched_at(started_at),
        seconds: started.elapsed().as_secs_f64(),
        dry_run: job.dry_run,
        verified: job.verify,
        since: since(now, job.days),
        pubkeys: job.pubkeys.len(),
        profiles,
        received: 0,
        events: BTreeMap::new(),
        reasons: BTreeMap::new(),
        superseded: checked.examples.superseded,
        deleted: checked.examples.deleted,
        gained: checked.gains.summary(),
        bytes_written: checked.bytes_written,
        notices: checked.notices.clone(),
        phases,
        peak_memory: peak_memory(),
        peers: peers.iter_mut().map(Asked::summary).collect(),
        fallback: fallback.iter_mut().map(Asked::help_summary).collect(),
        errors,
        stats: checked.stats,
    };
    for tally in peers.iter().chain(&fallback).map(|asked| &asked.account.tally) {
        summary.received += tally.received();
        for (class, count) in tally.by_class() {
            *summary.events.entry(class).or_default() += count;
        }
        for (reason, count) in tally.reasons() {
            *summary.reasons.entry(reason).or_default() += count;
        }
    }
    let has_failed = checked.error.is_some_and(|error| error.is_failure());
    summary.status = if has_failed || checked.panicked {
        Status::Failed
    } else if peers.iter().all(|asked| asked.is_complete) && summary.errors.is_empty() {
        Status::Complete
    } else {
        Status::Incomplete
    };
    log_summary(log, &summary);
    Ok(summary)
}

/// The query as it is kept for all who ask it.
fn share(queries: &mut HashSet<Arc<Filter>>, query: Arc<Filter>) -> Arc<Filter> {
    match queries.get(&query) {
        Some(known) => Arc::clone(known),
        None => {
            queries.insert(Arc::clone(&query));
            query
        }
    }
}

fn phase(name: &str, began: Instant) -> PhaseSummary {
    PhaseSummary { name: name.to_owned(), seconds: began.elapsed().as_secs_f64() }
}

/// How many of those who had no profile have one now. Both are sorted.
fn recovered(at_first: &[Pubkey], at_last: &[Pubkey]) -> usize {
    at_first.iter().filter(|pubkey| at_last.binary_search(pubkey).is_err()).count()
}

/// Whether this run looks for profiles.
fn recovers(job: &Job) -> bool {
    job.profiles && job.kinds.contains(&kind::PROFILE)
}

/// Authors without a profile when the run begins, if it looks for profiles.
async fn missing_at_first(
    job: &Job,
    db: &Arc<StrfryDb>,
    arrived: &Arrived,
    log: &RunLog,
) -> Result<Vec<Pubkey>, BackfillError> {
    if !recovers(job) {
        return Ok(Vec::new());
    }
    let missing = missing_profiles(db, arrived, &job.pubkeys).await?;
    if job.days > 0 {
        log_full_history(log, &missing, job.pubkeys.len(), &job.peers);
    }
    Ok(missing)
}

/// Promises all that is to be asked for, and has that on the disk before anything is imported.
fn make_promise<'a>(
    job: &'a Job,
    db: &StrfryDb,
    log: &RunLog,
    missing: &'a [Pubkey],
    (began, until): (u64, u64),
) -> Result<Promise<'a>, BackfillError> {
    let state = State {
        path: job.state.as_deref(),
        is_ignored: job.ignore_state,
        is_read_only: job.dry_run,
    };
    let question =
        Question { authors: &job.pubkeys, kinds: &job.kinds, station_kinds: &job.station_kinds };
    let terms = Terms {
        question,
        names_authors: job.names_pubkeys,
        // Without a time limit all peers are asked for everything anyhow.
        missing: if job.days > 0 { missing } else { &[] },
        hidden: missing,
        since: since(began, job.days),
        began,
        until,
        key: job.auth.as_ref().map(AuthKey::pubkey),
    };
    let warn = |warning: &str| log.warn(clean_whole_for_log(warning));
    let mut promise = Promise::make(&state, terms, job.peers.iter(), db, warn)?;
    promise.note(db)?;
    Ok(promise)
}

/// Asks the peers, then others for profiles that are still missing; those end up in `fallback`.
async fn ask_all(
    fetch: &mut Fetch<'_>,
    ipfs: &Ipfs,
    arrived: &Arrived,
    missing: &[Pubkey],
    peers: &mut [Asked],
    fallback: &mut Vec<Asked>,
) -> Result<(), BackfillError> {
    fetch.open_tunnels(ipfs, peers).await;
    fetch.ask_peers(peers).await?;
    if !recovers(fetch.job) {
        return Ok(());
    }
    recover(fetch, arrived, missing, peers, fallback).await
}

impl Asked {
    /// How it went with one of the node's peers.
    fn summary(&mut self) -> PeerSummary {
        let whole = PeerSummary::new(&self.peer, &self.outcome, &self.account.tally);
        let unsettled = self.account.unsettled();
        let summary = whole.lacking(self.is_complete, unsettled, &self.account.tally);
        let seconds = self.talked.as_secs_f64();
        PeerSummary { since: earliest(&self.queries), seconds, sides: self.sides.take(), ..summary }
    }

    /// How it went with a relay that was asked for profiles alone.
    fn help_summary(&mut self) -> PeerSummary {
        let summary = PeerSummary::new(&self.peer, &self.outcome, &self.account.tally);
        PeerSummary { seconds: self.talked.as_secs_f64(), ..summary }
    }
}

fn errors_of(
    checked: &Checked,
    stopped: Option<StopReason>,
    max_time: Option<Duration>,
) -> Vec<String> {
    let mut errors = Vec::new();
    errors.extend(checked.troubles.iter().cloned());
    if let Some(error) = &checked.error {
        errors.push(format!("cannot import: {}", with_causes(error)));
    }
    if checked.panicked {
        errors.push("cannot import: the thread of the checks panicked".to_owned());
    }
    match stopped {
        Some(StopReason::Signal) => errors.push("stopped by a signal before the end".to_owned()),
        Some(StopReason::MaxTime) => errors.push(format!(
            "stopped before the end: the run has taken its longest time ({} s, --max-time); the \
             next one goes on",
            max_time.unwrap_or_default().as_secs()
        )),
        None => {}
    }
    errors
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
    let has_profile = db.has_kind_each(pubkeys, kind::PROFILE)?;
    let missing_pubkeys: Vec<Pubkey> = pubkeys
        .iter()
        .zip(&has_profile)
        .filter(|&(_, &has_profile)| !has_profile)
        .map(|(pubkey, _)| *pubkey)
        .collect();
    let missing = missing_pubkeys.len();
    Ok(ProfileCounts { found: pubkeys.len() - missing, missing, missing_pubkeys, recovered: 0 })
}
