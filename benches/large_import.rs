//! 200,000 new events into large databases: seconds, bytes that strfry writes, and own memory, beside
//! `strfry import` of the same file; alone, and beside a relay to whose clients it matters how long an
//! event waits for its OK. And such a database filled from nothing. Before each run memory is filled
//! with file pages, as on a machine that has run for some time. Prints the tables of
//! `docs/growth.md`. Needs the strfry that `STRFRY_BIN` names.
//!
//! `LARGE=1000000,5000000` says into which databases, `FILL=1000000` how many events fill one. Each
//! run works on a copy of its own, so the disk needs twice the largest database.

mod support;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use support::events::{self, Author};
use support::running_relay::RunningRelay;
use tempfile::TempDir;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const NEW: u64 = 200_000;
/// Between two events of the relay's client.
const PAUSE: Duration = Duration::from_millis(50);

fn main() {
    let Some(strfry) = std::env::var_os("STRFRY_BIN").map(PathBuf::from) else {
        return println!("skipped: STRFRY_BIN names no strfry to compare with");
    };
    let strfry = std::path::absolute(strfry).unwrap();
    println!(
        "| work | how | s | ratio | GB written | KB an event | MiB own memory | ms to OK: median, 99 %, longest |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for size in support::large_sizes("LARGE", &support::LARGE[..2]) {
        let database = support::large_database(size);
        let input = new_events(size);
        for with_relay in [false, true] {
            let what = if with_relay { ", beside a relay" } else { "" };
            let name = format!("{NEW} into {size}{what}");
            table(&name, &strfry, Some(&database), (&input, NEW), with_relay);
        }
    }
    for size in support::large_sizes("FILL", &support::LARGE[..1]) {
        let input = all_events(size);
        table(&format!("{size} into nothing"), &strfry, None, (&input, size), false);
    }
}

/// The input, and how many events are in it.
type Input<'a> = (&'a Path, u64);

fn table(
    name: &str,
    strfry: &Path,
    before: Option<&Path>,
    (input, events): Input<'_>,
    with_relay: bool,
) {
    let mut theirs = None;
    let ways: &[(&str, Way)] = match with_relay {
        true => &[("`strfry import`", Way::Strfry(&[])), ("`import`", Way::Ours(&[]))],
        false => &[
            ("`strfry import`", Way::Strfry(&[])),
            ("`import`", Way::Ours(&[])),
            ("`import --max-commit-time 1s`", Way::Ours(&["--max-commit-time", "1s"])),
        ],
    };
    for (how, way) in ways {
        let node = support::large_node(strfry, before);
        let relay = with_relay.then(|| RunningRelay::start(strfry, &node.path().join("strfry")));
        let client = relay.as_ref().map(|relay| Client::start(relay.url()));
        let ran = way.run(&node, input);
        let waits = client.map_or(String::new(), Client::end);
        let ratio = theirs.get_or_insert(ran.time).as_secs_f64() / ran.time.as_secs_f64();
        println!(
            "| {name} | {how} | {:.1} | {ratio:.2} | {:.2} | {:.1} | {:.0} | {waits} |",
            ran.time.as_secs_f64(),
            ran.written as f64 / 1e9,
            ran.written as f64 / 1e3 / events as f64,
            ran.peak as f64 / 1024.0,
        );
        drop(relay);
    }
}

/// How events are imported.
enum Way {
    Strfry(&'static [&'static str]),
    Ours(&'static [&'static str]),
}

struct Ran {
    time: Duration,
    /// Bytes that strfry wrote.
    written: u64,
    /// Most own memory seen, KiB.
    peak: u64,
}

impl Way {
    fn run(&self, node: &TempDir, events: &Path) -> Ran {
        let directory = node.path().join("strfry");
        let mut command = match self {
            Self::Strfry(flags) => {
                let mut command = Command::new(directory.join("strfry"));
                command.args(["--config", "strfry.conf", "import"]).args(*flags);
                command.stdin(File::open(events).unwrap()).stdout(Stdio::null());
                command
            }
            Self::Ours(flags) => {
                let mut command = support::companion(&["import", "--json"]);
                command.arg(events).args(*flags).arg("--home").arg(node.path());
                command.stdout(Stdio::piped());
                command
            }
        };
        command.current_dir(directory).stderr(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take();
        let io = format!("/proc/{}/io", child.id());
        let mut written = 0;
        let peak = watch(&mut child, || written = written_by(&io).unwrap_or(written));
        let time = start.elapsed();
        if let Some(stdout) = stdout {
            let summary: Value = serde_json::from_reader(stdout).unwrap();
            assert_eq!(summary["status"], "complete", "{summary:#}");
            written = summary["bytes_written"].as_u64().unwrap();
        }
        Ran { time, written, peak }
    }
}

/// Waits for a process, and looks at it meanwhile; returns the most own memory seen, KiB.
fn watch(child: &mut Child, mut look: impl FnMut()) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return most;
        }
        look();
        most = most.max(support::own_memory(&status).unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
}

fn written_by(io: &str) -> Option<u64> {
    let text = fs::read_to_string(io).ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()
}

/// Somebody who publishes through the relay, and waits for each OK.
struct Client {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Client {
    fn start(url: String) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let end = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(publish(&url, &end))
        });
        Self { is_over, thread }
    }

    fn end(self) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let mut waits = self.thread.join().unwrap();
        waits.sort_unstable();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_millis();
        format!("{}, {}, {} of {}", at(0.5), at(0.99), at(1.0), waits.len())
    }
}

async fn publish(url: &str, end: &AtomicBool) -> Vec<Duration> {
    let (mut socket, _) = connect_async(url).await.unwrap();
    let author = Author::new(9_999_999);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut waits = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let event = author.note(now, &waits.len().to_string());
        let begun = Instant::now();
        socket.send(Message::text(format!("[\"EVENT\",{event}]"))).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert!(answer.to_text().unwrap().contains(",true,"), "{answer}");
        waits.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    waits
}

/// Events that a large database lacks, spread over its time, in no order.
fn new_events(size: u64) -> PathBuf {
    let file = support::large_database(size).join(format!("new-{NEW}.jsonl"));
    if !file.exists() {
        let authors = Author::all(0..support::MANY_AUTHORS);
        let mut lines = events::events(NEW as usize, |number| {
            support::event_beside(&authors, number, NEW, size)
        });
        fastrand::Rng::with_seed(1).shuffle(&mut lines);
        write(&file, lines);
    }
    file
}

/// All events of a large database.
fn all_events(size: u64) -> PathBuf {
    let file = support::large_database(size).join("all.jsonl");
    if !file.exists() {
        let authors = Author::all(0..support::MANY_AUTHORS);
        let batches = (0..size).step_by(100_000).flat_map(|start| {
            let count = 100_000.min(size - start) as usize;
            events::events(count, |number| support::large_event(&authors, start + number))
        });
        write(&file, batches);
    }
    file
}

fn write(file: &Path, lines: impl IntoIterator<Item = String>) {
    let begun = file.with_extension("begun");
    let mut out = BufWriter::new(File::create(&begun).unwrap());
    lines.into_iter().for_each(|line| writeln!(out, "{line}").unwrap());
    out.into_inner().unwrap().sync_all().unwrap();
    fs::rename(begun, file).unwrap();
}
