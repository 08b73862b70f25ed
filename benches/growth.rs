//! How the figures grow with the database: the same questions to 10,000, 100,000 and 1,000,000
//! events, asked of this program and, if `STRFRY_BIN` names one, of strfry. Whole processes in
//! interleaved runs, medians; prints the tables of `docs/growth.md`.
//!
//! `GROWTH=10000,100000` asks fewer databases, `GROWTH=1000000,5000000,10000000` larger ones, of 20,000
//! authors. These are made within minutes; of 10,000,000 events they take 17 GB.

mod support;

use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use strfry_companion::nostr::{Pubkey, kind};
use strfry_companion::strfry_db::StrfryDb;

use support::{companion, median, millis, strfry_command};

const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// Pubkeys of which half are authors of the database, looked up together.
const PRESENCE: usize = 10_000;
const BY_KIND: &str = r#"{"kinds":[1]}"#;
const BY_TAG: &str = r##"{"kinds":[1111],"#t":["day"]}"##;

fn main() {
    let sizes: Vec<u64> = match std::env::var("GROWTH") {
        Ok(list) => list.split(',').map(|size| size.parse().unwrap()).collect(),
        Err(_) => SIZES.to_vec(),
    };
    let strfry = std::env::var_os("STRFRY_BIN");
    if strfry.is_none() {
        println!("skipped: STRFRY_BIN names no strfry to compare with");
    }
    println!("| events | question | strfry-companion, ms | strfry, ms | ratio |");
    println!("|---:|---|---:|---:|---:|");
    let mut within = Vec::new();
    for events in sizes {
        let database = match events {
            1_000_000.. => support::large_database(events),
            _ => support::database(events),
        };
        within.push((events, presence(&database), anonymous_memory(&database)));
        let questions: [(&str, &[&str], usize); 6] = [
            ("everything, `scan '{}'`", &["scan", "{}"], 5),
            ("everything, `export`", &["export"], 5),
            ("number of kind 1, `--count`", &["scan", BY_KIND, "--count"], 11),
            ("number of kind 1111 with a tag, `--count`", &["scan", BY_TAG, "--count"], 11),
            ("the newest event, `limit` 1", &["scan", r#"{"limit":1}"#], 31),
            ("one profile", &["scan", &one_profile()], 31),
        ];
        for (name, arguments, runs) in questions {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                ours.push(timed(companion(arguments).arg("--db").arg(&database)));
                if let Some(strfry) = &strfry {
                    let mut command = strfry_command(Path::new(strfry), &database);
                    theirs.push(timed(command.args(arguments)));
                }
            }
            let ours = median(ours);
            let (strfry, ratio) = match theirs.is_empty() {
                true => ("–".to_owned(), "–".to_owned()),
                false => {
                    let strfry = median(theirs);
                    let ratio = strfry.as_secs_f64() / ours.as_secs_f64();
                    (format!("{:.1}", millis(strfry)), format!("{ratio:.1}"))
                }
            };
            println!("| {events} | {name} | {:.2} | {strfry} | {ratio} |", millis(ours));
        }
        for (count, runs) in [(500, 31), (100_000, 11)] {
            let list = pubkey_list(&database, count);
            let missing = || timed(profiles_missing(&list).arg("--db").arg(&database));
            let missing = millis(median((0..runs).map(|_| missing()).collect()));
            println!("| {events} | {count} pubkeys, `profiles --missing` | {missing:.2} | – | – |");
        }
    }
    println!(
        "\n| events | presence of one of {PRESENCE} pubkeys, µs | memory of a full scan, MiB |"
    );
    println!("|---:|---:|---:|");
    for (events, presence, kib) in within {
        let micros = 1e6 * presence.as_secs_f64() / PRESENCE as f64;
        println!("| {events} | {micros:.2} | {:.1} |", kib as f64 / 1024.0);
    }
}

fn one_profile() -> String {
    let author = support::pubkeys(2)[1];
    format!(r#"{{"authors":["{author}"],"kinds":[0],"limit":1}}"#)
}

/// Looks up kind 0 of random pubkeys in this process, the way a backfill does.
fn presence(database: &Path) -> Duration {
    let db = StrfryDb::open(database).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let authors = support::pubkeys(support::AUTHORS as usize);
    let pubkeys: Vec<Pubkey> = (0..PRESENCE)
        .map(|number| match number % 2 {
            0 => authors[random.usize(..authors.len())],
            _ => Pubkey::from_bytes(std::array::from_fn(|_| random.u8(..))),
        })
        .collect();
    let once = |_| {
        let start = Instant::now();
        black_box(db.has_kind_each(black_box(&pubkeys), kind::PROFILE).unwrap());
        start.elapsed()
    };
    median((0..11).map(once).collect())
}

/// A file of so many pubkeys: authors of the large databases, and random ones.
fn pubkey_list(database: &Path, count: usize) -> PathBuf {
    let mut random = fastrand::Rng::with_seed(2);
    let unknown =
        std::iter::repeat_with(|| Pubkey::from_bytes(std::array::from_fn(|_| random.u8(..))));
    let known = support::many_pubkeys();
    let pubkeys = known.into_iter().chain(unknown).take(count);
    let list = database.join("pubkeys.txt");
    fs::write(&list, pubkeys.map(|pubkey| format!("{pubkey}\n")).collect::<String>()).unwrap();
    list
}

fn profiles_missing(list: &Path) -> Command {
    let mut command = companion(&["profiles", "--missing", "--pubkeys"]);
    command.arg(list);
    command
}

fn timed(command: &mut Command) -> Duration {
    let output = File::options().write(true).open("/dev/null").unwrap();
    let start = Instant::now();
    let status = command.stdout(output).stderr(Stdio::null()).status().unwrap();
    let time = start.elapsed();
    assert!(status.success(), "{command:?}");
    time
}

/// Most memory, in KiB, that a full scan was seen to hold beside the pages of mapped files.
fn anonymous_memory(database: &Path) -> u64 {
    let mut command = companion(&["scan", "{}", "--db"]);
    let child = command.arg(database).stdout(Stdio::null()).spawn().unwrap();
    support::wait_watching_memory(child).1
}
