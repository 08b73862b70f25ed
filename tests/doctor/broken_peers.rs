//! Peers that are not reached, say nothing, want to know who asks, or have another time.

use std::fs;
use std::iter;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::checked::{Checked, Patient, Wrong, wrong};
use crate::support::heed_signals;
use crate::support::ipfs::{Ipfs, add_station};
use crate::support::no_relays::{ClosedPort, MuteListener};
use crate::support::node::code;
use crate::support::scripted::{Act, Arrival, ScriptedRelay, answer};
use crate::support::wait::until;

fn no_peer(found: &str, remedy: &str) -> Wrong {
    wrong("peers.answer", "error", "all peers", found, remedy)
}

fn none_of(count: usize) -> Wrong {
    let found = format!("none of {count} answers");
    no_peer(&found, "see to this machine's network, if nothing is wrong with the peers")
}

/// What is wrong with a relay that is named, and of which nothing else is to be said.
fn with(patient: &Patient, url: &str, arguments: &[&str]) -> (i32, Vec<Wrong>) {
    let (code, mut found) = patient.wrong(&[&["--relay", url], arguments].concat());
    found.iter_mut().for_each(|found| found[2] = found[2].replace(url, "PEER"));
    (code, found)
}

#[test]
fn a_relay_that_refuses_the_connection_and_a_station_that_does() {
    let patient = Patient::new();
    let dead = ClosedPort::reserve();
    let found = format!("cannot connect to {}: Connection refused (os error 111)", dead.address());
    let remedy = "see whether the relay runs, and can be reached from this machine";
    let expected = vec![wrong("peers.peer", "error", "PEER", &found, remedy), none_of(1)];
    assert_eq!(with(&patient, &dead.url(), &[]), (1, expected));

    // Stations come and go.
    patient.node.add_station("dead", &dead.url());
    let expected = wrong("peers.peer", "warning", &dead.url(), &found, remedy);
    let checked = patient.checked(&[]);
    assert_eq!((checked.code, checked.wrong()), (0, vec![expected]));
    assert_eq!(checked.of("peers.answer")[0][3], "1 of 2 answer");
}

#[test]
fn a_relay_that_takes_the_connection_and_is_silent() {
    let patient = Patient::new();
    let silent = ScriptedRelay::start(|_| answer([]));
    let found = "connected in N ms, does not answer a request, does not compare, says nothing of \
                 itself (NIP-11)";
    let remedy = "see whether the relay is busy or hangs; a backfill gets nothing from it";
    let expected = vec![wrong("peers.peer", "error", "PEER", found, remedy), none_of(1)];
    assert_eq!(with(&patient, &silent.url(), &[]), (1, expected));

    let mute = MuteListener::start();
    let remedy = "see whether the relay runs, and can be reached from this machine";
    let found = "no connection within 10 s";
    let expected = vec![wrong("peers.peer", "error", "PEER", found, remedy), none_of(1)];
    assert_eq!(with(&patient, &mute.url(), &[]), (1, expected));
}

#[test]
fn a_relay_that_talks_without_end() {
    let patient = Patient::new();
    let endless =
        ScriptedRelay::start(|_| Box::new(iter::repeat_with(|| Act::Notice("x\u{1b}".into()))));
    let (code, found) = with(&patient, &endless.url(), &[]);
    assert_eq!((code, found.len(), found[0][1].as_str()), (1, 2, "error"), "{found:?}");
}

#[test]
fn a_relay_that_wants_to_know_who_asks() {
    let patient = Patient::new();
    let asking = ScriptedRelay::start_with(
        |_| Arrival::Greet(vec![Act::Text(json!(["AUTH", "a challenge"]).to_string())]),
        |_| answer([Act::Closed("auth-required: who are you?".into())]),
    );
    let found = "connected in N ms, refuses a request (auth-required: who are you?), does not \
                 compare, asks who we are (NIP-42), says nothing of itself (NIP-11)";
    let remedy =
        "name a key that the relay knows with --auth-key-file (NIP-42), or leave the relay out";
    let expected = vec![wrong("peers.peer", "error", "PEER", found, remedy), none_of(1)];
    assert_eq!(with(&patient, &asking.url(), &[]), (1, expected));

    let key = patient.node.write("key", format!("{:064x}\n", 7));
    let key = key.to_str().unwrap();
    let of_key = |found: &str, remedy: &str| wrong("peers.key", "error", "HOME/key", found, remedy);
    let (_, found) = with(&patient, &asking.url(), &["--auth-key-file", key]);
    let expected = of_key(
        "the key file HOME/key can be read by others: chmod 600 it, and consider the key known",
        "correct it",
    );
    assert_eq!(found.last(), Some(&expected));
    fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(with(&patient, &asking.url(), &["--auth-key-file", key]), (0, vec![]));
}

/// With the seconds in front rounded: a date has whole ones, and an answer takes some time.
fn to_the_minute(found: &str) -> String {
    let (seconds, rest) = found.split_once(' ').unwrap();
    let seconds: u64 = seconds.parse().unwrap();
    format!("{} {rest}", (seconds + 30) / 60 * 60)
}

#[test]
fn a_clock_that_is_off_by_an_hour() {
    let patient = Patient::new();
    let dating = |clock| {
        ScriptedRelay::start_dating(
            Some(clock),
            None,
            |_| Arrival::Welcome,
            |_| answer([Act::Eose]),
            |_| answer([Act::Notice("what?".into())]),
        )
    };
    let remedy = "set this machine's clock (timedatectl set-ntp true)";
    let (one, other) = (dating(3_600), dating(3_610));
    let (code, mut found) = with(&patient, &one.url(), &[]);
    found[0][3] = to_the_minute(&found[0][3].replace(&one.url(), "PEER"));
    let clock = |level: &str, found: &str| {
        wrong("peers.clock", level, "this machine's clock", found, remedy)
    };
    let expected = "3600 s behind that of PEER, the only one to compare with";
    assert_eq!((code, found), (0, vec![clock("warning", expected)]));

    let mut checked = patient.checked(&["--relay", &one.url(), &other.url()]).wrong();
    checked[0][3] = to_the_minute(&checked[0][3]);
    assert_eq!(checked, [clock("error", "3600 s behind those of 2 of 2 peers")]);
    let right = dating(0);
    assert_eq!(patient.wrong(&["--relay", &right.url(), &dating(50).url()]), (0, vec![]));
}

#[test]
fn a_tunnel_that_does_not_open() {
    let patient = Patient::new();
    add_station(&patient.node, "12D3KooWa");
    let ipfs = Ipfs::that_says("the daemon is not running");
    let mut command = patient.node.companion(&["doctor"]);
    let checked = Checked::by(command.arg("--ipfs-bin").arg(ipfs.program()), &patient);
    let found = "ipfs p2p forward: exit status: 1: the daemon is not running";
    let remedy = "see that its daemon runs and forwards, or leave tunnels alone with --no-tunnels";
    let subject = "ws://127.0.0.1:7777 of 12D3KooWa";
    let expected = [
        wrong("peers.peer", "warning", subject, &format!("no tunnel: {found}"), remedy),
        wrong(
            "peers.tunnels",
            "error",
            "ipfs p2p forward",
            &format!("0 of 1 open: no tunnel: {found}"),
            remedy,
        ),
        no_peer(
            "none of 1 answers, another one is not asked",
            "see to this machine's network, if nothing is wrong with the peers",
        ),
    ];
    assert_eq!((checked.code, checked.wrong()), (1, expected.into()));

    // One that opens is closed again.
    let ipfs = Ipfs::start(&[("12D3KooWa", patient.relay.address())]);
    let mut command = patient.node.companion(&["doctor"]);
    let checked = Checked::by(command.arg("--ipfs-bin").arg(ipfs.program()), &patient);
    assert_eq!((checked.code, checked.wrong()), (0, vec![]));
    assert_eq!(checked.of("peers.tunnels")[0][3], "1 of 1 open");
    assert!(ipfs.all_are_closed());
    assert!(!patient.node.home().join("executed").exists());
}

#[test]
fn a_swarm_without_a_peer_to_ask() {
    let patient = Patient::new();
    fs::remove_dir_all(patient.node.home().join("tmp/swarm")).unwrap();
    patient.node.add_station("private", "ws://192.168.1.1");
    let mut command = patient.node.companion(&["doctor"]);
    let remedy = "see 'strfry-companion peers' for why others are not asked; name one with --relay";
    let expected = no_peer("there are none to ask, another one is not asked", remedy);
    let checked = Checked::by(&mut command, &patient);
    assert_eq!((checked.code, checked.wrong()), (1, vec![expected]));
}

#[test]
fn a_relay_whose_address_is_none_is_wrong_usage() {
    let patient = Patient::new();
    let output = patient.command(&["--relay", "http://relay.example"]).output().unwrap();
    assert_eq!((code(&output), output.stdout.len()), (2, 0));
}

#[test]
fn a_look_that_is_told_to_end() {
    heed_signals();
    let patient = Patient::new();
    let silent = ScriptedRelay::start(|_| answer([]));
    let mut command = patient.command(&["--relay", &silent.url(), "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the relay is asked", || silent.record().for_nothing > 0);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of_peers = findings.iter().filter(|it| it["id"].as_str().unwrap().starts_with("peers."));
    let found: Vec<&str> = of_peers.map(|it| it["found"].as_str().unwrap()).collect();
    assert_eq!(found, ["stopped before the end", "stopped before all 1 were looked at"]);
    assert_eq!((code(&output), output.stderr.len()), (1, 0));
}
