//! The whole process `profiles` for 500 pubkeys on 100,000 events, and what the old way takes:
//! one `strfry scan` for each pubkey, if `STRFRY_BIN` names a strfry. Interleaved runs, medians.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use strfry_companion::nostr::Pubkey;

use support::{companion, millis, strfry_command};

const EVENTS: u64 = 100_000;
const PUBKEYS: usize = 500;
const RUNS: usize = 31;
/// The old way is timed for so many pubkeys a run.
const OLD_WAY: usize = 20;

fn main() {
    let database = support::database(EVENTS);
    let pubkeys = support::pubkeys(PUBKEYS);
    let list = database.join("pubkeys.txt");
    let lines: Vec<String> = pubkeys.iter().map(|pubkey| format!("{pubkey}\n")).collect();
    fs::write(&list, lines.concat()).unwrap();
    let strfry = std::env::var_os("STRFRY_BIN");

    let (mut nothing, mut missing, mut whole, mut old) = (vec![], vec![], vec![], vec![]);
    for _ in 0..RUNS {
        nothing.push(timed(&mut companion(&["--version"])));
        missing.push(timed(profiles(&database, &list).arg("--missing")));
        whole.push(timed(profiles(&database, &list).args(["--format", "jsonl"])));
        if let Some(strfry) = strfry.as_deref().filter(|_| old.len() < 5) {
            old.push(old_way(Path::new(strfry), &database, &pubkeys[..OLD_WAY]));
        }
    }
    println!("{PUBKEYS} pubkeys, {EVENTS} events, whole processes, medians of {RUNS}");
    println!("starting and ending       {:>8.2} ms", millis(support::median(nothing)));
    let missing = support::median(missing);
    println!("profiles --missing        {:>8.2} ms", millis(missing));
    println!("profiles --format jsonl   {:>8.2} ms", millis(support::median(whole)));
    if old.is_empty() {
        println!("skipped: STRFRY_BIN names no strfry to compare with");
    } else {
        let old = support::median(old) * (PUBKEYS / OLD_WAY) as u32;
        println!("strfry scan for each      {:>8.0} ms", millis(old));
        println!("ratio {:.0}", old.as_secs_f64() / missing.as_secs_f64());
    }
}

fn profiles(database: &Path, list: &Path) -> Command {
    let mut command = companion(&["profiles", "--db"]);
    command.arg(database).arg("--pubkeys").arg(list);
    command
}

fn timed(command: &mut Command) -> Duration {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let time = start.elapsed();
    assert!(status.success());
    time
}

fn old_way(strfry: &Path, database: &Path, pubkeys: &[Pubkey]) -> Duration {
    pubkeys
        .iter()
        .map(|pubkey| {
            let filter = format!(r#"{{"authors":["{pubkey}"],"kinds":[0],"limit":1}}"#);
            timed(strfry_command(strfry, database).args(["scan", &filter]))
        })
        .sum()
}
