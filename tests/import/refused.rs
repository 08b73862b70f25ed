//! What `import` refuses because of what strfry would do with it.

use serde_json::{Value, json};

use crate::support::events::{Author, id_of};
use crate::support::node::{Node, code};
use crate::support::{fixture_text, run_strfry, strfry_bin};
use crate::{import, lines, with_each_strfry};

fn fixture_lines(name: &str) -> Vec<String> {
    fixture_text(name).lines().map(str::to_owned).collect()
}

fn created_at(event: &str) -> u64 {
    serde_json::from_str::<Value>(event).unwrap()["created_at"].as_u64().unwrap()
}

#[test]
fn whatever_the_flags_no_event_reaches_strfry_that_its_queries_have_no_room_for() {
    let events = fixture_lines("future.jsonl");
    let (harmless, harmful): (Vec<String>, Vec<String>) =
        events.iter().cloned().partition(|event| created_at(event) < 1 << 40);
    assert_eq!((harmless.len(), harmful.len()), (2, 8));
    with_each_strfry(|strfry| {
        for flags in [&[][..], &["--plain"], &["--no-verify"], &["--plain", "--no-verify"]] {
            let node = Node::new(strfry);
            let (code, summary) = import(&node, flags, &lines(&events));
            assert_eq!(summary["events"], json!({"imported": 2, "too_new": 8}), "{flags:?}");
            assert_eq!(code, 1);
            let reason = "too_new: dated 1099511627776: from 1099511627776 on strfry's queries \
                          have no room for the second";
            assert_eq!(summary["reasons"][reason], 1, "{summary:#}");
            // strfry can still be asked for all of it.
            let scanned = run_strfry("./strfry", &node.strfry_dir(), &["scan", "{}"], b"");
            assert!(scanned.status.success());
            let scanned = String::from_utf8(scanned.stdout).unwrap();
            let mut ids: Vec<String> = scanned.lines().map(id_of).collect();
            ids.sort();
            assert_eq!(ids, crate::support::events::sorted_ids(&harmless));
        }
    });
}

#[test]
fn verify_names_what_strfrys_queries_have_no_room_for() {
    let events = fixture_lines("future.jsonl");
    let node = Node::new(&strfry_bin());
    node.import(&events);
    let output = node.companion(&["verify"]).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let named: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected: Vec<Value> = events[2..]
        .iter()
        .zip(3..)
        .map(|(event, lev_id)| {
            let reason = format!(
                "dated {}, which strfry's queries have no room for: stored, it can end the relay \
                 at every query that meets it",
                created_at(event)
            );
            json!({"id": id_of(event), "lev_id": lev_id, "reason": reason})
        })
        .collect();
    assert_eq!((named, code(&output)), (expected, 1));
    let file = node.write("future.jsonl", lines(&events));
    let output = node.companion(&["verify", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 8);
}

/// Each alone on a node of its own, so that none replaces another: what strfry does with it by
/// itself is what an import does. `are_taken`: which of them are in the database afterwards.
fn are_judged_alike(events: &[String], are_taken: &[bool]) {
    with_each_strfry(|strfry| {
        for (event, is_taken) in events.iter().zip(are_taken) {
            let (by_strfry, by_us) = (Node::new(strfry), Node::new(strfry));
            let (input, directory) = (format!("{event}\n"), by_strfry.strfry_dir());
            run_strfry("./strfry", &directory, &["import"], input.as_bytes());
            import(&by_us, &[], input.as_bytes());
            assert_eq!(by_us.events(), by_strfry.events(), "{event}");
            assert_eq!(by_us.events().len(), usize::from(*is_taken), "{event}");
        }
    });
    assert_eq!(events.len(), are_taken.len());
}

#[test]
fn profiles_as_clients_write_them_are_stored_as_strfry_stores_them() {
    let events = fixture_lines("profiles.jsonl");
    are_judged_alike(&events, &[true; 10]);
}

#[test]
fn numbers_in_tags_are_judged_as_strfry_judges_them() {
    // A number in the place of a tag's value is refused whatever it is.
    are_judged_alike(&fixture_lines("numbers_in_tags.jsonl"), &[false; 7]);
    let number = |text: &str| {
        let tags = format!("[[\"n\",\"x\",{text}]]");
        Author::new(1).event_of(1, 1_700_000_000, &tags, "\"numbers in tags\"")
    };
    let taken = ["0", "-7", "18446744073709551615", "1.0", "0.1", "1840341214792636.2", "1e21"];
    are_judged_alike(&taken.map(number), &[true; 7]);
    let refused = [
        "-0",
        "1840341214792636.25",
        "1840341214792636.3",
        "8.938818334415312e-14",
        "8.93881820728939e-17e0",
        "5e-14",
        "1e3",
        "1.50",
        "1E21",
        "123456789012345678901234567890",
        "{\"b\":1,\"a\":1}",
    ];
    let refused = refused.map(number);
    are_judged_alike(&refused, &[false; 11]);

    let node = Node::new(&strfry_bin());
    let (_, summary) = import(&node, &[], &lines(&refused));
    let reasons = summary["reasons"].as_object().unwrap();
    let reason =
        "malformed: number 1840341214792636.25 in a tag, which strfry stores in another way";
    assert_eq!(reasons[reason], 1, "{reasons:#?}");
    assert_eq!(reasons["malformed: unable to parse JSON"], 1, "{reasons:#?}");
    // Genuine all the same, but for the one that is no number.
    let file = node.write("numbers.jsonl", lines(&refused));
    let output = node.companion(&["verify", file.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("genuine by NIP-01, but strfry would refuse it").count(), 8, "{said}");
    let misprinted = "genuine by NIP-01, but strfry may refuse it or store it in other bytes: number \
                      5e-14 in a tag, of a size at which strfry 1.1.1 misprints numbers";
    assert_eq!(said.matches(misprinted).count(), 1, "{said}");
}

/// strfry misprints one in fifty of these. The author of the second has hashed what strfry prints.
#[test]
fn of_the_numbers_of_which_strfry_misprints_some_none_is_stored() {
    let event = |tag: &str, content_length: usize| {
        let tags = format!("[[\"n\",\"x\",{tag}]]");
        let content = format!("\"{}\"", "y".repeat(content_length));
        Author::new(1).event_of(1, 1_700_000_000, &tags, &content)
    };
    let misprinted = [
        event("4.2588625714800235e66", 0),
        event("4.2588625714800236e66", 0),
        event("4e66", 0),
        // These go plain: this one is too large for a fried line, the next one has the word in it.
        event("1.0016385639661393e67", 65_100),
        event("{\"a\":1.0016385639661393e67,\"fried\":\"x\"}", 0),
    ];
    with_each_strfry(|strfry| {
        for arguments in [&[][..], &["--plain"]] {
            let node = Node::new(strfry);
            let (_, summary) = import(&node, arguments, &lines(&misprinted));
            assert_eq!(
                (&summary["events"], node.events()),
                (&json!({"malformed": 5}), [].into()),
                "{summary:#}"
            );
        }
    });
}

#[test]
fn what_is_nested_deeper_than_any_stack_has_room_for_is_refused_with_its_reason() {
    let node = Node::new(&strfry_bin());
    let nested = |depth: usize| {
        let tags = format!("[[\"n\",\"x\",{}{}]]", "[".repeat(depth), "]".repeat(depth));
        Author::new(1).event_of(1, 1_700_000_000, &tags, "\"\"")
    };
    let unknown = nested(1).replacen(
        '{',
        &format!("{{\"x\":{}0{},", "[".repeat(9_999), "]".repeat(9_999)),
        1,
    );
    let events = [nested(100), nested(128), nested(30_000), unknown];
    let (_, summary) = import(&node, &[], &lines(&events));
    assert_eq!(summary["events"], json!({"imported": 1, "malformed": 3}));
    assert_eq!(summary["reasons"], json!({"malformed: nested more than 127 deep": 3}));
    assert_eq!(node.events().len(), 1);
}
