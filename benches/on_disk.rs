//! Long answers from a database that is not in memory: seconds, and what was read from the disk, of this
//! program and, if `STRFRY_BIN` names one, of strfry. Whole processes in interleaved runs, medians:
//! the figures of `docs/growth.md`.
//!
//! Before each run Linux is told to forget the file's pages, which it does unless somebody maps them.
//! `LARGE=1000000,5000000` says which databases. `MEMORY_GROUP=/sys/fs/cgroup/…` names a control
//! group in which the processes run: with less memory than the database has, pages are forgotten
//! meanwhile too.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

const RUNS: usize = 3;
const COUNT: &str = r#"{"kinds":[1]}"#;

fn main() {
    let strfry = std::env::var_os("STRFRY_BIN").map(PathBuf::from);
    if strfry.is_none() {
        println!("STRFRY_BIN names no strfry to compare with");
    }
    println!("| events | question | s | s of strfry | ratio | MiB read | MiB read by strfry |");
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for size in support::large_sizes("LARGE", &support::LARGE[..2]) {
        let database = support::large_database(size);
        let questions: [(&str, &[&str], bool); 5] = [
            ("everything, `scan '{}'`", &["scan", "{}"], true),
            ("everything, `export`", &["export"], true),
            ("number of kind 1, `--count`", &["scan", COUNT, "--count"], true),
            ("`stats`", &["stats"], false),
            ("`stats --payloads`", &["stats", "--payloads"], false),
        ];
        for (name, arguments, has_strfry) in questions {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let mut command = support::companion(arguments);
                command.arg("--db").arg(&database);
                ours.push(Ran::of(&command, &database));
                if let Some(strfry) = strfry.as_ref().filter(|_| has_strfry) {
                    let mut command = support::strfry_command(strfry, &database);
                    theirs.push(Ran::of(command.args(arguments), &database));
                }
            }
            let ours = Ran::median(ours).unwrap();
            let (seconds, mib) = (ours.time.as_secs_f64(), ours.bytes_read >> 20);
            let [time, ratio, read] = match Ran::median(theirs) {
                None => ["–"; 3].map(str::to_owned),
                Some(theirs) => {
                    let time = theirs.time.as_secs_f64();
                    let ratio = format!("{:.1}", time / seconds);
                    [format!("{time:.2}"), ratio, (theirs.bytes_read >> 20).to_string()]
                }
            };
            println!("| {size} | {name} | {seconds:.2} | {time} | {ratio} | {mib} | {read} |");
        }
    }
}

struct Ran {
    time: Duration,
    /// From the disk, as far as that was seen before it ended.
    bytes_read: u64,
}

impl Ran {
    fn of(command: &Command, database: &Path) -> Self {
        let file = File::open(database.join("data.mdb")).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let mut command = in_memory_group(command);
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        let io = format!("/proc/{}/io", child.id());
        let mut bytes_read = 0;
        let ended = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended;
            }
            bytes_read = bytes_read_by(&io).unwrap_or(0).max(bytes_read);
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(ended.success(), "{command:?}");
        Self { time: start.elapsed(), bytes_read }
    }

    fn median(mut runs: Vec<Self>) -> Option<Self> {
        runs.sort_unstable_by_key(|run| run.time);
        let middle = runs.len() / 2;
        runs.into_iter().nth(middle)
    }
}

/// proc_pid_io(5)
fn bytes_read_by(io: &str) -> Option<u64> {
    let text = fs::read_to_string(io).ok()?;
    text.lines().find_map(|line| line.strip_prefix("read_bytes: "))?.parse().ok()
}

fn in_memory_group(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped.args(["-c", r#"[ -z "$0" ] || echo $$ > "$0/cgroup.procs" || exit; exec "$@""#]);
    wrapped.arg(std::env::var_os("MEMORY_GROUP").unwrap_or_default());
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped
}
