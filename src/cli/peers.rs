//! `peers`: which relays a backfill would ask, and why others not.

use std::fmt::Write;

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};

use super::exit::{Failure, OrFail, Outcome, Result, answer, tell};
use super::help::{OUTPUT, WHOM};
use super::looks::is_quiet;
use super::node::{NodeArguments, skipped_as_json, subject};
use super::output::{counted, print, print_json};
use super::peer_args::{Reaching, runtime};
use super::signals::{ASKING, end_between_snapshots, stop_on_signals};
use super::trace::Tracing;
use super::wait::PROGRESS;
use crate::backfill::{Ipfs, Looked, look_at_all};
use crate::node::{Peer, PeerSource, explicit_peer};
use crate::peer::Trace;
use crate::report::{Progress, clean};
use crate::stop::Stop;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Connect to each peer, and show how fast it answers and what it can do
    #[arg(long, help_heading = WHOM)]
    probe: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// Relays beside those of the swarm
    #[arg(long = "relay", value_name = "URL", help_heading = WHOM, num_args = 1..)]
    relays: Vec<String>,
    #[command(flatten)]
    reaching: Reaching,
    #[command(flatten)]
    tracing: Tracing,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let discovery = arguments.node.discover(arguments.reaching.policy());
    let discovery = discovery.with_explicit(explicit_peers(&arguments.relays)?);
    let probes = match arguments.probe {
        true => {
            let trace = arguments.tracing.open(&arguments.node, None, &[])?;
            let probes = probe_all(&discovery.peers, &arguments.reaching, &trace);
            let tracing = &arguments.tracing;
            tracing.end(&trace, |trouble| tell(format_args!("warning: {trouble}")));
            probes?
        }
        false if arguments.tracing.file().is_some() => {
            return Err(Failure::Usage(anyhow!(
                "--trace-peers has nothing to write without --probe"
            )));
        }
        false => Vec::new(),
    };
    let all_answer = probes.iter().all(std::result::Result::is_ok);
    let outcome = if all_answer { Outcome::Complete } else { Outcome::Incomplete };
    let swarm = arguments.node.paths().swarm();
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
                        Err(error) => json!({ "error": error.to_string() }),
                    };
                }
                shown
            })
            .collect();
        let printed = print_json(&json!({
            "version": 1,
            "swarm": swarm.display().to_string(),
            "stations": discovery.stations,
            "peers": peers,
            "skipped": skipped_as_json(&discovery.skipped),
        }));
        return answer(outcome, printed);
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} in {}: {}, {} skipped",
        counted(discovery.stations, "station"),
        swarm.display(),
        counted(discovery.peers.len(), "peer"),
        discovery.skipped.len()
    );
    for (position, peer) in discovery.peers.iter().enumerate() {
        let tunnel = if peer.tunnel.is_some() { "  (through a tunnel)" } else { "" };
        let _ = writeln!(text, "  {}  {}{tunnel}", clean(peer.address()), clean(&peer.name));
        match probes.get(position) {
            Some(Ok(probe)) => {
                let _ = writeln!(text, "    {}", clean(&probe.in_words()));
            }
            Some(Err(error)) => {
                let _ = writeln!(text, "    cannot be reached: {}", clean(&error.to_string()));
            }
            None => {}
        }
    }
    if !discovery.skipped.is_empty() {
        text.push_str("Skipped:\n");
    }
    for skipped in &discovery.skipped {
        let reason = skipped.reason.to_string();
        let _ = writeln!(text, "  {}: {}", clean(&subject(skipped)), clean(&reason));
    }
    answer(outcome, print(&text))
}

fn explicit_peers(urls: &[String]) -> Result<Vec<Peer>> {
    urls.iter().map(|url| explicit_peer(url).or_usage()).collect()
}

/// Looks at all peers at once, through the tunnels that a backfill would use.
fn probe_all(peers: &[Peer], reaching: &Reaching, trace: &Trace) -> Result<Vec<Looked>> {
    let runtime = runtime()?;
    let probes = runtime.block_on(async {
        let stop = Stop::default();
        stop_on_signals(&stop, ASKING)?;
        // It only says what a signal does.
        let _ = PROGRESS.set(Progress::new(!is_quiet()));
        let ipfs = Ipfs { command: reaching.ipfs_bin.clone(), stop };
        Ok(look_at_all(peers, &ipfs, reaching.allow_local_peers, trace).await)
    });
    runtime.shutdown_background();
    // All tunnels are closed: a signal may end the process, also while nobody reads its output.
    end_between_snapshots()?;
    probes
}
