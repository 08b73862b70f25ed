//! What several tests share: the golden data that the real strfry made, and a strfry to run.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod collector;
pub mod events;
pub mod ipfs;
pub mod no_relays;
pub mod node;
pub mod proxy;
pub mod raw;
pub mod relays;
pub mod running_relay;
pub mod screen;
pub mod scripted;
pub mod scripted_line;
pub mod stand_in;
pub mod tables;
pub mod terminal;
pub mod wait;
pub mod watch;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use running_relay::OWN_CONFIG;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

/// Programs that are started from now on end at these signals, also if whoever started the tests
/// has them ignored, as nohup does, and a shell for what it starts in the background.
pub fn heed_signals() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if ignored >> (signal - 1) & 1 == 1 {
            // What is caught here is as usual where something else is run.
            signal_hook::flag::register(signal, Arc::default()).unwrap();
        }
    }
}

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

/// The stand-in for the strfry executable. `cargo test` builds it, being an example; running one
/// test file alone (`cargo test --test …`) does not.
pub fn strfry_bin() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples/strfry_stand_in");
    let built = fs::metadata(&program).and_then(|program| program.modified()).ok();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/stand_in");
    let changed = fs::read_dir(sources).unwrap().map(|file| file?.metadata()?.modified());
    assert!(
        built >= changed.map(Result::unwrap).max(),
        "{} is missing or older than its sources: cargo build --example strfry_stand_in",
        program.display()
    );
    program
}

/// The strfry that `STRFRY_BIN` names. When it is `None`, print [`NO_STRFRY`] and return.
pub fn real_strfry() -> Option<PathBuf> {
    std::env::var_os("STRFRY_BIN").map(PathBuf::from)
}

/// What a test says that needs a real strfry and has none.
pub const NO_STRFRY: &str = "skipped: STRFRY_BIN names no strfry";

/// A directory in which strfry can run: a configuration and an empty database directory.
pub fn strfry_node() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    // Without `nofiles = 0` strfry asks for more open files than most machines allow.
    let config = "db = \"./strfry-db/\"\nrelay {\n    nofiles = 0\n}\n";
    fs::write(directory.path().join("strfry.conf"), config).unwrap();
    fs::create_dir(directory.path().join("strfry-db")).unwrap();
    directory
}

/// Whether this machine has a configuration that a strfry would find by itself.
pub fn machine_has_a_strfry_conf() -> bool {
    Path::new("/etc/strfry.conf").exists()
}

/// Runs a strfry in a node's directory and waits for it to end.
pub fn run_strfry(
    program: impl AsRef<OsStr>,
    node: &Path,
    arguments: &[&str],
    input: &[u8],
) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(node).envs(OWN_CONFIG);
    feed(&mut command, input)
}

/// Runs a command with this standard input and waits for it to end.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // A program that ends before its input does is what some tests are about.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

/// A pipe that takes nothing more, and whose other end nobody reads.
pub fn full_pipe() -> (io::PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while (&writer).write(&[b'.'; 4_096]).is_ok() {}
    while (&writer).write(b".").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer.into())
}

/// What a strfry has logged, without the time and thread in front.
pub fn messages(output: &Output) -> Vec<String> {
    let log = String::from_utf8_lossy(&output.stderr);
    log.lines().map(|line| line.split_once("| ").map_or(line, |(_, text)| text).into()).collect()
}
