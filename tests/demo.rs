//! The demo that the README offers runs, and finds what it checks to be so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `cargo test` builds it, being an example; running one test file alone does not.
fn demo() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/demo");
    assert!(program.exists(), "{} is missing: cargo build --example demo", program.display());
    program
}

fn run(directory: &Path) -> Output {
    Command::new(demo()).args(["--small", "--dir"]).arg(directory).output().unwrap()
}

#[test]
fn the_demo_fills_its_node_and_finds_nothing_hostile_there() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&directory.path().join("node"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.starts_with("   yes  ")).count(), 4, "{text}");
    assert!(!text.contains("   NO "), "{text}");
}

#[test]
fn the_demo_leaves_a_directory_alone_that_is_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("mine"), "text").unwrap();
    let output = run(directory.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}
