//! What a person sees on a terminal while the program works, and what is left there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::small_node::{SmallNode, now};
use crate::support::screen::Screen;
use crate::support::scripted::{Act, ScriptedRelay, answer};
use crate::support::terminal::{Shown, on_terminal};
use crate::support::{feed, heed_signals, strfry_bin};
use crate::wait::until;

const BACKFILL: [&str; 3] = ["backfill", "--allow-local-peers", "--no-fallback"];
const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// A node with a second peer, which ends its answers when it is let go.
fn node() -> (SmallNode, ScriptedRelay, Arc<AtomicBool>) {
    let small = SmallNode::new();
    let let_go = Arc::<AtomicBool>::default();
    let may_end = Arc::clone(&let_go);
    let slow = ScriptedRelay::start(move |_| {
        let may_end = Arc::clone(&may_end);
        let waits = std::iter::from_fn(move || {
            let waits = !may_end.load(Ordering::Relaxed);
            waits.then(|| Act::Wait(Duration::from_millis(20)))
        });
        answer(waits.chain([Act::Eose]))
    });
    small.node.add_station("slow", &slow.url());
    (small, slow, let_go)
}

/// Nothing that only tells how far a run is.
fn assert_left_behind_nothing(text: &str) {
    for word in ["Asking peers", "[0", "[1", "##", "--]", "asking"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_backfill_shows_its_peers_while_it_runs_and_leaves_nothing_behind() {
    for size in SIZES {
        let (small, _slow, let_go) = node();
        let mut command = small.node.companion(&BACKFILL);
        let screen = Screen::start(&mut command, size);
        until("the slow peer has a line", || {
            let text = screen.text();
            text.contains("1 of 2 peers done") && text.contains("asking")
        });
        let text = screen.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("[###############---------------] 50 %"), "{text}");
        assert!(lines[2].starts_with("  ") && lines[2].contains(" asking  "), "{text}");
        for other in [(20, 5), (200, 50), (40, 24), size] {
            screen.resize(other);
            until("it is drawn anew", || screen.text().contains("peers") || other.0 < 40);
        }
        until("the lines are there once", || screen.text().matches("Asking peers").count() == 1);
        let_go.store(true, Ordering::Relaxed);
        let (code, text) = screen.end();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("Complete: 4 events imported"), "{text}");
        assert_left_behind_nothing(&text);
    }
}

#[test]
fn without_a_terminal_a_line_comes_after_ten_seconds() {
    let (small, _slow, let_go) = node();
    let file = small.node.home().join("err");
    let mut command = small.node.companion(&BACKFILL);
    command.stdout(Stdio::null()).stderr(fs::File::create(&file).unwrap());
    let mut child = command.spawn().unwrap();
    until("a line comes", || fs::read_to_string(&file).unwrap().contains('\n'));
    let_go.store(true, Ordering::Relaxed);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let text = fs::read_to_string(&file).unwrap();
    let (time, rest) = text.split_once(']').unwrap();
    let seconds = time.strip_prefix("strfry-companion: [").and_then(|time| time.strip_suffix('s'));
    assert!(seconds.is_some_and(|seconds| seconds.parse::<u32>().unwrap() >= 10), "{text}");
    assert!(rest.starts_with(" Asking peers: 1 of 2 peers done, "), "{text}");
    assert!(rest.contains(" events received, ") && rest.contains(" imported, 50 %"), "{text}");
    assert!(text.lines().count() <= 2, "{text}");
}

#[test]
fn ctrl_c_says_what_is_being_finished() {
    heed_signals();
    for size in SIZES {
        let (small, _slow, _) = node();
        let screen = Screen::start(&mut small.node.companion(&BACKFILL), size);
        until("the slow peer is asked", || screen.text().contains("1 of 2 peers done"));
        screen.signal(Signal::INT);
        let (code, text) = screen.end();
        assert_eq!(code, Some(1), "{text}");
        let line = "Stopping: strfry commits what it has been given, then comes the summary;";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("Incomplete"), "{text}");
        assert_left_behind_nothing(&text);
    }
}

#[test]
fn ctrl_c_says_what_is_being_finished_also_where_nothing_is_imported() {
    heed_signals();
    let line = "Stopping: tunnels are closed, then comes what peers have answered so far;";
    for command in [
        &["diff", "--allow-local-peers"][..],
        &["peers", "--probe", "--allow-local-peers"],
        &["doctor", "--allow-local-peers"],
    ] {
        // A run that has nothing to finish can end before the thread that hears of the signal says so.
        let is_said = (0..10).any(|_| {
            let (code, text) = stopped_while_a_peer_is_silent(command);
            assert_eq!(code, Some(1), "{command:?}: {text}");
            text.contains(line)
        });
        assert!(is_said, "{command:?}");
    }
}

/// How a command ends on Ctrl-C, and what it has shown.
fn stopped_while_a_peer_is_silent(command: &[&str]) -> (Option<i32>, String) {
    let small = SmallNode::new();
    let is_asked = Arc::<AtomicBool>::default();
    let asked = Arc::clone(&is_asked);
    let silent = ScriptedRelay::start(move |_| {
        asked.store(true, Ordering::Relaxed);
        answer([Act::Wait(Duration::from_secs(60))])
    });
    small.node.add_station("silent", &silent.url());
    let screen = Screen::start(&mut small.node.companion(command), (120, 50));
    until("the silent peer is asked", || is_asked.load(Ordering::Relaxed));
    screen.signal(Signal::INT);
    screen.end()
}

#[test]
fn import_and_verify_show_a_bar_and_leave_nothing_behind() {
    let small = SmallNode::with(&strfry_bin(), |_, _| Vec::new());
    let notes = (0..3_000).map(|number| small.alice.note(now() - 9_000 + number, "x") + "\n");
    let file = small.node.write("events.jsonl", notes.collect::<String>());
    for size in SIZES {
        for command in [vec!["import", file.to_str().unwrap()], vec!["verify"]] {
            let screen = Screen::start(&mut small.node.companion(&command), size);
            let (code, text) = screen.end();
            assert_eq!(code, Some(0), "{text}");
            for word in ["##", "--]", "%"] {
                assert!(!text.contains(word), "{command:?} {word}: {text}");
            }
        }
    }
}

#[test]
fn whatever_has_a_known_end_shows_a_bar() {
    let small = SmallNode::with(&strfry_bin(), |_, _| Vec::new());
    let notes = (0..3_000).map(|number| small.alice.note(now() - 9_000 + number, "x") + "\n");
    let notes = notes.collect::<String>();
    let file = small.node.write("events.jsonl", &notes);
    let file = file.to_str().unwrap();
    for (command, phase) in [
        (&["import", file][..], "Importing: "),
        (&["verify"], "Verifying: "),
        (&["verify", file], "Verifying: "),
        (&["diff", "--allow-local-peers"], "Comparing: "),
    ] {
        let Shown { err, .. } = on_terminal(&mut small.node.companion(command), 80);
        let bar = err.split(phase).nth(1).and_then(|rest| rest.lines().nth(1));
        assert!(bar.is_some_and(|bar| bar.contains("-] ") && bar.contains(" %")), "{err:?}");
    }
}

#[test]
fn what_strfry_has_not_committed_is_not_shown_as_done() {
    let small = SmallNode::with(&strfry_bin(), |_, _| Vec::new());
    let notes = (0..3_000).map(|number| small.alice.note(now() - 9_000 + number, "x") + "\n");
    let file = small.node.write("events.jsonl", notes.collect::<String>());
    let go = small.node.home().join("go");
    let slow = small.node.write(
        "slow.sh",
        format!(
            "#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.01; done\nexec '{}' \"$@\"\n",
            go.display(),
            strfry_bin().display()
        ),
    );
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    let mut import = small.node.companion(&["import", file.to_str().unwrap()]);
    let screen = Screen::start(import.arg("--strfry-bin").arg(slow), (80, 24));
    until("everything is read", || screen.text().contains("3000 events read"));
    let text = screen.text();
    assert!(text.contains("3000 events read, 0 imported") && text.contains("-] 0 %"), "{text}");
    fs::write(go, "").unwrap();
    assert_eq!(screen.end().0, Some(0));
}

#[test]
fn quiet_says_nothing_of_what_went_well_and_all_of_what_did_not() {
    let small = SmallNode::new();
    let said = small.backfill(&["--quiet"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    small.node.add_station("dead", "ws://127.0.0.1:1");
    let said = small.backfill(&["-q"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("strfry-companion: ws://127.0.0.1:1 "), "{}", said.err);
    let mut import = small.node.companion(&["import", "--quiet", "-"]);
    let output = feed(&mut import, b"");
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), vec![], vec![]));
}

#[test]
fn colours_are_where_they_are_wanted() {
    let small = SmallNode::new();
    small.node.write("strfry/constellation-backfill.state.json", "broken");
    let is_colored = |arguments: &[&str], no_color: &str, on_terminal: bool| {
        let mut command = small.node.companion(&[&BACKFILL, arguments].concat());
        command.env("NO_COLOR", no_color).env("TERM", "xterm");
        let err = match on_terminal {
            true => crate::support::terminal::on_terminal(&mut command, 80).err,
            false => String::from_utf8(command.output().unwrap().stderr).unwrap(),
        };
        assert!(err.contains("ERROR"), "{err}");
        err.contains("\u{1b}[31m[ERROR]\u{1b}[0m")
    };
    assert!(is_colored(&[], "", true));
    assert!(!is_colored(&[], "1", true));
    assert!(!is_colored(&["--color", "never"], "", true));
    assert!(is_colored(&["--color", "always"], "1", false));
    assert!(!is_colored(&["--color", "auto"], "", false));
    let help = |arguments: &[&str]| {
        String::from_utf8(small.node.companion(arguments).output().unwrap().stdout).unwrap()
    };
    assert!(help(&["backfill", "--color=always", "--help"]).contains("\u{1b}["));
    assert!(!help(&["backfill", "--help"]).contains("\u{1b}["));
}
