//! `profiles`: which pubkeys have a kind 0, by index lookup.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Outcome, Result, answer};
use super::node::{NodeArguments, read_pubkeys};
use super::output::{is_terminal, print, written};
use crate::node::PeerPolicy;
use crate::nostr::{Event, Pubkey, kind};
use crate::profile::{Format, Profile, ProfileRow, render};
use crate::strfry_db::StrfryDb;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Pubkeys, hex or npub; without any, and without --pubkeys, the node's own list
    #[arg(value_name = "PUBKEY")]
    pubkeys: Vec<String>,
    /// File with a pubkey on each line, hex or npub; `-` for standard input (repeatable)
    #[arg(long = "pubkeys", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print only the pubkeys without a profile, one on each line
    #[arg(long, conflicts_with = "format")]
    missing: bool,
    /// Exit with 1 if a profile is missing
    #[arg(long)]
    check: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: FormatArgument,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArgument {
    Table,
    Jsonl,
    Json,
    Csv,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let pubkeys = arguments.wanted()?;
    let db = arguments.node.open_database()?;
    let (missing, printed) = if arguments.missing {
        let missing = missing(&db, &pubkeys)?;
        (missing.len(), print(&missing.concat()))
    } else {
        let mut rows = rows(&db, &pubkeys)?;
        let format = match arguments.format {
            FormatArgument::Table => Format::Table,
            FormatArgument::Jsonl => Format::Jsonl,
            FormatArgument::Json => Format::Json,
            FormatArgument::Csv => Format::Csv,
        };
        // CSV has no escapes of its own: a program gets the text as it is.
        if format == Format::Csv && is_terminal() {
            rows = rows.into_iter().map(ProfileRow::cleaned).collect();
        }
        let printed = written(render(&rows, format, &mut io::stdout().lock()));
        (rows.iter().filter(|row| !row.found).count(), printed)
    };
    let is_missed = arguments.check && missing > 0;
    answer(if is_missed { Outcome::Incomplete } else { Outcome::Complete }, printed)
}

impl Arguments {
    fn wanted(&self) -> Result<Vec<Pubkey>> {
        let mut pubkeys = Vec::new();
        for (text, number) in self.pubkeys.iter().zip(1..) {
            // Named by its place: what was given by mistake may be a secret key.
            let pubkey = text.parse().map_err(|error| {
                Failure::Usage(anyhow!("PUBKEY number {number} of the command line: {error}"))
            })?;
            pubkeys.push(pubkey);
        }
        for file in &self.files {
            pubkeys.extend(read_pubkeys(file)?.pubkeys);
        }
        if self.pubkeys.is_empty() && self.files.is_empty() {
            pubkeys =
                self.node.pubkeys_with_warnings(&self.node.discover(PeerPolicy::default())).pubkeys;
        }
        if pubkeys.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no pubkeys: name some, or a file with --pubkeys, or the node's home with --home"
            )));
        }
        // A single list has no repeats.
        if !self.pubkeys.is_empty() || self.files.len() > 1 {
            let mut seen = HashSet::with_capacity(pubkeys.len());
            pubkeys.retain(|pubkey| seen.insert(*pubkey));
        }
        Ok(pubkeys)
    }
}

/// A line for each pubkey without a profile.
fn missing(db: &StrfryDb, pubkeys: &[Pubkey]) -> Result<Vec<String>> {
    let has_profile = db.has_kind_each(pubkeys, kind::PROFILE).or_cannot_run()?;
    let missing = pubkeys.iter().zip(has_profile).filter(|&(_, has_profile)| !has_profile);
    Ok(missing.map(|(pubkey, _)| format!("{pubkey}\n")).collect())
}

fn rows(db: &StrfryDb, pubkeys: &[Pubkey]) -> Result<Vec<ProfileRow>> {
    db.get_newest_of_each(pubkeys, kind::PROFILE, |pubkey, stored| {
        let Some(stored) = stored else { return ProfileRow::missing(*pubkey) };
        // A profile that is no JSON object is there all the same, without any of its fields.
        let profile = Event::parse(&stored.json)
            .ok()
            .and_then(|event| Profile::parse(&event.content).ok())
            .unwrap_or_default();
        ProfileRow::found(*pubkey, stored.id, stored.created_at, profile)
    })
    .or_cannot_run()
}
