//! `import`: JSON lines into strfry's database, checked, through strfry.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::exit::{OrFail, Outcome, Result, outcome_of, tell};
use super::looks::is_quiet;
use super::node::NodeArguments;
use super::output::{print, print_json};
use super::resources::{need_open_files, need_threads};
use super::signals::stop_on_signals;
use super::strfry::StrfryArguments;
use super::wait::PROGRESS;
use crate::import::limits::PATIENCE;
use crate::import::{self, Class, Job, RunError, Settings, Sofar, Status, Summary, choose_form};
use crate::jsonl::Source;
use crate::node::{Blacklist, PeerPolicy, Precious};
use crate::report::{Progress, ProgressState};
use crate::stop::Stop;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files with an event on each line, as JSON; plain, zstd or gzip; `-` for standard input,
    /// which is also read if none is named
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Do not check signatures; everything else about an event is still checked
    #[arg(long)]
    no_verify: bool,
    /// Give strfry plain JSON, which it packs itself: slower
    #[arg(long)]
    plain: bool,
    /// Check everything and look up what is missing, but import nothing
    #[arg(long)]
    dry_run: bool,
    /// Write every event that is not in the database afterwards to FILE, as JSON lines with its
    /// place, class and reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Threads that check events; fewer leave more to the relay [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    threads: Option<u16>,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    strfry: StrfryArguments,
    /// How long strfry may take next to no input and commit nothing before it counts as hanging, in
    /// seconds
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs(),
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    strfry_timeout: u64,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let stop = Stop::default();
    let inputs = arguments.inputs(&stop)?;
    // Before the database is open, so that no signal ends the process with a snapshot.
    stop_on_signals(&stop)?;
    let node = &arguments.node;
    let target = arguments.strfry.target(node)?;
    let strfry = arguments.strfry.command(node, Duration::from_secs(arguments.strfry_timeout))?;
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
        check_signatures: !arguments.no_verify,
        threads: arguments.threads.unwrap_or(0).into(),
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
    for error in &summary.errors {
        tell(error);
    }
    let printed = match arguments.json {
        true => print_json(&summary),
        false if is_quiet() => Ok(()),
        false => print(&in_words(&summary)),
    };
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
    let share = sofar.bytes.map(|bytes| (sofar.bytes_read.min(bytes), bytes));
    progress.update(&ProgressState { phase: "Importing", text: &text, share, peers: &[] });
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
    for (reason, count) in &summary.reasons {
        text.push_str(&format!("  {count} refused: {}\n", crate::report::clean_for_log(reason)));
    }
    text
}
