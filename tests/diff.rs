//! `diff`: what each peer has that is not here, and the reverse; nothing is imported.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::events::{Author, events, forged, id_of};
use support::node::{Node, code};
use support::relays::Relay;
use support::running_relay::RunningRelay;
use support::scripted::{Act, Archive, Arrival, ClosedPort, ScriptedRelay, answer};
use support::{NO_STRFRY, real_strfry, run_strfry, strfry_bin, strfry_node};

const START: u64 = 1_700_000_000;

fn side(events: &[String]) -> Value {
    let mut kinds = BTreeMap::<String, u64>::new();
    let mut authors = BTreeMap::<String, u64>::new();
    for event in events {
        let event: Value = serde_json::from_str(event).unwrap();
        *kinds.entry(event["kind"].to_string()).or_default() += 1;
        *authors.entry(event["pubkey"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut ids: Vec<String> = events.iter().map(|event| id_of(event)).collect();
    ids.sort();
    json!({"events": events.len(), "kinds": kinds, "authors": authors, "ids": ids})
}

fn node(authors: &[Author], here: &[String]) -> Node {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&authors.iter().map(Author::pubkey).collect::<Vec<_>>());
    node.import(here);
    node
}

/// Runs `diff` over all time; what is here must not change.
fn diff(node: &Node, relays: &[String], flags: &[&str]) -> (i32, Value) {
    let before = node.events();
    let relays: Vec<&str> = relays.iter().map(String::as_str).collect();
    let arguments = [&["diff", "--json", "--days", "0", "--relay"], &relays[..], flags].concat();
    let output = node.companion(&arguments).output().unwrap();
    let found = serde_json::from_slice(&output.stdout);
    assert!(node.events() == before);
    (code(&output), found.unwrap_or_else(|_| panic!("{output:?}")))
}

fn some_events(authors: &[Author], count: usize) -> Vec<String> {
    events(count, |number| {
        let kind = [1, 4, 7][number as usize % 3];
        let author = &authors[number as usize % authors.len()];
        author.event(kind, START + number / 2, json!([]), &number.to_string())
    })
}

fn peer(url: &str, only_there: &[String], only_here: &[String]) -> Value {
    json!({
        "name": url.trim_start_matches("ws://"),
        "url": url,
        "status": "complete",
        "gaps": [],
        "gap_count": 0,
        "only_there": side(only_there),
        "only_here": side(only_here),
        "refused": 0,
    })
}

#[test]
fn each_peer_is_told_apart_whether_it_compares_or_not() {
    let authors = Author::all(0..5);
    let all = some_events(&authors, 1_500);
    let stranger = Author::new(99).note(START, "not asked about");
    let node = node(&authors, &[&all[..900], &[stranger]].concat());
    let first = Relay::start(&all[600..], 100);
    let second = Relay::start(&all[300..1_200], 500);
    let silent_about_nothing = Relay::start(&all[..900], 500);
    let relays = [&first, &second, &silent_about_nothing].map(Relay::url);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &relays, flags);
        let peers = json!([
            peer(&relays[0], &all[900..], &all[..600]),
            peer(&relays[1], &all[900..1_200], &all[..300]),
            peer(&relays[2], &[], &[]),
        ]);
        assert_eq!(found["peers"], peers, "{flags:?}");
        assert_eq!((code, &found["pubkeys"], &found["since"]), (0, &json!(5), &json!(null)));
    }
}

#[test]
fn of_a_peer_that_compares_only_what_is_not_here_is_fetched() {
    let authors = Author::all(0..3);
    let all = some_events(&authors, 600);
    let archive = Archive::new(&all[200..], 500);
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        comparer,
    );
    let node = node(&authors, &all[..500]);
    let (code, found) = diff(&node, &[relay.url()], &[]);
    assert_eq!(found["peers"], json!([peer(&relay.url(), &all[500..], &all[..200])]));
    assert_eq!(code, 0);
    let asked = relay.record().requests;
    let ids: Option<Vec<usize>> =
        asked.iter().map(|filter| Some(filter["ids"].as_array()?.len())).collect();
    assert_eq!(ids.map(|ids| ids.iter().sum()), Some(100));
}

#[test]
fn a_dry_run_tells_what_each_peer_would_bring() {
    let author = Author::new(1);
    let relay = Relay::start(&[author.note(START, "there")], 500);
    let node = node(std::slice::from_ref(&author), &[]);
    let url = relay.url();
    let arguments = ["backfill", "--dry-run", "--no-fallback", "--days", "0", "--relay", &url];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let host = url.trim_start_matches("ws://");
    assert!(said.contains(&format!("  {url}  {host}: 1 received, 1 new, complete\n")), "{said}");
    assert!(node.events().is_empty());
}

#[test]
fn what_is_not_known_of_a_peer_is_named_and_not_counted() {
    let author = Author::new(1);
    let here: Vec<String> = (0..4)
        .map(|number| author.event([1, 4][number % 2], START, json!([]), &number.to_string()))
        .collect();
    let there = author.note(START + 1, "there");
    let archive = Archive::new(&[there.clone(), here[0].clone()], 500);
    let refusing = ScriptedRelay::start(move |request| {
        if request.filter["kinds"] == json!([4]) {
            return answer([Act::Closed("restricted: not for you".into())]);
        }
        archive.answer(request)
    });
    let dead = ClosedPort::reserve();
    let node = node(std::slice::from_ref(&author), &here);
    let flags = ["--no-negentropy", "--kinds", "1,4"];
    let (code, found) = diff(&node, &[refusing.url(), dead.url()], &flags);
    assert_eq!(code, 1);
    let [refusing, dead] = [&found["peers"][0], &found["peers"][1]];
    assert_eq!(refusing["status"], "incomplete");
    assert_eq!(
        refusing["gaps"],
        json!([{
            "reason": "refused by the relay: restricted: not for you",
            "authors": 1, "kinds": [4], "since": null, "until": null,
        }])
    );
    assert_eq!(refusing["only_there"], side(&[there]));
    // Of kind 4 it is not known what the peer has.
    assert_eq!(refusing["only_here"], side(&here[2..3]));
    assert_eq!(dead["status"], "failed");
    assert_eq!((&dead["only_there"], &dead["only_here"]), (&side(&[]), &side(&[])));
}

#[test]
fn what_is_not_genuine_is_on_neither_side() {
    let author = Author::new(1);
    let note = author.note(START, "here");
    let other = author.note(START + 1, "other");
    let mut unsigned: Value = serde_json::from_str(&other).unwrap();
    unsigned["sig"] = serde_json::from_str::<Value>(&note).unwrap()["sig"].clone();
    let archive = Archive::new(&[forged(&note), unsigned.to_string()], 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = node(std::slice::from_ref(&author), std::slice::from_ref(&note));
    let (_, found) = diff(&node, &[relay.url()], &["--no-negentropy"]);
    let peer = &found["peers"][0];
    assert_eq!((&peer["only_there"], &peer["only_here"]), (&side(&[]), &side(&[note])));
    assert_eq!(peer["refused"], 2);
}

#[test]
fn people_get_counts_and_ids_if_they_want_them() {
    let author = Author::new(1);
    let [here, there] = ["here", "there"].map(|text| author.note(START, text));
    let relay = Relay::start(std::slice::from_ref(&there), 500);
    let node = node(std::slice::from_ref(&author), std::slice::from_ref(&here));
    let arguments = ["diff", "--ids", "--days", "0", "--relay", &relay.url()];
    let output = node.companion(&arguments).output().unwrap();
    let url = relay.url();
    let host = url.trim_start_matches("ws://");
    let pubkey = author.pubkey();
    let part = |name: &str, event: &String| {
        format!(
            "  {name:<10}         1 events\n    kind 1              1\n    {pubkey}         1\n    id {}\n",
            id_of(event)
        )
    };
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "{url}  {host}: complete\n{}{}",
            part("only there", &there),
            part("only here", &here)
        )
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_relay_of_the_real_strfry_is_told_apart_in_both_ways() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let authors = Author::all(0..150);
    let all = some_events(&authors, 3_000);
    let directory = strfry_node();
    let lines: String = all[1_000..].iter().map(|event| format!("{event}\n")).collect();
    let import = ["import", "--no-verify"];
    let imported = run_strfry(&strfry, directory.path(), &import, lines.as_bytes());
    assert!(imported.status.success());
    let relay = RunningRelay::start(&strfry, &directory);
    let node = node(&authors, &all[..2_000]);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &[relay.url()], flags);
        let expected = peer(&relay.url(), &all[2_000..], &all[..1_000]);
        assert!(found["peers"][0] == expected, "{flags:?}");
        assert_eq!(code, 0);
    }
}
