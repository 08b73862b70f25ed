//! What strfry writes to standard error: loguru's lines.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Instant;

/// The thread that strfry says a line comes from.
#[derive(Debug, Clone, Copy)]
pub enum Thread {
    Main,
    Validator,
    Writer,
}

/// Writes log lines, each with the time since the start.
pub struct Log {
    started: Instant,
}

impl Log {
    /// Starts the clock and writes the heading.
    pub fn start(arguments: &[String]) -> Self {
        let log = Self { started: Instant::now() };
        write("date       time         ( uptime  ) [ thread name/id ]   v| ");
        log.info(Thread::Main, format_args!("arguments: {}", arguments.join(" ")));
        if let Ok(directory) = std::env::current_dir() {
            log.info(Thread::Main, format_args!("Current dir: {}", directory.display()));
        }
        log.info(Thread::Main, "stderr verbosity: 0");
        log.info(Thread::Main, "-----------------------------------");
        log
    }

    pub fn info(&self, thread: Thread, message: impl Display) {
        self.line(thread, "INFO", message);
    }

    pub fn warn(&self, thread: Thread, message: impl Display) {
        self.line(thread, "WARN", message);
    }

    fn line(&self, thread: Thread, level: &str, message: impl Display) {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
        let uptime = self.started.elapsed().as_secs_f64();
        let thread = match thread {
            Thread::Main => "main thread",
            Thread::Validator => "Validator",
            Thread::Writer => "Writer",
        };
        write(format_args!("{now} ({uptime:8.3}s) [{thread:<16}]{level:>4}| {message}"));
    }
}

/// A line as it is. Nobody may be listening; that is no reason to stop.
pub fn write(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
