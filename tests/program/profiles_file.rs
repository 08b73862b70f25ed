//! The profiles file of a run, and that events arrive as they were sent.

use std::fs;

use serde_json::{Value, json};

use crate::small_node::{PROFILES, SmallNode, now};
use crate::support::events::{Author, id_of};
use crate::support::node::Node;
use crate::support::scripted::{Archive, ScriptedRelay};
use crate::support::strfry_bin;

const PROFILES_CSV: &str = "tmp/coucou/_NIP101.profiles.csv";

#[test]
fn the_profiles_file_holds_contents_relays_and_times_and_the_csv_only_on_request() {
    let content = r#"{"name":"Zoë","about":"a; \"b\",\nc","x":[1,{"y":null}],"website":7}"#;
    let author = Author::new(5);
    let relays = json!([
        ["r", "wss://a.example"],
        ["r", "wss://b.example", "read"],
        ["r", "wss://c.example", "write"],
        ["alt", "x"]
    ]);
    let events = [
        author.event(0, now() - 50, json!([]), content),
        author.event(10_002, now() - 40, relays, ""),
    ];
    let archive = Archive::new(&events, 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&[author.pubkey(), Author::new(6).pubkey()]);
    node.add_station("peer", &relay.url());

    let (code, summary) = node.backfill(&["--allow-local-peers"]);
    assert_eq!(code, 0);
    assert!(!node.home().join(PROFILES_CSV).exists());
    let written: Value = serde_json::from_str(&node.read(PROFILES)).unwrap();
    let fetched_at = summary["started_at"].as_str().unwrap();
    assert_eq!(
        written,
        json!([{
            "hex": author.pubkey(),
            "profile": serde_json::from_str::<Value>(content).unwrap(),
            "relays": [
                {"url": "wss://a.example", "read": true, "write": true},
                {"url": "wss://b.example", "read": true, "write": false},
                {"url": "wss://c.example", "read": false, "write": true},
            ],
            "fetched_at": fetched_at,
        }])
    );

    let (code, summary) = node.backfill(&["--allow-local-peers", "--csv"]);
    assert_eq!((code, summary["events"].get("imported")), (0, None));
    assert_eq!(
        node.read(PROFILES_CSV),
        format!(
            "hex,name,display_name,about,picture,website,nip05,relays_count,relays_list,fetched_at\n\
             {},Zoë,,\"a; \"\"b\"\",\nc\",,,,3,\
             wss://a.example;wss://b.example;wss://c.example,{}\n",
            author.pubkey(),
            summary["started_at"].as_str().unwrap()
        )
    );
    let directory = fs::read_dir(node.home().join("tmp/coucou")).unwrap();
    assert_eq!(directory.count(), 2);
}

#[test]
fn a_profile_that_is_no_json_is_found_and_left_out_of_the_file() {
    let author = Author::new(5);
    let archive = Archive::new(&[author.event(0, now() - 50, json!([]), "not json")], 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&[author.pubkey()]);
    node.add_station("peer", &relay.url());
    let (code, summary) = node.backfill(&["--allow-local-peers", "--csv"]);
    assert_eq!((code, &summary["profiles"]["found"]), (0, &json!(1)));
    assert_eq!(node.read(PROFILES), "[]\n");
    assert_eq!(node.read(PROFILES_CSV).lines().count(), 1);
    let warning = format!("] [WARN]   {}... has an unreadable profile\n", author.pubkey().short());
    assert!(node.log().contains(&warning));
}

#[test]
fn without_any_profile_the_file_is_an_empty_array() {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&[Author::new(6).pubkey()]);
    let relay = ScriptedRelay::start(|request| Archive::new(&[], 500).answer(request));
    node.add_station("peer", &relay.url());
    assert_eq!(node.backfill(&["--allow-local-peers"]).0, 0);
    assert_eq!(node.read(PROFILES), "[]\n");
}

#[test]
fn what_it_imports_is_what_the_peer_sent() {
    let small = SmallNode::new();
    assert_eq!(small.backfill(&[]).code, 0);
    let exported: Vec<String> = small.node.events().into_iter().collect();
    let mut sent: Vec<Value> =
        small.events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let mut exported: Vec<Value> =
        exported.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    sent.sort_by_key(|event| id_of(&event.to_string()));
    exported.sort_by_key(|event| id_of(&event.to_string()));
    assert_eq!(exported, sent);
}
