//! `export`: what it prints and ends with.

use std::io::Read;
use std::process::Stdio;

use crate::said::{Said, companion};
use crate::support::{fixture_text, golden_database};

#[test]
fn an_export_prints_what_strfry_prints() {
    for (name, flag, file) in [
        ("strfry-1.1.1", None, "export.jsonl"),
        ("strfry-1.0.4", None, "export.jsonl"),
        ("strfry-1.1.1-dict", None, "export.jsonl"),
        ("strfry-1.1.1", Some("--fried"), "export-fried.jsonl"),
        ("strfry-1.0.4", Some("--fried"), "export-fried.jsonl"),
    ] {
        let database = golden_database(name);
        let mut command = companion(&["export", "--db"]);
        command.arg(database.path()).args(flag);
        let said = Said::by(&mut command, database.path());
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        assert!(said.out == fixture_text(&format!("{name}/{file}")), "{name} {file}");
    }
}

#[test]
fn an_export_that_nobody_reads_to_the_end_ends_quietly() {
    let database = golden_database("strfry-1.1.1");
    let mut command = companion(&["export", "--db"]);
    command.arg(database.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        Said::of(&output, database.path()),
        Said { code: 0, out: String::new(), err: String::new() }
    );
}

#[test]
fn an_export_of_no_database_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut command = companion(&["export", "--db"]);
    command.arg(home.path().join("db"));
    assert_eq!(
        Said::by(&mut command, home.path()),
        Said::refusal(
            3,
            "strfry-companion: no database at HOME/db: start strfry once, or name its directory \
             with --db\n"
        )
    );
}
