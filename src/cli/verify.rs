//! `verify`: ids and signatures of a database, of what matches a filter, or of JSON lines.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use clap::Args;

use super::exit::{Failure, OrFail, Outcome, Result, answer, tell};
use super::looks::is_quiet;
use super::node::NodeArguments;
use super::output::print;
use super::resources::ThreadArguments;
use super::scan::filter_text;
use crate::jsonl::Source;
use crate::report::{Progress, ProgressState, clean_json};
use crate::strfry_db::{ExportRange, Filter, ReadError};
use crate::verify::{Checked, verify_database, verify_lines, verify_matches};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to check, in place of the whole database
    ///
    /// Events of the database that match a NIP-01 filter: its JSON, or `@FILE` with it. Or a file with
    /// an event on each line, as JSON, plain, zstd or gzip; `-` is standard input.
    #[arg(value_name = "FILTER|FILE|-")]
    what: Option<String>,
    #[command(flatten)]
    threads: ThreadArguments,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    arguments.threads.need()?;
    arguments.threads.apply()?;
    let progress = Progress::new(!is_quiet());
    let mut report = Report { progress, checked: 0, wrong: 0, all: All::Unknown };
    let told = match arguments.what()? {
        What::Database => {
            let db = arguments.node.open_database()?;
            report.all = db.event_count().map_or(All::Unknown, All::Events);
            verify_database(&db, ExportRange::default(), |checked| report.tell(&checked))
        }
        What::Matches(filters) => {
            let db = arguments.node.open_database()?;
            verify_matches(&db, filters, |checked| report.tell(&checked))
        }
        What::Lines(file) => {
            let cannot = || format!("cannot read {}", file.display());
            let input = Source::open(&file, &crate::stop::Stop::default())
                .with_context(cannot)
                .or_usage()?;
            if let Some(bytes) = input.bytes {
                report.all = All::Bytes { read: input.counter(), all: bytes };
            }
            verify_lines(input, |checked| report.tell(&checked))
        }
    };
    report.progress.finish();
    match told {
        Ok(()) => {}
        // Something was wrong, or there had been nothing to print.
        Err(Stop::Print(failure)) => return answer(Outcome::Incomplete, Err(failure)),
        Err(Stop::Read(error)) => return Err(Failure::CannotRun(error)),
    }
    let (checked, wrong) = (report.checked, report.wrong);
    if !is_quiet() {
        tell(format_args!("{checked} events checked, {wrong} of them wrong"));
    }
    Ok(if wrong > 0 { Outcome::Incomplete } else { Outcome::Complete })
}

/// What there is to check.
enum What {
    Database,
    Matches(Vec<Filter>),
    /// `-` is standard input.
    Lines(PathBuf),
}

impl Arguments {
    fn what(&self) -> Result<What> {
        match self.what.as_deref() {
            None => Ok(What::Database),
            Some(filter) if filter.trim_start().starts_with(['{', '[', '@']) => {
                let text = filter_text(filter)?;
                Ok(What::Matches(Filter::parse(&text).or_usage()?))
            }
            Some(file) => Ok(What::Lines(PathBuf::from(file))),
        }
    }
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
    all: All,
}

/// How much there is to check.
enum All {
    Unknown,
    Events(u64),
    /// Of a file, as it lies there.
    Bytes {
        read: Arc<AtomicU64>,
        all: u64,
    },
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
            self.progress.suspend(|| print(&clean_json(&text))).map_err(Stop::Print)?;
        }
        let text = format!("{} events checked, {} wrong", self.checked, self.wrong);
        let share = match &self.all {
            All::Unknown => None,
            All::Events(all) => Some((self.checked.min(*all), *all)),
            All::Bytes { read, all } => Some((read.load(Ordering::Relaxed).min(*all), *all)),
        };
        self.progress.update(&ProgressState { phase: "Verifying", text: &text, share, peers: &[] });
        Ok(())
    }
}
