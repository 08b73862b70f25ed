//! What a run leaves behind beside the events: the profiles file, and the lines of the log that
//! people and other programs read.

use jiff::Timestamp;

use super::accounts::Class;
use super::job::Output;
use super::summary::{NO_FALLBACK_ANSWERED, PeerStatus, PeerSummary, Summary};
use crate::import::Status;
use crate::nostr::{Event, Pubkey, kind};
use crate::profile::{self, Profile, ProfileRecord};
use crate::report::{Level, RunLog, clean_for_log, clean_whole_for_log, with_causes};
use crate::strfry_db::{ReadError, StoredJson, StrfryDb};

/// The kind-0 content of an event as strfry stores it; `None` if it is no JSON object.
fn profile_of(stored: &StoredJson<'_>) -> Option<Profile> {
    let event = Event::parse(&stored.json).ok()?;
    Profile::parse(&event.content).ok()
}

/// The log of profiles, or one that writes nothing and the reason why; the run goes on.
pub(super) fn open_profile_log(output: &Output) -> (RunLog, Option<String>) {
    match output.profile_log.as_deref().map(RunLog::open_quiet) {
        None => (RunLog::discard(), None),
        Some(Ok(log)) => (log, None),
        Some(Err(error)) => (RunLog::discard(), Some(with_causes(&error))),
    }
}

/// Profiles and relays of those pubkeys that have a profile, in the order of `pubkeys`. The second
/// log also tells who has none.
pub(super) fn profile_records(
    db: &StrfryDb,
    pubkeys: &[Pubkey],
    [log, profile_log]: [&RunLog; 2],
    fetched_at: Timestamp,
) -> Result<Vec<ProfileRecord>, ReadError> {
    let profiles = db.newest_json_of_each(pubkeys, kind::PROFILE)?;
    let relay_lists = db.newest_json_of_each(pubkeys, kind::RELAY_LIST)?;
    let fetched_at = profile::fetched_at(fetched_at);
    let mut records = Vec::new();
    for ((pubkey, stored), relay_list) in pubkeys.iter().zip(profiles).zip(relay_lists) {
        let Some(stored) = stored else {
            profile_log.warn(format_args!("  ❌ {}... NO PROFILE FOUND", pubkey.short()));
            continue;
        };
        let Some(profile) = profile_of(&stored) else {
            for log in [log, profile_log] {
                log.warn(format_args!("  {}... has an unreadable profile", pubkey.short()));
            }
            continue;
        };
        let relays = relay_list.and_then(|stored| {
            Event::parse(&stored.json).ok().map(|event| profile::relay_list(&event))
        });
        for log in [log, profile_log] {
            log_profile(log, pubkey, &profile);
        }
        records.push(ProfileRecord {
            hex: *pubkey,
            profile,
            relays: relays.unwrap_or_default(),
            fetched_at: fetched_at.clone(),
        });
    }
    Ok(records)
}

fn log_profile(log: &RunLog, pubkey: &Pubkey, profile: &Profile) {
    let name = profile.name.as_deref().or(profile.display_name.as_deref()).unwrap_or("(no name)");
    log.info(format_args!("  ✅ {}... Profile: {}", pubkey.short(), clean_for_log(name)));
    if let Some(display_name) = &profile.display_name {
        log.info(format_args!("      Display: {}", clean_for_log(display_name)));
    }
    if let Some(nip05) = &profile.nip05 {
        log.info(format_args!("      NIP-05: {}", clean_for_log(nip05)));
    }
}

/// Writes the files; returns what went wrong, the run goes on.
pub(super) fn write_profiles(output: &Output, records: &[ProfileRecord]) -> Vec<String> {
    let json = output.profiles_json.as_deref().map(|path| profile::write_json(path, records));
    let csv = output.profiles_csv.as_deref().map(|path| profile::write_csv(path, records));
    [json, csv]
        .into_iter()
        .flatten()
        .filter_map(Result::err)
        .map(|error| with_causes(&error))
        .collect()
}

fn log_peer(log: &RunLog, peer: &PeerSummary) {
    let (name, url) = (clean_for_log(&peer.name), clean_for_log(&peer.url));
    let reasons = peer.reasons();
    let reasons = clean_for_log(&reasons);
    match peer.status {
        PeerStatus::Complete => log
            .info(format_args!("Peer {name} ({url}): complete, {} events received", peer.received)),
        PeerStatus::Incomplete => log.record(
            Level::Warn,
            format_args!(
                "Peer {name} ({url}): incomplete, {} events received, {} parts missing: {reasons}",
                peer.received, peer.gap_count
            ),
        ),
        PeerStatus::Failed => {
            log.record(Level::Warn, format_args!("Peer {name} ({url}) failed: {reasons}"));
        }
    }
    if !peer.withheld.is_empty() {
        let withheld: Vec<String> = peer.withheld.iter().map(ToString::to_string).collect();
        let withheld = withheld.join("; ");
        log.info(format_args!("Peer {name} ({url}) withholds {}", clean_for_log(&withheld)));
    }
}

/// A relay that only helps with profiles fails nobody.
fn log_help(log: &RunLog, relay: &PeerSummary) {
    let url = clean_for_log(&relay.url);
    match relay.status {
        PeerStatus::Complete => {
            log.info(format_args!("Relay {url}: {} events received", relay.received));
        }
        PeerStatus::Incomplete | PeerStatus::Failed => log.info(format_args!(
            "Relay {url}: {} events received, and not all that was asked: {}",
            relay.received,
            clean_for_log(&relay.reasons())
        )),
    }
}

/// The lines at the end of a run, which tell what its summary does. Other programs read the `SYNC_`
/// lines, and count every line that holds the word "failed".
pub(super) fn log_summary(log: &RunLog, summary: &Summary) {
    for peer in &summary.peers {
        log_peer(log, peer);
    }
    for relay in &summary.fallback {
        log_help(log, relay);
    }
    let classes: Vec<String> =
        summary.classes().map(|(class, count)| format!("{class}={count}")).collect();
    log.info(format_args!("{} events received: {}", summary.received, classes.join(" ")));
    for (reason, count) in &summary.reasons {
        log.info(format_args!("  {count} refused: {}", clean_for_log(reason)));
    }
    if !summary.silent_fallback().is_empty() {
        log.record(Level::Warn, NO_FALLBACK_ANSWERED);
    }
    for error in &summary.errors {
        // strfry's own lines quote events.
        log.record(Level::Error, clean_whole_for_log(error));
    }
    if summary.status == Status::Failed {
        log.record(
            Level::Error,
            "The import failed: what strfry has committed is counted, the rest is missing",
        );
    }
    let mode = if summary.verified { "verified" } else { "no-verify" };
    log.info(format_args!("{}", summary.stats));
    log.info(format_args!(
        "SYNC_IMPORT: events={} mode={mode}",
        summary.events_of(Class::Imported)
    ));
    log.info(format_args!(
        "SYNC_PEERS: success={} total={}",
        summary.complete_peers(),
        summary.peers.len()
    ));
    log.info(format_args!("SYNC_HEX: count={}", summary.pubkeys));
    log.info(format_args!(
        "SYNC_PROFILES: found={} missing={}",
        summary.profiles.found, summary.profiles.missing
    ));
    log.perf(format_args!("Run took {:.1} s", summary.seconds));
    log.info("Backfill process completed");
}
