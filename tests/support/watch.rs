//! Runs the program and looks at its own memory meanwhile.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A run that has ended.
pub struct Watched {
    pub code: i32,
    pub summary: Value,
    pub seconds: f64,
    /// The most that was seen of the memory that is no file's (`RssAnon`).
    pub own_mib: f64,
}

pub fn watch(mut command: Command) -> Watched {
    let began = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (pid, has_ended) = (child.id(), AtomicBool::new(false));
    let (output, most) = thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = 0;
            while !has_ended.load(Ordering::Relaxed) {
                most = most.max(own_kib(pid));
                thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let output = child.wait_with_output().unwrap();
        has_ended.store(true, Ordering::Relaxed);
        (output, most.join().unwrap())
    });
    let seconds = began.elapsed().as_secs_f64();
    let summary = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no summary: {}", String::from_utf8_lossy(&output.stderr)));
    let code = output.status.code().unwrap_or(-1);
    Watched { code, summary, seconds, own_mib: most as f64 / 1_024.0 }
}

/// 0: the process has ended.
fn own_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    own.and_then(|own| own.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
