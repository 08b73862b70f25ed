//! A run that is under way: its lock, a second instance, and being told to stop.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::said::Said;
use crate::small_node::{ERROR_LOG, LOCK, LOG, PROFILES, SmallNode, now};
use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::scripted::{Act, Archive, ScriptedRelay, answer};
use crate::support::{NO_STRFRY, heed_signals, real_strfry, strfry_bin};
use crate::wait::until;

/// A run that is not left behind when a test ends early.
struct Run(Option<Child>);

impl Run {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.0.as_ref().unwrap()), signal).unwrap();
    }

    fn wait(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A relay that answers the first request of each connection and then says no more.
fn relay_that_falls_silent(events: &[String]) -> ScriptedRelay {
    let archive = Archive::new(events, 500);
    ScriptedRelay::start(move |request| match request.number {
        1 => archive.answer(request),
        _ => answer([]),
    })
}

fn node_with(strfry: &Path, relay: &ScriptedRelay, author: &Author) -> Node {
    let node = Node::new(strfry);
    node.add_pubkeys(&[author.pubkey()]);
    node.add_station("silent", &relay.url());
    node
}

const FLAGS: [&str; 5] = ["--allow-local-peers", "--no-fallback", "--json", "--kinds", "0,1"];

fn start(node: &Node) -> Run {
    Run::start(&mut node.companion(&[&["backfill"], &FLAGS[..]].concat()))
}

/// Command lines of processes that name this directory, other than this test's own.
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy().into_owned();
    let command_line = |entry: std::io::Result<fs::DirEntry>| {
        let bytes = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    };
    let lines = fs::read_dir("/proc").unwrap().filter_map(command_line);
    lines.filter(|line| line.contains(&directory)).collect()
}

#[test]
fn the_lock_names_the_run_and_a_second_one_says_so_and_touches_nothing() {
    let relay = ScriptedRelay::start(|_| answer([]));
    let node = node_with(&strfry_bin(), &relay, &Author::new(1));
    node.write(ERROR_LOG, "[2026-01-01 00:00:00] [ERROR] of old\n");
    let run = start(&node);
    until("the peer has been asked", || !relay.record().requests.is_empty());
    assert_eq!(node.read(LOCK), format!("{}\n", run.pid()));

    let files = || [LOG, ERROR_LOG, LOCK].map(|file| node.read(file));
    let before = files();
    for mut second in [
        node.companion(&["backfill", "--verbose"]),
        node.script(&["--days", "1"]),
        node.companion(&["backfill", "--dry-run", "--relay", "ws://127.0.0.1:1"]),
    ] {
        assert_eq!(
            Said::by(&mut second, node.home()),
            Said {
                code: 0,
                out: format!("Another backfill is running (PID {}); nothing done.\n", run.pid()),
                err: String::new(),
            }
        );
    }
    // Where a program expects one JSON object, it finds none.
    assert_eq!(
        Said::by(&mut node.companion(&["backfill", "--json"]), node.home()),
        Said::refusal(
            0,
            format!(
                "strfry-companion: Another backfill is running (PID {}); nothing done.\n",
                run.pid()
            )
        )
    );
    assert_eq!(files(), before);
    assert_eq!(relay.record().connections, 1);

    run.signal(Signal::TERM);
    assert_eq!(code(&run.wait()), 1);
    assert_eq!(node.read(LOCK), "");
}

#[test]
fn a_lock_held_by_anything_else_is_respected_too() {
    let small = SmallNode::new();
    let lock = small.node.write(LOCK, "4711\n");
    small.node.write(LOG, "the log of 4711\n");
    let held = fs::File::open(lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(
        small.backfill(&[]),
        Said {
            code: 0,
            out: "Another backfill is running (PID 4711); nothing done.\n".to_owned(),
            err: String::new(),
        }
    );
    assert_eq!(
        (small.node.read(LOCK), small.node.read(LOG)),
        ("4711\n".to_owned(), "the log of 4711\n".to_owned())
    );
    drop(held);
    // A PID alone, left by a run that was killed, holds nobody up.
    assert_eq!(small.backfill(&[]).code, 0);
}

/// A node whose lock this test holds, with this text, for as long as the file says.
fn held_since(text: &str, ago: Duration) -> (SmallNode, fs::File) {
    let small = SmallNode::new();
    let lock = fs::File::open(small.node.write(LOCK, text)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lock.set_modified(SystemTime::now() - ago).unwrap();
    small.node.write(LOG, "the log of the other\n");
    (small, lock)
}

#[test]
fn a_lock_that_is_held_for_more_than_two_hours_is_trouble() {
    const MINUTE: Duration = Duration::from_secs(60);
    for (text, holder) in [("4194304\n", "PID 4194304"), ("", "unknown PID")] {
        let (small, lock) = held_since(text, 192 * MINUTE);
        let since = lock.metadata().unwrap().modified().unwrap();
        let since = jiff::Timestamp::try_from(since).unwrap();
        for flags in [&[][..], &["--json"], &["--dry-run"]] {
            let said = small.backfill(flags);
            let (before, after) = said.err.split_once(" since ").unwrap();
            assert_eq!((said.code, said.out.as_str()), (3, ""));
            let name = format!("\"HOME/{LOCK}\"");
            assert_eq!(
                before,
                format!("strfry-companion: another backfill ({holder}) holds the lock {name}")
            );
            let (time, rest) = after.split_at("2026-01-01 00:00:00".len());
            let told = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).unwrap();
            let told = told.to_zoned(jiff::tz::TimeZone::system()).unwrap().timestamp();
            assert!((told.as_second() - since.as_second()).abs() <= 1, "{told} {since}");
            let log = format!("HOME/{LOG}");
            assert_eq!(
                rest,
                format!(
                    ", for 3 h 12 min; nothing done: see in {log} whether it goes on, and end it \
                     if it does not\n"
                )
            );
        }
        assert_eq!(small.node.log(), "the log of the other\n");
        assert_eq!(small.node.read(LOCK), text);
        lock.set_modified(SystemTime::now() - 119 * MINUTE).unwrap();
        assert_eq!(small.backfill(&[]).code, 0);
    }
}

#[test]
fn the_age_of_a_run_is_that_of_its_process_whoever_touches_its_lock() {
    let relay = ScriptedRelay::start(|_| answer([]));
    let node = node_with(&strfry_bin(), &relay, &Author::new(1));
    let run = start(&node);
    until("the peer has been asked", || !relay.record().requests.is_empty());
    let lock = fs::File::open(node.home().join(LOCK)).unwrap();
    let day = Duration::from_secs(86_400);
    for touched in [SystemTime::now() - day, SystemTime::now() + day] {
        lock.set_modified(touched).unwrap();
        let said = Said::by(&mut node.companion(&["backfill"]), node.home());
        let out = format!("Another backfill is running (PID {}); nothing done.\n", run.pid());
        assert_eq!(said, Said { code: 0, out, err: String::new() });
    }
    // The same from the script, whose process has another name.
    run.signal(Signal::TERM);
    drop(run.wait());
    let run =
        Run::start(node.script(&["--no-fallback", "--allow-local-peers"]).stdin(Stdio::null()));
    until("the lock is held", || node.read(LOCK) == format!("{}\n", run.pid()));
    lock.set_modified(SystemTime::now() - day).unwrap();
    assert_eq!(Said::by(&mut node.companion(&["backfill"]), node.home()).code, 0);
}

fn is_imported_after(signal: Signal, strfry: &Path) {
    let author = Author::new(1);
    let events = [author.profile(now() - 300, "Alice"), author.note(now() - 200, "hello")];
    let relay = relay_that_falls_silent(&events);
    let node = node_with(strfry, &relay, &author);
    let run = start(&node);
    // To ask for the second page it must have taken the first.
    until("the second page is asked for", || relay.record().requests.len() == 2);
    run.signal(signal);
    let signalled = Instant::now();
    let output = run.wait();
    let took = signalled.elapsed();
    assert_eq!(code(&output), 1);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(node.events().len(), 2);

    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["status"], "incomplete");
    assert_eq!(summary["errors"], serde_json::json!(["stopped by a signal before the end"]));
    assert_eq!(summary["events"]["imported"], 2);
    let peer = &summary["peers"][0];
    assert_eq!(
        [&peer["status"], &peer["gaps"][0]["reason"]],
        ["incomplete", "stopped before the end"]
    );
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("strfry-companion: stopped by a signal before the end\n"), "{err}");
    let log = node.log();
    assert!(log.contains("] [INFO] SYNC_IMPORT: events=2 mode=verified\n"), "{log}");
    assert!(log.ends_with("] [INFO] Backfill process completed\n"), "{log}");
    // The peer is not to blame.
    assert!(!log.contains("failed"), "{log}");
    let profiles: Value = serde_json::from_str(&node.read(PROFILES)).unwrap();
    assert_eq!(profiles[0]["profile"]["name"], "Alice");
    assert_eq!(processes_of(node.home()), [""; 0]);
}

#[test]
fn a_run_that_is_told_to_stop_imports_what_has_come_and_ends_soon() {
    heed_signals();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        is_imported_after(signal, &strfry_bin());
    }
    match real_strfry() {
        Some(strfry) => is_imported_after(Signal::TERM, &std::path::absolute(strfry).unwrap()),
        None => println!("{NO_STRFRY}"),
    }
}

#[test]
fn a_run_that_is_told_to_stop_does_not_wait_for_an_endless_answer() {
    let author = Author::new(1);
    let first = now() - 80_000;
    let relay = {
        let author = author.clone();
        ScriptedRelay::start(move |_| {
            let author = author.clone();
            Box::new((0..).map(move |number| Act::Event(author.note(first + number, "again"))))
        })
    };
    let node = node_with(&strfry_bin(), &relay, &author);
    let run = start(&node);
    until("events are sent", || relay.record().sent > 100);
    run.signal(Signal::TERM);
    let signalled = Instant::now();
    let output = run.wait();
    assert!(signalled.elapsed() < Duration::from_secs(10));
    assert_eq!(code(&output), 1);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let classes = summary["events"].as_object().unwrap();
    let accounted: u64 = classes.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(summary["received"], accounted);
    assert_eq!(classes["imported"].as_u64(), Some(node.events().len() as u64));
    assert_eq!(processes_of(node.home()), [""; 0]);
}

#[test]
fn nobody_reading_the_summary_does_not_change_the_exit_code() {
    let relay = ScriptedRelay::start(|_| answer([Act::Closed("error: no".into())]));
    let node = node_with(&strfry_bin(), &relay, &Author::new(1));
    for flags in [&["--json"][..], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = node.companion(&["backfill", "--allow-local-peers", "--no-fallback"]);
        let status = command.args(flags).stdout(writer).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{flags:?}");
    }
}
