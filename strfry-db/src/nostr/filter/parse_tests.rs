//! Filters as strfry takes and refuses them, and any text at all.

use proptest::prelude::*;

use super::super::TagFilter;
use super::*;
use crate::format::packed_event::{PackedEvent, header};

const KEY_HEX: &str = "803d71a475fef5b28faec4c27bd7cc9b88d24ae12a6c0327feb6220d537f631a";

fn refusal(json: &str) -> String {
    Filter::parse(json).unwrap_err().to_string()
}

#[test]
fn every_field_is_taken_sorted_and_without_repeats() {
    let key: [u8; 32] = hex::decode(KEY_HEX).unwrap().try_into().unwrap();
    let upper = KEY_HEX.to_uppercase();
    let json = format!(
        r##"{{"ids":["0x{KEY_HEX}","{upper}"],"authors":["{KEY_HEX}"],"kinds":[9,1,9],"#e":["{upper}"],
            "#t":["b","","a"],"since":1,"until":18446744073709551615,"limit":0}}"##
    );
    let expected = Filter {
        ids: Some(vec![EventId::from_bytes(key)]),
        authors: Some(vec![Pubkey::from_bytes(key)]),
        kinds: Some(vec![1, 9]),
        tags: vec![
            TagFilter { name: b'e', values: vec![key.to_vec()] },
            TagFilter { name: b't', values: vec![vec![], b"a".to_vec(), b"b".to_vec()] },
        ],
        since: 1,
        until: u64::MAX,
        limit: 0,
    };
    assert_eq!(Filter::parse(&json).unwrap(), [expected]);
    let everything = Filter::default();
    assert_eq!(Filter::parse(" [{}, {}] ").unwrap(), [everything.clone(), everything]);
}

#[test]
fn a_refusal_begins_with_strfrys_words() {
    let long = format!(r##"{{"#t":["{}"]}}"##, "a".repeat(256));
    for (json, words) in [
        ("[]", "too small"),
        ("[{},[]]", "provided filter is not an object"),
        ("null", "provided filter is not an object"),
        ("[[{}]]", "provided filter is not an object"),
        (r#"{"ids":[1]}"#, "error parsing ids: "),
        (r#"{"kinds":[1.5]}"#, "error parsing kinds: "),
        (r#"{"kinds":[-1]}"#, "error parsing kinds: "),
        (r#"{"ids":["zz"]}"#, "error parsing ids: unexpected character in from_hex: 122"),
        (r#"{"limit":1.0}"#, "error parsing limit"),
        (r#"{"limit":-0}"#, "error parsing limit"),
        (r#"{"limit":18446744073709551616}"#, "error parsing limit"),
        (r#"{"until":null}"#, "error parsing until"),
        (r#"{"ids":[],"nope":1}"#, "unrecognised filter item: nope"),
        (r#"{"zz":1,"aa":1}"#, "unrecognised filter item: aa"),
        (r##"{"#":["x"]}"##, "error parsing #: unindexed tag filter"),
        (r##"{"#é":["x"]}"##, "error parsing #é: unindexed tag filter"),
        (r##"{"kinds":[],"#t":1}"##, "#t not an array"),
        (&long, "error parsing #t: filter item too large"),
        (r#"{"limit":1,"limit":2}"#, "the filter is no valid JSON: duplicate JSON object key"),
        (r#"{"limit":1} x"#, "the filter is no valid JSON: "),
    ] {
        let refusal = refusal(json);
        assert!(refusal.starts_with(words), "{json}: {refusal}");
    }
}

#[test]
fn an_empty_array_matches_nothing_and_still_lets_other_faults_show() {
    let bytes = header(&EventId::from_bytes([1; 32]), &Pubkey::from_bytes([2; 32]), 3, 4, 0);
    let event = PackedEvent::from_parts(&bytes, b"\x64\x00");
    for json in [r#"{"ids":[]}"#, r#"{"kinds":[]}"#, r##"{"#d":[]}"##, r##"{"#long":[]}"##] {
        let filters = Filter::parse(json).unwrap();
        assert!(filters[0].finds_nothing() && !filters[0].matches(&event), "{json}");
    }
    assert!(Filter::default().matches(&event));
    assert!(Filter::parse(r##"{"#d":[""],"kinds":[4]}"##).unwrap()[0].matches(&event));
    assert!(!Filter::parse(r##"{"#d":["a"]}"##).unwrap()[0].matches(&event));
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_without_a_panic(text: String) {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn any_json_value_of_a_field_is_taken_or_refused_by_the_fields_name(
        name in "ids|authors|kinds|since|until|limit|#.{0,2}|[a-z]{0,3}",
        value in r#"-?[0-9]{1,21}|null|"[a-f0-9x]{0,66}"|\[("[a-fx0-9]{0,66}"|[0-9]{1,3})\]"#,
    ) {
        let json = format!("{{{}:{value}}}", serde_json::to_string(&name).unwrap());
        if serde_json::from_str::<Value>(&json).is_err() {
            return Ok(());
        }
        if let Err(error) = Filter::parse(&json) {
            prop_assert!(error.to_string().contains(&name), "{json}: {error}");
        }
    }

    #[test]
    fn kinds_and_times_match_as_numbers(kinds in prop::collection::vec(0..9_u64, 1..4), kind in 0..9_u64, since in 0..9_u64, until in 0..9_u64, time in 0..9_u64) {
        let json = format!(r#"{{"kinds":{kinds:?},"since":{since},"until":{until}}}"#);
        let filter = Filter::parse(&json).unwrap().remove(0);
        let bytes = header(&EventId::from_bytes([0; 32]), &Pubkey::from_bytes([0; 32]), time, kind, 0);
        let event = PackedEvent::from_parts(&bytes, &[]);
        prop_assert_eq!(filter.matches(&event), kinds.contains(&kind) && (since..=until).contains(&time));
    }
}
