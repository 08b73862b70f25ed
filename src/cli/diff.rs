//! `diff`: how each peer and the database differ.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;

use super::auth_key::read_auth_key;
use super::exit::{Failure, OrFail, Outcome, Result, tell};
use super::node::{NodeArguments, print, print_json, read_pubkeys};
use crate::backfill::kinds::{self, KindsError};
use crate::backfill::{DiffJob, PeerDiff, PeerStatus, Side, Timings, diff, limits, since};
use crate::node::{Blacklist, PeerPolicy, explicit_peer};
use crate::nostr::{Pubkey, kind};
use crate::report::clean;

/// Kinds and authors of a side that are shown on a terminal, those of most events first.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Arguments {
    /// Compare events of the last N days; 0 for all time
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::DAYS)))]
    days: u32,
    /// Compare with this relay, and not with the swarm's (repeatable); may have a private address
    #[arg(long = "relay", value_name = "URL", num_args = 1..)]
    relays: Vec<String>,
    /// File with pubkeys whose events are compared, instead of the node's own; `-` for standard
    /// input
    #[arg(long = "pubkeys", value_name = "FILE", num_args = 1..)]
    pubkeys: Vec<PathBuf>,
    /// Kinds to compare, such as 0,1,30500-30503 [default: the node's]
    #[arg(long, value_name = "LIST")]
    kinds: Option<String>,
    /// Leave out direct messages (kind 4)
    #[arg(long)]
    no_dms: bool,
    /// Ask every peer page by page, also those that could be compared with (NIP-77)
    #[arg(long)]
    no_negentropy: bool,
    /// File with the secret key (nsec or hex) by which relays may know this node (NIP-42)
    #[arg(long, value_name = "FILE")]
    auth_key_file: Option<PathBuf>,
    /// Dial peers of the swarm at loopback and private addresses too
    #[arg(long)]
    allow_local_peers: bool,
    /// Longest wait for a connection, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = limits::CONNECT_TIME_OUT.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    connect_timeout: u64,
    /// Longest wait without progress for recent events, in seconds; twice as long for everything
    #[arg(long, value_name = "SECONDS", default_value_t = limits::RECENT_TIME_OUT.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout: u64,
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("peers")
        .build()
        .context("cannot start the threads that talk to peers")
        .or_cannot_run()?;
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
        let mut kinds = match &self.kinds {
            Some(list) => kinds::parse(list).or_usage()?,
            None => kinds::node_kinds(),
        };
        kinds.retain(|&kind| !(self.no_dms && kind == kind::DIRECT_MESSAGE));
        if kinds.is_empty() {
            return Err(KindsError::None).or_usage();
        }
        // Tunnels are a backfill's: this only reads.
        let policy = PeerPolicy { allow_local: self.allow_local_peers, tunnels: false };
        let discovery = self.node.discover(policy);
        let peers = if self.relays.is_empty() {
            for skipped in &discovery.skipped {
                tell(format_args!("skipped {}: {}", skipped.subject, skipped.reason));
            }
            discovery.peers.clone()
        } else {
            let mut peers = Vec::new();
            for url in &self.relays {
                let peer = explicit_peer(url).or_usage()?;
                if !peers.contains(&peer) {
                    peers.push(peer);
                }
            }
            peers
        };
        if peers.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no peers: no usable station in {} (see the command 'peers'); name a relay with --relay",
                self.node.paths().swarm().display()
            )));
        }
        let sources = self.node.pubkeys(&discovery);
        let blacklist =
            Blacklist::read(&self.node.paths().blacklist(), &sources.local).or_usage()?;
        let mut pubkeys: Vec<Pubkey> = Vec::new();
        for file in &self.pubkeys {
            pubkeys.extend(read_pubkeys(file)?.pubkeys);
        }
        if self.pubkeys.is_empty() {
            pubkeys = sources.pubkeys;
        }
        pubkeys.retain(|pubkey| !blacklist.contains(pubkey));
        pubkeys.sort_unstable();
        pubkeys.dedup();
        if pubkeys.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no pubkeys that are not on the blacklist: name a file with --pubkeys"
            )));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        Ok(DiffJob {
            peers,
            pubkeys,
            kinds,
            since: since(now, self.days),
            auth: self.auth_key_file.as_deref().map(read_auth_key).transpose()?,
            negentropy: !self.no_negentropy,
            allow_local: self.allow_local_peers,
            timings: Timings {
                connect: Duration::from_secs(self.connect_timeout),
                recent: Duration::from_secs(self.timeout),
                full: Duration::from_secs(2 * self.timeout),
                ..Timings::default()
            },
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
