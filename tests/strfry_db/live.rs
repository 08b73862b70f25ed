//! Beside another process that has the database open: lock files, snapshots, reader slots.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;
use strfry_companion::strfry_db::{OpenError, ReadError, StrfryDb};
use tempfile::TempDir;

use crate::support::running_relay::OWN_CONFIG;
use crate::support::{
    fixture, fixture_json_lines, fixture_text, golden_database, run_strfry, strfry_bin, strfry_node,
};

/// A strfry that has the database open until it is dropped.
struct Running {
    child: Child,
    _stdin: ChildStdin,
}

impl Running {
    fn on(node: &Path) -> Self {
        let mut child = Command::new(strfry_bin())
            .args(["import", "--no-verify"])
            .current_dir(node)
            .envs(OWN_CONFIG)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It warns after it has opened the database, and then waits for input.
        let log = BufReader::new(child.stderr.take().unwrap());
        let opened = |line: &std::io::Result<String>| line.as_ref().unwrap().contains("not verif");
        assert!(log.lines().any(|line| opened(&line)));
        let _stdin = child.stdin.take().unwrap();
        Self { child, _stdin }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn import(node: &TempDir, lines: &str) {
    let imported =
        run_strfry(strfry_bin(), node.path(), &["import", "--no-verify"], lines.as_bytes());
    assert!(imported.status.success());
}

fn database(node: &TempDir) -> std::path::PathBuf {
    node.path().join("strfry-db")
}

fn files(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| name(e).into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn reading_creates_no_file_with_or_without_a_lock_file() {
    let golden = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(golden.path()).unwrap();
    assert!(!db.has_lock_file());
    db.stats().unwrap();
    drop(db);
    assert_eq!(files(golden.path()), ["data.mdb"]);

    let node = strfry_node();
    import(&node, "");
    let db = StrfryDb::open(database(&node)).unwrap();
    assert!(db.has_lock_file());
    db.stats().unwrap();
    drop(db);
    assert_eq!(files(&database(&node)), ["data.mdb", "lock.mdb"]);
}

#[test]
fn a_directory_without_a_database_stays_empty() {
    let directory = tempfile::tempdir().unwrap();
    assert!(StrfryDb::open(directory.path()).is_err());
    assert_eq!(files(directory.path()), [""; 0]);
}

#[test]
fn a_lock_file_that_appears_later_ends_reading_without_one() {
    let golden = golden_database("strfry-1.1.1");
    let db = StrfryDb::open(golden.path()).unwrap();
    assert!(db.snapshot().is_ok());
    fs::write(golden.path().join("lock.mdb"), b"").unwrap();
    let error = db.snapshot().map(drop).unwrap_err();
    assert!(matches!(error, ReadError::LockFileAppeared), "{error}");
    let error = db.stats().unwrap_err();
    assert!(matches!(error, ReadError::LockFileAppeared), "{error}");
}

#[test]
fn a_snapshot_stays_as_it_was_while_a_writer_commits() {
    let node = strfry_node();
    let events = fixture_json_lines("events.jsonl");
    let mut profiles: Vec<_> = events.iter().filter(|event| event["kind"] == 0).collect();
    profiles.sort_by_key(|event| event["created_at"].as_u64());
    let replaces = |older: &Value, newer: &Value| {
        older["pubkey"] == newer["pubkey"] && older["created_at"] != newer["created_at"]
    };
    let older = profiles[0];
    let newer = profiles.iter().rfind(|newer| replaces(older, newer)).unwrap();
    let id = |event: &Value| event["id"].as_str().unwrap().parse().unwrap();
    import(&node, &format!("{older}\n"));

    let db = StrfryDb::open(database(&node)).unwrap();
    let before = db.snapshot().unwrap();
    import(&node, &format!("{newer}\n"));
    // More commits, so that pages which the first one freed would be used again.
    for note in events.iter().filter(|event| event["kind"] == 1).take(10) {
        import(&node, &format!("{note}\n"));
    }
    let after = db.snapshot().unwrap();

    let lev_id = before.find(&id(older)).unwrap().unwrap();
    assert_eq!(before.find(&id(newer)).unwrap(), None);
    assert_eq!(before.packed(lev_id).unwrap().unwrap().id(), id(older));
    assert!(before.json(lev_id).unwrap().unwrap().contains(older["id"].as_str().unwrap()));

    assert_eq!(after.find(&id(older)).unwrap(), None);
    assert_eq!((after.packed(lev_id).unwrap(), after.json(lev_id).unwrap()), (None, None));
    assert!(after.find(&id(newer)).unwrap().is_some());
}

#[test]
fn a_running_strfry_can_start_and_write_while_the_database_is_open_here() {
    let node = strfry_node();
    import(&node, "");
    let db = StrfryDb::open(database(&node)).unwrap();
    let _snapshot = db.snapshot().unwrap();
    let _running = Running::on(node.path());
    import(&node, &fixture_text("events.jsonl"));
    assert_eq!(db.stats().unwrap().events, 604);
}

#[test]
fn a_database_that_grows_is_never_taken_for_a_truncated_one() {
    let node = strfry_node();
    import(&node, "");
    let growing = Command::new(strfry_bin())
        .args(["import", "--no-verify", "--write-batch=2"])
        .current_dir(node.path())
        .envs(OWN_CONFIG)
        .stdin(fs::File::open(fixture("events.jsonl")).unwrap())
        .stderr(Stdio::null())
        .spawn();
    let mut growing = growing.unwrap();
    while growing.try_wait().unwrap().is_none() {
        StrfryDb::open(database(&node)).unwrap();
    }
    let stored = StrfryDb::open(database(&node)).unwrap().stats().unwrap().events;
    assert!(stored > 600, "{stored}");
}

#[test]
fn a_lock_file_of_another_lmdb_that_is_in_use_is_refused() {
    let node = strfry_node();
    let _running = Running::on(node.path());
    // `mti_format`: the lock version, here that of LMDB's development branch, and flags.
    let lock = database(&node).join("lock.mdb");
    let mut format = [0; 4];
    let file = OpenOptions::new().read(true).write(true).open(lock).unwrap();
    file.read_exact_at(&mut format, 4).unwrap();
    assert_eq!(u32::from_ne_bytes(format) & 0xffff, 1);
    file.write_all_at(&(u32::from_ne_bytes(format) + 1).to_ne_bytes(), 4).unwrap();
    drop(file);

    let error = StrfryDb::open(database(&node)).unwrap_err();
    assert!(matches!(error, OpenError::LockVersion { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "{} was made by an incompatible LMDB: its lock file is not of the LMDB 0.9 release \
             series; stop every program that uses this database, delete lock.mdb, start strfry \
             again",
            database(&node).display()
        )
    );
}

#[test]
fn a_lock_file_that_cannot_be_used_is_named() {
    let golden = golden_database("strfry-1.1.1");
    let lock = golden.path().join("lock.mdb");
    fs::create_dir(&lock).unwrap();
    let error = StrfryDb::open(golden.path()).unwrap_err();
    assert!(matches!(error, OpenError::LockFile { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write to {}: is a directory; a reader has its slot there, so move away \
             what is there if it is no lock file and start strfry once, or read without it (--lock \
             none)",
            lock.display()
        )
    );
    fs::remove_dir(&lock).unwrap();

    if rustix::process::geteuid().is_root() {
        return println!("skipped: root may write to a read-only lock.mdb");
    }
    fs::File::create(&lock).unwrap().set_permissions(fs::Permissions::from_mode(0o444)).unwrap();
    let error = StrfryDb::open(golden.path()).unwrap_err();
    assert!(matches!(error, OpenError::LockFile { .. }), "{error}");
}

#[test]
fn when_all_reader_slots_are_taken_it_says_so() {
    let node = strfry_node();
    import(&node, "");
    let db = StrfryDb::open(database(&node)).unwrap();
    let mut snapshots = Vec::new();
    let error = loop {
        match db.snapshot() {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::ReadersFull), "{error}");
    snapshots.pop();
    assert!(db.snapshot().is_ok());
}
