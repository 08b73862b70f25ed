//! An operator without a node: a strfry somewhere, a home without `.zen`, a relay to ask.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::events::{Author, START, id_of, sorted_ids};
use crate::support::node::code;
use crate::support::scripted::{Archive, ScriptedRelay};
use crate::support::{feed, run_strfry};

/// What strfry's files are called below the root.
pub const CONF: &str = "srv/strfry.conf";
pub const DATABASE: &str = "srv/strfry-db";

pub struct Operator {
    pub root: TempDir,
    pub strfry: PathBuf,
    pub events: Vec<String>,
    pub relay: ScriptedRelay,
}

/// What a command said, with `ROOT` for the operator's directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Operator {
    /// With an initialised database; the relay holds events that are missing in it.
    pub fn new(strfry: &Path) -> Self {
        let author = Author::new(1);
        let notes = (0..40).map(|number| author.note(START + number, &number.to_string()));
        let events: Vec<String> = notes.chain([author.profile(START, "Alice")]).collect();
        let archive = Archive::new(&events, 500);
        let relay = ScriptedRelay::start(move |request| archive.answer(request));
        let root = tempfile::tempdir().unwrap();
        let operator = Self { root, strfry: strfry.to_owned(), events, relay };
        for directory in [DATABASE, "home", "here"] {
            fs::create_dir_all(operator.at(directory)).unwrap();
        }
        operator.write(CONF, "db = \"./strfry-db/\"\nrelay {\n    nofiles = 0\n}\n");
        operator.write("pubkeys", &author.pubkey().to_string());
        assert!(operator.run_strfry(&["import"]).status.success());
        operator
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn shown(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A program that is a shell script.
    pub fn script(&self, path: &str, text: &str) -> PathBuf {
        let path = self.write(path, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn run_strfry(&self, arguments: &[&str]) -> std::process::Output {
        run_strfry(&self.strfry, &self.at("srv"), arguments, b"")
    }

    /// The program, with nothing in its environment that says where things are.
    pub fn companion(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
        command.args(arguments).current_dir(self.at("here"));
        for variable in ["IPFSNODEID", "STRFRY_CONFIG", "STATE_DIRECTORY", "XDG_STATE_HOME"] {
            command.env_remove(variable);
        }
        command.env("HOME", self.at("home"));
        command
    }

    /// A backfill from the relay, of everything.
    pub fn backfill(&self, arguments: &[&str]) -> Command {
        let url = self.relay.url();
        let mut command =
            self.companion(&["backfill", "--no-fallback", "--days", "0", "--relay", &url]);
        command.arg("--pubkeys").arg(self.at("pubkeys")).args(arguments);
        command
    }

    /// An import of all events.
    pub fn import(&self, arguments: &[&str]) -> Command {
        let lines: String = self.events.iter().map(|event| format!("{event}\n")).collect();
        let file = self.write("events.jsonl", &lines);
        let mut command = self.companion(&["import"]);
        command.args(arguments).arg(file);
        command
    }

    pub fn said(&self, command: &mut Command) -> Said {
        let output = feed(command, b"");
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.replace(&*self.root.path().to_string_lossy(), "ROOT")
                .split_inclusive('\n')
                .map(without_time)
                .collect()
        };
        Said { code: code(&output), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Exit code and summary of a run that was told `--json`; every event has its class.
    pub fn summary(&self, command: &mut Command) -> (i32, Value) {
        let output = feed(command.arg("--json"), b"");
        let summary: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no summary: {output:?}"));
        let counts = summary["events"].as_object().unwrap().values();
        let accounted: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(summary["received"], accounted, "events without a class: {summary:#}");
        (code(&output), summary)
    }

    /// That a run imported everything, and strfry has it.
    pub fn assert_complete(&self, command: &mut Command) {
        let said = self.said(command);
        assert_eq!(said.code, 0, "{said:?}");
        let expected = format!("Complete: {} events imported,", self.events.len());
        assert!(said.out.starts_with(&expected), "{said:?}");
        assert_eq!(self.stored(), sorted_ids(&self.events));
    }

    /// Ids in strfry's database, as strfry exports them.
    pub fn stored(&self) -> Vec<String> {
        let exported = self.run_strfry(&["export"]);
        assert!(exported.status.success(), "{exported:?}");
        let text = String::from_utf8(exported.stdout).unwrap();
        let ids: BTreeSet<String> = text.lines().map(id_of).collect();
        ids.into_iter().collect()
    }

    /// The names in a directory.
    pub fn names(&self, directory: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.at(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A log line without its time; any other line as it is.
fn without_time(line: &str) -> &str {
    let rest = line.strip_prefix('[').and_then(|line| line.get(19..));
    rest.and_then(|rest| rest.strip_prefix("] ")).unwrap_or(line)
}
