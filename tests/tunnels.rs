//! Stations whose relays listen on their own machine, reached through a stand-in for `ipfs` whose
//! daemon, as the real one does, forwards TCP.

mod support;

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::events::{Author, id_of};
use support::ipfs::{Ipfs, add_station};
use support::no_relays::ClosedPort;
use support::node::{Node, code};
use support::scripted::{Archive, Record, ScriptedRelay, answer};
use support::{heed_signals, strfry_bin};

/// What is said of a tunnel if `ipfs` says that "libp2p stream mounting not enabled".
const NOT_ENABLED: &str = "no tunnel: ipfs p2p forward: exit status: 1: libp2p stream mounting \
    not enabled; see that its daemon runs and forwards, or leave tunnels alone with --no-tunnels";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn summary(node: &Node, ipfs: &Ipfs) -> (i32, Value) {
    node.backfill(&["--no-profiles", "--ipfs-bin", ipfs.program().to_str().unwrap()])
}

#[test]
fn stations_are_reached_through_tunnels_that_are_closed_afterwards() {
    let author = Author::new(1);
    let notes = [0, 1].map(|number| author.note(now() - 100 - number, &number.to_string()));
    let relays = notes.each_ref().map(|note| {
        let archive = Archive::new(std::slice::from_ref(note), 500);
        ScriptedRelay::start(move |request| archive.answer(request))
    });
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&author.pubkey()]);
    for id in ["12D3KooWa", "12D3KooWb"] {
        add_station(&node, id);
    }
    let ipfs =
        Ipfs::start(&[("12D3KooWa", relays[0].address()), ("12D3KooWb", relays[1].address())]);
    let (code, summary) = summary(&node, &ipfs);
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(summary["events"]["imported"], 2);
    assert_eq!(ipfs.calls().iter().filter(|call| call.starts_with("p2p forward")).count(), 2);
    assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
    assert!(!node.home().join("executed").exists());
}

#[test]
fn a_tunnel_that_does_not_open_is_named_with_what_ipfs_says() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::that_says("libp2p stream mounting not enabled");
    let (code, summary) = summary(&node, &ipfs);
    assert_eq!(code, 1, "{summary:#}");
    assert_eq!(summary["peers"][0]["gaps"][0]["reason"], NOT_ENABLED);
    assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
}

#[test]
fn without_ipfs_the_station_is_named() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let (code, summary) = node.backfill(&["--no-profiles", "--ipfs-bin", "/nowhere/ipfs"]);
    assert_eq!(code, 1);
    let reason = summary["peers"][0]["gaps"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("no tunnel: cannot run /nowhere/ipfs"), "{reason}");
}

#[test]
fn a_station_that_is_not_reached_through_its_open_tunnel_is_named() {
    let closed = ClosedPort::reserve();
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::start(&[("12D3KooWa", closed.address())]);
    let (code, summary) = summary(&node, &ipfs);
    assert_eq!(code, 1, "{summary:#}");
    let reason = "the other side ended the connection before it answered the \
        WebSocket handshake, as a tunnel does whose far end is not reached";
    assert_eq!(summary["peers"][0]["gaps"][0]["reason"], reason);
    assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
}

/// A node with one station behind a tunnel that takes requests and never answers.
fn silent_station() -> (Node, ScriptedRelay, Ipfs) {
    let relay = ScriptedRelay::start(|_| answer([]));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::start(&[("12D3KooWa", relay.address())]);
    (node, relay, ipfs)
}

/// Runs a command until it has asked the relay for something.
fn until_it_asks(node: &Node, relay: &ScriptedRelay, ipfs: &Ipfs, arguments: &[&str]) -> Child {
    let mut command = node.companion(arguments);
    command.arg("--ipfs-bin").arg(ipfs.program());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap();
    let has_asked = |record: Record| !record.requests.is_empty() || record.for_nothing > 0;
    while !has_asked(relay.record()) {
        assert!(child.try_wait().unwrap().is_none(), "{arguments:?} has ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_run_that_is_told_to_stop_closes_its_tunnels() {
    let (node, relay, ipfs) = silent_station();
    let arguments = ["backfill", "--no-negentropy", "--no-fallback"];
    let mut child = until_it_asks(&node, &relay, &ipfs, &arguments);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(ipfs.calls().len() > 1 && ipfs.all_are_closed(), "{:?}", ipfs.calls());
}

#[test]
fn a_difference_that_is_told_to_stop_closes_its_tunnels_and_names_what_it_does_not_know() {
    heed_signals();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (node, relay, ipfs) = silent_station();
        let arguments = ["diff", "--json", "--no-negentropy", "--kinds", "1"];
        let child = until_it_asks(&node, &relay, &ipfs, &arguments);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(code(&output), 1);
        assert!(ipfs.calls().len() > 1 && ipfs.all_are_closed(), "{:?}", ipfs.calls());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let since = &found["since"];
        let cause = json!({"name": "stopped", "number": null, "words": null});
        let gap = json!({"reason": "stopped before the end", "cause": cause, "authors": 1, "kinds": [1],
                         "since": since, "until": found["until"]});
        let peer = &found["peers"][0];
        assert_eq!((&peer["status"], &peer["gaps"]), (&json!("incomplete"), &json!([gap])));
    }
}

#[test]
fn a_look_at_peers_that_is_told_to_stop_closes_its_tunnels() {
    let (node, relay, ipfs) = silent_station();
    let child = until_it_asks(&node, &relay, &ipfs, &["peers", "--probe", "--json"]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["peers"][0]["probe"], json!({"error": "stopped before the end"}));
    assert!(ipfs.calls().len() > 1 && ipfs.all_are_closed(), "{:?}", ipfs.calls());
}

#[test]
fn a_difference_and_a_dry_run_reach_stations_through_tunnels_that_are_closed_afterwards() {
    let author = Author::new(1);
    let note = author.note(now() - 100, "there");
    let archive = Archive::new(std::slice::from_ref(&note), 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&author.pubkey()]);
    add_station(&node, "12D3KooWa");
    let only_there = json!({
        "events": 1, "kinds": {"1": 1}, "authors": {author.pubkey().to_string(): 1},
        "ids": [id_of(&note)],
    });
    for (command, is_backfill) in
        [(&["diff"][..], false), (&["backfill", "--dry-run", "--no-profiles"], true)]
    {
        let ipfs = Ipfs::start(&[("12D3KooWa", relay.address())]);
        let mut command = node.companion(command);
        let output = command.arg("--json").arg("--ipfs-bin").arg(ipfs.program()).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((code(&output), &found["peers"][0]["status"]), (0, &json!("complete")));
        assert_eq!(found["peers"][0]["only_there"], only_there);
        assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
        // A backfill is alone and closes what a killed one has left; others may run beside it.
        assert_eq!(ipfs.calls().len(), 2 + usize::from(is_backfill), "{:?}", ipfs.calls());
    }
    assert!(!node.home().join("executed").exists());
}

#[test]
fn of_a_station_whose_tunnel_does_not_open_nothing_is_known_and_the_reason_is_named() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let ipfs = Ipfs::that_says("libp2p stream mounting not enabled");
    for (command, pointer) in
        [(&["diff"][..], "/peers/0/gaps/0/reason"), (&["peers", "--probe"], "/peers/0/probe/error")]
    {
        let mut command = node.companion(command);
        let output = command.arg("--json").arg("--ipfs-bin").arg(ipfs.program()).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((code(&output), found.pointer(pointer)), (1, Some(&json!(NOT_ENABLED))));
        assert!(ipfs.all_are_closed(), "{:?}", ipfs.calls());
    }
}
