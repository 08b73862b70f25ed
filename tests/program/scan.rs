//! `scan` as a process: where the filter comes from, what is printed, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::Event;
use strfry_companion::strfry_db::{Filter, StrfryDb};
use tempfile::TempDir;

use crate::said::{Said, companion};
use crate::support::events::{Author, unsigned};
use crate::support::raw::RawDatabase;
use crate::support::stand_in::writer::{Durability, NewEvent, Writer};
use crate::support::{feed, fixture_json_lines, fixture_text, golden_database};

const NAME: &str = "strfry-1.1.1";

fn scan(database: &TempDir, arguments: &[&str]) -> Command {
    let mut command = companion(&["scan"]);
    command.args(arguments).arg("--db").arg(database.path());
    command
}

fn out(database: &TempDir, arguments: &[&str]) -> String {
    let said = Said::by(&mut scan(database, arguments), database.path());
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
    said.out
}

/// Newest first, as a scan of everything gives it.
fn everything() -> Vec<String> {
    let export = fixture_text(&format!("{NAME}/export.jsonl"));
    export.lines().rev().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_filter_comes_from_the_argument_standard_input_or_a_file() {
    let database = golden_database(NAME);
    let expected = &everything()[..3].concat();
    assert_eq!(out(&database, &[r#"{"limit":3}"#]), *expected);

    let piped = feed(&mut scan(&database, &["-"]), br#"{"limit":3}"#);
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), *expected);

    let file = database.path().join("filter.json");
    fs::write(&file, "[{\"limit\":2},\n{\"limit\":3}]\n").unwrap();
    assert_eq!(out(&database, &[&format!("@{}", file.display())]), *expected);
}

#[test]
fn everything_is_printed_as_strfry_exports_it_also_from_one_snapshot() {
    let database = golden_database(NAME);
    let expected = everything().concat();
    assert!(out(&database, &["{}"]) == expected);
    assert!(out(&database, &["{}", "--one-snapshot"]) == expected);
}

#[test]
fn counts_are_those_of_strfry() {
    let database = golden_database(NAME);
    let scans = fixture_json_lines(&format!("{NAME}/scans.jsonl"));
    for scan in scans.iter().filter(|scan| scan.get("count").is_some()).take(12) {
        let filter = scan["filter"].to_string();
        assert_eq!(out(&database, &[&filter, "--count"]), format!("{}\n", scan["count"]));
    }
}

#[test]
fn fields_and_ids_are_those_of_the_events() {
    let database = golden_database(NAME);
    let events: Vec<Value> =
        everything().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: String =
        events.iter().map(|event| format!("{}\n", event["id"].as_str().unwrap())).collect();
    assert_eq!(out(&database, &["{}", "--ids-only"]), ids);

    let printed = out(&database, &["{}", "--fields", "created_at,id,kind,pubkey"]);
    let fields: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_event = |event: &Value| {
        json!({"id": event["id"], "pubkey": event["pubkey"], "kind": event["kind"],
            "created_at": event["created_at"]})
    };
    assert_eq!(fields, events.iter().map(of_event).collect::<Vec<_>>());
    assert!(printed.starts_with(&format!("{{\"created_at\":{},\"id\"", events[0]["created_at"])));
}

#[test]
fn output_ends_before_the_line_that_exceeds_the_limit() {
    let database = golden_database(NAME);
    let lines = everything();
    let two = lines[0].len() + lines[1].len();
    let limited = |bytes: usize| out(&database, &["{}", "--limit-bytes", &bytes.to_string()]);
    assert_eq!(limited(two), lines[..2].concat());
    assert_eq!(limited(two - 1), lines[0]);
    assert_eq!(limited(0), "");
}

/// Enough events for several threads to read.
const MANY: u64 = 12_000;

#[test]
fn what_several_threads_read_is_printed_in_order_up_to_a_limit_or_damage() {
    let directory = tempfile::tempdir().unwrap();
    let author = Author::new(1);
    let stored = |number| {
        let line = unsigned(&author, number + 1, 1_000 + number / 3);
        StoredEvent::encode(&Event::parse(&line).unwrap(), &EventLimits::default()).unwrap()
    };
    let events: Vec<StoredEvent> = (0..MANY).map(stored).collect();
    let writer = Writer::open(directory.path(), Durability::NotSynced).unwrap();
    writer.write_events(&events.iter().map(NewEvent::from).collect::<Vec<_>>()).unwrap();
    drop(writer);
    let lines: Vec<String> = {
        let db = StrfryDb::open(directory.path()).unwrap();
        let events = db.scan(Filter::new());
        events.map(|event| format!("{}\n", event.unwrap().json().unwrap())).collect()
    };
    assert_eq!(lines.len() as u64, MANY);
    let oldest_first: String = lines.iter().rev().map(String::as_str).collect();
    for threads in ["1", "2", "4"] {
        let on_threads = |more: &[&str]| {
            let said = out(&directory, &[&["{}", "--threads", threads], more].concat());
            assert!(said.len() <= lines.concat().len());
            said
        };
        assert!(on_threads(&[]) == lines.concat(), "{threads}");
        for count in [0, 1, 1_024, 8_191, 8_192, 8_193, 9_999, lines.len() - 1] {
            let fitting = lines[..count].concat();
            for bytes in [fitting.len(), fitting.len() + lines[count].len() - 1] {
                let limited = on_threads(&["--limit-bytes", &bytes.to_string()]);
                assert!(limited == fitting, "{threads} {count} {bytes}");
            }
        }
        let mut export = companion(&["export", "--threads", threads, "--db"]);
        let said = Said::by(export.arg(directory.path()), directory.path());
        assert!((said.code, &said.out) == (0, &oldest_first), "{threads}");
    }

    // Events have been given numbers in the order of their times.
    let damaged = 10_000;
    let lev_id = MANY - damaged as u64;
    RawDatabase::open(directory.path()).put("EventPayload", &lev_id.to_ne_bytes(), b"\x07{}");
    for threads in ["1", "2"] {
        let arguments = ["{}", "--threads", threads];
        let said = Said::by(&mut scan(&directory, &arguments), directory.path());
        let fitting = lines[..damaged].concat();
        assert!(said.out == fitting, "{threads} {}", said.out.lines().count());
        let err = format!("table EventPayload holds a damaged record for {lev_id}: ");
        assert!(said.code == 3 && said.err.contains(&err), "{}", said.err);
        // What is behind the limit is not looked at.
        let limit = (fitting.len() - 1).to_string();
        let limited = out(&directory, &[&arguments[..], &["--limit-bytes", &limit]].concat());
        assert!(limited == lines[..damaged - 1].concat());
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let database = golden_database(NAME);
    let mut command = scan(&database, &["{}"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, everything()[0]);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

#[test]
fn a_filter_that_strfry_refuses_is_wrong_usage() {
    let database = golden_database(NAME);
    let refused = |filter: &str, err: &str| {
        let said = Said::by(&mut scan(&database, &[filter]), database.path());
        assert_eq!(said, Said::refusal(2, format!("strfry-companion: {err}\n")));
    };
    refused(
        r#"{"nope":1}"#,
        "unrecognised filter item: nope; there are ids, authors, kinds, since, until, limit, and # \
         with one character",
    );
    refused(r#"{"kinds":0}"#, "kinds not an array; write [ ] around its value");
    refused("@", "no file after @: write @FILE, or - for standard input");
    refused(
        "@/nonexistent",
        "cannot read the filter from /nonexistent: No such file or directory (os error 2)",
    );
}

#[test]
fn a_filter_without_end_is_refused() {
    let refused = |what: &str| {
        let text = format!("cannot read the filter from {what}: it is longer than 268435456 bytes");
        Said::refusal(2, format!("strfry-companion: {text}\n"))
    };
    let mut command = companion(&["scan", "@/dev/zero"]);
    assert_eq!(Said::by(&mut command, Path::new("/nonexistent")), refused("/dev/zero"));
    let mut command = companion(&["scan", "-"]);
    command.stdin(fs::File::open("/dev/zero").unwrap());
    assert_eq!(Said::by(&mut command, Path::new("/nonexistent")), refused("standard input"));
}
