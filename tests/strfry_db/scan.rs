//! Scans of the golden databases, against what strfry scanned and exported from them.

use serde_json::Value;
use strfry_companion::strfry_db::scan::{Batch, ScanFilter, ScanOptions};
use strfry_companion::strfry_db::{ReadError, StrfryDb};

use crate::support::{fixture_json_lines, fixture_text, golden_database};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

/// Few enough for many snapshots in one scan.
pub const SMALL_BATCHES: ScanOptions = ScanOptions { one_snapshot: false, rows_per_snapshot: 3 };
pub const ONE_SNAPSHOT: ScanOptions = ScanOptions { one_snapshot: true, rows_per_snapshot: 3 };

/// The ids that a scan gives, in its order.
pub fn ids(db: &StrfryDb, filters: Vec<ScanFilter>, options: ScanOptions) -> Vec<String> {
    let of_batch = |batch: Result<Batch<'_>, ReadError>| -> Vec<String> {
        let batch = batch.unwrap();
        batch.iter().map(|event| event.packed().unwrap().id().to_string()).collect()
    };
    db.scan(filters, options).flat_map(of_batch).collect()
}

#[test]
fn every_golden_scan_gives_strfrys_ids_in_strfrys_order_and_strfrys_count() {
    for name in DATABASES {
        let directory = golden_database(name);
        let db = StrfryDb::open(directory.path()).unwrap();
        let mut scanned = 0;
        for scan in fixture_json_lines(&format!("{name}/scans.jsonl")) {
            let filter = scan["filter"].to_string();
            let parsed = ScanFilter::parse(&filter);
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
                let count = db.count(filters.clone(), options).unwrap();
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
        let mut lines = Vec::new();
        for batch in db.scan(vec![ScanFilter::default()], ScanOptions::default()) {
            let batch = batch.unwrap();
            for event in batch.iter() {
                assert_eq!(event.created_at(), event.packed().unwrap().created_at());
                lines.push(event.json().unwrap().into_owned());
            }
        }
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
        let filters = ScanFilter::parse(filter).unwrap();
        assert!(db.scan(filters.clone(), ScanOptions::default()).next().is_none());
        assert_eq!(db.count(filters, ScanOptions::default()).unwrap(), 0);
    }
    assert!(db.scan(Vec::new(), ScanOptions::default()).next().is_none());
}

#[test]
fn more_authors_than_strfry_takes_find_the_events_of_each() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    let strangers = (0..5_000_u64).map(|number| format!("{number:064x}"));
    let authors: Vec<String> =
        strangers.chain(fixture_text("authors.txt").lines().map(str::to_owned)).collect();
    let everything = ids(&db, vec![ScanFilter::default()], ScanOptions::default());
    let of_kinds = |kinds: &str| -> Vec<String> {
        let filter = format!(r#"{{"authors":{authors:?}{kinds}}}"#);
        ids(&db, ScanFilter::parse(&filter).unwrap(), ScanOptions::default())
    };
    assert_eq!(of_kinds(""), everything);
    // Once with the pairs merged and once by author.
    let kinds = |kinds: &str| ids(&db, ScanFilter::parse(kinds).unwrap(), ScanOptions::default());
    assert_eq!(of_kinds(r#","kinds":[1]"#), kinds(r#"{"kinds":[1]}"#));
    assert_eq!(of_kinds(r#","kinds":[0,1,7]"#), kinds(r#"{"kinds":[0,1,7]}"#));
}

#[test]
fn after_an_error_a_scan_has_ended() {
    let directory = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(directory.path()).unwrap();
    let filters = ScanFilter::parse("[{},{}]").unwrap();
    let mut scan = db.scan(filters, SMALL_BATCHES);
    assert!(scan.next().unwrap().is_ok());
    // A strfry has started, and nothing read without its lock can be trusted.
    std::fs::write(directory.path().join("lock.mdb"), b"").unwrap();
    assert!(matches!(scan.next(), Some(Err(ReadError::LockFileAppeared))));
    std::fs::remove_file(directory.path().join("lock.mdb")).unwrap();
    assert!(scan.next().is_none());
}
