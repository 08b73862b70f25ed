//! The command `import`, as the real program on a throw-away node, with strfry or its stand-in.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod deadly;
mod golden;
mod inputs;
mod interrupted;
mod killed;
mod large;
mod newest;
mod refused;
mod signals;
mod stubs;
mod waiting;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::node::{Node, code};
use support::{NO_STRFRY, feed, real_strfry, strfry_bin};

/// Runs with the stand-in, and with the strfry that `STRFRY_BIN` names.
fn with_each_strfry(test: impl Fn(&Path)) {
    test(&strfry_bin());
    match real_strfry() {
        Some(strfry) => test(&std::path::absolute(strfry).unwrap()),
        None => println!("{NO_STRFRY}"),
    }
}

/// Imports this input to the end; returns the exit code and the summary, in which every event must
/// be accounted for.
fn import(node: &Node, arguments: &[&str], input: &[u8]) -> (i32, Value) {
    let mut command = node.companion(&[&["import", "--json"], arguments].concat());
    told(&feed(&mut command, input))
}

/// Exit code and summary of an import.
fn told(output: &Output) -> (i32, Value) {
    let summary = serde_json::from_slice(&output.stdout);
    let summary: Value = summary.unwrap_or_else(|_| panic!("no summary: {output:?}"));
    let counts = summary["events"].as_object().unwrap().values();
    let accounted: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(summary["received"], accounted, "events without a class: {summary:#}");
    (code(output), summary)
}

/// JSON lines of these events.
fn lines(events: &[String]) -> Vec<u8> {
    events.iter().flat_map(|event| [event.as_bytes(), b"\n"].concat()).collect()
}

/// The directory of a node's database.
fn database(node: &Node) -> PathBuf {
    node.strfry_dir().join("strfry-db")
}
