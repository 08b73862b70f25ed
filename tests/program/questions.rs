//! What `backfill` asks peers and public relays.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strfry_companion::nostr::Pubkey;

use crate::small_node::now;
use crate::support::events::Author;
use crate::support::no_relays::ClosedPort;
use crate::support::node::Node;
use crate::support::scripted::{Act, Archive, ScriptedRelay, answer};
use crate::support::strfry_bin;

const NODE_KINDS: &str = "[0,1,3,4,5,6,7,8,21,22,40,41,42,44,1063,1111,1222,1244,1506,1984,1985,\
    1986,9735,10000,10001,10002,30001,30005,30008,30009,30023,30024,30078,30079,30303,30312,30313,\
    30315,30500,30501,30502,30503,30504,30505,30506,30508,30800,30850,30851,30904,31900,31901,\
    31902,31903,31910,31922,31923,31924,31925]";

fn node_kinds_without_dms() -> Value {
    let mut kinds: Vec<u64> = serde_json::from_str(NODE_KINDS).unwrap();
    kinds.retain(|&kind| kind != 4);
    json!(kinds)
}

fn archive(events: &[String]) -> ScriptedRelay {
    let archive = Archive::new(events, 500);
    ScriptedRelay::start(move |request| archive.answer(request))
}

fn sorted(authors: &[&Author]) -> Vec<Pubkey> {
    let mut pubkeys: Vec<Pubkey> = authors.iter().map(|author| author.pubkey()).collect();
    pubkeys.sort();
    pubkeys
}

/// A node with this peer, that wants these authors.
fn node(peer: &ScriptedRelay, authors: &[&Author]) -> Node {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&sorted(authors));
    node.add_station("peer", &peer.url());
    node
}

/// What a peer without any event is asked in a run with these flags, and the run's `since`.
fn requests(flags: &[&str]) -> (Vec<Value>, Value) {
    let peer = archive(&[]);
    let node = node(&peer, &[&Author::new(1), &Author::new(2)]);
    let flags = [&["--allow-local-peers", "--no-profiles"], flags].concat();
    let (code, summary) = node.backfill(&flags);
    assert_eq!(code, 0);
    (but_for_until(peer.record().requests), summary["since"].clone())
}

/// What was asked for, without the second at which all of it ends: as far ahead of the clock as the
/// relay takes events. Each question reaches one second further on either side, for relays that
/// leave out the first or the last one.
fn but_for_until(mut asked: Vec<Value>) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Smaller questions only find out whether nothing is true.
    asked.retain(|filter| filter["limit"] == 500);
    for filter in &mut asked {
        let until = filter.as_object_mut().unwrap().remove("until").unwrap();
        assert!((now + 600..=now + 901).contains(&until.as_u64().unwrap()), "{until}");
        if let Some(since) = filter["since"].as_u64() {
            filter["since"] = json!(since + 1);
        }
    }
    asked
}

#[test]
fn direct_messages_are_asked_for_apart_and_stations_without_authors() {
    let (asked, since) = requests(&[]);
    let authors = sorted(&[&Author::new(1), &Author::new(2)]);
    let filter =
        |kinds: Value| json!({"authors": authors, "kinds": kinds, "since": since, "limit": 500});
    let stations = json!({"kinds": [30800, 30850, 30851], "since": since, "limit": 500});
    assert_eq!(asked, [filter(node_kinds_without_dms()), filter(json!([4])), stations.clone()]);

    let (asked, since_now) = requests(&["--no-dms"]);
    let mut stations = stations;
    let mut public = filter(node_kinds_without_dms());
    for filter in [&mut stations, &mut public] {
        filter["since"] = since_now.clone();
    }
    assert_eq!(asked, [public, stations]);
}

#[test]
fn kinds_replace_the_nodes_own_and_stations_are_asked_only_for_those_among_them() {
    let authors = sorted(&[&Author::new(1), &Author::new(2)]);
    let filter = |kinds: Value| json!({"authors": authors, "kinds": kinds, "limit": 500});
    let (asked, since) = requests(&["--days", "0", "--kinds", "30850,7,4,0-1"]);
    assert_eq!(since, Value::Null);
    assert_eq!(
        asked,
        [
            filter(json!([0, 1, 7, 30850])),
            filter(json!([4])),
            json!({"kinds": [30850], "limit": 500})
        ]
    );
    let (asked, _) = requests(&["--days", "0", "--kinds", "1"]);
    assert_eq!(asked, [filter(json!([1]))]);
}

#[test]
fn stations_events_arrive_whoever_their_authors_are_and_nothing_else_of_them() {
    let (alice, station) = (Author::new(1), Author::new(8));
    let did = station.event(30_800, now() - 50, json!([["d", "did"]]), "{}");
    let health = station.event(30_850, now() - 40, json!([["d", "x"]]), "{}");
    let old = station.event(30_851, now() - 90_000, json!([["d", "x"]]), "{}");
    let note = station.note(now() - 30, "not asked for");
    let profile = alice.profile(now() - 20, "Alice");
    // A peer that sends what it likes, whatever the filter.
    let all = [did.clone(), health.clone(), old, note, profile.clone()];
    let peer = ScriptedRelay::start(move |request| match request.number {
        1..=3 => answer(all.clone().map(Act::Event).into_iter().chain([Act::Eose])),
        _ => answer([Act::Eose]),
    });
    let node = node(&peer, &[&alice]);
    let (code, summary) = node.backfill(&["--allow-local-peers"]);
    // Whatever such a peer has of direct messages, it did not say.
    assert_eq!((code, &summary["peers"][0]["status"]), (1, &json!("incomplete")));
    assert_eq!(summary["peers"][0]["gaps"][0]["kinds"], json!([4]));
    assert_eq!(summary["events"]["imported"], 3);
    assert_eq!(summary["events"]["unasked"], 12);
    assert_eq!(node.events().len(), 3);
}

#[test]
fn public_relays_are_asked_for_profiles_that_no_peer_has_and_the_newest_wins() {
    let [alice, bob, carol, dave] = [1, 2, 3, 4].map(Author::new);
    let peer = archive(&[alice.profile(now() - 90, "Alice"), bob.note(now() - 80, "hello")]);
    let fallback = [
        archive(&[bob.profile(now() - 9_000_000, "old"), bob.note(now() - 70, "not asked for")]),
        archive(&[
            bob.profile(now() - 8_000_000, "new"),
            carol.profile(now() - 7_000_000, "Carol"),
            alice.profile(now() - 60, "not asked for"),
        ]),
    ];
    let node = node(&peer, &[&alice, &bob, &carol, &dave]);
    let urls = [fallback[0].url(), fallback[1].url()];
    let run = |urls: &[&str]| {
        let flags = ["backfill", "--json", "--allow-local-peers", "--fallback-relay"];
        let output = node.companion(&[&flags, urls].concat()).output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        (crate::support::node::code(&output), summary)
    };
    let (code, summary) = run(&[&urls[0], &urls[1]]);
    assert_eq!(code, 0);
    let dave = dave.pubkey();
    let profiles = json!({"found": 3, "missing": 1, "missing_pubkeys": [dave], "recovered": 3});
    assert_eq!(summary["profiles"], profiles);
    let still_missing = {
        let mut pubkeys = sorted(&[&bob, &carol]);
        pubkeys.push(dave);
        pubkeys.sort();
        pubkeys
    };
    for relay in &fallback {
        let requests = relay.record().requests;
        let first = but_for_until(requests[..1].to_vec());
        assert_eq!(first[0], json!({"authors": still_missing, "kinds": [0], "limit": 500}));
        assert!(requests.iter().all(|filter| filter["kinds"] == json!([0])));
    }
    let names = || -> Vec<String> {
        let written: Value =
            serde_json::from_str(&node.read("tmp/coucou/_NIP101.profiles.json")).unwrap();
        let mut names: Vec<String> = written
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["profile"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["Alice", "Carol", "new"]);
    let log = node.log();
    assert!(log.contains("] [INFO] Asking 2 public relays for 3 profiles\n"), "{log}");

    // A public relay is help, not a duty: one that is down makes nothing incomplete.
    let dead = ClosedPort::reserve();
    let (code, summary) = run(&[&dead.url()]);
    assert_eq!((code, &summary["fallback"][0]["status"]), (0, &json!("failed")));
    assert_eq!(summary["profiles"]["missing"], 1);
    assert_eq!(node.log().matches("failed").count(), 0);
    let told =
        format!("] [INFO] Relay {}: 0 events received, and not all that was asked: ", dead.url());
    assert!(node.log().contains(&told), "{}", node.log());
}

#[test]
fn nobody_is_asked_for_profiles_when_none_is_missing_or_none_are_wanted() {
    let alice = Author::new(1);
    let dead = ClosedPort::reserve();
    for (events, flag) in
        [(vec![alice.profile(now() - 90, "Alice")], "-v"), (vec![], "--no-profiles")]
    {
        let peer = archive(&events);
        let node = node(&peer, &[&alice]);
        node.import(&events);
        let flags = ["backfill", "--json", "--allow-local-peers", flag, "--fallback-relay"];
        let output = node.companion(&[&flags[..], &[&dead.url()]].concat()).output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &summary["fallback"]), (Some(0), &json!([])));
        let mut asked = peer.record().requests.into_iter().filter(|filter| filter["limit"] == 500);
        assert!(asked.all(|filter| filter.get("since").is_some()));
    }
}

#[test]
fn a_run_says_that_no_public_relay_answered_about_the_missing_profiles() {
    let (alice, bob) = (Author::new(1), Author::new(2));
    let peer = archive(&[alice.profile(now() - 90, "Alice")]);
    let node = node(&peer, &[&alice, &bob]);
    let (dead, other) = (ClosedPort::reserve(), ClosedPort::reserve());
    let run = |relays: &[&str]| {
        let flags = ["backfill", "--allow-local-peers", "--fallback-relay"];
        let output = node.companion(&[&flags, relays].concat()).output().unwrap();
        (crate::support::node::code(&output), String::from_utf8(output.stdout).unwrap())
    };
    let why = |relay: &ClosedPort| {
        let url = relay.url();
        let address = url.trim_start_matches("ws://");
        format!("  {url}: cannot connect to {address}: Connection refused (os error 111)\n")
    };
    let (code, said) = run(&[&dead.url(), &other.url()]);
    let silent = "No public relay answered about the missing profiles";
    // Public relays are help: the run is complete.
    assert_eq!(code, 0);
    let expected = format!("{silent}:\n{}{}", why(&dead), why(&other));
    assert!(said.starts_with("Complete: ") && said.ends_with(&expected), "{said}");
    assert!(node.log().contains(&format!("] [WARN] {silent}\n")), "{}", node.log());
    // One that answers is enough, whatever it has.
    let (code, said) = run(&[&dead.url(), &archive(&[]).url()]);
    assert!(code == 0 && !said.contains(silent), "{said}");
}
