//! Files that become others while they are open: a compacted database in the place of the old one,
//! a lock file that is deleted and made anew, links that lead elsewhere.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use strfry_companion::strfry_db::ScanOptions;
use strfry_companion::strfry_db::{ExportRange, Filter, OpenError, ReadError, StrfryDb};
use tempfile::TempDir;

use crate::optimistic::commit_each;
use crate::scan::batches;
use crate::support::events::{Author, events, notes_of};
use crate::support::raw::RawDatabase;
use crate::support::{
    NO_STRFRY, golden_database, real_strfry, run_strfry, strfry_bin, strfry_node,
};

const EVENTS: usize = 2_100;

/// Signed once.
static NOTES: LazyLock<Vec<String>> = LazyLock::new(|| notes_of(&Author::new(1), EVENTS));

fn database(node: &TempDir) -> PathBuf {
    node.path().join("strfry-db")
}

fn import(strfry: &Path, node: &TempDir, lines: &[String]) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let imported = run_strfry(strfry, node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

fn filled_node(strfry: &Path) -> TempDir {
    let node = strfry_node();
    import(strfry, &node, &NOTES);
    node
}

fn more(count: usize) -> Vec<String> {
    events(count, |number| Author::new(2).note(1_700_000_000 + number, &"y".repeat(300)))
}

/// A compact copy takes the place of the data file.
fn compact(node: &TempDir) {
    let copy = node.path().join("copy.mdb");
    fs::copy(database(node).join("data.mdb"), &copy).unwrap();
    fs::rename(copy, database(node).join("data.mdb")).unwrap();
}

fn make_the_lock_file_anew(node: &TempDir) {
    fs::remove_file(database(node).join("lock.mdb")).unwrap();
}

/// What became of an export in whose middle this happens: its lines, or the error.
fn export_during(
    db: &StrfryDb,
    one_snapshot: bool,
    happens: impl FnOnce(),
) -> Result<usize, ReadError> {
    let range = ExportRange { one_snapshot, ..ExportRange::default() };
    let (mut export, mut out) = (db.export(range, false)?, Vec::new());
    assert!(export.next_batch(&mut out)?);
    happens();
    while export.next_batch(&mut out)? {}
    Ok(out.iter().filter(|&&byte| byte == b'\n').count())
}

#[test]
fn a_data_file_that_is_replaced_ends_what_is_under_way_and_says_so() {
    for one_snapshot in [false, true] {
        let node = filled_node(&strfry_bin());
        let db = StrfryDb::open(database(&node)).unwrap();
        let ended = export_during(&db, one_snapshot, || {
            compact(&node);
            import(&strfry_bin(), &node, &more(200));
        });
        let data = database(&node).join("data.mdb");
        assert!(matches!(&ended, Err(ReadError::Replaced { path }) if *path == data), "{ended:?}");
        assert_eq!(
            db.stats().unwrap_err().to_string(),
            format!(
                "{} has been replaced or removed since it was opened, so what can be read is not \
                 what strfry writes to: run this again",
                data.display()
            )
        );
        drop(db);
        let db = StrfryDb::open(database(&node)).unwrap();
        assert_eq!(db.stats().unwrap().events, EVENTS as u64 + 200);
    }
}

#[test]
fn without_the_lock_file_a_data_file_that_is_replaced_is_noticed_too() {
    let node = filled_node(&strfry_bin());
    let db = StrfryDb::open_without_lock(database(&node)).unwrap();
    let ended = export_during(&db, false, || compact(&node));
    assert!(matches!(ended, Err(ReadError::Replaced { .. })), "{ended:?}");
}

#[test]
fn a_lock_file_that_is_made_anew_ends_what_is_under_way_and_says_so() {
    for one_snapshot in [false, true] {
        for comes_back in [false, true] {
            let node = filled_node(&strfry_bin());
            let db = StrfryDb::open(database(&node)).unwrap();
            let ended = export_during(&db, one_snapshot, || {
                make_the_lock_file_anew(&node);
                if comes_back {
                    import(&strfry_bin(), &node, &more(200));
                }
            });
            let lock = database(&node).join("lock.mdb");
            assert!(
                matches!(&ended, Err(ReadError::Replaced { path }) if *path == lock),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn one_snapshot_of_a_database_at_rest_ends_when_strfry_starts() {
    let node = filled_node(&strfry_bin());
    make_the_lock_file_anew(&node);
    let db = StrfryDb::open(database(&node)).unwrap();
    assert!(!db.has_lock_file());
    let ended = export_during(&db, true, || import(&strfry_bin(), &node, &[]));
    assert!(matches!(ended, Err(ReadError::LockFileAppeared)), "{ended:?}");

    // A scan that holds its snapshot.
    make_the_lock_file_anew(&node);
    drop(db);
    let db = StrfryDb::open(database(&node)).unwrap();
    let options = ScanOptions { one_snapshot: true, ..ScanOptions::default() };
    let mut scan = batches(&db, Filter::new(), options);
    assert!(scan.next().unwrap().is_ok());
    import(&strfry_bin(), &node, &[]);
    let next = scan.next().unwrap().map(|_| "a batch");
    assert!(matches!(next, Err(ReadError::LockFileAppeared)), "{next:?}");
}

#[test]
fn by_a_link_to_the_data_file_alone_its_lock_file_is_found() {
    let node = filled_node(&strfry_bin());
    let elsewhere = tempfile::tempdir().unwrap();
    let (first, second) = (elsewhere.path().join("data.mdb"), elsewhere.path().join("links"));
    fs::create_dir(&second).unwrap();
    symlink(database(&node).join("data.mdb"), second.join("data.mdb")).unwrap();
    symlink("links/data.mdb", &first).unwrap();
    let db = StrfryDb::open(&first).unwrap();
    assert!(db.has_lock_file());
    let again = StrfryDb::open(database(&node));
    assert!(matches!(again, Err(OpenError::AlreadyOpen { .. })), "{again:?}");
    // The slot is where strfry looks: what the snapshot shows stays as it is.
    let snapshot = db.snapshot().unwrap();
    let last = snapshot.last_lev_id().unwrap();
    import(&strfry_bin(), &node, &more(300));
    assert_eq!(snapshot.last_lev_id().unwrap(), last);
}

#[test]
fn a_data_file_that_was_moved_away_and_linked_has_its_lock_file_beside_the_link() {
    let node = filled_node(&strfry_bin());
    let large_disk = tempfile::tempdir().unwrap();
    let moved = large_disk.path().join("data.mdb");
    fs::copy(database(&node).join("data.mdb"), &moved).unwrap();
    fs::remove_file(database(&node).join("data.mdb")).unwrap();
    symlink(&moved, database(&node).join("data.mdb")).unwrap();
    import(&strfry_bin(), &node, &more(10));
    let db = StrfryDb::open(database(&node)).unwrap();
    assert!(db.has_lock_file());
    assert_eq!(db.stats().unwrap().events, EVENTS as u64 + 10);
    drop(db);
    // Left over beside the file itself.
    fs::write(large_disk.path().join("lock.mdb"), b"").unwrap();
    let error = StrfryDb::open(database(&node)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "there are two lock files: {} and {}, and which one strfry uses cannot be told; delete \
             the one that is left over, or name another path with --db",
            database(&node).join("lock.mdb").display(),
            large_disk.path().join("lock.mdb").display()
        )
    );
}

#[test]
fn another_name_of_the_same_file_is_not_opened_a_second_time() {
    let golden = golden_database("strfry-1.1.1");
    let elsewhere = tempfile::tempdir_in(golden.path().parent().unwrap()).unwrap();
    fs::hard_link(golden.path().join("data.mdb"), elsewhere.path().join("data.mdb")).unwrap();
    fs::write(golden.path().join("lock.mdb"), "").unwrap();
    let db = StrfryDb::open(golden.path()).unwrap();
    let again = StrfryDb::open(elsewhere.path());
    assert!(matches!(again, Err(OpenError::AlreadyOpen { .. })), "{again:?}");
    drop(db);
    assert!(StrfryDb::open(elsewhere.path()).is_ok());
}

#[test]
fn a_writer_whose_lock_file_is_out_of_sight_ends_the_reading_of_a_database_at_rest() {
    let node = filled_node(&strfry_bin());
    let elsewhere = tempfile::tempdir_in(node.path().parent().unwrap()).unwrap();
    fs::hard_link(database(&node).join("data.mdb"), elsewhere.path().join("data.mdb")).unwrap();
    for (author, one_snapshot) in [(3, false), (4, true)] {
        let db = StrfryDb::open(elsewhere.path()).unwrap();
        assert!(!db.has_lock_file());
        let notes = notes_of(&Author::new(author), 10);
        let ended = export_during(&db, one_snapshot, || import(&strfry_bin(), &node, &notes));
        assert!(matches!(ended, Err(ReadError::WrittenTo)), "{ended:?}");
    }
}

/// A smaller backup of the node's database, made as its first commit: as many transactions as a
/// compacted copy has.
fn smaller_backup() -> Vec<u8> {
    let node = strfry_node();
    import(&strfry_bin(), &node, &NOTES[..300]);
    compacted(&node)
}

/// What `strfry compact` writes: LMDB's own compacted copy.
fn compacted(node: &TempDir) -> Vec<u8> {
    let copy = node.path().join("compacted.mdb");
    RawDatabase::open(&database(node)).compact_to(&copy);
    fs::read(copy).unwrap()
}

/// As `cp` does it: the file stays the same, and nothing but what is in it changes. Not cut
/// first, because what has been mapped and is gone would end this process.
fn copy_over(node: &TempDir, bytes: &[u8]) {
    let data = database(node).join("data.mdb");
    let file = fs::File::options().write(true).open(data).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}

/// What became of a scan in whose middle this happens: its events, or the error.
fn scan_during(
    db: &StrfryDb,
    one_snapshot: bool,
    happens: impl FnOnce(),
) -> Result<usize, ReadError> {
    let options = ScanOptions { one_snapshot, ..ScanOptions::default() };
    let mut scan = batches(db, Filter::new(), options);
    let mut events = scan.next().unwrap()?;
    happens();
    for batch in scan {
        events += batch?;
    }
    Ok(events)
}

fn assert_replaced(ended: Result<usize, ReadError>, case: &str) {
    assert!(matches!(ended, Err(ReadError::Replaced { .. })), "{case}: {ended:?}");
}

type OpenFn = fn(&Path) -> Result<StrfryDb, OpenError>;

/// A way to read: how to open, and whether one moment can be held.
const WAYS: [(OpenFn, bool, &str); 3] = [
    (|path| StrfryDb::open(path), false, "batches"),
    (|path| StrfryDb::open(path), true, "one snapshot"),
    (|path| StrfryDb::open_without_lock(path), false, "no lock"),
];

#[test]
fn a_copy_over_the_data_file_ends_what_is_under_way_and_says_so() {
    for (open, one_snapshot, way) in WAYS {
        // The meta page that the number in the lock file leads to is the first or the second.
        for commits in 0..2 {
            for copy in [compacted, |_: &TempDir| smaller_backup()] {
                let node = filled_node(&strfry_bin());
                for number in 0..commits {
                    import(&strfry_bin(), &node, &more(number + 1)[number..]);
                }
                let copy = copy(&node);
                let whole = fs::read(database(&node).join("data.mdb")).unwrap();
                let case = format!("{way}, {commits} more commits, {} bytes", copy.len());
                let db = open(&database(&node)).unwrap();
                assert_replaced(
                    export_during(&db, one_snapshot, || copy_over(&node, &copy)),
                    &case,
                );
                drop(db);
                copy_over(&node, &whole);
                let db = open(&database(&node)).unwrap();
                assert_replaced(scan_during(&db, one_snapshot, || copy_over(&node, &copy)), &case);
            }
        }
    }
}

#[test]
fn a_copy_over_a_compacted_database_is_noticed_though_both_are_of_the_first_commit() {
    for (open, one_snapshot, way) in WAYS {
        for has_lock_file in [false, true] {
            let node = filled_node(&strfry_bin());
            let (whole, copy) = (compacted(&node), smaller_backup());
            let lock = database(&node).join("lock.mdb");
            let case = format!("{way}, {has_lock_file}");
            let start = || {
                copy_over(&node, &whole);
                let _ = fs::remove_file(&lock);
                if has_lock_file {
                    fs::write(&lock, b"").unwrap();
                }
                open(&database(&node)).unwrap()
            };
            let db = start();
            assert_replaced(export_during(&db, one_snapshot, || copy_over(&node, &copy)), &case);
            drop(db);
            let db = start();
            assert_replaced(scan_during(&db, one_snapshot, || copy_over(&node, &copy)), &case);
        }
    }
}

#[test]
fn a_larger_database_in_its_place_is_noticed_by_what_holds_a_snapshot_or_the_lock_file() {
    let large = strfry_node();
    for number in 0..20 {
        import(&strfry_bin(), &large, &more(300 * (number + 1))[300 * number..]);
    }
    let copy = fs::read(database(&large).join("data.mdb")).unwrap();
    for one_snapshot in [false, true] {
        let node = filled_node(&strfry_bin());
        assert!(fs::metadata(database(&node).join("data.mdb")).unwrap().len() < copy.len() as u64);
        let db = StrfryDb::open(database(&node)).unwrap();
        let ended = export_during(&db, one_snapshot, || copy_over(&node, &copy));
        assert_replaced(ended, &format!("{one_snapshot}"));
    }
}

#[test]
fn a_copy_over_the_data_file_while_the_last_batch_is_read_is_noticed() {
    for one_snapshot in [false, true] {
        let node = strfry_node();
        import(&strfry_bin(), &node, &NOTES[..10]);
        import(&strfry_bin(), &node, &NOTES[10..20]);
        let copy = compacted(&node);
        let db = StrfryDb::open(database(&node)).unwrap();
        let options = ScanOptions { one_snapshot, ..ScanOptions::default() };
        let ended = db.scan_with(Filter::new(), options).map_batches(|batch| {
            copy_over(&node, &copy);
            Ok(batch.found().len())
        });
        assert_replaced(ended.sum(), &format!("{one_snapshot}"));
    }
}

/// Beside an import that commits each of its events, batches small enough for many of them.
fn reading_says_replaced_never_beside(strfry: &Path) {
    let node = filled_node(strfry);
    let lines: String = more(3_000).iter().map(|line| format!("{line}\n")).collect();
    let mut import = commit_each(strfry, &node, &lines);
    let (mut registered, mut without_lock) = (0, 0);
    let db = StrfryDb::open(database(&node)).unwrap();
    let first = db.stats().unwrap().events;
    let held = db.snapshot().unwrap();
    let last = held.last_lev_id().unwrap();
    while import.try_wait().unwrap().is_none() {
        for one_snapshot in [false, true] {
            let rows_per_snapshot = 100;
            let options = ScanOptions { one_snapshot, rows_per_snapshot };
            let counts = batches(&db, Filter::new(), options);
            let events: usize = counts.map(|batch| batch.unwrap()).sum();
            assert!(events >= EVENTS, "{events}");
            registered += 1;
        }
        let other = StrfryDb::open_without_lock(database(&node)).unwrap();
        for _ in 0..3 {
            assert!(export_during(&other, false, || ()).unwrap() >= EVENTS);
            without_lock += 1;
        }
    }
    assert_eq!(held.last_lev_id().unwrap(), last);
    let after = db.stats().unwrap().events;
    assert!(after > first, "nothing was written meanwhile");
    println!("{registered} scans, {without_lock} exports, {first} events became {after}");
}

#[test]
fn beside_a_writer_that_commits_throughout_nothing_is_replaced() {
    reading_says_replaced_never_beside(&strfry_bin());
}

#[test]
fn beside_the_real_strfry_that_commits_throughout_nothing_is_replaced() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    reading_says_replaced_never_beside(&strfry);
}

/// As an operator does it: `strfry compact`, a rename, and strfry goes on.
#[test]
fn beside_the_real_strfry_an_export_is_complete_or_an_error_whatever_is_renamed() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let mut ended = [0, 0];
    for round in 0..20 {
        let node = filled_node(&strfry);
        let db = StrfryDb::open(database(&node)).unwrap();
        let lines = export_during(&db, round % 2 == 0, || {
            let compacted = run_strfry(&strfry, node.path(), &["compact", "new.mdb"], b"");
            assert!(compacted.status.success(), "{compacted:?}");
            fs::rename(node.path().join("new.mdb"), database(&node).join("data.mdb")).unwrap();
            import(&strfry, &node, &more(200));
        });
        match lines {
            Ok(lines) => {
                assert!(lines >= EVENTS, "{lines} lines");
                ended[0] += 1;
            }
            Err(ReadError::Replaced { .. }) => ended[1] += 1,
            Err(error) => panic!("{error}"),
        }
    }
    println!("{} complete, {} errors", ended[0], ended[1]);
}
