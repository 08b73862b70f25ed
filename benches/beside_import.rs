//! Reading while strfry imports: what the presence check of 500 pubkeys takes then and at rest, and
//! what the import takes with such checks going on and without. Pairs of runs in turns, medians.
//!
//! With the strfry that `STRFRY_BIN` names, 100,000 events; with the stand-in a tenth of that.

mod support;

use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use strfry_companion::nostr::{Pubkey, kind};
use strfry_companion::strfry_db::StrfryDb;

use support::events::{self, Author};
use support::{companion, millis};

/// What is in the database before.
const BEFORE: u64 = 10_000;
const PUBKEYS: usize = 500;
const PAIRS: usize = 5;
/// Between two checks: more often than any node asks.
const PAUSE: Duration = Duration::from_millis(20);
/// Of so many checks one is a process of its own.
const PROCESSES: usize = 10;
/// Set for a process that is to be the stand-in.
const IS_STRFRY: &str = "BENCH_IS_STRFRY";

fn main() -> ExitCode {
    if std::env::var_os(IS_STRFRY).is_some() {
        return support::stand_in::main();
    }
    let strfry = std::env::var_os("STRFRY_BIN").map(PathBuf::from);
    let new = if strfry.is_some() { 100_000 } else { 10_000 };
    let input = events_file(new);
    let pubkeys = support::pubkeys(PUBKEYS);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut busy, mut idle) = (Checks::default(), Checks::default());
    for pair in 0..PAIRS {
        for is_beside in [pair % 2 == 0, pair % 2 != 0] {
            let node = Node::new(strfry.as_deref(), &pubkeys);
            let begun = Instant::now();
            let mut import = node.import(Stdio::from(File::open(&input).unwrap()));
            if is_beside {
                node.check_while(&pubkeys, &mut busy, || import.try_wait().unwrap().is_none());
            }
            assert!(import.wait().unwrap().success());
            if is_beside { &mut beside } else { &mut alone }.push(begun.elapsed());
            let mut left = 50;
            node.check_while(&pubkeys, &mut idle, || {
                left -= 1;
                left > 0
            });
            let stored = StrfryDb::open(node.directory.path()).unwrap().stats().unwrap().events;
            assert!(stored > BEFORE + new * 9 / 10, "{stored}");
        }
    }
    let name = if strfry.is_some() { "strfry" } else { "the stand-in (STRFRY_BIN is not set)" };
    println!("{new} events imported by {name} into {BEFORE}, {PAIRS} pairs, medians");
    let (fastest, slowest) = (alone.iter().min().unwrap(), alone.iter().max().unwrap());
    let spread = slowest.as_secs_f64() / fastest.as_secs_f64();
    let (alone, beside) = (support::median(alone), support::median(beside));
    println!(
        "import alone              {:>10.1} ms (slowest / fastest: {spread:.3})",
        millis(alone)
    );
    println!("import with checks        {:>10.1} ms", millis(beside));
    println!("ratio {:.3}", beside.as_secs_f64() / alone.as_secs_f64());
    for (what, busy, idle) in [
        ("lookups of 500", busy.lookups, idle.lookups),
        ("profiles --missing, whole", busy.processes, idle.processes),
    ] {
        let count = busy.len();
        let (busy, idle) = (support::median(busy), support::median(idle));
        println!("{what:<25} {:>10.3} ms at rest", millis(idle));
        println!("{what:<25} {:>10.3} ms meanwhile ({count} checks)", millis(busy));
        println!("ratio {:.2}", busy.as_secs_f64() / idle.as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// Times of checks.
#[derive(Default)]
struct Checks {
    lookups: Vec<Duration>,
    processes: Vec<Duration>,
}

/// A database of its own, with a lock file.
struct Node {
    directory: tempfile::TempDir,
    strfry: Option<PathBuf>,
    list: PathBuf,
}

impl Node {
    fn new(strfry: Option<&Path>, pubkeys: &[Pubkey]) -> Self {
        // Beside the other databases: on the same disk.
        let parent = support::database(BEFORE);
        let directory = tempfile::tempdir_in(parent.parent().unwrap()).unwrap();
        fs::copy(parent.join("data.mdb"), directory.path().join("data.mdb")).unwrap();
        let config =
            format!("db = \"{}\"\nrelay {{\n    nofiles = 0\n}}\n", directory.path().display());
        fs::write(directory.path().join("strfry.conf"), config).unwrap();
        let list = directory.path().join("pubkeys.txt");
        let lines: String = pubkeys.iter().map(|pubkey| format!("{pubkey}\n")).collect();
        fs::write(&list, lines).unwrap();
        let node = Self { directory, strfry: strfry.map(Path::to_owned), list };
        // It makes the lock file.
        assert!(node.import(Stdio::null()).wait().unwrap().success());
        node
    }

    fn import(&self, input: Stdio) -> Child {
        let mut command = match &self.strfry {
            Some(strfry) => Command::new(strfry),
            None => Command::new(std::env::current_exe().unwrap()),
        };
        if self.strfry.is_none() {
            command.env(IS_STRFRY, "1");
        }
        let config = self.directory.path().join("strfry.conf");
        command.arg("--config").arg(config).arg("import").stdin(input);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn check_while(
        &self,
        pubkeys: &[Pubkey],
        checks: &mut Checks,
        mut goes_on: impl FnMut() -> bool,
    ) {
        let db = StrfryDb::open(self.directory.path()).unwrap();
        for number in 0.. {
            if !goes_on() {
                break;
            }
            let begun = Instant::now();
            if number % PROCESSES == 0 {
                let mut command = companion(&["profiles", "--missing", "--db"]);
                command.arg(self.directory.path());
                command.arg("--pubkeys").arg(&self.list).stdout(Stdio::null());
                assert!(command.status().unwrap().success());
                checks.processes.push(begun.elapsed());
            } else {
                black_box(db.newest_of_each(pubkeys, kind::PROFILE).unwrap());
                checks.lookups.push(begun.elapsed());
            }
            sleep(PAUSE);
        }
    }
}

/// Events that are not in the database, made once.
fn events_file(count: u64) -> PathBuf {
    let databases = support::database(BEFORE);
    let file = databases.parent().unwrap().join(format!("new-{count}.jsonl"));
    if !file.exists() {
        let authors = Author::all(0..support::AUTHORS);
        let lines = events::events(count as usize, |number| {
            support::event(&authors, BEFORE + number) + "\n"
        });
        let partial = file.with_extension("partial");
        fs::write(&partial, lines.concat()).unwrap();
        fs::rename(partial, &file).unwrap();
    }
    file
}
