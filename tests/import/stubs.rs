//! An import with something in strfry's place that does not do as strfry does: it takes nothing, or
//! half, says what is not so, never ends, or leaves something running. None of them holds a run,
//! and what the summary says of the events is what the database holds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::killed::processes_of;
use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::strfry_bin;
use crate::{import, lines, with_each_strfry};

/// A shell script in strfry's place, which knows the real one as `$strfry`.
pub fn stub(node: &Node, script: &str) -> PathBuf {
    let strfry = fs::canonicalize(node.strfry_dir().join("strfry")).unwrap();
    let script = format!("#!/bin/sh\nstrfry='{}'\n{script}\n", strfry.display());
    let path = node.write("strfry-stub", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub fn notes(count: u64) -> Vec<String> {
    let author = Author::new(1);
    (0..count).map(|second| author.note(second, &"hello ".repeat(20))).collect()
}

/// What the summary says is imported is in the database, and no more.
pub fn assert_true(node: &Node, summary: &Value) {
    let imported = summary["events"].get("imported").map_or(0, |count| count.as_u64().unwrap());
    assert_eq!(node.events().len() as u64, imported, "{summary:#}");
}

/// How an import with a stub ended.
struct Ended {
    node: Node,
    code: i32,
    summary: Value,
    took: Duration,
}

impl Ended {
    /// With a patience of one second.
    fn with(strfry: &Path, script: &str, events: u64) -> Self {
        Self::within("1", strfry, script, events)
    }

    fn within(patience: &str, strfry: &Path, script: &str, events: u64) -> Self {
        let node = Node::new(strfry);
        let stub = stub(&node, script);
        let flags = ["--strfry-timeout", patience, "--strfry-bin", stub.to_str().unwrap()];
        let started = Instant::now();
        let (code, summary) = import(&node, &flags, &lines(&notes(events)));
        let took = started.elapsed();
        assert_true(&node, &summary);
        println!("{script:?}: exit code {code} after {took:?}: {summary:#}");
        Self { node, code, summary, took }
    }

    fn errors(&self) -> Vec<&str> {
        let errors = self.summary["errors"].as_array().unwrap();
        errors.iter().map(|error| error.as_str().unwrap()).collect()
    }

    fn assert_failed_with(&self, words: &str) {
        assert_eq!((self.code, &self.summary["status"]), (3, &"failed".into()));
        let [replaced, error] = self.errors()[..] else { panic!("{:?}", self.errors()) };
        let expected = format!("strfry had to be started again: {words}");
        assert!(replaced.starts_with(&expected), "{replaced}");
        assert!(error.starts_with(&format!("cannot import: {words}")), "{error}");
        assert_eq!(processes_of(self.node.home()), [""; 0]);
    }
}

const NOTHING_READ: &str = "; it has read nothing at all: whatever starts it must pass standard \
    input on to it (such as docker with -i)";

/// As many as a pipe takes without anybody reading it, and more.
const FEW_AND_MANY: [u64; 2] = [3, 1_000];

#[test]
fn one_that_takes_nothing_is_given_up_whatever_it_says() {
    let scripts = [
        "while :; do sleep 0.01; echo working >&2; done",
        "yes 'Writer: added: 1 dups: 0 replaced: 0 deleted: 0' >&2",
        "exec sleep 1000",
        "exec 0<&-; exec sleep 1000",
        "trap '' TERM; while :; do sleep 0.1; done",
    ];
    thread::scope(|scope| {
        for script in scripts {
            scope.spawn(move || {
                for events in FEW_AND_MANY {
                    let ended = Ended::with(&strfry_bin(), script, events);
                    let hung =
                        format!("strfry import did nothing for 1 s and was ended{NOTHING_READ}");
                    ended.assert_failed_with(&hung);
                    let not_confirmed = &ended.summary["events"]["not_confirmed"];
                    assert!(not_confirmed.as_u64() > Some(0), "{:#}", ended.summary);
                    // Two of them, each with patience, that for the end of its input, and force.
                    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
                }
            });
        }
    });
}

#[test]
fn one_that_takes_byte_by_byte_is_given_up() {
    thread::scope(|scope| {
        for events in [3, 1_000, 3_000] {
            scope.spawn(move || {
                let script = "while :; do dd bs=1 count=1 2>/dev/null; sleep 0.2; done >/dev/null";
                let ended = Ended::with(&strfry_bin(), script, events);
                ended.assert_failed_with("strfry import did nothing for 1 s and was ended");
                // Two of them, each with patience, that for the end of its input, and force.
                assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
            });
        }
    });
}

#[test]
fn one_whose_standard_input_is_not_passed_on_is_told_with_what_it_said_and_the_likely_cause() {
    with_each_strfry(|strfry| {
        for events in FEW_AND_MANY {
            let ended = Ended::with(strfry, "exec \"$strfry\" \"$@\" </dev/null", events);
            ended.assert_failed_with(
                "strfry import ended with exit status: 0 before the end of its input, and left ",
            );
            let error = ended.errors()[1];
            assert!(error.contains(&format!(" bytes of it unread{NOTHING_READ}")), "{error}");
            assert!(error.contains("Done. Processed 0 lines. 0 added"), "{error}");
        }
    });
    for script in ["exit 0", "sleep 0.2"] {
        for events in FEW_AND_MANY {
            let ended = Ended::with(&strfry_bin(), script, events);
            ended.assert_failed_with(
                "strfry import ended with exit status: 0 before the end of its input, and left ",
            );
            assert!(ended.errors()[1].ends_with(" and wrote nothing to its log"));
        }
    }
}

#[test]
fn one_that_takes_half_and_ends_well_is_told_and_what_it_has_committed_counts() {
    with_each_strfry(|strfry| {
        let ended = Ended::with(strfry, "head -c 20000 | \"$strfry\" \"$@\"", 1_000);
        ended.assert_failed_with(
            "strfry import ended with exit status: 0 before the end of its input, and left ",
        );
        let imported = ended.summary["events"]["imported"].as_u64().unwrap();
        assert!((20..1_000).contains(&imported), "{imported}");
        assert!(!ended.errors()[1].contains(NOTHING_READ));
    });
}

#[test]
fn one_that_says_committed_and_never_exits_is_ended_and_nothing_counts_as_imported() {
    let said = "Committed 5. Processed 5 lines. 5 added, 0 rejected, 0 dups";
    let script = format!("cat >/dev/null; echo '{said}' >&2; exec sleep 1000");
    let ended = Ended::with(&strfry_bin(), &script, 5);
    ended.assert_failed_with("strfry import did nothing for 1 s and was ended; its last lines: ");
    assert_eq!(ended.summary["events"], json!({ "not_confirmed": 5 }));
}

#[test]
fn one_that_commits_everything_and_never_exits_is_ended_and_everything_counts() {
    with_each_strfry(|strfry| {
        let ended = Ended::with(strfry, "\"$strfry\" \"$@\"; exec sleep 1000", 300);
        assert_eq!((ended.code, &ended.summary["events"]), (1, &json!({ "imported": 300 })));
        let [error] = ended.errors()[..] else { panic!("{:?}", ended.errors()) };
        assert!(error.starts_with("strfry import did nothing for 1 s and was ended; "), "{error}");
        assert_eq!(processes_of(ended.node.home()), [""; 0]);
    });
}

#[test]
fn one_that_commits_slowly_is_waited_for_as_long_as_it_commits() {
    // Each line is committed by itself, all together take several times the patience.
    let script = "while IFS= read -r line; do sleep 0.4; printf '%s\\n' \"$line\" | \"$strfry\" \
        \"$@\" 2>/dev/null; done";
    let ended = Ended::with(&strfry_bin(), script, 8);
    assert_eq!((ended.code, &ended.summary["events"]), (0, &json!({ "imported": 8 })));
    assert!(ended.took > Duration::from_secs(3), "{:?}", ended.took);
}

#[test]
fn a_second_one_that_commits_slowly_gets_everything_that_the_first_did_not_commit() {
    let node = Node::new(&strfry_bin());
    let starts = node.home().join("starts");
    let script = format!(
        "echo >> '{starts}'
        if test $(wc -l < '{starts}') = 1; then cat >/dev/null; exit 5; fi
        while IFS= read -r line; do sleep 0.4; printf '%s\\n' \"$line\" | \"$strfry\" \"$@\" \
        2>/dev/null; done",
        starts = starts.display()
    );
    let stub = stub(&node, &script);
    let author = Author::new(1);
    // Much more than a pipe takes.
    let text = "x".repeat(30_000);
    let events: Vec<String> = (0..12).map(|second| author.note(second, &text)).collect();
    let flags = ["--strfry-timeout", "1", "--strfry-bin", stub.to_str().unwrap()];
    let (code, summary) = import(&node, &flags, &lines(&events));
    assert_eq!((code, &summary["events"]), (1, &json!({ "imported": 12 })), "{summary:#}");
    assert_true(&node, &summary);
    assert_eq!(fs::read(starts).unwrap(), b"\n\n", "it was started more than twice");
}

#[test]
fn what_it_leaves_running_holds_nobody_up() {
    with_each_strfry(|strfry| {
        let ended = Ended::with(strfry, "sleep 30 & exec \"$strfry\" \"$@\"", 300);
        assert_eq!((ended.code, &ended.summary["events"]), (0, &json!({ "imported": 300 })));
        assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    });
}

#[test]
fn one_that_goes_on_in_the_background_is_waited_for() {
    with_each_strfry(|strfry| {
        let script = "exec 3<&0; (sleep 0.5; exec \"$strfry\" \"$@\" <&3) & exit 0";
        let ended = Ended::with(strfry, script, 1_000);
        assert_eq!((ended.code, &ended.summary["events"]), (0, &json!({ "imported": 1_000 })));
    });
}

#[test]
fn whatever_is_written_to_its_log_disturbs_nothing() {
    let hugest = u64::MAX;
    let scripts = [
        "head -c 100000000 /dev/zero >&2".to_owned(),
        format!("for n in 1 2 3; do echo 'x| Writer: added: {hugest} dups: {hugest}' >&2; done"),
        format!("echo 'x| Done. Processed {hugest}9 lines. {hugest} added, 0 dups' >&2"),
        "printf 'Rejected event\\nRejected event \\nRejected event: \\nRejected event u: \\n' >&2"
            .to_owned(),
        "exec 2>&-".to_owned(),
    ];
    for script in scripts {
        let script = format!("{script}\nexec \"$strfry\" \"$@\"");
        let ended = Ended::within("30", &strfry_bin(), &script, 300);
        assert_eq!((ended.code, &ended.summary["events"]), (0, &json!({ "imported": 300 })));
    }
}

#[test]
fn what_it_says_cannot_command_the_terminal() {
    let node = Node::new(&strfry_bin());
    let stub =
        stub(&node, "printf 'a\\033[2J\\007\\000\\302\\2331m\\342\\200\\256b\\n' >&2; exit 7");
    for flags in [&["--json"][..], &[]] {
        let mut command = node.companion(&["import", "--strfry-bin", stub.to_str().unwrap()]);
        let output = crate::support::feed(command.args(flags), &lines(&notes(3)));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        let quoted = text.replace(r"\\", r"\");
        assert!(quoted.contains(r"a\u{1b}[2J\u{7}\u{0}\u{9b}1m\u{202e}b"), "{text}");
        let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_raw), "{text:?}");
    }
}

/// A strfry that uses a configuration and a database of its own.
fn elsewhere(node: &Node) -> String {
    let other = node.home().join("elsewhere");
    fs::create_dir_all(other.join("strfry-db")).unwrap();
    fs::copy(node.strfry_dir().join("strfry.conf"), other.join("strfry.conf")).unwrap();
    format!("cd '{}'; shift 2; exec \"$strfry\" --config strfry.conf \"$@\"", other.display())
}

#[test]
fn one_that_writes_into_another_database_is_found_out() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let stub = stub(&node, &elsewhere(&node));
        let (code, summary) =
            import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&notes(30)));
        let classes = json!({ "not_confirmed": 30 });
        assert_eq!((code, &summary["events"]), (1, &classes), "{summary:#}");
        let expected = format!(
            "strfry says that it added 30 events and held 0 before, and the database at {} holds \
             none of them: it writes into another database; check `db` in {}, and which \
             configuration and directory {} uses",
            node.strfry_dir().join("strfry-db").display(),
            node.strfry_dir().join("strfry.conf").display(),
            stub.display()
        );
        assert_eq!(summary["errors"], json!([expected]));
    });
}

#[test]
fn no_more_than_a_first_part_is_written_into_another_database() {
    let node = Node::new(&strfry_bin());
    let stub = stub(&node, &elsewhere(&node));
    let author = Author::new(1);
    let text = "x".repeat(30_000);
    // 30 MB, more than `limits::FIRST_BYTES`.
    let events: Vec<String> = (0..1_000).map(|second| author.note(second, &text)).collect();
    let (code, summary) = import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&events));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()), "{summary:#}");
    assert!(summary["events"]["not_confirmed"].as_u64() < Some(700), "{summary:#}");
    let error = summary["errors"][0].as_str().unwrap();
    assert!(error.starts_with("cannot import: strfry says that it added "), "{error}");
}

#[test]
fn one_that_swallows_events_without_a_word_is_told() {
    let ended = Ended::with(&strfry_bin(), "cat >/dev/null", 30);
    assert_eq!((ended.code, &ended.summary["events"]), (1, &json!({ "not_confirmed": 30 })));
    let expected = format!(
        "30 events that strfry was given are not in the database at {}, and it does not say why \
         and wrote nothing to its log",
        ended.node.strfry_dir().join("strfry-db").display()
    );
    assert_eq!(ended.errors(), [expected]);
}

/// The first one takes nearly half a second for 2,000 events, and does not get all of them.
#[test]
fn a_strfry_whose_commits_are_dear_gives_way_to_one_that_waits_for_more_events() {
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let given = |time: &str| node.home().join(format!("given-{time}"));
        let script = format!(
            "get=cat time=2000; [ -e '{0}' ] || get='sed 3,12d' time=100 late='sleep 0.4'
             case \"$*\" in *--debounce-millis=$time*) ;; *) exit 1;; esac
             $get | tee '{1}'$time | \"$strfry\" \"$@\" 2>&1 |
             {{ read -r line; echo \"$line\" >&2; $late; cat >&2; }}",
            given("100").display(),
            given("").display(),
        );
        let stub = stub(&node, &script);
        let events = notes(6_000);
        let (code, summary) =
            import(&node, &["--strfry-bin", stub.to_str().unwrap()], &lines(&events));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 6_000 })), "{summary:#}");
        assert_eq!((&summary["errors"], &summary["notices"]), (&json!([]), &json!([])));
        assert_true(&node, &summary);
        let lines_given = |time| fs::read_to_string(given(time)).unwrap().lines().count();
        assert_eq!(["100", "2000"].map(lines_given), [1_990, 4_010]);
    });
}
