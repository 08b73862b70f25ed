//! Without strfry's lock file: when that is asked for, and what is read beside a writer that
//! commits throughout.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use strfry_companion::nostr::{EventId, Pubkey};
use strfry_companion::strfry_db::ScanOptions;
use strfry_companion::strfry_db::{ExportRange, Filter, OpenError, ReadError, StrfryDb};
use tempfile::TempDir;

use crate::scan::ids;
use crate::scan_live::{EVENTS, FIRST_SECOND, Writer, event, second};
use crate::support::events::Author;
use crate::support::running_relay::OWN_CONFIG;
use crate::support::{
    NO_STRFRY, fixture_text, golden_database, real_strfry, run_strfry, strfry_bin, strfry_node,
};

fn database(node: &TempDir) -> PathBuf {
    node.path().join("strfry-db")
}

/// A node with [`EVENTS`] events.
fn filled_node() -> TempDir {
    let node = strfry_node();
    fill(&node);
    node
}

fn fill(node: &TempDir) {
    let lines: String = (0..EVENTS).map(|number| event(number, second(number)) + "\n").collect();
    let imported =
        run_strfry(strfry_bin(), node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success());
}

fn id(number: u64) -> EventId {
    format!("{number:064x}").parse().unwrap()
}

/// The beginning of a lock file as musl initialises it: magic, format, type of the mutex.
fn lock_file_of_musl() -> Vec<u8> {
    let mut bytes = vec![0; 8_192];
    bytes[..4].copy_from_slice(&0xBEEF_C0DE_u32.to_ne_bytes());
    bytes[4..8].copy_from_slice(&0x1_0001_u32.to_ne_bytes());
    bytes[8..12].copy_from_slice(&132_u32.to_ne_bytes());
    bytes
}

#[test]
fn a_lock_file_of_another_libc_is_refused_and_left_as_it_is() {
    let golden = golden_database("strfry-1.1.1");
    let lock = golden.path().join("lock.mdb");
    fs::write(&lock, lock_file_of_musl()).unwrap();
    let error = StrfryDb::open(golden.path()).unwrap_err();
    if cfg!(target_env = "musl") {
        return println!("skipped: this is musl");
    }
    assert!(
        matches!(error, OpenError::LockFileOfOtherLibc { theirs: "musl", ours: "glibc", .. }),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "cannot share {}: a program built with musl has initialised it, and this one is built \
             with glibc, whose mutexes are laid out differently; use a strfry-companion built with \
             musl, or read without it (--lock none); if strfry itself is built with glibc now, start \
             it once and try again",
            lock.display()
        )
    );
    let db = StrfryDb::open_without_lock(golden.path()).unwrap();
    assert!(db.is_optimistic() && !db.has_lock_file());
    assert_eq!(db.stats().unwrap().events, 604);
    drop(db);
    assert_eq!(fs::read(&lock).unwrap(), lock_file_of_musl());
}

#[test]
fn a_lock_file_that_nobody_has_initialised_is_nobody_elses() {
    let full = vec![0; 8_192];
    let mut only_magic = full.clone();
    only_magic[..4].copy_from_slice(&0xBEEF_C0DE_u32.to_ne_bytes());
    for bytes in [&[][..], &[7; 20], &full, &only_magic] {
        let golden = golden_database("strfry-1.1.1");
        fs::write(golden.path().join("lock.mdb"), bytes).unwrap();
        assert_eq!(StrfryDb::open(golden.path()).unwrap().stats().unwrap().events, 604);
    }
}

#[test]
fn a_database_that_is_open_here_is_not_opened_again_and_keeps_its_slots() {
    let node = filled_node();
    let db = StrfryDb::open(database(&node)).unwrap();
    let snapshot = db.snapshot().unwrap();
    let second = StrfryDb::open(database(&node)).unwrap_err();
    assert!(matches!(second, OpenError::AlreadyOpen { .. }), "{second}");
    // Had the lock file been opened and closed, strfry would take this reader for a dead one.
    let mut writer = Writer::on(node.path());
    for number in 0..20 {
        writer.delete(number);
    }
    assert!((0..EVENTS).all(|number| snapshot.find(&id(number)).unwrap().is_some()));
}

#[test]
fn everything_is_read_as_with_the_lock_file() {
    for name in ["strfry-1.1.1", "strfry-1.1.1-dict"] {
        let golden = golden_database(name);
        let db = StrfryDb::open(golden.path()).unwrap();
        let everything = || vec![Filter::new()];
        let scanned = |db: &StrfryDb| ids(db, everything(), ScanOptions::default());
        let expected = (
            db.stats().unwrap(),
            db.events_per_day(1_000).unwrap(),
            db.top_authors(10).unwrap(),
            (db.free_bytes().unwrap(), db.dictionary_figures().unwrap()),
            (db.negentropy_trees().unwrap(), db.payload_figures().unwrap()),
            scanned(&db),
        );
        drop(db);
        let db = StrfryDb::open_without_lock(golden.path()).unwrap();
        let read = (
            db.stats().unwrap(),
            db.events_per_day(1_000).unwrap(),
            db.top_authors(10).unwrap(),
            (db.free_bytes().unwrap(), db.dictionary_figures().unwrap()),
            (db.negentropy_trees().unwrap(), db.payload_figures().unwrap()),
            scanned(&db),
        );
        assert_eq!(read, expected);
        for fried in [false, true] {
            let mut export = db.export(ExportRange::default(), fried).unwrap();
            let mut lines = Vec::new();
            while export.next_batch(&mut lines).unwrap() {}
            let file = if fried { "export-fried.jsonl" } else { "export.jsonl" };
            if name == "strfry-1.1.1" {
                assert!(lines == fixture_text(&format!("{name}/{file}")).into_bytes());
            }
        }
    }
}

#[test]
fn a_snapshot_cannot_be_held_without_the_lock_file() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let error = db.snapshot().map(drop).unwrap_err();
    assert!(matches!(error, ReadError::Unregistered), "{error}");
}

#[test]
fn what_one_commit_has_passed_counts_and_what_two_have_is_read_again() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let mut writer = Writer::on(node.path());
    for (commits, attempts) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        let mut calls = 0;
        let new = id(writer.next_number());
        let found = db
            .read(|snapshot| {
                let found = snapshot.find(&new)?;
                calls += 1;
                if calls == 1 {
                    (0..commits).for_each(|_| writer.write_new(FIRST_SECOND));
                }
                Ok(found)
            })
            .unwrap();
        assert_eq!((calls, found.is_some()), (attempts, attempts > 1), "{commits} commits");
    }
}

#[test]
fn an_error_in_what_has_been_overtaken_is_not_told() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let mut writer = Writer::on(node.path());
    let mut calls = 0;
    let answer = db.read(|_| {
        calls += 1;
        if calls > 1 {
            return Ok(calls);
        }
        writer.write_new(FIRST_SECOND);
        writer.write_new(FIRST_SECOND);
        Err(ReadError::NoTable { table: "nonsense" })
    });
    assert_eq!(answer.unwrap(), 2);
}

#[test]
fn lookups_that_are_overtaken_are_all_looked_up_again() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let mut writer = Writer::on(node.path());
    let first_new = writer.next_number();
    // The last of them come only while the first are being looked up.
    let wanted: Vec<EventId> = (first_new - 10..first_new + 3).map(id).collect();
    let mut calls = 0;
    let found = db
        .get_each(&wanted, |snapshot, id| {
            calls += 1;
            if calls == 8 {
                (0..3).for_each(|_| writer.write_new(FIRST_SECOND));
            }
            snapshot.find(id)
        })
        .unwrap();
    assert!(found.iter().all(Option::is_some), "{found:?}");
    assert!(calls > wanted.len());
}

#[test]
fn when_every_attempt_is_overtaken_it_says_so() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let mut writer = Writer::on(node.path());
    let mut calls = 0;
    let answer = db.read(|_| {
        calls += 1;
        writer.write_new(FIRST_SECOND);
        writer.write_new(FIRST_SECOND);
        Ok(())
    });
    assert!(matches!(answer, Err(ReadError::Overtaken)), "{answer:?}");
    assert_eq!(calls, 300);
}

#[test]
fn one_moment_cannot_be_held_without_the_lock_file() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let options = ScanOptions { one_snapshot: true, ..ScanOptions::default() };
    let mut scan = db.scan_with(Filter::new(), options);
    let first = scan.next().unwrap().map(drop);
    assert!(matches!(first, Err(ReadError::Unregistered)), "{first:?}");
    assert!(scan.next().is_none());
}

#[test]
fn what_a_scan_gives_out_stays_whatever_strfry_commits() {
    let node = filled_node();
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let mut writer = Writer::on(node.path());
    let options = ScanOptions { rows_per_snapshot: 500, ..ScanOptions::default() };
    let mut scan = db.scan_with(Filter::new(), options);
    let events: Vec<_> = scan.by_ref().take(20).map(Result::unwrap).collect();
    (0..20).for_each(|number| writer.delete(number));
    for event in &events {
        assert!(event.json().unwrap().contains(&event.id().to_string()));
    }
}

#[test]
fn forged_pages_are_damage_and_no_trouble() {
    let golden = golden_database("strfry-1.1.1");
    let data = fs::read(golden.path().join("data.mdb")).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let mut forged = data.clone();
        // Behind the meta pages, which are looked at when it is opened.
        for _ in 0..random.usize(1..400) {
            let at = random.usize(2 * 4_096..forged.len());
            forged[at] = random.u8(..);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("data.mdb"), forged).unwrap();
        let Ok(db) = StrfryDb::open_without_lock(directory.path()) else { continue };
        let _ = db.stats();
        let _ = db.payload_figures();
        let mut lines = Vec::new();
        if let Ok(mut export) = db.export(ExportRange::default(), true) {
            while export.next_batch(&mut lines).unwrap_or(false) && lines.len() < 1 << 26 {}
        }
        let filters = || Filter::parse(r##"[{"kinds":[1,7]},{"#t":["a"]},{}]"##).unwrap();
        for event in db.scan(filters()).take(20_000) {
            let Ok(event) = event else { continue };
            drop((event.id(), event.json()));
        }
    }
}

/// An import that commits each of its events, as fast as it can, until it is dropped.
struct Busy(Child);

impl Busy {
    fn on(strfry: &Path, node: &TempDir) -> Self {
        let lines: String = (0..30_000)
            .map(|number| event(EVENTS + number, FIRST_SECOND - 1 - number % 50) + "\n")
            .collect();
        Self(commit_each(strfry, node, &lines))
    }
}

/// Starts an import of these lines that commits each of its events.
pub fn commit_each(strfry: &Path, node: &TempDir, lines: &str) -> Child {
    let input = node.path().join("new.jsonl");
    fs::write(&input, lines).unwrap();
    let child = Command::new(strfry)
        .args(["import", "--no-verify", "--write-batch=1", "--debounce-millis=1"])
        .current_dir(node.path())
        .envs(OWN_CONFIG)
        .stdin(fs::File::open(input).unwrap())
        .stderr(Stdio::null())
        .spawn();
    child.unwrap()
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads in every way while the database changes; returns how many events there were at last.
fn read_everything(db: &StrfryDb) -> u64 {
    let lasting: Vec<EventId> = (0..EVENTS).map(id).collect();
    assert!(db.contains_each(&lasting).unwrap().into_iter().all(|found| found));
    let authors: Vec<Pubkey> = (0..4).map(|author| Author::new(author).pubkey()).collect();
    assert!(db.newest_json_of_each(&authors, 1).unwrap().iter().flatten().count() > 0);

    let filter = format!(r#"{{"since":{FIRST_SECOND}}}"#);
    let filters = || Filter::parse(&filter).unwrap();
    let found = ids(db, filters(), ScanOptions { rows_per_snapshot: 40, ..ScanOptions::default() });
    let found: BTreeSet<String> = found.into_iter().collect();
    assert_eq!(found, lasting.iter().map(ToString::to_string).collect());
    assert_eq!(db.count(filters()).unwrap(), EVENTS);

    let mut export = db.export(ExportRange::default(), false).unwrap();
    let mut lines = Vec::new();
    while export.next_batch(&mut lines).unwrap() {}
    let mut exported = BTreeSet::new();
    for line in String::from_utf8(lines).unwrap().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(exported.insert(event["id"].as_str().unwrap().to_owned()), "{line} came twice");
    }
    assert!(found.is_subset(&exported));
    db.payload_figures().unwrap();
    db.top_authors(3).unwrap();
    let stats = db.stats().unwrap();
    let by_kind: u64 = stats.kinds.iter().map(|(_, events)| events).sum();
    assert!(by_kind >= stats.events);
    stats.events
}

/// Directories on a disk, where a commit waits, and in memory, where it hardly does.
fn node_directories() -> Vec<TempDir> {
    let in_memory = tempfile::tempdir_in("/dev/shm").ok().inspect(|directory| {
        let node = strfry_node();
        fs::copy(node.path().join("strfry.conf"), directory.path().join("strfry.conf")).unwrap();
        fs::create_dir(directory.path().join("strfry-db")).unwrap();
    });
    [strfry_node()].into_iter().chain(in_memory).collect()
}

fn read_beside(strfry: &Path) {
    for node in node_directories() {
        fill(&node);
        let db = StrfryDb::open_without_lock(database(&node)).unwrap();
        let before = db.stats().unwrap().events;
        let mut busy = Busy::on(strfry, &node);
        let mut rounds = 0;
        let mut events = before;
        while rounds < 20 && busy.0.try_wait().unwrap().is_none() {
            let now = read_everything(&db);
            assert!(now >= events);
            events = now;
            rounds += 1;
        }
        println!("{rounds} rounds, {before} events became {events}");
        assert!(events > before, "nothing was written meanwhile");
    }
}

#[test]
fn beside_a_writer_that_commits_throughout_everything_is_whole() {
    read_beside(&strfry_bin());
}

#[test]
fn beside_the_real_strfry_that_commits_throughout_everything_is_whole() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    read_beside(&strfry);
}
