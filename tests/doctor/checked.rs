//! A node to look at, and what was found, in a form that tests compare whole.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::scripted::{Archive, ScriptedRelay};
use crate::support::strfry_bin;

pub const HISTORY: &str = "strfry/constellation-backfill.history.jsonl";
pub const LOCK: &str = "strfry/constellation-backfill.lock";

/// What is not as it should be: id, level, subject, found, remedy.
pub type Wrong = [String; 5];

/// A node with a peer and one complete backfill.
pub struct Patient {
    pub node: Node,
    pub relay: ScriptedRelay,
}

/// What `doctor` found.
#[derive(Debug)]
pub struct Checked {
    pub code: i32,
    pub findings: Vec<Value>,
}

impl Patient {
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let author = Author::new(1);
        let archive = Archive::new(&[author.profile(now - 500, "Alice")], 500);
        let relay = ScriptedRelay::start(move |request| archive.answer(request));
        let node = Node::new(&strfry_bin());
        node.add_pubkeys(&[author.pubkey()]);
        node.add_station("peer", &relay.url());
        assert_eq!(node.backfill(&["--allow-local-peers"]).0, 0);
        Self { node, relay }
    }

    pub fn database(&self) -> PathBuf {
        self.node.strfry_dir().join("strfry-db")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.node.companion(&[&["doctor", "--allow-local-peers"], arguments].concat())
    }

    pub fn checked(&self, arguments: &[&str]) -> Checked {
        Checked::by(&mut self.command(arguments), self)
    }

    /// What is wrong, and the exit code.
    pub fn wrong(&self, arguments: &[&str]) -> (i32, Vec<Wrong>) {
        let checked = self.checked(arguments);
        (checked.code, checked.wrong())
    }
}

impl Checked {
    /// Runs the command, which must say nothing but its report. `HOME` and `RELAY` are in the place
    /// of the home and the relay's address.
    pub fn by(command: &mut Command, patient: &Patient) -> Self {
        let output = command.arg("--json").output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        let home = patient.node.home();
        let real = fs::canonicalize(home).unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let text = text.replace(&*real.to_string_lossy(), "HOME");
        let text = text.replace(&*home.to_string_lossy(), "HOME");
        let text = text.replace(&patient.relay.url(), "RELAY");
        let report: Value = serde_json::from_str(&text).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let worst = ["error", "warning", "ok"]
            .into_iter()
            .find(|level| findings.iter().any(|finding| finding["level"] == **level));
        assert_eq!((&report["version"], report["level"].as_str()), (&1.into(), worst));
        for finding in &findings {
            let is_ok = finding["level"] == "ok";
            assert_eq!(finding["remedy"].is_null(), is_ok, "{finding}");
        }
        assert_eq!(code(&output), i32::from(worst == Some("error")));
        Self { code: code(&output), findings }
    }

    pub fn wrong(&self) -> Vec<Wrong> {
        let wrong = self.findings.iter().filter(|finding| finding["level"] != "ok");
        wrong.map(whole).collect()
    }

    /// The findings of this name.
    pub fn of(&self, id: &str) -> Vec<Wrong> {
        self.findings.iter().filter(|finding| finding["id"] == id).map(whole).collect()
    }

    pub fn ids(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding["id"].as_str().unwrap()).collect()
    }
}

/// A finding as an array, with `N` for times.
fn whole(finding: &Value) -> Wrong {
    ["id", "level", "subject", "found", "remedy"].map(|field| {
        let text = finding[field].as_str().unwrap_or_default();
        let mut words: Vec<&str> = text.split(' ').collect();
        for at in 1..words.len() {
            let is_number = words[at - 1].bytes().all(|byte| byte.is_ascii_digit());
            if is_number && words[at].trim_end_matches(',') == "ms" {
                words[at - 1] = "N";
            }
        }
        words.join(" ")
    })
}

/// A finding that is expected.
pub fn wrong(id: &str, level: &str, subject: &str, found: &str, remedy: &str) -> Wrong {
    [id, level, subject, found, remedy].map(str::to_owned)
}
