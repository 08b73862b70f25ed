//! PID namespaces: strfry in one container and this program in another can have the same PID, by
//! which LMDB tells processes apart. Whoever comes second, both must go on.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::said::companion;
use crate::slots::slots;
use crate::support::running_relay::RunningRelay;
use crate::support::{NO_STRFRY, fixture_text, real_strfry, run_strfry, strfry_node};
use crate::wait::until;

/// A new PID namespace, in which the program is process 1.
const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// The real strfry, if there is one and namespaces can be made here.
fn strfry_and_namespaces() -> Option<PathBuf> {
    let Some(strfry) = real_strfry() else {
        println!("{NO_STRFRY}");
        return None;
    };
    let made = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").output();
    if made.is_ok_and(|made| made.status.success()) {
        return Some(strfry);
    }
    println!("skipped: no PID namespace can be made here");
    None
}

/// A node with events, and a strfry in it that runs in a PID namespace of its own, in which its
/// PID is this one.
fn node(strfry: &Path, pid: u32) -> (TempDir, PathBuf) {
    let node = strfry_node();
    let lines = fixture_text("events.jsonl");
    let imported = run_strfry(strfry, node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success());
    let script = node.path().join("strfry-in-a-namespace");
    let strfry = strfry.display();
    // What is started last in the namespace has the PID behind the one that is set.
    let start = match pid {
        1 => format!("exec {strfry} \"$@\""),
        pid => format!(
            "echo {} > /proc/sys/kernel/ns_last_pid; {strfry} \"$@\" & test $! = {pid} || exit 9; wait",
            pid - 1
        ),
    };
    let unshare = UNSHARE.join(" ");
    let text = format!("#!/bin/sh\nexec {unshare} sh -c '{start}' strfry \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (node, script)
}

fn database(node: &TempDir) -> PathBuf {
    node.path().join("strfry-db")
}

/// The program in a PID namespace of its own, in which it is process 1.
fn companion_as_process_1(arguments: &[&str], node: &TempDir) -> Command {
    let mut command = Command::new(UNSHARE[0]);
    command.args(&UNSHARE[1..]).arg(env!("CARGO_BIN_EXE_strfry-companion"));
    command.args(arguments).arg("--db").arg(database(node)).env("HOME", "/nonexistent");
    command
}

/// How many events the relay gives to a client.
fn answer(relay: &RunningRelay) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut socket, _) = connect_async(relay.url()).await.unwrap();
        socket.send(Message::text(r#"["REQ","all",{"limit":500}]"#)).await.unwrap();
        let mut events = 0;
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            match serde_json::from_str::<Value>(&text).unwrap()[0].as_str() {
                Some("EVENT") => events += 1,
                Some("EOSE") => break,
                _ => {}
            }
        }
        events
    })
}

const EVENTS: &str = "604\n";

/// A scan of one moment of the database that waits for somebody to read its output.
struct Scan(Child);

impl Scan {
    fn start(mut command: Command, node: &TempDir) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("it has a slot", || !slots(&database(node)).is_empty());
        Self(child)
    }

    fn lines(mut self) -> usize {
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let out = self.0.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        text.lines().count()
    }
}

#[test]
fn beside_a_strfry_that_has_the_same_pid_everything_is_read() {
    let Some(strfry) = strfry_and_namespaces() else { return };
    let (node, strfry) = node(&strfry, 1);
    let mut relay = RunningRelay::start(&strfry, node.path());
    assert_eq!(answer(&relay), 500);
    for _ in 0..3 {
        let out = companion_as_process_1(&["scan", "--count", "{}"], &node).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), EVENTS, "{out:?}");
    }
    let scan = companion_as_process_1(&["scan", "--one-snapshot", "{}"], &node);
    assert_eq!(Scan::start(scan, &node).lines(), 604);
    assert_eq!(answer(&relay), 500);
    assert!(relay.is_running());
}

#[test]
fn a_strfry_that_comes_later_and_has_the_same_pid_answers_its_clients() {
    let Some(strfry) = strfry_and_namespaces() else { return };
    let (node, strfry) = node(&strfry, 1);
    let scan = companion_as_process_1(&["scan", "--one-snapshot", "{}"], &node);
    let scan = Scan::start(scan, &node);
    let mut relay = RunningRelay::start(&strfry, node.path());
    assert_eq!(answer(&relay), 500);
    // Several readers of this program with the same PID do not keep each other out.
    let out = companion_as_process_1(&["scan", "--count", "{}"], &node).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), EVENTS, "{out:?}");
    assert_eq!(scan.lines(), 604);
    assert_eq!(answer(&relay), 500);
    assert!(relay.is_running());
}

/// In a container that has run for long, strfry can have a PID as large as any.
#[test]
fn a_strfry_in_a_container_that_gets_the_pid_of_a_reader_on_the_host_answers_its_clients() {
    let Some(strfry) = strfry_and_namespaces() else { return };
    let (first, _) = node(&strfry, 1);
    let mut scan = companion(&["scan", "--one-snapshot", "{}", "--db"]);
    scan.arg(database(&first));
    let scan = Scan::start(scan, &first);
    let pid = scan.0.id();
    let (second, in_a_namespace) = node(&strfry, pid);
    // The same database, by another node's configuration.
    fs::remove_dir_all(database(&second)).unwrap();
    std::os::unix::fs::symlink(database(&first), database(&second)).unwrap();
    let mut relay = RunningRelay::start(&in_a_namespace, second.path());
    assert_eq!(answer(&relay), 500);
    assert_eq!(scan.lines(), 604);
    assert_eq!(answer(&relay), 500);
    assert!(relay.is_running());
}

#[test]
fn no_slot_bears_the_number_of_a_process() {
    let Some(strfry) = strfry_and_namespaces() else { return };
    let (node, _) = node(&strfry, 1);
    let scan = companion_as_process_1(&["scan", "--one-snapshot", "{}"], &node);
    let scan = Scan::start(scan, &node);
    // Linux, `PID_MAX_LIMIT`: the largest number of a process.
    let taken = slots(&database(&node));
    assert!(taken.iter().all(|&number| number > 4_194_304), "{taken:?}");
    assert_eq!(scan.lines(), 604);
    assert_eq!(slots(&database(&node)), [0; 0]);
}
