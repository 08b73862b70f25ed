//! Slots in strfry's lock file: released however the program ends, and cleared where it could not.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use strfry_companion::strfry_db::StrfryDb;

use crate::said::companion;
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::{heed_signals, strfry_bin};
use crate::wait::until;

/// Processes in the table of readers, by the numbers that they have there.
///
/// Reads the file, which the test's own process must not have open as a database.
fn readers(database: &Path) -> Vec<u32> {
    slots(database).into_iter().map(|number| number % 10_000_000).collect()
}

/// The taken slots. LMDB 0.9, `MDB_txninfo`: the table begins at 128 (64 bit), and a reader takes
/// 64 bytes, with its process at 8; at 56 is how many of them count.
pub fn slots(database: &Path) -> Vec<u32> {
    let bytes = fs::read(database.join("lock.mdb")).unwrap();
    let process = |slot: &[u8]| u32::from_ne_bytes(slot[8..12].try_into().unwrap());
    let count = u32::from_ne_bytes(bytes[56..60].try_into().unwrap());
    let slots = bytes[128..].chunks_exact(64).take(count as usize).map(process);
    slots.filter(|&process| process != 0).collect()
}

const EVENTS: usize = 200;

/// A node with more events than fit into a pipe, or into one batch of an export.
fn node() -> Node {
    let node = Node::new(&strfry_bin());
    let author = Author::new(1).pubkey().to_string();
    let event = |number: usize| {
        json!({
            "id": format!("{number:064x}"), "pubkey": author, "created_at": 1_700_000_000 + number,
            "kind": 1, "tags": [], "content": "x".repeat(30_000), "sig": "00".repeat(64),
        })
        .to_string()
    };
    node.import(&(0..EVENTS).map(event).collect::<Vec<String>>());
    node
}

struct Reading(Child);

impl Reading {
    /// A command that has a snapshot open and waits for somebody to read its output.
    fn start(database: &Path, arguments: &[&str]) -> Self {
        let mut command = companion(arguments);
        command.arg("--db").arg(database).stdout(Stdio::piped()).stderr(Stdio::null());
        let reading = Self(command.spawn().unwrap());
        until("it has a slot", || readers(database).contains(&reading.0.id()));
        reading
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NOBODY: [u32; 0] = [];

const HOLDING: [&[&str]; 2] = [&["scan", "--one-snapshot", "{}"], &["export", "--one-snapshot"]];

fn signal_of(child: &mut Child) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap())
}

#[test]
fn a_signal_ends_a_command_and_releases_its_slot_even_while_nobody_reads_its_output() {
    heed_signals();
    let node = node();
    let database = node.strfry_dir().join("strfry-db");
    for arguments in HOLDING {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut reading = Reading::start(&database, arguments);
            reading.signal(signal);
            assert_eq!(signal_of(&mut reading.0), Some(signal.as_raw()), "{arguments:?}");
            assert_eq!(readers(&database), NOBODY, "{arguments:?} {signal:?}");
        }
    }
}

#[test]
fn a_signal_that_is_to_be_ignored_is_ignored() {
    let node = node();
    let database = node.strfry_dir().join("strfry-db");
    let program = env!("CARGO_BIN_EXE_strfry-companion");
    let mut command = Command::new("nohup");
    command.args([program, "scan", "--one-snapshot", "{}", "--db"]).arg(&database);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).env("HOME", "/nonexistent");
    let mut reading = Reading(command.spawn().unwrap());
    until("it has a slot", || readers(&database) == [reading.0.id()]);
    reading.signal(Signal::HUP);
    let mut out = String::new();
    reading.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out.lines().count(), EVENTS);
    assert!(reading.0.wait().unwrap().success());
}

#[test]
fn a_reader_that_is_gone_and_a_finished_command_leave_no_slot() {
    let node = node();
    let database = node.strfry_dir().join("strfry-db");
    for arguments in HOLDING {
        let mut reading = Reading::start(&database, arguments);
        drop(reading.0.stdout.take());
        assert!(reading.0.wait().unwrap().success());
        assert_eq!(readers(&database), NOBODY, "{arguments:?}");
    }
    for arguments in [&["stats"][..], &["verify"], &["scan", "{}"], &["scan", "--count", "{}"]] {
        companion(arguments).arg("--db").arg(&database).output().unwrap();
        assert_eq!(readers(&database), NOBODY, "{arguments:?}");
    }
}

#[test]
fn the_slot_of_a_reader_that_was_killed_is_cleared_by_the_next_one() {
    let node = node();
    let database = node.strfry_dir().join("strfry-db");
    // While nobody else has the database open, LMDB begins the whole table anew.
    let other = Reading::start(&database, HOLDING[0]);
    let mut reading = Reading::start(&database, HOLDING[0]);
    let killed = reading.0.id();
    reading.0.kill().unwrap();
    reading.0.wait().unwrap();
    assert_eq!(readers(&database), [other.0.id(), killed]);
    let living = Reading::start(&database, HOLDING[0]);
    assert_eq!(readers(&database), [other.0.id(), living.0.id()]);
    drop((other, living));
    let stats = companion(&["stats", "--db"]).arg(&database).output().unwrap();
    assert!(stats.status.success());
    assert_eq!(readers(&database), NOBODY);
}

#[test]
fn a_panic_releases_the_slot() {
    let node = node();
    let database = node.strfry_dir().join("strfry-db");
    let panicked = std::panic::catch_unwind(|| {
        let db = StrfryDb::open(&database).unwrap();
        let _snapshot = db.snapshot().unwrap();
        panic!("as a bug would");
    });
    assert!(panicked.is_err());
    assert_eq!(readers(&database), NOBODY);
}
