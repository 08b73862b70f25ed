//! `diff`: how each peer and the database differ.

use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::exit::{OrFail, Outcome, Result, answer, tell};
use super::help::OUTPUT;
use super::kinds::name_of_kind;
use super::looks::is_quiet;
use super::node::{NodeArguments, skipped_as_json};
use super::output::{peer_label, print, print_json};
use super::peer_args::{PeerArguments, failure_of, runtime};
use super::signals::{ASKING, end_between_snapshots, stop_on_signals};
use super::wait::PROGRESS;
use crate::backfill::{DiffJob, PeerDiff, PeerStatus, Sides, diff, since};
use crate::node::{Blacklist, SkippedPeer};
use crate::report::{Progress, clean};
use crate::stop::Stop;

/// Kinds and authors of a side that are shown on a terminal, those of most events first.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    asking: PeerArguments,
    #[command(flatten)]
    node: NodeArguments,
    /// List ids too, at most 10000 for each side of a peer
    #[arg(long, help_heading = OUTPUT)]
    ids: bool,
    /// Print one JSON object, with ids
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let (job, skipped) = arguments.job()?;
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        // Before the database is open, so that no signal ends the process with a snapshot.
        let stop = Stop::default();
        stop_on_signals(&stop, ASKING)?;
        let node = &arguments.node;
        let db = Arc::new(node.lock.open_for_run(&node.database()?)?);
        let progress = Progress::new(!arguments.json && !is_quiet());
        let _ = PROGRESS.set(progress.clone());
        let peers = diff(&job, &db, &progress, &stop).await.map_err(failure_of);
        progress.finish();
        let peers = peers?;
        Ok((peers, job.too_new_here(&db).or_cannot_run()?))
    });
    runtime.shutdown_background();
    let tracing = &arguments.asking.tracing;
    tracing.end(&job.trace, |trouble| tell(format_args!("warning: {trouble}")));
    let (peers, too_new) = found?;
    // All tunnels are closed: a signal may end the process, also while nobody reads its output.
    end_between_snapshots()?;
    let printed = if arguments.json {
        print_json(&json!({
            "version": 1,
            "since": job.since,
            "pubkeys": job.pubkeys.len(),
            "kinds": job.kinds,
            "station_kinds": job.station_kinds,
            "until": job.until,
            "too_new": too_new,
            "peers": peers,
            "skipped": skipped_as_json(&skipped),
        }))
    } else {
        print(&in_words(&peers, arguments.ids))
    };
    if too_new > 0 && !arguments.json {
        tell(format_args!(
            "not compared: {too_new} events here that are dated after {}, further ahead than the \
             relay takes events",
            job.until
        ));
    }
    // As in a backfill, stations that are not asked at all make nothing incomplete.
    let is_complete = peers.iter().all(|peer| peer.status == PeerStatus::Complete);
    answer(if is_complete { Outcome::Complete } else { Outcome::Incomplete }, printed)
}

impl Arguments {
    /// What is to be compared, and which stations are not.
    fn job(&self) -> Result<(DiffJob, Vec<SkippedPeer>)> {
        let asking = &self.asking;
        let named = asking.named(&self.node)?;
        let discovery = self.node.discover(asking.reaching.policy());
        let skipped = match named.relays.as_slice() {
            [] => discovery.skipped.clone(),
            // Then no station is looked for.
            _ => Vec::new(),
        };
        for skipped in &skipped {
            tell(format_args!("skipped {}: {}", skipped.subject, skipped.reason));
        }
        let sources = self.node.pubkeys_with_warnings(&discovery);
        let paths = self.node.paths();
        let blacklist = Blacklist::read(&paths.blacklist(), &sources.local).or_usage()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let job = DiffJob {
            peers: named.peers(discovery, &self.node)?,
            pubkeys: named.pubkeys(sources, &blacklist, &self.node)?,
            station_kinds: named.station_kinds(),
            since: since(now, asking.days),
            began: now,
            names_pubkeys: named.pubkeys.is_some(),
            until: self.node.event_limits()?.latest(now),
            kinds: named.kinds,
            state: Some(paths.peer_state()),
            ignore_state: asking.ignores_state(),
            blacklist,
            ipfs: asking.reaching.ipfs_bin.clone(),
            auth: asking.auth()?,
            trace: asking.trace(&self.node, None)?,
            negentropy: !asking.no_negentropy,
            allow_local: asking.reaching.allow_local_peers,
            max_time: asking.max_time(),
            timings: asking.timings(),
        };
        Ok((job, skipped))
    }
}

fn in_words(peers: &[PeerDiff], with_ids: bool) -> String {
    let mut text = String::new();
    for peer in peers {
        let status = match peer.status {
            PeerStatus::Complete => "complete",
            PeerStatus::Incomplete => "incomplete",
            PeerStatus::Failed => "failed",
        };
        let _ = writeln!(text, "{}: {status}", peer_label(&peer.url, &peer.name));
        for gap in &peer.gaps {
            let _ = writeln!(text, "  not known: {}", clean(&gap.reason));
        }
        for withheld in &peer.withheld {
            let _ = writeln!(text, "  withheld: {}", clean(&withheld.to_string()));
        }
        let more = peer.gap_count.saturating_sub(peer.gaps.len());
        if more > 0 {
            let _ = writeln!(text, "  and {more} more parts are not known");
        }
        if peer.refused > 0 {
            let _ = writeln!(text, "  {} sent that are not genuine or not asked for", peer.refused);
        }
        sides_in_words(&mut text, "  ", &peer.sides, with_ids);
    }
    text
}

/// Both sides of a difference, each line behind `indent`.
pub(super) fn sides_in_words(text: &mut String, indent: &str, sides: &Sides, with_ids: bool) {
    for (name, side) in [("only there", &sides.only_there), ("only here", &sides.only_here)] {
        let _ = writeln!(text, "{indent}{name:<10} {:>9} events", side.events);
        let kinds = side.kinds.iter().map(|(kind, count)| Count {
            of: format!("kind {kind}"),
            count: *count,
            remark: name_of_kind(*kind).unwrap_or_default(),
        });
        counts_in_words(text, indent, "kinds", kinds.collect());
        let authors = side.authors.iter();
        let authors = authors.map(|(pubkey, count)| Count {
            of: pubkey.to_string(),
            count: *count,
            remark: "",
        });
        counts_in_words(text, indent, "authors", authors.collect());
        if !with_ids {
            continue;
        }
        for id in &side.ids {
            let _ = writeln!(text, "{indent}  id {id}");
        }
        let more = side.events.saturating_sub(side.ids.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "{indent}  and {more} more ids");
        }
    }
}

/// How many events are of one kind, or of one author.
struct Count {
    of: String,
    count: u64,
    remark: &'static str,
}

/// Those of most events first, the rest as one number.
fn counts_in_words(text: &mut String, indent: &str, names: &str, mut counts: Vec<Count>) {
    counts.sort_by_key(|count| Reverse(count.count));
    for Count { of, count, remark } in counts.iter().take(SHOWN) {
        let gap = if remark.is_empty() { "" } else { "  " };
        let _ = writeln!(text, "{indent}  {of:<11} {count:>9}{gap}{remark}");
    }
    let more = counts.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "{indent}  and {more} more {names}");
    }
}
