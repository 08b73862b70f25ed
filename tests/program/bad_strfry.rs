//! `backfill` with a strfry that is missing, does not start, refuses or dies.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

use serde_json::Value;

use crate::said::Said;
use crate::small_node::{SmallNode, now};
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::scripted::{Act, ScriptedRelay};
use crate::support::{NO_STRFRY, real_strfry, run_strfry, strfry_bin};
use crate::wait::until;

fn json_run(small: &SmallNode, command: &mut Command) -> (i32, Value, String) {
    command.args(["--allow-local-peers", "--no-fallback", "--json"]);
    let said = small.said(command);
    (said.code, serde_json::from_str(&said.out).unwrap_or_default(), said.err)
}

#[test]
fn a_strfry_that_is_missing_or_not_executable_is_named_before_any_peer_is_asked() {
    let small = SmallNode::new();
    let strfry = small.node.strfry_dir().join("strfry");
    let refusal = |problem: &str| Said::refusal(3, format!("[ERROR] {problem}\n"));
    fs::remove_file(&strfry).unwrap();
    assert_eq!(
        small.backfill(&[]),
        refusal(
            "cannot start strfry (HOME/strfry/strfry): No such file or directory (os error 2); \
             name strfry with --strfry-bin, or put it into a directory of PATH"
        )
    );
    fs::write(&strfry, "#!/bin/sh\n").unwrap();
    let not_executable =
        refusal("HOME/strfry/strfry is not an executable file; name strfry with --strfry-bin");
    assert_eq!(small.backfill(&[]), not_executable);
    fs::remove_file(&strfry).unwrap();
    fs::create_dir(&strfry).unwrap();
    assert_eq!(small.backfill(&[]), not_executable);
    assert_eq!(small.relay.record().connections, 0);
    let named = strfry_bin();
    assert_eq!(small.backfill(&["--strfry-bin", named.to_str().unwrap()]).code, 0);
}

#[test]
fn a_strfry_that_does_not_start_is_quoted_and_nothing_counts_as_imported() {
    let small = SmallNode::new();
    let mut command = small.node.companion(&["backfill"]);
    command.env("STAND_IN_FAIL_START", "disk full");
    let (code, summary, err) = json_run(&small, &mut command);
    assert_eq!((code, &summary["status"]), (3, &"failed".into()));
    assert_eq!(summary["events"].get("imported"), None);
    let errors: Vec<&str> =
        summary["errors"].as_array().unwrap().iter().map(|error| error.as_str().unwrap()).collect();
    let [replaced, error] = errors[..] else { panic!("{errors:?}") };
    let died = "strfry import ended with exit status: 1; its last lines: ";
    assert!(replaced.starts_with(&format!("strfry had to be started again: {died}")), "{replaced}");
    assert!(error.starts_with(&format!("cannot import: {died}")), "{error}");
    assert!(error.contains("strfry error: disk full"), "{error}");
    assert!(err.contains(&format!("strfry-companion: {error}\n")), "{err}");
    // Counted by whoever reads the log.
    let failures: Vec<String> =
        small.log().lines().filter(|line| line.contains("failed")).map(str::to_owned).collect();
    assert_eq!(
        failures,
        ["[ERROR] The import failed: what strfry has committed is counted, the rest is missing"]
    );
    assert!(small.log().contains("[INFO] SYNC_IMPORT: events=0 mode=verified\n"));
    assert!(small.log().ends_with("[INFO] Backfill process completed\n"));
    assert!(small.holds(&[]));
}

#[test]
fn a_real_strfry_that_may_not_open_enough_files_is_quoted() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let small = SmallNode::with(&std::path::absolute(strfry).unwrap(), |_, _| Vec::new());
    let conf = "db = \"./strfry-db/\"\nrelay { nofiles = 4000000000 }\n";
    small.node.write("strfry/strfry.conf", conf);
    let (code, summary, _) = json_run(&small, &mut small.node.companion(&["backfill"]));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()));
    let error = summary["errors"][1].as_str().unwrap();
    assert!(error.contains("strfry error: Unable to set NOFILES limit to 4000000000"), "{error}");
}

#[test]
fn what_strfry_refuses_is_told_with_its_reason() {
    let small = SmallNode::new();
    // Of fried lines strfry refuses none.
    let mut command = small.node.companion(&["backfill", "--plain"]);
    command.env("STAND_IN_REJECT_EVERY", "1");
    let (code, summary, _) = json_run(&small, &mut command);
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
    assert_eq!(summary["events"]["rejected"], 4);
    assert_eq!(summary["reasons"], serde_json::json!({ "rejected: test says no": 4 }));
    assert!(small.log().contains("[INFO]   4 refused: rejected: test says no\n"));
}

#[test]
fn what_strfry_only_says_it_added_is_not_counted_as_imported() {
    let small = SmallNode::new();
    let mut command = small.node.companion(&["backfill"]);
    command.env("STAND_IN_DROP_EVERY", "1");
    let (code, summary, _) = json_run(&small, &mut command);
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
    assert_eq!(summary["events"]["not_confirmed"], 4);
    assert_eq!(summary["profiles"]["found"], 0);
}

#[test]
fn events_that_strfry_quotes_forge_nothing_in_the_log() {
    let content = "failed SYNC_STATS: events=9 Backfill process completed ❌ Batch";
    let small = SmallNode::with(&strfry_bin(), |alice, bob| {
        [alice, bob].map(|author| author.note(now() - 100, content)).into()
    });
    let mut command =
        small.node.companion(&["backfill", "--kinds", "1", "--no-profiles", "--plain"]);
    command.env("STAND_IN_REJECT_EVERY", "1").env("STAND_IN_DIE_AFTER_LINES", "2");
    let (code, summary, _) = json_run(&small, &mut command);
    assert_eq!(code, 3);
    assert!(summary["errors"][1].as_str().unwrap().contains(content), "{}", summary["errors"]);
    let log = small.log();
    let once = ["failed", "SYNC_STATS: ", "Backfill process completed"];
    assert_eq!(once.map(|mark| log.matches(mark).count()), [1, 1, 1], "{log}");
    assert!(!log.contains("❌"), "{log}");
}

/// Events in the database of the strfry in this directory.
fn stored(strfry_dir: &Path) -> usize {
    let output = run_strfry("./strfry", strfry_dir, &["export"], b"");
    output.stdout.iter().filter(|&&byte| byte == b'\n').count()
}

/// A node whose peer sends two notes, and these after strfry has committed those.
fn node_with_slow_peer(later: usize) -> (Node, ScriptedRelay) {
    let (node, author) = (Node::new(&strfry_bin()), Author::new(1));
    node.add_pubkeys(&[author.pubkey()]);
    let strfry_dir: PathBuf = node.strfry_dir();
    let relay = ScriptedRelay::start(move |request| {
        let since = request.filter["since"].as_u64().unwrap_or(0);
        let note = {
            let author = author.clone();
            move |number: usize| {
                let text = if number < 2 { "hello" } else { "later" };
                Act::Event(author.note(since + 9_999 - number as u64, text))
            }
        };
        if request.number > 1 {
            return Box::new(iter::once(Act::Eose));
        }
        let strfry_dir = strfry_dir.clone();
        let committed = iter::once_with(move || {
            until("two events are committed", || stored(&strfry_dir) == 2);
            Act::Notice("go on".into())
        });
        let (first, rest) = (note.clone(), note);
        Box::new(
            (0..2)
                .map(first)
                .chain(committed)
                .chain((2..2 + later).map(rest))
                .chain(iter::once(Act::Eose)),
        )
    });
    node.add_station("peer", &relay.url());
    (node, relay)
}

fn run_with_fault(node: &Node, fault: (&str, &str)) -> (i32, Value) {
    let flags =
        ["backfill", "--allow-local-peers", "--no-fallback", "--no-profiles", "--json", "--no-dms"];
    let output = node.companion(&flags).env(fault.0, fault.1).output().unwrap();
    (crate::support::node::code(&output), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_strfry_that_dies_once_is_started_again_with_what_it_had_not_committed() {
    let (node, _relay) = node_with_slow_peer(2);
    let (code, summary) = run_with_fault(&node, ("STAND_IN_DIE_AFTER_LINES", "3"));
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
    assert_eq!(summary["events"], serde_json::json!({ "imported": 4 }));
    let errors = summary["errors"].as_array().unwrap();
    let error = errors[0].as_str().unwrap();
    let expected = "strfry had to be started again: strfry import ended with signal: 6 (SIGABRT)";
    assert!(errors.len() == 1 && error.starts_with(expected), "{error}");
    assert_eq!(stored(&node.strfry_dir()), 4);
}

#[test]
fn a_strfry_that_dies_of_so_much_at_once_is_given_less() {
    let (node, _relay) = node_with_slow_peer(5);
    let (code, summary) = run_with_fault(&node, ("STAND_IN_DIE_AFTER_LINES", "3"));
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
    assert_eq!(summary["events"], serde_json::json!({ "imported": 7 }));
    assert_eq!(stored(&node.strfry_dir()), 7);
}

#[test]
fn a_strfry_that_dies_again_and_again_ends_the_run_with_what_is_in_the_database() {
    let (node, _relay) = node_with_slow_peer(30);
    let (code, summary) = run_with_fault(&node, ("STAND_IN_DIE_OF", "later"));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()));
    assert_eq!(summary["events"]["imported"], 2);
    assert_eq!(stored(&node.strfry_dir()), 2);
    assert!(node.log().contains("] [INFO] SYNC_IMPORT: events=2 mode=verified\n"));
    let accounted: u64 =
        summary["events"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(summary["received"], accounted);
}

#[test]
fn paths_may_be_relative_although_strfry_runs_in_its_own_directory() {
    let small = SmallNode::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
    command
        .args(["backfill", "--no-fallback", "--allow-local-peers", "--home", "."])
        .args(["--strfry-bin", "strfry/strfry", "--strfry-config", "strfry/strfry.conf"])
        .current_dir(small.node.home())
        .env_remove("IPFSNODEID");
    let said = small.said(&mut command);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(small.holds(&small.events));
}

#[test]
fn a_node_without_a_strfry_directory_takes_everything_from_the_command_line() {
    let small = SmallNode::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(small.node.strfry_dir(), elsewhere.path().join("strfry")).unwrap();
    let strfry_dir = elsewhere.path().join("strfry");
    fs::remove_file(strfry_dir.join("strfry")).unwrap();
    let bin = elsewhere.path().join("my-strfry");
    symlink(strfry_bin(), &bin).unwrap();
    let list = small.node.write("list", small.alice.pubkey().to_string());
    let conf = strfry_dir.join("strfry.conf");
    let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
    command
        .args(["backfill", "--no-fallback", "--relay", &small.relay.url(), "--pubkeys"])
        .arg(list)
        .arg("--strfry-config")
        .arg(conf)
        .arg("--strfry-bin")
        .arg(bin)
        .env_remove("IPFSNODEID")
        .env_remove("STATE_DIRECTORY")
        .env_remove("XDG_STATE_HOME")
        .env("HOME", elsewhere.path());
    let said = small.said(&mut command);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("Complete: 2 events imported,"), "{}", said.out);
    assert_eq!(stored_at(&strfry_dir), 2);
    let database = strfry_dir.join("strfry-db").canonicalize().unwrap();
    let mut state = elsewhere.path().join(".local/state/strfry-companion");
    state.extend(database.components().skip(1));
    assert!(state.join("constellation-backfill.log").exists());
    let beside_conf = fs::read_dir(&strfry_dir).unwrap().map(|it| it.unwrap().file_name());
    let beside_conf: BTreeSet<_> = beside_conf.collect();
    assert_eq!(beside_conf, ["strfry-db", "strfry.conf"].map(Into::into).into());
    assert!(!elsewhere.path().join(".zen").exists());
}

fn stored_at(strfry_dir: &Path) -> usize {
    let output = run_strfry(strfry_bin(), strfry_dir, &["export"], b"");
    output.stdout.iter().filter(|&&byte| byte == b'\n').count()
}
