//! `import`: JSON lines into strfry's database, checked, through strfry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::commits::CommitArguments;
use super::exit::{OrFail, Outcome, Result, outcome_of, tell};
use super::help::{OUTPUT, STRFRY};
use super::looks::is_quiet;
use super::node::NodeArguments;
use super::output::{in_bytes, print, print_json};
use super::resources::{ThreadArguments, keep_little_free_memory, need_open_files, need_threads};
use super::signals::{IMPORTING, stop_on_signals};
use super::strfry::StrfryArguments;
use super::values::{in_seconds, patience};
use super::wait::PROGRESS;
use super::wrapped::fit;
use crate::import::limits::PATIENCE;
use crate::import::{self, Class, Job, RunError, Settings, Sofar, Status, Summary, choose_form};
use crate::jsonl::Source;
use crate::node::{Blacklist, PeerPolicy, Precious};
use crate::report::{Progress, ProgressState};
use crate::stop::Stop;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files with an event on each line; `-` is standard input
    ///
    /// Each line is an event's JSON. A file may be compressed with zstd or gzip. Standard input is
    /// read if no file is named.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Do not check signatures, but all else about an event
    #[arg(long)]
    no_verify: bool,
    /// Give strfry plain JSON, which it packs itself: slower
    #[arg(long, help_heading = STRFRY, hide_short_help = true)]
    plain: bool,
    /// Check everything, but import nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    threads: ThreadArguments,
    #[command(flatten)]
    strfry: StrfryArguments,
    #[command(flatten)]
    commits: CommitArguments,
    /// How long strfry may do nothing before it counts as hanging
    ///
    /// Nothing means that it takes next to no input and commits nothing.
    #[arg(long, value_name = "TIME", help_heading = STRFRY, hide_short_help = true,
          default_value = in_seconds(PATIENCE), value_parser = patience)]
    strfry_timeout: Duration,
    #[command(flatten)]
    node: NodeArguments,
    /// Write the events that are not in the database then to FILE
    ///
    /// As JSON lines with its place, class and reason.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    rejects: Option<PathBuf>,
    /// Print the summary as one JSON object
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    // Before any thread has taken memory.
    keep_little_free_memory();
    let stop = Stop::default();
    let inputs = arguments.inputs(&stop)?;
    // Before the database is open, so that no signal ends the process with a snapshot.
    stop_on_signals(&stop, IMPORTING)?;
    let node = &arguments.node;
    let target = arguments.strfry.target(node)?;
    let strfry = arguments.strfry.command(node, arguments.strfry_timeout)?;
    let paths = arguments.node.paths();
    let sources = arguments.node.pubkeys(&arguments.node.discover(PeerPolicy::default()));
    let blacklist = Blacklist::read(&paths.blacklist(), &sources.local).or_usage()?;
    if !arguments.dry_run {
        target.make_if_missing(&strfry, &stop, tell)?;
    }
    let db = Arc::new(arguments.node.lock.open_for_run(&target.database)?);
    let (binary, conf) = (arguments.strfry.binary(node)?, paths.strfry_conf());
    let precious = Precious::new(paths, &binary, &conf, db.directory());
    let settings = Settings {
        strfry: (!arguments.dry_run).then_some(strfry),
        form: choose_form(&db, arguments.plain, tell).or_cannot_run()?,
        limits: target.limits,
        window: arguments.commits.window(node),
        check_signatures: !arguments.no_verify,
        threads: arguments.threads.named(),
        stop,
    };
    need_open_files()?;
    need_threads(1)?;
    let progress = Progress::new(!is_quiet());
    let _ = PROGRESS.set(progress.clone());
    let rejects = arguments.rejects.clone();
    let job = Job { inputs, settings, blacklist, rejects, precious };
    let summary = import::run(job, db, |sofar| show(&progress, &sofar));
    progress.finish();
    let summary = match summary {
        Err(RunError::Rejects(error)) if error.is_of_usage() => Err(error).or_usage()?,
        summary => summary.or_cannot_run()?,
    };
    let printed = match arguments.json {
        true => print_json(&summary),
        false if is_quiet() => Ok(()),
        false => print(&fit(&in_words(&summary))),
    };
    summary.notices.iter().for_each(tell);
    // Last, where a person looks for why an import is incomplete.
    for error in &summary.errors {
        tell(error);
    }
    outcome_of(summary.status, printed)
}

impl Arguments {
    /// All inputs, opened before anything is imported.
    fn inputs(&self, stop: &Stop) -> Result<Vec<Source>> {
        let stdin = [PathBuf::from("-")];
        let files = if self.files.is_empty() { &stdin[..] } else { &self.files };
        let open = |file: &PathBuf| {
            Source::open(file, stop)
                .with_context(|| format!("cannot read {}", file.display()))
                .or_usage()
        };
        files.iter().map(open).collect()
    }
}

fn show(progress: &Progress, sofar: &Sofar) {
    let text = format!("{} events read, {} imported", sofar.received, sofar.imported);
    let share = sofar.bytes.map(|bytes| (settled_bytes(sofar).min(bytes), bytes));
    progress.update(&ProgressState { phase: "Importing", text: &text, share, peers: &[] });
}

/// What has been read counts as far as its events are settled: strfry may have to commit a great many.
fn settled_bytes(sofar: &Sofar) -> u64 {
    let settled = u128::from(sofar.bytes_read) * u128::from(sofar.settled);
    let bytes = settled.checked_div(u128::from(sofar.received));
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(sofar.bytes_read)
}

fn in_words(summary: &Summary) -> String {
    let status = match summary.status {
        Status::Complete => "Complete",
        Status::Incomplete => "Incomplete",
        Status::Failed => "Failed",
    };
    let new = match summary.dry_run {
        true => format!("{} events would be imported", summary.events_of(Class::WouldImport)),
        false => format!("{} events imported", summary.events_of(Class::Imported)),
    };
    let (received, seconds) = (summary.received, summary.seconds);
    let mut text = format!("{status}: {new}, {received} read in {seconds:.1} s\n");
    for (class, count) in summary.classes() {
        text.push_str(&format!("  {class:<16} {count:>9}\n"));
    }
    let imported = summary.events_of(Class::Imported);
    if let Some(bytes) = summary.bytes_written.filter(|_| imported > 0) {
        text.push_str(&format!(
            "  strfry wrote {}, {} an event\n",
            in_bytes(bytes),
            in_bytes(bytes / imported)
        ));
    }
    for (reason, count) in &summary.reasons {
        text.push_str(&format!("  {count} refused: {}\n", crate::report::clean_for_log(reason)));
    }
    text
}
