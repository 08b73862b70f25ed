//! `backfill` on databases that cannot be read: refused before any peer is asked.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use strfry_companion::strfry_db::StrfryDb;

use crate::said::{Said, companion};
use crate::small_node::SmallNode;
use crate::support::raw::RawDatabase;
use crate::support::{fixture, golden_database};

/// The small node's database after this was done to its directory.
fn damaged(damage: impl Fn(&Path)) -> (SmallNode, PathBuf) {
    let small = SmallNode::new();
    let database = small.node.strfry_dir().join("strfry-db");
    damage(&database);
    (small, database)
}

fn refusal_after(damage: impl Fn(&Path)) -> Said {
    let (small, _) = damaged(damage);
    let said = small.backfill(&[]);
    assert_eq!(small.relay.record().connections, 0);
    let expected_log = said.err.strip_prefix("[ERROR] ").unwrap();
    assert!(small.log().ends_with(&format!("[ERROR] {expected_log}")));
    said
}

fn expected(error: &str) -> Said {
    Said::refusal(3, format!("[ERROR] {error}\n"))
}

fn write(database: &Path, bytes: &[u8]) {
    fs::write(database.join("data.mdb"), bytes).unwrap();
}

#[test]
fn a_missing_database_is_named_with_what_to_do() {
    assert_eq!(
        refusal_after(|database| fs::remove_dir_all(database).unwrap()),
        expected(
            "no database at HOME/strfry/strfry-db: start strfry once, or name its directory with \
             --db"
        )
    );
    assert_eq!(
        refusal_after(|database| fs::remove_file(database.join("data.mdb")).unwrap()),
        expected(
            "no database at HOME/strfry/strfry-db/data.mdb: start strfry once, or name its \
             directory with --db"
        )
    );
}

#[test]
fn an_empty_foreign_or_truncated_file_is_told_apart() {
    let file = "HOME/strfry/strfry-db/data.mdb";
    assert_eq!(
        refusal_after(|database| write(database, b"")),
        expected(&format!(
            "{file} is empty: start strfry once to initialise it; if it has been used before, the disk was full: restore a backup"
        ))
    );
    assert_eq!(
        refusal_after(|database| write(database, &b"not a database\n".repeat(1_000))),
        expected(&format!(
            "{file} is not an LMDB database: it does not begin with LMDB's magic number; name strfry's own database directory with --db"
        ))
    );
    assert_eq!(
        refusal_after(|database| {
            let golden = golden_database("strfry-1.1.1");
            let whole = fs::read(golden.path().join("data.mdb")).unwrap();
            write(database, &whole[..whole.len() / 2 / 4096 * 4096]);
        })
        .err
        .split_once(" (")
        .unwrap()
        .0,
        format!("[ERROR] {file} is truncated: it refers to pages behind its end")
    );
}

#[test]
fn a_database_of_another_version_gets_strfrys_advice() {
    assert_eq!(
        refusal_after(|database| {
            let golden = golden_database("strfry-0.9.7");
            fs::copy(golden.path().join("data.mdb"), database.join("data.mdb")).unwrap();
        }),
        expected(
            "HOME/strfry/strfry-db/data.mdb has DB version 2, older than the supported version 3: \
             'strfry export' your events with the old strfry, move the database files away, and \
             'strfry import' them with the new one"
        )
    );
}

#[test]
fn a_database_that_is_not_strfrys_or_not_initialised_says_so() {
    let fresh = |database: &Path| {
        fs::remove_dir_all(database).unwrap();
        fs::create_dir(database).unwrap();
        RawDatabase::open(database)
    };
    assert_eq!(
        refusal_after(|database| {
            fresh(database).table("somebody's table");
        }),
        expected(
            "HOME/strfry/strfry-db/data.mdb is not a strfry database: it has no table Meta; name strfry's own database directory with --db"
        )
    );
    assert_eq!(
        refusal_after(|database| {
            fresh(database).put("Meta", &[0; 8], b"").delete("Meta", &[0; 8]);
        }),
        expected(
            "HOME/strfry/strfry-db/data.mdb is not initialised: it has no Meta record; start \
             strfry once"
        )
    );
}

#[test]
fn a_database_without_a_lock_file_is_imported_into() {
    let (small, database) = damaged(|database| {
        fs::remove_file(database.join("lock.mdb")).unwrap();
    });
    let dry = small.backfill(&["--dry-run"]);
    assert_eq!((dry.code, dry.err.as_str()), (0, ""));
    assert!(!database.join("lock.mdb").exists());
    let shared = small.backfill(&["--lock", "shared"]);
    assert_eq!(
        shared,
        expected(
            "cannot share strfry's lock file: HOME/strfry/strfry-db has no lock.mdb; start strfry \
             once, or leave out --lock"
        )
    );
    let said = small.backfill(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(small.holds(&small.events));
}

#[test]
fn a_lock_file_that_cannot_be_used_is_named() {
    let (small, _) = damaged(|database| {
        fs::remove_file(database.join("lock.mdb")).unwrap();
        fs::create_dir(database.join("lock.mdb")).unwrap();
    });
    assert_eq!(
        small.backfill(&["--lock", "shared"]),
        expected(
            "cannot write to HOME/strfry/strfry-db/lock.mdb: is a directory; a reader has its slot \
             there, so move away what is there if it is no lock file and start strfry once, or read \
             without it (--lock none)"
        )
    );
}

#[test]
fn a_lock_file_in_use_by_another_lmdb_is_refused() {
    let (small, database) = damaged(|_| {});
    let _in_use = StrfryDb::open(&database).unwrap();
    // `mti_format`: the lock version and flags. Kept open: closing it would give up our lock.
    let lock = OpenOptions::new().read(true).write(true).open(database.join("lock.mdb")).unwrap();
    let mut format = [0; 4];
    lock.read_exact_at(&mut format, 4).unwrap();
    lock.write_all_at(&(u32::from_ne_bytes(format) + 1).to_ne_bytes(), 4).unwrap();
    assert_eq!(
        small.backfill(&["--lock", "shared"]),
        expected(
            "HOME/strfry/strfry-db was made by an incompatible LMDB: its lock file is not of the \
             LMDB 0.9 release series; stop every program that uses this database, delete lock.mdb, \
             start strfry again"
        )
    );
}

#[test]
fn a_lock_file_of_another_libc_can_be_left_alone() {
    let golden = golden_database("strfry-1.1.1");
    // Magic number, format, and the type that musl gives a robust shared mutex.
    let mut header = [0xBEEF_C0DE_u32, 0x1_0001, 132].map(u32::to_ne_bytes).concat();
    header.resize(8_192, 0);
    std::fs::write(golden.path().join("lock.mdb"), header).unwrap();
    let of = |arguments: &[&str]| {
        Said::by(companion(arguments).arg("--db").arg(golden.path()), golden.path())
    };
    let why = "strfry-companion: reading without strfry's lock file: a program \
               built with musl has initialised HOME/lock.mdb, and this one is built with glibc\n";
    let auto = of(&["scan", "--count", "{}"]);
    assert_eq!(auto, Said { code: 0, out: "604\n".into(), err: why.into() });
    let refused = of(&["stats", "--lock", "shared"]);
    assert_eq!((refused.code, refused.out.as_str()), (3, ""));
    assert!(refused.err.contains("a program built with musl has initialised it"), "{refused:?}");
    assert!(refused.err.contains("(--lock none)"), "{refused:?}");
    for arguments in [
        &["stats", "--lock", "none"][..],
        &["profiles", "--lock", "none", &"1".repeat(64)],
        &["scan", "--lock", "none", "{}"],
        &["export", "--lock", "none", "--fried"],
        &["verify", "--lock", "none"],
        // The old name.
        &["stats", "--no-lock"],
    ] {
        let said = of(arguments);
        assert!(said.code == 0 && !said.err.contains("lock"), "{arguments:?}: {said:?}");
    }
    assert_eq!(of(&["scan", "--lock", "none", "--count", "{}"]).out, "604\n");
    assert_eq!(of(&["stats", "--no-lock", "--lock", "shared"]).code, 2);
    let whole = of(&["scan", "--no-lock", "--one-snapshot", "{}"]);
    assert_eq!((whole.code, whole.out.as_str()), (3, ""));
}

#[test]
fn with_few_open_files_allowed_the_answer_is_whole_or_an_error_that_names_the_limit() {
    let golden = golden_database("strfry-1.1.1");
    let authors = fixture("authors.txt");
    let authors = authors.to_str().unwrap();
    for command in [
        &["scan", "--count", "{}"][..],
        &["stats", "--json"],
        &["profiles", "--pubkeys", authors],
        &["export", "--fried"],
        &["verify"],
    ] {
        for how in [&[][..], &["--lock", "none"]] {
            let with_limit = |files: u32| {
                let limited = format!("ulimit -n {files}; exec \"$@\"");
                let program = companion(&[command, how].concat());
                let mut shell = Command::new("sh");
                shell.args(["-c", &limited, "sh"]).arg(program.get_program());
                shell.args(program.get_args()).arg("--db").arg(golden.path());
                Said::by(shell.env("HOME", "/nonexistent"), golden.path())
            };
            let whole = with_limit(64);
            assert_eq!(whole.code, 0, "{whole:?}");
            // With 3 no program can be started: its libraries cannot be opened.
            for files in 4..20 {
                let said = with_limit(files);
                // How many pages are free is not told where the file cannot be opened once more.
                if said.code != 0 {
                    assert_eq!((said.code, said.out.as_str()), (3, ""), "{command:?} {files}");
                    assert!(said.err.contains("(ulimit -n)"), "{command:?} {files}: {said:?}");
                } else if command[0] != "stats" {
                    assert_eq!(said.out, whole.out, "{command:?} {files}");
                }
            }
        }
    }
}
