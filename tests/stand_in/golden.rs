//! The stand-in against databases, exports, scans and verdicts of strfry 1.1.1. The same tests run
//! on the real strfry if there is one, so that they cannot expect what strfry does not do.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::tables::assert_same_tables;
use crate::support::{
    NO_STRFRY, fixture, fixture_json_lines, fixture_text, golden_database, messages, real_strfry,
    run_strfry, strfry_bin, strfry_node,
};

#[test]
fn importing_the_golden_events_makes_the_golden_database() {
    imports_golden(&strfry_bin());
}

#[test]
fn every_verdict_is_strfrys_with_and_without_verification() {
    judges_golden(&strfry_bin());
}

#[test]
fn every_export_is_strfrys_byte_by_byte() {
    exports_golden(&strfry_bin());
}

#[test]
fn every_scan_answers_as_strfry_did() {
    scans_golden(&strfry_bin());
}

#[test]
fn every_number_is_stored_as_strfry_did() {
    stores_numbers(&strfry_bin());
}

#[test]
fn strfry_itself_passes_the_same_tests() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    imports_golden(&strfry);
    judges_golden(&strfry);
    exports_golden(&strfry);
    scans_golden(&strfry);
    stores_numbers(&strfry);
}

fn imports_golden(strfry: &Path) {
    let node = strfry_node();
    let events = std::fs::read(fixture("events.jsonl")).unwrap();
    let imported = run_strfry(strfry, node.path(), &["import"], &events);
    assert!(imported.status.success());
    let done = "Done. Processed 677 lines. 672 added, 0 rejected, 0 dups".to_owned();
    assert!(messages(&imported).contains(&done));
    let golden = golden_database("strfry-1.1.1");
    assert_same_tables(&node.path().join("strfry-db"), golden.path());
}

fn judges_golden(strfry: &Path) {
    for case in fixture_json_lines("verdicts.jsonl") {
        let line = format!("{}\n", case["line"].as_str().unwrap());
        let modes = [("import", None), ("import_no_verify", Some("--no-verify"))];
        for (mode, flag) in modes {
            assert_eq!(verdict(strfry, flag, &line), case[mode], "{} with {mode}", case["name"]);
        }
    }
}

/// Each number in a tag of an event of its own, whose id is the number of the line.
fn stores_numbers(strfry: &Path) {
    let node = strfry_node();
    let event = |id: usize, number: &str| {
        format!(
            "{{\"content\":\"\",\"created_at\":1,\"id\":\"{id:064x}\",\"kind\":1,\"pubkey\":\"{}\",\
             \"sig\":\"{}\",\"tags\":[[\"n\",\"\",{number}]]}}",
            "0".repeat(64),
            "0".repeat(128)
        )
    };
    let numbers = fixture_json_lines("numbers_rewritten.jsonl");
    let written = |pair: &Value| pair[0].as_str().unwrap().to_owned();
    let lines: String =
        numbers.iter().enumerate().map(|(at, it)| event(at, &written(it)) + "\n").collect();
    run_strfry(strfry, node.path(), &["import", "--no-verify"], lines.as_bytes());
    let stored = export(strfry, node.path(), &[]);
    let stored: std::collections::BTreeSet<&str> = stored.lines().collect();
    let mut expected = 0;
    for (at, pair) in numbers.iter().enumerate() {
        let Some(rewritten) = pair[1].as_str() else { continue };
        expected += 1;
        assert!(stored.contains(event(at, rewritten).as_str()), "{pair}");
    }
    assert_eq!(stored.len(), expected);
}

fn verdict(strfry: &Path, flag: Option<&str>, line: &str) -> Value {
    let arguments: Vec<&str> = ["import", "--show-rejected"].into_iter().chain(flag).collect();
    let node = strfry_node();
    let imported = run_strfry(strfry, node.path(), &arguments, line.as_bytes());
    let log = messages(&imported);
    if log.iter().any(|message| message == "Unable to parse JSON on line 1") {
        return json!({ "verdict": "unparsed" });
    }
    if let Some(rejected) = log.iter().find(|message| message.starts_with("Rejected event: ")) {
        let (_, reason) = rejected.rsplit_once(" reason: ").unwrap();
        return json!({ "verdict": "rejected", "reason": reason });
    }
    let stored = export(strfry, node.path(), &[]);
    json!({ "verdict": "added", "stored": stored.trim_end() })
}

fn exports_golden(strfry: &Path) {
    for name in ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"] {
        let node = node_with(name);
        let expected = fixture_text(&format!("{name}/export.jsonl"));
        assert_eq!(export(strfry, node.path(), &[]), expected, "{name}");

        let backwards: Vec<_> = expected.lines().rev().collect();
        let exported = export(strfry, node.path(), &["--reverse"]);
        assert_eq!(exported.lines().collect::<Vec<_>>(), backwards, "{name} in reverse");

        let (first, last) =
            (&expected.lines().nth(50).unwrap(), &expected.lines().nth(90).unwrap());
        let (since, until) = (created_at(first), created_at(last));
        let between: Vec<_> =
            expected.lines().filter(|line| (since..=until).contains(&created_at(line))).collect();
        let flags = [format!("--since={since}"), format!("--until={until}")];
        let exported = export(strfry, node.path(), &[&flags[0], &flags[1]]);
        assert_eq!(exported.lines().collect::<Vec<_>>(), between, "{name} between two times");
    }
    for name in ["strfry-1.1.1", "strfry-1.0.4"] {
        let node = node_with(name);
        let expected = fixture_text(&format!("{name}/export-fried.jsonl"));
        assert_eq!(export(strfry, node.path(), &["--fried"]), expected, "{name} fried");
    }
}

fn scans_golden(strfry: &Path) {
    let node = node_with("strfry-1.1.1");
    for scan in fixture_json_lines("strfry-1.1.1/scans.jsonl") {
        let filter = scan["filter"].to_string();
        let found = run_strfry(strfry, node.path(), &["scan", &filter], b"");
        let answer = if found.status.success() {
            let ids: Vec<Value> = String::from_utf8(found.stdout)
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
                .collect();
            let counted = run_strfry(strfry, node.path(), &["scan", "--count", &filter], b"");
            let count: Value = serde_json::from_slice(&counted.stdout).unwrap();
            json!({ "filter": scan["filter"], "ids": ids, "count": count })
        } else {
            let error = messages(&found).into_iter().find(|line| line.starts_with("strfry error"));
            json!({ "filter": scan["filter"], "error": error, "exit": found.status.code() })
        };
        assert_eq!(answer, scan);
    }
}

fn node_with(golden: &str) -> TempDir {
    let (node, golden) = (strfry_node(), golden_database(golden));
    let data = golden.path().join("data.mdb");
    std::fs::copy(data, node.path().join("strfry-db/data.mdb")).unwrap();
    node
}

fn export(strfry: &Path, node: &Path, flags: &[&str]) -> String {
    let exported = run_strfry(strfry, node, &[&["export"], flags].concat(), b"");
    assert!(exported.status.success());
    String::from_utf8(exported.stdout).unwrap()
}

fn created_at(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["created_at"].as_u64().unwrap()
}
