//! Many events at once: where they wait, what is left of that, and who is given way.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::stubs::stub;
use crate::support::events::{Author, events};
use crate::support::node::Node;
use crate::support::running_relay::RunningRelay;
use crate::support::{NO_STRFRY, real_strfry, strfry_bin};
use crate::{import, lines, told};

/// 12 MB, of which a third fits into memory.
fn large_events() -> Vec<String> {
    let (author, text) = (Author::new(1), "x".repeat(30_000));
    events(400, |second| author.note(second, &text))
}

/// Files without a name that a process has open and that were made below a directory.
fn nameless_files(process: &Child, directory: &Path) -> Vec<PathBuf> {
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|path| path.starts_with(directory) && path.to_string_lossy().ends_with("(deleted)"))
        .collect()
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

pub fn start(node: &Node, arguments: &[&str]) -> Child {
    let mut command: Command = node.companion(&[&["import", "--json"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn an_import_that_is_killed_leaves_nothing_of_the_events_that_waited() {
    let node = Node::new(&strfry_bin());
    let here = node.home().join("here");
    let script = format!("head -c 12000000 >/dev/null; touch '{}'; cat >/dev/null", here.display());
    let stub = stub(&node, &script);
    let state = node.home().join("state");
    let flags = ["--strfry-bin", stub.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let mut child = start(&node, &flags);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&lines(&large_events())).unwrap();
    while !here.exists() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    assert_eq!(nameless_files(&child, &state).len(), 1);
    assert_eq!(files_in(&state), [""; 0].map(PathBuf::from));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(files_in(&state), [""; 0].map(PathBuf::from));
}

#[test]
fn what_does_not_fit_into_memory_arrives_byte_by_byte_as_it_was() {
    for strfry in [Some(strfry_bin()), real_strfry()] {
        let Some(strfry) = strfry.map(|it| std::path::absolute(it).unwrap()) else {
            return println!("{NO_STRFRY}");
        };
        let node = Node::new(&strfry);
        let events = large_events();
        let (code, summary) = import(&node, &[], &lines(&events));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 400 })), "{summary:#}");
        assert_eq!(summary["notices"], json!([]));
        let value = |event: &String| serde_json::from_str::<Value>(event).unwrap().to_string();
        let expected: BTreeSet<String> = events.iter().map(value).collect();
        let there: BTreeSet<String> = node.events().iter().map(value).collect();
        assert!(there == expected);
    }
}

#[test]
fn where_no_file_can_be_made_an_import_is_complete_and_tells() {
    let node = Node::new(&strfry_bin());
    let file = node.write("file", "");
    let state = file.join("state");
    // It commits nothing before it has nearly as much as fits into memory.
    let taken = node.home().join("taken");
    let script =
        format!("head -c 4000000 >'{0}'; cat '{0}' - | \"$strfry\" \"$@\"", taken.display());
    let stub = stub(&node, &script);
    let flags = ["--strfry-bin", stub.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let (code, summary) = import(&node, &flags, &lines(&large_events()));
    assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 400 })), "{summary:#}");
    let notice = format!(
        "cannot keep events in a file in {} (Not a directory (os error 20)); strfry is given fewer \
         at once, which is slower",
        state.display()
    );
    assert_eq!(summary["notices"], json!([notice]));
}

#[test]
fn a_relay_that_starts_during_a_bulk_import_is_noticed_at_the_next_commit() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let strfry = std::path::absolute(strfry).unwrap();
    for flag in ["--bulk", "--plain"] {
        let node = Node::new(&strfry);
        let mut child = start(&node, &[flag]);
        let author = Author::new(1);
        let mut stdin = child.stdin.take().unwrap();
        let mut give = |seconds: std::ops::Range<u64>| {
            let notes: Vec<String> = seconds.map(|second| author.note(second, "")).collect();
            stdin.write_all(&lines(&notes)).unwrap();
        };
        let wait_for = |count: usize| {
            while node.events().len() < count {
                std::thread::yield_now();
            }
        };
        give(0..300);
        wait_for(300);
        let relay = RunningRelay::start(&strfry, &node.strfry_dir());
        give(300..600);
        wait_for(600);
        give(600..900);
        drop(stdin);
        let (code, summary) = told(&child.wait_with_output().unwrap());
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 900 })), "{summary:#}");
        let notices = summary["notices"].as_array().unwrap();
        assert_eq!(notices.len(), 1, "{summary:#}");
        let notice = notices[0].as_str().unwrap();
        assert!(notice.ends_with(
            " has opened the database since this import began: while it has it open, commits are kept \
             below 1 s, so that it can write"
        ));
        drop(relay);
        assert_eq!(processes_of(node.home()), [""; 0]);
    }
}
