//! `profiles`: which pubkeys have a kind 0, by index lookup.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::exit::{Failure, OrFail, Outcome, Result, answer};
use super::node::NodeArguments;
use super::output::{is_terminal, print, written};
use super::pubkey_args::{parse_keys, read_pubkeys};
use crate::node::PeerPolicy;
use crate::nostr::{Pubkey, kind};
use crate::profile::{Format, Profile, ProfileRow, render};
use crate::strfry_db::StrfryDb;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Pubkeys; without any, and without --pubkeys, the node's own list
    ///
    /// Hex, npub, nprofile or nostr:…, or the first digits (six or more) of a pubkey that the node's
    /// files name.
    #[arg(value_name = "PUBKEY")]
    pubkeys: Vec<String>,
    /// The same, as in other commands
    ///
    /// May be given several times.
    #[arg(long = "pubkey", value_name = "KEY", hide_short_help = true)]
    keys: Vec<String>,
    /// File with a pubkey on each line; `-` is standard input
    ///
    /// May be given several times.
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
        let mut pubkeys = parse_keys("PUBKEY", &self.pubkeys, &self.node)?;
        pubkeys.extend(parse_keys("--pubkey", &self.keys, &self.node)?);
        for file in &self.files {
            pubkeys.extend(read_pubkeys(file)?.pubkeys);
        }
        let names_keys = !self.pubkeys.is_empty() || !self.keys.is_empty();
        if !names_keys && self.files.is_empty() {
            pubkeys =
                self.node.pubkeys_with_warnings(&self.node.discover(PeerPolicy::default())).pubkeys;
        }
        if pubkeys.is_empty() {
            return Err(Failure::Usage(anyhow!(
                "no pubkeys: name some, or a file with --pubkeys, or the node's home with --home"
            )));
        }
        // A single list has no repeats.
        if names_keys || self.files.len() > 1 {
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

/// What is read of an event whose form strfry has checked.
#[derive(Deserialize)]
struct WithContent<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
}

fn rows(db: &StrfryDb, pubkeys: &[Pubkey]) -> Result<Vec<ProfileRow>> {
    db.get_newest_of_each(pubkeys, kind::PROFILE, |pubkey, stored| {
        let Some(stored) = stored else { return ProfileRow::missing(*pubkey) };
        // A profile that is no JSON object is there all the same, without any of its fields.
        let event = serde_json::from_str(&stored.json).ok();
        let profile = event.and_then(|WithContent { content }| Profile::parse(&content).ok());
        let profile = profile.unwrap_or_default();
        ProfileRow::found(*pubkey, stored.id, stored.created_at, profile)
    })
    .or_cannot_run()
}
