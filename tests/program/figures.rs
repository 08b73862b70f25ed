//! `stats`: every figure against what strfry exported from the same database.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::said::{Said, companion};
use crate::support::{
    fixture_json_lines, fixture_text, golden_database, run_strfry, strfry_bin, strfry_node,
};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

fn stats(database: &Path, arguments: &[&str]) -> String {
    let mut command = companion(&["stats"]);
    let said = Said::by(command.args(arguments).arg("--db").arg(database), database);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    said.out
}

/// How many events share each value, by value.
fn counted<T: Ord>(events: &[Value], value: impl Fn(&Value) -> T) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(value(event)).or_insert(0) += 1;
    }
    counts
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap()
}

/// Free bytes as LMDB's own `mdb_stat -f` counts them, and the dictionaries.
fn kept(name: &str) -> (u64, Value) {
    match name {
        "strfry-1.1.1-dict" => (101 * 4_096, json!({"count": 1, "bytes": 20_000})),
        _ => (3 * 4_096, json!({"count": 0, "bytes": 0})),
    }
}

/// All figures as JSON, computed from the export.
fn expected(name: &str, database: &Path, days: usize, top: usize) -> Value {
    let events = fixture_json_lines(&format!("{name}/export.jsonl"));
    let times = || events.iter().map(|event| number(event, "created_at"));
    let kinds = counted(&events, |event| number(event, "kind"));
    let by_day = counted(&events, |event| number(event, "created_at") / 86_400 * 86_400);
    let by_author = counted(&events, |event| event["pubkey"].as_str().unwrap().to_owned());
    let mut authors: Vec<_> = by_author.iter().collect();
    authors.sort_by_key(|&(pubkey, events)| (Reverse(events), pubkey));
    let author = |(pubkey, events): (&String, &u64)| json!({"events": events, "pubkey": pubkey});
    let (free, dictionaries) = kept(name);
    json!({
        "version": 1,
        "events": events.len(),
        "bytes": database.join("data.mdb").metadata().unwrap().len(),
        "free_bytes": free,
        "db_version": 3,
        "lmdb": "LMDB 0.9.24: (July 24, 2019)",
        "oldest": times().min(),
        "newest": times().max(),
        "readers": null,
        "dictionaries": dictionaries,
        "negentropy": [{"id": 1, "filter": "{}"}],
        "kinds": kinds.iter().collect::<Vec<_>>(),
        "days": by_day.iter().rev().take(days).collect::<Vec<_>>(),
        "authors": authors.into_iter().take(top).map(author).collect::<Vec<_>>(),
    })
}

#[test]
fn stats_of_the_golden_databases_count_what_strfry_exported() {
    for name in DATABASES {
        let database = golden_database(name);
        for (days, top) in [(7, 10), (0, 0), (1, 1), (2, 3), (1_000, 1_000)] {
            let (days_text, top_text) = (days.to_string(), top.to_string());
            let out = stats(database.path(), &["--json", "--days", &days_text, "--top", &top_text]);
            let stats: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(stats, expected(name, database.path(), days, top), "{name} {days} {top}");
        }
        let default: Value = serde_json::from_str(&stats(database.path(), &["--json"])).unwrap();
        assert_eq!(default, expected(name, database.path(), 7, 10));
    }
}

#[test]
fn payloads_are_looked_at_only_when_asked() {
    for (name, compressed) in [("strfry-1.1.1", 0), ("strfry-1.1.1-dict", 263)] {
        let database = golden_database(name);
        let stats: Value =
            serde_json::from_str(&stats(database.path(), &["--json", "--payloads"])).unwrap();
        let payloads = &stats["payloads"];
        let events = number(&stats, "events");
        assert_eq!(
            (number(payloads, "count"), number(payloads, "compressed")),
            (events, compressed)
        );
        // A plain payload is the JSON behind one byte; in the export a line feed is behind it.
        let plain = number(payloads, "bytes") - number(payloads, "compressed_bytes");
        let json = plain + compressed + number(payloads, "decompressed_bytes");
        let export = fixture_text(&format!("{name}/export.jsonl"));
        assert_eq!(json, export.len() as u64);
    }
}

#[test]
fn stats_in_words_are_those_of_the_json_form() {
    let database = golden_database("strfry-1.1.1-dict");
    let expected = expected("strfry-1.1.1-dict", database.path(), 2, 1);
    let out = stats(database.path(), &["--days", "2", "--top", "1", "--payloads"]);
    let rows = |list: &Value| -> String {
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| {
            format!("{:>8}  {:>12}\n", row[0].as_u64().unwrap(), row[1].as_u64().unwrap())
        })
        .collect()
    };
    let author = &expected["authors"][0];
    assert!(out.contains("\n       0            21  profile\n"), "{out}");
    // Numbers alone are compared with the JSON form.
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let without_names = |line: &str| match line.get(..22) {
        Some(counts) if counts.split_whitespace().filter(|word| is_number(word)).count() == 2 => {
            format!("{counts}\n")
        }
        _ => format!("{line}\n"),
    };
    let out: String = out.lines().map(without_names).collect();
    assert_eq!(
        out,
        format!(
            "Database   HOME\n\
             Size       1.28 MiB (1339392 bytes)\n\
             Free       404.00 KiB (413696 bytes)\n\
             Version    3, read with LMDB 0.9.24: (July 24, 2019)\n\
             Events     604\n\
             Oldest     1970-01-01T00:00:00Z\n\
             Newest     2026-10-02T00:13:40Z\n\
             Readers    no lock file: no strfry has it open\n\
             Zstd       1 dictionaries, 19.53 KiB (20000 bytes)\n\
             Payloads   604, 184.96 KiB (189396 bytes); 263 compressed, 4.05 times smaller\n\
             Negentropy 1: {{}}\n\
             \n    Kind        Events\n{}\
             \n       Day        Events\n2026-10-02             5\n2026-09-30            60\n\
             \n{:>64}        Events\n{}            {}\n",
            rows(&expected["kinds"]),
            "Author",
            author["pubkey"].as_str().unwrap(),
            author["events"],
        )
    );
}

#[test]
fn beside_a_strfry_the_slots_of_its_lock_file_are_told() {
    let node = strfry_node();
    let imported = run_strfry(strfry_bin(), node.path(), &["import"], b"");
    assert!(imported.status.success());
    let out = stats(&node.path().join("strfry-db"), &["--json"]);
    let stats: Value = serde_json::from_str(&out).unwrap();
    let readers = &stats["readers"];
    assert!((1..=2).contains(&number(readers, "used")), "{readers}");
    assert!(number(readers, "total") >= 126, "{readers}");
}

#[test]
fn stats_of_a_database_that_is_not_there_say_where_it_was_looked_for() {
    let home = tempfile::tempdir().unwrap();
    let mut command = companion(&["stats", "--home"]);
    assert_eq!(
        Said::by(command.arg(home.path()), home.path()),
        Said::refusal(
            3,
            "strfry-companion: no database at HOME/strfry/strfry-db: start strfry once, or name \
             its directory with --db\n"
        )
    );
}
