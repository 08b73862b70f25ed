//! What a terminal gets to see of strangers' text, in every way out of the program.

use std::fs;

use serde_json::{Value, json};

use crate::small_node::{SmallNode, now};
use crate::support::events::Author;
use crate::support::no_relays::ClosedPort;
use crate::support::strfry_bin;
use crate::support::terminal::{Shown, on_terminal};

/// Clears the screen, sets the title, rings, hides, turns around, forges lines.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{90}q\u{9c}\u{7f}\u{8}\u{85}\r\n[ERROR] forged\
    \u{202e}gnp\u{2066}x\u{2069}\u{200d}\u{200b}\u{feff}\u{2028}\u{2029}\u{ad}\u{61c}\u{e0041}\u{e007f}\
    \u{e0100}\u{fe00}\u{3164}\u{34f}\u{fff9}";

fn is_obeyed_or_hidden(character: char) -> bool {
    character.is_control() || HOSTILE.contains(character) && !character.is_ascii()
}

/// A node with hostile text wherever a stranger can put it.
fn node() -> (SmallNode, Author) {
    let mallory = Author::new(9);
    let content = json!({
        "name": HOSTILE, "display_name": format!("=1+1{HOSTILE}"), "nip05": HOSTILE, "about": HOSTILE,
        "picture": HOSTILE, "website": HOSTILE,
    });
    let relays = json!([["r", HOSTILE], ["t", HOSTILE]]);
    let events = [
        mallory.event(0, now() - 300, relays.clone(), &content.to_string()),
        mallory.event(1, now() - 200, relays.clone(), HOSTILE),
        mallory.event(10_002, now() - 100, relays, HOSTILE),
    ];
    let small = SmallNode::with(&strfry_bin(), |_, _| events.to_vec());
    small.node.import(&events);
    small.node.write("strfry/amisOfAmis.txt", format!("{}\n{HOSTILE}\n", mallory.pubkey()));
    let station = json!({"ipfsnodeid": HOSTILE, "myRELAY": HOSTILE, "captainHEX": HOSTILE});
    small.node.write("tmp/swarm/hostile/12345.json", station.to_string());
    let station = json!({"ipfsnodeid": "x", "myRELAY": format!("wss://{HOSTILE}")});
    small
        .node
        .write(&format!("tmp/swarm/{}/12345.json", HOSTILE.replace('/', "")), station.to_string());
    fs::create_dir_all(small.node.home().join(format!("flashmem/{HOSTILE}/HEX"))).unwrap();
    (small, mallory)
}

fn shown(small: &SmallNode, arguments: &[&str]) -> Shown {
    on_terminal(&mut small.node.companion(arguments), 80)
}

#[test]
fn no_command_lets_a_terminal_obey_or_hide_what_strangers_write() {
    let (small, mallory) = node();
    let forged = mallory.note(now(), "x").replace("\"x\"", &json!(HOSTILE).to_string());
    let wrong = json!({"id": HOSTILE, "pubkey": HOSTILE, "kind": HOSTILE, HOSTILE: 1}).to_string();
    let file = small.node.write("forged.jsonl", format!("{forged}\n{wrong}\n{HOSTILE}\n"));
    let file = file.to_str().unwrap();
    let pubkey = mallory.pubkey().to_string();
    let relay = small.relay.url();
    let dead = ClosedPort::reserve();
    small.node.add_station("dead", &dead.url());
    let profiles = ["table", "jsonl", "json", "csv"]
        .map(|format| vec!["profiles", &pubkey, "--format", format]);
    let filter = json!({HOSTILE: HOSTILE}).to_string();
    let commands = [
        vec!["profiles"],
        vec!["scan", "{}"],
        vec!["scan", "{}", "--one-snapshot"],
        vec!["export"],
        vec!["export", "--fried"],
        vec!["export", "--one-snapshot", "--reverse"],
        vec!["verify", file],
        vec!["peers", "--probe", "--allow-local-peers"],
        vec!["peers", "--json"],
        vec!["pubkeys"],
        vec!["pubkeys", "--json"],
        vec!["stats"],
        vec!["stats", "--json"],
        vec!["diff", "--allow-local-peers", "--ids"],
        vec!["diff", "--allow-local-peers", "--json", "--days", "0"],
        vec!["diff", "--relay", &relay, "--json"],
        vec!["import", file],
        vec!["import", file, "--json"],
        vec!["backfill", "--allow-local-peers", "--no-fallback", "--verbose"],
        vec!["backfill", "--allow-local-peers", "--no-fallback", "--json"],
        vec!["backfill", "--allow-local-peers", "--no-fallback", "--dry-run"],
        vec!["backfill", "--allow-local-peers", "--fallback-relay", &relay, "--days", "0"],
        vec!["history"],
        vec!["history", "show"],
        vec!["history", "show", "--json"],
        vec!["history", "diff"],
        vec!["history", "show", HOSTILE],
        vec!["report"],
        vec!["report", "-"],
        vec!["report", HOSTILE, "--history", HOSTILE],
        vec!["backfill", "--show-hex"],
        vec!["bench", "scan", "{}", "--runs", "1"],
        vec!["scan", HOSTILE],
        vec!["scan", &filter],
        vec!["verify", HOSTILE],
        vec!["import", HOSTILE],
        vec!["profiles", HOSTILE],
        vec!["profiles", "--pubkeys", HOSTILE],
        vec!["profiles", "--format", HOSTILE],
        vec!["backfill", "--relay", HOSTILE],
        vec!["backfill", "--kinds", HOSTILE],
        vec!["stats", "--db", HOSTILE],
        vec!["stats", "--top", HOSTILE],
        vec![HOSTILE],
        vec!["--\u{1b}[2J\u{202e}"],
    ];
    for command in profiles.into_iter().chain(commands) {
        let Shown { out, err, code } = shown(&small, &command);
        assert!(code.is_some_and(|code| code <= 3), "{command:?}: {code:?} {out} {err}");
        let unfit = |character: char| character != '\n' && is_obeyed_or_hidden(character);
        assert!(!out.contains(unfit), "{command:?}: {out:?}");
        // What tells how far a command is moves the cursor and has colours, with these alone.
        let mut err = err.replace("\u{1b}[J", "");
        for number in 0..=40 {
            err = err.replace(&format!("\u{1b}[{number}A"), "");
            err = err.replace(&format!("\u{1b}[{number}m"), "");
        }
        let unfit =
            |character: char| !['\n', '\r'].contains(&character) && is_obeyed_or_hidden(character);
        assert!(!err.contains(unfit), "{command:?}: {err:?}");
    }
}

#[test]
fn json_on_a_terminal_has_the_values_that_a_program_gets() {
    let (small, mallory) = node();
    let pubkey = mallory.pubkey().to_string();
    for command in [
        &["profiles", "--format", "jsonl", &pubkey][..],
        &["scan", "{}"],
        &["export"],
        &["export", "--one-snapshot"],
    ] {
        let values = |text: &str| -> Vec<Value> {
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let piped = small.node.companion(command).output().unwrap().stdout;
        let values_piped = values(std::str::from_utf8(&piped).unwrap());
        assert_eq!(values(&shown(&small, command).out), values_piped, "{command:?}");
        assert!(values_piped.iter().any(|value| value.to_string().contains('\u{202e}')));
    }
}

#[test]
fn csv_for_a_program_keeps_the_text_and_json_for_one_has_escapes() {
    let (small, mallory) = node();
    let pubkey = mallory.pubkey().to_string();
    let out = |format: &str| {
        let command = ["profiles", "--format", format, &pubkey];
        String::from_utf8(small.node.companion(&command).output().unwrap().stdout).unwrap()
    };
    assert!(out("csv").contains(&format!(",\"{HOSTILE}\",\"=1+1{HOSTILE}\",")));
    for format in ["json", "jsonl"] {
        assert!(!out(format).replace('\n', "").contains(is_obeyed_or_hidden), "{format}");
    }
    let csv = shown(&small, &["profiles", "--format", "csv", &pubkey]).out;
    assert_eq!(csv.lines().count(), 2, "{csv}");
}

#[test]
fn a_terminal_of_any_width_and_a_name_of_any_length_harm_nothing() {
    let (small, mallory) = node();
    let flood = format!("{}{}", "\u{301}\u{202e}\n".repeat(2_000), "x".repeat(5_000));
    let profile = json!({"name": flood, "display_name": "\u{200d}".repeat(3_000)}).to_string();
    small.node.import(&[mallory.event(0, now(), json!([]), &profile)]);
    for columns in [0, 1, 7, 65_535] {
        let flags = ["backfill", "--allow-local-peers", "--no-fallback"];
        let Shown { code, .. } = on_terminal(&mut small.node.companion(&flags), columns);
        assert_eq!(code, Some(0), "{columns}");
        let Shown { out, code, .. } =
            on_terminal(&mut small.node.companion(&["profiles"]), columns);
        assert_eq!((code, out.lines().count()), (Some(0), 4), "{columns}");
        let longest = out.lines().map(|line| line.chars().count()).max();
        assert!(longest < Some(150), "{longest:?}");
        let help = on_terminal(&mut small.node.companion(&["backfill", "--help"]), columns);
        assert_eq!(help.code, Some(0), "{columns}");
    }
}
