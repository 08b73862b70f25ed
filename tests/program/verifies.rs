//! `verify`: what it prints and ends with, of databases, files and standard input.

use serde_json::{Value, json};
use strfry_companion::nostr::Event;
use strfry_companion::strfry_db::packed_event;

use crate::said::{Said, companion};
use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::raw::RawDatabase;
use crate::support::tables::all_tables;
use crate::support::{feed, fixture, fixture_json_lines, golden_database, run_strfry, strfry_bin};

fn all_well(events: usize) -> Said {
    let err = format!("strfry-companion: {events} events checked, 0 of them wrong\n");
    Said { code: 0, out: String::new(), err }
}

#[test]
fn a_database_and_an_export_without_a_wrong_event_end_with_0() {
    let database = golden_database("strfry-1.1.1-dict");
    let mut command = companion(&["verify", "--db"]);
    assert_eq!(Said::by(command.arg(database.path()), database.path()), all_well(604));
    for file in ["strfry-1.1.1/export.jsonl", "strfry-1.1.1/export-fried.jsonl"] {
        let mut command = companion(&["verify"]);
        assert_eq!(Said::by(command.arg(fixture(file)), database.path()), all_well(604));
    }
}

#[test]
fn a_damaged_event_of_a_database_is_printed_and_ends_with_1() {
    let database = golden_database("strfry-1.1.1");
    RawDatabase::open(database.path()).put("EventPayload", &1u64.to_ne_bytes(), b"\x07");
    let mut command = companion(&["verify", "--db"]);
    let said = Said::by(command.arg(database.path()), database.path());
    // strfry writes a batch in the order of time.
    let id = fixture_json_lines("strfry-1.1.1/export.jsonl")[0]["id"].clone();
    assert_eq!(
        said,
        Said {
            code: 1,
            out: format!(
                "{{\"id\":{id},\"lev_id\":1,\"reason\":\"damaged record of table EventPayload for \
                 1: its first byte is neither 0 nor 1\"}}\n"
            ),
            err: "strfry-companion: 604 events checked, 1 of them wrong\n".to_owned(),
        }
    );
}

#[test]
fn a_record_that_says_something_else_than_its_event_is_named_with_what_differs() {
    let author = Author::new(1);
    let tags = json!([["t", "nostr"], ["expiration", "4000000000"], ["d", "x"]]);
    let event = author.event(30_023, 1_700_000_000, tags, "text");
    for (at, what) in
        [(0, "id"), (40, "pubkey"), (64, "created_at"), (73, "kind"), (80, "expiration")]
            .into_iter()
            .chain([(88, "tags"), (89, "tags"), (92, "tags"), (usize::MAX, "tags")])
    {
        let node = Node::new(&strfry_bin());
        node.import(std::slice::from_ref(&event));
        let database = node.strfry_dir().join("strfry-db");
        assert_eq!(verify(&node), "");
        let tables = all_tables(&database);
        let (key, packed) = tables["rasgueadb_defaultDb__Event"].entries.first().unwrap();
        let mut changed = packed.to_vec();
        // At the end: the virtual `d` tag of an addressable event is not there.
        match changed.get_mut(at) {
            Some(byte) => *byte ^= 1,
            None => changed.truncate(changed.len() - 2),
        }
        RawDatabase::open(&database).put("Event", key, &changed);
        let reason =
            format!("strfry's record of the event has another {what} than the event itself");
        assert!(verify(&node).contains(&reason), "{at}: {}", verify(&node));
    }
}

#[test]
fn what_strfry_indexes_in_its_own_way_is_not_called_another_record() {
    let author = Author::new(1);
    let half = format!("0x{}", "ab".repeat(31));
    let address = format!("30023:{}:x", Author::new(2).pubkey());
    let events = [
        author.event(1, 1_700_000_000, json!([["p", half], ["e", "AB".repeat(32)], ["t"]]), ""),
        author.event(20_001, 1_700_000_000, json!([["expiration", "4000000000"]]), ""),
        author.event(30_023, 1_700_000_000, json!([["t", "v".repeat(256)], ["é", "x"]]), ""),
        author.event(10_002, 1_700_000_000, json!([["d", "x"], ["-"]]), ""),
    ];
    let node = Node::new(&strfry_bin());
    node.import(&events);
    // strfry 1.0 took deletions of others' addresses; today's does so in a fried line alone.
    let deletion = author.event(5, 1_700_000_000, json!([["a", address]]), "");
    let event = Event::parse(&deletion).unwrap();
    let header = packed_event::header(&event.id, &event.pubkey, event.created_at, event.kind, 0);
    let tag = [&[b'a', address.len() as u8], address.as_bytes()].concat();
    let fried = hex::encode([&header[..], &tag].concat());
    let line = format!("{},\"fried\":\"{fried}\"}}\n", deletion.trim_end_matches('}'));
    run_strfry("./strfry", &node.strfry_dir(), &["import", "--fried"], line.as_bytes());
    assert_eq!((node.events().len(), verify(&node).as_str()), (5, ""));
}

/// What `verify` prints of a node's database.
fn verify(node: &Node) -> String {
    String::from_utf8(node.companion(&["verify"]).output().unwrap().stdout).unwrap()
}

#[test]
fn only_what_matches_a_filter_is_checked() {
    let database = golden_database("strfry-1.1.1");
    RawDatabase::open(database.path()).put("EventPayload", &1u64.to_ne_bytes(), b"\x07");
    let first = fixture_json_lines("strfry-1.1.1/export.jsonl")[0].clone();
    let notes = fixture_json_lines("strfry-1.1.1/export.jsonl");
    let notes = notes.iter().filter(|event| event["kind"] == 7).count();
    assert!(notes > 10 && first["kind"] != 7);
    let of = |what: &str| {
        let mut command = companion(&["verify", what, "--db"]);
        Said::by(command.arg(database.path()), database.path())
    };
    assert_eq!(of(r#"{"kinds":[7]}"#), all_well(notes));
    assert_eq!(of(r#" [{"kinds":[7]},{"ids":[]}]"#), all_well(notes));
    let file = database.path().join("filter.json");
    std::fs::write(&file, json!({"ids": [first["id"]]}).to_string()).unwrap();
    let said = of(&format!("@{}", file.display()));
    assert_eq!((said.code, said.out.lines().count()), (1, 1), "{said:?}");
    assert!(said.out.contains(first["id"].as_str().unwrap()));
    let refused = of(r#"{"kind":[7]}"#);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(refused.err.contains("kind"), "{refused:?}");
}

/// What strfry says, and what we say instead; `None` where both are content.
const REASONS: &[(&str, Option<&str>)] = &[
    ("bad signature", Some("the signature is not its author's")),
    ("bad event id", Some("the id is not the hash of the event")),
    (
        "verify sig: bad input size",
        Some("event sig field is not lowercase hex of the right length"),
    ),
    // Limits of strfry's own, which make nothing less genuine.
    ("unexpected size for fixed-size tag: e", None),
    ("unexpected character in from_hex: 122", None),
    ("tag val too large: 1025", None),
    ("non-digit character", None),
    ("invalid expiration", None),
    ("can't delete other user's events", None),
    ("too many tags: 2001", None),
];

#[test]
fn lines_that_strfry_rejects_are_named_for_what_makes_them_wrong() {
    let verdicts = fixture_json_lines("verdicts.jsonl");
    let expected = |(line, verdict): (usize, &Value)| -> Option<(usize, String)> {
        let strfrys = verdict["import"]["reason"].as_str();
        let reason = match verdict["name"].as_str().unwrap() {
            "uppercase id" => "event id field is not lowercase hex of the right length",
            "DEL in content (NIP-01 text)" => {
                "the event holds DEL (0x7f), which strfry escapes before hashing: genuine by \
                 NIP-01, and strfry would refuse it"
            }
            "not json" => "unable to parse JSON",
            _ => {
                let strfrys = strfrys?;
                let known = REASONS.iter().find(|(theirs, _)| *theirs == strfrys);
                known.map_or(Some(strfrys), |&(_, ours)| ours)?
            }
        };
        Some((line + 1, reason.to_owned()))
    };
    let expected: Vec<_> = verdicts.iter().enumerate().filter_map(expected).collect();
    let lines: Vec<&str> =
        verdicts.iter().map(|verdict| verdict["line"].as_str().unwrap()).collect();
    // The last line without a line feed.
    let output = feed(&mut companion(&["verify", "-"]), lines.join("\n").as_bytes());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let named: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|offender| {
            let reason = offender["reason"].as_str().unwrap().to_owned();
            (usize::try_from(offender["line"].as_u64().unwrap()).unwrap(), reason)
        })
        .collect();
    assert_eq!(named, expected);
    assert_eq!(code(&output), 1);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("strfry-companion: 30 events checked, {} of them wrong\n", expected.len())
    );
}

#[test]
fn a_file_that_is_not_there_is_wrong_usage() {
    let home = tempfile::tempdir().unwrap();
    let mut command = companion(&["verify"]);
    command.arg(home.path().join("events.jsonl"));
    assert_eq!(
        Said::by(&mut command, home.path()),
        Said::refusal(
            2,
            "strfry-companion: cannot read HOME/events.jsonl: No such file or directory (os error \
             2)\n"
        )
    );
}

#[test]
fn an_offender_that_nobody_reads_still_ends_with_1() {
    let line = json!({"id": 1}).to_string() + "\n";
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = companion(&["verify", "-"]);
    let mut input = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut input, line.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    let status = command.stdin(input).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
