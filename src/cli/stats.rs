//! `stats`: figures about the database, from its indexes.

use std::fmt::Write;

use clap::Args;
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::{OrFail, Outcome, Result};
use super::node::NodeArguments;
use super::output::{print, print_json};
use crate::report::clean;
use crate::strfry_db::{
    AuthorCount, Dictionaries, NegentropyTree, Payloads, Readers, Stats, StrfryDb, linked_lmdb,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Count events by day, for the newest N days that have any
    #[arg(long, value_name = "N", default_value_t = 7)]
    days: usize,
    /// Name the N authors with the most events
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Read every payload too, and report how many are compressed, and the ratio
    #[arg(long)]
    payloads: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArguments,
}

impl Arguments {
    pub(super) fn of(node: NodeArguments, json: bool) -> Self {
        Self { days: 7, top: 10, payloads: false, json, node }
    }
}

/// What is printed; its JSON form is described in docs/json.md.
#[derive(Serialize)]
struct Figures {
    #[serde(flatten)]
    stats: Stats,
    free_bytes: Option<u64>,
    lmdb: String,
    readers: Option<Readers>,
    dictionaries: Dictionaries,
    #[serde(skip_serializing_if = "Option::is_none")]
    payloads: Option<Payloads>,
    negentropy: Vec<NegentropyTree>,
    days: Vec<(u64, u64)>,
    authors: Vec<AuthorCount>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let db = arguments.node.open_database()?;
    let figures = arguments.figures(&db)?;
    if arguments.json {
        print_json(&figures)?;
    } else {
        print(&in_words(&db, &figures))?;
    }
    Ok(Outcome::Complete)
}

impl Arguments {
    fn figures(&self, db: &StrfryDb) -> Result<Figures> {
        Ok(Figures {
            stats: db.stats().or_cannot_run()?,
            free_bytes: db.free_bytes().or_cannot_run()?,
            lmdb: linked_lmdb().0,
            readers: db.readers(),
            dictionaries: db.dictionary_figures().or_cannot_run()?,
            payloads: match self.payloads {
                true => Some(db.payload_figures().or_cannot_run()?),
                false => None,
            },
            negentropy: db.negentropy_trees().or_cannot_run()?,
            days: match self.days {
                0 => Vec::new(),
                days => db.events_per_day(days).or_cannot_run()?,
            },
            authors: match self.top {
                0 => Vec::new(),
                top => db.top_authors(top).or_cannot_run()?,
            },
        })
    }
}

fn in_words(db: &StrfryDb, figures: &Figures) -> String {
    let stats = &figures.stats;
    let size = |bytes| format!("{} ({bytes} bytes)", HumanBytes(bytes));
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<11}{value}");
    };
    line("Database", &db.directory().display().to_string());
    line("Size", &size(stats.bytes));
    if let Some(bytes) = figures.free_bytes {
        line("Free", &size(bytes));
    }
    line("Version", &format!("{}, read with {}", stats.db_version, figures.lmdb));
    line("Events", &stats.events.to_string());
    for (name, time) in [("Oldest", stats.oldest), ("Newest", stats.newest)] {
        if let Some(time) = time {
            line(name, &date(time));
        }
    }
    match figures.readers {
        Some(Readers { used, total }) => line("Readers", &format!("at most {used} of {total}")),
        None if db.is_optimistic() => line("Readers", "not known without the lock file"),
        None => line("Readers", "no lock file: no strfry has it open"),
    }
    let Dictionaries { count, bytes } = figures.dictionaries;
    line("Zstd", &format!("{count} dictionaries, {}", size(bytes)));
    if let Some(payloads) = figures.payloads {
        let Payloads { count, bytes, compressed, .. } = payloads;
        let ratio = payloads.ratio().map(|ratio| format!(", {ratio:.2} times smaller"));
        let ratio = ratio.unwrap_or_default();
        line("Payloads", &format!("{count}, {}; {compressed} compressed{ratio}", size(bytes)));
    }
    for NegentropyTree { id, filter } in &figures.negentropy {
        line("Negentropy", &format!("{id}: {}", clean(filter)));
    }
    let mut table = |name: &str, width: usize, rows: Vec<(String, u64)>| {
        if !rows.is_empty() {
            let _ = writeln!(text, "\n{name:>width$}  {:>12}", "Events");
        }
        for (item, events) in rows {
            let _ = writeln!(text, "{item:>width$}  {events:>12}");
        }
    };
    table("Kind", 8, stats.kinds.iter().map(|&(kind, n)| (kind.to_string(), n)).collect());
    table("Day", 10, figures.days.iter().map(|&(day, n)| (day_of(day), n)).collect());
    let author = |author: &AuthorCount| (author.pubkey.to_string(), author.events);
    table("Author", 64, figures.authors.iter().map(author).collect());
    text
}

fn timestamp(second: u64) -> Option<Timestamp> {
    i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok())
}

/// A time that no calendar has is shown as its number.
fn date(second: u64) -> String {
    timestamp(second).map_or_else(|| second.to_string(), |time| time.to_string())
}

fn day_of(second: u64) -> String {
    timestamp(second)
        .map_or_else(|| second.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}
