//! `bench`: what it measures, what it compares, and what it says it could not.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::said::Said;
use crate::small_node::SmallNode;
use crate::support::node::{Node, code};
use crate::support::screen::Screen;
use crate::support::{fixture, fixture_text, heed_signals, real_strfry, strfry_bin};
use crate::wait::until;

fn node(strfry: &Path) -> Node {
    let node = Node::new(strfry);
    node.import(&fixture_text("events.jsonl").lines().map(str::to_owned).collect::<Vec<_>>());
    node
}

fn bench(node: &Node, arguments: &[&str]) -> Command {
    node.companion(&[&["bench", "--runs", "2"], arguments].concat())
}

/// Exit code and report.
fn reported(node: &Node, arguments: &[&str]) -> (i32, Value) {
    let output = bench(node, arguments).arg("--json").output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    (code(&output), report.unwrap_or_else(|_| panic!("no report: {output:?}")))
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|way| way[field].as_str().unwrap().to_owned()).collect()
}

fn has_jq() -> bool {
    Command::new("jq").arg("--version").output().is_ok()
}

#[test]
fn profiles_are_asked_for_in_every_way_and_all_agree() {
    let strfries = [Some(strfry_bin()), real_strfry()];
    for strfry in strfries.into_iter().flatten() {
        let node = node(&strfry);
        let authors = fixture("authors.txt");
        let (code, report) =
            reported(&node, &["--pubkeys", authors.to_str().unwrap(), "--sample", "3"]);
        assert_eq!((code, &report["wrong"]), (0, &Value::Array(vec![])), "{report:#}");
        let each = "strfry scan | jq for each pubkey".to_owned();
        let mut ways: Vec<String> =
            ["one strfry scan for all", "this program", "its lookups alone"].map(Into::into).into();
        let mut not_run = Vec::new();
        if has_jq() {
            ways.insert(0, each)
        } else {
            not_run.push(each)
        }
        assert_eq!(names(&report["ways"], "way"), ways);
        assert_eq!(names(&report["not_run"], "way"), not_run);
        assert_eq!(report["answers"], "the same: 21 of 28 have one");
    }
}

#[test]
fn scans_are_compared_byte_for_byte_and_signatures_by_threads() {
    let node = node(&strfry_bin());
    let (code, report) = reported(&node, &["scan", r#"{"kinds":[1]}"#]);
    assert_eq!((code, names(&report["ways"], "way").len()), (0, 4), "{report:#}");
    assert_eq!(report["answers"], "the same 187 events, byte for byte");

    let (code, report) = reported(&node, &["verify", "--events", "100"]);
    assert_eq!(code, 0, "{report:#}");
    let threads = std::thread::available_parallelism().unwrap().get();
    assert_eq!(names(&report["ways"], "way").len(), threads);
    assert_eq!(report["bench"], "id and signature of 100 events");
}

#[test]
fn an_answer_that_differs_fails_the_bench() {
    let node = node(&strfry_bin());
    let authors = fixture("authors.txt");
    // It finds nothing at all, and succeeds.
    let finds_nothing = ["--strfry-bin", "/bin/true"];
    for arguments in [&["--pubkeys", authors.to_str().unwrap()][..], &["scan", "{}"]] {
        let (code, report) = reported(&node, &[arguments, &finds_nothing].concat());
        assert_eq!(code, 1, "{report:#}");
        assert!(!report["wrong"].as_array().unwrap().is_empty());
    }
    let said = Said::by(bench(&node, &["scan", "{}"]).args(finds_nothing), node.home());
    assert_eq!(said.code, 1);
    assert!(said.out.contains("\nWRONG: strfry scan: 0 lines, ours 604, or others\n"), "{said:?}");
}

#[test]
fn what_cannot_be_run_is_named_and_what_fails_ends_the_bench() {
    let node = node(&strfry_bin());
    std::fs::remove_file(node.strfry_dir().join("strfry")).unwrap();
    let (code, report) = reported(&node, &["scan", "{}"]);
    assert_eq!((code, names(&report["ways"], "way").len()), (0, 2), "{report:#}");
    let reason = format!("no strfry at {}", node.strfry_dir().join("strfry").display());
    assert_eq!(names(&report["not_run"], "reason"), [reason.clone(), reason]);
    assert_eq!(report["answers"], "604 events, compared with nothing");

    let failing =
        Said::by(bench(&node, &["scan", "{}"]).args(["--strfry-bin", "/bin/false"]), node.home());
    assert_eq!((failing.code, failing.out.as_str()), (3, ""));
    assert!(failing.err.contains("cannot wait for /bin/false: it ended with"), "{failing:?}");
    for (arguments, words) in [
        (&["scan"][..], "FILTER"),
        (&["verify", "{}"], "only bench scan takes a filter"),
        (&["scan", "{\"kind\":1}"], "kind"),
        (&["scan", "{}", "--strfry-bin", "/nonexistent"], "no strfry at /nonexistent"),
        (&["profiles", "--pubkeys", "/dev/null"], "no pubkeys"),
    ] {
        let said = Said::by(&mut bench(&node, arguments), node.home());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.contains(words), "{arguments:?}: {said:?}");
    }
}

#[test]
fn another_database_than_strfrys_is_not_compared_with_it() {
    let node = node(&strfry_bin());
    let other = crate::support::golden_database("strfry-1.0.4");
    let (code, report) =
        reported(&node, &["scan", "{\"limit\":1}", "--db", other.path().to_str().unwrap()]);
    assert_eq!((code, names(&report["ways"], "way").len()), (0, 2), "{report:#}");
    assert!(names(&report["not_run"], "reason")[0].starts_with("strfry would read "));
}

/// A script that looks like the old one and imports this event.
fn script_that_imports(event: &str) -> String {
    format!(
        "#!/bin/bash\n# constellation-backfill.log\ndiscover_constellation_peers() {{\n:\n}}\nmain() {{\n\
         cd ~/.zen/strfry && ./strfry import --no-verify <<'END'\n{event}\nEND\n}}\nmain \"$@\"\n"
    )
}

/// Whether python3 has what the script needs.
fn has_websockets() -> bool {
    Command::new("python3")
        .args(["-c", "import websockets"])
        .output()
        .is_ok_and(|it| it.status.success())
}

#[test]
fn the_script_and_this_program_backfill_a_copy_each_and_the_node_stays_as_it_was() {
    let small = SmallNode::new();
    let node = &small.node;
    small.node.import(&small.events[..1]);
    let note = small.alice.note(crate::small_node::now() - 50, "only the script has this");
    let script = node.write("old/backfill_constellation.sh", script_that_imports(&note));
    node.write("old/nostr_websocket_backfill.py", "");
    let work = tempfile::tempdir().unwrap();
    let way =
        ["backfill", "--allow-local-peers", "--script", script.to_str().unwrap(), "--work-dir"];
    let mut command = bench(node, &[&way[..], &[work.path().to_str().unwrap()]].concat());
    command.arg("--json");
    if !has_jq() || !has_websockets() {
        let said = small.said(&mut command);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(said.err.contains("the script needs "), "{said:?}");
        return;
    }
    let output = command.output().unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let mut found: Value = serde_json::from_slice(&output.stdout).unwrap();
    for way in found["ways"].as_array_mut().unwrap() {
        for measured in ["seconds", "memory_bytes"] {
            let value = way.as_object_mut().unwrap().remove(measured).unwrap();
            assert!(value.as_f64().unwrap() > 0.0, "{measured}");
        }
    }
    let remark = format!(
        "{} has no Astroport.ONE/tools/nostr_hex_to_profile.sh, without which the script looks for no \
         profiles",
        node.home().display()
    );
    assert_eq!(
        found,
        serde_json::json!({
            "version": 1, "peers": 1, "pubkeys": 2, "days": 1, "events": 1, "profiles": 1,
            "ways": [
                {
                    "way": "the script", "exit_code": 0, "events_gained": 1, "profiles": 1,
                    "missed_events": 3, "missed_profiles": 1,
                },
                {
                    "way": "this program", "exit_code": 0, "events_gained": 3, "profiles": 2,
                    "missed_events": 1, "missed_profiles": 0,
                },
            ],
            "remarks": [remark],
        })
    );
    assert!(small.holds(&small.events[..1]));
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn ctrl_c_says_that_the_copies_are_removed_and_removes_them() {
    if !has_jq() || !has_websockets() {
        return;
    }
    heed_signals();
    let small = SmallNode::new();
    small.node.import(&small.events[..1]);
    let script = format!("{}sleep 1000\n", script_that_imports("{}"));
    let script = small.node.write("old/backfill_constellation.sh", script);
    small.node.write("old/nostr_websocket_backfill.py", "");
    let work = tempfile::tempdir().unwrap();
    let way =
        ["backfill", "--allow-local-peers", "--script", script.to_str().unwrap(), "--work-dir"];
    let mut command = bench(&small.node, &[&way[..], &[work.path().to_str().unwrap()]].concat());
    let screen = Screen::start(&mut command, (120, 50));
    until("the script runs", || screen.text().contains("running "));
    screen.signal(Signal::INT);
    let (code, text) = screen.end();
    assert_eq!(code, Some(3), "{text}");
    let line = "Stopping: the program that is measured is ended, and the copies are removed";
    assert!(text.contains(line), "{text}");
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn a_backfill_that_cannot_be_compared_is_refused_with_the_reason() {
    let small = SmallNode::new();
    let known = small.node.write("old/backfill_constellation.sh", script_that_imports("{}"));
    let other = small.node.write("other.sh", "#!/bin/sh\n");
    let (known, other) = (known.to_str().unwrap(), other.to_str().unwrap());
    for (arguments, words) in [
        (&["backfill"][..], "--script <FILE>"),
        (&["backfill", "--script", "/nonexistent"], "cannot read the script /nonexistent"),
        (&["backfill", "--script", other], "is not the script that is known here"),
        // Nothing lies beside it; or a tool is missing before that.
        (&["backfill", "--script", known], "the script needs "),
    ] {
        let said = Said::by(&mut bench(&small.node, arguments), small.node.home());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.contains(words), "{arguments:?}: {said:?}");
    }
}
