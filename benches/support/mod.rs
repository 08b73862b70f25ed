//! Databases and events for the benches; made once, kept below `target/`.

#![allow(dead_code, reason = "each bench uses its own part")]

#[path = "../../tests/support/events.rs"]
pub mod events;
#[path = "../../tests/support/proxy.rs"]
pub mod proxy;
#[path = "../../tests/support/running_relay.rs"]
pub mod running_relay;
#[path = "../../tests/support/stand_in/mod.rs"]
pub mod stand_in;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rayon::prelude::*;
use serde_json::json;
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::{Event, Pubkey};
use tempfile::TempDir;

use events::Author;
use stand_in::writer::{Durability, NewEvent, Writer};

/// Authors of the databases. Four of five have a profile.
pub const AUTHORS: u64 = 1_000;

/// A database with this many events of [`AUTHORS`] authors.
pub fn database(count: u64) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-databases");
    let directory = target.join(count.to_string());
    if directory.join("complete").exists() {
        return directory;
    }
    println!("making a database of {count} events in {}", directory.display());
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let authors = Author::all(0..AUTHORS);
    let writer = Writer::open(&directory, Durability::NotSynced).unwrap();
    for start in (0..count).step_by(50_000) {
        let batch = events::events(50_000.min(count - start) as usize, |number| {
            event(&authors, start + number)
        });
        let batch: Vec<NewEvent> = batch.iter().map(|line| NewEvent::from(&stored(line))).collect();
        writer.write_events(&batch).unwrap();
    }
    drop(writer);
    fs::write(directory.join("complete"), "").unwrap();
    directory
}

/// One of the events of [`database`].
pub fn event(authors: &[Author], number: u64) -> String {
    let author = &authors[(number % AUTHORS) as usize];
    let created_at = 1_700_000_000 + number * 7;
    if number < AUTHORS && !number.is_multiple_of(5) {
        return author.profile(created_at, &format!("name {number}"));
    }
    let text = "What everybody writes about on an ordinary day. ".repeat(4);
    author.event([1, 1, 7, 1111][(number % 4) as usize], created_at, json!([["t", "day"]]), &text)
}

/// An event as strfry stores it.
pub fn stored(line: &str) -> StoredEvent {
    StoredEvent::encode(&Event::parse(line).unwrap(), &EventLimits::default()).unwrap()
}

/// Authors of the large databases. Four of five have a profile.
pub const MANY_AUTHORS: u64 = 20_000;

/// Seconds between two events of a large database: a million are 81 days.
const SECONDS_BETWEEN: u64 = 7;

/// Where the large databases are, and copies of them.
pub fn large_database_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-databases")
}

/// A database with this many events of [`MANY_AUTHORS`] authors, with their index entries 1.6 kB
/// each. Grows from the largest one that is there. The strfry that `STRFRY_BIN` names fills its tree
/// of all events (NIP-77), as every strfry does with its own.
pub fn large_database(count: u64) -> PathBuf {
    let directory = large_database_directory().join(format!("large-{count}"));
    if !directory.join("complete").exists() {
        make_large_database(&directory, count);
    }
    let filled = directory.join("tree-filled");
    if let Some(strfry) = std::env::var_os("STRFRY_BIN")
        && !filled.exists()
    {
        let mut build = strfry_command(Path::new(&strfry), &directory);
        let status = build.args(["negentropy", "build", "1"]).stderr(Stdio::null()).status();
        assert!(status.unwrap().success());
        fs::write(filled, "").unwrap();
    }
    directory
}

fn make_large_database(directory: &Path, count: u64) {
    let target = large_database_directory();
    println!("making a database of {count} events in {}", directory.display());
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    let is_there = |&smaller: &u64| {
        smaller < count && target.join(format!("large-{smaller}/complete")).exists()
    };
    let begun = LARGE.into_iter().filter(is_there).max().unwrap_or(0);
    if begun > 0 {
        let smaller = target.join(format!("large-{begun}/data.mdb"));
        fs::copy(smaller, directory.join("data.mdb")).unwrap();
    }
    let authors = Author::all(0..MANY_AUTHORS);
    let writer = Writer::open(directory, Durability::NotSynced).unwrap();
    for start in (begun..count).step_by(100_000) {
        let batch = events::events(100_000.min(count - start) as usize, |number| {
            large_event(&authors, start + number)
        });
        let batch: Vec<NewEvent> =
            batch.par_iter().map(|line| NewEvent::from(&stored(line))).collect();
        writer.write_events(&batch).unwrap();
    }
    drop(writer);
    fs::write(directory.join("complete"), "").unwrap();
}

/// The sizes of the large databases.
pub const LARGE: [u64; 3] = [1_000_000, 5_000_000, 10_000_000];

/// Which large databases, by an environment variable: `1000000,5000000`.
pub fn large_sizes(variable: &str, default: &[u64]) -> Vec<u64> {
    match std::env::var(variable) {
        Ok(list) => list.split(',').filter_map(|size| size.parse().ok()).collect(),
        Err(_) => default.to_vec(),
    }
}

/// When the last event of such a database was made.
pub fn last_of(size: u64) -> u64 {
    events::START + (size - 1) * SECONDS_BETWEEN
}

/// One of the events of [`large_database`]: notes, reactions and comments with tags, as relays hold
/// them. Every tenth second has an event of none of them.
pub fn large_event(authors: &[Author], number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let author = &authors[random.usize(..authors.len())];
    let created_at = events::START + number * SECONDS_BETWEEN;
    if number < MANY_AUTHORS {
        let author = &authors[number as usize];
        if !number.is_multiple_of(5) {
            return author.profile(created_at, &format!("name {number}"));
        }
    }
    note_of_a_day(author, authors, &mut random, created_at)
}

/// Events that [`large_database`] does not hold, spread over its whole time.
pub fn event_beside(authors: &[Author], number: u64, of: u64, database: u64) -> String {
    let mut random = fastrand::Rng::with_seed(u64::MAX - number);
    let author = &authors[random.usize(..authors.len())];
    let created_at = events::START + number * (database * SECONDS_BETWEEN) / of + 1;
    note_of_a_day(author, authors, &mut random, created_at)
}

fn note_of_a_day(
    author: &Author,
    authors: &[Author],
    random: &mut fastrand::Rng,
    created_at: u64,
) -> String {
    let kind = [1, 1, 7, 1111][random.usize(..4)];
    let other = &authors[random.usize(..authors.len())];
    let root: String = (0..4).map(|_| format!("{:016x}", random.u64(..))).collect();
    let text = "What everybody writes about on an ordinary day. ".repeat(3);
    let (tags, text) = match kind {
        1 => (json!([["t", "day"]]), text.as_str()),
        7 => (json!([["e", root], ["p", other.pubkey()]]), "+"),
        _ => (json!([["e", root, "", "root"], ["p", other.pubkey()], ["t", "day"]]), text.as_str()),
    };
    author.event(kind, created_at, tags, text)
}

/// A node with a copy of this database, or a new one.
pub fn large_node(strfry: &Path, before: Option<&Path>) -> TempDir {
    let parent = large_database_directory();
    fs::create_dir_all(&parent).unwrap();
    let node = tempfile::tempdir_in(parent).unwrap();
    let directory = node.path().join("strfry");
    fs::create_dir_all(directory.join("strfry-db")).unwrap();
    fill_memory(&node.path().join("sparse-file"));
    if let Some(before) = before {
        fs::copy(before.join("data.mdb"), directory.join("strfry-db/data.mdb")).unwrap();
    }
    running_relay::configure(&directory, 1);
    symlink(strfry, directory.join("strfry")).unwrap();
    let mut initialise = Command::new(strfry);
    initialise.args(["--config", "strfry.conf", "import"]).current_dir(directory);
    initialise.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(initialise.status().unwrap().success());
    rustix::fs::sync();
    node
}

/// Fills memory with the pages of a sparse file, which takes no room on the disk, so that it is as full
/// as on a machine that has run for some time. The host of a virtual machine takes back free memory,
/// and hands it out again much more slowly than the guest uses its own again: that would be measured.
fn fill_memory(file: &Path) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let kib: u64 = meminfo.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    File::create(file).unwrap().set_len(kib << 10).unwrap();
    let mut pages = BufReader::with_capacity(1 << 20, File::open(file).unwrap());
    io::copy(&mut pages, &mut io::sink()).unwrap();
}

/// Pubkeys of some authors of [`database`], some of whom have no profile.
pub fn pubkeys(count: usize) -> Vec<Pubkey> {
    Author::all(0..AUTHORS).iter().map(Author::pubkey).take(count).collect()
}

/// All authors of [`large_database`].
pub fn many_pubkeys() -> Vec<Pubkey> {
    Author::all(0..MANY_AUTHORS).iter().map(Author::pubkey).collect()
}

/// The program, with its first arguments.
pub fn companion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
    command.args(arguments);
    command
}

/// A strfry on this database.
pub fn strfry_command(strfry: &Path, database: &Path) -> Command {
    let config = database.join("strfry.conf");
    let text = format!("db = \"{}\"\nrelay {{\n    nofiles = 0\n}}\n", database.display());
    fs::write(&config, text).unwrap();
    let mut command = Command::new(strfry);
    command.arg("--config").arg(config);
    command
}

/// Waits for a process; returns how it ended, and the most memory, in KiB, that it was seen to hold
/// beside the pages of mapped files.
pub fn wait_watching_memory(mut child: Child) -> (ExitStatus, u64) {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            return (ended, most);
        }
        most = most.max(own_memory(&status).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a process holds beside the pages of mapped files, KiB, by its file `status` in `/proc`.
pub fn own_memory(status: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// For people.
pub fn millis(time: Duration) -> f64 {
    1_000.0 * time.as_secs_f64()
}

/// The median.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
