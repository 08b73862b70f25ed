//! `peers`: which relays a backfill would ask, and why others not.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};

use super::asking::runtime;
use super::exit::{OrFail, Outcome, Result};
use super::node::{NodeArguments, print, print_json};
use crate::backfill::limits;
use crate::node::{Peer, PeerPolicy, PeerSource, Subject, explicit_peer};
use crate::relay::{Dialler, Probe};
use crate::report::clean;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Count peers at loopback and private addresses as reachable
    #[arg(long)]
    allow_local_peers: bool,
    /// Connect to each peer, and show how fast it answers and what it can do
    #[arg(long)]
    probe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// A relay beside those of the swarm (repeatable)
    #[arg(long = "relay", value_name = "URL", num_args = 1..)]
    relays: Vec<String>,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let discovery = arguments
        .node
        .discover(PeerPolicy { allow_local: arguments.allow_local_peers, tunnels: true });
    let discovery = discovery.with_explicit(explicit_peers(&arguments.relays)?);
    let probes = match arguments.probe {
        true => probe_all(&discovery.peers, arguments.allow_local_peers)?,
        false => Vec::new(),
    };
    let all_answer = probes.iter().all(std::result::Result::is_ok);
    let outcome = if all_answer { Outcome::Complete } else { Outcome::Incomplete };
    let swarm = arguments.node.paths().swarm();
    let subject = |subject: &Subject| match subject {
        Subject::File(path) => path.display().to_string(),
        Subject::Url(url) => url.to_string(),
    };
    if arguments.json {
        let peers: Vec<Value> = discovery
            .peers
            .iter()
            .enumerate()
            .map(|(position, peer)| {
                let file = match &peer.source {
                    PeerSource::Swarm { file, .. } => Some(file.display().to_string()),
                    _ => None,
                };
                let mut shown = json!({"name": peer.name, "url": peer.address(), "file": file});
                if let Some(station) = &peer.tunnel {
                    shown["tunnel"] = json!(format!("/p2p/{station}"));
                }
                if let Some(probe) = probes.get(position) {
                    shown["probe"] = match probe {
                        Ok(probe) => json!(probe),
                        Err(error) => json!({ "error": error }),
                    };
                }
                shown
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
        return Ok(outcome);
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
    for (position, peer) in discovery.peers.iter().enumerate() {
        let tunnel = if peer.tunnel.is_some() { "  (through a tunnel)" } else { "" };
        let _ = writeln!(text, "  {}  {}{tunnel}", clean(peer.address()), clean(&peer.name));
        match probes.get(position) {
            Some(Ok(probe)) => {
                let _ = writeln!(text, "    {}", clean(&in_words(probe)));
            }
            Some(Err(error)) => {
                let _ = writeln!(text, "    cannot be reached: {}", clean(error));
            }
            None => {}
        }
    }
    if !discovery.skipped.is_empty() {
        text.push_str("Skipped:\n");
    }
    for skipped in &discovery.skipped {
        let reason = skipped.reason.to_string();
        let _ = writeln!(text, "  {}: {}", clean(&subject(&skipped.subject)), clean(&reason));
    }
    print(&text)?;
    Ok(outcome)
}

fn explicit_peers(urls: &[String]) -> Result<Vec<Peer>> {
    urls.iter().map(|url| explicit_peer(url).or_usage()).collect()
}

/// Looks at all peers at once; of each what was found, or why it cannot be reached.
fn probe_all(peers: &[Peer], allow_local: bool) -> Result<Vec<std::result::Result<Probe, String>>> {
    let runtime = runtime()?;
    // A probe opens no tunnels: the port of such a station is not the one on this machine.
    let diallers: Vec<Dialler> = peers
        .iter()
        .map(|peer| Dialler {
            url: peer.url.clone(),
            allow_local: allow_local || !matches!(peer.source, PeerSource::Swarm { .. }),
            time_out: limits::CONNECT_TIME_OUT,
        })
        .collect();
    let probes = runtime.block_on(async {
        let probes = diallers.iter().map(Dialler::probe);
        futures_util::future::join_all(probes).await
    });
    runtime.shutdown_background();
    Ok(probes.into_iter().map(|probe| probe.map_err(|error| error.to_string())).collect())
}

fn in_words(probe: &Probe) -> String {
    let mut words = vec![format!("connected in {} ms", probe.connect_ms)];
    words.push(match probe.answer_ms {
        Some(time) => format!("answers in {time} ms"),
        None => "does not answer a request".to_owned(),
    });
    words.push(if probe.compares { "compares (NIP-77)" } else { "does not compare" }.to_owned());
    if probe.sends_challenge {
        words.push("asks who we are (NIP-42)".to_owned());
    }
    if let Some(ahead) = probe.clock_ahead {
        words.push(format!("clock {ahead:+} s"));
    }
    match &probe.info {
        Some(info) => {
            let limits = [
                ("limit", info.max_limit),
                ("subscriptions", info.max_subscriptions),
                ("message", info.max_message_length),
                ("filters", info.max_filters),
            ];
            for (name, limit) in limits {
                words.extend(limit.map(|limit| format!("{name} {limit}")));
            }
            words.extend(info.software.clone());
            words.extend(info.version.clone());
        }
        None => words.push("says nothing of itself (NIP-11)".to_owned()),
    }
    words.join(", ")
}
