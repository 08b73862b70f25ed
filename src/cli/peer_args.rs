//! Options of the commands that ask peers: which peers, which authors, kinds and times, and how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueHint};
use tokio::runtime::Runtime;

use super::auth_key::read_auth_key;
use super::exit::{Failure, OrFail, Result, tell};
use super::help::{ASK, WHOM};
use super::node::NodeArguments;
use super::pubkey_args::PubkeyArguments;
use super::resources::{keep_little_free_memory, need_open_files, need_threads};
use super::trace::Tracing;
use super::values::{duration, in_seconds, step};
use crate::backfill::kinds::{self, KindsError};
use crate::backfill::{BackfillError, StateError, Timings, limits};
use crate::node::{Blacklist, Discovery, Peer, PeerPolicy, PubkeySources, explicit_peer};
use crate::nostr::{Pubkey, kind};
use crate::peer::{AuthKey, Trace};

#[derive(Debug, Args)]
pub(super) struct PeerArguments {
    /// Events of the last N days; 0: all time
    #[arg(long, value_name = "N", help_heading = ASK, default_value_t = 1,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::DAYS)))]
    pub(super) days: u32,
    /// Do not ask for direct messages (kind 4)
    #[arg(long, help_heading = ASK, hide_short_help = true)]
    no_dms: bool,
    /// File with the secret key (nsec or hex) with which this node authenticates to relays (NIP-42)
    #[arg(long, value_name = "FILE", help_heading = WHOM, hide_short_help = true)]
    auth_key_file: Option<PathBuf>,
    /// Ask every peer page by page, also those that can compare (NIP-77)
    #[arg(long, help_heading = WHOM, hide_short_help = true)]
    pub(super) no_negentropy: bool,
    /// Relays to ask, instead of the swarm's
    ///
    /// They may be at any address, private ones too. May be given several times.
    #[arg(long = "relay", value_name = "URL", help_heading = WHOM, num_args = 1..)]
    relays: Vec<String>,
    #[command(flatten)]
    pubkeys: PubkeyArguments,
    /// Kinds to ask for, as 0,1 or default,+30510,-4
    ///
    /// Numbers and ranges such as 30500-30503. `default` stands for the constellation's kinds; - before
    /// a number takes it away. [default: default]
    #[arg(long, value_name = "LIST", help_heading = ASK, allow_hyphen_values = true)]
    kinds: Option<String>,
    /// Ask for no more and no less than --days, whatever earlier runs have noted in the state file
    #[arg(long, help_heading = ASK, hide_short_help = true)]
    ignore_state: bool,
    /// The old name of --ignore-state
    #[arg(long, hide = true)]
    full: bool,
    #[command(flatten)]
    pub(super) reaching: Reaching,
    /// Longest wait for a connection
    #[arg(long, value_name = "TIME", help_heading = WHOM, hide_short_help = true,
          default_value = in_seconds(limits::CONNECT_TIME_OUT), value_parser = step)]
    connect_timeout: Duration,
    /// Longest wait without progress for recent events; twice as long for everything
    #[arg(long, value_name = "TIME", help_heading = WHOM, hide_short_help = true,
          default_value = in_seconds(limits::RECENT_TIME_OUT), value_parser = step)]
    timeout: Duration,
    /// Stop asking after this time; 0 for no limit
    ///
    /// What has come until then is written. Seconds, or 90s, 50m, 2h.
    #[arg(long, value_name = "TIME", help_heading = WHOM, hide_short_help = true,
          default_value = "50m", value_parser = duration)]
    max_time: Duration,
    #[command(flatten)]
    pub(super) tracing: Tracing,
}

/// How the swarm's peers are reached.
#[derive(Debug, Clone, Args)]
pub(super) struct Reaching {
    /// Dial peers of the swarm at loopback and private addresses too
    #[arg(long, help_heading = WHOM, hide_short_help = true)]
    pub(super) allow_local_peers: bool,
    /// Open no tunnels to stations whose relays listen on their own machine
    #[arg(long, help_heading = WHOM, hide_short_help = true)]
    no_tunnels: bool,
    /// The command that opens tunnels
    #[arg(long, value_name = "FILE", help_heading = WHOM, hide_short_help = true,
          default_value = "ipfs", value_hint = ValueHint::CommandName)]
    pub(super) ipfs_bin: PathBuf,
}

impl Reaching {
    pub(super) fn policy(&self) -> PeerPolicy {
        PeerPolicy { allow_local: self.allow_local_peers, tunnels: !self.no_tunnels }
    }
}

/// What the arguments name, before any file of the node is read.
pub(super) struct Named {
    pub(super) kinds: Vec<u64>,
    pub(super) relays: Vec<Peer>,
    pub(super) pubkeys: Option<Vec<Pubkey>>,
}

impl PeerArguments {
    pub(super) fn named(&self, node: &NodeArguments) -> Result<Named> {
        let mut kinds = match &self.kinds {
            Some(list) => kinds::parse(list).or_usage()?,
            None => kinds::node_kinds(),
        };
        if self.no_dms {
            kinds.retain(|&kind| kind != kind::DIRECT_MESSAGE);
        }
        if kinds.is_empty() {
            return Err(KindsError::None).or_usage();
        }
        let relays = self.relays.iter().map(|url| explicit_peer(url).or_usage());
        Ok(Named {
            kinds,
            relays: relays.collect::<Result<_>>()?,
            pubkeys: self.pubkeys.named(node)?,
        })
    }

    /// Where conversations are written down.
    pub(super) fn trace(&self, node: &NodeArguments, strfry: Option<&Path>) -> Result<Trace> {
        let read: Vec<PathBuf> =
            self.pubkeys.files().iter().chain(self.auth_key_file.as_ref()).cloned().collect();
        self.tracing.open(node, strfry, &read)
    }

    /// Whether the state file is passed over; tells the new name to who uses the old one.
    pub(super) fn ignores_state(&self) -> bool {
        if self.full {
            tell("--full is called --ignore-state now; the old name still works");
        }
        self.ignore_state || self.full
    }

    pub(super) fn auth(&self) -> Result<Option<AuthKey>> {
        self.auth_key_file.as_deref().map(read_auth_key).transpose()
    }

    /// `None`: no limit.
    pub(super) fn max_time(&self) -> Option<Duration> {
        Some(self.max_time).filter(|time| !time.is_zero())
    }

    pub(super) fn timings(&self) -> Timings {
        Timings {
            connect: self.connect_timeout,
            recent: self.timeout,
            full: self.timeout.saturating_mul(2),
            ..Timings::default()
        }
    }
}

impl Named {
    /// Kinds to ask for whoever their authors are: none if it was said whose events to ask for.
    pub(super) fn station_kinds(&self) -> Vec<u64> {
        if self.pubkeys.is_some() { Vec::new() } else { kinds::station_kinds(&self.kinds) }
    }

    /// Whom to ask: what the operator names replaces what the node's files say.
    pub(super) fn peers(&self, discovery: Discovery, node: &NodeArguments) -> Result<Vec<Peer>> {
        let peers = if self.relays.is_empty() {
            discovery.peers
        } else {
            let none = Discovery { peers: Vec::new(), ..discovery };
            none.with_explicit(self.relays.clone()).peers
        };
        if peers.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no peers: no usable station in {} (see the command 'peers'); name a relay with --relay",
                node.paths().swarm().display()
            )));
        }
        Ok(peers)
    }

    /// Whose events to ask for, the blacklist left out.
    pub(super) fn pubkeys(
        &self,
        sources: PubkeySources,
        blacklist: &Blacklist,
        node: &NodeArguments,
    ) -> Result<Vec<Pubkey>> {
        pubkeys_to_ask_for(self.pubkeys.clone(), sources, blacklist, node)
    }
}

/// Whose events to ask for: those that the operator names, else the node's, the blacklist left out.
pub(super) fn pubkeys_to_ask_for(
    named: Option<Vec<Pubkey>>,
    sources: PubkeySources,
    blacklist: &Blacklist,
    node: &NodeArguments,
) -> Result<Vec<Pubkey>> {
    let are_named = named.is_some();
    let mut pubkeys = named.unwrap_or(sources.pubkeys);
    let count = pubkeys.len();
    pubkeys.retain(|pubkey| !blacklist.contains(pubkey));
    if !pubkeys.is_empty() {
        return Ok(pubkeys);
    }
    Err(Failure::Usage(match (count, are_named) {
        (0, true) => anyhow!("no pubkeys: none in the files named with --pubkeys"),
        (0, false) => anyhow!(
            "no pubkeys: none in the node's files (see the command 'pubkeys'); name some with --pubkey or --pubkeys"
        ),
        _ => anyhow!(
            "no pubkeys: all {count} are on the blacklist {}",
            node.paths().blacklist().display()
        ),
    }))
}

/// A state file that cannot be relied on is bad input.
pub(super) fn failure_of(error: BackfillError) -> Failure {
    match error {
        BackfillError::State(StateError::Unwritable { .. } | StateError::Database(_)) => {
            Failure::CannotRun(error.into())
        }
        BackfillError::State(_) => Failure::Usage(error.into()),
        _ => Failure::CannotRun(error.into()),
    }
}

/// The threads that talk to peers.
pub(super) fn runtime() -> Result<Runtime> {
    // Before any thread has taken memory.
    keep_little_free_memory();
    need_open_files()?;
    // Those that talk, and those that check.
    need_threads(2)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("peers")
        .build()
        .context("cannot start the threads that talk to peers")
        .or_cannot_run()
}
