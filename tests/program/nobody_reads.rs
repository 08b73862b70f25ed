//! Commands whose output nobody reads, or not to its end: the exit code answers all the same.

use std::process::Stdio;

use crate::small_node::{SmallNode, now};
use crate::support::events::Author;
use crate::support::no_relays::ClosedPort;
use crate::support::strfry_bin;

/// The exit code of a command whose output goes into a pipe that nobody reads, and of one whose
/// output is read to its end.
fn codes(small: &SmallNode, arguments: &[&str]) -> [Option<i32>; 2] {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = small.node.companion(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let unread = command.stdout(writer).output().unwrap();
    let said = String::from_utf8(unread.stderr).unwrap();
    assert!(!said.contains("Broken pipe"), "{arguments:?}: {said}");
    let read = command.stdout(Stdio::piped()).output().unwrap();
    [unread.status.code(), read.status.code()]
}

#[test]
fn an_exit_code_is_the_answer_whether_the_output_is_read_or_not() {
    let small = SmallNode::with(&strfry_bin(), |_, _| Vec::new());
    small.node.import(&small.events);
    let (alice, carol) = (small.alice.pubkey().to_string(), Author::new(3).pubkey().to_string());
    let forged = small.alice.note(now(), "hello").replace("hello", "bye");
    let forged = small.node.write("forged.jsonl", format!("{forged}\n"));
    let genuine = small.node.write("genuine.jsonl", format!("{}\n", small.events[0]));
    let [forged, genuine] = [&forged, &genuine].map(|path| path.to_str().unwrap());
    let dead = ClosedPort::reserve();
    let (dead, alive) = (dead.url(), small.relay.url());
    let nobody = small.node.write("nobody", format!("{alice}\n"));
    let nobody = nobody.to_str().unwrap();
    for (expected, arguments) in [
        (1, &["profiles", "--missing", "--check", &carol][..]),
        (0, &["profiles", "--missing", "--check", &alice]),
        (1, &["profiles", "--check", &carol]),
        (1, &["profiles", "--check", "--format", "jsonl", &carol]),
        (1, &["profiles", "--check", "--format", "json", &carol]),
        (1, &["profiles", "--check", "--format", "csv", &carol]),
        (0, &["profiles", "--check", "--format", "csv", &alice]),
        (0, &["profiles", &carol]),
        (1, &["verify", forged]),
        (0, &["verify", genuine]),
        (0, &["verify"]),
        (1, &["diff", "--relay", &dead, "--pubkeys", nobody]),
        (1, &["diff", "--relay", &dead, "--pubkeys", nobody, "--json"]),
        (0, &["diff", "--relay", &alive, "--pubkeys", nobody, "--kinds", "1"]),
        (1, &["peers", "--probe", "--relay", &dead]),
        (1, &["peers", "--probe", "--relay", &dead, "--json"]),
        (0, &["peers"]),
        (1, &["import", forged]),
        (1, &["import", forged, "--json"]),
        (0, &["import", genuine]),
        (1, &["backfill", "--no-fallback", "--relay", &dead]),
        (0, &["scan", "{}"]),
        (0, &["scan", "{}", "--count"]),
        (0, &["export"]),
        (0, &["export", "--one-snapshot"]),
        (0, &["stats"]),
        (0, &["pubkeys", "--list"]),
        (0, &["backfill", "--show-hex"]),
        (3, &["profiles", "--check", "--db", "/nonexistent", &carol]),
    ] {
        assert_eq!(codes(&small, arguments), [Some(expected); 2], "{arguments:?}");
    }
}
