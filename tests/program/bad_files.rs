//! `backfill` among files of the node that are wrong: what the run can do without, it does without.

use std::fs;

use serde_json::json;

use crate::said::Said;
use crate::small_node::{ERROR_LOG, LOCK, LOG, PROFILES, SmallNode};
use crate::support::events::Author;

#[test]
fn stations_that_are_no_use_are_skipped_by_name_and_the_others_asked() {
    let small = SmallNode::new();
    let station = |directory: &str, text: String| {
        small.node.write(&format!("tmp/swarm/{directory}/12345.json"), text);
    };
    station("a", "{".to_owned());
    station("b", json!({"ipfsnodeid": "b"}).to_string());
    station("c", json!({"ipfsnodeid": "c", "myRELAY": "http://c.example"}).to_string());
    station("d", json!({"ipfsnodeid": "../../x", "myRELAY": "wss://d.example"}).to_string());
    fs::create_dir_all(small.node.home().join("tmp/swarm/e/12345.json")).unwrap();
    let said = small.backfill(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("Complete: 4 events imported, "));
    let log = small.log();
    let skipped: Vec<&str> = log.lines().filter(|line| line.contains("Skipped")).collect();
    assert_eq!(
        skipped,
        [
            "[INFO] Skipped \"HOME/tmp/swarm/e/12345.json\": not a regular file; remove it or put \
             a file in its place",
            "[INFO] Skipped \"HOME/tmp/swarm/a/12345.json\": not a JSON object",
            "[INFO] Skipped \"HOME/tmp/swarm/b/12345.json\": no myRELAY",
            "[INFO] Skipped \"HOME/tmp/swarm/c/12345.json\": myRELAY \"http://c.example\" is not a \
             relay's address: it must start with wss:// or ws://",
            "[INFO] Skipped \"HOME/tmp/swarm/d/12345.json\": ipfsnodeid is not an IPFS peer id \
             (letters and digits only)",
        ]
    );
}

#[test]
fn a_peer_on_this_machine_is_not_dialled_unless_the_operator_says_so() {
    let small = SmallNode::new();
    let mut command = small.node.companion(&["backfill", "--no-fallback"]);
    let said = small.said(&mut command);
    assert_eq!(said.code, 2);
    let expected = "[INFO] Skipped \"HOME/tmp/swarm/peer/12345.json\": RELAY is reachable only \
                    through a tunnel: not dialled directly; --allow-local-peers dials it\n";
    assert!(small.log().contains(expected), "{}", small.log());
    let mut command =
        small.node.companion(&["backfill", "--no-fallback", "--relay", &small.relay.url()]);
    assert_eq!(small.said(&mut command).code, 0);
}

#[test]
fn lists_of_pubkeys_may_hold_junk_and_replace_the_nodes_own() {
    let small = SmallNode::new();
    let (alice, carol) = (small.alice.pubkey().to_string(), Author::new(3).pubkey());
    let text = format!("\u{feff}{}\r\njunk\r\n\r\n{alice}\r\n\u{1b}[2J\r\n", alice.to_uppercase());
    let first = small.node.write("first", text);
    let second = small.node.write("second", format!("{carol}\n"));
    let said = small.backfill(&["--pubkeys", first.to_str().unwrap(), second.to_str().unwrap()]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            0,
            "strfry-companion: warning: HOME/first: 2 lines skipped, the first is line 2: not a \
             pubkey: expected 64 hex digits or an npub; 1 line repeated\n"
        )
    );
    assert!(small.holds(&small.events[..2]));
    let mut asked = vec![json!(alice), json!(carol)];
    asked.sort_by_key(ToString::to_string);
    let requests = small.relay.record().requests;
    // Two batches of kinds; stations are not asked about when pubkeys are named.
    let first_two: Vec<_> = requests.iter().take(2).map(|filter| &filter["authors"]).collect();
    assert_eq!(first_two, [&json!(asked), &json!(asked)]);
    assert!(requests.iter().all(|filter| filter.get("authors").is_some()));
}

#[test]
fn a_list_that_is_not_there_is_an_error_of_usage() {
    let small = SmallNode::new();
    assert_eq!(
        small.backfill(&["--pubkeys", "/nonexistent/list"]),
        Said::refusal(
            2,
            "strfry-companion: cannot read the list of pubkeys \"/nonexistent/list\": No such file \
             or directory (os error 2); check the name given with --pubkeys\n"
        )
    );
    assert!(!small.node.home().join(LOG).exists());
}

#[test]
fn pubkey_files_of_the_node_with_junk_cost_only_their_lines() {
    let small = SmallNode::new();
    let carol = Author::new(3).pubkey();
    small.node.write("strfry/amisOfAmis.txt", format!("junk\r\n{carol}\r\n\r\n{carol}\r\nnpub1x"));
    fs::create_dir_all(small.node.home().join("flashmem/x/HEX")).unwrap();
    let said = small.backfill(&[]);
    assert_eq!(said.code, 0);
    assert!(said.err.starts_with(
        "[WARN] cannot read \"HOME/flashmem/x/HEX\": not a regular file; remove it or put a file \
         in its place\n"
    ));
    let log = small.log();
    assert!(
        log.contains("[INFO] Pubkeys from amisOfAmis.txt: 2 found, 2 lines skipped\n"),
        "{log}"
    );
    assert!(log.contains("[INFO] SYNC_HEX: count=3\n"), "{log}");
}

#[test]
fn a_blacklisted_author_is_neither_asked_for_nor_imported_unless_at_home_here() {
    let small = SmallNode::new();
    let carol = Author::new(3).pubkey();
    small.node.write("strfry/amisOfAmis.txt", carol.to_string());
    let blacklist = format!("{carol}\n{}\n", small.alice.pubkey());
    small.node.write("strfry/blacklist.txt", blacklist);
    assert_eq!(small.backfill(&[]).code, 0);
    assert!(small.holds(&small.events));
    let asked_for_carol = |filter: &serde_json::Value| {
        filter["authors"].as_array().is_some_and(|authors| authors.contains(&json!(carol)))
    };
    assert!(!small.relay.record().requests.iter().any(asked_for_carol));
}

#[test]
fn a_lock_or_log_that_cannot_be_opened_stops_the_run() {
    let small = SmallNode::new();
    let at = |path: &str| small.node.home().join(path);
    let refusal = |text: &str| Said::refusal(3, format!("strfry-companion: {text}\n"));
    fs::create_dir(at(LOCK)).unwrap();
    assert_eq!(
        small.backfill(&[]),
        refusal(
            "cannot open the lock file \"HOME/strfry/constellation-backfill.lock\": Is a directory \
             (os error 21); check the disk and the path"
        )
    );
    assert!(!at(LOG).exists());
    fs::remove_dir(at(LOCK)).unwrap();
    for (file, name) in [(ERROR_LOG, "error log"), (LOG, "log")] {
        fs::create_dir(at(file)).unwrap();
        assert_eq!(
            small.backfill(&[]),
            refusal(&format!(
                "cannot open the {name} HOME/{file}: check that its directory exists and is \
                 writable, and that the disk is not full: Is a directory (os error 21)"
            ))
        );
        fs::remove_dir(at(file)).unwrap();
    }
    assert_eq!(small.relay.record().connections, 0);
    assert_eq!(small.backfill(&[]).code, 0);
}

#[test]
fn a_profiles_file_that_cannot_be_written_costs_nothing_else() {
    let small = SmallNode::new();
    small.node.write("tmp/coucou", "a file where a directory belongs");
    let said = small.backfill(&["--csv"]);
    let error = |file: &str| {
        format!(
            "cannot write the profiles file HOME/tmp/coucou/{file}: cannot create its directory; \
             check that its directory is writable and that the disk is not full: File exists (os \
             error 17)\n"
        )
    };
    let errors = ["_NIP101.profiles.json", "_NIP101.profiles.csv"].map(error);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    assert!(said.out.starts_with("Incomplete: 4 events imported,"), "{}", said.out);
    let reasons = format!("Incomplete, because:\n  {}  {}", errors[0], errors[1]);
    assert!(said.out.ends_with(&reasons), "{}", said.out);
    assert!(small.holds(&small.events));
    let logged = format!("[ERROR] {}[ERROR] {}", errors[0], errors[1]);
    assert!(small.log().contains(&logged), "{}", small.log());
    assert_eq!(small.node.read(ERROR_LOG).lines().count(), 2);

    fs::remove_file(small.node.home().join("tmp/coucou")).unwrap();
    let profile_log = small.node.home().join("strfry/hex-to-profile.log");
    fs::remove_file(&profile_log).unwrap();
    fs::create_dir(&profile_log).unwrap();
    let said = small.backfill(&[]);
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let reason = "Incomplete, because:\n  cannot open the log HOME/strfry/hex-to-profile.log: check \
                  that its directory exists and is writable, and that the disk is not full: Is a \
                  directory (os error 21)\n";
    assert!(said.out.ends_with(reason), "{}", said.out);
    assert!(small.node.home().join(PROFILES).exists());
}
