//! Exports: byte for byte strfry's, whatever the range and however a writer gets in between.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::Event;
use strfry_companion::strfry_db::{
    ExportRange, Filter, ReadError, ScanOptions, Snapshot, StrfryDb,
};
use tempfile::TempDir;

use crate::scan::ids_on;
use crate::support::events::{Author, id_of};
use crate::support::raw::RawDatabase;
use crate::support::stand_in::writer::{Durability, NewEvent, Writer};
use crate::support::{
    NO_STRFRY, fixture_json_lines, fixture_text, golden_database, real_strfry, run_strfry,
    strfry_bin, strfry_node,
};

/// Enough that one walk takes several batches, and more than one thread has to do.
const MANY: u64 = 25_000;

/// How many threads read.
const THREADS: [usize; 3] = [1, 2, 5];

fn exported(directory: &Path, range: ExportRange, fried: bool) -> String {
    let db = StrfryDb::open(directory).unwrap();
    let mut export = db.export(range, fried).unwrap();
    let mut out = Vec::new();
    while export.next_batch(&mut out).unwrap() {}
    String::from_utf8(out).unwrap()
}

/// What an export on so many threads gives, and how it ends.
fn exported_on(
    threads: usize,
    db: &StrfryDb,
    range: ExportRange,
    fried: bool,
) -> (String, Result<(), ReadError>) {
    let (mut out, mut end) = (Vec::new(), Ok(()));
    let ended: ControlFlow<()> =
        db.export(range, fried).unwrap().each_batch(threads, |lines, read| {
            assert!(end.is_ok(), "a batch behind an error");
            out.extend_from_slice(lines);
            end = read;
            ControlFlow::Continue(())
        });
    assert_eq!(ended, ControlFlow::Continue(()));
    (String::from_utf8(out).unwrap(), end)
}

#[test]
fn an_export_of_everything_is_what_strfry_exported() {
    for name in ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"] {
        let directory = golden_database(name);
        let expected = fixture_text(&format!("{name}/export.jsonl"));
        let everything = ExportRange::default();
        assert!(exported(directory.path(), everything, false) == expected, "{name}");
        let one = ExportRange { one_snapshot: true, ..everything };
        assert!(exported(directory.path(), one, false) == expected, "{name}, one snapshot");
    }
    for name in ["strfry-1.1.1", "strfry-1.0.4"] {
        let directory = golden_database(name);
        let expected = fixture_text(&format!("{name}/export-fried.jsonl"));
        assert!(exported(directory.path(), ExportRange::default(), true) == expected, "{name}");
    }
}

#[test]
fn every_range_in_both_orders_is_what_a_strfry_exports() {
    let golden = golden_database("strfry-1.1.1");
    let node = strfry_node();
    let data = node.path().join("strfry-db/data.mdb");
    std::fs::copy(golden.path().join("data.mdb"), &data).unwrap();
    let strfry = real_strfry().unwrap_or_else(|| {
        println!("{NO_STRFRY}");
        strfry_bin()
    });
    let mut times: Vec<u64> = fixture_json_lines("strfry-1.1.1/export.jsonl")
        .iter()
        .map(|event| event["created_at"].as_u64().unwrap())
        .collect();
    times.dedup();
    let middle = times[times.len() / 2];
    let (first, last) = (times[1], times[times.len() - 2]);
    let ranges = [
        (None, None),
        (Some(middle), None),
        (None, Some(middle)),
        (Some(middle + 1), Some(last - 1)),
        (Some(middle), Some(middle)),
        (Some(last), Some(first)),
        (Some(0), Some(first - 1)),
        (Some(last + 1), None),
    ];
    for (since, until) in ranges {
        for (reverse, fried) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut arguments = vec!["export".to_owned()];
            arguments.extend(since.map(|since| format!("--since={since}")));
            arguments.extend(until.map(|until| format!("--until={until}")));
            arguments.extend(reverse.then(|| "--reverse".to_owned()));
            arguments.extend(fried.then(|| "--fried".to_owned()));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let theirs = run_strfry(&strfry, node.path(), &arguments, b"");
            assert!(theirs.status.success(), "{theirs:?}");
            let range = ExportRange {
                since: since.unwrap_or(0),
                until: until.unwrap_or(u64::MAX),
                reverse,
                one_snapshot: false,
            };
            let ours = exported(data.parent().unwrap(), range, fried);
            assert!(ours.as_bytes() == theirs.stdout, "{arguments:?}");
        }
    }
}

fn stored(line: &str) -> NewEvent {
    let limits = EventLimits::default();
    NewEvent::from(&StoredEvent::encode(&Event::parse(line).unwrap(), &limits).unwrap())
}

/// Notes, 100 in each second.
fn busy_database() -> (TempDir, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let writer = Writer::open(directory.path(), Durability::NotSynced).unwrap();
    let author = Author::new(1);
    let lines: Vec<String> = (0..MANY)
        .map(|number| crate::support::events::unsigned(&author, number + 1, 1_000 + number / 100))
        .collect();
    let events: Vec<NewEvent> = lines.iter().map(|line| stored(line)).collect();
    writer.write_events(&events).unwrap();
    (directory, lines)
}

#[test]
fn several_threads_export_what_one_does_in_the_same_order() {
    let (directory, _) = busy_database();
    for (reverse, fried) in [(false, false), (true, false), (false, true)] {
        for (since, until) in [(0, u64::MAX), (1_010, 1_200)] {
            let range = ExportRange { since, until, reverse, one_snapshot: false };
            let expected = exported(directory.path(), range, fried);
            let seconds = until.min(1_249) - since.max(1_000) + 1;
            assert_eq!(expected.lines().count() as u64, seconds * (MANY / 250));
            let db = StrfryDb::open(directory.path()).unwrap();
            for threads in THREADS {
                let (out, end) = exported_on(threads, &db, range, fried);
                assert!(end.is_ok() && out == expected, "{range:?} {fried} on {threads} threads");
            }
        }
    }
    let db = StrfryDb::open(directory.path()).unwrap();
    // Who has enough gets no more.
    let mut batches = 0;
    let ended = db.export(ExportRange::default(), false).unwrap().each_batch(2, |_, _| {
        batches += 1;
        if batches < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break("enough") }
    });
    assert_eq!((ended, batches), (ControlFlow::Break("enough"), 10));
}

#[test]
fn damage_ends_an_export_on_several_threads_behind_what_precedes_it() {
    let (directory, _) = busy_database();
    let whole = exported(directory.path(), ExportRange::default(), false);
    let lines: Vec<&str> = whole.lines().collect();
    for place in [0, 1_000, 7_777, 20_000, 24_999] {
        let lev_id = {
            let db = StrfryDb::open(directory.path()).unwrap();
            db.snapshot().unwrap().find(&id_of(lines[place]).parse().unwrap()).unwrap().unwrap()
        };
        let raw = || RawDatabase::open(directory.path());
        let payload = [&[0], lines[place].as_bytes()].concat();
        raw().put("EventPayload", &lev_id.to_ne_bytes(), b"\x07{}");
        {
            let db = StrfryDb::open(directory.path()).unwrap();
            for threads in THREADS {
                let (out, end) = exported_on(threads, &db, ExportRange::default(), false);
                let error = end.unwrap_err();
                let is_of_payload =
                    matches!(error, ReadError::Damaged { table: "EventPayload", .. });
                assert!(is_of_payload, "{error}");
                assert_eq!(out.lines().count(), place, "on {threads} threads");
                assert!(whole.starts_with(&out));
            }
        }
        raw().put("EventPayload", &lev_id.to_ne_bytes(), &payload);
    }
}

#[test]
fn where_one_reader_slot_is_left_several_threads_read_what_one_does() {
    let (directory, _) = busy_database();
    let expected = exported(directory.path(), ExportRange::default(), false);
    let ids: Vec<String> = expected.lines().rev().map(id_of).collect();
    // Whoever comes first initialises it.
    std::fs::write(directory.path().join("lock.mdb"), "").unwrap();
    let db = StrfryDb::open(directory.path()).unwrap();
    let mut snapshots: Vec<Snapshot<'_>> = std::iter::from_fn(|| db.snapshot().ok()).collect();
    let (out, end) = exported_on(4, &db, ExportRange::default(), false);
    assert!(out.is_empty() && matches!(end, Err(ReadError::ReadersFull)), "{end:?}");
    snapshots.pop();
    let (out, end) = exported_on(4, &db, ExportRange::default(), false);
    assert!(end.is_ok() && out == expected, "{end:?}");
    let found = ids_on(4, &db, vec![Filter::new()], ScanOptions::default());
    assert!(found == ids, "{} of {}", found.len(), ids.len());
}

/// A writer in another process commits between the batches: a process may have a database open
/// only once.
fn import(node: &Path, events: &[String]) {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let imported = run_strfry(strfry_bin(), node, &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success());
}

#[test]
fn a_writer_that_commits_between_batches_makes_nothing_repeat_or_go_missing() {
    for (reverse, threads) in [(false, 1), (true, 1), (false, 2), (true, 3)] {
        let (directory, before) = busy_database();
        let node = strfry_node();
        let data = node.path().join("strfry-db");
        std::fs::copy(directory.path().join("data.mdb"), data.join("data.mdb")).unwrap();
        import(node.path(), &[]);
        let db = StrfryDb::open(&data).unwrap();
        let range = ExportRange { reverse, ..ExportRange::default() };
        let mut out = Vec::new();
        let author = Author::new(2);
        let mut batches = 0;
        let ended = db.export(range, false).unwrap().each_batch(threads, |lines, read| {
            out.extend_from_slice(lines);
            batches += 1;
            // In seconds that are done, at the very place of the walk, and still to come.
            let seconds = [1_000, 1_099, 1_100, 1_149, 1_150, 1_199, 1_249, 2_000];
            let notes = seconds.map(|second| author.note(second, &format!("{batches}")));
            import(node.path(), &notes);
            if read.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(read) }
        });
        assert!(ended.is_continue(), "{ended:?}");
        assert!(batches >= 3, "{batches}");
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<String> = text.lines().map(id_of).collect();
        let unique: HashSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "repeated");
        assert!(before.iter().all(|line| unique.contains(&id_of(line))), "missed");
        let of_time = |line: &str| -> u64 {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["created_at"].as_u64().unwrap()
        };
        let mut times: Vec<u64> = text.lines().map(of_time).collect();
        if reverse {
            times.reverse();
        }
        assert!(times.is_sorted());
    }
}

#[test]
fn one_snapshot_holds_nothing_that_came_after_its_beginning() {
    let (directory, before) = busy_database();
    let node = strfry_node();
    let data = node.path().join("strfry-db");
    std::fs::copy(directory.path().join("data.mdb"), data.join("data.mdb")).unwrap();
    import(node.path(), &[]);
    let db = StrfryDb::open(&data).unwrap();
    let range = ExportRange { one_snapshot: true, ..ExportRange::default() };
    let mut export = db.export(range, false).unwrap();
    let mut out = Vec::new();
    assert!(export.next_batch(&mut out).unwrap());
    import(node.path(), &[Author::new(2).note(5_000, "late")]);
    while export.next_batch(&mut out).unwrap() {}
    let ids: Vec<String> = String::from_utf8(out).unwrap().lines().map(id_of).collect();
    assert_eq!(ids, before.iter().map(|line| id_of(line)).collect::<Vec<_>>());
}

#[test]
fn a_damaged_payload_ends_an_export_behind_what_precedes_it() {
    let directory = golden_database("strfry-1.1.1");
    let expected = fixture_text("strfry-1.1.1/export.jsonl");
    let lines: Vec<&str> = expected.lines().collect();
    let lev_id = {
        let db = StrfryDb::open(directory.path()).unwrap();
        db.snapshot().unwrap().find(&id_of(lines[10]).parse().unwrap()).unwrap().unwrap()
    };
    for damage in [&b""[..], b"\x07{}", b"\x00\xff", b"\x01\x01"] {
        RawDatabase::open(directory.path()).put("EventPayload", &lev_id.to_ne_bytes(), damage);
        let db = StrfryDb::open(directory.path()).unwrap();
        let mut out = Vec::new();
        let error =
            db.export(ExportRange::default(), false).unwrap().next_batch(&mut out).unwrap_err();
        assert!(matches!(error, ReadError::Damaged { table: "EventPayload", .. }), "{error}");
        assert_eq!(String::from_utf8(out).unwrap(), lines[..10].join("\n") + "\n");
    }
}
