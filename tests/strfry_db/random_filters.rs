//! Random filters: the scan against a naive one over strfry's export, and against strfry itself.
//!
//! A failure names its seed. `SCAN_SEED=that SCAN_FILTERS=1 cargo test --test strfry_db random`
//! tries that one again; a larger number goes on from there.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use serde_json::{Map, Value, json};
use strfry_companion::nostr::kind;
use strfry_companion::strfry_db::ScanOptions;
use strfry_companion::strfry_db::{Filter, StrfryDb};

use crate::scan::{ids, ids_on};
use crate::support::{
    NO_STRFRY, fixture_json_lines, golden_database, real_strfry, run_strfry, strfry_node,
};

/// For each of the databases, with its lock file and without.
const FILTERS: u64 = 3_400;
const FILTERS_FOR_STRFRY: u64 = 300;

/// Seeds of the filters to try, so many unless the environment says otherwise.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = variable("SCAN_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("SCAN_SEED={first}");
    first..first + variable("SCAN_FILTERS").unwrap_or(count)
}

/// The events of a golden database, newest first.
fn newest_first(database: &str) -> Vec<Value> {
    let mut events = fixture_json_lines(&format!("{database}/export.jsonl"));
    events.reverse();
    events
}

fn random_filters(random: &mut Rng, events: &[Value]) -> Value {
    match random.u8(..10) {
        0 => (0..random.usize(1..4)).map(|_| random_filter(random, events)).collect(),
        _ => random_filter(random, events),
    }
}

/// A filter whose fields come from events, so that there is something to find, and sometimes from
/// nowhere.
fn random_filter(random: &mut Rng, events: &[Value]) -> Value {
    let mut filter = Map::new();
    let some = |random: &mut Rng, most: usize, field: &str| -> Value {
        let pick = |random: &mut Rng| match random.u8(..20) {
            0 => json!("00".repeat(32)),
            _ => random.choice(events).unwrap()[field].clone(),
        };
        (0..random.usize(1..=most)).map(|_| pick(random)).collect()
    };
    if random.u8(..8) == 0 {
        filter.insert("ids".into(), some(random, 30, "id"));
    }
    if random.u8(..3) == 0 {
        filter.insert("authors".into(), some(random, 8, "pubkey"));
    }
    if random.u8(..2) == 0 {
        let kinds = (0..random.usize(1..6)).map(|_| match random.u8(..10) {
            0 => json!(random.u64(..)),
            _ => random.choice(events).unwrap()["kind"].clone(),
        });
        filter.insert("kinds".into(), kinds.collect());
    }
    for _ in 0..[0, 0, 0, 1, 1, 2, 3][random.usize(..7)] {
        let (name, value) = random_tag(random, events);
        let mut values = vec![value];
        for _ in 0..random.usize(..4) {
            let (other, value) = random_tag(random, events);
            if other == name {
                values.push(value);
            }
        }
        filter.insert(name, values.into());
    }
    let time = |random: &mut Rng| -> Value {
        let time = random.choice(events).unwrap()["created_at"].as_u64().unwrap();
        json!(time.saturating_add(random.u64(..3)).saturating_sub(1))
    };
    for (field, rarity) in [("since", 3), ("until", 3)] {
        if random.u8(..rarity) == 0 {
            filter.insert(field.into(), time(random));
        }
    }
    if random.u8(..3) == 0 {
        filter.insert("limit".into(), json!([0, 1, 2, 7, 50, 1_000][random.usize(..6)]));
    }
    filter.into()
}

/// `#x` and a value of an event's tag that strfry accepts in a filter.
fn random_tag(random: &mut Rng, events: &[Value]) -> (String, Value) {
    loop {
        let event = random.choice(events).unwrap();
        let Some(tag) = random.choice(event["tags"].as_array().unwrap()) else { continue };
        let (name, value) = (tag[0].as_str().unwrap_or(""), tag[1].as_str().unwrap_or(""));
        if name.len() == 1 && value.len() <= 255 {
            return (format!("#{name}"), json!(value));
        }
    }
}

/// What a filter or several should find: every event is looked at for every filter.
fn naive(filters: &Value, events: &[Value]) -> Vec<String> {
    let filters = filters.as_array().cloned().unwrap_or_else(|| vec![filters.clone()]);
    let (mut found, mut given) = (Vec::new(), HashSet::new());
    for filter in &filters {
        let limit = filter["limit"].as_u64().map_or(usize::MAX, |limit| limit as usize);
        for event in events.iter().filter(|event| matches(filter, event)).take(limit) {
            let id = event["id"].as_str().unwrap();
            if given.insert(id) {
                found.push(id.to_owned());
            }
        }
    }
    found
}

fn matches(filter: &Value, event: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(field, wanted)| match field.as_str() {
        "ids" => wanted.as_array().unwrap().contains(&event["id"]),
        "authors" => wanted.as_array().unwrap().contains(&event["pubkey"]),
        "kinds" => wanted.as_array().unwrap().contains(&event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        "limit" => true,
        tag => {
            let values = indexed_values(tag.strip_prefix('#').unwrap(), event);
            wanted
                .as_array()
                .unwrap()
                .iter()
                .any(|value| values.iter().any(|have| have.eq(value.as_str().unwrap())))
        }
    })
}

/// What strfry indexes of an event's tags with this name.
fn indexed_values(name: &str, event: &Value) -> Vec<String> {
    let tags = event["tags"].as_array().unwrap().iter();
    let mut values: Vec<String> = tags
        .filter(|tag| tag[0] == name)
        .map(|tag| tag[1].as_str().unwrap_or("").to_owned())
        .filter(|value| value.len() <= 255)
        .collect();
    let number = event["kind"].as_u64().unwrap();
    if name == "d" && (kind::is_replaceable(number) || kind::is_addressable(number)) {
        values.push(String::new());
    }
    values
}

#[test]
fn random_filters_find_what_a_naive_filter_finds() {
    for name in ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"] {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let optimistic = StrfryDb::open_without_lock(directory.path()).unwrap();
        let events = newest_first(name);
        let mut not_empty = 0;
        for seed in seeds(FILTERS) {
            let mut random = Rng::with_seed(seed);
            let filters = random_filters(&mut random, &events);
            let options =
                ScanOptions { one_snapshot: random.bool(), rows_per_snapshot: random.usize(1..60) };
            let expected = naive(&filters, &events);
            let parsed = Filter::parse(&filters.to_string()).unwrap();
            let case = format!("SCAN_SEED={seed} on {name}: {filters} {options:?}");
            assert_eq!(
                db.count_with(parsed.clone(), options).unwrap(),
                expected.len() as u64,
                "{case}"
            );
            assert_eq!(ids(&db, parsed.clone(), options), expected, "{case}");
            let threads = random.usize(2..4);
            assert_eq!(ids_on(threads, &db, parsed.clone(), options), expected, "{case}");
            let options = ScanOptions { one_snapshot: false, ..options };
            let case = format!("{case} without a lock file");
            assert_eq!(
                optimistic.count_with(parsed.clone(), options).unwrap(),
                expected.len() as u64,
                "{case}"
            );
            assert_eq!(ids(&optimistic, parsed, options), expected, "{case}");
            not_empty += usize::from(!expected.is_empty());
        }
        println!("{name}: {not_empty} of the filters found something");
    }
}

/// The ids that strfry's own scan gives.
fn strfry_ids(strfry: &Path, node: &Path, filters: &Value) -> Vec<String> {
    let output = run_strfry(strfry, node, &["scan", &filters.to_string()], b"");
    assert!(output.status.success(), "{filters}");
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(id).collect()
}

#[test]
fn random_filters_find_what_the_real_strfry_finds() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let node = strfry_node();
    let database = node.path().join("strfry-db");
    let golden = golden_database("strfry-1.1.1");
    fs::copy(golden.path().join("data.mdb"), database.join("data.mdb")).unwrap();
    // It makes the lock file.
    run_strfry(&strfry, node.path(), &["scan", "--count", "{}"], b"");
    let db = StrfryDb::open(&database).unwrap();
    let events = newest_first("strfry-1.1.1");
    for seed in seeds(FILTERS_FOR_STRFRY) {
        let filters = random_filters(&mut Rng::with_seed(seed), &events);
        let parsed = Filter::parse(&filters.to_string()).unwrap();
        let expected = strfry_ids(&strfry, node.path(), &filters);
        let found = ids(&db, parsed, ScanOptions::default());
        assert_eq!(found, expected, "SCAN_SEED={seed}: {filters}");
    }
}
