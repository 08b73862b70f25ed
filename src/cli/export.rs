//! `export`: every event by time, byte for byte as `strfry export` prints it.

use std::ops::ControlFlow;

use clap::Args;

use super::exit::{OrFail, Outcome, Result};
use super::looks::is_quiet;
use super::node::NodeArguments;
use super::output::{is_terminal, print_lines, write_in_snapshot};
use super::resources::ThreadArguments;
use super::values::moment;
use crate::report::{Progress, ProgressState};
use crate::strfry_db::ExportRange;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Oldest created_at to print: a second, 2026-11-01 or 3d
    ///
    /// A date is its first second (UTC), 3d is three days ago.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Newest created_at to print, likewise
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// Print the newest event first
    #[arg(long)]
    reverse: bool,
    /// Append to each event what strfry indexes of it, for `strfry import --fried`
    #[arg(long)]
    fried: bool,
    /// Print one moment of the database
    ///
    /// strfry's file may grow until the end of it. Otherwise it is read in many short moments: what is there from beginning to end is printed
    /// exactly once, and what comes or goes meanwhile is printed or not.
    #[arg(long)]
    one_snapshot: bool,
    #[command(flatten)]
    threads: ThreadArguments,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let db = arguments.node.open_database()?;
    let range = ExportRange {
        since: arguments.since.unwrap_or(0),
        until: arguments.until.unwrap_or(u64::MAX),
        reverse: arguments.reverse,
        one_snapshot: arguments.one_snapshot,
    };
    let export = db.export(range, arguments.fried).or_cannot_run()?;
    let write = if arguments.one_snapshot { write_in_snapshot } else { print_lines };
    let progress = Progress::new(!is_terminal() && !is_quiet());
    let all = arguments.is_whole().then(|| db.event_count().ok()).flatten();
    let mut events = 0;
    let ended = export.each_batch(arguments.threads.count(), |lines, read| {
        // What was read before the trouble is whole.
        if let Err(failure) = write(lines) {
            return ControlFlow::Break(failure);
        }
        events += memchr::memchr_iter(b'\n', lines).count() as u64;
        let text = format!("{events} events");
        let share = all.map(|all| (events.min(all), all));
        progress.update(&ProgressState { phase: "Exporting", text: &text, share, peers: &[] });
        match read.or_cannot_run() {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    });
    if let ControlFlow::Break(failure) = ended {
        return Err(failure);
    }
    progress.finish();
    Ok(Outcome::Complete)
}

impl Arguments {
    /// No event is left out, so that it is known how many there are.
    fn is_whole(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }
}
