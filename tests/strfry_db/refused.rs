//! What is refused when it is opened, and with what words.

use std::fs;
use std::path::Path;

use strfry_companion::strfry_db::{Meta, OpenError, StrfryDb};
use tempfile::TempDir;

use crate::support::golden_database;
use crate::support::raw::RawDatabase;

const META_KEY: [u8; 8] = 1u64.to_ne_bytes();

fn refusal(path: &Path) -> String {
    let error = StrfryDb::open(path).unwrap_err().to_string();
    let directory = if path.is_dir() { path } else { path.parent().unwrap() };
    error.replace(&directory.display().to_string(), "DIR")
}

fn with_data_file(bytes: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("data.mdb"), bytes).unwrap();
    directory
}

fn with_meta(meta: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    RawDatabase::open(directory.path()).put("Meta", &META_KEY, meta);
    directory
}

#[test]
fn version_2_gets_strfrys_own_advice() {
    let directory = golden_database("strfry-0.9.7");
    assert_eq!(
        refusal(directory.path()),
        "DIR/data.mdb has DB version 2, older than the supported version 3: 'strfry export' your \
         events with the old strfry, move the database files away, and 'strfry import' them with \
         the new one"
    );
}

#[test]
fn other_versions_and_endiannesses_are_refused() {
    let meta = |db_version, endianness| {
        Meta { db_version, endianness, negentropy_modification_counter: 1 }.to_bytes()
    };
    assert_eq!(
        refusal(with_meta(&meta(4, 1)).path()),
        "DIR/data.mdb has DB version 4, newer than the supported version 3: a newer \
         strfry-companion is needed"
    );
    assert_eq!(
        refusal(with_meta(&meta(3, 1 << 56)).path()),
        "DIR/data.mdb was created on a machine with different endianness: 'strfry export' it there and 'strfry import' it here"
    );
    for damaged in [&b""[..], b"\x04", &[0xff; 40]] {
        assert_eq!(
            refusal(with_meta(damaged).path()),
            "cannot read DIR/data.mdb while opening it: table Meta holds a damaged record for 1: it \
             is not the flatbuffer that strfry writes; 'strfry export' shows whether strfry can \
             still read it"
        );
    }
}

#[test]
fn a_database_that_strfry_has_not_initialised_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    RawDatabase::open(directory.path()).put("Meta", &[0; 8], b"").delete("Meta", &[0; 8]);
    assert_eq!(
        refusal(directory.path()),
        "DIR/data.mdb is not initialised: it has no Meta record; start strfry once"
    );
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    RawDatabase::open(directory.path()).table("somebody's table");
    let expected = "DIR/data.mdb is not a strfry database: it has no table Meta; name strfry's own database directory with --db";
    assert_eq!(refusal(directory.path()), expected);
    let no_tables = tempfile::tempdir().unwrap();
    RawDatabase::open(no_tables.path());
    assert_eq!(refusal(no_tables.path()), expected);
}

#[test]
fn what_is_no_database_at_all_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = "no database at DIR/data.mdb: start strfry once, or name its directory with --db";
    assert_eq!(refusal(directory.path()), missing);
    assert_eq!(refusal(&directory.path().join("data.mdb")), missing);

    let empty = with_data_file(b"");
    let expected = "DIR/data.mdb is empty: start strfry once to initialise it; if it has been used before, the disk was full: restore a backup";
    assert_eq!(refusal(empty.path()), expected);

    let text = with_data_file("not a database\n".repeat(1_000).as_bytes());
    let expected = "DIR/data.mdb is not an LMDB database: it does not begin with LMDB's magic number; name strfry's own database directory with --db";
    assert_eq!(refusal(text.path()), expected);

    let other_file = text.path().join("strfry.conf");
    fs::write(&other_file, "db = \"./strfry-db/\"\n").unwrap();
    assert_eq!(
        refusal(&other_file),
        "DIR/strfry.conf is not a database: expected strfry's database directory, or its data.mdb"
    );

    let nested = tempfile::tempdir().unwrap();
    fs::create_dir(nested.path().join("data.mdb")).unwrap();
    let expected = "DIR/data.mdb is not an LMDB database: it is not a file; name strfry's own database directory with --db";
    assert_eq!(refusal(nested.path()), expected);
}

#[test]
fn random_bytes_are_refused_even_behind_the_magic_number() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let mut bytes: Vec<u8> = (0..random.usize(1..20_000)).map(|_| random.u8(..)).collect();
        let magic_and_version = [0xDE, 0xC0, 0xEF, 0xBE, 1, 0, 0, 0];
        for page in [0, 4096] {
            if let Some(header) = bytes.get_mut(page + 16..page + 24) {
                header.copy_from_slice(&magic_and_version);
            }
        }
        let directory = with_data_file(&bytes);
        assert!(StrfryDb::open(directory.path()).is_err());
    }
}

#[test]
fn forged_headers_say_what_is_wrong_with_them() {
    let golden = fs::read(golden_database("strfry-1.1.1").path().join("data.mdb")).unwrap();
    let forged = |at: usize, bytes: &[u8]| {
        let mut data = golden.clone();
        data[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(with_data_file(&data).path())
    };
    let not_lmdb = |what| {
        format!(
            "DIR/data.mdb is not an LMDB database: {what}; \
             name strfry's own database directory with --db"
        )
    };
    assert_eq!(
        forged(16, &0xBEEF_C0DE_u32.swap_bytes().to_ne_bytes()),
        not_lmdb("it was written on a machine of the other endianness")
    );
    assert_eq!(
        forged(20, &999_u32.to_ne_bytes()),
        not_lmdb("its LMDB data format is not version 1, the one of LMDB 0.9")
    );
    for page_size in [0_u32, 128, 4095, 4097, 131_072, u32::MAX] {
        assert_eq!(forged(40, &page_size.to_ne_bytes()), not_lmdb("its page size is impossible"));
    }
}

#[test]
fn a_database_with_a_lock_file_is_opened_once_in_a_process() {
    let directory = golden_database("strfry-1.1.1");
    fs::write(directory.path().join("lock.mdb"), "").unwrap();
    let first = StrfryDb::open(directory.path()).unwrap();
    let second = StrfryDb::open(directory.path().join("data.mdb"));
    assert!(matches!(second, Err(OpenError::AlreadyOpen { .. })), "{second:?}");
    drop(first);
    assert!(StrfryDb::open(directory.path().join("data.mdb")).is_ok());
}
