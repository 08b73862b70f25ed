//! Processes that are timed: no shell, an end by a deadline, none left behind.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cli::exit::{OrFail, Result};

/// A process that takes longer is ended, and the bench with it.
const DEADLINE: Duration = Duration::from_secs(600);

/// Ended when it is dropped.
struct Running {
    child: Child,
    name: String,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stderr(Stdio::null());
        let child =
            command.spawn().with_context(|| format!("cannot start {name}")).or_cannot_run()?;
        Ok(Self { child, name })
    }

    fn finish(&mut self, deadline: Instant) -> Result<()> {
        let finished =
            self.wait(deadline).with_context(|| format!("cannot wait for {}", self.name));
        finished.or_cannot_run()
    }

    fn wait(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        wait_for(&process, deadline)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(anyhow!("it ended with {status}")) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program can be started at all.
pub(super) fn can_start(program: &OsStr) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// Runs a command to its end; returns its output, and the time that it took.
pub(super) fn output(command: &mut Command) -> Result<(Vec<u8>, Duration)> {
    let mut gathered = Vec::new();
    let time = each_piece(command, |piece| gathered.extend_from_slice(piece))?;
    Ok((gathered, time))
}

/// Runs a command to its end; shows `look` its output.
pub(super) fn each_piece(command: &mut Command, look: impl FnMut(&[u8])) -> Result<Duration> {
    let begun = Instant::now();
    let deadline = begun + DEADLINE;
    let mut child = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let out = child.child.stdout.take();
    read(out, deadline, look)?;
    child.finish(deadline)?;
    Ok(begun.elapsed())
}

/// Runs a command to its end, with its output thrown away.
pub(super) fn time(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let mut child = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    child.finish(begun + DEADLINE)?;
    Ok(begun.elapsed())
}

/// As [`output`], with this input.
pub(super) fn output_for(command: &mut Command, input: Vec<u8>) -> Result<(Vec<u8>, Duration)> {
    let begun = Instant::now();
    let deadline = begun + DEADLINE;
    let mut child = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let stdin = child.child.stdin.take();
    // It ends when the child has read it, or has ended.
    let writer = thread::Builder::new().name("input".to_owned()).spawn(move || {
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
    });
    writer.context("cannot start a thread").or_cannot_run()?;
    let mut gathered = Vec::new();
    read(child.child.stdout.take(), deadline, |piece| gathered.extend_from_slice(piece))?;
    child.finish(deadline)?;
    Ok((gathered, begun.elapsed()))
}

/// Runs `first | second`; returns the output of the second.
pub(super) fn piped(first: &mut Command, second: &mut Command) -> Result<(Vec<u8>, Duration)> {
    let begun = Instant::now();
    let deadline = begun + DEADLINE;
    let mut first = Running::start(first.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let between = first.child.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let mut second = Running::start(second.stdin(between).stdout(Stdio::piped()))?;
    let mut gathered = Vec::new();
    read(second.child.stdout.take(), deadline, |piece| gathered.extend_from_slice(piece))?;
    second.finish(deadline)?;
    first.finish(deadline)?;
    Ok((gathered, begun.elapsed()))
}

fn read(out: Option<ChildStdout>, deadline: Instant, mut look: impl FnMut(&[u8])) -> Result<()> {
    let Some(mut out) = out else { return Ok(()) };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = wait_for(&out, deadline).and_then(|()| out.read(&mut buffer));
        match read.context("cannot read the output of a process").or_cannot_run()? {
            0 => return Ok(()),
            bytes => look(buffer.get(..bytes).unwrap_or_default()),
        }
    }
}

fn wait_for(what: &impl AsFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(what, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
        }
    }
}
