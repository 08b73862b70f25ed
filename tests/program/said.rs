//! What a process said, in a form that tests compare whole.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::node::code;

/// What the program said and ended with.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Runs the command to its end. The directory is written as `HOME`, the time of a log line is
    /// left out.
    pub fn by(command: &mut Command, home: &Path) -> Self {
        Self::of(&command.output().unwrap(), home)
    }

    pub fn of(output: &Output, home: &Path) -> Self {
        let text = |bytes: &[u8]| -> String {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let text = text.replace(&*home.to_string_lossy(), "HOME");
            text.split_inclusive('\n').map(without_time).collect()
        };
        Self { code: code(output), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Nothing but this on standard error, and this exit code.
    pub fn refusal(code: i32, err: impl Into<String>) -> Self {
        Self { code, out: String::new(), err: err.into() }
    }
}

/// A log line without its time; any other line as it is.
pub fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|line| line.get(19..));
    rest.and_then(|rest| rest.strip_prefix("] ")).unwrap_or(line)
}

/// The program, on no node at all.
pub fn companion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
    command.args(arguments).env_remove("IPFSNODEID").env("HOME", "/nonexistent");
    command
}
