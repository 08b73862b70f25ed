//! An import with a strfry that dies, hangs or is slow, on a disk that is full, or that is told to
//! stop itself: nothing is reported that is not there, and a repeated run completes the work.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::{feed, heed_signals, strfry_bin};
use crate::{import, lines, told, with_each_strfry};

/// A strfry that a shell starts after doing this.
fn strfry_after(node: &Node, commands: &str) -> PathBuf {
    let strfry = fs::canonicalize(node.strfry_dir().join("strfry")).unwrap();
    let script = format!("#!/bin/sh\n{commands}\nexec '{}' \"$@\"\n", strfry.display());
    let path = node.write("strfry-wrapped", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn notes(count: u64, text: &str) -> Vec<String> {
    let author = Author::new(1);
    (0..count).map(|second| author.note(second, text)).collect()
}

/// What the summary says is imported is in the database, and no more.
fn assert_true(node: &Node, summary: &Value, before: usize) {
    let imported = summary["events"].get("imported").map_or(0, |count| count.as_u64().unwrap());
    assert_eq!(node.events().len() as u64, before as u64 + imported, "{summary:#}");
}

#[test]
fn a_strfry_that_dies_is_replaced_once_and_a_second_death_is_told_with_its_last_lines() {
    let node = Node::new(&strfry_bin());
    let events = notes(600, "hello");
    let mut command = node.companion(&["import", "--json"]);
    command.env("STAND_IN_DIE_AFTER_LINES", "1");
    let (code, summary) = told(&feed(&mut command, &lines(&events)));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()));
    assert_true(&node, &summary, 0);
    let errors = summary["errors"].as_array().unwrap();
    let died = "strfry import ended with signal: 6 (SIGABRT)";
    let start = |error: &Value| error.as_str().unwrap().to_owned();
    assert!(start(&errors[0]).starts_with(&format!("strfry had to be started again: {died}")));
    assert!(start(&errors[1]).starts_with(&format!("cannot import: {died}")), "{errors:?}");
    let before = node.events().len();
    let (code, summary) = import(&node, &[], &lines(&events));
    assert_eq!(code, 0);
    assert_true(&node, &summary, before);
    assert_eq!(node.events().len(), 600);
}

#[test]
fn a_strfry_that_hangs_gets_its_end_of_input_and_patience_and_is_not_left_behind() {
    let node = Node::new(&strfry_bin());
    // More than a pipe holds.
    let events = notes(1_000, "hello");
    let mut command = node.companion(&["import", "--json", "--strfry-timeout", "1"]);
    command.env("STAND_IN_HANG_AFTER_LINES", "3");
    let (code, summary) = told(&feed(&mut command, &lines(&events)));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()));
    let error = summary["errors"][1].as_str().unwrap();
    assert!(error.contains("strfry import did nothing for 1 s and was ended"), "{error}");
    assert_true(&node, &summary, 0);
    assert_eq!(processes_of(node.home()), [""; 0]);
    let (code, _) = import(&node, &[], &lines(&events));
    assert_eq!((code, node.events().len()), (0, 1_000));
}

#[test]
fn a_strfry_that_starts_slowly_is_waited_for() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let slow = strfry_after(&node, "sleep 2");
        let flags = ["--strfry-bin", slow.to_str().unwrap(), "--strfry-timeout", "20"];
        let (code, summary) = import(&node, &flags, &lines(&notes(300, "hello")));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 300 })));
    });
}

#[test]
fn a_full_disk_ends_the_import_with_what_is_there_and_with_room_it_is_completed() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        // A file may not become larger than 2 MiB, in units of 512 bytes.
        let full = strfry_after(&node, "trap '' XFSZ\nulimit -f 4096");
        let events = notes(500, &"x".repeat(20_000));
        let flags = ["--strfry-bin", full.to_str().unwrap()];
        let (code, summary) = import(&node, &flags, &lines(&events));
        assert_eq!((code, &summary["status"]), (3, &"failed".into()), "{summary:#}");
        assert_true(&node, &summary, 0);
        let before = node.events().len();
        assert!(before < 500);
        let (code, summary) = import(&node, &[], &lines(&events));
        assert_eq!(code, 0);
        assert_true(&node, &summary, before);
        assert_eq!(node.events().len(), 500);
    });
}

#[test]
fn an_import_that_is_told_to_stop_imports_what_it_has_read_and_ends_soon() {
    let stopped = |strfry: &Path, signal: Signal| {
        let node = Node::new(strfry);
        let mut command = node.companion(&["import", "--json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&lines(&notes(300, "hello"))).unwrap();
        // Standard input stays open: the import waits for more.
        let deadline = Instant::now() + Duration::from_secs(30);
        while node.events().len() < 300 {
            assert!(Instant::now() < deadline, "the events do not arrive");
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let (code, summary) = told(&child.wait_with_output().unwrap());
        drop(stdin);
        assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
        assert_eq!(summary["events"], json!({ "imported": 300 }));
        assert_eq!(summary["errors"], json!(["stopped by a signal before the end of the input"]));
        assert_eq!(processes_of(node.home()), [""; 0]);
    };
    heed_signals();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        stopped(&strfry_bin(), signal);
    }
    with_each_strfry(|strfry| stopped(strfry, Signal::TERM));
}

#[test]
fn an_import_that_is_to_ignore_a_hang_up_goes_on() {
    let node = Node::new(&strfry_bin());
    let import = node.companion(&["import", "--json"]);
    let mut command = Command::new("nohup");
    command.arg(import.get_program()).args(import.get_args());
    for (name, value) in import.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let all = notes(400, "hello");
    for (given, signal) in [(&all[..300], true), (&all[300..], false)] {
        let before = node.events().len();
        stdin.write_all(&lines(given)).unwrap();
        while node.events().len() < before + given.len() {
            assert!(Instant::now() < deadline, "the events do not arrive");
        }
        if signal {
            kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
        }
    }
    drop(stdin);
    let (code, summary) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 400 })));
}
