//! A workspace that uses this crate beside `heed`: without the feature `lmdb`, with it and the patch,
//! and with the patch forgotten. Each is built by cargo in a directory of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// They share a directory to build in.
static BUILDING: Mutex<()> = Mutex::new(());

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// Reads a database of strfry, and beside it writes and reads one of its own; says which LMDB.
const PROGRAM: &str = r#"
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Database};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(strfry), Some(own)) = (arguments.next(), arguments.next()) else {
        return Err("usage: downstream STRFRY_DB OWN_DB".into());
    };
    let db = strfry_db::StrfryDb::open(strfry)?;
    let events = db.scan(strfry_db::Filter::new()).collect::<Result<Vec<_>, _>>()?.len();

    let env = unsafe { heed::EnvOpenOptions::new().max_dbs(1).open(own)? };
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database::<Str, Bytes>(txn, Some("own")).map(CommitOrAbort::<_, ()>::Commit)
    });
    let table: Database<Str, Bytes> = created?.unwrap_commit();
    let mut txn = env.write_txn()?;
    table.put(&mut txn, "answer", b"42")?;
    txn.commit()?;
    let txn = env.read_txn()?;
    let answer = table.get(&txn, "answer")?;

    let version = heed::lmdb_version();
    println!("{events} events, {answer:?}, LMDB {}.{}.{}", version.major, version.minor, version.patch);
    Ok(())
}
"#;

/// Such a workspace, or why cargo cannot get what it needs.
fn workspace(features: &str, patch: &str) -> Result<TempDir, String> {
    let directory = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"downstream\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         heed = {{ version = \"0.23\", default-features = false }}\n\
         strfry-db = {{ path = {CRATE:?}, features = [{features}] }}\n\n[workspace]\n\n{patch}"
    );
    fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    fs::write(directory.path().join("src/main.rs"), PROGRAM).unwrap();
    fs::copy(Path::new(CRATE).join("../Cargo.lock"), directory.path().join("Cargo.lock")).unwrap();
    let fetched = |arguments: &[&str]| {
        let output = cargo(&directory, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(error) }
    };
    fetched(&["fetch", "--offline"]).or_else(|_| fetched(&["fetch"])).map(|()| directory)
}

fn cargo(workspace: &TempDir, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(workspace.path());
    // What the toolchain is told of this crate is not for that one.
    cargo.env_remove("RUSTC_WRAPPER").env("CARGO_TERM_COLOR", "never");
    cargo.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("downstream"));
    cargo.output().unwrap()
}

/// What the program prints about a golden database.
fn built_and_run(features: &str, patch: &str) -> Option<String> {
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = match workspace(features, patch) {
        Ok(workspace) => workspace,
        Err(reason) => {
            println!("skipped: cargo cannot get the stock crates: {reason}");
            return None;
        }
    };
    let (strfry, own) = (golden(), tempfile::tempdir().unwrap());
    let databases = [strfry.path(), own.path()].map(|path| path.to_str().unwrap().to_owned());
    let [strfry, own] = &databases;
    let output = cargo(&workspace, &["run", "--offline", "--quiet", "--", strfry, own]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn golden() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Path::new(CRATE).join("../tests/fixtures/strfry-1.1.1/data.mdb.zst");
    let data = File::create(directory.path().join("data.mdb")).unwrap();
    zstd::stream::copy_decode(File::open(fixture).unwrap(), data).unwrap();
    directory
}

fn lmdb_release() -> PathBuf {
    Path::new(CRATE).join("../lmdb-release").canonicalize().unwrap()
}

fn patch() -> String {
    format!("[patch.crates-io]\nlmdb-master-sys = {{ path = {:?} }}\n", lmdb_release())
}

#[test]
fn without_the_feature_the_crate_is_used_beside_the_stock_heed_with_no_patch() {
    if let Some(printed) = built_and_run("", "") {
        assert_eq!(printed, "604 events, Some([52, 50]), LMDB 0.9.70\n");
    }
}

#[test]
fn with_the_feature_and_the_patch_heed_reads_and_writes_strfrys_lmdb_too() {
    if let Some(printed) = built_and_run("\"lmdb\"", &patch()) {
        assert_eq!(printed, "604 events, Some([52, 50]), LMDB 0.9.24\n");
    }
}

#[test]
fn with_the_feature_and_no_patch_the_build_fails_and_prints_the_lines_to_add() {
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = match workspace("\"lmdb\"", "") {
        Ok(workspace) => workspace,
        Err(reason) => return println!("skipped: cargo cannot get the stock crates: {reason}"),
    };
    let output = cargo(&workspace, &["check", "--offline", "--quiet"]);
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    let told: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.strip_prefix("error: strfry-db@0.1.0:"))
        .map(str::trim)
        .collect();
    let patch = patch();
    let (section, line) = patch.trim_end().split_once('\n').unwrap();
    assert_eq!(
        told,
        [
            "the feature `lmdb` needs the LMDB that strfry links. Add these two lines to the Cargo.toml of your workspace:",
            "",
            section,
            line,
            "",
            "Without the feature, strfry-db reads without strfry's lock file and needs no patch.",
        ],
        "{errors}"
    );
}
