//! A program with all that it starts, timed and watched: none of it outlives the bench.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cli::exit::{Failure, OrFail, Result};
use crate::stop::Stop;

/// How often memory is looked at. A shell script starts a process a hundred times a second, and
/// most of its memory is in those that stay.
const LOOK: Duration = Duration::from_millis(50);

/// How a program went.
pub(super) struct Ran {
    pub(super) time: Duration,
    /// The largest sum over all its processes of the memory that only one of them uses, in bytes
    /// (`RssAnon`): what they share, such as the database's pages, is left out.
    pub(super) memory: u64,
    /// `None`: it took its longest time, and was ended.
    pub(super) status: Option<ExitStatus>,
}

/// Runs a program until it ends or has taken this long.
pub(super) fn run(command: &mut Command, longest: Duration, stop: &Stop) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().with_context(|| format!("cannot start {name}")).or_cannot_run()?;
    let mut group = Group { id: Pid::from_child(&child), child };
    let mut memory = 0;
    loop {
        memory = memory.max(memory_of(group.id).unwrap_or(0));
        let status = group.child.try_wait();
        let status = status.with_context(|| format!("cannot wait for {name}")).or_cannot_run()?;
        let time = begun.elapsed();
        if status.is_some() || time >= longest {
            return Ok(Ran { time, memory, status });
        }
        if stop.is_told() {
            return Err(Failure::CannotRun(anyhow!("stopped by a signal before the end")));
        }
        thread::sleep(LOOK);
    }
}

/// Ended as a whole when it is dropped.
struct Group {
    id: Pid,
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its number stays taken until it is waited for, so no other group is hit; what it has left
        // behind goes with it.
        let _ = kill_process_group(self.id, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Memory of all processes of a group, in bytes.
fn memory_of(group: Pid) -> io::Result<u64> {
    let group = group.as_raw_nonzero().to_string();
    let mut memory = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process may end at any time.
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // After the name, which may hold anything: state, parent, group (proc_pid_stat(5)).
        let stat = read("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(2) == Some(&group) {
            memory += anonymous(&read("status"));
        }
    }
    Ok(memory)
}

/// Of the text of `/proc/PID/status`.
fn anonymous(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn memory_is_that_of_all_processes_of_the_program() {
        // Each of both holds 8 MB while the other one runs.
        let hold = "x=$(head -c 8000000 /dev/zero | tr '\\0' x); sleep 0.4";
        let longest = Duration::from_secs(60);
        let ran = run(&mut sh(&format!("({hold}) & {hold}; wait")), longest, &Stop::default());
        let ran = ran.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(ran.status.is_some_and(|status| status.success()));
        assert!(ran.memory > 16_000_000, "{}", ran.memory);
        assert_eq!(anonymous("VmRSS:\t 9 kB\nRssAnon:\t      12 kB\nRssFile: 1 kB\n"), 12 * 1024);
        assert_eq!(anonymous("RssAnon: x\n"), 0);
    }

    #[test]
    fn nothing_that_a_program_started_outlives_its_longest_time() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", mark.display());
        let ran = run(&mut sh(&script), Duration::from_millis(500), &Stop::default());
        assert!(ran.unwrap_or_else(|failure| panic!("{failure:?}")).status.is_none());
        let pid = fs::read_to_string(mark).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Gone, or waiting for init to take it away.
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }

    #[test]
    fn a_signal_ends_the_bench() {
        let stop = Stop::default();
        stop.tell();
        let ran = run(&mut sh("sleep 1000"), Duration::from_secs(60), &stop);
        assert!(matches!(ran, Err(Failure::CannotRun(_))));
    }
}
