//! `report`: the history as one HTML page.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Outcome, Result};
use super::history::HistoryPlace;
use super::node::NodeArguments;
use super::output::{is_terminal, print};
use crate::files;
use crate::history::{Language, page};
use crate::node::Precious;

/// Runs that the page tells of, at most.
const RUNS: usize = 120;
const MODE: u32 = 0o644;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write the page to FILE, whole or not at all [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Language of the page [default: French if the locale is, else English]
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    #[command(flatten)]
    place: HistoryPlace,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lang {
    /// English
    En,
    /// French
    Fr,
}

impl Lang {
    fn of_locale() -> Self {
        let variables = ["LC_ALL", "LC_MESSAGES", "LANG"].map(std::env::var_os);
        let named = variables.into_iter().flatten().find(|value| !value.is_empty());
        match named {
            Some(locale) if locale.as_encoded_bytes().starts_with(b"fr") => Self::Fr,
            _ => Self::En,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let history = arguments.place.read(&arguments.node, RUNS)?;
    let language = match arguments.lang.unwrap_or_else(Lang::of_locale) {
        Lang::En => Language::English,
        Lang::Fr => Language::French,
    };
    let Some(page) = page(&history, language).or_cannot_run()? else {
        return Err(Failure::CannotRun(anyhow!(
            "no run to report in {}: run `strfry-companion backfill` first",
            arguments.place.file(&arguments.node).display()
        )));
    };
    match arguments.file.as_deref() {
        None if is_terminal() => {
            return Err(Failure::Usage(anyhow!(
                "nobody reads HTML on a terminal: name a file, such as report.html, or - to print it \
                 all the same"
            )));
        }
        None => print(&page)?,
        Some(file) if file == Path::new("-") => print(&page)?,
        Some(file) => {
            arguments.refuse(file)?;
            files::replace(file, MODE, |out| out.write_all(page.as_bytes()))
                .with_context(|| format!("cannot write the report to {}", file.display()))
                .or_cannot_run()?;
        }
    }
    Ok(Outcome::Complete)
}

impl Arguments {
    /// Refuses to put the page in the place of a file that matters.
    fn refuse(&self, file: &Path) -> Result<()> {
        let paths = self.node.paths();
        let (binary, conf) = (paths.strfry_bin(), paths.strfry_conf());
        let database = self.node.database().unwrap_or_else(|_| paths.default_database());
        match Precious::new(paths, &binary, &conf, &database).at(file) {
            None => Ok(()),
            Some(what) => Err(Failure::Usage(anyhow!(
                "{} is {what}; name another file for the report",
                file.display()
            ))),
        }
    }
}
