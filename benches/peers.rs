//! A backfill from three strfry relays on this machine, and `strfry sync` with each of them in
//! turn: everything new, then nothing new. Needs the strfry that `STRFRY_BIN` names.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::json;
use support::events::Author;
use tempfile::TempDir;

const AUTHORS: u64 = 500;
/// Within the three years that `strfry sync` takes (`events.rejectEventsOlderThanSeconds`).
const START: u64 = 1_780_000_000;

fn main() {
    let Some(strfry) = std::env::var_os("STRFRY_BIN") else {
        return println!("skipped: STRFRY_BIN names no strfry");
    };
    let strfry = Path::new(&strfry);
    let count: u64 = std::env::var("EVENTS").map_or(80_000, |text| text.parse().unwrap());
    let authors = Author::all(0..AUTHORS);
    let text = "x".repeat(300);
    let lines: Vec<String> = (0..count)
        .into_par_iter()
        .map(|number| {
            let author = &authors[(number % AUTHORS) as usize];
            let content = format!("{number} {text}");
            author.event(1, START + number, json!([]), &content) + "\n"
        })
        .collect();
    let lines = lines.concat();
    let relays: Vec<Relay> = (0..3).map(|_| Relay::start(strfry, &lines)).collect();
    let urls: Vec<String> = relays.iter().map(Relay::url).collect();

    let pubkeys: Vec<String> = authors.iter().map(|author| author.pubkey().to_string()).collect();
    // The same question: without a filter both sides would answer from a tree that strfry keeps.
    let filter = json!({ "authors": pubkeys, "kinds": [1] }).to_string();
    let theirs = node();
    import(strfry, theirs.path(), "");
    let sync = || {
        timed(|| {
            for url in &urls {
                let mut sync = Command::new(strfry);
                sync.args(["sync", url, "--dir", "down", "--filter", &filter]);
                run(&mut sync, theirs.path());
            }
        })
    };
    let sync_new = sync();

    let ours = node();
    import(strfry, ours.path(), "");
    fs::write(ours.path().join("pubkeys.txt"), pubkeys.join("\n")).unwrap();
    let mut memory = 0;
    let mut backfill = || {
        timed(|| {
            let mut backfill = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
            backfill.args(["backfill", "--days", "0", "--no-profiles", "--no-fallback"]);
            backfill.args(["--kinds", "1"]);
            backfill.arg("--home").arg(ours.path().join("home"));
            backfill.arg("--strfry-dir").arg(ours.path()).arg("--strfry-bin").arg(strfry);
            backfill.args(["--pubkeys", "pubkeys.txt", "--relay"]).args(&urls);
            backfill.current_dir(ours.path()).stdin(Stdio::null()).stdout(Stdio::null());
            let (status, most) = support::wait_watching_memory(backfill.spawn().unwrap());
            assert!(status.success());
            memory = memory.max(most);
        })
    };
    let new = backfill();
    // In turns, medians: both take a fraction of a second.
    let (mut sync_nothing, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        sync_nothing.push(sync());
        nothing.push(backfill());
    }
    assert!(ids(strfry, theirs.path()) == ids(strfry, ours.path()), "the answers differ");

    println!("{count} events of {AUTHORS} authors, three strfry relays, verified and imported");
    row("everything new", sync_new, new);
    println!("memory of a backfill, beside mapped pages: {} MiB at most", memory / 1024);
    row("nothing new", support::median(sync_nothing), support::median(nothing));
}

fn row(what: &str, theirs: Duration, ours: Duration) {
    let (theirs, ours) = (theirs.as_secs_f64(), ours.as_secs_f64());
    println!(
        "{what:<16} strfry sync {theirs:>7.2} s   backfill {ours:>7.2} s   {:.1}",
        theirs / ours
    );
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

fn configure(directory: &Path, port: u16) {
    let config = format!(
        "db = \"./strfry-db/\"\nrelay {{\n    bind = \"127.0.0.1\"\n    port = {port}\n    nofiles = 0\n}}\n"
    );
    fs::write(directory.join("strfry.conf"), config).unwrap();
}

fn run(command: &mut Command, directory: &Path) {
    let output = command
        .current_dir(directory)
        .env("STRFRY_CONFIG", "strfry.conf")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn import(strfry: &Path, directory: &Path, lines: &str) {
    let mut import = Command::new(strfry);
    import.args(["import", "--no-verify"]).current_dir(directory);
    import.env("STRFRY_CONFIG", "strfry.conf").stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = import.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn ids(strfry: &Path, directory: &Path) -> BTreeSet<String> {
    let mut export = Command::new(strfry);
    export.arg("export").current_dir(directory).env("STRFRY_CONFIG", "strfry.conf");
    let output = export.stderr(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(support::events::id_of).collect()
}

struct Relay {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Relay {
    fn start(strfry: &Path, lines: &str) -> Self {
        let directory = node();
        import(strfry, directory.path(), lines);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        configure(directory.path(), port);
        let mut relay = Command::new(strfry);
        relay.arg("relay").current_dir(directory.path()).env("STRFRY_CONFIG", "strfry.conf");
        let process = relay.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, _directory: directory }
    }

    fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
