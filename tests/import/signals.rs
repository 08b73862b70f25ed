//! Told to end, once or twice, in whatever state: the program ends within ten seconds, and its
//! summary says what strfry has committed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};
use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::stubs::{assert_true, notes, stub};
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::{feed, full_pipe, heed_signals, strfry_bin};
use crate::{lines, told, with_each_strfry};

/// From the first signal to the end.
const LONGEST: Duration = Duration::from_secs(10);
/// From the second, on a busy machine.
const LONGEST_AFTER_SECOND: Duration = Duration::from_secs(5);

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Tells a run to end, so often, and waits for that.
fn end(child: Child, times: u32) -> std::process::Output {
    let started = Instant::now();
    for time in 0..times {
        if time > 0 {
            // Two signals at once are one to the kernel.
            thread::sleep(Duration::from_millis(200));
        }
        signal(&child, Signal::TERM);
    }
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    println!("{times} signals: ended after {took:?}");
    assert!(took < if times > 1 { LONGEST_AFTER_SECOND } else { LONGEST }, "{took:?}");
    output
}

/// An import of these events from a file, with a stub in strfry's place.
fn start(node: &Node, script: &str, events: &[String]) -> Child {
    let stub = stub(node, script);
    let input = node.write("input.jsonl", lines(events));
    let flags = ["import", "--json", "--strfry-bin", stub.to_str().unwrap()];
    let mut command = node.companion(&flags);
    command.arg(input).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// With the patience of 60 s, so that nothing else ends them. Each says `here` once it is there.
const HELD: [(&str, &str, u64); 7] = [
    ("takes nothing and talks", "while :; do sleep 0.01; echo working >&2; done", 1_000),
    ("takes nothing", "exec sleep 1000", 3),
    ("waits for more than a pipe takes", "exec sleep 1000", 1_000),
    ("takes everything and commits nothing", "cat >/dev/null; exec sleep 1000", 1_000),
    ("ignores SIGTERM", "trap '' TERM; while :; do sleep 0.1; done", 1_000),
    ("has left something running that holds it", "sleep 1000 & trap '' TERM; wait; wait", 1_000),
    ("is not the process that was started", "cat >/dev/null; sleep 1000; exit 0", 1_000),
];

#[test]
fn no_state_of_strfry_holds_an_import_that_is_told_to_end() {
    heed_signals();
    thread::scope(|scope| {
        for (what, script, events) in HELD {
            for times in [1, 2] {
                scope.spawn(move || {
                    let node = Node::new(&strfry_bin());
                    let here = node.home().join("here");
                    let script = format!("touch '{}'\n{script}", here.display());
                    let child = start(&node, &script, &notes(events));
                    until("strfry is there", || here.exists());
                    thread::sleep(Duration::from_millis(300));
                    let (code, summary) = told(&end(child, times));
                    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()), "{what}");
                    assert_true(&node, &summary);
                    let errors = summary["errors"].to_string();
                    assert!(errors.contains("because this run was told to stop"), "{errors}");
                    assert!(summary["events"]["not_confirmed"].as_u64() > Some(0), "{what}");
                    assert_eq!(processes_of(node.home()), [""; 0], "{what}");
                });
            }
        }
    });
}

#[test]
fn what_was_committed_before_a_signal_is_told() {
    let stopped = |strfry: &Path, times: u32| {
        let node = Node::new(strfry);
        // A part is committed, the rest never taken.
        let script = "head -c 50000 | \"$strfry\" \"$@\"; exec sleep 1000";
        let child = start(&node, script, &notes(1_000));
        until("a part is committed", || !node.events().is_empty());
        let (code, summary) = told(&end(child, times));
        assert_eq!(code, 1, "{summary:#}");
        assert!(summary["events"]["imported"].as_u64() > Some(0), "{summary:#}");
        assert_true(&node, &summary);
        assert_eq!(processes_of(node.home()), [""; 0]);
    };
    heed_signals();
    with_each_strfry(|strfry| [1, 2].into_iter().for_each(|times| stopped(strfry, times)));
}

#[test]
fn an_import_that_waits_for_room_ends_when_it_is_told_to() {
    heed_signals();
    let node = Node::new(&strfry_bin());
    let author = Author::new(1);
    let text = "x".repeat(30_000);
    // More than `limits::FIRST_BYTES`, of which none is ever committed.
    let events: Vec<String> = (0..700).map(|second| author.note(second, &text)).collect();
    let here = node.home().join("here");
    let script = format!("head -c 14000000 >/dev/null; touch '{}'; cat >/dev/null", here.display());
    let child = start(&node, &script, &events);
    until("strfry has read a lot", || here.exists());
    let (code, summary) = told(&end(child, 1));
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()), "{summary:#}");
    assert_true(&node, &summary);
}

#[test]
fn a_strfry_that_is_quick_enough_gets_everything_in_time_after_a_signal() {
    heed_signals();
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let here = node.home().join("here");
        let script = format!("touch '{}'; sleep 1; exec \"$strfry\" \"$@\"", here.display());
        let child = start(&node, &script, &notes(300));
        until("strfry is there", || here.exists());
        let (_, summary) = told(&end(child, 1));
        assert_eq!(summary["events"], json!({ "imported": 300 }), "{summary:#}");
    });
}

#[test]
fn an_output_that_nobody_reads_holds_no_import_that_is_told_to_end() {
    heed_signals();
    for (of_stdout, times) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        let node = Node::new(&strfry_bin());
        let (reader, full) = full_pipe();
        let input = node.write("input.jsonl", lines(&notes(300)));
        let whole = zstd::encode_all(&lines(&notes(2_000))[..], 0).unwrap();
        let cut = node.write("cut.zst", &whole[..whole.len() / 2]);
        let mut command: Command = node.companion(&["import", "--json"]);
        // What is said of this one goes to standard error.
        command.arg(input).arg(cut).stdin(Stdio::null());
        match of_stdout {
            true => command.stdout(full).stderr(Stdio::piped()),
            false => command.stdout(Stdio::piped()).stderr(full),
        };
        let child = command.spawn().unwrap();
        drop(command);
        until("all is imported", || {
            node.events().len() >= 300 && processes_of(node.home()).len() == 1
        });
        let output = end(child, times);
        drop(reader);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        if !of_stdout {
            let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_true(&node, &summary);
        }
    }
}

#[test]
fn trouble_before_a_signal_is_told_with_it() {
    heed_signals();
    let node = Node::new(&strfry_bin());
    let whole = zstd::encode_all(&lines(&notes(2_000))[..], 0).unwrap();
    let cut = node.write("cut.zst", &whole[..whole.len() / 2]);
    let mut command = node.companion(&["import", "--json"]);
    command.arg(&cut).arg("-").stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&lines(&[Author::new(2).note(9_999_999, "after it")])).unwrap();
    until("the second input is read", || {
        node.events().iter().any(|event| event.contains("9999999"))
    });
    let (code, summary) = told(&end(child, 1));
    drop(stdin);
    assert_eq!(code, 1);
    let [cut_short, stopped] = &summary["errors"].as_array().unwrap()[..] else {
        panic!("{summary:#}")
    };
    let expected = format!("cannot read {} to its end: ", cut.display());
    assert!(cut_short.as_str().unwrap().starts_with(&expected), "{cut_short}");
    assert_eq!(stopped, "stopped by a signal before the end of the input");
}

#[test]
fn a_pipe_that_nobody_opens_for_writing_holds_no_import_that_is_told_to_end() {
    heed_signals();
    let node = Node::new(&strfry_bin());
    let fifo = node.home().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = node.companion(&["import", "--json"]);
    command.arg(&fifo).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    until("it is started", || processes_of(node.home()).len() == 1);
    thread::sleep(Duration::from_millis(200));
    drop(end(child, 1));
    assert!(node.events().is_empty());
}

#[test]
fn an_input_that_expands_without_end_holds_no_import_that_is_told_to_end() {
    heed_signals();
    let node = Node::new(&strfry_bin());
    // One line of many gigabytes.
    let mut bomb = Vec::new();
    let mut encoder = zstd::Encoder::new(&mut bomb, 1).unwrap();
    io::copy(&mut io::repeat(b'x').take(2 << 30), &mut encoder).unwrap();
    encoder.finish().unwrap();
    let bomb: Vec<u8> = std::iter::repeat_n(bomb, 50).flatten().collect();
    let bomb = node.write("bomb.zst", bomb);
    let mut command = node.companion(&["import", "--json"]);
    command.arg(&bomb).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    let (code, summary) = told(&end(child, 1));
    assert_eq!(code, 1, "{summary:#}");
}

#[test]
fn a_stopped_terminal_holds_no_import_that_is_told_to_end() {
    heed_signals();
    for times in [1, 2] {
        let node = Node::new(&strfry_bin());
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let shown = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        // As Ctrl-S does: whoever writes to it waits, such as what draws the progress.
        tcflow(&shown, Action::OOff).unwrap();
        let mut command = node.companion(&["import", "--json"]);
        command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(shown);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut stdin = child.stdin.take().unwrap();
        // No more than a pipe takes: after the first part nothing is read any more.
        stdin.write_all(&lines(&notes(100))).unwrap();
        until("it is imported", || node.events().len() == 100);
        let output = end(child, times);
        drop(stdin);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        until("strfry is gone", || processes_of(node.home()).is_empty());
    }
}

#[test]
fn how_strfry_ended_is_known_also_if_a_parent_ignores_the_end_of_its_children() {
    // Other shells do not pass it on.
    if Command::new("bash").arg("--version").output().is_err() {
        return println!("skipped: this machine has no bash");
    }
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let shell = format!(
            "trap '' CHLD; exec {} import --json --home {}",
            env!("CARGO_BIN_EXE_strfry-companion"),
            node.home().display()
        );
        let mut command = Command::new("bash");
        command.args(["-c", &shell]).env_remove("IPFSNODEID").env("HOME", node.home());
        let (code, summary) = told(&feed(&mut command, &lines(&notes(3))));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 3 })), "{summary:#}");
    });
}
