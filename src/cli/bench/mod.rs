//! `bench`: the old ways against this program, on the operator's own database.
//!
//! Real processes, run in turns, medians of their times. Answers are compared with each other: a
//! wrong one fails the bench. What cannot be run is named with its reason. A backfill is run once
//! each way, on a copy.

mod backfill;
mod child;
mod group;
mod home;
mod profiles;
mod report;
mod scan;
mod verify;

use std::path::PathBuf;
use std::process::Command;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Outcome, Result, answer};
use super::node::NodeArguments;
use super::output::{print, print_json};
use super::signals::end_between_snapshots;
use report::Report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What to measure
    #[arg(value_enum, value_name = "WHAT", default_value = "profiles")]
    what: What,
    /// Filter; required for `scan`, not allowed otherwise
    #[arg(value_name = "FILTER", required_if_eq("what", "scan"))]
    filter: Option<String>,
    /// For `profiles` and `backfill`: file with the pubkeys to ask for, `-` for standard input (repeatable)
    /// [default: the node's own]
    #[arg(long = "pubkeys", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// For `profiles`: time the scan for each pubkey on N of them, and multiply
    #[arg(long, value_name = "N", default_value_t = 50)]
    sample: usize,
    /// For `verify`: check the N newest events
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    events: usize,
    /// Run each way N times
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// The strfry executable [default: strfry in strfry's working directory, else in
    /// PATH]
    #[arg(long, value_name = "FILE")]
    strfry_bin: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    backfill: backfill::BackfillArguments,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Which pubkeys have a profile: a strfry scan for each, one for all, this program
    Profiles,
    /// Check ids and signatures with 1 thread, 2, and so on
    Verify,
    /// Scan by a filter: strfry and this program
    Scan,
    /// Backfill: the old script and this program, each on a copy of the database
    Backfill,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let bench = Bench { arguments };
    if arguments.what == What::Backfill && arguments.filter.is_none() {
        let compared = backfill::run(&bench, &arguments.backfill)?;
        // Its homes are gone: a signal may end the process, also while nobody reads its output.
        end_between_snapshots()?;
        let outcome = if compared.is_whole() { Outcome::Complete } else { Outcome::Incomplete };
        let json = arguments.json;
        let printed = if json { print_json(&compared) } else { print(&compared.in_words()) };
        return answer(outcome, printed);
    }
    end_between_snapshots()?;
    let report = match (arguments.what, &arguments.filter) {
        (What::Scan, Some(filter)) => scan::run(&bench, filter)?,
        (What::Profiles, None) => profiles::run(&bench, &arguments.files, arguments.sample)?,
        (What::Verify, None) => verify::run(&bench, arguments.events)?,
        (_, Some(_)) | (What::Backfill, None) => {
            return Err(Failure::Usage(anyhow!("only bench scan takes a filter")));
        }
        (What::Scan, None) => return Err(Failure::Usage(anyhow!("bench scan needs a filter"))),
    };
    let outcome = if report.wrong.is_empty() { Outcome::Complete } else { Outcome::Incomplete };
    let printed = if arguments.json { print_json(&report) } else { print(&report.in_words()) };
    answer(outcome, printed)
}

/// What the benches share.
struct Bench<'a> {
    arguments: &'a Arguments,
}

impl Bench<'_> {
    fn runs(&self) -> u32 {
        self.arguments.runs
    }

    fn node(&self) -> &NodeArguments {
        &self.arguments.node
    }

    fn report(&self, title: String) -> Report {
        Report::new(title, self.arguments.runs)
    }

    /// This very program, on the same database.
    fn companion(&self, command: &str) -> Result<Command> {
        let mut companion = Command::new(std::env::current_exe().or_cannot_run()?);
        companion.arg(command).arg("--db").arg(self.node().database()?);
        companion.args(["--lock", &self.node().lock.lock().to_string()]);
        Ok(companion)
    }

    /// How to call strfry on the same database, or why it cannot be.
    fn strfry(&self) -> Result<std::result::Result<Strfry, String>> {
        let paths = self.node().paths();
        let program = self.arguments.strfry_bin.clone().unwrap_or_else(|| paths.strfry_bin());
        let program = std::path::absolute(program).or_usage()?;
        if !program.is_file() {
            let named = self.arguments.strfry_bin.is_some();
            let missing = format!("no strfry at {}", program.display());
            return if named { Err(Failure::Usage(anyhow!(missing))) } else { Ok(Err(missing)) };
        }
        let config = match self.node().config() {
            Ok(config) => config,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let database = self.node().database()?;
        let directory = if database.ends_with("data.mdb") { database.parent() } else { None };
        let directory = directory.unwrap_or(&database);
        match (directory.canonicalize(), config.db.canonicalize()) {
            (Ok(ours), Ok(theirs)) if ours == theirs => Ok(Ok(Strfry {
                program,
                config: self.node().paths().strfry_conf(),
                directory: paths.strfry_dir().to_owned(),
            })),
            _ => Ok(Err(format!(
                "strfry would read {} (db in strfry.conf), not {}",
                config.db.display(),
                directory.display()
            ))),
        }
    }
}

/// How strfry is called.
struct Strfry {
    program: PathBuf,
    config: PathBuf,
    directory: PathBuf,
}

impl Strfry {
    fn scan(&self, filter: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(["scan", filter]);
        command.current_dir(&self.directory);
        command
    }
}
