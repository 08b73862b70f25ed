//! Told to end while something beside the peers holds it: a strfry that takes nothing, an `ipfs`
//! that does not come back, an output that nobody reads. The run ends within ten seconds, and says
//! what is in the database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::small_node::{SmallNode, now};
use crate::support::events::Author;
use crate::support::ipfs::add_station;
use crate::support::node::{Node, code};
use crate::support::scripted::{ScriptedRelay, answer};
use crate::support::{full_pipe, heed_signals, strfry_bin};
use crate::wait::until;

/// From the first signal to the end.
const LONGEST: Duration = Duration::from_secs(10);

fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Tells a run to end, once or twice, and waits for that.
fn end(child: Child, times: u32) -> Output {
    let started = Instant::now();
    for time in 0..times {
        if time > 0 {
            // Two signals at once are one to the kernel.
            thread::sleep(Duration::from_millis(200));
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    println!("{times} signals: ended after {took:?}");
    assert!(took < LONGEST, "{took:?}");
    output
}

fn program(path: PathBuf, script: &str) -> PathBuf {
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// What the summary says of events is so.
fn assert_true(node: &Node, output: &Output) -> Value {
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = summary["events"].as_object().unwrap();
    let accounted: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(summary["received"], accounted, "{summary:#}");
    let imported = counts.get("imported").map_or(0, |count| count.as_u64().unwrap());
    assert_eq!(imported, node.events().len() as u64, "{summary:#}");
    assert!(node.log().ends_with("] [INFO] Backfill process completed\n"), "{}", node.log());
    summary
}

#[test]
fn no_state_of_strfry_holds_a_backfill() {
    heed_signals();
    for (script, times, is_many) in [
        ("while :; do sleep 0.01; echo working >&2; done", 1, false),
        ("exec sleep 1000", 2, true),
        ("cat >/dev/null; trap '' TERM; while :; do sleep 0.1; done", 1, true),
    ] {
        let small = SmallNode::with(&strfry_bin(), |alice, _| {
            let notes = if is_many { 1_500 } else { 1 };
            (0..notes).map(|number| alice.note(now() - 5_000 + number, "hello")).collect()
        });
        let here = small.node.home().join("here");
        let script = format!("touch '{}'\n{script}", here.display());
        let strfry = program(small.node.home().join("stub"), &script);
        let child = start(&mut small.node.companion(&[
            "backfill",
            "--allow-local-peers",
            "--no-fallback",
            "--json",
            "--strfry-bin",
            strfry.to_str().unwrap(),
        ]));
        until("strfry is there", || here.exists());
        let output = end(child, times);
        assert_eq!(code(&output), 1, "{output:?}");
        let summary = assert_true(&small.node, &output);
        assert_eq!(summary["status"], "incomplete");
        let errors = summary["errors"].to_string();
        assert!(errors.contains("because this run was told to stop"), "{errors}");
    }
}

#[test]
fn an_output_that_nobody_reads_holds_no_backfill() {
    heed_signals();
    let flags = ["backfill", "--allow-local-peers", "--no-fallback", "--verbose", "--json"];
    for (of_stdout, times) in [(true, 1), (false, 1), (false, 2)] {
        let small = SmallNode::new();
        let (reader, full) = full_pipe();
        let mut command = small.node.companion(&flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match of_stdout {
            true => command.stdout(full),
            false => command.stderr(full),
        };
        let child = command.spawn().unwrap();
        drop(command);
        let log = small.node.strfry_dir().join("constellation-backfill.log");
        let is_there = || match of_stdout {
            true => small.node.log().contains("Backfill process completed"),
            false => !small.node.log().is_empty(),
        };
        until("it has something to say", || log.exists() && is_there());
        let output = end(child, times);
        drop(reader);
        if of_stdout {
            assert_eq!(small.node.events().len(), 4);
        } else {
            assert_eq!(code(&output), 1, "{output:?}");
            assert_true(&small.node, &output);
        }
    }
}

/// A node with one station behind a tunnel, and an `ipfs` that does this when it is called.
fn behind_tunnel(script: &str) -> (Node, PathBuf, PathBuf) {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    add_station(&node, "12D3KooWa");
    let calls = node.home().join("calls");
    let script = format!("echo \"$*\" >> '{}'\n{script}", calls.display());
    let ipfs = program(node.home().join("ipfs"), &script);
    (node, ipfs, calls)
}

fn has_called(calls: &Path, action: &str) -> bool {
    fs::read_to_string(calls).is_ok_and(|calls| calls.contains(action))
}

#[test]
fn an_ipfs_that_does_not_come_back_holds_nothing_that_opens_tunnels() {
    heed_signals();
    let hangs_at = |action: &str| format!("case \"$2\" in {action}) exec sleep 1000;; esac");
    for command in [&["backfill", "--no-fallback"][..], &["diff"], &["peers", "--probe"]] {
        for (action, script) in [
            ("p2p forward", hangs_at("forward")),
            ("p2p forward", "exec sleep 1000".to_owned()),
            ("p2p forward", format!("{}; exit 0", hangs_at("close"))),
        ] {
            let (node, ipfs, calls) = behind_tunnel(&script);
            let ipfs = ["--json", "--ipfs-bin", ipfs.to_str().unwrap()];
            let child = start(&mut node.companion(&[command, &ipfs].concat()));
            let is_there = || has_called(&calls, action) || has_called(&calls, "p2p close");
            until("ipfs is called", is_there);
            let output = end(child, 1);
            assert_eq!(code(&output), 1, "{command:?} {script:?}: {output:?}");
            assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "{output:?}");
        }
    }
}

#[test]
fn few_open_files_make_an_error_and_no_panic() {
    let relay = ScriptedRelay::start(|_| answer([]));
    let node = Node::new(&strfry_bin());
    node.add_pubkeys([&Author::new(1).pubkey()]);
    let home = node.home().display();
    for arguments in ["backfill --no-fallback", "diff", "peers --probe"] {
        for files in 3..30 {
            let shell = format!(
                "ulimit -n {files}; exec {} {arguments} --json --relay {} --allow-local-peers --home {home}",
                env!("CARGO_BIN_EXE_strfry-companion"),
                relay.url(),
            );
            let mut command = Command::new("sh");
            command.args(["-c", &shell]).env_remove("IPFSNODEID").env("HOME", node.home());
            let mut child = start(&mut command);
            let deadline = Instant::now() + Duration::from_millis(300);
            // With enough of them it waits for the relay.
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(!err.contains("panicked"), "{arguments} {files}: {err}");
        }
    }
}
