//! Looks for profiles that are still missing after the peers were asked: at the relays to which
//! their authors publish, then at public relays. These relays are help, not a duty: what they do
//! not answer makes no run incomplete. A profile counts as found when it is in the database or on
//! its way there.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::arrived::Arrived;
use super::error::BackfillError;
use super::fetch::{Asked, Fetch};
use super::plan::{author_queries, shared};
use super::write_relays::{by_relay, write_relays};
use crate::node::Peer;
use crate::nostr::{Pubkey, kind};
use crate::report::{Level, RunLog, clean_for_log};
use crate::strfry_db::{ReadError, StrfryDb};

/// Asks one place after the other while a profile is missing. `owed`: the authors of whom the
/// peers, who have been asked, owed everything. Relays that are asked are added to `others`.
pub(super) async fn recover(
    fetch: &mut Fetch<'_>,
    arrived: &Arrived,
    owed: &[Pubkey],
    peers: &[Asked],
    others: &mut Vec<Asked>,
) -> Result<(), BackfillError> {
    let (job, db) = (fetch.job, Arc::clone(&fetch.db));
    let mut missing = missing_profiles(&db, arrived, &job.pubkeys).await?;
    if job.days > 0 {
        log_recovered(fetch.log, owed, &missing);
    } else {
        log_missing(fetch.log, &missing);
        log_counts(fetch.log, &missing, job.pubkeys.len());
    }
    if fetch.is_over() {
        return Ok(());
    }
    if !missing.is_empty() {
        let lists = relay_lists_of(&db, arrived, &missing).await?;
        let asked = ask_write_relays(fetch, lists, peers).await;
        if !asked.is_empty() {
            others.extend(asked);
            missing = missing_profiles(&db, arrived, &missing).await?;
        }
    }
    if !missing.is_empty() && !fetch.is_over() && !job.fallback.is_empty() {
        others.extend(ask_public_relays(fetch, &missing).await);
    }
    Ok(())
}

/// Tells of whom everything will be asked for, because their profile is missing.
pub(super) fn log_full_history(log: &RunLog, missing: &[Pubkey], pubkeys: usize, peers: &[Peer]) {
    log_counts(log, missing, pubkeys);
    if missing.is_empty() {
        return;
    }
    log.info(format_args!(
        "🔄 Triggering FULL SYNC (no time limit) for {} HEX pubkeys without profiles...",
        missing.len()
    ));
    for pubkey in missing {
        log.info(format_args!(
            "  🔄 FULL SYNC for {}... (all messages, no time limit)",
            pubkey.short()
        ));
    }
    for peer in peers {
        log.info(format_args!("    📡 Syncing from: {}", clean_for_log(peer.address())));
    }
}

/// Asks each relay for those authors alone who publish to it; returns the relays that are no peers.
async fn ask_write_relays(
    fetch: &mut Fetch<'_>,
    lists: Vec<(Pubkey, Vec<Peer>)>,
    peers: &[Asked],
) -> Vec<Asked> {
    let known: HashSet<&str> = peers.iter().map(|asked| asked.peer.address()).collect();
    let mut relays = by_relay(lists, fetch.job.allow_local);
    relays.retain(|(peer, _)| !known.contains(peer.address()));
    if relays.is_empty() {
        return Vec::new();
    }
    fetch.log.info(format_args!("Asking {} relays that authors publish to", relays.len()));
    let (relays, authors): (Vec<Peer>, Vec<Vec<Pubkey>>) = relays.into_iter().unzip();
    let mut asked = fetch.ask_list(&relays);
    let authors: HashMap<&str, Vec<Pubkey>> =
        relays.iter().map(Peer::address).zip(authors).collect();
    let span = fetch.span(None);
    for asked in &mut asked {
        let authors = authors.get(asked.peer.address()).map_or(&[][..], Vec::as_slice);
        asked.queries = shared(author_queries(authors, &[kind::PROFILE], span));
    }
    fetch.ask("Authors' relays", &mut asked).await;
    asked
}

async fn ask_public_relays(fetch: &mut Fetch<'_>, missing: &[Pubkey]) -> Vec<Asked> {
    let job = fetch.job;
    fetch.log.info(format_args!(
        "Asking {} public relays for {} profiles",
        job.fallback.len(),
        missing.len()
    ));
    let mut public = fetch.ask_list(&job.fallback);
    let queries = shared(author_queries(missing, &[kind::PROFILE], fetch.span(None)));
    for asked in &mut public {
        asked.queries.clone_from(&queries);
    }
    fetch.ask("Public relays", &mut public).await;
    public
}

/// Those of these pubkeys that have no profile, neither in the database nor on its way there.
pub(super) async fn missing_profiles(
    db: &Arc<StrfryDb>,
    arrived: &Arrived,
    pubkeys: &[Pubkey],
) -> Result<Vec<Pubkey>, BackfillError> {
    let (db, pubkeys) = (Arc::clone(db), pubkeys.to_vec());
    let look_up = move || {
        let has_profile = db.has_kind_each(&pubkeys, kind::PROFILE)?;
        let missing = pubkeys.into_iter().zip(has_profile).filter(|&(_, has_profile)| !has_profile);
        Ok(missing.map(|(pubkey, _)| pubkey).collect::<Vec<_>>())
    };
    let mut missing = blocking(look_up).await?;
    missing.retain(|pubkey| !arrived.has_profile(pubkey));
    Ok(missing)
}

/// The write relays of each of these authors that has some: of the newest list, whether it is in
/// the database or on its way there.
async fn relay_lists_of(
    db: &Arc<StrfryDb>,
    arrived: &Arrived,
    pubkeys: &[Pubkey],
) -> Result<Vec<(Pubkey, Vec<Peer>)>, BackfillError> {
    let (db, wanted) = (Arc::clone(db), pubkeys.to_vec());
    let stored = blocking(move || db.newest_json_of_each(&wanted, kind::RELAY_LIST)).await?;
    let lists = pubkeys.iter().zip(stored).filter_map(|(pubkey, stored)| {
        let after = stored.as_ref().map(|stored| stored.created_at);
        let arrived = arrived.write_relays(pubkey, after);
        let relays = arrived.or_else(|| stored.map(|stored| write_relays(&stored.json)))?;
        Some((*pubkey, relays))
    });
    Ok(lists.collect())
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, BackfillError> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.map_err(|error| BackfillError::Thread(io::Error::other(error)))??)
}

fn log_counts(log: &RunLog, missing: &[Pubkey], pubkeys: usize) {
    let found = pubkeys.saturating_sub(missing.len());
    log.info(format_args!("📊 Found {found} HEX pubkeys with profiles"));
    log.info(format_args!("📊 Found {} HEX pubkeys WITHOUT profiles", missing.len()));
}

/// Tells whose profile has come, and whose no peer has: the next run asks for their full history
/// again.
fn log_recovered(log: &RunLog, before: &[Pubkey], missing: &[Pubkey]) {
    let still: HashSet<&Pubkey> = missing.iter().collect();
    for pubkey in before.iter().filter(|pubkey| !still.contains(pubkey)) {
        log.info(format_args!("    ✅ Full sync successful for {}", pubkey.short()));
    }
    for pubkey in missing {
        log.record(
            Level::Warn,
            format_args!("  ❌ {}... NO PROFILE FOUND - scheduling full sync", pubkey.short()),
        );
    }
}

fn log_missing(log: &RunLog, missing: &[Pubkey]) {
    for pubkey in missing {
        log.record(Level::Warn, format_args!("  ❌ {}... NO PROFILE FOUND", pubkey.short()));
    }
}
