//! Peers that are relays of the strfry that `STRFRY_BIN` names: compared with, and asked page by
//! page.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use support::events::{Author, events, id_of};
use support::node::Node;
use support::running_relay::RunningRelay;
use support::{NO_STRFRY, real_strfry, run_strfry, strfry_node};
use tempfile::TempDir;

const START: u64 = 1_700_000_000;

fn peer(strfry: &Path, events: &[String]) -> (TempDir, RunningRelay) {
    let node = strfry_node();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let imported = run_strfry(strfry, node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let relay = RunningRelay::start(strfry, node.path());
    (node, relay)
}

/// Three peers with parts of 6,000 events that overlap, 1,500 of them in one second.
fn backfill(arguments: &[&str]) {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let authors = Author::all(0..40);
    let all = events(6_000, |number| {
        let second = if number % 4 == 0 { START } else { START + number * 7 };
        let kind = [1, 4, 7][number as usize % 3];
        authors[number as usize % 40].event(kind, second, json!([]), &number.to_string())
    });
    let peers = [0..3_000, 1_500..4_500, 3_000..6_000].map(|part| peer(&strfry, &all[part]));
    let node = Node::new(&strfry);
    let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", list);
    let urls = peers.each_ref().map(|(_, relay)| relay.url());
    let run = [
        &["--days", "0", "--no-profiles", "--pubkeys", pubkeys.to_str().unwrap(), "--relay"],
        &urls.each_ref().map(String::as_str)[..],
        arguments,
    ];
    let (code, summary) = node.backfill(&run.concat());
    assert_eq!(code, 0, "{summary:#}");
    let ids =
        |events: &BTreeSet<String>| events.iter().map(|it| id_of(it)).collect::<BTreeSet<_>>();
    assert!(ids(&node.events()) == ids(&all.iter().cloned().collect()));
    assert_eq!(summary["events"]["imported"], 6_000);
    let (code, again) = node.backfill(&run.concat());
    assert_eq!((code, &again["events"]["imported"]), (0, &json!(null)), "{again:#}");
    if arguments.is_empty() {
        assert_eq!(summary["received"], 6_000);
        assert_eq!(again["received"], 0);
    }
}

#[test]
fn every_event_of_three_strfry_relays_comes_once() {
    backfill(&[]);
}

#[test]
fn every_event_of_three_strfry_relays_comes_page_by_page_too() {
    backfill(&["--no-negentropy"]);
}
