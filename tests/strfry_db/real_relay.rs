//! Beside the relay of the strfry that `STRFRY_BIN` names, started before us and after us.

use std::path::Path;

use strfry_companion::strfry_db::StrfryDb;
use tempfile::TempDir;

use crate::support::running_relay::RunningRelay;
use crate::support::{NO_STRFRY, fixture_text, real_strfry, run_strfry, strfry_node};

fn import(strfry: &Path, node: &TempDir, lines: &str) {
    let imported = run_strfry(strfry, node.path(), &["import"], lines.as_bytes());
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// Lines that the relay's own clean-up leaves alone, and the rest.
fn halves() -> (String, String) {
    let text = fixture_text("events.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect();
    (join(first), join(second))
}

#[test]
fn a_relay_that_runs_already_is_read_while_it_and_an_import_write() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let node = strfry_node();
    let (first, second) = halves();
    import(&strfry, &node, &first);
    let mut relay = RunningRelay::start(&strfry, node.path());
    let db = StrfryDb::open(node.path().join("strfry-db")).unwrap();
    let before = db.stats().unwrap().events;
    import(&strfry, &node, &second);
    let after = db.stats().unwrap().events;
    assert!(0 < before && before < after, "{before} events, then {after}");
    assert!(relay.is_running());
}

#[test]
fn a_relay_and_an_import_start_while_the_database_is_open_here() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let node = strfry_node();
    let (first, second) = halves();
    import(&strfry, &node, &first);
    let db = StrfryDb::open(node.path().join("strfry-db")).unwrap();
    let snapshot = db.snapshot().unwrap();
    let mut relay = RunningRelay::start(&strfry, node.path());
    let before = db.stats().unwrap().events;
    import(&strfry, &node, &second);
    drop(snapshot);
    assert!(db.stats().unwrap().events > before);
    assert!(relay.is_running());
}
