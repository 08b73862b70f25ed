//! Scans of the golden databases, against what strfry scanned and exported from them.

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde_json::Value;
use strfry_companion::strfry_db::{Batch, Filter, ReadError, ScanOptions, StrfryDb};

use crate::support::{fixture_json_lines, fixture_text, golden_database};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

/// Few enough for many snapshots in one scan.
pub const SMALL_BATCHES: ScanOptions = ScanOptions { one_snapshot: false, rows_per_snapshot: 3 };
pub const ONE_SNAPSHOT: ScanOptions = ScanOptions { one_snapshot: true, rows_per_snapshot: 3 };

/// The ids that a scan gives, in its order.
pub fn ids(db: &StrfryDb, filters: Vec<Filter>, options: ScanOptions) -> Vec<String> {
    db.scan_with(filters, options).map(|event| event.unwrap().id().to_string()).collect()
}

/// The same, where so many threads read.
pub fn ids_on(
    threads: usize,
    db: &StrfryDb,
    filters: Vec<Filter>,
    options: ScanOptions,
) -> Vec<String> {
    let mut ids = Vec::new();
    let of_batch = |batch: &Batch<'_, '_>| {
        batch.packed()?.map(|event| Ok(event?.id().to_string())).collect::<Result<Vec<_>, _>>()
    };
    let ended: ControlFlow<()> =
        db.scan_with(filters, options).each_batch(threads, of_batch, |batch| {
            ids.append(&mut batch.unwrap());
            ControlFlow::Continue(())
        });
    assert_eq!(ended, ControlFlow::Continue(()));
    ids
}

/// How many events each batch of a scan has.
pub fn batches(
    db: &StrfryDb,
    filters: impl Into<Vec<Filter>>,
    options: ScanOptions,
) -> impl Iterator<Item = Result<usize, ReadError>> {
    db.scan_with(filters, options).map_batches(|batch| Ok(batch.found().len()))
}

#[test]
fn every_golden_scan_gives_strfrys_ids_in_strfrys_order_and_strfrys_count() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let mut scanned = 0;
        for scan in fixture_json_lines(&format!("{name}/scans.jsonl")) {
            let filter = scan["filter"].to_string();
            let parsed = Filter::parse(&filter);
            if let Some(error) = scan["error"].as_str() {
                let words = error.strip_prefix("strfry error: ").unwrap();
                let refusal = parsed.unwrap_err().to_string();
                // 1.0 named the field in fewer cases.
                let is_same = refusal.starts_with(words) || name == "strfry-1.0.4";
                assert!(is_same, "{refusal} is not {words}");
                continue;
            }
            let filters = parsed.unwrap();
            for options in [ScanOptions::default(), SMALL_BATCHES, ONE_SNAPSHOT] {
                let ids = ids(&db, filters.clone(), options);
                assert_eq!(Value::from(ids), scan["ids"], "{name} {filter} {options:?}");
                let count = db.count_with(filters.clone(), options).unwrap();
                assert_eq!(Value::from(count), scan["count"], "{name} {filter}");
            }
            scanned += 1;
        }
        assert!(scanned > 90, "{scanned}");
    }
}

#[test]
fn a_scan_of_everything_gives_the_export_backwards() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let (mut lines, mut found) = (Vec::new(), Vec::new());
        for event in db.scan(Filter::new()) {
            let event = event.unwrap();
            lines.push(event.json().unwrap().into_owned());
            found.push((event.lev_id(), event.created_at()));
        }
        let in_batches = db.scan(Filter::new()).map_batches(|batch| {
            let json = batch.json()?.map(|json| json.map(Cow::into_owned));
            let json = json.collect::<Result<Vec<String>, _>>()?;
            let found = batch.found().iter().map(|found| (found.lev_id, found.created_at));
            Ok((json, found.collect::<Vec<_>>()))
        });
        let (json, places): (Vec<_>, Vec<_>) = in_batches.map(Result::unwrap).unzip();
        assert!(json.concat() == lines && places.concat() == found, "{name}");
        lines.reverse();
        let exported: Vec<String> =
            fixture_text(&format!("{name}/export.jsonl")).lines().map(str::to_owned).collect();
        assert!(lines == exported, "{name}");
    }
}

#[test]
fn without_a_filter_that_can_match_there_is_no_batch() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    for filter in [r#"{"ids":[]}"#, r#"{"limit":0}"#, r#"{"since":2,"until":1}"#] {
        let filters = Filter::parse(filter).unwrap();
        assert!(db.scan(filters.clone()).next().is_none());
        assert_eq!(db.count(filters).unwrap(), 0);
    }
    assert!(db.scan(Vec::new()).next().is_none());
}

#[test]
fn more_authors_than_strfry_takes_find_the_events_of_each() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    let strangers = (0..5_000_u64).map(|number| format!("{number:064x}"));
    let authors: Vec<String> =
        strangers.chain(fixture_text("authors.txt").lines().map(str::to_owned)).collect();
    let everything = ids(&db, vec![Filter::new()], ScanOptions::default());
    let of_kinds = |kinds: &str| -> Vec<String> {
        let filter = format!(r#"{{"authors":{authors:?}{kinds}}}"#);
        ids(&db, Filter::parse(&filter).unwrap(), ScanOptions::default())
    };
    assert_eq!(of_kinds(""), everything);
    // Once with the pairs merged and once by author.
    let kinds = |kinds: &str| ids(&db, Filter::parse(kinds).unwrap(), ScanOptions::default());
    assert_eq!(of_kinds(r#","kinds":[1]"#), kinds(r#"{"kinds":[1]}"#));
    assert_eq!(of_kinds(r#","kinds":[0,1,7]"#), kinds(r#"{"kinds":[0,1,7]}"#));
}

#[test]
fn after_an_error_a_scan_has_ended() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    let filters = Filter::parse("[{},{}]").unwrap();
    let mut scan = batches(&db, filters, SMALL_BATCHES);
    assert!(scan.next().unwrap().is_ok());
    // A strfry has started, and nothing read without its lock can be trusted.
    std::fs::write(directory.path().join("lock.mdb"), b"").unwrap();
    assert!(matches!(scan.next(), Some(Err(ReadError::LockFileAppeared))));
    std::fs::remove_file(directory.path().join("lock.mdb")).unwrap();
    assert!(scan.next().is_none());
}
