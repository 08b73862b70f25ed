//! `peers`: which relays a backfill would ask, and why others not.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{Outcome, Result};
use super::node::{NodeArguments, print, print_json};
use crate::node::{PeerSource, Subject};
use crate::report::clean;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Count peers at loopback and private addresses as reachable
    #[arg(long)]
    allow_local_peers: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let discovery = arguments.node.discover(arguments.allow_local_peers);
    let swarm = arguments.node.paths().swarm();
    let subject = |subject: &Subject| match subject {
        Subject::File(path) => path.display().to_string(),
        Subject::Url(url) => url.to_string(),
    };
    if arguments.json {
        let peers: Vec<Value> = discovery
            .peers
            .iter()
            .map(|peer| {
                let file = match &peer.source {
                    PeerSource::Swarm { file, .. } => Some(file.display().to_string()),
                    _ => None,
                };
                json!({"name": peer.name, "url": peer.address(), "file": file})
            })
            .collect();
        let skipped: Vec<Value> = discovery
            .skipped
            .iter()
            .map(|skipped| {
                json!({
                    "subject": subject(&skipped.subject),
                    "station": skipped.station,
                    "reason": skipped.reason.to_string(),
                })
            })
            .collect();
        print_json(&json!({
            "swarm": swarm.display().to_string(),
            "stations": discovery.stations,
            "peers": peers,
            "skipped": skipped,
        }))?;
        return Ok(Outcome::Complete);
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} stations in {}: {} peers, {} skipped",
        discovery.stations,
        swarm.display(),
        discovery.peers.len(),
        discovery.skipped.len()
    );
    for peer in &discovery.peers {
        let _ = writeln!(text, "  {}  {}", clean(peer.address()), clean(&peer.name));
    }
    if !discovery.skipped.is_empty() {
        text.push_str("Skipped:\n");
    }
    for skipped in &discovery.skipped {
        let reason = skipped.reason.to_string();
        let _ = writeln!(text, "  {}: {}", clean(&subject(&skipped.subject)), clean(&reason));
    }
    print(&text)?;
    Ok(Outcome::Complete)
}
