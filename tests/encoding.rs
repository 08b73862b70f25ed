//! Our encoding of events, against what the real strfry stored and how it judged.

mod support;

use std::collections::HashMap;

use strfry_companion::import::{EventLimits, Refusal, StoredEvent};
use strfry_companion::nostr::{Event, signature};
use support::{fixture_json_lines, fixture_text};

fn encode(line: &str) -> Result<StoredEvent, Refusal> {
    StoredEvent::encode(&Event::parse(line)?, &EventLimits::default())
}

#[test]
fn every_golden_event_is_encoded_byte_by_byte_as_strfry_stored_it() {
    let ours: HashMap<String, StoredEvent> = fixture_text("events.jsonl")
        .lines()
        .map(|line| encode(line).unwrap())
        .map(|event| (event.id().to_string(), event))
        .collect();
    let fried = fixture_text("strfry-1.0.4/export-fried.jsonl");
    let mut compared = 0;
    for line in fried.lines() {
        let id = serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone();
        let event = &ours[id.as_str().unwrap()];
        let (json, packed) = line.rsplit_once(",\"fried\":\"").unwrap();
        assert_eq!(event.json(), format!("{json}}}"));
        assert_eq!(hex::encode(event.packed().to_vec()), packed.trim_end_matches("\"}"));
        compared += 1;
    }
    assert_eq!(compared, 605);
}

#[test]
fn every_fried_line_of_a_golden_event_is_strfrys() {
    for name in ["strfry-1.1.1", "strfry-1.0.4"] {
        let mut compared = 0;
        let exported = fixture_text(&format!("{name}/export.jsonl"));
        let fried = fixture_text(&format!("{name}/export-fried.jsonl"));
        for (line, expected) in exported.lines().zip(fried.split_inclusive('\n')) {
            let mut ours = Vec::new();
            encode(line).unwrap().push_fried_line(&mut ours);
            assert_eq!(String::from_utf8(ours).unwrap(), expected);
            compared += 1;
        }
        assert!(compared >= 604, "{compared}");
    }
}

#[test]
fn what_strfry_would_not_take_fried_goes_as_it_is() {
    let limits = EventLimits::default();
    let event = |tags: serde_json::Value| {
        let author = support::events::Author::new(1);
        encode(&author.event(3, 5, tags, "")).unwrap()
    };
    let follows = |count: usize| {
        let follow = |number| serde_json::json!(["p", format!("{number:064x}")]);
        event((0..count).map(follow).collect())
    };
    // A fried line has the same limit as a plain one, and a longer line ends the whole import.
    let fried_length = |event: &StoredEvent| {
        let mut line = Vec::new();
        event.push_fried_line(&mut line);
        line.len()
    };
    let most = (1..850).rfind(|&count| fried_length(&follows(count)) <= limits.max_event_size);
    let most = most.unwrap();
    assert!((300..600).contains(&most), "{most}");
    assert!(follows(most).can_be_fried(&limits));
    assert!(!follows(most + 1).can_be_fried(&limits));
    // Cut short behind the brace of that object, it would be the fried line of another event.
    let object = serde_json::json!({ "a": 1, "fried": "00".repeat(88) });
    assert!(!event(serde_json::json!([["t", "x", object]])).can_be_fried(&limits));
    let text = serde_json::json!([["t", ",\"fried\":\"00\"}"]]);
    assert!(event(text).can_be_fried(&limits));
}

#[test]
fn every_golden_event_has_the_id_and_signature_that_it_claims() {
    for line in fixture_text("events.jsonl").lines() {
        let event = encode(line).unwrap();
        assert_eq!(event.hash(), event.id());
        assert!(signature::is_valid(&event.id(), &event.packed().pubkey(), &event.sig));
    }
}

#[test]
fn our_verdict_on_odd_events_is_strfrys_except_where_nip_01_is_stricter() {
    for case in fixture_json_lines("verdicts.jsonl") {
        let name = case["name"].as_str().unwrap();
        let verdict = encode(case["line"].as_str().unwrap()).map_err(|refusal| refusal.to_string());
        let ours = match &verdict {
            Err(refusal) if refusal == "unable to parse JSON" => "unparsed".into(),
            Err(refusal) => refusal.clone(),
            Ok(event) if event.hash() != event.id() => "bad event id".into(),
            Ok(event)
                if !signature::is_valid(&event.id(), &event.packed().pubkey(), &event.sig) =>
            {
                "bad signature".into()
            }
            Ok(event) => format!("added {}", event.json()),
        };
        let theirs = match case["import"]["verdict"].as_str().unwrap() {
            "added" => format!("added {}", case["import"]["stored"].as_str().unwrap()),
            "rejected" => case["import"]["reason"].as_str().unwrap().to_owned(),
            other => other.to_owned(),
        };
        // Both refuse, in other words, but for the first, which strfry takes.
        let expected = match name {
            "uppercase id" => "event id field is not lowercase hex of the right length".to_owned(),
            "short sig" => "event sig field is not lowercase hex of the right length".to_owned(),
            "non-hex p tag" => "tag p is not hex".to_owned(),
            "bad expiration" => "non-digit character in expiration".to_owned(),
            "DEL in content (NIP-01 text)" => Refusal::Del.to_string(),
            _ => theirs.clone(),
        };
        assert_eq!(ours, expected, "{name}");
        assert_eq!(
            ours.starts_with("added"),
            theirs.starts_with("added") && name != "uppercase id"
        );
    }
}

#[test]
fn what_does_not_fit_into_an_import_line_is_too_large() {
    let event = |size: usize| {
        let line = fixture_text("events.jsonl").lines().next().unwrap().to_owned();
        let mut event: serde_json::Value = serde_json::from_str(&line).unwrap();
        event["content"] = "".into();
        let spare = size - encode(&event.to_string()).unwrap().json().len();
        event["content"] = "x".repeat(spare).into();
        encode(&event.to_string()).map(|event| event.json().len())
    };
    assert_eq!(event(65_535), Ok(65_535));
    assert_eq!(event(65_536), Err(Refusal::TooLarge(65_536)));
}
