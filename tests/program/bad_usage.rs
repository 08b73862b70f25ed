//! `backfill` told the wrong things, or with nothing to do.

use std::fs;

use crate::said::Said;
use crate::small_node::{LOG, SmallNode};
use crate::support::golden_database;

/// What clap says, without the usage that follows.
fn first_line(said: &Said) -> (i32, &str, bool) {
    (said.code, said.err.lines().next().unwrap_or_default(), said.out.is_empty())
}

#[test]
fn days_that_are_no_number_of_days_are_named() {
    let small = SmallNode::new();
    for (days, problem) in [
        (&["--days", "-1"][..], "invalid value '-1' for '--days <N>': -1 is not in 0..=36500"),
        (&["--days", "36501"], "invalid value '36501' for '--days <N>': 36501 is not in 0..=36500"),
        (
            &["--days", "99999999999999999999"],
            "invalid value '99999999999999999999' for '--days <N>': number too large to fit in \
             target type",
        ),
        (&["--days", "x"], "invalid value 'x' for '--days <N>': invalid digit found in string"),
        (&["--days"], "a value is required for '--days <N>' but none was supplied"),
        (&["--days", "--verbose"], "a value is required for '--days <N>' but none was supplied"),
    ] {
        let said = small.backfill(days);
        assert_eq!(first_line(&said), (2, &*format!("error: {problem}"), true));
        let mut script = small.node.script(&[]);
        let said = small.said(script.args(days));
        assert_eq!(said.code, 2, "{days:?}");
    }
    assert_eq!(small.backfill(&["--days", "36500"]).code, 0);
}

#[test]
fn kinds_that_no_relay_stores_or_that_are_none_are_named() {
    let small = SmallNode::new();
    for (kinds, problem) in [
        ("20001", "kind 20001 is ephemeral (20000-29999): relays do not store it"),
        ("0,25000-25002", "kind 25000 is ephemeral (20000-29999): relays do not store it"),
        (
            "0,x",
            "'x' is no kind: expected a number from 0 to 65535, a range such as 30500-30503, or 'default'",
        ),
        (
            "65536",
            "'65536' is no kind: expected a number from 0 to 65535, a range such as 30500-30503, or 'default'",
        ),
        ("0-10000", "more than 500 kinds: name fewer"),
        ("", "no kinds are left to ask for"),
    ] {
        assert_eq!(
            small.backfill(&["--kinds", kinds]),
            Said::refusal(2, format!("strfry-companion: {problem}\n"))
        );
    }
    assert_eq!(
        small.backfill(&["--kinds", "4", "--no-dms"]),
        Said::refusal(2, "strfry-companion: no kinds are left to ask for\n")
    );
    let unknown = small.backfill(&["--kinds", "12345"]);
    assert_eq!((unknown.code, unknown.err.as_str()), (0, ""));
}

#[test]
fn a_relay_that_is_none_is_named() {
    let small = SmallNode::new();
    for (url, problem) in [
        ("http://relay.example", "it must start with wss:// or ws://"),
        ("relay", "it must start with wss:// or ws://"),
        ("ws://relay.example:0", "0 is not a port"),
    ] {
        for option in ["--relay", "--fallback-relay"] {
            let mut command = small.node.companion(&["backfill", option, url]);
            assert_eq!(
                small.said(&mut command),
                Said::refusal(
                    2,
                    format!("strfry-companion: {url:?} is not a relay's address: {problem}\n")
                )
            );
        }
    }
}

#[test]
fn a_run_without_peers_says_how_to_name_one() {
    let small = SmallNode::new();
    fs::remove_dir_all(small.node.home().join("tmp/swarm")).unwrap();
    assert_eq!(
        small.backfill(&[]),
        Said::refusal(
            2,
            "[ERROR] no peers: no usable station in HOME/tmp/swarm (see the command 'peers'); name \
             a relay with --relay\n"
        )
    );
    assert_eq!(small.backfill(&["--relay", &small.relay.url()]).code, 0);
}

#[test]
fn a_run_without_pubkeys_says_how_to_name_some() {
    let small = SmallNode::new();
    let alice = small.node.write("alice", small.alice.pubkey().to_string());
    let refusal = |text: &str| Said::refusal(2, format!("[ERROR] {text}\n"));
    assert_eq!(
        small.backfill(&["--pubkeys", "/dev/null"]),
        refusal("no pubkeys: none in the files named with --pubkeys")
    );
    fs::remove_dir_all(small.node.home().join("game")).unwrap();
    assert_eq!(
        small.backfill(&[]),
        refusal(
            "no pubkeys: none in the node's files (see the command 'pubkeys'); name some with --pubkey \
             or --pubkeys"
        )
    );
    small.node.write("strfry/blacklist.txt", small.alice.pubkey().to_string());
    assert_eq!(
        small.backfill(&["--pubkeys", alice.to_str().unwrap()]),
        refusal("no pubkeys: all 1 are on the blacklist HOME/strfry/blacklist.txt")
    );
    assert_eq!(small.relay.record().connections, 0);
}

#[test]
fn a_blacklist_that_cannot_be_read_stops_the_run() {
    let small = SmallNode::new();
    fs::create_dir(small.node.home().join("strfry/blacklist.txt")).unwrap();
    assert_eq!(
        small.backfill(&[]),
        Said::refusal(
            2,
            "[ERROR] cannot read the blacklist \"HOME/strfry/blacklist.txt\": not a regular file; \
             remove it or put a file in its place. An import bypasses the relay's own check, so \
             nothing is imported without it: make it readable, or move it away to refuse nobody\n"
        )
    );
    assert!(small.holds(&[]));
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_named() {
    let small = SmallNode::new();
    let conf = small.node.home().join("strfry/strfry.conf");
    fs::write(&conf, "events {\n maxEventSize = \"x\"\n}\n").unwrap();
    assert_eq!(
        small.backfill(&[]),
        Said::refusal(
            2,
            "strfry-companion: the strfry configuration \"HOME/strfry/strfry.conf\", line 2: \
             events.maxEventSize must be a non-negative integer; correct it\n"
        )
    );
    fs::remove_file(&conf).unwrap();
    assert_eq!(
        small.backfill(&[]),
        Said::refusal(
            2,
            "strfry-companion: there is no strfry configuration at \"HOME/strfry/strfry.conf\"; \
             name the file with --strfry-config\n"
        )
    );
    assert!(!small.node.home().join(LOG).exists());
}

#[test]
fn a_database_that_strfry_would_not_import_into_is_refused() {
    let small = SmallNode::new();
    let other = golden_database("strfry-1.1.1");
    let db = other.path().to_str().unwrap();
    assert_eq!(
        small.backfill(&["--db", db]),
        Said::refusal(
            2,
            format!(
                "strfry-companion: --db is {db}, but strfry would import into \
                 HOME/strfry/strfry-db (db in strfry.conf): name the configuration of that \
                 database with --strfry-config\n"
            )
        )
    );
    let own = small.node.home().join("strfry/strfry-db");
    assert_eq!(small.backfill(&["--db", own.to_str().unwrap()]).code, 0);
    assert_eq!(small.backfill(&["--db", own.join("data.mdb").to_str().unwrap()]).code, 0);
}
