//! What an import makes of the golden events and of those that strfry judges oddly.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::events::Author;
use crate::support::node::Node;
use crate::support::tables::assert_same_events;
use crate::support::{fixture, fixture_json_lines, fixture_text, golden_database};
use crate::{database, import, with_each_strfry};

#[test]
fn the_golden_events_make_the_golden_database_fried_and_plain() {
    let golden = golden_database("strfry-1.1.1");
    let events = std::fs::read(fixture("events.jsonl")).unwrap();
    with_each_strfry(|strfry| {
        for (flags, form) in [(&[][..], "fried"), (&["--plain"], "plain")] {
            let node = Node::new(strfry);
            let (code, summary) = import(&node, flags, &events);
            assert_eq!(
                (code, &summary["status"], &summary["form"]),
                (0, &"complete".into(), &form.into())
            );
            assert_same_events(&database(&node), golden.path());
            let (_, again) = import(&node, flags, &events);
            assert_eq!(again["events"].get("imported"), None, "{again:#}");
            assert_same_events(&database(&node), golden.path());
        }
    });
}

#[test]
fn an_export_of_either_form_can_be_imported() {
    let golden = golden_database("strfry-1.1.1");
    with_each_strfry(|strfry| {
        for export in ["strfry-1.1.1/export.jsonl", "strfry-1.1.1/export-fried.jsonl"] {
            let node = Node::new(strfry);
            let file = fixture(export);
            let (code, summary) = import(&node, &[file.to_str().unwrap()], b"");
            assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 604 })));
            assert_same_events(&database(&node), golden.path());
        }
    });
}

#[test]
fn the_verdict_on_odd_events_is_strfrys_but_for_uppercase_ids() {
    let verdicts = fixture_json_lines("verdicts.jsonl");
    let text: String =
        verdicts.iter().map(|case| format!("{}\n", case["line"].as_str().unwrap())).collect();
    let strfry_takes = |case: &&Value| case["import"]["verdict"] == "added";
    let expected: BTreeSet<&str> = verdicts
        .iter()
        .filter(strfry_takes)
        .filter(|case| case["name"] != "uppercase id")
        .map(|case| case["import"]["stored"].as_str().unwrap())
        .collect();
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let rejects = node.home().join("rejects.jsonl");
        let (code, summary) =
            import(&node, &["--rejects", rejects.to_str().unwrap()], text.as_bytes());
        assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
        let stored = node.events();
        assert_eq!(stored.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
        // The others are listed, each with its line and a reason.
        let listed: Vec<Value> = node
            .read("rejects.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(listed.len(), verdicts.len() - expected.len());
        for reject in &listed {
            let case = &verdicts[reject["line"].as_u64().unwrap() as usize - 1];
            assert_eq!(reject["input"], "-");
            if reject["event"] == case["line"] && reject["class"] != "malformed" {
                assert_eq!(reject["reason"], case["import"]["reason"], "{}", case["name"]);
            }
        }
        let of = |name: &str| {
            let line = 1 + verdicts.iter().position(|case| case["name"] == name).unwrap();
            listed.iter().find(|reject| reject["line"] == line).unwrap().clone()
        };
        let del = of("DEL in content (NIP-01 text)");
        assert_eq!(
            [&del["class"], &del["reason"]],
            ["malformed", "DEL character, which strfry and NIP-01 hash differently"]
        );
        assert_eq!(
            [&of("signature bit")["class"], &of("content changed")["class"]],
            ["bad_signature", "bad_id"]
        );
    });
}

#[test]
fn an_encoding_that_strfry_has_changed_makes_it_plain_lines_with_a_warning() {
    with_each_strfry(|strfry| {
        let author = Author::new(1);
        let node = Node::new(strfry);
        node.import(&(0..5).map(|second| author.note(second, "old")).collect::<Vec<_>>());
        let id = crate::support::events::id_of(&author.note(3, "old"));
        let changed = changed_in_the_database(&node, &id);
        let output = crate::support::feed(
            &mut node.companion(&["import", "--json"]),
            &crate::lines(&[author.note(9, "new")]),
        );
        let (code, summary) = crate::told(&output);
        assert_eq!((code, &summary["form"]), (0, &"plain".into()));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!(
                "strfry-companion: strfry has stored event {changed} otherwise than this program \
                 would: it is given plain lines, which takes longer\n"
            )
        );
    });
}

/// Gives this event one more byte in its PackedEvent.
fn changed_in_the_database(node: &Node, id: &str) -> String {
    let tables = crate::support::tables::all_tables(&database(node));
    let events = &tables["rasgueadb_defaultDb__Event"].entries;
    let (key, packed) = events.iter().find(|(_, packed)| hex::encode(&packed[..32]) == id).unwrap();
    let changed = [packed, b"d\0".as_slice()].concat();
    crate::support::raw::RawDatabase::open(&database(node)).put("Event", key, &changed);
    id.to_owned()
}

#[test]
fn what_cannot_be_fried_goes_plain_beside_the_rest() {
    let author = Author::new(1);
    let follows: Value = (0..800).map(|number| json!(["p", format!("{number:064x}")])).collect();
    let object = json!([["t", "x", { "a": 1, "fried": "00".repeat(88) }]]);
    let mut events: Vec<String> = (0..50).map(|second| author.note(second, "small")).collect();
    events.insert(20, author.event(3, 1_000, follows, ""));
    events.insert(30, author.event(1, 1_001, object, ""));
    with_each_strfry(|strfry| {
        let (fried, plain) = (Node::new(strfry), Node::new(strfry));
        let (code, summary) = import(&fried, &[], &crate::lines(&events));
        assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 52 })));
        plain.import(&events);
        assert_same_events(&database(&fried), &database(&plain));
    });
}

#[test]
fn events_of_a_database_with_dictionaries_pass_the_self_check() {
    let golden = golden_database("strfry-1.1.1-dict");
    let db = strfry_companion::strfry_db::StrfryDb::open(golden.path()).unwrap();
    let found = strfry_companion::import::check_encoding(&db).unwrap();
    let strfry_companion::import::SelfCheck::Same(compared) = found else { panic!("{found:?}") };
    assert!(compared >= 32, "{compared} of {}", fixture_text("events.jsonl").lines().count());
}
