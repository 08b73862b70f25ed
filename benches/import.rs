//! Whole imports of 100,000 events, verified, beside `strfry import` on the same file: into an
//! empty database, and once more when all of them are there. Interleaved runs, medians; and what
//! memory takes as the input grows. Needs a strfry in `STRFRY_BIN`; the stand-in says nothing
//! about strfry's speed.

mod support;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::events::Author;
use tempfile::TempDir;

const EVENTS: u64 = 100_000;
const RUNS: usize = 3;

fn main() {
    let Some(strfry) = std::env::var_os("STRFRY_BIN").map(PathBuf::from) else {
        return println!("skipped: STRFRY_BIN names no strfry to compare with");
    };
    let strfry = std::path::absolute(strfry).unwrap();
    let events = file_of(EVENTS);
    println!("{EVENTS} events, {} MB, medians of {RUNS}", megabytes(&events));

    let ways: [(&str, Way); 4] = [
        ("strfry import", Way::Strfry(&[])),
        ("strfry import --no-verify", Way::Strfry(&["--no-verify"])),
        ("import", Way::Ours(&[])),
        ("import --plain", Way::Ours(&["--plain"])),
    ];
    let mut times: Vec<[Vec<Duration>; 2]> = ways.iter().map(|_| Default::default()).collect();
    let mut peak = 0;
    for _ in 0..RUNS {
        for ((_, way), [new, again]) in ways.iter().zip(&mut times) {
            let node = node(&strfry);
            let first = way.run(&node, &events);
            let second = way.run(&node, &events);
            new.push(first.time);
            again.push(second.time);
            if matches!(way, Way::Ours([])) {
                peak = peak.max(first.peak).max(second.peak);
            }
        }
    }
    let medians: Vec<[Duration; 2]> = times
        .into_iter()
        .map(|[new, again]| [support::median(new), support::median(again)])
        .collect();
    println!("{:<28} {:>8} {:>8}   {:>12}", "", "new", "again", "ratio to import");
    let ours = medians[2];
    for ((name, _), [new, again]) in ways.iter().zip(&medians) {
        println!(
            "{name:<28} {:>6.2} s {:>6.2} s   {:>5.2} {:>6.2}",
            new.as_secs_f64(),
            again.as_secs_f64(),
            new.as_secs_f64() / ours[0].as_secs_f64(),
            again.as_secs_f64() / ours[1].as_secs_f64(),
        );
    }
    println!("peak memory of import        {:>6.1} MB", peak as f64 / 1e3);
    for events in [EVENTS / 4, 4 * EVENTS] {
        let file = file_of(events);
        let ran = Way::Ours(&[]).run(&node(&strfry), &file);
        println!(
            "the same of {events:>7} events   {:>6.1} MB for {} MB of input, {:.2} s",
            ran.peak as f64 / 1e3,
            megabytes(&file),
            ran.time.as_secs_f64()
        );
    }
}

/// How events are imported.
enum Way {
    Strfry(&'static [&'static str]),
    Ours(&'static [&'static str]),
}

struct Ran {
    time: Duration,
    /// Largest amount of memory of its own seen, in kB. What it has mapped of strfry's file comes
    /// on top of that, and belongs to the page cache.
    peak: u64,
}

impl Way {
    fn run(&self, node: &TempDir, events: &Path) -> Ran {
        let strfry_dir = node.path().join("strfry");
        let mut command = match self {
            Self::Strfry(flags) => {
                let mut command = Command::new(strfry_dir.join("strfry"));
                command.args(["--config", "strfry.conf", "import"]).args(*flags);
                command.stdin(File::open(events).unwrap());
                command
            }
            Self::Ours(flags) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
                command.arg("import").arg(events).args(*flags).arg("--home").arg(node.path());
                command
            }
        };
        command.current_dir(strfry_dir).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let (status, peak) = support::wait_watching_memory(command.spawn().unwrap());
        assert!(status.success());
        Ran { time: start.elapsed(), peak }
    }
}

/// A node with an initialised, empty database.
fn node(strfry: &Path) -> TempDir {
    let node = tempfile::tempdir_in(Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).unwrap();
    let directory = node.path().join("strfry");
    fs::create_dir_all(directory.join("strfry-db")).unwrap();
    fs::write(
        directory.join("strfry.conf"),
        "db = \"./strfry-db/\"\nrelay {\n    nofiles = 0\n}\n",
    )
    .unwrap();
    symlink(strfry, directory.join("strfry")).unwrap();
    let mut initialise = Command::new(strfry);
    initialise.args(["--config", "strfry.conf", "export"]).current_dir(directory);
    let status = initialise.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success());
    node
}

/// A file with this many events, made once.
fn file_of(count: u64) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-databases");
    let file = directory.join(format!("events-{count}.jsonl"));
    if file.exists() {
        return file;
    }
    fs::create_dir_all(&directory).unwrap();
    let begun = directory.join("events.begun");
    let mut out = BufWriter::new(File::create(&begun).unwrap());
    let authors = Author::all(0..support::AUTHORS);
    for start in (0..count).step_by(50_000) {
        for line in support::events::events(50_000.min(count - start) as usize, |number| {
            event(&authors, start + number)
        }) {
            writeln!(out, "{line}").unwrap();
        }
    }
    out.into_inner().unwrap().sync_all().unwrap();
    fs::rename(begun, &file).unwrap();
    file
}

/// What relays hold, roughly: notes, reactions and comments with tags, 600 bytes each.
fn event(authors: &[Author], number: u64) -> String {
    let author = &authors[(number * 7 % support::AUTHORS) as usize];
    let other = &authors[(number * 13 % support::AUTHORS) as usize];
    let text = "What everybody writes about on an ordinary day. ".repeat(3);
    let tags = json!([
        ["e", format!("{:064x}", number / 3), "", "root"],
        ["p", other.pubkey()],
        ["t", "day"]
    ]);
    author.event([1, 1, 7, 1111][(number % 4) as usize], 1_700_000_000 + number * 7, tags, &text)
}

fn megabytes(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len() / 1_000_000
}
