//! `history`: the backfills of this node so far, what one of them did, and how two of them differ.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde_json::{json, value::RawValue};

use super::exit::{Failure, OrFail, Outcome, Result, tell};
use super::help::OUTPUT;
use super::node::NodeArguments;
use super::output::{counted, peer_label, print, print_json};
use super::wrapped::fit;
use crate::backfill::{PeerStatus, Status};
use crate::history::{self, Difference, History, Run};
use crate::report::clean_for_log;

/// Runs that can be shown and compared.
const MOST: usize = 10_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to print [default: list]
    #[arg(value_enum)]
    what: Option<What>,
    /// A run: its number in the list (1 is the last one), or the beginning of its start, such as
    /// 2026-11-26
    #[arg(value_name = "RUN", num_args = 1..=2)]
    runs: Vec<String>,
    /// List at most N runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON: of `list` an array of summaries, of `show` one summary, of `diff` one object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) place: HistoryPlace,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The last runs, a line for each
    List,
    /// What one run did; without a number the last one
    Show,
    /// How two runs differ; without numbers the last two
    Diff,
}

/// Where the history is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct HistoryPlace {
    /// Directory in which the summary of each run is kept [default: the one of --state-dir]
    #[arg(long, value_name = "DIR", help_heading = OUTPUT, hide_short_help = true)]
    history: Option<PathBuf>,
}

impl HistoryPlace {
    /// The file, which need not be there.
    pub(super) fn file(&self, node: &NodeArguments) -> PathBuf {
        let file = node.paths().history();
        match (&self.history, file.file_name()) {
            (Some(directory), Some(name)) => directory.join(name),
            _ => file,
        }
    }

    /// The directory that is named, if it has to be made.
    pub(super) fn directory(&self) -> Option<&PathBuf> {
        self.history.as_ref()
    }

    /// The newest runs; tells of lines that were skipped.
    pub(super) fn read(&self, node: &NodeArguments, most: usize) -> Result<History> {
        let file = self.file(node);
        let history = history::read(&file, most).or_cannot_run()?;
        if history.skipped > 0 {
            tell(format_args!(
                "warning: {}: {} lines skipped that are not the summary of a run",
                file.display(),
                history.skipped
            ));
        }
        Ok(history)
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let what = arguments.what.unwrap_or(What::List);
    let most_named = match what {
        What::List => 0,
        What::Show => 1,
        What::Diff => 2,
    };
    if arguments.runs.len() > most_named {
        return Err(Failure::Usage(anyhow!(
            "too many runs are named: `list` takes none, `show` one, `diff` two"
        )));
    }
    let most = if what == What::List { arguments.limit } else { MOST };
    let history = arguments.place.read(&arguments.node, most)?;
    let named = |position: usize, default: usize| match arguments.runs.get(position) {
        Some(name) => find(&history, name),
        None => find(&history, &default.to_string()),
    };
    match what {
        What::List => arguments.list(&history)?,
        What::Show => {
            let (run, line) = named(0, 1)?;
            if arguments.json {
                print_json(&RawValue::from_string(line.clone()).or_cannot_run()?)?;
            } else {
                print(&fit(&in_words(run)))?;
            }
        }
        What::Diff => {
            let (before, after) = (&named(0, 2)?.0, &named(1, 1)?.0);
            let difference = Difference::between(before, after);
            if arguments.json {
                let runs = [before, after].map(|run| run.started_at.to_string());
                print_json(&json!({"version": 1, "runs": runs, "difference": difference}))?;
            } else {
                print(&difference_in_words(before, after, &difference))?;
            }
        }
    }
    Ok(Outcome::Complete)
}

/// The run of this number or start.
fn find<'a>(history: &'a History, name: &str) -> Result<&'a (Run, String)> {
    let count = counted(history.runs.len(), "run");
    let found = match name.parse::<usize>() {
        Ok(number) if number < 1_000_000 => {
            number.checked_sub(1).and_then(|position| history.runs.get(position))
        }
        _ => {
            let name = name.replace('T', " ");
            history.runs.iter().find(|(run, _)| run.began().starts_with(&name))
        }
    };
    found.ok_or_else(|| {
        Failure::Usage(anyhow!(
            "no run {name} in the history, which has {count}: see `strfry-companion \
             history` for their numbers"
        ))
    })
}

impl Arguments {
    fn list(&self, history: &History) -> Result<()> {
        if self.json {
            let lines = history.runs.iter().map(|(_, line)| RawValue::from_string(line.clone()));
            let lines = lines.collect::<std::result::Result<Vec<_>, _>>().or_cannot_run()?;
            return print_json(&lines);
        }
        if history.runs.is_empty() {
            return print("No run yet: the next backfill writes the first line.\n");
        }
        let mut text = String::from(
            "  # started (UTC)       status          took received imported peers no profile\n",
        );
        for (position, (run, _)) in history.runs.iter().enumerate() {
            let peers = format!("{}/{}", run.complete_peers(), run.peers.len());
            let took = duration(run.seconds);
            let _ = writeln!(
                text,
                "{:>3} {} {:<10} {took:>9} {:>8} {:>8} {peers:>5} {:>10}",
                position + 1,
                run.began(),
                status(run.status),
                run.received,
                run.imported(),
                run.profiles.missing,
            );
        }
        print(&text)
    }
}

pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Incomplete => "incomplete",
        Status::Failed => "failed",
    }
}

const fn peer_status(status: PeerStatus) -> &'static str {
    match status {
        PeerStatus::Complete => "complete",
        PeerStatus::Incomplete => "incomplete",
        PeerStatus::Failed => "failed",
    }
}

/// Seconds, or hours and minutes.
fn duration(seconds: f64) -> String {
    if seconds < 600.0 {
        return format!("{seconds:.1} s");
    }
    // The history may name any number; the conversion keeps within bounds.
    let minutes = (seconds / 60.0) as u64;
    if minutes < 120 {
        format!("{minutes} min")
    } else {
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

fn in_words(run: &Run) -> String {
    let mut text = format!(
        "Run of {} UTC: {}, {}\n{} events imported, {} received from {} ({} complete)\n\
         Profiles: {} found, {} recovered, {} missing\n",
        run.began(),
        status(run.status),
        duration(run.seconds),
        run.imported(),
        run.received,
        counted(run.peers.len(), "peer"),
        run.complete_peers(),
        run.profiles.found,
        run.profiles.recovered,
        run.profiles.missing,
    );
    let mut list = |title: &str, rows: Vec<(String, u64)>| {
        if !rows.is_empty() {
            let _ = writeln!(text, "{title}:");
        }
        for (name, count) in rows {
            let _ = writeln!(text, "  {:<16} {count:>9}", clean_for_log(&name));
        }
    };
    list(
        "Events by class",
        run.events.iter().map(|(name, count)| (name.clone(), *count)).collect(),
    );
    let kinds = run.gained.kinds.iter();
    list("Imported by kind", kinds.map(|(kind, count)| (kind.to_string(), *count)).collect());
    let groups = [("Peers", &run.peers), ("Relays asked for missing profiles", &run.fallback)];
    for (title, peers) in groups.iter().filter(|(_, peers)| !peers.is_empty()) {
        let _ = writeln!(text, "{title}:");
        for peer in *peers {
            let _ = writeln!(
                text,
                "  {}: {}, {} received, {} imported, {}",
                peer_label(&peer.url, &peer.name),
                peer_status(peer.status),
                peer.received,
                peer.imported(),
                duration(peer.seconds)
            );
        }
    }
    if !run.phases.is_empty() {
        text.push_str("Durations:\n");
    }
    for phase in &run.phases {
        let _ =
            writeln!(text, "  {:<16} {:>9}", clean_for_log(&phase.name), duration(phase.seconds));
    }
    let reasons = run.reasons_of_gaps(|gap| gap.reason.clone());
    if !reasons.is_empty() {
        text.push_str("Incomplete, because:\n");
    }
    for (url, why) in reasons {
        let why = if url.is_empty() { why } else { format!("{url}: {why}") };
        let _ = writeln!(text, "  {}", clean_for_log(&why));
    }
    text
}

fn difference_in_words(before: &Run, after: &Run, difference: &Difference) -> String {
    let mut text = format!(
        "From {} ({}, {}) to {} ({}, {}):\n",
        before.began(),
        status(before.status),
        duration(before.seconds),
        after.began(),
        status(after.status),
        duration(after.seconds),
    );
    for (class, (one, other)) in &difference.events {
        let _ = writeln!(text, "  {:<16} {one:>9} → {other}", clean_for_log(class));
    }
    let word = |status: Option<PeerStatus>| status.map_or("not asked", peer_status);
    for (url, change) in &difference.peers {
        let (one, other) = (word(change.before), word(change.after));
        let _ = writeln!(text, "  {}: {one} → {other}", clean_for_log(url));
    }
    let lists = [
        ("has a profile now", &difference.profiles_found),
        ("has no profile any more, or is new", &difference.profiles_lost),
    ];
    for (what, pubkeys) in lists {
        for pubkey in pubkeys {
            let _ = writeln!(text, "  {} {what}", clean_for_log(pubkey));
        }
    }
    if difference.profiles_cut {
        text.push_str("  (the history does not name all pubkeys without a profile)\n");
    }
    if text.lines().count() == 1 {
        text.push_str("  no difference in events, peers and profiles\n");
    }
    text
}
