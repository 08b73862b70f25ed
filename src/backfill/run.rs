//! A run from its job to its summary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::accounts::Class;
use super::arrived::Arrived;
use super::check::{Checked, Checks, Forgeries};
use super::error::BackfillError;
use super::fetch::{Asked, Fetch, StopReason, close, state_of};
use super::job::{Job, Output};
use super::plan::since;
use super::recovery::recover;
use super::remembered::read_state;
use super::results::{log_summary, open_profile_log, profile_records, write_profiles};
use super::screen::{Entrance, Rules};
use super::summary::{AUTHOR, PeerStatus, PeerSummary, ProfileCounts, Summary, VERSION};
use super::tunnels::Ipfs;
use crate::import::{Settings, Status, choose_form};
use crate::nostr::{Pubkey, kind};
use crate::report::{Progress, RunLog, clean_for_log, with_causes};
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// Runs a job. `stop` ends the fetching early: what has come in by then is still imported, as far as
/// strfry takes it before `stop` is overdue, and accounted for.
///
/// # Errors
/// What makes a run impossible, before any peer is asked.
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
    let since = since(now, job.days);
    let rules = Rules { limits: job.limits, blacklist: job.blacklist.clone(), began: now };
    let (entrance, work) = Entrance::new(rules);
    let (arrived, forged) = (Arrived::default(), Forgeries::default());
    let mut state = read_state(job.state.as_deref(), job.full, |warning| {
        log.warn(clean_for_log(warning));
    });
    let settings = Settings {
        strfry: (!job.dry_run).then(|| job.strfry.clone()),
        form: choose_form(&db, job.plain, |warning| log.warn(warning))?,
        limits: job.limits,
        check_signatures: job.verify,
        threads: 0,
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
    for asked in &mut peers {
        asked.since = since.map(|since| state.since(&asked.peer, since));
    }
    let fetched = ask_all(&mut fetch, &ipfs, &arrived, &mut peers, &mut fallback).await;
    let (stopped, tunnels) = (fetch.stopped, std::mem::take(&mut fetch.tunnels));
    // With it the last entrance goes, at which the checks end.
    drop(fetch);
    let checked = tokio::task::spawn_blocking(move || checks.join());
    // Meanwhile strfry goes on.
    close(&mut peers).await;
    close(&mut fallback).await;
    tunnels.close().await;
    progress.update(&state_of("Importing", &peers, &fallback));
    let checked = match checked.await {
        Ok(Ok(checked)) => checked,
        _ => Checked { panicked: true, ..Checked::default() },
    };
    progress.finish();
    fetched?;

    let mut errors = errors_of(&checked, stopped, job.max_time);
    let profiles = if job.profiles {
        let (profiles, trouble) = write_results(job, &db, log, started_at)?;
        errors.extend(trouble);
        profiles
    } else {
        profile_counts(&db, &job.pubkeys)?
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
        superseded: checked.examples.superseded,
        deleted: checked.examples.deleted,
        peers: summaries(&mut peers),
        fallback: summaries(&mut fallback),
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
    } else if is_complete(&summary) {
        Status::Complete
    } else {
        Status::Incomplete
    };
    // An event that was received and is not in the database must be asked for again.
    let unsettled = [Class::NotConfirmed, Class::Rejected, Class::Dropped];
    if summary.status != Status::Failed && unsettled.iter().all(|&it| summary.events_of(it) == 0) {
        let complete = peers.iter().filter(|asked| asked.recent_is_complete);
        summary.errors.extend(state.write(job, complete.map(|asked| &asked.peer), now));
        if !summary.errors.is_empty() {
            summary.status = summary.status.max(Status::Incomplete);
        }
    }
    log_summary(log, &summary);
    Ok(summary)
}

/// Goes through the phases. Whoever is asked for profiles alone ends up in `fallback`.
async fn ask_all(
    fetch: &mut Fetch<'_>,
    ipfs: &Ipfs,
    arrived: &Arrived,
    peers: &mut [Asked],
    fallback: &mut Vec<Asked>,
) -> Result<(), BackfillError> {
    fetch.open_tunnels(ipfs, peers).await;
    fetch.recent(peers).await?;
    let job = fetch.job;
    if fetch.is_over() || !job.profiles || !job.kinds.contains(&kind::PROFILE) {
        return Ok(());
    }
    recover(fetch, arrived, peers, fallback).await
}

fn summaries(asked: &mut [Asked]) -> Vec<PeerSummary> {
    let summary = |it: &mut Asked| {
        let summary = PeerSummary::new(&it.peer, it.since, &it.outcome, &it.account.tally);
        PeerSummary { sides: it.sides.take(), ..summary }
    };
    asked.iter_mut().map(summary).collect()
}

/// A public relay that does not answer matters only while a profile is still missing; one that an
/// author names never: many are long gone.
fn is_complete(summary: &Summary) -> bool {
    let is_complete =
        |peer: &PeerSummary| peer.status == PeerStatus::Complete || peer.source == AUTHOR;
    let all = |peers: &[PeerSummary]| peers.iter().all(is_complete);
    let unsettled = [Class::NotConfirmed, Class::Rejected, Class::Dropped];
    all(&summary.peers)
        && (summary.profiles.missing == 0 || all(&summary.fallback))
        && unsettled.iter().all(|&class| summary.events_of(class) == 0)
        && summary.errors.is_empty()
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
    Ok(ProfileCounts { found: pubkeys.len() - missing, missing, missing_pubkeys })
}
