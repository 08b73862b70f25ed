//! The faults that tests can order from the stand-in.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::running_relay::OWN_CONFIG;
use crate::support::{feed, fixture_text, messages, run_strfry, strfry_bin, strfry_node};

fn import(node: &TempDir, fault: (&str, &str), flags: &[&str], lines: usize) -> Output {
    let input: Vec<_> =
        fixture_text("events.jsonl").lines().take(lines).map(String::from).collect();
    let mut command = Command::new(strfry_bin());
    command.arg("import").args(flags).current_dir(node.path()).envs(OWN_CONFIG);
    command.env(fault.0, fault.1);
    feed(&mut command, (input.join("\n") + "\n").as_bytes())
}

fn stored(node: &TempDir) -> usize {
    run_strfry(strfry_bin(), node.path(), &["export"], b"").stdout.split(|b| *b == b'\n').count()
        - 1
}

#[test]
fn it_dies_without_committing_what_is_pending() {
    let node = strfry_node();
    let flags = ["--write-batch=4", "--debounce-millis=600000"];
    let died = import(&node, ("STAND_IN_DIE_AFTER_LINES", "10"), &flags, 12);
    assert_eq!(died.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()));
    assert_eq!(stored(&node), 8);
}

#[test]
fn it_hangs_until_it_is_killed() {
    let node = strfry_node();
    let mut child = Command::new(strfry_bin())
        .args(["import", "--no-verify"])
        .current_dir(node.path())
        .envs(OWN_CONFIG)
        .env("STAND_IN_HANG_AFTER_LINES", "1")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // More than it reads ahead and a pipe holds: whoever writes it waits.
    let line = format!("{}\n", "x".repeat(60_000));
    let mut stdin = child.stdin.take().unwrap();
    let writer =
        std::thread::spawn(move || (0..1_000).try_for_each(|_| stdin.write_all(line.as_bytes())));
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
    let error = writer.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn it_fails_to_start_with_the_words_it_is_given() {
    let node = strfry_node();
    let failed = import(&node, ("STAND_IN_FAIL_START", "disk full"), &[], 1);
    assert_eq!(failed.status.code(), Some(1));
    assert!(messages(&failed).contains(&"strfry error: disk full".into()));
}

#[test]
fn it_rejects_every_nth_event() {
    let node = strfry_node();
    let rejected = import(&node, ("STAND_IN_REJECT_EVERY", "3"), &["--show-rejected"], 9);
    let log = messages(&rejected);
    assert_eq!(log.iter().filter(|line| line.ends_with("reason: test says no")).count(), 3);
    assert!(log.contains(&"Done. Processed 9 lines. 6 added, 3 rejected, 0 dups".into()));
    assert_eq!(stored(&node), 6);
}

#[test]
fn it_drops_every_nth_event_and_says_that_it_added_it() {
    let node = strfry_node();
    let dropped = import(&node, ("STAND_IN_DROP_EVERY", "3"), &[], 9);
    let done = "Done. Processed 9 lines. 9 added, 0 rejected, 0 dups".to_owned();
    assert!(messages(&dropped).contains(&done));
    assert_eq!(stored(&node), 6);
}
