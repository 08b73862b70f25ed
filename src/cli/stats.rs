//! `stats`: figures about the database, from its indexes.

use std::fmt::Write;

use clap::Args;
use indicatif::HumanBytes;
use jiff::Timestamp;

use super::exit::{OrFail, Outcome, Result};
use super::node::{NodeArguments, print, print_json};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArguments,
}

impl Arguments {
    pub(super) fn of(node: NodeArguments, json: bool) -> Self {
        Self { json, node }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let db = arguments.node.open_database()?;
    let stats = db.stats().or_cannot_run()?;
    if arguments.json {
        print_json(&stats)?;
        return Ok(Outcome::Complete);
    }
    let mut text = String::new();
    let _ = writeln!(text, "Database  {}", db.directory().display());
    let _ = writeln!(text, "Size      {} ({} bytes)", HumanBytes(stats.bytes), stats.bytes);
    let _ = writeln!(text, "Version   {}", stats.db_version);
    let _ = writeln!(text, "Events    {}", stats.events);
    for (name, time) in [("Oldest", stats.oldest), ("Newest", stats.newest)] {
        if let Some(time) = time {
            let _ = writeln!(text, "{name}    {}", date(time));
        }
    }
    let _ = writeln!(text, "\n{:>8}  {:>12}", "Kind", "Events");
    for (kind, count) in &stats.kinds {
        let _ = writeln!(text, "{kind:>8}  {count:>12}");
    }
    print(&text)?;
    Ok(Outcome::Complete)
}

/// A time that no calendar has is shown as its number.
fn date(second: u64) -> String {
    i64::try_from(second)
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
        .map_or_else(|| second.to_string(), |time| time.to_string())
}
