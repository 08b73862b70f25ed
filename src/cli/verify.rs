//! `verify`: ids and signatures of a database, or of JSON lines.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::exit::{Failure, OrFail, Outcome, Result, tell};
use super::node::{NodeArguments, print};
use crate::jsonl::Source;
use crate::report::Progress;
use crate::strfry_db::{ExportRange, ReadError};
use crate::verify::{Checked, verify_database, verify_lines};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File with an event on each line, as JSON; plain, zstd or gzip; `-` for standard input
    /// [default: the database]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut report = Report { progress: Progress::new(true), checked: 0, wrong: 0 };
    let told = match &arguments.file {
        None => {
            let db = arguments.node.open_database()?;
            verify_database(&db, ExportRange::default(), |checked| report.tell(&checked))
        }
        Some(file) => {
            let cannot = || format!("cannot read {}", file.display());
            let input = Source::open(file, &Arc::default()).with_context(cannot).or_usage()?;
            verify_lines(input, |checked| report.tell(&checked))
        }
    };
    report.progress.finish();
    match told {
        Ok(()) => {}
        // Something was wrong, or there had been nothing to print.
        Err(Stop::Print(failure)) if failure.is_broken_pipe() => return Ok(Outcome::Incomplete),
        Err(Stop::Print(failure)) => return Err(failure),
        Err(Stop::Read(error)) => return Err(Failure::CannotRun(error)),
    }
    let (checked, wrong) = (report.checked, report.wrong);
    tell(format_args!("{checked} events checked, {wrong} of them wrong"));
    Ok(if wrong > 0 { Outcome::Incomplete } else { Outcome::Complete })
}

/// Why the checking ended early.
enum Stop {
    Print(Failure),
    Read(anyhow::Error),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Read(anyhow::Error::new(error).context("cannot read the events"))
    }
}

struct Report {
    progress: Progress,
    checked: u64,
    wrong: u64,
}

impl Report {
    fn tell(&mut self, checked: &Checked) -> std::result::Result<(), Stop> {
        self.checked += checked.events;
        self.wrong += checked.offenders.len() as u64;
        let lines: Vec<String> = checked
            .offenders
            .iter()
            .filter_map(|offender| serde_json::to_string(offender).ok())
            .collect();
        if !lines.is_empty() {
            let text = lines.join("\n") + "\n";
            self.progress.suspend(|| print(&text)).map_err(Stop::Print)?;
        }
        self.progress.say(format_args!("{} events checked, {} wrong", self.checked, self.wrong));
        Ok(())
    }
}
