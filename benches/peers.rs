//! A backfill from three strfry relays, and `strfry sync` with each of them in turn: everything new,
//! then nothing new; with the relays on this machine, and far away. Needs the strfry that
//! `STRFRY_BIN` names.
//!
//! `EVENTS` says how many events there are near; `FAR_EVENTS`, for fewer of them, near and then far (0:
//! not run); `LATENCY_MS`, how far that is. `WITHOUT_SYNC=1` leaves `strfry sync` out, for the memory
//! that very many events take.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::events::{Author, events};
use support::proxy::Proxy;
use support::running_relay::{OWN_CONFIG, RunningRelay, configure};
use tempfile::TempDir;

const AUTHORS: u64 = 500;
/// Within the three years that `strfry sync` takes (`events.rejectEventsOlderThanSeconds`).
const START: u64 = 1_780_000_000;

fn main() {
    let Some(strfry) = std::env::var_os("STRFRY_BIN") else {
        return println!("skipped: STRFRY_BIN names no strfry");
    };
    let strfry = Path::new(&strfry);
    let authors = Author::all(0..AUTHORS);
    let (near, far) = (number("EVENTS", 80_000), number("FAR_EVENTS", 10_000));
    let latency = Duration::from_millis(number("LATENCY_MS", 50));
    for (count, latency) in [(near, Duration::ZERO), (far, Duration::ZERO), (far, latency)] {
        if count > 0 {
            compare(strfry, &authors, count, latency);
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// So many events at relays that are so far away, each way.
fn compare(strfry: &Path, authors: &[Author], count: u64, latency: Duration) {
    let (relays, size) = start_three(strfry, authors, count);
    let near = relays.each_ref().map(|(relay, _)| relay.url());
    let proxies = near.each_ref().map(|url| Proxy::delaying(url, latency));
    let urls = match latency {
        Duration::ZERO => near,
        _ => proxies.each_ref().map(Proxy::url),
    };
    println!("\n{count} events of {AUTHORS} authors, three strfry relays, {latency:?} each way");

    let pubkeys: Vec<String> = authors.iter().map(|author| author.pubkey().to_string()).collect();
    // The same question: without a filter both sides would answer from a tree that strfry keeps.
    let filter = json!({ "authors": pubkeys, "kinds": [1] }).to_string();
    let with_sync = std::env::var_os("WITHOUT_SYNC").is_none();
    let theirs = node();
    import(strfry, theirs.path(), []);
    let sync = || {
        let all = || {
            for url in &urls {
                let mut sync = Command::new(strfry);
                sync.args(["sync", url, "--dir", "down", "--filter", &filter]);
                run(&mut sync, theirs.path());
            }
        };
        with_sync.then(|| timed(all))
    };
    let sync_new = sync();

    let ours = node();
    import(strfry, ours.path(), []);
    fs::write(ours.path().join("pubkeys.txt"), pubkeys.join("\n")).unwrap();
    let mut memory = 0;
    let mut backfill = |urls: &[String]| {
        timed(|| {
            let mut backfill = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
            backfill.args(["backfill", "--days", "0", "--no-profiles", "--no-fallback"]);
            backfill.args(["--kinds", "1"]);
            backfill.arg("--home").arg(ours.path().join("home"));
            backfill.arg("--state-dir").arg(ours.path());
            backfill.arg("--strfry-dir").arg(ours.path()).arg("--strfry-bin").arg(strfry);
            backfill.args(["--pubkeys", "pubkeys.txt", "--relay"]).args(urls);
            backfill.current_dir(ours.path()).stdin(Stdio::null()).stdout(Stdio::null());
            let (status, most) = support::wait_watching_memory(backfill.spawn().unwrap());
            assert!(status.success());
            memory = memory.max(most);
        })
    };
    row("everything new", sync_new, backfill(&urls));
    // In turns, medians: both take a fraction of a second.
    let (sync_nothing, nothing): (Vec<_>, Vec<_>) =
        (0..7).map(|_| (sync(), backfill(&urls))).unzip();
    let sync_nothing: Option<Vec<Duration>> = sync_nothing.into_iter().collect();
    row("nothing new", sync_nothing.map(support::median), support::median(nothing));

    let sent = || proxies.iter().map(Proxy::bytes).sum::<u64>();
    let before = sent();
    backfill(&proxies.each_ref().map(Proxy::url));
    let again = sent() - before;
    println!(
        "bytes from the relays when nothing is new: {again}, {:.4} % of the events' {:.1} MB",
        100.0 * again as f64 / size as f64,
        size as f64 / 1e6
    );
    println!("memory of a backfill, beside mapped pages: {} MiB at most", memory / 1024);

    let there = ids(strfry, relays[0].1.path());
    assert_eq!(there.len() as u64, count);
    assert!(ids(strfry, ours.path()) == there, "the backfill is not complete");
    assert!(!with_sync || ids(strfry, theirs.path()) == there, "strfry sync is not complete");
}

fn row(what: &str, theirs: Option<Duration>, ours: Duration) {
    let ours = ours.as_secs_f64();
    match theirs.map(|theirs| theirs.as_secs_f64()) {
        Some(theirs) => println!(
            "{what:<16} strfry sync {theirs:>7.2} s   backfill {ours:>7.2} s   {:.1}",
            theirs / ours
        ),
        None => println!("{what:<16} backfill {ours:>7.2} s"),
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn node() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("strfry-db")).unwrap();
    configure(directory.path(), 0);
    directory
}

fn run(command: &mut Command, directory: &Path) {
    let output =
        command.current_dir(directory).envs(OWN_CONFIG).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn import(strfry: &Path, directory: &Path, lines: impl IntoIterator<Item = String>) {
    let mut import = Command::new(strfry);
    import.args(["import", "--no-verify"]).current_dir(directory);
    import.envs(OWN_CONFIG).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = import.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for lines in lines {
        stdin.write_all(lines.as_bytes()).unwrap();
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

fn ids(strfry: &Path, directory: &Path) -> BTreeSet<String> {
    let mut export = Command::new(strfry);
    export.arg("export").current_dir(directory).envs(OWN_CONFIG);
    let output = export.stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(support::events::id_of).collect()
}

/// A relay, and its directory, which outlives it.
type Relay = (RunningRelay, TempDir);

/// Relays that all have the same events; also returns the events' size in bytes.
fn start_three(strfry: &Path, authors: &[Author], count: u64) -> ([Relay; 3], u64) {
    let directories = [(); 3].map(|()| node());
    let [first, others @ ..] = &directories;
    let (text, mut size) = ("x".repeat(300), 0);
    let parts = (0..count).step_by(50_000).map(|start| {
        let lines = events(50_000.min(count - start) as usize, |number| {
            let number = start + number;
            let author = &authors[(number % AUTHORS) as usize];
            author.note(START + number, &format!("{number} {text}")) + "\n"
        });
        size += lines.iter().map(|line| line.len() as u64 - 1).sum::<u64>();
        lines.concat()
    });
    import(strfry, first.path(), parts);
    for other in others {
        let database = |node: &TempDir| node.path().join("strfry-db/data.mdb");
        fs::copy(database(first), database(other)).unwrap();
    }
    let start = |directory: TempDir| (RunningRelay::start(strfry, directory.path()), directory);
    (directories.map(start), size)
}
