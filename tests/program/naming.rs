//! Pubkeys, times, filters and threads are named in one way in every command.

use std::fs;

use bech32::{Bech32, Hrp};
use serde_json::{Value, json};

use crate::said::Said;
use crate::small_node::SmallNode;

/// A node whose database holds what its peer has.
fn node() -> SmallNode {
    let small = SmallNode::new();
    small.node.import(&small.events);
    small
}

fn said(small: &SmallNode, arguments: &[&str]) -> Said {
    small.said(&mut small.node.companion(arguments))
}

fn nip_19(prefix: &str, bytes: &[u8]) -> String {
    bech32::encode::<Bech32>(Hrp::parse(prefix).unwrap(), bytes).unwrap()
}

/// Every way to name Alice.
fn names_of_alice(small: &SmallNode) -> Vec<String> {
    let pubkey = small.alice.pubkey();
    let (hex, npub) = (pubkey.to_string(), nip_19("npub", pubkey.as_bytes()));
    let nprofile = nip_19("nprofile", &[&[1, 1, b'x', 0, 32][..], pubkey.as_bytes()].concat());
    let uri = format!("nostr:{nprofile}");
    vec![hex.to_uppercase(), hex[..8].to_owned(), npub, nprofile, uri, hex]
}

#[test]
fn every_name_of_a_pubkey_is_taken_on_the_command_line_and_in_lists() {
    let small = node();
    let expected = said(&small, &["profiles", &small.alice.pubkey().to_string()]);
    assert!(expected.code == 0 && expected.out.contains("Alice"), "{expected:?}");
    for name in names_of_alice(&small) {
        assert_eq!(said(&small, &["profiles", &name]), expected, "{name}");
        assert_eq!(said(&small, &["profiles", "--pubkey", &name]), expected, "{name}");
        if name.len() > 8 {
            let list = small.node.write("list", format!("{name}\n"));
            let by_list = said(&small, &["profiles", "--pubkeys", list.to_str().unwrap()]);
            assert_eq!(by_list, expected, "{name}");
        }
    }
    let unknown = said(&small, &["profiles", "00ff00ff"]);
    assert_eq!(
        unknown,
        Said::refusal(
            2,
            "strfry-companion: PUBKEY number 1 of the command line: no pubkey of the node's files \
             begins with 00ff00ff; write all 64 digits (see strfry-companion pubkeys --list)\n"
        )
    );
}

#[test]
fn a_backfill_asks_for_the_authors_that_are_named() {
    let alice = SmallNode::new().alice.pubkey().to_string();
    for flag in ["--pubkey", "--pubkeys"] {
        let small = SmallNode::new();
        let list = small.node.write("list", &alice);
        let value = if flag == "--pubkey" { &alice[..8] } else { list.to_str().unwrap() };
        assert_eq!(small.backfill(&[flag, value]).code, 0);
        let requests = small.relay.record().requests;
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|filter| filter["authors"] == json!([alice])), "{requests:?}");
    }
}

#[test]
fn filters_name_authors_in_every_way_and_come_from_anywhere() {
    let small = node();
    let filter = |name: &str| format!(r##"{{"authors":["{name}"],"kinds":[0]}}"##);
    let expected = said(&small, &["scan", &filter(&small.alice.pubkey().to_string())]);
    let found: Value = serde_json::from_str(&expected.out).unwrap();
    assert_eq!(found, serde_json::from_str::<Value>(&small.events[0]).unwrap());
    // A filter is not completed by the node's files.
    for name in names_of_alice(&small).iter().filter(|name| name.len() > 8) {
        assert_eq!(said(&small, &["scan", &filter(name)]), expected, "{name}");
    }
    let file = small.node.write("filter", filter(&small.alice.pubkey().to_string()));
    let at_file = format!("@{}", file.display());
    assert_eq!(said(&small, &["scan", &at_file]), expected);
    let mut command = small.node.companion(&["scan", "-"]);
    command.stdin(fs::File::open(&file).unwrap());
    assert_eq!(small.said(&mut command), expected);
    let checked = said(&small, &["verify", &at_file]);
    assert_eq!(checked.err, "strfry-companion: 1 events checked, 0 of them wrong\n");
    let bench = said(&small, &["bench", "scan", &at_file, "--runs", "1", "--json"]);
    let bench: Value = serde_json::from_str(&bench.out).unwrap();
    assert_eq!(bench["wrong"], json!([]));
}

#[test]
fn times_are_seconds_dates_or_so_long_ago() {
    let small = SmallNode::new();
    let at = |second| small.alice.note(second, "x");
    // The first and the last second of a day.
    let times = [1_699_919_999, 1_699_920_000, 1_700_006_399, 1_700_006_400];
    small.node.import(&times.map(at));
    let exported = |arguments: &[&str]| {
        let said = said(&small, &[&["export"], arguments].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let times = said.out.lines().map(|line| event(line)["created_at"].as_u64().unwrap());
        times.collect::<Vec<u64>>()
    };
    assert_eq!(exported(&["--since", "2023-11-14", "--until", "2023-11-15"]), times[1..]);
    assert_eq!(exported(&["--since", "1699920000", "--until", "1700006399"]), times[1..3]);
    assert_eq!(exported(&["--until", "1d"]), times);
    assert_eq!(exported(&["--since", "1d"]), [0; 0]);
    let wrong = said(&small, &["export", "--since", "yesterday"]);
    assert!(wrong.code == 2 && wrong.err.contains("a date such as 2026-11-01"), "{}", wrong.err);
    for (flag, value) in [("--timeout", "2m"), ("--connect-timeout", "3s"), ("--max-time", "1h")] {
        assert_eq!(small.backfill(&[flag, value]).code, 0, "{flag}");
    }
    for value in ["0", "2h", "-1", "1.5"] {
        let wrong = small.backfill(&[&format!("--timeout={value}")]);
        assert!(wrong.code == 2 && wrong.err.contains("--timeout <TIME>"), "{}", wrong.err);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_answer() {
    let small = node();
    for (arguments, is_answer) in [
        (&["verify"][..], true),
        (&["scan", "{}", "--count"], true),
        (&["import", "/dev/null"], false),
        (&["backfill", "--allow-local-peers", "--no-fallback"], false),
        (&["bench", "verify", "--runs", "1"], false),
    ] {
        let answers = ["1", "3"].map(|threads| {
            let said = said(&small, &[arguments, &["--threads", threads]].concat());
            assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
            said
        });
        assert!(!is_answer || answers[0] == answers[1], "{answers:?}");
        let wrong = said(&small, &[arguments, &["--threads", "0"]].concat());
        assert_eq!(wrong.code, 2, "{arguments:?}");
    }
    let bench = said(&small, &["bench", "verify", "--runs", "1", "--threads", "3", "--json"]);
    let bench: Value = serde_json::from_str(&bench.out).unwrap();
    let ways: Vec<&str> =
        bench["ways"].as_array().unwrap().iter().map(|way| way["way"].as_str().unwrap()).collect();
    assert_eq!(ways, ["1 thread", "2 threads", "3 threads"]);
}
