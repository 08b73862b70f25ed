//! Files that become others while they are open: a compacted database in the place of the old one,
//! a lock file that is deleted and made anew, links that lead elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use strfry_companion::strfry_db::scan::{ScanFilter, ScanOptions};
use strfry_companion::strfry_db::{ExportRange, OpenError, ReadError, StrfryDb};
use tempfile::TempDir;

use crate::support::events::{Author, events, notes_of};
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
        let db = StrfryDb::open(&database(&node)).unwrap();
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
        let db = StrfryDb::open(&database(&node)).unwrap();
        assert_eq!(db.stats().unwrap().events, EVENTS as u64 + 200);
    }
}

#[test]
fn without_the_lock_file_a_data_file_that_is_replaced_is_noticed_too() {
    let node = filled_node(&strfry_bin());
    let db = StrfryDb::open_without_lock(&database(&node)).unwrap();
    let ended = export_during(&db, false, || compact(&node));
    assert!(matches!(ended, Err(ReadError::Replaced { .. })), "{ended:?}");
}

#[test]
fn a_lock_file_that_is_made_anew_ends_what_is_under_way_and_says_so() {
    for one_snapshot in [false, true] {
        for comes_back in [false, true] {
            let node = filled_node(&strfry_bin());
            let db = StrfryDb::open(&database(&node)).unwrap();
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
    let db = StrfryDb::open(&database(&node)).unwrap();
    assert!(!db.has_lock_file());
    let ended = export_during(&db, true, || import(&strfry_bin(), &node, &[]));
    assert!(matches!(ended, Err(ReadError::LockFileAppeared)), "{ended:?}");

    // A scan that holds its snapshot.
    make_the_lock_file_anew(&node);
    drop(db);
    let db = StrfryDb::open(&database(&node)).unwrap();
    let options = ScanOptions { one_snapshot: true, ..ScanOptions::default() };
    let mut scan = db.scan(vec![ScanFilter::default()], options);
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
    let again = StrfryDb::open(&database(&node));
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
    let db = StrfryDb::open(&database(&node)).unwrap();
    assert!(db.has_lock_file());
    assert_eq!(db.stats().unwrap().events, EVENTS as u64 + 10);
    drop(db);
    // Left over beside the file itself.
    fs::write(large_disk.path().join("lock.mdb"), b"").unwrap();
    let error = StrfryDb::open(&database(&node)).unwrap_err();
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

/// As an operator does it: `strfry compact`, a rename, and strfry goes on.
#[test]
fn beside_the_real_strfry_an_export_is_complete_or_an_error_whatever_is_renamed() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let mut ended = [0, 0];
    for round in 0..20 {
        let node = filled_node(&strfry);
        let db = StrfryDb::open(&database(&node)).unwrap();
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
