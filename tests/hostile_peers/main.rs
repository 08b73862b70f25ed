//! Peers that are out for harm, each beside an honest one: all that the honest one has arrives, the
//! run ends soon, and its memory stays within bounds.

mod scenarios;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use scenarios::{Hostile, all, author, honest_notes};
use support::events::{START, events, id_of};
use support::node::Node;
use support::scripted::Archive;
use support::strfry_bin;
use support::watch::{Watched, watch};

/// Own memory of a run with one hostile peer.
const ONE_MIB: f64 = 48.0;
/// Own memory of a run with one peer whose events are all large.
const LARGE_MIB: f64 = 40.0;
/// Own memory of a run with 150 of them.
const MANY_MIB: f64 = 128.0;
const MANY: usize = 150;

fn ids(events: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    events.into_iter().map(|event| id_of(&event)).collect()
}

/// `time_out`: seconds without progress. The floor is looked at after ten times as long.
fn backfill(node: &Node, time_out: &str, more: &[&str], relays: &[String]) -> Watched {
    let pubkeys = node.write("pubkeys.txt", format!("{}\n", author().pubkey()));
    let mut arguments = vec!["backfill", "--json", "--no-fallback", "--days", "0"];
    arguments.extend(["--timeout", time_out, "--connect-timeout", "2", "--kinds", "1"]);
    arguments.extend(["--no-profiles", "--pubkeys", pubkeys.to_str().unwrap()]);
    arguments.extend(more.iter().chain(&["--relay"]));
    arguments.extend(relays.iter().map(String::as_str));
    watch(node.companion(&arguments))
}

/// What the run says of the peer at this address.
fn status(watched: &Watched, url: &str) -> String {
    let peers = watched.summary["peers"].as_array().unwrap();
    let is_this = |peer: &&serde_json::Value| {
        peer["url"].as_str().unwrap().trim_end_matches('/') == url.trim_end_matches('/')
    };
    let peer = peers.iter().find(is_this).unwrap_or_else(|| panic!("no {url} in {peers:?}"));
    peer["status"].as_str().unwrap().to_owned()
}

/// Runs a backfill from this peer and an honest one, and checks what came of it.
fn beside_an_honest_peer(hostile: &Hostile) -> Result<String, String> {
    let honest = Archive::new(&honest_notes(), 500).comparing();
    let node = Node::new(&strfry_bin());
    let relay = hostile.start();
    let watched = backfill(&node, "1", &[], &[honest.url(), relay.url()]);
    let row = format!(
        "{:<62} {:>5.1} s {:>5.1} MiB  {} of {} honest  {}",
        hostile.name,
        watched.seconds,
        watched.own_mib,
        node.events().len(),
        honest_notes().len(),
        status(&watched, &relay.url()),
    );
    let is_right = ids(node.events()) == ids(honest_notes())
        && status(&watched, &honest.url()) == "complete"
        && status(&watched, &relay.url()) != "complete"
        && watched.code == 1
        && watched.seconds < 20.0
        && watched.own_mib < ONE_MIB;
    if is_right { Ok(row) } else { Err(format!("{row}\n{:#}", watched.summary)) }
}

#[test]
fn no_peer_holds_a_run_or_fills_its_memory_or_keeps_an_honest_one_from_giving_all() {
    let hostile = all();
    assert!(hostile.len() >= 40, "{}", hostile.len());
    let waiting = Mutex::new(hostile.iter());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some(hostile) = waiting.lock().unwrap().next() else { break };
                    let result = beside_an_honest_peer(hostile);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    let (good, bad): (Vec<_>, Vec<_>) =
        results.into_inner().unwrap().into_iter().partition(Result::is_ok);
    let mut good: Vec<String> = good.into_iter().map(Result::unwrap).collect();
    good.sort();
    println!("{}", good.join("\n"));
    let bad: Vec<String> = bad.into_iter().map(Result::unwrap_err).collect();
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), hostile.len(), bad.join("\n"));
    assert_eq!(good.len(), hostile.len());
}

#[test]
fn large_events_take_no_more_memory_however_fast_they_come() {
    let (author, text) = (author(), "x".repeat(63_000));
    let large = events(600, |number| author.note(START + number, &format!("{number} {text}")));
    let relay = Archive::new(&large, 500).comparing();
    for more in [&[][..], &["--no-negentropy"]] {
        let node = Node::new(&strfry_bin());
        let watched = backfill(&node, "30", more, &[relay.url()]);
        println!("large events: {:.1} s, {:.1} MiB", watched.seconds, watched.own_mib);
        assert_eq!(ids(node.events()), ids(large.clone()));
        assert_eq!(watched.code, 0);
        assert!(watched.own_mib < LARGE_MIB, "{} MiB", watched.own_mib);
    }
}

/// Asks 150 hostile peers and an honest one.
fn ask_many(node: &Node, time_out: &str, more: &[&str]) -> Watched {
    let honest = Archive::new(&honest_notes(), 500).comparing();
    let relays: Vec<_> = all().into_iter().map(|hostile| hostile.start()).collect();
    let each = MANY.div_ceil(relays.len());
    // One relay is many peers, each with an address of its own.
    let urls =
        (0..each).flat_map(|turn| relays.iter().map(move |it| format!("{}/{turn}", it.url())));
    let urls: Vec<String> = urls.take(MANY).chain([honest.url()]).collect();
    let watched = backfill(node, time_out, more, &urls);
    println!("{MANY} hostile peers {more:?}: {:.1} s, {:.1} MiB", watched.seconds, watched.own_mib);
    assert_eq!(status(&watched, &honest.url()), "complete");
    assert_eq!(watched.code, 1);
    assert!(watched.own_mib < MANY_MIB, "{} MiB", watched.own_mib);
    watched
}

#[test]
fn a_hundred_and_fifty_hostile_peers_together_are_no_worse() {
    let node = Node::new(&strfry_bin());
    // The relays of this test are as busy as the program, on the same cores.
    let watched = ask_many(&node, "5", &[]);
    assert_eq!(ids(node.events()), ids(honest_notes()));
    // It ends: within a minute, and on a machine that is busy with ten other things within ten.
    assert!(watched.seconds < 600.0, "{} s", watched.seconds);
}

#[test]
fn a_dry_run_keeps_its_memory_too() {
    let node = Node::new(&strfry_bin());
    ask_many(&node, "1", &["--dry-run"]);
    assert!(node.events().is_empty());
}
