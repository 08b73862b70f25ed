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
    use std::path::Path;

    use super::*;

    /// Long enough for a busy machine.
    const DEADLINE: Duration = Duration::from_secs(60);

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so() {
            assert!(Instant::now() < deadline, "still waiting until {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn sh(script: &str, directory: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(directory).process_group(0);
        command
    }

    #[test]
    fn memory_is_that_of_all_processes_of_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let hold =
            |mark| format!("x=$(head -c 8000000 /dev/zero | tr '\\0' x); >{mark}; sleep 1000; :");
        let script = format!("({}) & {}", hold("one"), hold("two"));
        let child = sh(&script, directory.path()).spawn().unwrap();
        let group = Group { id: Pid::from_child(&child), child };
        for mark in ["one", "two"] {
            until("both hold 8 MB", || directory.path().join(mark).exists());
        }
        let memory = memory_of(group.id).unwrap();
        assert!(memory > 16_000_000, "{memory}");
        assert_eq!(anonymous("VmRSS:\t 9 kB\nRssAnon:\t      12 kB\nRssFile: 1 kB\n"), 12 * 1024);
        assert_eq!(anonymous("RssAnon: x\n"), 0);
    }

    #[test]
    fn nothing_that_a_program_started_outlives_the_bench() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("pid");
        let script = "sleep 1000 & echo $! >new; mv new pid; wait";
        let stop = Stop::default();
        let ran = thread::scope(|scope| {
            scope.spawn(|| {
                until("it has started another one", || mark.exists());
                stop.tell();
            });
            run(&mut sh(script, directory.path()), DEADLINE, &stop)
        });
        assert!(matches!(ran, Err(Failure::CannotRun(_))));
        let pid = fs::read_to_string(mark).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Gone, or waiting for init to take it away.
        let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        until("it is gone", is_gone);
    }

    #[test]
    fn a_program_that_has_taken_its_longest_time_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = sh("sleep 1000", directory.path());
        let ran = run(&mut command, Duration::ZERO, &Stop::default());
        assert!(ran.unwrap_or_else(|failure| panic!("{failure:?}")).status.is_none());
    }
}
