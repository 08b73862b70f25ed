//! Every answer on the golden databases, against what strfry exported and scanned from them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use strfry_companion::nostr::{EventId, Pubkey, kind};
use strfry_companion::strfry_db::{Meta, PackedEvent, StoredJson, StrfryDb};

use crate::support::{fixture_json_lines, fixture_text, golden_database};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

struct Exported {
    id: EventId,
    pubkey: Pubkey,
    created_at: u64,
    kind: u64,
    json: String,
}

/// By time, and within a second by levId.
fn exported(database: &str) -> Vec<Exported> {
    let of_line = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        Exported {
            id: event["id"].as_str().unwrap().parse().unwrap(),
            pubkey: event["pubkey"].as_str().unwrap().parse().unwrap(),
            created_at: event["created_at"].as_u64().unwrap(),
            kind: event["kind"].as_u64().unwrap(),
            json: line.to_owned(),
        }
    };
    fixture_text(&format!("{database}/export.jsonl")).lines().map(of_line).collect()
}

fn authors() -> Vec<Pubkey> {
    fixture_text("authors.txt").lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn the_newest_event_of_every_author_and_kind_is_the_last_exported() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let mut newest = HashMap::new();
        let mut kinds = BTreeMap::new();
        for event in exported(name) {
            *kinds.entry(event.kind).or_insert(0) += 1;
            let stored =
                StoredJson { id: event.id, created_at: event.created_at, json: event.json.into() };
            newest.insert((event.pubkey, event.kind), stored);
        }
        for &kind in kinds.keys() {
            let expected: Vec<_> =
                authors().iter().map(|&author| newest.get(&(author, kind)).cloned()).collect();
            assert_eq!(
                db.newest_json_of_each(&authors(), kind).unwrap(),
                expected,
                "{name} {kind}"
            );
            let is_there: Vec<bool> = expected.iter().map(Option::is_some).collect();
            assert_eq!(db.has_kind_each(&authors(), kind).unwrap(), is_there, "{name} {kind}");
        }
        assert_eq!(db.stats().unwrap().kinds, kinds.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn profiles_are_those_that_strfry_scanned() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let scans = fixture_json_lines(&format!("{name}/scans.jsonl"));
        let all_profiles = serde_json::json!({ "kinds": [0] });
        let scan = scans.iter().find(|scan| scan["filter"] == all_profiles).unwrap();
        let mut scanned: Vec<&str> =
            scan["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let profiles = db.newest_json_of_each(&authors(), kind::PROFILE).unwrap();
        let mut found: Vec<String> =
            profiles.into_iter().flatten().map(|profile| profile.id.to_string()).collect();
        scanned.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, scanned, "{name}");
    }
}

#[test]
fn every_exported_id_is_there_and_leads_to_its_event() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let events = exported(name);
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        assert_eq!(db.contains_each(&ids).unwrap(), vec![true; ids.len()], "{name}");

        let snapshot = db.snapshot().unwrap();
        for event in &events {
            let lev_id = snapshot.find(&event.id).unwrap().unwrap();
            let packed = snapshot.packed(lev_id).unwrap().unwrap();
            assert_eq!(
                (packed.id(), packed.pubkey(), packed.created_at(), packed.kind()),
                (event.id, event.pubkey, event.created_at, event.kind)
            );
            assert_eq!(snapshot.json(lev_id).unwrap().unwrap(), event.json, "{name}");
        }
    }
}

#[test]
fn packed_events_are_those_that_strfry_exported_fried() {
    for name in ["strfry-1.1.1", "strfry-1.0.4"] {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let snapshot = db.snapshot().unwrap();
        for line in fixture_text(&format!("{name}/export-fried.jsonl")).lines() {
            let (_, fried) = line.rsplit_once(",\"fried\":\"").unwrap();
            let expected = hex::decode(fried.strip_suffix("\"}").unwrap()).unwrap();
            let expected = PackedEvent::from_bytes(&expected).unwrap();
            let lev_id = snapshot.find(&expected.id()).unwrap().unwrap();
            assert_eq!(snapshot.packed(lev_id).unwrap(), Some(expected));
        }
    }
}

#[test]
fn what_strfry_replaced_or_deleted_is_not_there() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let stored: Vec<EventId> = exported(name).iter().map(|event| event.id).collect();
        let gone: Vec<EventId> = fixture_json_lines("events.jsonl")
            .iter()
            .map(|event| event["id"].as_str().unwrap().parse().unwrap())
            .filter(|id| !stored.contains(id))
            .collect();
        assert!(!gone.is_empty());
        assert_eq!(db.contains_each(&gone).unwrap(), vec![false; gone.len()], "{name}");
    }
}

#[test]
fn deletions_and_replaceable_events_are_found_by_their_keys() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    let snapshot = db.snapshot().unwrap();
    let (mut deletions, mut replaceable) = (0, 0);
    for event in exported("strfry-1.1.1") {
        let lev_id = snapshot.find(&event.id).unwrap().unwrap();
        let packed = snapshot.packed(lev_id).unwrap().unwrap();
        if let Some(d_tag) = packed.d_tag()
            && (kind::is_replaceable(event.kind) || kind::is_addressable(event.kind))
        {
            let found = snapshot.replaceable(&event.pubkey, d_tag, event.kind).unwrap();
            assert_eq!(found, Some(lev_id));
            replaceable += 1;
        }
        for (_, deleted) in packed.tags().filter(|&(name, _)| event.kind == 5 && name == b'e') {
            let deleted = EventId::from_bytes(deleted.try_into().unwrap());
            let by = snapshot.deletion(&deleted, &event.pubkey).unwrap().unwrap();
            let by = snapshot.packed(by).unwrap().unwrap();
            assert_eq!((by.pubkey(), by.kind()), (event.pubkey, kind::DELETION));
            deletions += 1;
        }
    }
    assert!(deletions > 0 && replaceable > 100, "{deletions} {replaceable}");
}

#[test]
fn stats_describe_the_whole_database() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let events = exported(name);
        let stats = db.stats().unwrap();
        assert_eq!(stats.events, u64::try_from(events.len()).unwrap());
        assert_eq!(
            stats.bytes,
            std::fs::metadata(directory.path().join("data.mdb")).unwrap().len()
        );
        assert_eq!(stats.oldest, events.first().map(|event| event.created_at));
        assert_eq!(stats.newest, events.last().map(|event| event.created_at));
        assert_eq!(stats.db_version, 3);
        assert_eq!(
            *db.meta(),
            Meta { db_version: 3, endianness: 1, negentropy_modification_counter: 1 }
        );
    }
}
