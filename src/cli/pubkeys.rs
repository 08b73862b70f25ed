//! `pubkeys`: where the node's own list of pubkeys comes from.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{Outcome, Result};
use super::node::NodeArguments;
use super::output::{counted, print, print_json};
use crate::node::PeerPolicy;
use crate::nostr::Pubkey;
use crate::report::clean;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the pubkeys themselves, one on each line
    #[arg(long)]
    list: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "list")]
    json: bool,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    if arguments.list {
        return list(&arguments.node);
    }
    let sources = arguments.node.pubkeys(&arguments.node.discover(PeerPolicy::default()));
    if arguments.json {
        let reports: Vec<Value> = sources
            .sources
            .iter()
            .map(|source| {
                let errors: Vec<String> = source.errors.iter().map(ToString::to_string).collect();
                json!({
                    "name": source.name,
                    "path": source.path.display().to_string(),
                    "files": source.files,
                    "found": source.found,
                    "duplicates": source.duplicates,
                    "skipped": source.skipped,
                    "errors": errors,
                })
            })
            .collect();
        print_json(&json!({"version": 1, "pubkeys": sources.pubkeys, "sources": reports}))?;
        return Ok(Outcome::Complete);
    }
    let mut text = format!("{}\n", counted(sources.pubkeys.len(), "pubkey"));
    for source in &sources.sources {
        let _ = writeln!(
            text,
            "  {}: {} found in {}, {} of them repeated; {} skipped without a pubkey",
            source.name,
            source.found,
            counted(source.files, "file"),
            source.duplicates,
            counted(source.skipped, "line")
        );
        for error in &source.errors {
            let _ = writeln!(text, "    {}", clean(&error.to_string()));
        }
    }
    print(&text)?;
    Ok(Outcome::Complete)
}

fn list(node: &NodeArguments) -> Result<Outcome> {
    print_list(&node.pubkeys_with_warnings(&node.discover(PeerPolicy::default())).pubkeys)
}

/// Prints pubkeys, one on each line.
pub(super) fn print_list(pubkeys: &[Pubkey]) -> Result<Outcome> {
    let lines: Vec<String> = pubkeys.iter().map(|pubkey| format!("{pubkey}\n")).collect();
    print(&lines.concat())?;
    Ok(Outcome::Complete)
}
