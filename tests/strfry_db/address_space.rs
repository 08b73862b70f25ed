//! Processes that may map little: strfry reserves 10 TiB, and what reads its database must not.

use std::fs;
use std::process::{Command, Output};

use crate::support::golden_database;

/// What a command prints that may have so many KiB of address space.
fn count_within(kibibytes: u64, arguments: &[&str]) -> Output {
    let golden = golden_database("strfry-1.1.1");
    // A slot is taken in it.
    fs::write(golden.path().join("lock.mdb"), "").unwrap();
    let program = env!("CARGO_BIN_EXE_strfry-companion");
    let limited = format!("ulimit -v {kibibytes}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited, "sh", program, "scan", "--count", "{}"]).args(arguments);
    command.arg("--db").arg(golden.path()).env("HOME", "/nonexistent").output().unwrap()
}

#[test]
fn with_little_address_space_a_database_is_read_with_and_without_its_lock_file() {
    for arguments in [&[][..], &["--no-lock"]] {
        let output = count_within(1_000_000, arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "604\n", "{arguments:?}: {told}");
    }
}
