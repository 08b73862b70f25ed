//! A backfill of all authors of a large database from a relay that has the same events: nothing is new,
//! so what it takes is the comparing. Seconds, the relay's processor time, and own memory: the
//! table of `docs/growth.md`. Needs the strfry that `STRFRY_BIN` names.
//!
//! `LARGE=1000000,5000000` says which databases.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use support::running_relay::RunningRelay;
use tempfile::TempDir;

/// How far back is asked, counted from the database's last event: the events themselves lie in the past.
const WINDOW: Duration = Duration::from_secs(60 * 86_400);
const RUNS: usize = 5;

fn main() {
    let Some(strfry) = std::env::var_os("STRFRY_BIN").map(PathBuf::from) else {
        return println!("skipped: STRFRY_BIN names no strfry");
    };
    let strfry = std::path::absolute(strfry).unwrap();
    println!("| events | asked | s | s of the peer's processor | MiB own memory |");
    println!("|---:|---|---:|---:|---:|");
    for size in support::large_sizes("LARGE", &support::LARGE[..2]) {
        let node = support::large_node(&strfry, Some(&support::large_database(size)));
        let relay = RunningRelay::start(&strfry, &node.path().join("strfry"));
        for (what, flags) in
            [("everything", &[] as &[&str]), ("`--no-profiles`", &["--no-profiles"])]
        {
            let mut runs: Vec<Ran> =
                (0..RUNS).map(|_| backfill(&strfry, &node, size, &relay, flags)).collect();
            runs.sort_unstable_by_key(|run| run.time);
            let most = runs.iter().map(|run| run.peak).max().unwrap();
            let Ran { time, theirs, .. } = &runs[RUNS / 2];
            println!(
                "| {size} | {what} | {:.2} | {:.2} | {:.0} |",
                time.as_secs_f64(),
                theirs.as_secs_f64(),
                most as f64 / 1024.0,
            );
        }
    }
}

struct Ran {
    time: Duration,
    /// Processor time of the relay.
    theirs: Duration,
    /// Most own memory seen, KiB.
    peak: u64,
}

/// One that knows nothing of those before it.
fn backfill(strfry: &Path, node: &TempDir, size: u64, relay: &RunningRelay, flags: &[&str]) -> Ran {
    let directory = node.path().join("strfry");
    let pubkeys: Vec<String> = support::many_pubkeys().iter().map(ToString::to_string).collect();
    fs::write(node.path().join("pubkeys.txt"), pubkeys.join("\n")).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let back = now - Duration::from_secs(support::last_of(size)) + WINDOW;
    let days = back.as_secs().div_ceil(86_400).to_string();
    let mut command =
        support::companion(&["backfill", "--json", "--ignore-state", "--no-fallback"]);
    command.args(["--days", &days, "--relay", &relay.url(), "--pubkeys"]);
    command.arg(node.path().join("pubkeys.txt")).args(flags);
    command.arg("--home").arg(node.path().join("home")).arg("--state-dir").arg(node.path());
    command.arg("--strfry-dir").arg(directory).arg("--strfry-bin").arg(strfry);
    // It names all who have no profile, more than a pipe holds.
    let summary = node.path().join("summary.json");
    let stdout = File::create(&summary).unwrap();
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
    let before = processor_time(relay.id());
    let start = Instant::now();
    let (ended, peak) = support::wait_watching_memory(command.spawn().unwrap());
    let time = start.elapsed();
    let summary: Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
    assert!(ended.success() && summary["status"] == "complete", "{summary:#}");
    Ran { time, theirs: processor_time(relay.id()) - before, peak }
}

/// As in proc_pid_stat(5); of all threads, in hundredths of a second.
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let field =
        |number: usize| -> u64 { after_name.split(' ').nth(number - 3).unwrap().parse().unwrap() };
    Duration::from_millis(10 * (field(14) + field(15)))
}
