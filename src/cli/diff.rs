//! `diff`: how each peer and the database differ.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use super::asking::{Asking, runtime};
use super::exit::{OrFail, Outcome, Result, tell};
use super::node::{NodeArguments, print, print_json};
use crate::backfill::{DiffJob, PeerDiff, PeerStatus, Side, diff, since};
use crate::node::{Blacklist, PeerPolicy};
use crate::report::clean;

/// Kinds and authors of a side that are shown on a terminal, those of most events first.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    asking: Asking,
    /// List ids too, at most 10000 for each side of a peer
    #[arg(long)]
    ids: bool,
    /// Print one JSON object, with ids
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let job = arguments.job()?;
    let db = Arc::new(arguments.node.open_database()?);
    let runtime = runtime()?;
    let peers = runtime.block_on(diff(&job, &db)).or_cannot_run();
    runtime.shutdown_background();
    let peers = peers?;
    if arguments.json {
        print_json(&json!({
            "version": 1,
            "since": job.since,
            "pubkeys": job.pubkeys.len(),
            "kinds": job.kinds,
            "peers": peers,
        }))?;
    } else {
        print(&in_words(&peers, arguments.ids))?;
    }
    let is_complete = peers.iter().all(|peer| peer.status == PeerStatus::Complete);
    Ok(if is_complete { Outcome::Complete } else { Outcome::Incomplete })
}

impl Arguments {
    fn job(&self) -> Result<DiffJob> {
        let asking = &self.asking;
        let named = asking.named()?;
        // Tunnels are a backfill's: this only reads.
        let policy = PeerPolicy { allow_local: asking.allow_local_peers, tunnels: false };
        let discovery = self.node.discover(policy);
        if named.relays.is_empty() {
            for skipped in &discovery.skipped {
                tell(format_args!("skipped {}: {}", skipped.subject, skipped.reason));
            }
        }
        let sources = self.node.pubkeys(&discovery);
        let blacklist =
            Blacklist::read(&self.node.paths().blacklist(), &sources.local).or_usage()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        Ok(DiffJob {
            peers: named.peers(discovery, &self.node)?,
            pubkeys: named.pubkeys(sources, &blacklist, &self.node)?,
            since: since(now, asking.days),
            kinds: named.kinds,
            auth: asking.auth()?,
            negentropy: !asking.no_negentropy,
            allow_local: asking.allow_local_peers,
            timings: asking.timings(),
        })
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
        let _ = writeln!(text, "{}  {}: {status}", clean(&peer.url), clean(&peer.name));
        for gap in &peer.gaps {
            let _ = writeln!(text, "  not known: {}", clean(&gap.reason));
        }
        let more = peer.gap_count.saturating_sub(peer.gaps.len());
        if more > 0 {
            let _ = writeln!(text, "  and {more} more parts are not known");
        }
        if peer.refused > 0 {
            let _ = writeln!(text, "  {} sent that are not genuine or not asked for", peer.refused);
        }
        side_in_words(&mut text, "only there", &peer.only_there, with_ids);
        side_in_words(&mut text, "only here", &peer.only_here, with_ids);
    }
    text
}

fn side_in_words(text: &mut String, name: &str, side: &Side, with_ids: bool) {
    let _ = writeln!(text, "  {name:<10} {:>9} events", side.events);
    for (kind, count) in most(side.kinds.iter()) {
        let _ = writeln!(text, "    kind {kind:<6} {count:>9}");
    }
    for (author, count) in most(side.authors.iter()) {
        let _ = writeln!(text, "    {author} {count:>9}");
    }
    if with_ids {
        for id in &side.ids {
            let _ = writeln!(text, "    id {id}");
        }
        let more = side.events.saturating_sub(side.ids.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "    and {more} more");
        }
    }
}

/// Those of most events first.
fn most<'a, K>(counts: impl Iterator<Item = (K, &'a u64)>) -> Vec<(K, u64)> {
    let mut counts: Vec<(K, u64)> = counts.map(|(key, count)| (key, *count)).collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts.truncate(SHOWN);
    counts
}
