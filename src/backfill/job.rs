//! What a run is to do: everything that the command line, the node's files and strfry's
//! configuration have to say, put together before the run begins.

use std::path::PathBuf;
use std::time::Duration;

use super::limits::{CONNECT_TIME_OUT, FIRST_PAUSE, FULL_TIME_OUT, RECENT_TIME_OUT};
use crate::import::{StrfryCommand, Window};
use crate::node::{Blacklist, EventLimits, Peer};
use crate::nostr::Pubkey;
use crate::peer::{AuthKey, Trace};

/// What a run is to do.
#[derive(Debug)]
pub struct Job {
    /// Asked for everything.
    pub peers: Vec<Peer>,
    /// Asked for profiles that no peer has.
    pub fallback: Vec<Peer>,
    /// Whose events; sorted, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// The operator has named them in place of the node's own.
    pub names_pubkeys: bool,
    /// Which kinds; sorted, without repeats.
    pub kinds: Vec<u64>,
    /// Kinds that are asked for whoever their authors are.
    pub station_kinds: Vec<u64>,
    /// So many days back; 0 is all time.
    pub days: u32,
    /// Most new events of those kinds that one peer may bring by authors who are not in `pubkeys`.
    pub strangers: u64,
    /// Whether profiles are recovered and written.
    pub profiles: bool,
    /// Whether signatures are checked.
    pub verify: bool,
    /// Threads that check events; 0: one for each core.
    pub threads: usize,
    /// Give strfry plain JSON lines, which it parses and packs itself.
    pub plain: bool,
    /// The command `ipfs`, for peers that are reached through a tunnel.
    pub ipfs: PathBuf,
    /// For relays that want to know who we are (NIP-42).
    pub auth: Option<AuthKey>,
    /// Where conversations with peers are written down.
    pub trace: Trace,
    /// The state file: what peers have promised to earlier runs, and what of it is here.
    pub state: Option<PathBuf>,
    /// Ask for no more and no less than `days`, whatever the state says.
    pub ignore_state: bool,
    /// Whether peers that can (NIP-77) are compared with; else all are asked page by page.
    pub negentropy: bool,
    /// Fetch and check, but import and write nothing.
    pub dry_run: bool,
    /// strfry's own limits.
    pub limits: EventLimits,
    /// Authors whose events are refused.
    pub blacklist: Blacklist,
    /// How strfry is called.
    pub strfry: StrfryCommand,
    /// How much it is given at once.
    pub window: Window,
    /// Whether peers of the swarm may be dialled at loopback and private addresses.
    pub allow_local: bool,
    /// How long the run may ask peers; `None`: as long as they have something to give.
    pub max_time: Option<Duration>,
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

/// Which files are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Array of profiles.
    pub profiles_json: Option<PathBuf>,
    /// The same as a table.
    pub profiles_csv: Option<PathBuf>,
    /// What became of each profile, as a log.
    pub profile_log: Option<PathBuf>,
}

/// Ends when a run of that longest time, if it has one, has to stop asking.
pub(super) async fn deadline(max_time: Option<Duration>) {
    match max_time {
        Some(max_time) => tokio::time::sleep(max_time).await,
        None => std::future::pending().await,
    }
}
