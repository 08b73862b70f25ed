//! Scans beside a writer that commits between all their batches.

use std::collections::{BTreeSet, HashSet};
use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};
use strfry_companion::strfry_db::{Batch, Filter, ScanOptions, StrfryDb};

use crate::support::events::Author;
use crate::support::running_relay::OWN_CONFIG;
use crate::support::{run_strfry, strfry_bin, strfry_node};

/// Events that are there before anything is scanned. Every seventh is deleted sooner or later.
pub const EVENTS: u64 = 420;
pub const FIRST_SECOND: u64 = 1_700_000_000;

/// An import that commits each line and says so.
pub struct Writer {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    /// The number of the next event.
    next: u64,
}

impl Writer {
    pub fn on(node: &Path) -> Self {
        let mut child = Command::new(strfry_bin())
            .args(["import", "--no-verify", "--write-batch=1"])
            .current_dir(node)
            .envs(OWN_CONFIG)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, next: EVENTS }
    }

    /// Returns when it is in the database.
    pub fn write(&mut self, event: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{event}").unwrap();
        let committed = |line: std::io::Result<String>| line.unwrap().contains("Writer: added: 1 ");
        assert!(self.log.by_ref().any(committed));
    }

    /// The number of the event that comes next.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    pub fn write_new(&mut self, created_at: u64) {
        let event = event(self.next, created_at);
        self.next += 1;
        self.write(&event);
    }

    /// Has the event deleted by its author.
    pub fn delete(&mut self, number: u64) {
        let tags = json!([["e", format!("{number:064x}")]]);
        let deletion = unsigned(self.next, number % 4, 5, second(number) + 1, &tags);
        self.next += 1;
        self.write(&deletion);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Several events in each second.
pub fn second(number: u64) -> u64 {
    FIRST_SECOND + number / 4
}

pub fn event(number: u64, created_at: u64) -> String {
    let tags = match number % 3 {
        0 => json!([["t", "a"], ["t", "b"]]),
        1 => json!([["t", "b"], ["t", "c"]]),
        _ => json!([["t", "c"]]),
    };
    unsigned(number, number % 4, 1 + number % 2, created_at, &tags)
}

fn unsigned(number: u64, author: u64, kind: u64, created_at: u64, tags: &Value) -> String {
    json!({
        "id": format!("{number:064x}"), "pubkey": Author::new(author).pubkey().to_string(),
        "created_at": created_at, "kind": kind, "tags": tags, "content": "", "sig": "00".repeat(64),
    })
    .to_string()
}

fn is_doomed(number: u64) -> bool {
    number % 7 == 3
}

/// Numbers of the events that a scan gives while the writer commits after each of its batches:
/// something new at the top, at the bottom and in the middle, and the deletion of something.
fn numbers_beside(
    writer: &mut Writer,
    db: &StrfryDb,
    filters: &str,
    threads: usize,
    doomed: &mut Vec<u64>,
) -> Vec<u64> {
    let options = ScanOptions { one_snapshot: false, rows_per_snapshot: 7 };
    let parsed = Filter::parse(filters).unwrap();
    let mut numbers = Vec::new();
    let mut batches = 0;
    let take = |batch: &Batch<'_, '_>| {
        let mut ids = Vec::new();
        for ((packed, json), found) in batch.packed()?.zip(batch.json()?).zip(batch.found()) {
            let packed = packed?;
            assert!(parsed.iter().any(|filter| filter.matches(&packed)), "{filters}");
            assert_eq!(packed.created_at(), found.created_at);
            assert!(json?.contains(&packed.id().to_string()));
            ids.push(packed.id().to_string());
        }
        Ok(ids)
    };
    let ended: ControlFlow<()> =
        db.scan_with(parsed.clone(), options).each_batch(threads, take, |ids| {
            numbers.extend(ids.unwrap().iter().map(|id| u64::from_str_radix(id, 16).unwrap()));
            batches += 1;
            match batches % 4 {
                0 => writer.write_new(FIRST_SECOND + 2 * EVENTS),
                1 => writer.write_new(FIRST_SECOND - 1),
                2 => writer.write_new(second(batches * 3 % EVENTS)),
                _ => {
                    if let Some(number) = doomed.pop() {
                        writer.delete(number);
                    }
                }
            }
            ControlFlow::Continue(())
        });
    assert_eq!(ended, ControlFlow::Continue(()));
    assert!(batches > 10, "{filters}");
    numbers
}

#[test]
fn a_scan_beside_a_writer_repeats_nothing_and_misses_nothing_that_was_there() {
    let node = strfry_node();
    let lines: String = (0..EVENTS).map(|number| event(number, second(number)) + "\n").collect();
    let imported =
        run_strfry(strfry_bin(), node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success());
    let db = StrfryDb::open(node.path().join("strfry-db")).unwrap();
    let mut writer = Writer::on(node.path());
    let mut doomed: Vec<u64> = (0..EVENTS).filter(|&number| is_doomed(number)).collect();
    // Some that a scan has yet to come to, some that it has passed.
    fastrand::Rng::with_seed(1).shuffle(&mut doomed);

    let authors = [0, 1, 2].map(|author| Author::new(author).pubkey().to_string());
    for (filters, is_wanted) in [
        (json!({}), (|_| true) as fn(u64) -> bool),
        (json!({"#t": ["a", "b", "c"]}), |_| true),
        (json!({"#t": ["a", "b"]}), |number| number % 3 < 2),
        (json!({"authors": authors}), |number| number % 4 < 3),
        (json!({"kinds": [1, 2]}), |_| true),
        (json!({"authors": authors, "kinds": [2]}), |number| number % 4 == 1),
        (json!({"#t": ["b"], "kinds": [1]}), |number| number % 3 < 2 && number % 2 == 0),
        (json!([{"#t": ["c"]}, {"kinds": [1]}]), |number| number % 3 > 0 || number % 2 == 0),
    ] {
        for threads in [1, 2] {
            let filters = filters.to_string();
            let found = numbers_beside(&mut writer, &db, &filters, threads, &mut doomed);
            let set: BTreeSet<u64> = found.iter().copied().collect();
            assert_eq!(set.len(), found.len(), "{filters}: something came twice");
            let lasting = (0..EVENTS).filter(|&number| is_wanted(number) && !is_doomed(number));
            let missed: Vec<u64> = lasting.filter(|number| !set.contains(number)).collect();
            assert_eq!(missed, [0; 0], "{filters} on {threads} threads");
        }
    }
    assert!(doomed.len() < 50, "{}", doomed.len());
}

#[test]
fn one_snapshot_gives_exactly_what_was_there_when_it_began() {
    let node = strfry_node();
    let lines: String = (0..EVENTS).map(|number| event(number, second(number)) + "\n").collect();
    run_strfry(strfry_bin(), node.path(), &["import", "--no-verify"], lines.as_bytes());
    let db = StrfryDb::open(node.path().join("strfry-db")).unwrap();
    let mut writer = Writer::on(node.path());
    let options = ScanOptions { one_snapshot: true, rows_per_snapshot: 50 };
    let mut found = HashSet::new();
    let ids = db.scan_with(Filter::new(), options).map_batches(|batch| {
        batch.packed()?.map(|event| Ok(event?.id().to_string())).collect::<Result<Vec<_>, _>>()
    });
    for (ids, number) in ids.zip(0..) {
        found.extend(ids.unwrap());
        writer.delete(number);
        writer.write_new(FIRST_SECOND);
    }
    let expected: HashSet<String> = (0..EVENTS).map(|number| format!("{number:064x}")).collect();
    assert_eq!(found, expected);
}
