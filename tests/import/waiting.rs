//! More events than strfry may hold uncommitted while somebody waits for its commits: the others
//! wait, and are given in the order of their time.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::large::start;
use crate::stubs::stub;
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::strfry_bin;
use crate::{import, lines, told, with_each_strfry};

/// As many as strfry is given before its first commit ([`strfry_companion::import`]), and more.
const FIRST: usize = 4_000;
const EVENTS: usize = 6_000;

/// Each older than the one before.
fn notes() -> Vec<String> {
    let author = Author::new(1);
    (0..EVENTS as u64).rev().map(|second| author.note(second, "")).collect()
}

/// Beside somebody who waits for commits.
fn import_considerately(node: &Node, stub: &Path, events: &[String]) -> (i32, Value) {
    let flags = ["--max-commit-time", "1s", "--strfry-bin", stub.to_str().unwrap()];
    import(node, &flags, &lines(events))
}

/// A strfry that begins a second after it has the first: by then all others wait. What it is given
/// is in the file `given`.
fn late(node: &Node) -> String {
    let given = node.home().join("given");
    format!(
        "head -n {FIRST} >'{0}.first'; sleep 1; cat '{0}.first' - | tee '{0}' | \"$strfry\" \"$@\"",
        given.display()
    )
}

#[test]
fn those_that_wait_for_a_commit_are_given_in_the_order_of_their_time() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let stub = stub(&node, &late(&node));
        let (code, summary) = import_considerately(&node, &stub, &notes());
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": EVENTS })), "{summary:#}");
        assert_eq!(node.events().len(), EVENTS);
        let lines = fs::read_to_string(node.home().join("given")).unwrap();
        let time = |line: &str| serde_json::from_str::<Value>(line).unwrap()["created_at"].as_u64();
        let times: Vec<Option<u64>> = lines.lines().map(time).collect();
        let times_back =
            |times: &[Option<u64>]| times.windows(2).filter(|it| it[0] > it[1]).count();
        assert_eq!(times.len(), EVENTS);
        // The first are given as they come; the others have all come when the first are committed,
        // or some after.
        assert_eq!(times_back(&times[..FIRST]), FIRST - 1);
        assert!(times_back(&times[FIRST..]) < 50, "{}", times_back(&times[FIRST..]));
    });
}

#[test]
fn those_that_wait_are_given_also_while_no_more_come() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let stub = stub(&node, &late(&node));
        let flags = ["--max-commit-time", "1s", "--strfry-bin", stub.to_str().unwrap()];
        let mut child = start(&node, &flags);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&lines(&notes())).unwrap();
        while node.events().len() < EVENTS {
            assert!(child.try_wait().unwrap().is_none());
        }
        drop(stdin);
        let (code, summary) = told(&child.wait_with_output().unwrap());
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": EVENTS })), "{summary:#}");
    });
}

#[test]
fn a_strfry_that_dies_while_others_wait_is_replaced_and_all_arrive() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let dead = node.home().join("dead");
        let script = format!(
            "[ -e '{0}' ] || {{ head -n {FIRST} >/dev/null; touch '{0}'; kill -KILL $$; }}\n\
             exec \"$strfry\" \"$@\"",
            dead.display()
        );
        let stub = stub(&node, &script);
        let (code, summary) = import_considerately(&node, &stub, &notes());
        assert_eq!((code, &summary["events"]), (1, &json!({ "imported": EVENTS })), "{summary:#}");
        assert_eq!(node.events().len(), EVENTS);
        assert_eq!(processes_of(node.home()), [""; 0]);
    });
}

#[test]
fn after_the_end_of_an_import_those_that_waited_are_counted_as_not_given() {
    let node = Node::new(&strfry_bin());
    let stub = stub(&node, &format!("head -n {FIRST} >/dev/null; kill -KILL $$"));
    let (code, summary) = import_considerately(&node, &stub, &notes());
    assert_eq!((code, &summary["status"]), (3, &"failed".into()), "{summary:#}");
    let expected = json!({ "dropped": EVENTS - FIRST, "not_confirmed": FIRST });
    assert_eq!(summary["events"], expected, "{summary:#}");
}
