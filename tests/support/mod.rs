//! What several tests share: the golden data that the real strfry made.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// A file of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The text of a fixture.
pub fn fixture_text(name: &str) -> String {
    fs::read_to_string(fixture(name)).unwrap()
}

/// The lines of a fixture, each parsed as JSON.
pub fn fixture_json_lines(name: &str) -> Vec<Value> {
    fixture_text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A copy of one of the golden databases in a directory of its own, without a lock file.
pub fn golden_database(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let compressed = fs::File::open(fixture(name).join("data.mdb.zst")).unwrap();
    let mut data = fs::File::create(directory.path().join("data.mdb")).unwrap();
    zstd::stream::copy_decode(compressed, &mut data).unwrap();
    directory
}
