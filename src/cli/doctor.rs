//! `doctor`: what would keep a backfill from working here, each finding with what to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use super::auth_key::read_auth_key;
use super::doctor_text::Text;
use super::exit::{Failure, OrFail, Outcome, Result, answer};
use super::help::{OUTPUT, WHOM};
use super::history::HistoryPlace;
use super::looks::is_quiet;
use super::node::NodeArguments;
use super::output::{counted, print_cleaned, print_json};
use super::peer_args::{Reaching, pubkeys_to_ask_for, runtime};
use super::pubkey_args::PubkeyArguments;
use super::signals::{ASKING, stop_on_signals};
use super::strfry::StrfryArguments;
use super::wait::PROGRESS;
use crate::backfill::{Ipfs, look_at_all};
use crate::doctor::{
    self, Asked, Check, Finding, Level, Place, Report, Strfry, Thresholds, Trouble, Written,
};
use crate::files::Way;
use crate::node::{Blacklist, Discovery, NodePaths, Peer, Precious, explicit_peer};
use crate::peer::Trace;
use crate::report::{Progress, with_causes};
use crate::stop::Stop;

/// For strfry to say its version, and for an import of nothing: a healthy one takes a tenth of a
/// second, and one that another import holds up some seconds.
const STRFRY_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Relays to look at, instead of the swarm's
    #[arg(long = "relay", value_name = "URL", help_heading = WHOM, num_args = 1..)]
    relays: Vec<String>,
    #[command(flatten)]
    pubkeys: PubkeyArguments,
    #[command(flatten)]
    reaching: Reaching,
    /// File with the secret key with which a backfill authenticates to relays (NIP-42)
    ///
    /// It is read, and not used.
    #[arg(long, value_name = "FILE", help_heading = WHOM, hide_short_help = true)]
    auth_key_file: Option<PathBuf>,
    #[command(flatten)]
    strfry: StrfryArguments,
    #[command(flatten)]
    node: NodeArguments,
    #[command(flatten)]
    history: HistoryPlace,
    /// The file to which a backfill writes figures for node_exporter
    #[arg(long, value_name = "FILE", help_heading = OUTPUT, hide_short_help = true)]
    metrics: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let relays = arguments.relays.iter().map(|url| explicit_peer(url).or_usage());
    let relays = relays.collect::<Result<Vec<Peer>>>()?;
    let stop = Stop::default();
    stop_on_signals(&stop, ASKING)?;
    // It only says what a signal does.
    let _ = PROGRESS.set(Progress::new(!is_quiet()));
    let text = Text::new(is_quiet());
    let mut printed = Ok(());
    let show = |findings: &[Finding]| match arguments.json {
        true => Ok(()),
        false => print_cleaned(&text.of(findings)),
    };
    let mut findings = arguments.here(&stop)?;
    printed = printed.and(show(&findings));
    let peers = arguments.peers(relays, &stop)?;
    printed = printed.and(show(&peers));
    findings.extend(peers);

    let report = Report::new(findings);
    printed = printed.and(match arguments.json {
        true => print_json(&report),
        false if is_quiet() => Ok(()),
        false => print_cleaned(&Text::total(&report)),
    });
    let is_well = report.level != Level::Error;
    answer(if is_well { Outcome::Complete } else { Outcome::Incomplete }, printed)
}

impl Arguments {
    /// What can be looked at without any peer.
    fn here(&self, stop: &Stop) -> Result<Vec<Finding>> {
        let (node, paths) = (&self.node, self.node.paths());
        let command = self.strfry.command(node, STRFRY_PATIENCE)?;
        let binary = self.strfry.binary(node)?;
        let words = self.strfry.words();
        // Without one, what is wrong with the configuration is told.
        let database = node.database().ok();
        let opened = database.as_deref().map(|database| node.lock.look(database));

        let mut findings = doctor::strfry(
            &Strfry {
                command: &command,
                program: words.map_or_else(|| binary.display().to_string(), str::to_owned),
                is_elsewhere: words.is_some(),
                config: (paths.strfry_conf(), node.config()),
                named: node.db.as_deref(),
                database: opened.as_ref().and_then(|(opened, _)| opened.as_ref().ok()),
            },
            stop,
        );
        let mut places = Vec::new();
        if let (Some(database), Some((opened, lock))) = (&database, &opened) {
            findings.extend(doctor::database(database, opened, *lock));
            places.push(Place::Database(database.clone()));
        }
        places.push(Place::State(paths.state_dir().to_owned()));
        let thresholds = Thresholds::default();
        findings.extend(places.iter().map(|place| doctor::disk(place, &thresholds)));
        let directory = database.unwrap_or_else(|| paths.default_database());
        let conf = paths.strfry_conf();
        let precious = Precious::new(paths.clone(), &binary, &conf, &directory);
        let history = self.history.file(node);
        findings.extend(doctor::files(&self.written(&paths, history.clone()), &precious));
        findings.push(self.pubkeys());
        findings.push(doctor::running(&paths.lock(), &paths.log()));
        let db = opened.as_ref().and_then(|(opened, _)| Some(&opened.as_ref().ok()?.db));
        // What is noted about strfry's database is no fault of another one that is named.
        let is_of_strfry = |finding: &Finding| {
            finding.id != Check::StrfryDatabase || finding.level != Level::Error
        };
        let db = db.filter(|_| findings.iter().all(is_of_strfry));
        findings.extend(db.and_then(|db| doctor::state(&paths.peer_state(), db)));
        findings.push(doctor::last_run(&history, &paths.peer_state(), Timestamp::now()));
        Ok(findings)
    }

    /// Whether there is anybody whose events a backfill asks for.
    fn pubkeys(&self) -> Finding {
        let (node, subject) = (&self.node, "a backfill");
        let read = || {
            let sources = node.pubkeys(&node.discover(self.reaching.policy()));
            let blacklist =
                Blacklist::read(&node.paths().blacklist(), &sources.local).or_usage()?;
            pubkeys_to_ask_for(self.pubkeys.named(node)?, sources, &blacklist, node)
        };
        match read() {
            Ok(pubkeys) => {
                let found = format!("asks for {}", counted(pubkeys.len(), "pubkey"));
                Finding::ok(Check::FilesPubkeys, subject, found)
            }
            Err(failure) => {
                let otherwise = "correct it, or name pubkeys with --pubkey or --pubkeys";
                let trouble = Trouble::of_message(&message_of(&failure), otherwise);
                Finding::error(Check::FilesPubkeys, subject, trouble)
            }
        }
    }

    /// The files that a backfill writes.
    fn written(&self, paths: &NodePaths, history: PathBuf) -> Vec<Written> {
        let in_state_dir = |check, path, way, is_read| Written {
            check,
            path,
            way,
            is_read,
            makes_directory: true,
            option: Some("--state-dir"),
        };
        let mut written = vec![
            in_state_dir(Check::FilesLock, paths.lock(), Way::InPlace, true),
            in_state_dir(Check::FilesLog, paths.log(), Way::InPlace, false),
            in_state_dir(Check::FilesErrorLog, paths.error_log(), Way::InPlace, false),
            in_state_dir(Check::FilesProfileLog, paths.profile_log(), Way::InPlace, false),
            in_state_dir(Check::FilesState, paths.peer_state(), Way::Whole, true),
        ];
        let in_history = in_state_dir(Check::FilesHistory, history, Way::InPlace, true);
        written.push(Written { option: Some("--history"), ..in_history });
        if paths.home().is_dir() {
            let path = paths.profiles_json();
            let profiles = in_state_dir(Check::FilesProfiles, path, Way::Whole, false);
            written.push(Written { option: None, ..profiles });
        }
        if let Some(path) = self.metrics.clone() {
            let metrics = in_state_dir(Check::FilesMetrics, path, Way::Whole, false);
            written.push(Written { makes_directory: false, option: Some("--metrics"), ..metrics });
        }
        written
    }

    /// All peers at once.
    fn peers(&self, relays: Vec<Peer>, stop: &Stop) -> Result<Vec<Finding>> {
        let key = self.auth_key_file.as_deref().map(|file| (file, read_auth_key(file)));
        let has_key = key.as_ref().is_some_and(|(_, key)| key.is_ok());
        let discovery = self.node.discover(self.reaching.policy());
        let (peers, skipped) = if relays.is_empty() {
            (discovery.peers, discovery.skipped.len())
        } else {
            let none = Discovery::default();
            (none.with_explicit(relays).peers, 0)
        };
        let ipfs = Ipfs { command: self.reaching.ipfs_bin.clone(), stop: stop.clone() };
        let runtime = runtime()?;
        let trace = Trace::default();
        let looks = look_at_all(&peers, &ipfs, self.reaching.allow_local_peers, &trace);
        let looked = runtime.block_on(looks);
        // A name that is still being resolved holds nobody up.
        runtime.shutdown_background();
        let mut findings =
            doctor::peers(&Asked { peers: &peers, looked: &looked, skipped, has_key });
        findings.extend(key.map(|(file, key)| {
            let subject = file.display();
            match key {
                Ok(_) => Finding::ok(Check::PeersKey, subject, "is a secret key"),
                Err(failure) => {
                    let trouble = Trouble::of_message(&message_of(&failure), "correct it");
                    Finding::error(Check::PeersKey, subject, trouble)
                }
            }
        }));
        Ok(findings)
    }
}

fn message_of(failure: &Failure) -> String {
    match failure {
        Failure::Usage(error) | Failure::CannotRun(error) => with_causes(error.as_ref()),
        Failure::Told(_) | Failure::Unread => String::new(),
    }
}
