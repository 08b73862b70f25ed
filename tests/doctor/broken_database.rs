//! The database is missing, damaged, of another version, or its lock file cannot be shared.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use strfry_companion::doctor::{Level, Place, Thresholds, disk};

use crate::checked::{Patient, Wrong, wrong};
use crate::support::golden_database;

const DATA: &str = "HOME/strfry/strfry-db/data.mdb";
const DATABASE: &str = "HOME/strfry/strfry-db";

fn not_tried(why: &str, remedy: &str) -> Wrong {
    let found = format!("not tried: {why}");
    wrong("strfry.import", "warning", "HOME/strfry/strfry import", &found, remedy)
}

fn unreadable() -> Wrong {
    not_tried("there is no database that can be read", "mend that first, then look again")
}

fn error(found: &str, remedy: &str) -> (i32, Vec<Wrong>) {
    (1, vec![unreadable(), wrong("database.opens", "error", DATABASE, found, remedy)])
}

#[test]
fn a_data_file_that_is_missing() {
    let patient = Patient::new();
    fs::remove_file(patient.database().join("data.mdb")).unwrap();
    let found = format!("no database at {DATA}");
    let remedy = "start strfry once, or name its directory with --db";
    assert_eq!(patient.wrong(&[]), error(&found, remedy));
    assert!(!patient.database().join("data.mdb").exists());

    // As before the first start of strfry: a backfill makes it.
    fs::remove_file(patient.database().join("lock.mdb")).unwrap();
    let remedy = "start strfry, or let the first backfill or import have strfry make it";
    let expected = wrong("database.opens", "warning", DATABASE, "no database there yet", remedy);
    assert_eq!(patient.wrong(&[]), (0, vec![unreadable(), expected]));
    assert_eq!(fs::read_dir(patient.database()).unwrap().count(), 0);
}

#[test]
fn a_database_of_another_version() {
    let patient = Patient::new();
    let golden = golden_database("strfry-0.9.7");
    let data = patient.database().join("data.mdb");
    fs::copy(golden.path().join("data.mdb"), &data).unwrap();
    let before = fs::read(&data).unwrap();
    let found = format!("{DATA} has DB version 2, older than the supported version 3");
    let remedy = "'strfry export' your events with the old strfry, move the database files away, \
                  and 'strfry import' them with the new one";
    assert_eq!(patient.wrong(&[]), error(&found, remedy));
    assert!(fs::read(&data).unwrap() == before);
}

#[test]
fn a_database_whose_meta_pages_are_damaged() {
    let patient = Patient::new();
    let data = OpenOptions::new().write(true).open(patient.database().join("data.mdb")).unwrap();
    for page in 0..2 {
        data.write_all_at(&[0xff; 4_000], page * 4_096 + 16).unwrap();
    }
    let (code, found) = patient.wrong(&[]);
    assert_eq!((code, found.len(), &found[0]), (1, 2, &unreadable()));
    assert_eq!(found[1][..3], ["database.opens", "error", DATABASE]);
    assert_eq!(
        found[1][3],
        format!("{DATA} is not an LMDB database: it does not begin with LMDB's magic number")
    );
    assert_eq!(found[1][4], "name strfry's own database directory with --db");
}

#[test]
fn a_database_that_is_cut_short() {
    let patient = Patient::new();
    let data = OpenOptions::new().write(true).open(patient.database().join("data.mdb")).unwrap();
    data.set_len(4 * 4_096).unwrap();
    let found = format!("{DATA} is truncated: it refers to pages behind its end (16384 bytes)");
    let remedy = "copy it again while strfry is stopped, or restore a backup";
    assert_eq!(patient.wrong(&[]), error(&found, remedy));
}

#[test]
fn a_data_file_that_cannot_be_read() {
    // As root may read everything, there is a directory in its place.
    let patient = Patient::new();
    let data = patient.database().join("data.mdb");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let (code, found) = patient.wrong(&[]);
    assert_eq!((code, found.len(), &found[0]), (1, 2, &unreadable()));
    assert_eq!(found[1][..3], ["database.opens", "error", DATABASE]);
}

#[test]
fn a_lock_file_that_is_missing() {
    let patient = Patient::new();
    let lock = patient.database().join("lock.mdb");
    fs::remove_file(&lock).unwrap();
    let expected = [
        not_tried(
            "strfry has not opened this database yet, and would make a lock file as this user",
            "start strfry, then look again",
        ),
        wrong(
            "database.lock",
            "warning",
            &format!("{DATABASE}/lock.mdb"),
            "there is none: no strfry has the database open, or it is elsewhere",
            "start strfry; if it runs, name its own database with --db",
        ),
    ];
    assert_eq!(patient.wrong(&[]), (0, expected.into()));
    assert!(!lock.exists());
}

#[test]
fn a_lock_file_that_is_a_directory() {
    let patient = Patient::new();
    let lock = patient.database().join("lock.mdb");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let expected = wrong(
        "database.lock",
        "warning",
        &format!("{DATABASE}/lock.mdb"),
        &format!("cannot write to {DATABASE}/lock.mdb: is a directory"),
        "a reader has its slot there, so move away what is there if it is no lock file and start \
         strfry once, or read without it (--lock none)",
    );
    let checked = patient.checked(&[]);
    assert_eq!(checked.of("database.lock"), [expected]);
    // strfry cannot use it, either.
    assert_eq!(checked.of("strfry.import")[0][1], "error");
}

#[test]
fn a_lock_file_of_another_c_library() {
    let patient = Patient::new();
    // Magic number, format, and the type that musl gives a robust shared mutex.
    let mut header = [0xBEEF_C0DE_u32, 0x1_0001, 132].map(u32::to_ne_bytes).concat();
    header.resize(8_192, 0);
    fs::write(patient.database().join("lock.mdb"), header).unwrap();
    let lock = format!("{DATABASE}/lock.mdb");
    let of_lock = wrong(
        "database.lock",
        "warning",
        &lock,
        &format!(
            "cannot share {lock}: a program built with musl has initialised it, and this one is \
             built with glibc, whose mutexes are laid out differently"
        ),
        "use a strfry-companion built with musl, or read without it (--lock none); if strfry \
         itself is built with glibc now, start it once and try again",
    );
    let of_import = not_tried(
        "a strfry with another C library has made the lock file",
        "see that both have the same one (glibc or musl), or reach that strfry with \
         --strfry-command",
    );
    assert_eq!(patient.wrong(&[]), (0, vec![of_import.clone(), of_lock.clone()]));
    let mut must_be_shared = of_lock;
    must_be_shared[1] = "error".to_owned();
    assert_eq!(patient.wrong(&["--lock", "shared"]), (1, vec![of_import, must_be_shared]));
    let patient = Patient::new();
    let without = patient.checked(&["--lock", "none"]);
    assert_eq!(without.of("database.lock")[0][3], "not shared, as --lock none says");
}

#[test]
fn a_disk_that_is_full() {
    let patient = Patient::new();
    let path = patient.database();
    let found = |thresholds: Thresholds| {
        let finding = disk(&Place::Database(path.clone()), &thresholds);
        assert_eq!(
            (finding.id.id(), finding.subject),
            ("disk.database", path.display().to_string())
        );
        (finding.level, finding.remedy)
    };
    let remedy = || Some("make room on that disk: on a full one strfry stores nothing".to_owned());
    let enough = Thresholds { error: 0, warning: 0, files: 0 };
    assert_eq!(found(enough), (Level::Ok, None));
    assert_eq!(found(Thresholds { warning: u64::MAX, ..enough }), (Level::Warning, remedy()));
    assert_eq!(found(Thresholds { error: u64::MAX, ..enough }), (Level::Error, remedy()));
}
