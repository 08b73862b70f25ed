//! Peers that are relays of the strfry that `STRFRY_BIN` names: compared with, and asked page by
//! page.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
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

/// What was compared in a run: authors and times, in the order in which comparisons were begun.
fn comparisons(trace: &Path) -> Vec<(usize, Value, Value)> {
    let trace = fs::read_to_string(trace).unwrap();
    let messages = trace.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let opened = messages.filter(|line| line["message"][0] == "NEG-OPEN");
    opened
        .map(|line| {
            let filter = &line["message"][2];
            let authors = filter["authors"].as_array().map_or(0, Vec::len);
            (authors, filter["since"].clone(), filter["until"].clone())
        })
        .collect()
}

#[test]
fn what_a_strfry_has_not_is_found_out_at_once_and_many_pubkeys_are_compared_only_where_it_has_more()
{
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let authors = Author::all(0..40);
    let all = events(2_000, |number| {
        authors[number as usize % 40].note(START + number * 7, &number.to_string())
    });
    let (_directory, relay) = peer(&strfry, &all);
    let node = Node::new(&strfry);
    node.import(&all[..1_997]);
    // With all others these make 49 questions.
    let others = (0..4_860).map(|number| format!("{number:064x}"));
    let list = authors.iter().map(|author| author.pubkey().to_string()).chain(others);
    let pubkeys = node.write("pubkeys.txt", list.collect::<Vec<_>>().join("\n"));
    let trace = node.home().join("trace.jsonl");
    let [pubkeys, trace_file] = [&pubkeys, &trace].map(|path| path.to_str().unwrap());
    let run = |arguments: &[&str]| {
        let options = ["--days", "0", "--no-profiles", "--no-dms", "--pubkeys", pubkeys];
        let traced = ["--trace-peers", trace_file, "--relay", &relay.url()];
        let (code, summary) = node.backfill(&[&options[..], arguments, &traced].concat());
        assert_eq!(code, 0, "{summary:#}");
        let until = |since: &Value| if since.is_null() { "all" } else { "newest" };
        let compared = comparisons(&trace);
        let compared = compared.iter().map(|(authors, since, _)| (*authors, until(since)));
        (summary["events"].clone(), compared.collect::<Vec<_>>())
    };
    let (events, compared) = run(&[]);
    assert_eq!(events, json!({"imported": 3}));
    // An overview, a sample of what is older, and each question about what is newer.
    let newest = [vec![(0, "all"), (100, "all")], vec![(100, "newest"); 49]].concat();
    assert_eq!(compared, newest);
    assert_eq!(run(&["--ignore-state"]), (json!({}), vec![(0, "all"), (100, "all")]));
}
