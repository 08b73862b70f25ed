//! `bench backfill`: the old script and this program, each in a home of its own with a copy of the
//! database, both asking the same peers for the same.

use std::collections::HashSet;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;

use super::home::{Contents, Home, check_tools};
use super::{Bench, group, profiles};
use crate::backfill::limits;
use crate::cli::exit::{Failure, OrFail, Result, tell};
use crate::cli::looks::is_quiet;
use crate::cli::output::counted;
use crate::cli::signals::{MEASURING, stop_on_signals};
use crate::cli::values::duration;
use crate::cli::wait::PROGRESS;
use crate::disk_room::Room;
use crate::files;
use crate::node::old_script::{self, MAX_SCRIPT_BYTES};
use crate::node::{Peer, PeerPolicy, explicit_peer};
use crate::nostr::{EventId, Pubkey, kind};
use crate::report::{Progress, clean};
use crate::stop::Stop;
use crate::strfry_db::{ExportRange, StrfryDb};

const SCRIPT: &str = "the script";
const OURS: &str = "this program";

/// The script takes this address for one that needs a tunnel, whatever the station.
const TUNNELLED: &str = "ws://127.0.0.1:7777";

#[derive(Debug, Args)]
pub(super) struct BackfillArguments {
    /// For `backfill`: the old script
    ///
    /// With nostr_websocket_backfill.py beside it.
    #[arg(long, value_name = "FILE", required_if_eq("what", "backfill"))]
    script: Option<PathBuf>,
    /// For `backfill`: events of the last N days, as for the command backfill
    #[arg(long, value_name = "N", default_value_t = 1, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::DAYS)))]
    days: u32,
    /// For `backfill`: relay to ask, instead of the swarm's (repeatable)
    #[arg(long = "relay", value_name = "URL", hide_short_help = true, num_args = 1..)]
    relays: Vec<String>,
    /// For `backfill`: ask peers of the swarm at loopback and private addresses too
    #[arg(long, hide_short_help = true)]
    allow_local_peers: bool,
    /// For `backfill`: directory for both homes; each holds a copy of the database
    ///
    /// [default: the directory of temporary files]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    work_dir: Option<PathBuf>,
    /// For `backfill`: end a way that has taken so long
    #[arg(long, value_name = "TIME", default_value = "1h", hide_short_help = true,
          value_parser = duration)]
    max_time: Duration,
}

/// Both ways, and what they have in common.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    version: u32,
    peers: usize,
    pubkeys: usize,
    days: u32,
    /// Events in the database before.
    events: usize,
    /// Profiles of these pubkeys in it before.
    profiles: usize,
    ways: Vec<Way>,
    /// What speaks against the comparison.
    remarks: Vec<String>,
}

/// How one way went.
#[derive(Debug, PartialEq, Serialize)]
struct Way {
    way: &'static str,
    seconds: f64,
    /// `null` if it was ended, by --max-time or a signal.
    exit_code: Option<i32>,
    /// Events that are in its copy of the database and were not before.
    events_gained: usize,
    /// Profiles of the pubkeys in its copy.
    profiles: usize,
    /// At its height, of all its processes together.
    memory_bytes: u64,
    /// Events that the other way has gained and this one has not.
    missed_events: usize,
    /// Profiles likewise.
    missed_profiles: usize,
}

/// What a database holds of interest.
struct Holds {
    ids: HashSet<EventId>,
    profiles: HashSet<Pubkey>,
}

pub(super) fn run(bench: &Bench<'_>, arguments: &BackfillArguments) -> Result<Comparison> {
    let script = arguments.script.as_deref().unwrap_or(Path::new(""));
    let (text, beside) = read_script(script)?;
    check_tools(&beside)?;
    let strfry = bench.strfry()?.map_err(|reason| Failure::Usage(anyhow!(reason)))?;
    let pubkeys = profiles::wanted(bench, &bench.arguments.keys, &bench.arguments.files)?;
    let (peers, left_out) = arguments.peers(bench)?;
    let node = bench.node().paths();
    let contents = Contents {
        strfry: &strfry,
        limits: bench.node().event_limits()?,
        peers: &peers,
        pubkeys: &pubkeys,
        script: &text,
        beside: &beside,
        node: &node,
    };
    let parent = arguments.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    let parent = std::path::absolute(parent).or_usage()?;
    need_room(&parent, &bench.node().database()?)?;
    let stop = Stop::default();
    stop_on_signals(&stop, MEASURING)?;
    // It only says what a signal does.
    let _ = PROGRESS.set(Progress::new(!is_quiet()));
    let theirs = Home::new(&parent, &contents, None, &stop)?;
    let ours = Home::new(&parent, &contents, Some(&theirs), &stop)?;
    let before = Holds::read(&theirs.database(), &pubkeys)?;

    let longest = arguments.max_time;
    let days = arguments.days.to_string();
    let mut command = Command::new("bash");
    command.arg(&theirs.script).args(["--days", &days]);
    tell(format_args!("running {SCRIPT}, which may take minutes"));
    let their_run = group::run(in_home(&mut command, &theirs), longest, &stop)?;
    let mut command = Command::new(std::env::current_exe().or_cannot_run()?);
    command.args(["backfill", "--as-script", "--days", &days]);
    if arguments.is_local() {
        command.arg("--allow-local-peers");
    }
    tell(format_args!("running {OURS}"));
    let our_run = group::run(in_home(&mut command, &ours), longest, &stop)?;

    let (they_hold, we_hold) =
        (Holds::read(&theirs.database(), &pubkeys)?, Holds::read(&ours.database(), &pubkeys)?);
    let mut remarks = left_out;
    if !theirs.has_profiles {
        remarks.push(format!(
            "{} has no Astroport.ONE/tools/nostr_hex_to_profile.sh, without which the script looks for \
             no profiles",
            node.home().display()
        ));
    }
    Ok(Comparison {
        version: 1,
        peers: peers.len(),
        pubkeys: pubkeys.len(),
        days: arguments.days,
        events: before.ids.len(),
        profiles: before.profiles.len(),
        ways: vec![
            Way::new(SCRIPT, &their_run, &before, &they_hold, &we_hold),
            Way::new(OURS, &our_run, &before, &we_hold, &they_hold),
        ],
        remarks,
    })
}

impl BackfillArguments {
    fn is_local(&self) -> bool {
        // What the operator names may be anywhere; in a home it is a station's word.
        self.allow_local_peers || !self.relays.is_empty()
    }

    /// Peers that both ways reach, and which others are left out.
    fn peers(&self, bench: &Bench<'_>) -> Result<(Vec<Peer>, Vec<String>)> {
        let policy = PeerPolicy { allow_local: self.allow_local_peers, tunnels: false };
        let peers = if self.relays.is_empty() {
            bench.node().discover(policy).peers
        } else {
            let named = self.relays.iter().map(|url| explicit_peer(url).or_usage());
            named.collect::<Result<Vec<_>>>()?
        };
        let (peers, tunnelled): (Vec<Peer>, Vec<Peer>) =
            peers.into_iter().partition(|peer| peer.address() != TUNNELLED);
        if peers.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no peers that both ways reach without a tunnel; name a relay with --relay"
            )));
        }
        let left_out = tunnelled.iter().map(|peer| {
            format!("{} is left out: the script takes it for one behind a tunnel", peer.address())
        });
        Ok((peers, left_out.collect()))
    }
}

/// The text of the script as it was before `adopt`, and the directory that it lies in.
fn read_script(path: &Path) -> Result<(Vec<u8>, PathBuf)> {
    let cannot = || format!("cannot read the script {}", path.display());
    let path = std::path::absolute(path).with_context(cannot).or_usage()?;
    let mut text = Vec::new();
    files::open_to_read(&path)
        .and_then(|file| file.take(MAX_SCRIPT_BYTES).read_to_end(&mut text))
        .with_context(cannot)
        .or_usage()?;
    let text = old_script::restored(&text)
        .with_context(|| format!("{} is not the script that is known here", path.display()))
        .or_usage()?;
    Ok((text, path.parent().unwrap_or(Path::new("/")).to_owned()))
}

/// Refuses to fill a disk: two copies of the database, and as much again for what they gain.
fn need_room(parent: &Path, database: &Path) -> Result<()> {
    let data = if database.is_file() { database.to_owned() } else { database.join("data.mdb") };
    let size = std::fs::metadata(&data)
        .with_context(|| format!("cannot read the database {}", data.display()))
        .or_cannot_run()?
        .len();
    let room = parent
        .metadata()
        .and_then(|_| Ok(Room::of(parent)?))
        .with_context(|| format!("cannot use the directory {}", parent.display()))
        .or_usage()?;
    let free = room.bytes;
    let needed = size.saturating_mul(4);
    if free < needed {
        return Err(Failure::Usage(anyhow!(
            "{} has {} MB free, and two copies of the database need {} MB; name another directory \
             with --work-dir",
            parent.display(),
            free / 1_000_000,
            needed / 1_000_000
        )));
    }
    Ok(())
}

/// Lets a command find everything in this home, and nothing of the node.
fn in_home<'a>(command: &'a mut Command, home: &Home) -> &'a mut Command {
    for name in ["IPFSNODEID", "STRFRY_CONFIG", "STATE_DIRECTORY", "XDG_STATE_HOME", "CAPTAINEMAIL"]
    {
        command.env_remove(name);
    }
    command.env("HOME", home.path()).env("TMPDIR", home.path()).current_dir(home.path())
}

impl Holds {
    fn read(database: &Path, pubkeys: &[Pubkey]) -> Result<Self> {
        let db = StrfryDb::open_without_lock(database).or_cannot_run()?;
        let mut stored = db.export_forms(ExportRange::default()).or_cannot_run()?;
        let (mut ids, mut events) = (HashSet::new(), Vec::new());
        let mut has_more = true;
        while has_more {
            has_more = stored.next_batch(&mut events).or_cannot_run()?;
            for event in events.drain(..) {
                ids.insert(event.packed().or_cannot_run()?.id());
            }
        }
        let has_profile = db.has_kind_each(pubkeys, kind::PROFILE).or_cannot_run()?;
        let with_profile = pubkeys.iter().zip(has_profile).filter(|(_, has_profile)| *has_profile);
        Ok(Self { ids, profiles: with_profile.map(|(pubkey, _)| *pubkey).collect() })
    }
}

impl Way {
    fn new(
        way: &'static str,
        ran: &group::Ran,
        before: &Holds,
        after: &Holds,
        other: &Holds,
    ) -> Self {
        let gained_by_other = other.ids.difference(&before.ids);
        Self {
            way,
            // Digits beyond a millisecond are noise.
            seconds: (1e3 * ran.time.as_secs_f64()).round() / 1e3,
            exit_code: ran.status.and_then(|status| status.code()),
            events_gained: after.ids.difference(&before.ids).count(),
            profiles: after.profiles.len(),
            memory_bytes: ran.memory,
            missed_events: gained_by_other.filter(|id| !after.ids.contains(id)).count(),
            missed_profiles: other.profiles.difference(&after.profiles).count(),
        }
    }
}

impl Comparison {
    /// Whether both ways came to their end: incomplete, perhaps, which exit code 1 says.
    pub(super) fn is_whole(&self) -> bool {
        self.ways.iter().all(|way| matches!(way.exit_code, Some(0 | 1)))
    }

    pub(super) fn in_words(&self) -> String {
        let mut text = format!(
            "a backfill of {} days from {} for {}; {} events and {} of their profiles \
             are here\n\n{:<12}  {:>9}  {:>9}  {:>9}  {:>9}  missed, of what the other one got\n",
            self.days,
            counted(self.peers, "peer"),
            counted(self.pubkeys, "pubkey"),
            self.events,
            self.profiles,
            "",
            "seconds",
            "events",
            "profiles",
            "memory MB"
        );
        for way in &self.ways {
            let end = match way.exit_code {
                None => "; it was ended".to_owned(),
                Some(0 | 1) => String::new(),
                Some(code) => format!("; it ended with exit code {code}"),
            };
            #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 bytes of memory")]
            let megabytes = way.memory_bytes as f64 / 1e6;
            let _ = writeln!(
                text,
                "{:<12}  {:>9.1}  {:>9}  {:>9}  {:>9.1}  {} events, {} profiles{end}",
                way.way,
                way.seconds,
                way.events_gained,
                way.profiles,
                megabytes,
                way.missed_events,
                way.missed_profiles,
            );
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "\nnote: {}", clean(remark));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_each_way_got_and_missed() {
        let way = |way, seconds, exit_code| Way {
            way,
            seconds,
            exit_code,
            events_gained: 60_400,
            profiles: 135,
            memory_bytes: 45_600_000,
            missed_events: 7,
            missed_profiles: 0,
        };
        let comparison = Comparison {
            version: 1,
            peers: 3,
            pubkeys: 500,
            days: 1,
            events: 10,
            profiles: 2,
            ways: vec![way(SCRIPT, 309.04, None), way(OURS, 8.0, Some(3)), way("x", 8.0, Some(1))],
            remarks: vec!["a remark\u{1b}".to_owned()],
        };
        assert!(!comparison.is_whole());
        assert_eq!(
            comparison.in_words(),
            "a backfill of 1 days from 3 peers for 500 pubkeys; 10 events and 2 of their profiles are \
             here\n\n\
             \x20               seconds     events   profiles  memory MB  missed, of what the other one \
             got\n\
             the script        309.0      60400        135       45.6  7 events, 0 profiles; it was \
             ended\n\
             this program        8.0      60400        135       45.6  7 events, 0 profiles; it ended \
             with exit code 3\n\
             x                   8.0      60400        135       45.6  7 events, 0 profiles\n\n\
             note: a remark\\u{1b}\n"
        );
    }
}
