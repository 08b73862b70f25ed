//! `backfill`: the main job, from arguments and the node's files to a run and its exit code.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use jiff::{Timestamp, Zoned};

use super::as_script::start_report;
use super::commits::CommitArguments;
use super::diff::sides_in_words;
use super::exit::{Failure, OrFail, Outcome, Result, outcome_of, tell};
use super::help::{OUTPUT, STRFRY, WHOM};
use super::history::HistoryPlace;
use super::looks::{is_colored, is_quiet};
use super::node::NodeArguments;
use super::output::{counted, peer_label, print, print_json};
use super::peer_args::{Named, PeerArguments, failure_of, runtime};
use super::pubkeys::print_list;
use super::resources::ThreadArguments;
use super::signals::{IMPORTING, stop_on_signals};
use super::stats;
use super::strfry::{StrfryArguments, Target};
use super::wait::{PROGRESS, StandardError};
use super::wrapped::fit;
use crate::backfill::limits::STRANGERS_EVENTS;
use crate::backfill::{
    self, Class, Job, NO_FALLBACK_ANSWERED, Output, PeerStatus, PeerSummary, Status, Summary,
};
use crate::files;
use crate::history::{self, AppendError};
use crate::import::StrfryCommand;
use crate::import::limits::PATIENCE;
use crate::node::{
    Acquired, Blacklist, Discovery, EventLimits, Holder, NodePaths, Peer, PeerPolicy, Precious,
    PubkeySources, RunLock, fallback_peer,
};
use crate::report::{
    Level, Progress, RunLog, Terminal, clean_for_log, clean_whole_for_log, with_causes,
};
use crate::stop::Stop;
use crate::strfry_db::StrfryDb;

/// Asked for profiles that no peer has. The first one collects profiles and lists, the other two are
/// large and open to all. relay.nostr.band is gone, and relay.damus.io since the end of July 2026.
const PUBLIC_RELAYS: &[&str] = &["wss://purplepag.es", "wss://relay.primal.net", "wss://nos.lol"];

/// node_exporter runs as another user.
const METRICS_MODE: u32 = 0o644;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) asking: PeerArguments,
    /// Public relays to ask for profiles that no peer has
    ///
    /// In place of the default ones. May be given several times. [default: wss://purplepag.es
    /// wss://relay.primal.net wss://nos.lol]
    #[arg(long = "fallback-relay", value_name = "URL", help_heading = WHOM, num_args = 1..,
          hide_short_help = true, conflicts_with = "no_fallback")]
    fallback_relays: Vec<String>,
    /// Ask no public relays
    #[arg(long, help_heading = WHOM)]
    no_fallback: bool,
    #[command(flatten)]
    pub(super) strfry: StrfryArguments,
    #[command(flatten)]
    commits: CommitArguments,
    #[command(flatten)]
    history: HistoryPlace,
    /// Do not keep this run's summary
    #[arg(long, help_heading = OUTPUT, hide_short_help = true, conflicts_with = "history")]
    no_history: bool,
    /// Write figures about the run to FILE, for node_exporter's textfile collector (NAME.prom)
    #[arg(long, value_name = "FILE", help_heading = OUTPUT, hide_short_help = true)]
    metrics: Option<PathBuf>,
    #[command(flatten)]
    pub(super) node: NodeArguments,
    #[command(flatten)]
    threads: ThreadArguments,
    /// Check signatures; this is the default
    #[arg(long, conflicts_with = "no_verify", hide_short_help = true)]
    verify: bool,
    /// Do not check signatures; everything else about an event is still checked
    #[arg(long, hide_short_help = true)]
    no_verify: bool,
    /// Give strfry plain JSON, which it packs itself: slower
    #[arg(long, help_heading = STRFRY, hide_short_help = true)]
    plain: bool,
    /// Neither recover missing profiles nor write the profiles file
    #[arg(long, help_heading = OUTPUT, hide_short_help = true)]
    no_profiles: bool,
    /// Fetch and check, but import nothing
    #[arg(long, alias = "DRYRUN", help_heading = OUTPUT)]
    dry_run: bool,
    /// Write the profiles as CSV too
    #[arg(long, help_heading = OUTPUT, hide_short_help = true)]
    csv: bool,
    /// Show every line of the log on the terminal
    #[arg(short, long, help_heading = OUTPUT)]
    verbose: bool,
    /// Print the run's summary as one JSON object
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// Print the pubkeys that would be asked for, and exit
    #[arg(long, conflicts_with = "json", help_heading = OUTPUT, hide_short_help = true)]
    show_hex: bool,
    /// Print figures about the database, and exit
    #[arg(long, conflicts_with = "show_hex", help_heading = OUTPUT, hide_short_help = true)]
    stats: bool,
    /// Take the flags of the old script, and start the station's report as it does
    ///
    /// The report is started at the end. `adopt` puts this flag into the script.
    #[arg(long, help_heading = OUTPUT, hide_short_help = true)]
    as_script: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    if arguments.stats {
        return stats::run(&stats::Arguments::of(arguments.node.clone(), arguments.json));
    }
    let (named, fallback) = (arguments.asking.named(&arguments.node)?, arguments.fallback()?);
    if arguments.show_hex {
        return arguments.show_hex(named);
    }
    let target = arguments.strfry.target(&arguments.node)?;
    let strfry = arguments.strfry.command(&arguments.node, PATIENCE)?;
    let paths = arguments.node.paths();

    arguments.refuse_links(&target)?;
    create_state_dir(&paths)?;
    // Nothing is touched before the lock is ours.
    let _lock = match RunLock::acquire(&paths.lock()).or_cannot_run()? {
        Acquired::Held(lock) => lock,
        Acquired::HeldByAnother(holder) => return arguments.beside(&holder),
    };
    let (began, began_at) = (Instant::now(), Timestamp::now());
    let terminal = Terminal { enabled: true, verbose: arguments.verbose };
    let log = RunLog::open(&paths.log(), &paths.error_log(), terminal).or_cannot_run()?;
    log.show_on(StandardError);
    log.show_colors(is_colored());
    // Before the database is open, so that no signal ends the process with a snapshot.
    let stop = Stop::default();
    stop_on_signals(&stop, IMPORTING)?;
    log.info("Starting Astroport constellation backfill process");

    let prepared = arguments.job(named, fallback, (strfry, target.limits), &log).and_then(|job| {
        if !job.dry_run {
            target.make_if_missing(&job.strfry, &stop, |news| log.warn(clean_for_log(&news)))?;
        }
        let db = arguments.node.lock.open_for_run(&target.database)?;
        Ok((job, Arc::new(db)))
    });
    let result = prepared.and_then(|(job, db)| arguments.execute(&job, db, &log, &stop));
    let mut summary = match result {
        Ok(summary) => summary,
        Err(failure) => {
            let failed = backfill::metrics_of_failure(began_at, began.elapsed().as_secs_f64());
            if let Err(error) = arguments.write_metrics(&failed) {
                log.error(error);
            }
            return Err(failure.told_by(|error| log.error(error)));
        }
    };
    if let Some(lost) = log.write_failed() {
        summary.errors.push(lost.to_string());
        summary.status = summary.status.max(Status::Incomplete);
    }
    arguments.keep(&mut summary, &log);
    if let Err(error) = arguments.write_metrics(&backfill::metrics(&summary)) {
        arguments.lack(&mut summary, &log, error);
    }
    let printed = if arguments.json || is_quiet() {
        let printed = if arguments.json { print_json(&summary) } else { Ok(()) };
        for why in reasons(&summary) {
            tell(clean_whole_for_log(&why));
        }
        printed
    } else {
        print(&fit(&in_words(&summary)))
    };
    if arguments.as_script && !summary.dry_run {
        start_report(&paths, &log);
    }
    outcome_of(summary.status, printed)
}

impl Arguments {
    /// Whether a run finds a strfry.
    ///
    /// # Errors
    /// What such a run would end with.
    pub(super) fn finds_strfry(&self) -> Result<()> {
        self.strfry.command(&self.node, PATIENCE)?.check().or_cannot_run()
    }

    /// Whether a run finds whom to ask, and for whose events.
    ///
    /// # Errors
    /// What such a run would end with.
    pub(super) fn finds_whom_to_ask(&self) -> Result<()> {
        let named = self.asking.named(&self.node)?;
        let discovery = self.node.discover(self.asking.reaching.policy());
        let sources = self.node.pubkeys(&discovery);
        let blacklist =
            Blacklist::read(&self.node.paths().blacklist(), &sources.local).or_usage()?;
        named.peers(discovery, &self.node)?;
        named.pubkeys(sources, &blacklist, &self.node).map(drop)
    }

    /// Public relays to ask for profiles.
    fn fallback(&self) -> Result<Vec<Peer>> {
        let public: Vec<&str> = match self.fallback_relays.as_slice() {
            _ if self.no_fallback => Vec::new(),
            [] => PUBLIC_RELAYS.to_vec(),
            named => named.iter().map(String::as_str).collect(),
        };
        public.iter().map(|url| fallback_peer(url).or_usage()).collect()
    }

    /// Adds the run to the history; a dry run writes nothing.
    fn keep(&self, summary: &mut Summary, log: &RunLog) {
        if self.dry_run || self.no_history {
            return;
        }
        let directory = self.history.directory();
        let made = directory.map_or(Ok(()), |it| DirBuilder::new().recursive(true).create(it));
        let file = self.history.file(&self.node);
        let kept = made
            .map_err(|source| AppendError {
                step: "create the directory of",
                path: file.clone(),
                source,
            })
            .and_then(|()| history::append(&file, summary));
        if let Err(error) = kept {
            self.lack(summary, log, error.to_string());
        }
    }

    /// A dry run writes none.
    fn write_metrics(&self, metrics: &str) -> std::result::Result<(), String> {
        let Some(file) = self.metrics.as_deref().filter(|_| !self.dry_run) else { return Ok(()) };
        let written = files::replace(file, METRICS_MODE, |out| out.write_all(metrics.as_bytes()));
        written.map_err(|error| {
            format!("the metrics are not written to {}: {}", file.display(), with_causes(&error))
        })
    }

    /// The run goes on, and is not complete.
    fn lack(&self, summary: &mut Summary, log: &RunLog, error: String) {
        log.record(Level::Error, &error);
        summary.errors.push(error);
        summary.status = summary.status.max(Status::Incomplete);
    }

    fn written_of_node(&self) -> Vec<PathBuf> {
        let mut written = self.node.paths().written().to_vec();
        written.push(self.history.file(&self.node));
        written
    }

    /// Every file that a run writes beside the database.
    pub(super) fn written(&self) -> Vec<PathBuf> {
        let (mut written, paths) = (self.written_of_node(), self.node.paths());
        let profiles = [paths.profiles_json(), paths.profiles_csv()];
        written.retain(|file| paths.home().is_dir() || !profiles.contains(file));
        written.extend(self.metrics.clone());
        written.extend(self.asking.tracing.file().map(Path::to_owned));
        written
    }

    /// Refuses to write a file that leads to one of strfry's, or to another one of the node's.
    fn refuse_links(&self, target: &Target) -> Result<()> {
        let (paths, strfry) = (self.node.paths(), self.strfry.binary(&self.node)?);
        let (written, conf) = (self.written_of_node(), paths.strfry_conf());
        let precious = Precious::new(paths, &strfry, &conf, &target.directory());
        if let Some((file, what)) =
            self.metrics.as_deref().and_then(|file| Some((file, precious.at(file)?)))
        {
            return Err(Failure::Usage(anyhow!(
                "{} is {what}; name another file with --metrics",
                file.display()
            )));
        }
        for file in written {
            if let Some(what) = precious.behind(&file) {
                return Err(Failure::CannotRun(anyhow!(
                    "cannot write {}: it is a link to a file that is {what}; put a file of its own \
                     in its place",
                    file.display()
                )));
            }
        }
        Ok(())
    }

    /// Ends beside another run: with a failure if that one has gone on for long.
    fn beside(&self, holder: &Holder) -> Result<Outcome> {
        let pid = holder.pid.map_or("unknown PID".to_owned(), |pid| format!("PID {pid}"));
        if let Some(time) = holder.held_for.filter(|_| holder.is_overdue()) {
            let paths = self.node.paths();
            // A file may claim to be older than any calendar.
            let since = Zoned::now().checked_sub(time).ok();
            let since = since.map(|since| since.strftime("%Y-%m-%d %H:%M:%S").to_string());
            return Err(Failure::CannotRun(anyhow!(
                "another backfill ({pid}) holds the lock {:?} since {}, for {}; nothing done: see in \
                 {} whether it goes on, and end it if it does not",
                paths.lock(),
                since.as_deref().unwrap_or("an unknown time"),
                hours_and_minutes(time),
                paths.log().display(),
            )));
        }
        let message = format!("Another backfill is running ({pid}); nothing done.");
        if self.json {
            tell(message);
        } else {
            print(&format!("{message}\n"))?;
        }
        Ok(Outcome::Complete)
    }

    fn show_hex(&self, named: Named) -> Result<Outcome> {
        let sources = self.node.pubkeys_with_warnings(&self.node.discover(PeerPolicy::default()));
        let blacklist =
            Blacklist::read(&self.node.paths().blacklist(), &sources.local).or_usage()?;
        let mut pubkeys = named.pubkeys.unwrap_or(sources.pubkeys);
        pubkeys.retain(|pubkey| !blacklist.contains(pubkey));
        print_list(&pubkeys)
    }

    fn job(
        &self,
        named: Named,
        fallback: Vec<Peer>,
        (strfry, limits): (StrfryCommand, EventLimits),
        log: &RunLog,
    ) -> Result<Job> {
        let paths = self.node.paths();
        let discovery = self.node.discover(self.asking.reaching.policy());
        let sources = self.node.pubkeys(&discovery);
        let blacklist = Blacklist::read(&paths.blacklist(), &sources.local).or_usage()?;
        log_sources(log, &discovery, &sources);

        let peers = named.peers(discovery, &self.node)?;
        let pubkeys = named.pubkeys(sources, &blacklist, &self.node)?;
        let is_node = paths.home().is_dir();
        if self.csv && !is_node {
            return Err(Failure::Usage(anyhow!(
                "--csv writes beside a node's profiles file, but there is no home {}: name it with --home",
                paths.home().display()
            )));
        }
        log.info(format_args!(
            "{}, {}",
            counted(peers.len(), "peer"),
            counted(pubkeys.len(), "pubkey")
        ));
        Ok(Job {
            peers,
            fallback,
            pubkeys,
            names_pubkeys: named.pubkeys.is_some(),
            station_kinds: named.station_kinds(),
            kinds: named.kinds,
            strangers: STRANGERS_EVENTS,
            days: self.asking.days,
            profiles: !self.no_profiles,
            verify: !self.no_verify,
            threads: self.threads.named(),
            plain: self.plain,
            ipfs: self.asking.reaching.ipfs_bin.clone(),
            auth: self.asking.auth()?,
            trace: self.asking.trace(&self.node, Some(&self.strfry.binary(&self.node)?))?,
            state: Some(paths.peer_state()),
            ignore_state: self.asking.ignores_state(),
            negentropy: !self.asking.no_negentropy,
            dry_run: self.dry_run,
            limits,
            blacklist,
            strfry,
            window: self.commits.window(&self.node),
            allow_local: self.asking.reaching.allow_local_peers,
            max_time: self.asking.max_time(),
            timings: self.asking.timings(),
            output: Output {
                profiles_json: is_node.then(|| paths.profiles_json()),
                profiles_csv: (is_node && self.csv).then(|| paths.profiles_csv()),
                profile_log: Some(paths.profile_log()),
            },
        })
    }

    fn execute(&self, job: &Job, db: Arc<StrfryDb>, log: &RunLog, stop: &Stop) -> Result<Summary> {
        let progress = Progress::new(!self.verbose && !self.json && !is_quiet());
        progress.show_colors(is_colored());
        let _ = PROGRESS.set(progress.clone());
        log.attach(progress.clone());
        let runtime = runtime()?;
        let run = backfill::run(job, db, log, &progress, stop);
        let summary = runtime.block_on(run).map_err(failure_of);
        // A name that is still being resolved, for a peer that was given up, holds nobody up.
        runtime.shutdown_background();
        self.asking.tracing.end(&job.trace, |trouble| log.warn(clean_for_log(&trouble)));
        summary
    }
}

/// That of a node is there already.
fn create_state_dir(paths: &NodePaths) -> Result<()> {
    let directory = paths.state_dir();
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created
        .with_context(|| {
            format!(
                "cannot create {} for state, lock and logs; name another directory with --state-dir",
                directory.display()
            )
        })
        .or_cannot_run()
}

fn hours_and_minutes(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    format!("{} h {} min", minutes / 60, minutes % 60)
}

fn log_sources(log: &RunLog, discovery: &Discovery, sources: &PubkeySources) {
    for skipped in &discovery.skipped {
        let (subject, reason) = (skipped.subject.to_string(), skipped.reason.to_string());
        log.info(format_args!("Skipped {}: {}", clean_for_log(&subject), clean_for_log(&reason)));
    }
    for source in &sources.sources {
        log.info(format_args!(
            "Pubkeys from {}: {} found, {} lines skipped",
            source.name, source.found, source.skipped
        ));
        for error in &source.errors {
            log.warn(clean_for_log(&error.to_string()));
        }
    }
}

fn in_words(summary: &Summary) -> String {
    let status = match summary.status {
        Status::Complete => "Complete",
        Status::Incomplete => "Incomplete",
        Status::Failed => "Failed",
    };
    let new = if summary.dry_run {
        format!("{} events would be imported", summary.events_of(Class::WouldImport))
    } else {
        format!("{} events imported", summary.events_of(Class::Imported))
    };
    let mut text = format!(
        "{status}: {new}, {} received from {} ({} complete) in {:.1} s\n\
         Profiles: {} found, {} missing\n",
        summary.received,
        counted(summary.peers.len(), "peer"),
        summary.complete_peers(),
        summary.seconds,
        summary.profiles.found,
        summary.profiles.missing
    );
    if summary.dry_run {
        for peer in &summary.peers {
            dry_run_in_words(&mut text, peer);
        }
        text.push_str(
            "What several peers have counts as new for the one that gave it first; --json lists ids.\n",
        );
    }
    for (class, count) in summary.classes() {
        text.push_str(&format!("  {class:<16} {count:>9}\n"));
    }
    let silent = summary.silent_fallback();
    if !silent.is_empty() {
        text.push_str(&format!("{NO_FALLBACK_ANSWERED}:\n"));
    }
    for relay in silent {
        let why = relay.reasons();
        text.push_str(&format!("  {}: {}\n", clean_for_log(&relay.url), clean_for_log(&why)));
    }
    if summary.status != Status::Complete {
        text.push_str(&format!("{status}, because:\n"));
        for why in reasons(summary) {
            text.push_str(&format!("  {}\n", clean_whole_for_log(&why)));
        }
    }
    text
}

/// Why a run is not complete: a line for each peer that still owes something, and for each error.
fn reasons(summary: &Summary) -> Vec<String> {
    let of_peer = |peer: &PeerSummary| {
        let what = match peer.status {
            PeerStatus::Complete => return None,
            PeerStatus::Incomplete => "gave a part",
            PeerStatus::Failed => "gave nothing",
        };
        Some(format!("{} {what}: {}; the next run asks for the rest", peer.url, peer.reasons()))
    };
    let peers = summary.peers.iter().filter_map(of_peer);
    peers.chain(summary.errors.iter().cloned()).collect()
}

fn dry_run_in_words(text: &mut String, peer: &PeerSummary) {
    let new = peer.events.get(Class::WouldImport.name()).copied().unwrap_or(0);
    let label = peer_label(&peer.url, &peer.name);
    let how = match peer.status {
        PeerStatus::Complete => "complete".to_owned(),
        _ => clean_for_log(&peer.reasons()).into_owned(),
    };
    text.push_str(&format!("  {label}: {} received, {new} new, {how}\n", peer.received));
    if let Some(sides) = &peer.sides {
        sides_in_words(text, "    ", sides, false);
    }
}
