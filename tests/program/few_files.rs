//! The program where it may open few files, write short ones only, or start few threads: it says
//! so, and neither panics nor hangs nor is killed.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::small_node::SmallNode;
use crate::support::node::Node;

/// Runs a command that may have this many files open at once (`-n`), standard ones included, or
/// write so many blocks to a file (`-f`).
fn with_limit(node: &Node, of: &str, limit: u32, arguments: &[&str]) -> Output {
    let companion = node.companion(arguments);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {of} {limit} && exec \"$0\" \"$@\""));
    command.arg(companion.get_program()).args(companion.get_args());
    for (name, value) in companion.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_command_with_few_files_says_what_it_could_not_open() {
    let small = SmallNode::new();
    small.node.import(&small.events[..1]);
    let file = small.node.write("events.jsonl", small.events.join("\n"));
    let file = file.to_str().unwrap();
    let rejects = small.node.home().join("rejects");
    let rejects = rejects.to_str().unwrap();
    let commands = [
        &["backfill", "--allow-local-peers", "--no-fallback", "--csv"][..],
        &["backfill", "--allow-local-peers", "--no-fallback", "--dry-run", "--json"],
        &["profiles"],
        &["peers", "--probe", "--allow-local-peers"],
        &["diff", "--allow-local-peers"],
        &["stats"],
        &["scan", "{}"],
        &["export"],
        &["verify"],
        &["import", file, "--rejects", rejects],
        &["pubkeys"],
        &["bench", "scan", "{}", "--runs", "1"],
    ];
    for command in commands {
        // With fewer than four the program itself cannot be loaded.
        let mut codes = Vec::new();
        for limit in (4..=18).chain((20..=48).step_by(4)) {
            let output = with_limit(&small.node, "-n", limit, command);
            let err = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code();
            assert!(code.is_some_and(|code| code <= 3), "{limit} {command:?}: {code:?} {err}");
            assert!(
                !err.contains("bug at") && !err.contains("panicked"),
                "{limit} {command:?}: {err}"
            );
            // What was not done is said, by its code and in words.
            assert!(code == Some(0) || !err.is_empty(), "{limit} {command:?}: {code:?}");
            codes.push(code.unwrap());
        }
        println!("{command:?}: {codes:?}");
        assert!(codes.first() >= Some(&2), "{command:?}: {codes:?}");
    }
    let said = small.backfill(&[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(small.holds(&small.events));
}

/// A command whose user may have so many threads, and which is killed if it hangs. The limit is none
/// for root, who becomes a user that has nothing else, so that the number is exact.
fn with_threads(node: &Node, limit: u32, arguments: &[&str]) -> Command {
    let companion = node.companion(arguments);
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60", "prlimit"]).arg(format!("--nproc={limit}:{limit}"));
    if rustix::process::geteuid().is_root() {
        let user = OTHER_USER.to_string();
        let owned = Command::new("chown").args(["-R", &user]).arg(node.home()).status().unwrap();
        assert!(owned.success());
        let become_it = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
        command.args(become_it);
    }
    command.arg(companion.get_program()).args(companion.get_args());
    command.env_remove("IPFSNODEID").env("HOME", node.home()).stdin(Stdio::null());
    command
}

/// A user whom no machine has.
const OTHER_USER: u32 = 1_234_567;

#[test]
fn every_command_with_few_threads_says_so_and_neither_hangs_nor_panics() {
    let small = SmallNode::new();
    small.node.import(&small.events[..1]);
    let file = small.node.write("events.jsonl", small.events.join("\n"));
    let file = file.to_str().unwrap();
    let commands = [
        &["backfill", "--allow-local-peers", "--no-fallback"][..],
        &["diff", "--allow-local-peers"],
        &["peers", "--probe", "--allow-local-peers"],
        &["import", file],
        &["verify"],
        &["verify", file],
        &["scan", "{}", "--count"],
    ];
    // Whoever is not root has other processes too.
    let is_exact = rustix::process::geteuid().is_root();
    let limits: &[u32] = if is_exact { &[1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 32] } else { &[1] };
    for command in commands {
        let mut codes = Vec::new();
        for &limit in limits {
            let output = with_threads(&small.node, limit, command).output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            let code = output.status.code();
            assert!(code.is_some_and(|code| code <= 3), "{limit} {command:?}: {code:?} {err}");
            assert!(
                !err.contains("bug at") && !err.contains("panicked"),
                "{limit} {command:?}: {err}"
            );
            if code == Some(3) {
                assert!(err.contains("(ulimit -u"), "{limit} {command:?}: {err}");
            }
            codes.push(code.unwrap());
        }
        println!("{command:?}: {codes:?}");
        let needs_none = command[0] == "scan";
        assert!(codes[0] == if needs_none { 0 } else { 3 }, "{command:?}: {codes:?}");
        if is_exact {
            let output = with_threads(&small.node, 1_000, command).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        }
    }
    // What there was room for a moment ago is gone.
    let mut command = with_threads(&small.node, 50, &["verify", file]);
    let output = command.env("RAYON_NUM_THREADS", "1000").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), err.contains("bug at")), (Some(3), false), "{err}");
    assert!(err.contains("(ulimit -u)"), "{err}");
}

#[test]
fn log_lines_beyond_the_longest_file_that_may_be_written_are_counted() {
    let small = SmallNode::new();
    let command = ["backfill", "--allow-local-peers", "--no-fallback", "--dry-run", "--json"];
    let output = with_limit(&small.node, "-f", 1, &command);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["status"], &summary["received"]), (&json!("incomplete"), &json!(6)));
    let [error] = summary["errors"].as_array().unwrap().as_slice() else { panic!("{summary}") };
    let error = error.as_str().unwrap();
    assert!(error.contains(" log lines are lost: cannot write "), "{error}");
    assert!(error.ends_with("File too large (os error 27); check the disk"), "{error}");
}
